"""The backward of a loop, derived from the graph of one of its turns.

How it is run is in scan.py.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from minidl.autograd.engine import walk
from minidl.autograd.modes import Switch
from minidl.autograd.node import Leaf, Node
from minidl.autograd.variable import box
from minidl.compiler.passes import optimized
from minidl.compiler.program import Operand, Program, Value, values_in
from minidl.compiler.recorder import Notes
from minidl.compiler.scan import Backward, Loop, Variant, clone, nothing
from minidl.compiler.standin import raw_of
from minidl.compiler.turn import node_of
from minidl.compiler.values import Input

if TYPE_CHECKING:
    from minidl.compiler.rolling import Rolling

VARIANTS = 8  # of the backward of a turn

Form: TypeAlias = Value | None  # of a gradient; None where none arrives


class Derivation:
    """Derives the backward of a loop from the graph of the turn that is its body.

    ``captured``, ``state``, ``xs`` are the nodes of what the turn was given, ``new`` and ``ys`` of
    what it gave. ``early`` are outputs that are parts of the new state as well, by the part.
    """

    def __init__(self, rolling: Rolling, loop: Loop) -> None:
        turn = rolling.turn
        self.recorder = rolling.recorder
        self.loop = loop
        self.steps = turn.steps
        self.since = turn.since
        self.inputs = rolling.inputs
        self.outputs = list(dict.fromkeys(turn.made))
        self.before = rolling.state
        self.captured = list(map(rolling.nodes.get, rolling.captured))
        self.state = list(map(node_of, turn.state))
        self.xs = [*map(node_of, turn.row), *[None] * len(rolling.drawn)]
        self.new = list(map(node_of, turn.new))
        self.ys = list(map(node_of, turn.ys))
        shared = {node for node in self.new if node is not None}.intersection(self.ys)
        self.early = {self.new.index(node): self.ys.index(node) for node in shared}

    def backward(
        self, gs: Sequence[Any], wanted: Sequence[bool], held: Sequence[Any]
    ) -> Backward | None:
        """The backward for such gradients of the results; None if it is none of single turns.

        ``held``: what captured values and the first state have received already, or None.
        """
        backwards = self.loop.backwards
        key = (*map(_layout, gs), tuple(wanted), *map(_layout, held))
        if key not in backwards:
            backward = _Turns(self, gs, wanted, held).backward()
            if backward is None:
                return None
            backwards[key] = backward
        return backwards[key]


def _layout(g: Any) -> Any:
    return None if g is None else (g.dtype.str, g.strides)


def _form(g: Any) -> Form:
    return None if g is None else Value(g)


class _Seeds:
    """Gradients that a turn's walk begins with: samples, of the forms that they will have."""

    def __init__(self, recorder: Notes) -> None:
        self.recorder = recorder
        self.values: list[Value] = []
        self.by_node: dict[Node, Any] = {}

    def add(self, node: Any, like: Value) -> Value:
        """Let a node have received a gradient of this form, besides others."""
        ones = np.abs(nothing(like))[()] + like.dtype.type(1)
        g = box(ones, None)
        value = Value(ones)
        self.values.append(value)
        self.recorder.register(g, value)
        before = self.by_node.get(node)
        self.by_node[node] = g if before is None else before + g
        return value


class _Derived(NamedTuple):
    """The backward of a turn, and the forms of the gradients that it gives."""

    variant: Variant
    state: list[Form]  # of the state before the turn
    captured: list[Form]


