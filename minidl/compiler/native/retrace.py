"""Recorded steps applied again under a tracer, which notes them as primitive steps.

What it makes of each function is in trace.py, of a loop's turns in turns.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.autograd.function import record
from minidl.autograd.modes import MODE, Switch
from minidl.common.arrays import array_of
from minidl.compiler import scan
from minidl.compiler.calls import Again
from minidl.compiler.derivative import JointCall
from minidl.compiler.native.arrays import NotInC
from minidl.compiler.program import Operand, Step, Value

if TYPE_CHECKING:
    from minidl.compiler.native.trace import Tracer


class Retrace:
    """What is ``known`` of Values: more with each step that is applied.

    ``differentiated``, of a loop's turn, are the steps that are in a graph where one is recorded.
    """

    def __init__(
        self,
        tracer: Tracer,
        known: dict[Value, Any],
        differentiated: AbstractSet[Step] | None = None,
    ) -> None:
        self.tracer = tracer
        self.known = known
        self.differentiated = differentiated
        self._loops: dict[Value, Any] = {}  # what loops gave, by what their backwards get of them

    def apply(self, steps: Iterable[Step]) -> None:
        """Apply steps to what is known, and put their results beside it."""
        for step in steps:
            args = tuple([_fill(x, self.known) for x in step.operands])
            if not step.derivative:
                y = self._forward(step, args)
            elif isinstance(step, scan.ScanStep):
                y = self._loop_gradients(step, *args)
            else:
                y = self._joint(step, *args)
            if isinstance(step, scan.ScanStep) and not step.derivative:
                self._loops[step.out[1]] = y
            out = step.out[0] if step.function.saves and not step.derivative else step.out
            self._bind(out, y)

    def _forward(self, step: Step, args: tuple[Any, ...]) -> Any:
        function = step.function
        recording = MODE.get().recording and step in (self.differentiated or ())
        with Switch(recording=recording):
            if isinstance(function.forward, Again):
                return function.forward.on_variables(args)
            if self.differentiated is None and self.tracer.composition_of(function) is not None:
                return self.tracer.compose(function, args, step.settings)
            return record(function, args, step.settings)

    def _joint(self, step: Step, g: Any, y: Any, saved: Any, *args: Any) -> tuple[Any, ...]:
        call: Any = step.call
        if not isinstance(call, JointCall):
            raise NotInC(f"the gradient of {step.function.name}")
        gs = list(g) if type(g) is tuple else g
        settings = call.settings
        found = self.tracer.joint(step.function, gs, y, call.wanted, args, settings)
        given = zip([found[i] for i in call.places], step.outs, strict=True)
        return tuple(
            [g if g is None or g.dtype == v.dtype else g.astype(v.dtype) for g, v in given]
        )

    def _loop_gradients(
        self, step: scan.ScanStep, gs: Any, held: Any, saved: Any, *args: Any
    ) -> tuple[Any, ...]:
        """The gradients of a loop, and what its operands have received before."""
        places = step.places
        wanted = [i in places for i in range(len(args))]
        y = self._loops[step.operands[2][0]]
        found = list(self.tracer.joint(step.function, list(gs), y, wanted, args, {}))
        for i in places:
            if found[i] is None:
                found[i] = np.zeros_like(array_of(args[i]))
            if i < len(held) and held[i] is not None:
                found[i] = found[i] + held[i]
        return tuple([found[i] for i in places])

    def _bind(self, out: Any, y: Any) -> None:
        if type(out) is tuple:
            for v, part in zip(out, y, strict=True):
                self._bind(v, part)
            return
        got = getattr(y, "shape", None), getattr(y, "dtype", None)
        if out.dtype is not None and got != (out.shape, out.dtype):
            raise NotInC(f"results of another form: want {out.dtype} {out.shape}, got {got}")
        self.known[out] = y


def turns_of(loop: scan.Loop) -> Callable[..., tuple[Any, ...]]:
    """What a loop is for a tracer: its last state and the stacked outputs, of its operands."""

    def run(*operands: Any) -> tuple[Any, ...]:
        tracer: Any = MODE.get().tracer
        captured, state, xs = loop.sizes.split(operands)
        body = loop.body

        def turn(before: list[Any], now: list[Any]) -> tuple[list[Any], list[Any]]:
            known = dict(zip(body.inputs, (*captured, *before, *now), strict=True))
            Retrace(tracer, known, body.differentiated).apply(body.tape)
            return [known[v] for v in body.state], [known[v] for v in body.ys]

        rows = [np.stack(x) if type(x) is tuple else x for x in xs]
        last, wholes = tracer.loop(turn, state, rows, captured)
        return (*last, *wholes)

    return run


def _fill(operand: Operand, known: dict[Value, Any]) -> Any:
    if isinstance(operand, Value):
        return None if operand.shape is None else known[operand]  # none is saved here
    if type(operand) is tuple:
        return tuple([_fill(part, known) for part in operand])
    return operand
