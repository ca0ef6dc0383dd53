"""The turns of a scan rolled up: one step in place of all, and one application in the graph.

Whether they may be is asked here, whether they are the same program in turn.py; how the step runs
is in scan.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.node import Application, Node, Output, next_number, nobody
from minidl.autograd.targets import sources
from minidl.autograd.variable import Variable, box
from minidl.compiler.backwards import Derivation
from minidl.compiler.program import Operand, Program, Value, replace, values_in
from minidl.compiler.scan import Body, Loop, ScanStep, Sizes, clone, clone_step
from minidl.compiler.standin import StandIn, raw_of, stand_in
from minidl.compiler.turn import Later, Match, Turn, node_of, same_constant

if TYPE_CHECKING:
    from minidl.compiler.turns import Turns

# Why there is no program; then the function is noted anew, its scans turn by turn.
UNEVEN = "a scan whose turns, or their derivatives, are not one program"


class Given(NamedTuple):
    """One of the operands of a loop, what it is now, and its node in the graph."""

    operand: Operand
    raw: Any
    node: Node | None


class Rolling:
    """One step in place of turns that are one program. ``turn``, the last noted, is its body.

    That one's state is in a graph, if any turn's is. ``captured`` are the Values that it reads
    from outside; ``drawn`` those of its random numbers, ``rows`` the same of all turns.
    """

    def __init__(self, watched: Turns, turns: Sequence[Turn], matches: Sequence[Match]) -> None:
        self.recorder = watched.recorder
        self.turns = turns
        self.later = watched.later
        self.xs = watched.xs
        self.turn = turn = turns[-1]
        count = len(turn.state)
        self.state = turn.given[:count]
        self.new = turn.made[:count]
        self.ys = turn.made[count:]
        self.drawn = list(matches[0].drawn)
        self.rows = [tuple([match.drawn.get(v, v) for match in matches]) for v in self.drawn]
        self.captured = self._captured()
        self.inputs = [*self.captured, *turn.given, *self.drawn]
        self.outside = {*self.captured, *values_in(tuple(self.rows))}
        self.raws = self._raws()
        self.nodes = self._nodes()

    def _captured(self) -> list[Value]:
        """The Values that the body reads, and does not make."""
        known = {*self.turn.given, *self.drawn}
        read: list[Value] = []
        for step in self.turn.steps:
            read += values_in(step.operands)
            known.update(step.outs)
        read += values_in(self.turn.made)
        return [v for v in dict.fromkeys(read) if v not in known]

    def _raws(self) -> dict[Operand, Any]:
        """The arrays and numbers that come from outside."""
        raws: dict[Operand, Any] = dict(self.recorder.numbers)
        for x in self.recorder._kept:
            value = self.recorder._of_object.get(id(x))
            if isinstance(value, Value) and value in self.outside:
                raws[value] = raw_of(x)
        return raws

    def _nodes(self) -> dict[Operand, Node]:
        """The nodes of what the body is given or captures, as far as they are in a graph."""
        turn = self.turn
        results = [x for x in (*turn.new, *turn.ys) if _is_since(turn, node_of(x))]
        value_of = self.recorder._of_node
        return {value_of.get(node): node for node in sources(results, turn.since)}

    # ---- whether it can be ---------------------------------------------------------------------

    def can_be(self) -> bool:
        """Whether all is arrays, each known, and sums of gradients can be those of single turns."""
        turn = self.turn
        parts = (*turn.given, *turn.made, *self.turns[0].given)
        if not all(isinstance(v, Value) for v in parts) or not self.outside <= self.raws.keys():
            return False
        if not self.nodes.keys() <= {*self.captured, *turn.given} or self._gives_on():
            return False
        return not any(map(_is_half, self.nodes)) and self._adds_up()

    def _gives_on(self) -> bool:
        """Whether it gives a Variable that was there before the loop, which no turn's graph has."""
        turn = self.turn
        given = {*nodes_of(turn.state), *nodes_of(turn.row)}
        results = [x for x in (*turn.new, *turn.ys) if not _is_since(turn, node_of(x))]
        return not given.issuperset(nodes_of(results))

    @property
    def is_of_arrays(self) -> bool:
        """Whether turns need nobody who notes draws, or numbers that change from call to call."""
        return not self.drawn and all(v.dtype is not None for v in self.captured)

    def _adds_up(self) -> bool:
        """Whether gradients of one turn after the other add up in the order of the eager ones.

        They do not where one Variable has two names: captured and carried, or given out twice.
        """
        captured = [self.nodes[v] for v in self.captured if v in self.nodes]
        begin = nodes_of(self.turns[0].state)
        state = nodes_of(self.turn.state)
        new = nodes_of(self.turn.new)
        ys = nodes_of(self.turn.ys)
        if not all(map(_distinct, ([*captured, *begin], nodes_of(self.xs), new, ys))):
            return False
        if {*captured}.intersection([*new, *ys]) or {*begin}.intersection(new):
            return False
        new_given_out = {*new}.intersection(ys)
        old_given_out = {*state}.intersection(ys)
        passed_on = {*state}.intersection(new)
        # A state that is an output, too, has its gradient from there first: one turn's at a time.
        if passed_on:
            return not (new_given_out or old_given_out)
        return not (new_given_out and old_given_out)

    # ---- the step ------------------------------------------------------------------------------

    def take_place(self) -> tuple[list[Any], list[Any]]:
        """Note the loop, whose turns' steps are away; the last state, the stacked outputs."""
        recorder = self.recorder
        turns: list[Turn | Later] = [*self.turns, *self.later]
        state = turns[-1].new
        columns = list(zip(*[turn.ys for turn in turns]))
        raws = (*map(raw_of, state), *[np.stack(list(map(raw_of, ys))) for ys in columns])
        given = self._given()
        loop = self._loop(len(turns))
        if self.later and not self._is_as_trusted(loop, given, raws):
            recorder.stop(UNEVEN)
        out = tuple(map(Value, raws))
        operands = tuple([x.operand for x in given])
        step = ScanStep(loop, loop.function(), operands, (out, Value(None)))
        recorder.add_step(step)
        for turn in self.turns:
            recorder.differentiated.difference_update(turn.tape)
        nodes: Sequence[Output | None] = [None] * len(raws)
        likes = [*self.turn.new, *self.turn.ys]
        if any(x.node for x in given) and nodes_of(likes):
            recorder.derivations[loop] = Derivation(self, loop)
            application = self._application(step, given, raws)
            nodes = [Output(application, i, raw) for i, raw in enumerate(raws)]
            ends = [*state, *chain.from_iterable(reversed(columns))]
            recorder.replaced.append((application, _ends(len(turns), len(state)), ends))
        if recorder.stopped is not None:
            recorder.put_back_graphs()
        results = list(map(self._result, likes, raws, out, nodes))
        return results[: len(state)], results[len(state) :]

    def _given(self) -> list[Given]:
        """The operands: what is captured, the first state, slices and random numbers."""
        begin = self.turns[0]
        captured = [Given(v, self.raws[v], self.nodes.get(v)) for v in self.captured]
        state = [Given(v, raw_of(x), node_of(x)) for v, x in zip(begin.given, begin.state)]
        xs = [Given(self.recorder.operand(x), raw_of(x), node_of(x)) for x in self.xs]
        rows = [Given(row, tuple([self.raws[v] for v in row]), None) for row in self.rows]
        return [*captured, *state, *xs, *rows]

    def _loop(self, count: int) -> Loop:
        """So many turns of the body, as a copy that passes may change."""
        turn = self.turn
        program, by = clone(Program(self.inputs, [], turn.steps))
        tape = {step: clone_step(step, by) for step in turn.tape}
        marked = {tape[step] for step in turn.tape if step in self.recorder.differentiated}
        new = [replace(v, by) for v in self.new]
        ys = [replace(v, by) for v in self.ys]
        body = Body(program.inputs, new, ys, program.steps, list(tape.values()), marked)
        state = len(self.state)
        xs = len(self.inputs) - len(self.captured) - state
        return Loop(body, Sizes(len(self.captured), state, xs), count)

    def _is_as_trusted(self, loop: Loop, given: Sequence[Given], raws: tuple[Any, ...]) -> bool:
        """Whether turns that were not noted gave what the loop gives, with graphs as the body."""
        graphs = _in_graph(self.turn)
        if any(_in_graph(turn) != graphs for turn in self.later):
            return False
        return same_constant(loop.forward(*[x.raw for x in given])[0], raws)

    def _application(self, step: ScanStep, given: Sequence[Given], raws: Any) -> Application:
        """The loop in the graph, to be differentiated; after the call the turns are there again."""
        new = Application.__new__(Application)
        new.function = step.function
        new.inputs = tuple([x.node for x in given])
        new.args = tuple([x.raw for x in given])
        new.settings = {}
        new.output = raws
        new.saved = new.trace = None
        new.number = next_number()
        new.constants = ()
        new.owner = nobody
        self.recorder._step_of[new] = step
        self.recorder.differentiated.add(step)
        return new

    def _result(self, like: Any, raw: Any, value: Value, node: Output | None) -> Any:
        """A result of the loop as the function gets it."""
        if type(like) is StandIn or not isinstance(like, Variable):
            self.recorder.register(raw, value)
            return stand_in(raw, value)
        out = box(raw, None if node_of(like) is None else node)
        if node is not None:
            node.owner = ref(out)
        self.recorder.register(out, value)
        return out