class _Turns:
    """The backwards of all turns, the last turn's first: each for what the one after it gives."""

    def __init__(
        self, of: Derivation, gs: Sequence[Any], wanted: Sequence[bool], held: Sequence[Any]
    ) -> None:
        self.of = of
        captured, state, _ = of.loop.sizes
        self.last = list(map(_form, gs[:state]))
        self.rows = {k: Value(g[0]) for k, g in enumerate(gs[state:]) if g is not None}
        self.held = list(map(_form, held[:captured]))
        self.early = {j: k for j, k in of.early.items() if k in self.rows}
        begun = {j for j, g in enumerate(held[captured:]) if g is not None} | self.early.keys()
        self.begun = [j for j in sorted(begun) if of.state[j] is not None]
        nodes = [*of.captured, *of.state, *of.xs]
        chosen = [node if want else None for node, want in zip(nodes, wanted)]
        self.captured = chosen[:captured]
        self.passed_on = [*of.state, *chosen[captured + state :]]  # what each turn's gradient is of

    def backward(self) -> Backward | None:
        """What runs them; None if they are no few programs.

        They are derived twice: first each alone, to see what is to be summed up, and how.
        """
        alone = self._derived({})
        sums = {} if alone is None else self._sums(alone)
        derived = self._derived(sums) if sums else alone
        if derived is None:
            return None
        variants = [turn.variant for turn in reversed(derived)]
        return Backward(self.of.loop, variants, self.early, sums)

    def _sums(self, derived: Sequence[_Derived]) -> dict[int, Value]:
        """How sums of gradients of captured values lie in memory: as what comes first."""
        sums: dict[int, Value] = {}
        for c, (node, held) in enumerate(zip(self.captured, self.held)):
            forms = [turn.captured[c] for turn in derived]
            received = [form for form in forms if form is not None]
            if not received:
                continue
            sums[c] = held or received[0]
            if held is None and len(received) == 1 and type(node) is Leaf:
                sums[c] = copy.copy(received[0])
                sums[c].axes = None  # the engine does not add to it, but copies it
        return sums

    def _derived(self, sums: Mapping[int, Value]) -> list[_Derived] | None:
        """Those of all turns, the last one first; equal ones are one."""
        known: dict[Any, _Derived] = {}
        turns = []
        carried = self.last
        for i in range(self.of.loop.count):
            is_last = i == 0
            forms = [None if v is None else (v.axes, v.dtype.str) for v in carried]
            key = (*forms, is_last and bool(self.of.early))
            if key not in known:
                derived = self._derive(carried, is_last, sums)
                if derived is None or len(known) == VARIANTS:
                    return None
                known[key] = derived
            turns.append(known[key])
            carried = known[key].state
        return turns

    def _derive(
        self, carried: Sequence[Form], is_last: bool, sums: Mapping[int, Value]
    ) -> _Derived | None:
        """The backward of a turn that is given such gradients of its new state."""
        of = self.of
        received = () if is_last else of.early.values()  # already, by the turn after it
        after = {j: v for j, v in enumerate(carried) if v is not None and of.new[j] is not None}
        rows = [k for k in self.rows if of.ys[k] is not None and k not in received]
        recorder = of.recorder.inner()
        seeds = _Seeds(recorder)
        with Switch(tracer=recorder, recording=False, transforming=None), np.errstate(all="ignore"):
            for j, form in after.items():
                seeds.add(of.new[j], form)
            for k in rows:
                seeds.add(of.ys[k], self.rows[k])
            begun = {j: seeds.add(of.state[j], of.before[j]) for j in self.begun}
            for c, form in sums.items():
                seeds.add(self.captured[c], form)
            passed_on, captured = self._walk(recorder, seeds)
            gradients = list(map(recorder.operand, passed_on))
            totals = [recorder.operand(captured[c]) for c in sums]
        program = self._program(recorder, seeds.values, [*gradients, *totals])
        constants = self._constants(program, recorder)
        if recorder.stopped is not None or constants is None:
            return None
        program.inputs = [*program.inputs, *constants]
        as_begun = [j for j, v in begun.items() if gradients[j] is v]
        variant = Variant(
            program=optimized(clone(program)[0]),
            constants=[*constants.values()],
            carried=[*after],
            rows=rows,
            begun=self.begun,
            summed=[*sums],
            as_begun=as_begun,
        )
        forms = [_form(raw_of(g)) for g in (*passed_on[: len(of.state)], *captured)]
        return _Derived(variant, forms[: len(of.state)], forms[len(of.state) :])

    def _walk(self, recorder: Any, seeds: _Seeds) -> tuple[list[Any], list[Any]]:
        """The gradients of what is passed on, and of captured values, by the engine's walk."""
        nodes = [*self.passed_on, *self.captured]
        targets = {node for node in nodes if node is not None}
        found: dict[Any, Any] = walk(
            seeds.by_node, recorder.box, targets=targets, since=self.of.since
        )
        return list(map(found.get, self.passed_on)), list(map(found.get, self.captured))

    def _program(self, recorder: Notes, seeds: list[Value], gradients: list[Operand]) -> Program:
        """The turn and its backward."""
        of = self.of
        program = Program(of.inputs, of.outputs, [*of.steps, *recorder.steps])
        program.backward_at = len(of.steps)
        program.seeds = seeds
        program.gradients = gradients
        return program

    def _constants(self, program: Program, recorder: Notes) -> dict[Value, Any] | None:
        """Arrays that rules made, which become inputs; None if it uses anything else from outside."""
        known = {*program.inputs, *program.seeds}
        used = set(program.results)
        for step in program.steps:
            used.update(values_in(step.operands))
            known.update(step.outs)
        outside = used - known
        inputs = [x for x in (*self.of.recorder.inputs, *recorder.inputs) if x.value in outside]
        made = {x.value: x.of for x in inputs if _is_made(recorder, x)}
        return made if outside <= made.keys() else None


def _is_made(recorder: Notes, x: Input) -> bool:
    return x.kind == "object" and isinstance(x.of, np.ndarray) and id(x.of) not in recorder.where
