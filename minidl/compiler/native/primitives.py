"""A recorded program in primitive steps: those of its tape, applied again under a tracer.

What a primitive step is, the tracer is told; see trace.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.function import Function, record
from minidl.autograd.modes import Switch
from minidl.autograd.variable import Variable, box
from minidl.compiler.calls import Again
from minidl.compiler.derivative import JointCall
from minidl.compiler.native.arrays import NotInC
from minidl.compiler.native.scans import ScanStep
from minidl.compiler.native.trace import Tracer, Unseen, composition_of
from minidl.compiler.passes import optimized
from minidl.compiler.program import Operand, Program, Step, Value
from minidl.compiler.recording import Recording
from minidl.compiler.scan import Loop
from minidl.compiler.scan import ScanStep as LoopStep
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
        self._loops: dict[Loop, Any] = {}
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
                self._repeat(step)
            for _, effect in effects:
                self._repeat_effect(effect)
            outputs = [self._result(x) for x in self.asked]
            backward_at = len(self.tracer.steps)
            for step in backward:
                self._repeat(step)
            gradients = [self._result(x) for x in recording.program.gradients]
        for step in self.tracer.steps:
            if isinstance(step, ScanStep):
                step.close()
        program = Program([x.value for x in self.inputs], outputs, self.tracer.steps)
        program.backward_at = backward_at
        program.gradients = gradients
        return program

    def _repeat(self, step: Step, known: dict[Value, Any] | None = None) -> None:
        known = self._known if known is None else known
        args = tuple([_fill(x, known) for x in step.operands])
        forward = step.function.forward
        y: Any
        if isinstance(step, LoopStep):
            y = self._backward_of_loop(step, *args) if step.derivative else self._loop(step, args)
        elif step.derivative:
            y = self._joint(step, *args)
        elif isinstance(forward, Again):
            y = forward.on_variables(args)
        elif composition_of(step.function) is not None:
            y = self.tracer.compose(step.function, args, step.settings)
        else:
            y = record(step.function, args, step.settings)
        out = step.out[0] if step.function.saves and not step.derivative else step.out
        self._bind(out, y, known)

    def _loop(self, step: LoopStep, args: tuple[Any, ...]) -> Any:
        """A scan of the user's, as a scan of primitive steps."""
        if any(type(x) is tuple for x in args):
            raise NotInC("a scan over slices that are computed one by one")
        loop = step.loop
        body = loop.body

        def composition(*operands: Any) -> Any:
            captured, state, xs = loop.sizes.split(operands)

            def turn(before: list[Any], now: list[Any]) -> Any:
                known = dict(zip(body.inputs, (*captured, *before, *now), strict=True))
                for part in body.tape:
                    self._repeat(part, known)
                return [known[v] for v in body.state], [known[v] for v in body.ys]

            last, wholes = self.tracer.scan(turn, state, xs)
            return (*last, *wholes)

        y = self.tracer.compose(step.function, args, {}, composition)
        self._loops[loop] = y
        return y

    def _backward_of_loop(
        self, step: LoopStep, gs: Any, held: Any, saved: Any, *args: Any
    ) -> tuple[Any, ...]:
        """Its gradients; to those of what is captured, and of the state, what they had is added."""
        wanted = [i in step.places for i in range(len(args))]
        y = self._loops[step.loop]
        found = self.tracer.joint(step.function, list(gs), y, wanted, args, {})
        results = []
        for i in step.places:
            before = held[i] if i < len(held) else None
            g = found[i]
            if g is None or before is None:
                results.append(before if g is None else g)
            else:
                results.append(before + g)
        return tuple(results)

    def _repeat_effect(self, step: Step) -> None:
        """Note an effect, on what its operands are now."""
        operands = tuple([self._result(x) for x in step.operands])
        if any(v.shape is None for v in step.outs):
            raise NotInC(step.name)
        self.tracer.steps.append(Step(step.function, operands, step.settings, step.out))
        for v in step.outs:
            self._bind_input(v, np.zeros(v.shape, v.dtype))

    def _joint(self, step: Step, g: Any, y: Any, saved: Any, *args: Any) -> tuple[Any, ...]:
        call: Any = step.call
        if not isinstance(call, JointCall):
            raise NotInC(f"the gradient of {step.function.name}")
        gs = list(g) if type(g) is tuple else g
        settings = call.settings
        found = self.tracer.joint(step.function, gs, y, call.wanted, args, settings)
        return tuple([found[i] for i in call.places])

    def _result(self, x: Operand) -> Operand:
        y = self._known.get(x, x) if isinstance(x, Value) else x
        return self.tracer.operand(y) if isinstance(y, Variable) else y

    def _bind(self, out: Any, y: Any, bound: dict[Value, Any]) -> None:
        if type(out) is tuple:
            for v, part in zip(out, y, strict=True):
                self._bind(v, part, bound)
            return
        got = getattr(y, "shape", None), getattr(y, "dtype", None)
        if out.dtype is not None and got != (out.shape, out.dtype):
            raise NotInC(f"results of another form: want {out.dtype} {out.shape}, got {got}")
        bound[out] = y


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


def _fill(operand: Operand, known: dict[Value, Any]) -> Any:
    if isinstance(operand, Value):
        return None if operand.shape is None else known[operand]  # none is saved here
    if type(operand) is tuple:
        return tuple([_fill(part, known) for part in operand])
    return operand
