"""A recorder of primitive steps: of functions that C has no form for, what they are made of.

It is the tracer while a recorded program is applied again, in primitives.py. What primitive steps
are in C is said in lowering.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidl.autograd.function import Function, record
from minidl.autograd.modes import MODE, Switch
from minidl.autograd.node import Application, Output, next_number
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import array_of
from minidl.compiler.derivative import Recorder
from minidl.compiler.native.compositions import COMPOSITIONS, FORWARDS
from minidl.compiler.native.retrace import turns_of
from minidl.compiler.native.scans import ScanStep
from minidl.compiler.native.turns import Body, Turn
from minidl.compiler.program import Step, Value
from minidl.compiler.scan import Loop


class Unseen(Exception):
    """A forward reads values, or does what cannot be noted: the function stays a call."""


class Tracer(Recorder):
    """Notes of primitive steps. ``origin`` tells from which function a step came."""

    def __init__(self, is_primitive: Callable[[Function], bool], where: dict[int, str]) -> None:
        super().__init__(where)
        self.is_primitive = is_primitive
        self.origin: dict[Step, str] = {}
        self._open: list[Function] = []  # whose forwards are being noted
        self._graphs: dict[int, Any] = {}  # of compositions, by ids of their results

    def apply(self, function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Apply a function, and note it, or what it is made of."""
        if not any(isinstance(x, Variable) for x in _leaves(inputs)):
            with Switch(tracer=None):
                return record(function, inputs, settings)
        if self.is_primitive(function):
            return self._note(function, inputs, settings)
        self._open.append(function)
        try:
            composition: Any = self.composition_of(function)
            if composition is not None:
                return composition(*inputs, **settings)
            return self._opened(function, inputs, settings)
        finally:
            self._open.pop()

    def _note(self, function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        before = len(self.steps)
        y = super().apply(function, inputs, settings)
        self._name_steps(before, function)
        return y

    def _name_steps(self, before: int, function: Function) -> None:
        name = (self._open or [function])[0].name
        self.origin.update(dict.fromkeys(self.steps[before:], name))

    def _opened(self, function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Note what a forward applies; the derivative stays that of the function."""
        with Switch(tracer=None):
            y = record(function, inputs, settings)
        before = len(self.steps)
        try:
            if function in self._open[:-1]:
                raise Unseen
            inner = self._forward(function, inputs, settings)
            out = self._operands_like(y, inner)
        except Exception:  # what it does with Variables nobody can foresee
            del self.steps[before:]
            return self._note(function, inputs, settings)
        self._stand_for(y, out)
        node: Any = getattr(y[0] if type(y) is tuple else y, "_node", None)
        if node is not None:
            application: Any = node.inputs[0] if type(node) is Output and node.inputs else node
            operands = tuple([self.operand(x) for x in inputs])
            saved = (out, Value(None)) if function.saves else out
            self._step_of[application] = Step(function, operands, settings, saved)
        return y

    def _forward(self, function: Function, inputs: tuple[Any, ...], settings: Any) -> Any:
        constants = [self._constant(x) for x in inputs]
        with Switch(recording=False):
            y = FORWARDS.get(function, function.forward)(*constants, **settings)
        return y[0] if function.saves else y

    def _constant(self, x: Any) -> Any:
        if type(x) is tuple:
            return tuple([self._constant(part) for part in x])
        if not isinstance(x, Variable):
            return x
        constant = box(x._raw, None)
        self.register(constant, self.operand(x))
        return constant

    def _operands_like(self, y: Any, inner: Any) -> Any:
        """What was noted for results of these forms."""
        if type(y) is tuple:
            pairs = zip(y, inner, strict=True)
            return tuple([self._operands_like(part, one) for part, one in pairs])
        if y.shape != inner.shape or y.dtype != inner.dtype:
            raise Unseen
        return self.operand(inner)

    def _stand_for(self, y: Any, out: Any) -> None:
        if type(y) is tuple:
            for part, one in zip(y, out, strict=True):
                self._stand_for(part, one)
        else:
            self.register(y, out)

    # ---- what may not happen ---------------------------------------------------------------------

    def stop(self, why: str) -> None:
        """Whatever else would end a recording makes a call of the function."""
        raise Unseen(why)

    def refuse(self, x: Any, how: str) -> None:
        """A value is read."""
        raise Unseen(how)

    # ---- gradients -------------------------------------------------------------------------------

    def joined(
        self, node: Application, g: Any, wanted: Sequence[bool], pending: dict[Any, Any]
    ) -> Sequence[Any]:
        """The gradients of a joint rule, as steps of its own."""
        noted: Any = self.boxed(node)
        args, y = noted
        g = list(g) if type(g) in (list, tuple) else g
        return self.joint(node.function, g, y, list(wanted), args, node.settings)

    def joint(
        self,
        function: Function,
        g: Any,
        y: Any,
        wanted: list[bool],
        args: Sequence[Any],
        settings: dict[str, Any],
    ) -> Sequence[Any]:
        """The gradients of the arguments, by the rule or by the composition that is equal."""
        self._open.append(function)
        try:
            if self.composition_of(function) is not None:
                return self._through_composition(function, g, y, wanted, args, settings)
            rule: Any = function.joint
            saved = (None,) if function.saves else ()
            with Switch(recording=False):
                found: Sequence[Any] = rule(g, y, *saved, wanted, *args, **settings)
            return found
        finally:
            self._open.pop()

    def compose(self, function: Function, args: Sequence[Any], settings: dict[str, Any]) -> Any:
        """Apply what a function is made of, and remember its graph, for its derivative."""
        composition: Any = self.composition_of(function)
        self._open.append(function)
        try:
            since = next_number()
            copies = [self._copy(a) if _is_floating(a) else a for a in args]
            with Switch(recording=True):
                y = composition(*copies, **settings)
        finally:
            self._open.pop()
        self._graphs[id(y[0] if type(y) is tuple else y)] = y, copies, since
        return y

    def _through_composition(
        self,
        function: Function,
        g: Any,
        y: Any,
        wanted: list[bool],
        args: Sequence[Any],
        settings: dict[str, Any],
    ) -> list[Any]:
        key = id(y[0] if type(y) is tuple else y)
        if key not in self._graphs:
            y = self.compose(function, args, settings)
            key = id(y[0] if type(y) is tuple else y)
        y, copies, since = self._graphs[key]
        pairs: Any = list(zip(y, g, strict=True)) if isinstance(g, list) else [(y, g)]
        asked = zip(copies, wanted, strict=True)
        xs = [copy if want else None for copy, want in asked]
        return self.derive([pair for pair in pairs if pair[1] is not None], xs, since)

    def composition_of(self, function: Function) -> Callable[..., Any] | None:
        """What a function is made of, in functions that have rules."""
        loop = getattr(function.forward, "__self__", None)
        if isinstance(loop, Loop):
            return turns_of(loop)
        return COMPOSITIONS.get(function, function.equals)

    def _copy(self, a: Any) -> Variable:
        copy = Variable(array_of(a))
        self.register(copy, self.operand(a))
        return copy

    # ---- scans -----------------------------------------------------------------------------------

    def scan(self, step: Any, state: Any, xs: Any) -> None:
        """Nobody watches the turns of an ``F.scan`` that a forward does: they are noted one by one."""

    def loop(
        self, body: Body, state: Sequence[Any], xs: Sequence[Any], captured: Sequence[Any]
    ) -> Any:
        """``state, ys = body(state, x)`` along the first axis of each of ``xs``, as one step.

        Gives the last state and the ys, stacked along a new first axis. Where a graph is recorded,
        its derivative is a scan backwards; ``captured`` is what the body reads besides.
        """
        turn = Turn(self, body, state, xs)
        if not MODE.get().recording:
            return turn.last, turn.wholes
        captured = [x for x in captured if isinstance(x, Variable) and x._node is not None]
        results = [*turn.last, *turn.wholes]

        def gradients(g: Any, y: Any, wanted: Any, *inputs: Any) -> list[Any]:
            return turn.backwards(g, wanted, captured)

        function = Function(lambda *_: tuple([x._raw for x in results]), (), gradients, "scan")
        inputs = (*state, *xs, *captured)
        with Switch(tracer=None):
            recorded = record(function, inputs, {})
        if not isinstance(recorded[0], Variable):  # nothing of it is differentiated
            return turn.last, turn.wholes
        out = tuple([self.operand(x) for x in results])
        for x, v in zip(recorded, out, strict=True):
            self.register(x, v)
        node: Any = recorded[0]._node
        if node is not None:
            operands = tuple([self.operand(x) for x in inputs])
            self._step_of[node.inputs[0]] = Step(function, operands, {}, out)
        count = len(turn.last)
        return list(recorded[:count]), list(recorded[count:])

    def leaf_of(self, raw: Any) -> Variable:
        """A Variable of a new Value, which is differentiated where a graph is recorded."""
        floating = MODE.get().recording and _is_floating(raw)
        x = Variable(raw) if floating else box(raw, None)
        self.register(x, Value(x._raw))
        return x

    def constant_of(self, raw: Any) -> Variable:
        """A Variable of a new Value."""
        x = box(raw, None)
        self.register(x, Value(raw))
        return x

    def noted_apart(self, run: Callable[[], Any]) -> tuple[Any, list[Step]]:
        """What a function gives, and the steps that it noted, which stand nowhere else."""
        outer = self.steps
        self.steps = []
        try:
            return run(), self.steps
        finally:
            self.steps = outer

    def add_scan(self, step: ScanStep) -> None:
        """Note a scan."""
        self.steps.append(step)
        self._name_steps(len(self.steps) - 1, step.function)


def _is_floating(x: Any) -> bool:
    dtype = getattr(array_of(x), "dtype", None)
    return dtype is not None and dtype.kind == "f"


def _leaves(inputs: Sequence[Any]) -> list[Any]:
    found = []
    for x in inputs:
        found += _leaves(x) if type(x) in (tuple, list) else [x]
    return found