def _ends(count: int, state: int) -> Function:
    """The Function that hands gradients of a loop's results on to its turns.

    The last output's come first: so they do eagerly, and the order of sums is theirs.
    """

    def joint(g: Any, y: Any, wanted: list[bool], *ends: Any) -> list[Any]:
        gradients = list(g[:state])
        for of_turns in reversed(g[state:]):
            gradients.extend([None] * count if of_turns is None else of_turns)
        return gradients

    function = Function(lambda *ends: ends, (), joint, "scan")
    function.owned = True
    return function


def _in_graph(turn: Turn | Later) -> list[bool]:
    """Which of the results of a turn are in a graph."""
    return [node_of(x) is not None for x in (*turn.new, *turn.ys)]


def nodes_of(xs: Iterable[Any]) -> list[Node]:
    """The nodes of those that are in a graph."""
    nodes = map(node_of, xs)
    return [node for node in nodes if node is not None]


def _is_since(turn: Turn, node: Node | None) -> bool:
    """Whether a turn itself recorded a node."""
    return node is not None and node.number >= turn.since


def _is_half(v: Operand) -> bool:
    """Whether sums of its gradients are of another type: they are made in float32."""
    return not isinstance(v, Value) or v.dtype == np.float16


def _distinct(nodes: Sequence[Node]) -> bool:
    return len(set(nodes)) == len(nodes)
