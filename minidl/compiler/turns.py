"""The turns of a scan while it is recorded: if all are one program, one step stands for the loop.

How such a step is run is in scan.py.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from minidl.autograd.engine import walk
from minidl.autograd.function import Function
from minidl.autograd.modes import Switch
from minidl.autograd.node import Application, Node, Output, next_number, nobody
from minidl.autograd.targets import sources
from minidl.autograd.variable import Variable, box
from minidl.common.pytree import flatten, unflatten
from minidl.compiler.derivative import Recorder
from minidl.compiler.effects import pause
from minidl.compiler.passes import optimized
from minidl.compiler.program import Operand, Program, Step, Value, replace, values_in
from minidl.compiler.recorder import Again, Notes
from minidl.compiler.scan import (
    Backward,
    Body,
    Loop,
    ScanStep,
    Sizes,
    Variant,
    clone,
    clone_step,
    nothing,
)
from minidl.compiler.standin import StandIn, stand_in, unwrap
from minidl.compiler.values import Input

UNEVEN = (
    "a scan whose turns, or their derivatives, are not one program"  # it is noted anew, unrolled
)
NOTED = 32  # turns, before others are trusted
OBSERVED = 2  # turns in which C functions that are called are seen
PARTS = ((0, 2), (2, 4))  # of a turn's operands: what it is given, what it gives
VARIANTS = 8  # of the backward of a turn


class Turn(NamedTuple):
    """One turn as it was noted: what it was given, what it gave, as operands and as they are."""

    steps: list[Step]
    tape: list[Step]
    state: list[Any]
    row: list[Any]
    new: list[Any]
    ys: list[Any]
    operands: tuple[tuple[Operand, ...], ...]  # of these four
    since: int  # the number of its first application, or less


# ---- whether two turns are the same --------------------------------------------------------------


class Match:
    """Whether another turn is what ``first`` is, applied to what the other was given."""

    def __init__(self, recorder: Notes, first: Turn, other: Turn) -> None:
        self.to: dict[Value, Operand] = {}  # the other's Values by the first's
        self.drawn: dict[Value, Value] = {}  # those that are drawn anew in each turn
        self.inputs = {x.value: x for x in recorder.inputs}
        given, made = (list(zip(first.operands[i:j], other.operands[i:j])) for i, j in PARTS)
        self.agrees = (
            all(itertools.starmap(self._bind, given))
            and self._steps(first.steps, other.steps)
            and all(itertools.starmap(self._operand, made))
        )

    def _steps(self, first: list[Step], other: list[Step]) -> bool:
        return len(first) == len(other) and all(map(self._step, first, other))

    def _step(self, a: Step, b: Step) -> bool:
        if isinstance(a, ScanStep) and isinstance(b, ScanStep):
            same = self._loop(a, b)
        else:
            same = same_call(a.call, b.call)
        return (
            same
            and not a.is_effect
            and (a.derivative, a.errors) == (b.derivative, b.errors)
            and same_constant(a.settings, b.settings)
            and self._operand(a.operands, b.operands)
            and self._bind(a.out, b.out)
        )

    def _loop(self, a: ScanStep, b: ScanStep) -> bool:
        """Whether two loops inside the turns are the same."""
        mine, its = a.loop.body, b.loop.body
        forms = (a.loop.sizes, a.loop.count, a.backward) == (b.loop.sizes, b.loop.count, b.backward)
        return (
            forms
            and self._bind(tuple(mine.inputs), tuple(its.inputs))
            and self._steps(mine.steps, its.steps)
            and self._operand((*mine.state, *mine.ys), (*its.state, *its.ys))
        )

    def _bind(self, a: Any, b: Any) -> bool:
        """Let what the other turn is given, or makes, be what the first is."""
        if type(a) is tuple:
            return type(b) is tuple and len(a) == len(b) and all(map(self._bind, a, b))
        if not isinstance(a, Value) or not a.same_form(b):
            return False
        return self.to.setdefault(a, b) is b

    def _operand(self, a: Operand, b: Operand) -> bool:
        if type(a) is tuple:
            return type(b) is tuple and len(a) == len(b) and all(map(self._operand, a, b))
        if not isinstance(a, Value) or not isinstance(b, Value):
            return not isinstance(a, Value) and same_constant(a, b)
        return self.to.get(a, a) is b or (a not in self.to and self._alike(a, b))

    def _alike(self, a: Value, b: Value) -> bool:
        """Whether both are drawn in their turns, or constants of the same numbers."""
        mine, its = self.inputs.get(a), self.inputs.get(b)
        if mine is None or its is None or mine.kind != its.kind or not a.same_form(b):
            return False
        if mine.kind == "draw":
            return self.drawn.setdefault(a, b) is b
        both = isinstance(mine.of, np.ndarray) and isinstance(its.of, np.ndarray)
        return both and same_constant(mine.of, its.of)


def same_constant(a: Any, b: Any) -> bool:
    """Whether two constants are the same: types, and every bit of arrays."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        same = (a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides)
        return same and a.tobytes() == b.tobytes()
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same_constant, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_constant(a[key], b[key]) for key in a)
    return bool(a == b) if callable(a) else repr(a) == repr(b)


