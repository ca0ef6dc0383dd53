"""The list of operations that a compiled function is: values, and in order the steps to them.

Noting them is in recorder.py, changing them in passes.py, printing Python of them in printer.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.function import Function
from minidl.common.html import block, card

Operand: TypeAlias = Any  # a Value, a tuple of operands, or a constant


class Value:
    """One array or number of a program, by shape and dtype.

    ``shape`` is None for what a function saved for its derivative, which may be anything. ``axes``
    is the order of the axes in memory, None for the usual one: sums add up in that order.
    """

    __slots__ = ("axes", "dtype", "name", "shape")

    def __init__(self, like: Any) -> None:
        self.name = ""
        self.shape: Any = getattr(like, "shape", None)
        self.dtype: Any = getattr(like, "dtype", None)
        self.axes = axes_in_memory(like) if isinstance(like, np.ndarray) else None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.size * int(self.dtype.itemsize)

    @property
    def floating(self) -> bool:
        """Whether it is an array or number of floats."""
        return self.dtype is not None and self.dtype.kind == "f"

    @property
    def lengths(self) -> tuple[int, ...]:
        """The shape, in the order of the axes in memory."""
        shape: tuple[int, ...] = self.shape
        return shape if self.axes is None else tuple([shape[i] for i in self.axes])

    @property
    def turn(self) -> list[int]:
        """How an array of these ``lengths`` is transposed to the shape."""
        turn: list[int] = np.argsort(self.axes or ()).tolist()
        return turn

    def array_in(self, memory: Any) -> Any:
        """The array that lies in a memory of as many numbers."""
        array = memory.reshape(self.lengths)
        return array if self.axes is None else array.transpose(self.turn)

    def same_form(self, other: Operand) -> bool:
        """Whether an operand is a Value of this shape, dtype and order in memory."""
        if not isinstance(other, Value) or self.shape != other.shape:
            return False
        return bool(self.dtype == other.dtype) and self.axes == other.axes

    def __repr__(self) -> str:
        return self.name or "value"


def axes_in_memory(x: Any) -> tuple[int, ...] | None:
    """The axes of an array from that of the largest stride to that of the least."""
    if x.flags.c_contiguous:
        return None
    usual = range(x.ndim)
    axes = sorted(usual, key=lambda i: -abs(x.strides[i]))
    return None if axes == list(usual) else tuple(axes)


class Step:
    """One operation: ``call(*operands, **settings)`` gives ``out``, nested tuples of Values.

    ``function`` is the Function that was applied, and what the step is, is said by that object:
    never by its name, which is only printed. ``derivative``: it is not the function itself, but
    its joint rule.
    """

    __slots__ = ("call", "derivative", "errors", "function", "operands", "out", "outs", "settings")

    def __init__(
        self,
        function: Function,
        operands: tuple[Operand, ...],
        settings: dict[str, Any],
        out: Any,
        rule: Callable[..., Any] | None = None,
    ) -> None:
        self.function = function
        self.operands = operands
        self.settings = settings
        self.out = out
        self.outs = tuple(values_in(out))
        self.derivative = rule is not None
        self.errors: dict[str, Any] | None = None  # np.errstate, where the function changes it
        self.call: Callable[..., Any] = rule or function.forward

    @property
    def name(self) -> str:
        """What is printed."""
        return f"d_{self.function.name}" if self.derivative else self.function.name

    @property
    def single(self) -> Value | None:
        """The one array or number that it gives; None if there is more, or something else."""
        out = self.out
        return out if isinstance(out, Value) and out.shape is not None else None

    @property
    def reads(self) -> list[Value]:
        """The Values of its operands, each once."""
        return list(dict.fromkeys(values_in(self.operands)))

    @property
    def is_map(self) -> bool:
        """Whether each element depends on those at its place only."""
        if self.derivative or self.settings or self.errors:
            return False
        return self.function.operation.is_map

    @property
    def is_ufunc(self) -> bool:
        """Whether it is a map that is a single ufunc."""
        return self.is_map and self.function.operation.ufunc is not None

    @property
    def is_effect(self) -> bool:
        """Whether it stays where it is, whoever uses its results."""
        return not self.derivative and self.function.operation.kind == "effect"

    @property
    def may_work_in_place(self) -> bool:
        """Whether a map may write into the memory of what it reads."""
        floats = [v for v in values_in(self.operands) if v.floating]
        return self.is_ufunc or (self.is_map and len(floats) == 1)

    @property
    def is_view(self) -> bool:
        """Whether the results are views of the first operand."""
        return self.function.view and not self.derivative

    @property
    def fresh(self) -> bool:
        """Whether its call gives memory of its own, whatever it is called with."""
        return self.function.fresh or self.is_ufunc

    def applies(self, *functions: Any) -> bool:
        """Whether it is the application of one of these Functions."""
        return not self.derivative and self.function in functions

    def __repr__(self) -> str:
        given = [show(x) for x in self.operands]
        given += [f"{name}={value!r}" for name, value in self.settings.items()]
        outs = ", ".join(map(repr, self.outs))
        forms = ["saved" if v.dtype is None else form(v) for v in self.outs]
        return f"{outs} = {self.name}({', '.join(given)})  # {', '.join(forms)}"


class Program:
    """Steps from ``inputs`` to ``outputs``: the forward, then the backward with its own inputs.

    ``backward_at`` is where in ``steps`` the backward begins, ``seeds`` are the gradients of the
    outputs that it is given, ``gradients`` what it computes: one for each input that is
    differentiated, None where none arrives.
    """

    def __init__(self, inputs: list[Value], outputs: list[Operand], steps: list[Step]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.steps = steps
        self.backward_at = len(steps)
        self.seeds: list[Value] = []
        self.gradients: list[Operand] = []

    @property
    def results(self) -> list[Value]:
        """The Values that are handed out, or left where they stay."""
        left = [step.operands for step in self.steps if step.is_effect and not step.outs]
        return list(values_in((*self.outputs, *self.gradients, *left)))

    @property
    def forward_steps(self) -> list[Step]:
        """The steps of the forward."""
        return self.steps[: self.backward_at]

    @property
    def backward_steps(self) -> list[Step]:
        """The steps of the backward."""
        return self.steps[self.backward_at :]

    @property
    def saved(self) -> list[Value]:
        """What the forward computes and the backward reads, or gives."""
        read = {*read_by(self.backward_steps), *values_in(tuple(self.gradients))}
        return [v for v in made_by(self.forward_steps) if v in read]

    @property
    def values(self) -> list[Value]:
        """All that it reads and computes."""
        return [*self.inputs, *self.seeds, *made_by(self.steps)]

    def name_values(self) -> None:
        """Give inputs, seeds and results of steps their names."""
        results = made_by(self.steps)
        for letter, values in (("x", self.inputs), ("g", self.seeds), ("v", results)):
            for i, v in enumerate(values):
                v.name = f"{letter}{i}"

    def half(self, backward: bool) -> list[str]:
        """The lines of the forward, or of the backward."""
        self.name_values()
        steps = self.backward_steps if backward else self.forward_steps
        results = self.gradients if backward else self.outputs
        return [*map(repr, steps), f"return {', '.join(map(show, results))}"]

    def __str__(self) -> str:
        self.name_values()
        inputs = [f"{v} {form(v)}" for v in self.inputs]
        lines = [f"inputs: {', '.join(inputs)}", "forward:"]
        lines += [f"  {line}" for line in self.half(False)]
        if self.gradients:
            lines.append(f"backward of {', '.join(map(repr, self.seeds))}:")
            lines += [f"  {line}" for line in self.half(True)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows: the text that ``print`` shows."""
        return card("Program", f"{len(self.steps)} steps", block(str(self)))


