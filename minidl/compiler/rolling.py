"""The turns of a scan rolled up: one step in place of all, and one application in the graph.

Whether they may be is asked here, whether they are the same program in turn.py; how the step runs
is in scan.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
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

UNEVEN = (
    "a scan whose turns, or their derivatives, are not one program"  # it is noted anew, unrolled
)


class Rolling:
    """One step in place of all turns; ``first`` is the turn that is its body."""

    def __init__(self, watched: Turns, matches: list[Match], apart: bool) -> None:
        self.recorder = watched.recorder
        self.turns = watched.turns[apart:]
        self.later = watched.later
        self.xs = watched.xs
        self.first = turn = watched.turns[-1]  # whose state has a graph, if any has
        count = len(turn.state)
        self.state = turn.given[:count]
        self.row = turn.given[count:]
        self.new = turn.made[:count]
        self.ys = turn.made[count:]
        matches = matches[apart:]
        self.drawn = list(matches[0].drawn)
        self.rows = [tuple([match.drawn.get(v, v) for match in matches]) for v in self.drawn]
        self.captured = self._captured()
        self.inputs = [*self.captured, *turn.given, *self.drawn]
        self.raws = self._raws()
        self.nodes = self._nodes()

    def _captured(self) -> list[Value]:
        """The Values that the body reads, and does not make."""
        known = {*self.first.given, *self.drawn}
        captured: dict[Value, None] = {}
        for step in self.first.steps:
            captured.update(dict.fromkeys(values_in(step.operands)))
            known.update(step.outs)
        captured.update(dict.fromkeys(values_in(self.first.made)))
        return [v for v in captured if v not in known]

    def _raws(self) -> dict[Operand, Any]:
        """The arrays and numbers that are captured."""
        wanted = {*self.captured, *values_in(tuple(self.rows))}
        raws: dict[Operand, Any] = dict(self.recorder.numbers)
        for x in self.recorder._kept:
            value = self.recorder._of_object.get(id(x))
            if isinstance(value, Value) and value in wanted:
                raws[value] = raw_of(x)
        return raws

    def _nodes(self) -> dict[Operand, Node]:
        """The nodes of what the body is given or captures, as far as they are in a graph."""
        turn = self.first
        made = [x for x in (*turn.new, *turn.ys) if _is_made(x, turn.since)]
        of_node = self.recorder._of_node
        return {of_node.get(node): node for node in sources(made, turn.since)}

    # ---- whether it can be ---------------------------------------------------------------------

    def can_be(self) -> bool:
        """Whether all is arrays, each known, and sums of gradients can be those of single turns."""
        turn = self.first
        parts = (*turn.given, *turn.made, *self.turns[0].given)
        wanted = {*self.captured, *values_in(tuple(self.rows))}
        if not all(isinstance(v, Value) for v in parts) or not wanted <= self.raws.keys():
            return False
        if not self.nodes.keys() <= {*self.captured, *turn.given} or self._gives_on():
            return False
        return not any(_is_half(v) for v in self.nodes) and self._adds_up()

    def _gives_on(self) -> bool:
        """Whether it gives a Variable that was there before the loop, which no turn's graph has."""
        turn = self.first
        given = {*nodes_of(turn.state), *nodes_of(turn.row)}
        results = [x for x in (*turn.new, *turn.ys) if not _is_made(x, turn.since)]
        return not given.issuperset(nodes_of(results))

    @property
    def is_of_arrays(self) -> bool:
        """Whether turns need nobody who notes draws, or numbers that change from call to call."""
        return not self.drawn and all(v.dtype is not None for v in self.captured)

    def _adds_up(self) -> bool:
        """Whether gradients of one turn after the other add up in the order of the eager ones.

        They do not where one Variable has two names: captured and carried, or given out twice.
        """
        turn = self.first
        state = nodes_of(turn.state)
        new = nodes_of(turn.new)
        ys = nodes_of(turn.ys)
        begin = nodes_of(self.turns[0].state)
        captured = [self.nodes[v] for v in self.captured if v in self.nodes]
        given_out = {*new, *state}.intersection(ys)
        passed_on = {*state}.intersection(new)
        return (
            _distinct([*captured, *begin])
            and all(map(_distinct, (nodes_of(self.xs), new, ys)))
            and {*captured}.isdisjoint([*new, *ys])
            and {*begin}.isdisjoint(new)
            and (not given_out or not passed_on)
            and not ({*new} & {*ys} and {*state} & {*ys})
        )

    # ---- the step ------------------------------------------------------------------------------

    def take_place(self) -> tuple[list[Any], list[Any]]:
        """Note the loop, whose turns' steps are away; the last state, the stacked outputs."""
        recorder = self.recorder
        turns: list[Turn | Later] = [*self.turns, *self.later]
        columns = [[turn.ys[k] for turn in turns] for k in range(len(self.ys))]
        stacked = [np.stack(list(map(raw_of, ys))) for ys in columns]
        raws = (*map(raw_of, turns[-1].new), *stacked)
        sizes = Sizes(len(self.captured), len(self.state), len(self.row) + len(self.rows))
        loop = Loop(self._body(), sizes, len(turns))
        args = self._args()
        if self.later and not (self._ends_alike() and same_constant(loop.forward(*args)[0], raws)):
            recorder.stop(UNEVEN)
        step = ScanStep(
            loop, loop.function(), self._operands(), (tuple(map(Value, raws)), Value(None))
        )
        for turn in self.turns:
            recorder.differentiated.difference_update(turn.tape)
        recorder.steps.append(step)
        recorder.tape.append(step)
        nodes: list[Output | None] = [None] * len(raws)
        parents = self._parents()
        likes = [*self.first.new, *self.first.ys]
        if any(parents) and nodes_of(likes):
            application = self._application(step, parents, args, raws)
            nodes = [Output(application, i, raw) for i, raw in enumerate(raws)]
            recorder.derivations[loop] = Derivation(self, loop)
            ends = [*turns[-1].new]
            for ys in reversed(columns):
                ends += ys
            recorder.replaced.append((application, _ends(len(turns), len(self.state)), ends))
        if recorder.stopped is not None:
            recorder.put_back_graphs()
        results = list(map(self._result, likes, raws, step.out[0], nodes))
        return results[: len(self.state)], results[len(self.state) :]

    def _ends_alike(self) -> bool:
        """Whether what later turns gave is in a graph where it is in that of the body."""
        like = [node_of(x) is None for x in (*self.first.new, *self.first.ys)]
        return all(
            like == [node_of(x) is None for x in (*turn.new, *turn.ys)] for turn in self.later
        )

    def _body(self) -> Body:
        turn = self.first
        program, by = clone(Program(self.inputs, [], turn.steps))
        tape = {step: clone_step(step, by) for step in turn.tape}
        marked = {tape[step] for step in turn.tape if step in self.recorder.differentiated}
        new = [replace(v, by) for v in self.new]
        ys = [replace(v, by) for v in self.ys]
        return Body(program.inputs, new, ys, program.steps, list(tape.values()), marked)

    def _operands(self) -> tuple[Operand, ...]:
        begin = self.turns[0].given[: len(self.state)]
        return (*self.captured, *begin, *map(self.recorder.operand, self.xs), *self.rows)

    def _args(self) -> tuple[Any, ...]:
        """The operands as they are."""
        captured = [self.raws[v] for v in self.captured]
        given = map(raw_of, (*self.turns[0].state, *self.xs))
        rows = [tuple([self.raws[v] for v in row]) for row in self.rows]
        return (*captured, *given, *rows)

    def _parents(self) -> tuple[Node | None, ...]:
        """The operands' nodes."""
        captured = map(self.nodes.get, self.captured)
        given = map(node_of, (*self.turns[0].state, *self.xs))
        return (*captured, *given, *[None] * len(self.rows))

    def _application(self, step: ScanStep, parents: Any, args: Any, raws: Any) -> Application:
        """The loop in the graph, to be differentiated; after the call the turns are there again."""
        new = Application.__new__(Application)
        new.function = step.function
        new.inputs = parents
        new.args = args
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
    """The Function that hands gradients of a loop's results on to its turns."""

    def joint(g: Any, y: Any, wanted: list[bool], *ends: Any) -> list[Any]:
        rows: list[Any] = []
        for g_k in reversed(g[state:]):
            rows += [None] * count if g_k is None else [g_k[t] for t in range(count)]
        return [*g[:state], *rows]

    function = Function(lambda *ends: ends, (), joint, "scan")
    function.owned = True
    return function


def nodes_of(xs: Iterable[Any]) -> list[Node]:
    """The nodes of those that are in a graph."""
    nodes = map(node_of, xs)
    return [node for node in nodes if node is not None]


def _is_made(x: Any, since: int) -> bool:
    node = node_of(x)
    return node is not None and node.number >= since


def _is_half(v: Operand) -> bool:
    """Whether sums of its gradients are of another type: they are made in float32."""
    return not isinstance(v, Value) or v.dtype == np.float16


def _distinct(nodes: Sequence[Node]) -> bool:
    return len(set(nodes)) == len(nodes)
