"""The turns of a scan while it is recorded: if all are one program, one step stands for the loop.

How such a step is run is in scan.py.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
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
from minidl.compiler.derivative import Recorder
from minidl.compiler.effects import pause
from minidl.compiler.passes import optimized
from minidl.compiler.program import Operand, Program, Step, Value, replace, values_in
from minidl.compiler.recorder import Notes
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
from minidl.compiler.standin import StandIn, stand_in
from minidl.compiler.values import Input

UNEVEN = "a scan whose turns, or their derivatives, are not one program"  # it is noted anew, unrolled
OBSERVED = 2  # turns in which C functions that are called are seen
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
    """The Values of one turn by those of another that does the same."""

    def __init__(self, recorder: Notes, first: Turn, other: Turn) -> None:
        self.by: dict[Value, Value] = {}  # the first turn's by the other's
        self.drawn: dict[Value, Value] = {}  # the other's by the first's: drawn anew in each turn
        self.inputs = {x.value: x for x in recorder.inputs}
        state, row, new, ys = zip(first.operands, other.operands, strict=True)
        self.agrees = (
            self._bind(*state)
            and self._bind(*row)
            and self._steps(first.steps, other.steps)
            and self._operand(*new)
            and self._operand(*ys)
        )

    def _steps(self, first: list[Step], other: list[Step]) -> bool:
        return len(first) == len(other) and all(map(self._step, first, other))

    def _step(self, a: Step, b: Step) -> bool:
        if isinstance(a, ScanStep) or isinstance(b, ScanStep) or a.is_effect:
            return False
        same = a.function is b.function and a.derivative == b.derivative and a.errors == b.errors
        return (
            same
            and same_constant(a.settings, b.settings)
            and same_call(a.call, b.call)
            and self._operand(a.operands, b.operands)
            and self._bind(a.out, b.out)
        )

    def _bind(self, a: Any, b: Any) -> bool:
        """Let what the other turn is given, or makes, be what the first is."""
        if type(a) is tuple:
            return type(b) is tuple and len(a) == len(b) and all(map(self._bind, a, b))
        if not isinstance(a, Value) or not a.same_form(b):
            return False
        return self.by.setdefault(b, a) is a

    def _operand(self, a: Operand, b: Operand) -> bool:
        if type(a) is tuple:
            return type(b) is tuple and len(a) == len(b) and all(map(self._operand, a, b))
        if not isinstance(a, Value):
            return not isinstance(b, Value) and same_constant(a, b)
        if not isinstance(b, Value):
            return False
        return self.by.get(b, b) is a or self._alike(a, b)

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
        same = a.shape == b.shape and a.dtype == b.dtype and a.strides == b.strides
        return same and a.tobytes() == b.tobytes()
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same_constant, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_constant(a[key], b[key]) for key in a)
    return not callable(a) and repr(a) == repr(b)


def same_call(a: Any, b: Any) -> bool:
    """Whether two calls are one function, or the same code over the same constants."""
    if a is b or not (type(a) is type(b) is FunctionType):
        return a == b
    cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b)]
    return a.__code__ is b.__code__ and same_constant(*cells)


# ---- watching a loop -----------------------------------------------------------------------------


class Turns:
    """Watches the turns of one scan."""

    def __init__(self, recorder: ScanRecorder, xs: Sequence[Any]) -> None:
        self.recorder = recorder
        self.xs = list(map(recorder.seen, xs))
        self.turns: list[Turn] = []
        self._observer: Any = None
        self.start = len(recorder.steps), len(recorder.tape)
        self._begun = (*self.start, next_number())

    def begin(self) -> None:
        """A turn begins. After two, nobody watches which C functions it calls: that takes longest."""
        if len(self.turns) == OBSERVED:
            self._observer = pause()
        self._begun = len(self.recorder.steps), len(self.recorder.tape), next_number()

    def end(self, state: list[Any], row: Sequence[Any], new: list[Any], ys: list[Any]) -> None:
        """A turn has ended: what it was given, and what it gave."""
        recorder = self.recorder
        if recorder.stopped is not None:
            return
        steps, tape, since = self._begun
        parts = (state, [*row], new, ys)
        operands = tuple([tuple(map(recorder.operand, part)) for part in parts])
        self.turns.append(
            Turn(recorder.steps[steps:], recorder.tape[tape:], *parts, operands, since)
        )

    def rolled(self) -> tuple[list[Any], list[Any]] | None:
        """The last state and the stacked outputs, if one step stands for the loop now."""
        recorder = self.recorder
        if self._observer is not None:
            sys.setprofile(self._observer)
        if recorder.stopped is not None or recorder.unrolls or len(self.turns) < 2:
            return None
        first = self.turns[1]
        matches = [Match(recorder, first, turn) for turn in self.turns]
        if not all(match.agrees for match in matches):
            return None
        rolling = Rolling(self, first, matches)
        return rolling.take_place() if rolling.can_be() else None


class Rolling:
    """One step in place of all turns; ``first`` is the turn that is its body."""

    def __init__(self, turns: Turns, first: Turn, matches: list[Match]) -> None:
        self.recorder = turns.recorder
        self.watched = turns
        self.turns = turns.turns
        self.first = first
        self.state, self.row, self.new, self.ys = first.operands
        self.drawn = list(matches[0].drawn)
        self.rows = [tuple([match.drawn[v] for match in matches]) for v in self.drawn]
        self.captured = self._captured()
        self.inputs = [*self.captured, *self.state, *self.row, *self.drawn]
        self.raws = self._raws()
        outs = [x for x in (*first.new, *first.ys) if isinstance(x, Variable)]
        of_node = self.recorder._of_node
        self.nodes = {of_node.get(node): node for node in sources(outs, first.since)}
        before = map(node_of, (*self.turns[0].state, *turns.xs))
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
        """Whether all is arrays, and the sums of gradients are, as eagerly, those of single turns.

        They are not where one thing is captured or carried under two names.
        """
        turn = self.first
        parts = (*self.state, *self.row, *self.new, *self.ys)
        if not all(isinstance(v, Value) for v in (*parts, *self.turns[0].operands[0])):
            return False
        if not self.raws.keys() >= {*self.captured, *values_in(tuple(self.rows))}:
            return False
        if not self.nodes.keys() <= {*self.captured, *self.state, *self.row}:
            return False
        new = list(map(node_of, turn.new))
        ys = list(map(node_of, turn.ys))
        made = {*new, *ys} - {None}
        before = {*map(node_of, turn.state), *map(self.nodes.get, self.captured)}
        return (
            all(map(_distinct, (self.parents, new, ys)))
            and made.isdisjoint(before)
            and not any(v.dtype == np.float16 for v in self.nodes)
        )

    def take_place(self) -> tuple[list[Any], list[Any]]:
        """Take the turns' steps away, and note the loop."""
        recorder = self.recorder
        last = self.turns[-1]
        sizes = Sizes(len(self.captured), len(self.state), len(self.row) + len(self.rows))
        loop = Loop(self._body(), sizes, len(self.turns))
        xs = map(recorder.operand, self.watched.xs)
        operands = (*self.captured, *self.turns[0].operands[0], *xs, *self.rows)
        columns = [[turn.ys[k] for turn in self.turns] for k in range(len(self.ys))]
        raws = (*map(raw_of, last.new), *[np.stack([*map(raw_of, ys)]) for ys in columns])
        step = ScanStep(loop, loop.function(), operands, (tuple(map(Value, raws)), Value(None)))
        steps, tape = self.watched.start
        recorder.differentiated.difference_update(recorder.tape[tape:])
        recorder.steps[steps:] = [step]
        recorder.tape[tape:] = [step]
        ends = [*last.new, *last.ys]
        nodes: list[Output | None] = [None] * len(raws)
        if any(self.parents) and any(node_of(x) is not None for x in ends):
            application = self._application(step, raws, columns)
            nodes = [Output(application, i, raw) for i, raw in enumerate(raws)]
            recorder.derivations[loop] = Derivation(self, loop)
        results = [self._result(*part) for part in zip(ends, raws, step.out[0], nodes)]
        return results[: len(self.state)], results[len(self.state) :]

    def _body(self) -> Body:
        turn = self.first
        program, by = clone(Program(self.inputs, [], turn.steps))
        tape = {step: clone_step(step, by) for step in turn.tape}
        marked = {tape[step] for step in turn.tape if step in self.recorder.differentiated}
        new, ys = ([replace(v, by) for v in part] for part in (self.new, self.ys))
        return Body(program.inputs, new, ys, program.steps, [*tape.values()], marked)

    def _application(self, step: ScanStep, raws: Any, columns: list[list[Any]]) -> Application:
        """The loop in the graph, to be differentiated; after the call the turns are there again."""
        new = Application.__new__(Application)
        new.function = step.function
        new.inputs = self.parents
        captured = [self.raws[v] for v in self.captured]
        rows = [tuple([self.raws[v] for v in row]) for row in self.rows]
        new.args = (*captured, *map(raw_of, (*self.turns[0].state, *self.watched.xs)), *rows)
        new.settings = {}
        new.output = raws
        new.saved = new.trace = None
        new.number = next_number()
        new.constants = ()
        new.owner = nobody
        ends = [*self.turns[-1].new, *[y for ys in reversed(columns) for y in ys]]
        self.recorder._step_of[new] = step
        self.recorder.differentiated.add(step)
        self.recorder.replaced.append((new, _ends(len(self.turns), len(self.state)), ends))
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


