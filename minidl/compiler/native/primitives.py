"""A recorded program in primitive steps: those of its tape, applied again under a tracer.

What a primitive step is, the tracer is told; see trace.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.modes import Switch
from minidl.autograd.variable import Variable, box
from minidl.compiler.native.arrays import NotInC
from minidl.compiler.native.retrace import Retrace
from minidl.compiler.native.scans import ScanStep
from minidl.compiler.native.trace import Tracer, Unseen
from minidl.compiler.passes import optimized
from minidl.compiler.program import Operand, Program, Step, Value
from minidl.compiler.recording import Recording
from minidl.compiler.values import Input


class Primitives:
    """The primitive ``program`` of a recording.

    ``outputs`` are what it gives; by default the Values that the recording's program gives.
    ``inputs``: those of the recording, but for constants; ``constants``: arrays by their Values;
    ``origin``: the function that a step came from.
    """

    def __init__(
        self,
        recording: Recording,
        is_primitive: Callable[[Function], bool],
        is_constant: Callable[[Input], bool] = lambda x: False,
        outputs: Sequence[Operand] | None = None,
    ) -> None:
        self.asked = recording.real if outputs is None else outputs
        raws = [_raw_of(x, recording) for x in recording.recorder.inputs]
        self.tracer = Tracer(is_primitive, {id(raw): "" for raw in raws})
        self.origin = self.tracer.origin
        self._known: dict[Value, Any] = {}
        self._retrace = Retrace(self.tracer, self._known)
        self.inputs: list[Input] = []
        for x, raw in zip(recording.recorder.inputs, raws, strict=True):
            if is_constant(x):
                self._known[x.value] = raw
            else:
                self._bind_input(x.value, raw)
                self.inputs.append(x)
        seeds = recording.program.seeds
        for v in seeds:
            self._bind_input(v, np.ones(v.shape, v.dtype))
        try:
            self.program = self._repeat_all(recording)
        except Unseen as error:
            raise NotInC(f"what it does: {error}") from None
        self.program.seeds = seeds
        self.constants = {x.value: x.of for x in self.tracer.inputs if x.kind == "object"}
        self.program = optimized(self.program)

    def _bind_input(self, v: Value, raw: Any) -> None:
        variable = box(raw, None)
        self.tracer.register(variable, v)
        self._known[v] = variable

    def _repeat_all(self, recording: Recording) -> Program:
        """Apply all steps again: the forward's, then those of the derivative."""
        forward = recording.tape
        backward = recording.recorder.tape[len(forward) :]
        effects = list(recording.recorder.effects)
        with Switch(tracer=self.tracer, recording=False), np.errstate(all="ignore"):
            for i, step in enumerate(forward):
                while effects and effects[0][0] <= i:
                    self._repeat_effect(effects.pop(0)[1])
                self._retrace.apply([step])
            for _, effect in effects:
                self._repeat_effect(effect)
            outputs = [self._result(x) for x in self.asked]
            backward_at = len(self.tracer.steps)
            for step in backward:
                self._retrace.apply([step])
            gradients = [self._result(x) for x in recording.program.gradients]
        for step in self.tracer.steps:
            if isinstance(step, ScanStep):
                step.close()
        program = Program([x.value for x in self.inputs], outputs, self.tracer.steps)
        program.backward_at = backward_at
        program.gradients = gradients
        return program

    def _repeat_effect(self, step: Step) -> None:
        """Note an effect, on what its operands are now."""
        operands = tuple([self._result(x) for x in step.operands])
        if any(v.shape is None for v in step.outs):
            raise NotInC(step.name)
        self.tracer.steps.append(Step(step.function, operands, step.settings, step.out))
        for v in step.outs:
            self._bind_input(v, np.zeros(v.shape, v.dtype))

    def _result(self, x: Operand) -> Operand:
        y = self._known.get(x, x) if isinstance(x, Value) else x
        return self.tracer.operand(y) if isinstance(y, Variable) else y


def _raw_of(x: Input, recording: Recording) -> Any:
    """An array of the form of an input; where it is known, the array itself."""
    if x.value.shape is None:
        raise NotInC("numbers that change from call to call")
    if x.kind == "argument":
        return _array(recording.call.leaves[x.of])
    if x.kind == "state":
        return _array(recording.states.leaves[x.of])
    if x.kind in ("draw", "grad"):
        return np.zeros(x.value.shape, x.value.dtype)[()]
    return _array(x.of)


def _array(x: Any) -> Any:
    return getattr(x, "_raw", x)
