"""A recorded program in primitive steps: functions that C has no form for, by what they are made of.

The steps of a recording are applied again, to Variables, under a recorder that notes a function
only if C has a form for it. Of others it notes what they equal, or what their forward applies. What
primitive steps are in C is said in lowering.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.function import Function, record
from minidl.autograd.modes import Switch
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import array_of
from minidl.compiler.derivative import Recorder
from minidl.compiler.native.arrays import NotInC
from minidl.compiler.native.compositions import COMPOSITIONS
from minidl.compiler.native.scans import ScanStep
from minidl.compiler.program import Operand, Program, Step, Value, values_in
from minidl.compiler.recorder import Again
from minidl.compiler.recording import Recording
from minidl.compiler.values import Input


class _Unseen(Exception):
    """A forward reads values, or does what cannot be noted: the function stays a call."""


class Primitives(Recorder):
    """Notes of primitive steps. ``origin`` tells from which function a step came."""

    def __init__(self, is_primitive: Callable[[Function], bool], where: dict[int, str]) -> None:
        super().__init__(where)
        self.is_primitive = is_primitive
        self.origin: dict[Step, str] = {}
        self._open: list[Function] = []  # whose forwards are being noted

    def apply(self, function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Apply a function, and note it, or what it is made of."""
        if not any(isinstance(x, Variable) for x in _leaves(inputs)):
            with Switch(tracer=None):
                return record(function, inputs, settings)
        if self.is_primitive(function):
            return self._note(function, inputs, settings)
        composition = COMPOSITIONS.get(function, function.equals)
        self._open.append(function)
        try:
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
                raise _Unseen
            inner = self._forward(function, inputs, settings)
            self._stand_for(y, inner)
        except Exception as error:  # what it does with Variables nobody can foresee
            if isinstance(error, NotInC):
                raise
            del self.steps[before:]
            return self._note(function, inputs, settings)
        return y

    def _forward(self, function: Function, inputs: tuple[Any, ...], settings: Any) -> Any:
        constants = [self._constant(x) for x in inputs]
        with Switch(recording=False):
            y = function.forward(*constants, **settings)
        return y[0] if function.saves else y

    def _constant(self, x: Any) -> Any:
        if type(x) is tuple:
            return tuple([self._constant(part) for part in x])
        if not isinstance(x, Variable):
            return x
        constant = box(x._raw, None)
        self.register(constant, self.operand(x))
        return constant

    def _stand_for(self, y: Any, inner: Any) -> None:
        """Let a function's results be what its forward noted."""
        if type(y) is tuple:
            for part, one in zip(y, inner, strict=True):
                self._stand_for(part, one)
            return
        if y.shape != inner.shape or y.dtype != inner.dtype:
            raise _Unseen
        self.register(y, self.operand(inner))

    # ---- what may not happen ---------------------------------------------------------------------

    def stop(self, why: str) -> None:
        """Whatever else would end a recording makes a call of the function."""
        raise _Unseen(why)

    def refuse(self, x: Any, how: str) -> None:
        """A value is read."""
        raise _Unseen(how)

    # ---- scans -----------------------------------------------------------------------------------

    def scan(self, body: Callable[..., Any], state: Sequence[Any], xs: Sequence[Any]) -> Any:
        """``state, ys = body(state, x)`` along the first axis of each of ``xs``, as one step.

        Gives the last state and the ys, stacked along a new first axis.
        """
        length = xs[0].shape[0]
        operands = tuple([self.operand(x) for x in (*state, *xs)])
        inner_state = [self._fresh(array_of(x)) for x in state]
        inner_xs = [self._fresh(array_of(x)[0]) for x in xs]
        outer_steps = self.steps
        self.steps = []
        try:
            new, ys = body(inner_state, inner_xs)
            values: list[Any] = [self.operand(x) for x in (*inner_state, *inner_xs, *new, *ys)]
            steps = self.steps
        finally:
            self.steps = outer_steps
        lasts = [box(np.array(array_of(x)), None) for x in new]
        wholes = [box(np.zeros((length, *y.shape), y.dtype), None) for y in ys]
        results = [*lasts, *wholes]
        outs = tuple([Value(x._raw) for x in results])
        step = ScanStep(length, operands, outs, steps, values, len(state), len(xs))
        self.steps.append(step)
        self._name_steps(len(self.steps) - 1, step.function)
        for x, v in zip(results, outs, strict=True):
            self.register(x, v)
        return lasts, wholes

    def _fresh(self, raw: Any) -> Variable:
        x = box(raw, None)
        self.register(x, Value(raw))
        return x