def form(v: Value) -> str:
    """The dtype and shape, to print."""
    return "a number" if v.dtype is None else f"{v.dtype} {v.shape}"


def show(operand: Operand) -> str:
    """An operand, to print."""
    if isinstance(operand, np.ndarray):
        return f"<{operand.dtype} {operand.shape}>"
    if type(operand) is tuple:
        return f"({', '.join(map(show, operand))})"
    return repr(operand)


def values_in(operand: Operand) -> Iterator[Value]:
    """The Values of an operand, those in tuples too."""
    if isinstance(operand, Value):
        yield operand
    elif type(operand) is tuple:
        for part in operand:
            yield from values_in(part)


def made_by(steps: Iterable[Step]) -> list[Value]:
    """The results of steps, in order."""
    return [v for step in steps for v in step.outs]


def read_by(steps: Iterable[Step]) -> list[Value]:
    """The Values that steps read, in order."""
    return [v for step in steps for v in values_in(step.operands)]


def replace(operand: Operand, by: dict[Value, Any]) -> Any:
    """The operand with others in place of some Values."""
    if isinstance(operand, Value):
        return by.get(operand, operand)
    if type(operand) is tuple:
        return tuple([replace(part, by) for part in operand])
    return operand


def last_uses(steps: Iterable[Step]) -> dict[Value, int]:
    """The place of the last step that reads each Value."""
    return {v: i for i, step in enumerate(steps) for v in values_in(step.operands)}