def same_call(a: Any, b: Any) -> bool:
    """Whether two calls are one function, or the same code over the same constants."""
    if type(a) is type(b) is Again:
        return same_constant(vars(a), vars(b))
    if not type(a) is type(b) is FunctionType or a is b:
        return bool(a == b)
    cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]
    return a.__code__ is b.__code__ and same_constant(*cells)


# ---- watching a loop -----------------------------------------------------------------------------


class Later(NamedTuple):
    """What a turn gave that was not noted."""

    new: list[Any]
    ys: list[Any]


class Turns:
    """Watches the turns of one scan.

    The first ones are noted. If these are one program, the others run as they are; that they were
    that program, too, is seen by what they give: the loop, run for it, must give the same bits.
    """

    def __init__(
        self, recorder: ScanRecorder, step: Callable[..., Any], state: list[Any], xs: list[Any]
    ) -> None:
        self.recorder = recorder
        self.step = step
        self.state = list(map(recorder.seen, state))
        self.xs = list(map(recorder.seen, xs))
        self.ys: list[Any] = []
        self.turns: list[Turn] = []
        self.later: list[Later] = []
        self.start = len(recorder.steps), len(recorder.tape)
        self._begun = (*self.start, next_number())
        self._observer: Any = None
        self._trusted: Rolling | None = None

    def call(self, state: Any, x: Any) -> Any:
        """The next turn. After two, nobody watches its C functions: that takes longest of all."""
        if len(self.turns) == OBSERVED and self._observer is None:
            self._observer = pause()
        if len(self.turns) == NOTED and not self.later and self.recorder.stopped is None:
            rolling = self._rolling()
            self._trusted = None if rolling is None or rolling.drawn else rolling
        if self._trusted is not None:
            with Switch(tracer=None):
                return self.step(_plain(state), _plain(x))
        self._begun = len(self.recorder.steps), len(self.recorder.tape), next_number()
        return self.step(state, x)

    def end(self, row: Sequence[Any], new: list[Any], ys: list[Any]) -> None:
        """A turn has ended: the slices that it was given, the state and outputs that it gave."""
        recorder = self.recorder
        if self._trusted is not None:
            self.later.append(Later(new, ys))
        elif recorder.stopped is None:
            steps, tape, since = self._begun
            parts = (self.state, [*row], new, ys)
            self.state = new
            operands = tuple([tuple(map(recorder.operand, part)) for part in parts])
            notes = recorder.steps[steps:], recorder.tape[tape:]
            self.turns.append(Turn(*notes, *parts, operands, since))

    def rolled(self) -> bool:
        """Whether ``state`` and ``ys`` are the results: mostly of one step, in place of the turns."""
        recorder = self.recorder
        if self._observer is not None:
            sys.setprofile(self._observer)
        rolling = self._trusted
        if rolling is None and recorder.stopped is None:
            rolling = self._rolling()
        if rolling is None:
            return False
        apart = len(rolling.turns) < len(self.turns)
        if apart:
            self._begin_apart(rolling)
        else:
            del recorder.steps[self.start[0] :], recorder.tape[self.start[1] :]
        self.state, ys = rolling.take_place()
        self.ys = self._with_first(ys) if apart else ys
        return True

    def _rolling(self) -> Rolling | None:
        """What makes one step of the turns, if they are the same."""
        turns = self.turns
        if self.recorder.unrolls or len(turns) < 2:
            return None
        matches = [Match(self.recorder, turns[-1], turn) for turn in turns]
        apart = not matches[0].agrees  # such as from a number, where later turns have an array
        if not all(match.agrees for match in matches[1:]) or (apart and not self._may_begin()):
            return None
        rolling = Rolling(self, matches, apart)
        return rolling if rolling.can_be() else None

    def _with_first(self, ys: list[Any]) -> list[Any]:
        """Stacked outputs of all turns, from those of all but the first."""
        with Switch(tracer=self.recorder):
            pairs = zip(self.turns[0].ys, ys, strict=True)
            return [np.concatenate([np.expand_dims(y, 0), rest]) for y, rest in pairs]

    def _may_begin(self) -> bool:
        """Whether the first turn may stand before the loop."""
        return len(self.turns) > 2 and all(map(_is_constant_array, self.xs))

    def _begin_apart(self, rolling: Rolling) -> None:
        """Leave the first turn where it is, before the loop."""
        recorder = self.recorder
        first, second = self.turns[:2]
        steps = [*first.steps]
        tape = [*first.tape]
        del recorder.steps[self.start[0] :], recorder.tape[self.start[1] :]
        with Switch(tracer=recorder):
            for x, value in zip(self.xs, first.operands[1], strict=True):
                x[0]  # which notes a step: it gives what the turn was given
                recorder.steps[-1].out = value
                recorder.steps[-1].outs = (value,)
            rolling.xs = [x[1:] for x in self.xs]
        recorder.steps += steps
        recorder.tape += tape