def _leaves(inputs: Sequence[Any]) -> list[Any]:
    found = []
    for x in inputs:
        found += _leaves(x) if type(x) in (tuple, list) else [x]
    return found


class Primitive:
    """The primitive program of a recording.

    ``inputs``: those of the recording, but for constants; ``constants``: arrays by their Values;
    ``steps``; and ``outputs``, for each of the recording's.
    """

    def __init__(
        self,
        recording: Recording,
        is_primitive: Callable[[Function], bool],
        is_constant: Callable[[Input], bool],
    ) -> None:
        raws = [_raw_of(x, recording) for x in recording.recorder.inputs]
        self.recorder = Primitives(is_primitive, {id(raw): "" for raw in raws})
        self.known: dict[Value, Any] = {}
        self.inputs: list[Input] = []
        for x, raw in zip(recording.recorder.inputs, raws, strict=True):
            if is_constant(x):
                self.known[x.value] = raw
                continue
            variable = box(raw, None)
            self.recorder.register(variable, x.value)
            self.known[x.value] = variable
            self.inputs.append(x)
        with Switch(tracer=self.recorder, recording=False):
            for step in recording.tape:
                self._repeat(step)
            self.outputs = [self._result(x) for x in recording.outputs]
        self.steps = self.recorder.steps
        self.constants = {x.value: x.of for x in self.recorder.inputs if x.kind == "object"}
        self._leave_out_unused()

    def _repeat(self, step: Step) -> None:
        args = tuple([_fill(x, self.known) for x in step.operands])
        forward = step.function.forward
        if step.derivative:
            raise NotInC(f"the gradient of {step.function.name}")
        if isinstance(forward, Again):
            y = forward.on_variables(args)
        else:
            y = record(step.function, args, step.settings)
        out = step.out[0] if step.function.saves else step.out
        _bind(self.known, out, y)

    def _result(self, x: Operand) -> Operand:
        y = self.known.get(x, x) if isinstance(x, Value) else x
        return self.recorder.operand(y) if isinstance(y, Variable) else y

    def _leave_out_unused(self) -> None:
        program = Program([], self.outputs, self.steps)
        used = set(program.results)
        left = []
        for step in reversed(self.steps):
            if not used.isdisjoint(step.outs):
                used.update(values_in(step.operands))
                if isinstance(step, ScanStep):
                    used.update(step.free)
                left.append(step)
        self.steps = left[::-1]


def _raw_of(x: Any, recording: Recording) -> Any:
    """An array of the form of an input; where it is known, the array itself."""
    if x.kind == "argument":
        return getattr(recording.call.leaves[x.of], "_raw", recording.call.leaves[x.of])
    if x.kind == "state":
        leaf = recording.states.leaves[x.of]
        return getattr(leaf, "_raw", leaf)
    if x.kind == "object":
        return getattr(x.of, "_raw", x.of)
    raise NotInC("random numbers")


def _fill(operand: Operand, known: dict[Value, Any]) -> Any:
    if isinstance(operand, Value):
        return known[operand]
    if type(operand) is tuple:
        return tuple([_fill(part, known) for part in operand])
    return operand


def _bind(known: dict[Value, Any], out: Any, y: Any) -> None:
    if type(out) is tuple:
        for v, part in zip(out, y, strict=True):
            _bind(known, v, part)
    else:
        known[out] = y
