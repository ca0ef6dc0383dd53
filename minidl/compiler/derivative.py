"""The backward of what was noted: the rules, run on Variables, and noted as well.

The walk is the engine's own, so that the order of its sums, and with it every bit, is the eager
one. The forward's notes are in recorder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd.engine import is_fresh
from minidl.autograd.function import Function, differentiable, record
from minidl.autograd.modes import Switch
from minidl.autograd.node import Application, Leaf, Node, Output
from minidl.autograd.operation import Operation
from minidl.autograd.targets import gradients_for
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import array_of
from minidl.compiler.program import Operand, Step, Value
from minidl.compiler.recorder import Notes
from minidl.compiler.scalars import is_number
from minidl.compiler.standin import raw_of


class Recorder(Notes):
    """Notes of a function, and of gradients of what it computed."""

    def derive(
        self,
        pairs: Sequence[tuple[Variable, Variable]],
        xs: Sequence[Variable | None],
        since: int,
        zeros: bool = False,
    ) -> list[Any]:
        """The gradients of some Variables, as constant Variables that stand for Values.

        ``pairs``, ``since`` and ``zeros`` as in ``gradients_for``.
        """
        with self.noting_rules():
            return gradients_for(xs, pairs, self.box, since, zeros=zeros)

    @contextmanager
    def noting_rules(self) -> Iterator[None]:
        """Let rules run on Variables that stand for Values, and note what they apply."""
        outer = self.deriving
        self.deriving = True
        try:
            with Switch(tracer=self, recording=False, transforming=None), np.errstate(all="ignore"):
                yield
        finally:
            self.deriving = outer

    def gradients(self, pairs: Any, xs: Sequence[Variable], since: int) -> list[Any]:
        """What eagerly is a list of arrays."""
        gs = self.derive(pairs, xs, since, zeros=True)
        return [self.as_plain(g) if isinstance(g, Variable) else g for g in gs]

    def variable(self, x: Any) -> Variable:
        """A constant Variable of what a stand-in stands for."""
        out = box(x._raw, None)
        self.register(out, x.value)
        return out

    def box(self, raw: Any, node: Node | None) -> Variable:
        """A Variable of the array of a node, for rules."""
        out = box(raw, None if self.deriving else node)
        if node is not None and node in self._of_node:
            self.register(out, self._of_node[node])
        return out

    def boxed(self, node: Application) -> tuple[Sequence[Any], Any] | None:
        """Arguments and result of an application that was noted, for rules that are noted, too.

        None for one of before the call, or of after the recording was stopped.
        """
        step = self._step_of.get(node)
        if step is None:
            self.stop("it differentiates what was computed before the call")
            return None
        args = list(map(self._part, node.args, step.operands, node.inputs or ()))
        y: Any = node.output
        out = step.out[0] if step.function.saves else step.out
        if type(y) is not tuple:
            return args, self._part(y, out, node)
        nodes = [Output(node, i, part) for i, part in enumerate(y)]
        return args, tuple(map(self._part, y, out, nodes))

    def _part(self, raw: Any, operand: Operand, node: Node | None) -> Any:
        if not isinstance(operand, Value):
            return raw
        if is_number(raw):
            return self.stand_in_number(raw, operand)
        out = box(raw, None if self.deriving else node)
        self.register(out, operand)
        return out

    def add_gradient(self, walk: Any, parent: Node, gx: Any, node: Application, g: Any) -> None:
        """What the engine does with arrays: it adds into a gradient that is nobody else's."""
        held = walk.pending.get(parent)
        raw = array_of(gx)
        if held is None:
            walk.pending[parent] = gx
            owned = node.function.joint is not None and node.function.owned
            if type(raw) is np.ndarray and (owned or is_fresh(raw, array_of(g), node)):
                walk.ours.add(parent)
            return
        half = held.dtype == np.float16
        if parent in walk.ours and type(held._raw) is np.ndarray and not half:
            walk.pending[parent] = record(add_into, (held, gx), {})
            return
        if half and type(parent) is Leaf:
            held = held.astype(np.float32)
            walk.wide.add(parent)
        walk.pending[parent] = held + gx
        walk.ours.add(parent)

    def joined(
        self, node: Application, g: Any, wanted: Sequence[bool], pending: dict[Node, Any]
    ) -> Sequence[Any]:
        """The gradients of a joint rule, which is one step."""
        function = node.function
        rule: Any = function.joint
        step = self._step_of.get(node)
        several = type(node.output) is tuple
        raws = list(map(raw_of, g)) if several else raw_of(g)
        saved = (node.saved,) if function.saves else ()
        with Switch(tracer=None):
            found = rule(raws, node.output, *saved, wanted, *node.args, **node.settings)
        if step is None:  # applied before the call, or after the recording was stopped
            self.stop("it differentiates what was computed before the call")
            return list(map(constant_variable, found))
        values = values_of(found, wanted)
        seeds = self.operand(tuple(g) if several else g)
        y_out, *saved_out = step.out if function.saves else (step.out,)
        call = JointCall(function, list(wanted), node.settings, list(values))
        operands = (seeds, y_out, tuple(saved_out), *step.operands)
        self.add_step(Step(function, operands, {}, tuple(values.values()), call))
        return self.gradients_of(found, values)

    def add_step(self, step: Step) -> None:
        """Note a step whose results nobody registers here."""
        self.steps.append(step)
        self.tape.append(step)

    def gradients_of(self, found: Sequence[Any], values: Mapping[int, Value]) -> list[Any]:
        """The gradients that a joint rule gave, as Variables that stand for Values."""
        gradients = [
            constant_variable(found[i]) if i in values else None for i in range(len(found))
        ]
        for i, v in values.items():
            self.register(gradients[i], v)
        return gradients


def values_of(found: Sequence[Any], wanted: Sequence[bool]) -> dict[int, Value]:
    """Values of the gradients that a joint rule gave, by their places."""
    pairs = enumerate(zip(found, wanted))  # it may give none for the last arguments
    return {i: Value(gx) for i, (gx, want) in pairs if want and gx is not None}


def constant_variable(raw: Any) -> Variable | None:
    """A Variable without a graph; None for None."""
    return None if raw is None else box(raw, None)


# The sum of two gradients in the first one's place: its axes lie in memory as that one's do.
add_into = differentiable(
    lambda held, g: np.add(held, g, out=np.empty_like(held)),
    name="add",
    operation=Operation(np.add),
)


class JointCall:
    """A joint rule as a call: the gradients at some ``places``, of those that are ``wanted``."""

    __name__ = "joint"

    def __init__(
        self,
        function: Function,
        wanted: list[bool],
        settings: dict[str, Any],
        places: list[int],
    ) -> None:
        self.rule: Any = function.joint
        self.wanted = wanted
        self.settings = settings
        self.places = places

    def __call__(self, g: Any, y: Any, saved: tuple[Any, ...], *args: Any) -> tuple[Any, ...]:
        g = list(g) if type(g) is tuple else g
        found = self.rule(g, y, *saved, self.wanted, *args, **self.settings)
        return tuple([found[i] for i in self.places])