class Rolling:
    """One step in place of all turns; ``first`` is the turn that is its body."""

    def __init__(self, watched: Turns, matches: list[Match], apart: bool) -> None:
        self.recorder = watched.recorder
        self.turns = turns = watched.turns[apart:]
        self.later = watched.later
        self.xs = xs = watched.xs
        self.first = first = watched.turns[-1]  # whose state has a graph, if any has
        matches = matches[apart:]
        self.state, self.row, self.new, self.ys = first.operands
        self.drawn = list(matches[0].drawn)
        self.rows = [tuple([match.drawn.get(v, v) for match in matches]) for v in self.drawn]
        self.captured = self._captured()
        self.inputs = [*self.captured, *self.state, *self.row, *self.drawn]
        self.raws = self._raws()
        outs = [x for x in (*first.new, *first.ys) if _is_made(x, first.since)]
        of_node = self.recorder._of_node
        self.nodes = {of_node.get(node): node for node in sources(outs, first.since)}
        before = map(node_of, (*turns[0].state, *xs))
        self.parents = (*map(self.nodes.get, self.captured), *before, *[None] * len(self.rows))

    def _captured(self) -> list[Value]:
        turn = self.first
        given = values_in((self.state, self.row, tuple(self.drawn)))
        known = {v for step in turn.steps for v in step.outs}.union(given)
        used = [v for step in turn.steps for v in values_in(step.operands)]
        used += values_in((self.new, self.ys))
        return [v for v in dict.fromkeys(used) if v not in known]

    def _raws(self) -> dict[Operand, Any]:
        """The arrays and numbers that are captured."""
        of_object = self.recorder._of_object
        wanted = {*self.captured, *values_in(tuple(self.rows))}
        pairs = [(of_object.get(id(x)), x) for x in self.recorder._kept]
        return {v: raw_of(x) for v, x in pairs if isinstance(v, Value) and v in wanted}

    def can_be(self) -> bool:
        """Whether all is arrays, each known, and sums of gradients can be those of single turns."""
        parts = (*self.state, *self.row, *self.new, *self.ys, *self.turns[0].operands[0])
        captured = {*self.captured, *values_in(tuple(self.rows))}
        return (
            all(isinstance(v, Value) for v in parts)
            and self.raws.keys() >= captured
            and self.nodes.keys() <= {*self.captured, *self.state, *self.row}
            and all(v is not None and v.dtype != np.float16 for v in self.nodes)
            and self._adds_up()
        )

    def _adds_up(self) -> bool:
        """Whether gradients of one turn after the other add up in the order of the eager ones.

        They do not where one Variable has two names: captured and carried, given out as it came.
        """
        first = self.turns[0]
        state, new, ys, xs = (
            list(map(node_of, part))
            for part in (self.first.state, self.first.new, self.first.ys, self.xs)
        )
        begin = list(map(node_of, first.state))
        captured = list(map(self.nodes.get, self.captured))
        early = {node for node in ys if node in new}
        passed = {node for node in state if node in new}
        return (
            all(map(_distinct, ([*captured, *begin], xs, new, ys)))
            and _disjoint(captured, [*new, *ys])
            and _disjoint(state, ys)
            and _disjoint(begin, new)
            and not (early - {None} and passed - {None})
        )

    def take_place(self) -> tuple[list[Any], list[Any]]:
        """Note the loop, whose turns' steps are away; the last state, the stacked outputs."""
        recorder = self.recorder
        all_turns: list[Any] = [*self.turns, *self.later]
        last = all_turns[-1]
        columns = [[turn.ys[k] for turn in all_turns] for k in range(len(self.ys))]
        raws = (*map(raw_of, last.new), *[np.stack([*map(raw_of, ys)]) for ys in columns])
        sizes = Sizes(len(self.captured), len(self.state), len(self.row) + len(self.rows))
        loop = Loop(self._body(), sizes, len(all_turns))
        args = self._args()
        if self.later and not all(map(same_constant, loop.forward(*args)[0], raws)):
            recorder.stop(UNEVEN)
        xs = map(recorder.operand, self.xs)
        operands = (*self.captured, *self.turns[0].operands[0], *xs, *self.rows)
        step = ScanStep(loop, loop.function(), operands, (tuple(map(Value, raws)), Value(None)))
        recorder.differentiated.difference_update(*[turn.tape for turn in self.turns])
        recorder.steps.append(step)
        recorder.tape.append(step)
        likes = [*self.first.new, *self.first.ys]
        nodes: list[Output | None] = [None] * len(raws)
        if any(self.parents) and any(node_of(x) is not None for x in likes):
            application = self._application(step, args, raws)
            nodes = [Output(application, i, raw) for i, raw in enumerate(raws)]
            recorder.derivations[loop] = Derivation(self, loop)
            ends = [*last.new, *[y for ys in reversed(columns) for y in ys]]
            function = _ends(len(all_turns), len(self.state))
            recorder.replaced.append((application, function, ends))
        if recorder.stopped is not None:
            recorder.put_back_graphs()
        results = [self._result(*part) for part in zip(likes, raws, step.out[0], nodes)]
        return results[: len(self.state)], results[len(self.state) :]

    def _args(self) -> tuple[Any, ...]:
        """The operands as they are."""
        rows = [tuple([self.raws[v] for v in row]) for row in self.rows]
        captured = [self.raws[v] for v in self.captured]
        return (*captured, *map(raw_of, (*self.turns[0].state, *self.xs)), *rows)

    def _body(self) -> Body:
        turn = self.first
        program, by = clone(Program(self.inputs, [], turn.steps))
        tape = {step: clone_step(step, by) for step in turn.tape}
        marked = {tape[step] for step in turn.tape if step in self.recorder.differentiated}
        new, ys = ([replace(v, by) for v in part] for part in (self.new, self.ys))
        return Body(program.inputs, new, ys, program.steps, [*tape.values()], marked)

    def _application(self, step: ScanStep, args: Any, raws: Any) -> Application:
        """The loop in the graph, to be differentiated; after the call the turns are there again."""
        new = Application.__new__(Application)
        new.function = step.function
        new.inputs = self.parents
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