def raw_of(x: Any) -> Any:
    """The array or number of a Variable."""
    return getattr(x, "_raw", x)


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
        places = [(of.new[j], carried[j]) for j in present]
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
            operands = [None if g is None else sub.operand(g) for g in given]
        program = self._program(sub, values, operands)
        if program is None:
            return None
        forms = [None if g is None else Value(g._raw) for g in given]
        others = len(of.state) + len(of.xs)
        for c, form in enumerate(forms[others:]):
            if form is not None:
                found.setdefault(c, form)
        return Variant(program, present, rows, self.begun, [*self.summed]), forms[: len(of.state)]

    def _program(self, sub: Any, seeds: list[Value], operands: list[Operand]) -> Program | None:
        of = self.of
        if sub.stopped is not None:
            return None
        inputs = (*of.recorder.inputs, *sub.inputs)
        constants = {x.value: x.of for x in inputs if _is_constant(sub, x)}
        for step in sub.steps:
            step.operands = replace(step.operands, constants)
        program = Program(of.inputs, of.outputs, [*of.steps, *sub.steps])
        program.backward_at = len(of.steps)
        program.seeds = seeds
        others = len(of.state) + len(of.xs)
        sums = [operands[others + c] for c in self.summed]
        program.gradients = [replace(x, constants) for x in (*operands[:others], *sums)]
        known = {*program.inputs, *seeds, *[v for step in program.steps for v in step.outs]}
        used = [v for step in program.steps for v in values_in(step.operands)]
        if not known.issuperset([*used, *program.results]):
            return None
        return optimized(clone(program)[0])


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

    def scan(self, xs: Sequence[Any]) -> Turns:
        """What watches the turns of a scan over these."""
        return Turns(self, xs)

    def boxed(self, node: Application) -> tuple[Sequence[Any], Any]:
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
                found = node.function.joint(raws[0], node.output, None, wanted, *node.args)
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
            if application.inputs:
                application.function = ends
                application.inputs = tuple(map(node_of, leaves))
                application.args = tuple(map(raw_of, leaves))
