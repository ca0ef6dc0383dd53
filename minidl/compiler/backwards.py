"""The backward of a loop, derived from the graph of one of its turns.

How it is run is in scan.py.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.autograd.engine import walk
from minidl.autograd.modes import Switch
from minidl.autograd.node import Leaf, Node
from minidl.autograd.variable import box
from minidl.compiler.passes import optimized
from minidl.compiler.program import Program, Value, values_in
from minidl.compiler.recorder import Notes
from minidl.compiler.scan import Backward, Loop, Variant, clone, nothing
from minidl.compiler.turn import node_of
from minidl.compiler.values import Input

if TYPE_CHECKING:
    from minidl.compiler.rolling import Rolling

VARIANTS = 8  # of the backward of a turn


class Derivation:
    """Derives the backward of a loop from the graph of the turn that is its body."""

    def __init__(self, rolling: Rolling, loop: Loop) -> None:
        turn = rolling.first
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
        captured, state, _ = self.loop.sizes
        begun = [j for j, g in enumerate(held[captured:]) if g is not None]
        begun += [j for j, k in self.early.items() if gs[state + k] is not None]
        begun = [j for j in sorted(set(begun)) if self.state[j] is not None]
        key = (*map(_form, gs), tuple(wanted), *map(_form, held))
        if key not in self.loop.backwards:
            backward = _Backwards(self, gs, wanted, begun, held).backward()
            if backward is None:
                return None
            self.loop.backwards[key] = backward
        return self.loop.backwards[key]


def _form(g: Any) -> Any:
    return None if g is None else (g.dtype.str, g.strides)


def _value(g: Any) -> Value | None:
    return None if g is None else Value(g)


class _Seeds:
    """Gradients that a turn's walk begins with: samples, of the forms that they will have."""

    def __init__(self, recorder: Notes) -> None:
        self.recorder = recorder
        self.values: list[Value] = []
        self.by_node: dict[Node, Any] = {}

    def add(self, node: Any, like: Value) -> None:
        """Let a node have received a gradient of this form, besides others."""
        g = box(np.abs(nothing(like))[()] + like.dtype.type(1), None)
        value = Value(g._raw)
        self.values.append(value)
        self.recorder.register(g, value)
        before = self.by_node.get(node)
        self.by_node[node] = g if before is None else before + g


class _Backwards:
    """The backwards of all turns, the last turn's first: each for what the one after it gives.

    ``sums`` says how the sums of gradients of captured values lie in memory, by their places.
    """

    def __init__(
        self,
        of: Derivation,
        gs: Sequence[Any],
        wanted: Sequence[bool],
        begun: list[int],
        held: Sequence[Any],
    ) -> None:
        self.of = of
        captured, state, _ = of.loop.sizes
        self.gs = list(map(_value, gs[:state]))
        self.rows = {k: Value(g[0]) for k, g in enumerate(gs[state:]) if g is not None}
        self.begun = begun
        nodes = [*of.captured, *of.state, *of.xs]
        chosen = [node if want else None for node, want in zip(nodes, wanted)]
        self.captured = chosen[:captured]
        self.targets = [*of.state, *chosen[captured + state :], *self.captured]
        self.held = list(map(_value, held[:captured]))
        self.sums: dict[int, Value] = {}
        self._made: dict[Any, tuple[Variant, list[Any]]] = {}

    def backward(self) -> Backward | None:
        """What runs them."""
        first = self._variants()  # only to see what is summed up: what comes first says how it lies
        if first is None:
            return None
        self.sums = first[1]
        self._made = {}
        last = self._variants()
        if last is None:
            return None
        early = {j: k for j, k in self.of.early.items() if k in self.rows}
        return Backward(self.of.loop, last[0], early, self.sums)

    def _variants(self) -> tuple[list[Variant], dict[int, Value]] | None:
        """Those of all turns, and the forms of the gradients of captured values."""
        count = self.of.loop.count
        carried: list[Any] = self.gs
        variants = []
        found: dict[int, Value] = {}
        times: Counter[int] = Counter()
        for t in reversed(range(count)):
            last = t == count - 1
            key = (*[v and (v.axes, v.dtype.str) for v in carried], last and bool(self.of.early))
            if key not in self._made:
                made = self._derived(carried, last)
                if made is None or len(self._made) == VARIANTS:
                    return None
                self._made[key] = made
            variant, given = self._made[key]
            carried = given[: len(carried)]
            for c, form in enumerate(given[len(given) - len(self.captured) :]):
                if form is not None:
                    found.setdefault(c, form)
                    times[c] += 1
            variants.append(variant)
        for c, v in enumerate(self.held):
            if v is not None and c in found:
                found[c] = v
            elif times[c] == 1 and type(self.captured[c]) is Leaf:  # it is copied, not added to
                found[c] = copy.copy(found[c])
                found[c].axes = None
        return variants[::-1], found

    def _derived(self, carried: list[Any], last: bool) -> tuple[Variant, list[Any]] | None:
        """The backward of a turn, and the forms of its gradients."""
        of = self.of
        early = [] if last else of.early.values()  # what comes of these is there before
        after = [j for j, v in enumerate(carried) if v is not None and of.new[j] is not None]
        rows = [k for k in self.rows if of.ys[k] is not None and k not in early]
        recorder = of.recorder.inner()
        seeds = _Seeds(recorder)
        targets = {node for node in self.targets if node is not None}
        with Switch(tracer=recorder, recording=False, transforming=None), np.errstate(all="ignore"):
            for j in after:
                seeds.add(of.new[j], carried[j])
            for k in rows:
                seeds.add(of.ys[k], self.rows[k])
            for j in self.begun:
                seeds.add(of.state[j], of.before[j])
            for c, v in self.sums.items():
                seeds.add(self.captured[c], v)
            found = walk(seeds.by_node, recorder.box, targets=targets, since=of.since)
            gradients = [None if node is None else found.get(node) for node in self.targets]
            operands = [None if g is None else recorder.operand(g) for g in gradients]
        if recorder.stopped is not None:
            return None
        given = len(operands) - len(self.captured)
        program = Program(of.inputs, of.outputs, [*of.steps, *recorder.steps])
        program.backward_at = len(of.steps)
        program.seeds = seeds.values
        program.gradients = [*operands[:given], *[operands[given + c] for c in self.sums]]
        constants = self._constants(program, recorder)
        if constants is None:
            return None
        begun = seeds.values[len(after) + len(rows) :]
        as_begun = [j for j, v in zip(self.begun, begun) if operands[j] is v]
        variant = Variant(
            optimized(clone(program)[0]), constants, after, rows, self.begun, [*self.sums], as_begun
        )
        return variant, [None if g is None else Value(g._raw) for g in gradients]

    def _constants(self, program: Program, recorder: Notes) -> list[Any] | None:
        """Arrays that rules made, which become inputs; None if it uses anything else from outside."""
        known = {*program.inputs, *program.seeds}
        used = set(program.results)
        for step in program.steps:
            used.update(values_in(step.operands))
            known.update(step.outs)
        inputs = (*self.of.recorder.inputs, *recorder.inputs)
        made = {x.value: x.of for x in inputs if x.value in used - known and _is_made(recorder, x)}
        program.inputs = [*program.inputs, *made]
        return list(made.values()) if used <= known | made.keys() else None


def _is_made(recorder: Notes, x: Input) -> bool:
    return x.kind == "object" and isinstance(x.of, np.ndarray) and id(x.of) not in recorder.where