def node_of(x: Any) -> Node | None:
    """The node of a Variable in a graph."""
    return x._node if isinstance(x, Variable) else None


def _plain(tree: Any) -> Any:
    """Arrays in place of stand-ins."""
    leaves, structure = flatten(tree)
    return unflatten(structure, list(map(unwrap, leaves)))


def _is_made(x: Any, since: int) -> bool:
    node = node_of(x)
    return node is not None and node.number >= since


def _is_constant_array(x: Any) -> bool:
    return type(x) is StandIn or (isinstance(x, Variable) and x._node is None)


def raw_of(x: Any) -> Any:
    """The array or number of a Variable."""
    return getattr(x, "_raw", x)


def _disjoint(a: Any, b: Any) -> bool:
    return {*a}.isdisjoint({*b} - {None})


def _distinct(nodes: Any) -> bool:
    nodes = [node for node in nodes if node is not None]
    return len(set(nodes)) == len(nodes)


# ---- the backward of a turn ----------------------------------------------------------------------


class Derivation:
    """Derives the backward of a loop from the graph of the turn that is its body."""

    def __init__(self, rolling: Rolling, loop: Loop) -> None:
        turn = rolling.first
        self.recorder = rolling.recorder
        self.loop = loop
        self.steps = turn.steps
        self.since = turn.since
        self.inputs = rolling.inputs
        self.outputs = list(dict.fromkeys([*rolling.new, *rolling.ys]))
        self.before = rolling.state
        self.captured = [rolling.nodes.get(v) for v in rolling.captured]
        self.state = list(map(node_of, turn.state))
        self.xs = [*map(node_of, turn.row), *[None] * len(rolling.drawn)]
        self.new = list(map(node_of, turn.new))
        self.ys = list(map(node_of, turn.ys))
        self.early = {self.new.index(y): k for k, y in enumerate(self.ys) if y and y in self.new}

    def backward(self, gs: Sequence[Any], wanted: Sequence[bool], held: Sequence[Any]) -> Any:
        """The backward for such gradients of the results; None if it is none of single turns.

        ``held``: what captured values and the first state have received already, or None.
        """
        captured, state, _ = self.loop.sizes
        begun = {j for j in range(state) if held[captured + j] is not None}
        begun |= {j for j, k in self.early.items() if gs[state + k] is not None}
        begun = {j for j in begun if self.state[j] is not None}
        key = (tuple(map(_form, gs)), tuple(wanted), frozenset(begun))
        if key not in self.loop.backwards:
            backward = _Backwards(self, gs, wanted, sorted(begun)).backward()
            if backward is None:
                return None
            self.loop.backwards[key] = backward
        return self.loop.backwards[key]


def _form(g: Any) -> Any:
    return None if g is None else (g.dtype.str, g.strides)


class _Backwards:
    """The backwards of all turns, the last turn's first: each for what the one after it gives."""

    def __init__(
        self, of: Derivation, gs: Sequence[Any], wanted: Sequence[bool], begun: list[int]
    ) -> None:
        self.of = of
        captured, state, _ = of.loop.sizes
        self.gs = [None if g is None else Value(g) for g in gs[:state]]
        self.rows = {k: Value(g[0]) for k, g in enumerate(gs[state:]) if g is not None}
        self.begun = begun
        self.captured = [n if w else None for n, w in zip(of.captured, wanted)]
        self.xs = [n if w else None for n, w in zip(of.xs, wanted[captured + state :])]
        self.summed: dict[int, Value] = {}  # how sums lie in memory, by the place of the captured
        self._made: dict[Any, tuple[Variant, list[Any]]] = {}

    def backward(self) -> Backward | None:
        """What runs them."""
        found: dict[int, Value] = {}
        if self._variants(found) is None:  # only to see what is summed up
            return None
        self.summed = found
        self._made = {}
        variants = self._variants({})
        if variants is None:
            return None
        early = {j: k for j, k in self.of.early.items() if k in self.rows}
        return Backward(self.of.loop, variants, early, found)

    def _variants(self, found: dict[int, Value]) -> list[Variant] | None:
        carried = self.gs
        variants = []
        count = self.of.loop.count
        for t in reversed(range(count)):
            last = t == count - 1 and bool(self.of.early)
            forms = [None if v is None else (v.axes, v.dtype.str) for v in carried]
            key = (*forms, last)
            if key not in self._made:
                made = self._derived(carried, last, found)
                if made is None or len(self._made) == VARIANTS:
                    return None
                self._made[key] = made
            variant, carried = self._made[key]
            variants.append(variant)
        return variants[::-1]

    def _derived(
        self, carried: list[Any], last: bool, found: dict[int, Value]
    ) -> tuple[Variant, list[Any]] | None:
        """The backward of a turn, and how the gradients lie that it gives the state before."""
        of = self.of
        sub = of.recorder.inner()
        early = set() if last else set(of.early.values())
        present = [j for j, v in enumerate(carried) if v is not None and of.new[j] is not None]
        rows = [k for k in self.rows if of.ys[k] is not None and k not in early]
        places: list[tuple[Any, Value]] = [(of.new[j], carried[j]) for j in present]
        places += [(of.ys[k], self.rows[k]) for k in rows]
        places += [(of.state[j], of.before[j]) for j in self.begun]
        places += [(self.captured[c], v) for c, v in self.summed.items()]
        nodes = [*of.state, *self.xs, *self.captured]
        seeds: dict[Node, Any] = {}
        values: list[Value] = []
        with Switch(tracer=sub, recording=False, transforming=None), np.errstate(all="ignore"):
            for node, like in places:
                g = box(np.abs(nothing(like))[()] + like.dtype.type(1), None)
                values.append(Value(g._raw))
                sub.register(g, values[-1])
                seeds[node] = seeds[node] + g if node in seeds else g
            targets = {node for node in nodes if node is not None}
            gradients = walk(seeds, sub.box, targets=targets, since=of.since)
            given = [None if node is None else gradients.get(node) for node in nodes]
            operands = tuple([None if g is None else sub.operand(g) for g in given])
        made = self._program(sub, values, operands)
        if made is None:
            return None
        forms = [None if g is None else Value(g._raw) for g in given]
        others = len(of.state) + len(of.xs)
        for c, form in enumerate(forms[others:]):
            if form is not None:
                found.setdefault(c, form)
        return Variant(*made, present, rows, self.begun, [*self.summed]), forms[: len(of.state)]

    def _program(
        self, sub: Any, seeds: list[Value], operands: tuple[Operand, ...]
    ) -> tuple[Program, list[Any]] | None:
        """The forward and the backward of a turn, and constant arrays that it reads besides."""
        of = self.of
        if sub.stopped is not None:
            return None
        inputs = (*of.recorder.inputs, *sub.inputs)
        used = {v for step in sub.steps for v in values_in(step.operands)}.union(
            values_in(operands)
        )
        constants = {x.value: x.of for x in inputs if x.value in used and _is_constant(sub, x)}
        program = Program([*of.inputs, *constants], [*of.outputs], [*of.steps, *sub.steps])
        program.backward_at = len(of.steps)
        program.seeds = seeds
        others = len(of.state) + len(of.xs)
        sums = [operands[others + c] for c in self.summed]
        program.gradients = [*operands[:others], *sums]
        known = {*program.inputs, *seeds, *[v for step in program.steps for v in step.outs]}
        if not known >= used.union(program.results):
            return None
        return optimized(clone(program)[0]), [*constants.values()]


def _is_constant(recorder: Notes, x: Input) -> bool:
    return x.kind == "object" and isinstance(x.of, np.ndarray) and id(x.of) not in recorder.where


# ---- the recorder --------------------------------------------------------------------------------


class ScanRecorder(Recorder):
    """Notes of a function with its loops. ``unrolls``: they are noted turn by turn."""

    def __init__(self, where: dict[int, str]) -> None:
        super().__init__(where)
        self.unrolls = False
        self.derivations: dict[Loop, Derivation] = {}
        self.constants: list[Input] = []  # what rules made in turns
        self.replaced: list[tuple[Application, Function, list[Any]]] = []

    def inner(self) -> ScanRecorder:
        """A recorder that knows the same Values, and has no notes yet."""
        new = copy.copy(self)
        new.steps = []
        new.tape = []
        new.inputs = self.constants
        new.deriving = True
        new.stopped = None
        return new

    def seen(self, x: Any) -> Any:
        """A stand-in for an array of numbers or rows; single integers may be read, by turns."""
        plain = type(x) is np.ndarray and (x.ndim > 1 or x.dtype.kind == "f")
        return stand_in(x, self._of_array(x)) if plain and self.stopped is None else x

    def scan(self, step: Callable[..., Any], state: list[Any], xs: list[Any]) -> Turns:
        """What watches the turns of a scan from this state over these arrays."""
        return Turns(self, step, state, xs)

    def boxed(self, node: Application) -> tuple[Sequence[Any], Any] | None:
        """Arguments and result of an application."""
        if not self.deriving and isinstance(self._step_of.get(node), ScanStep):
            self.stop(UNEVEN)  # a gradient with a graph of its own
        return super().boxed(node)

    def joined(
        self, node: Application, g: Any, wanted: Sequence[bool], pending: dict[Node, Any]
    ) -> Sequence[Any]:
        """The gradients of a joint rule; those of a loop go on from what has been received."""
        step = self._step_of.get(node)
        if not isinstance(step, ScanStep):
            return super().joined(node, g, wanted, pending)
        captured, state, _ = step.loop.sizes
        parents: Any = node.inputs
        first = zip(parents[: captured + state], wanted)
        held = [pending.get(parent) if want else None for parent, want in first]
        backward = self.derivations[step.loop].backward(list(map(raw_of, g)), wanted, held)
        gradients: list[Any] = [None] * len(parents)
        with Switch(tracer=None):
            raws = tuple(map(raw_of, g)), tuple(map(raw_of, held))
            if backward is None:
                self.stop(UNEVEN)
                found = step.loop.joint(raws[0], node.output, None, [*wanted], *node.args)
                return [None if gx is None else box(gx, None) for gx in found]
            found = backward(*raws, (), *node.args)
        places = [i for i, want in enumerate(wanted) if want and found[i] is not None]
        outs = tuple([Value(found[i]) for i in places])
        if self.stopped is None:
            self._note_backward(step, backward, (g, held), outs, places)
        for i, v in zip(places, outs, strict=True):
            gradients[i] = box(found[i], None)
            self.register(gradients[i], v)
            if i < len(held) and held[i] is not None:  # it is the sum
                pending[parents[i]] = gradients[i]
                gradients[i] = None
        return gradients

    def _note_backward(
        self, step: ScanStep, backward: Backward, given: Any, outs: Any, places: list[int]
    ) -> None:
        def call(*args: Any) -> tuple[Any, ...]:
            found = backward(*args)
            return tuple([found[i] for i in places])

        seeds = [tuple([None if x is None else self.operand(x) for x in part]) for part in given]
        operands = (*seeds, (step.out[1],), *step.operands)
        derivative = ScanStep(step.loop, step.function, operands, outs, call, backward)
        self.steps.append(derivative)
        self.tape.append(derivative)

    def is_whole(self, seeds: Sequence[Value], results: Any) -> bool:
        """Whether nothing is used that was noted in the turns of a loop alone."""
        known = {v for step in self.steps for v in step.outs}.union(seeds)
        known.update([x.value for x in self.inputs])
        used = [v for step in self.steps for v in values_in(step.operands)]
        return known.issuperset([*used, *values_in(results)])

    def put_back_graphs(self) -> None:
        """Let the graph be that of all turns, as eagerly: one that is left is the function's own."""
        for application, ends, leaves in self.replaced:
            self._step_of.pop(application, None)
            if application.inputs:
                application.function = ends
                application.inputs = tuple(map(node_of, leaves))
                application.args = tuple(map(raw_of, leaves))
        self.replaced = []
