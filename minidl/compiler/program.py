"""What a compiled function is made of: values, and in order the steps that compute them.

Recording them is in tracer.py, changing them in passes.py, making Python of them in emit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Value:
    """One array or number of a program: what it is like, and where it comes from.

    ``kind`` is "input" (given at each call) or "step" (computed). ``plain`` says that eager code
    would have a plain array here rather than a Variable.
    """

    __slots__ = ("dtype", "kind", "name", "plain", "shape")

    def __init__(self, kind: str, like: Any, plain: bool = False) -> None:
        self.kind, self.plain, self.name = kind, plain, ""
        self.shape: Any = getattr(
            like, "shape", None
        )  # None: what a function saved for its derivative, of any type
        self.dtype: Any = getattr(like, "dtype", None)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * int(self.dtype.itemsize)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __repr__(self) -> str:
        return self.name or "value"


class Step:
    """One call: ``call(*operands, **settings)`` gives ``out``, a Value or a tuple of them.

    Operands are Values, tuples of them, or constants. ``function`` is the Function that was
    applied: what the step is, is decided by that object, never by its name, which is only printed.
    ``derivative``: the step is not the function itself but its joint rule.
    """

    __slots__ = ("call", "derivative", "function", "operands", "out", "settings")

    def __init__(
        self,
        function: Any,
        call: Callable[..., Any],
        operands: tuple[Any, ...],
        settings: dict[str, Any],
        out: Any,
        derivative: bool = False,
    ) -> None:
        self.function = function
        self.call = call
        self.operands = operands
        self.settings = settings
        self.out = out
        self.derivative = derivative

    @property
    def name(self) -> str:
        """What is printed."""
        return f"d_{self.function.name}" if self.derivative else str(self.function.name)

    def applies(self, *functions: Any) -> bool:
        """Whether the step is the application of one of these Functions."""
        return not self.derivative and self.function in functions

    @property
    def is_view(self) -> bool:
        """Whether the results are views of the first operand."""
        return self.function.view and not self.derivative

    @property
    def outs(self) -> tuple[Value, ...]:
        return self.out if type(self.out) is tuple else (self.out,)

    def __repr__(self) -> str:
        settings = "".join(f", {k}={v!r}" for k, v in self.settings.items())
        form = ", ".join(
            f"{v.dtype} {v.shape}" if v.dtype is not None else "saved" for v in self.outs
        )
        outs, operands = ", ".join(map(repr, self.outs)), ", ".join(map(shown, self.operands))
        return f"{outs} = {self.name}({operands}{settings})  # {form}"


def shown(operand: Any) -> str:
    """An operand as it is printed."""
    if isinstance(operand, np.ndarray):
        return f"<{operand.dtype} {operand.shape}>"
    if type(operand) is tuple:
        return f"({', '.join(map(shown, operand))})"
    return repr(operand)


def values_in(operand: Any) -> Iterator[Value]:
    """The Values of an operand, those in tuples too."""
    if isinstance(operand, Value):
        yield operand
    elif type(operand) is tuple:
        for part in operand:
            yield from values_in(part)


def replaced(operand: Any, by: dict[Value, Any]) -> Any:
    """The operand with other Values or constants in place of some."""
    if isinstance(operand, Value):
        return by.get(operand, operand)
    return tuple(replaced(part, by) for part in operand) if type(operand) is tuple else operand


class Program:
    """Steps from ``inputs`` to ``outputs``: the forward, then the backward with its own inputs.

    ``backward_at`` is where in ``steps`` the backward begins, ``seeds`` are the gradients of the
    outputs that it is given, ``gradients`` what it computes, one for each input that is
    differentiated.
    """

    def __init__(self, inputs: list[Value], outputs: list[Value], steps: list[Step]) -> None:
        self.inputs, self.outputs, self.steps = inputs, outputs, steps
        self.backward_at = len(steps)
        self.seeds: list[Value] = []
        self.gradients: list[Any] = []  # Values, or None for a gradient that is zero

    def name_values(self) -> None:
        """Give inputs, steps, seeds and gradients their names, for printing and for code."""
        for i, v in enumerate(self.inputs):
            v.name = f"x{i}"
        for i, v in enumerate(self.seeds):
            v.name = f"g{i}"
        made = [v for step in self.steps for v in step.outs]
        for i, v in enumerate(made):
            v.name = f"v{i}"

    def __str__(self) -> str:
        self.name_values()
        head = [f"inputs: {', '.join(f'{v} {v.dtype} {v.shape}' for v in self.inputs)}"]
        forward = [f"  {step!r}" for step in self.steps[: self.backward_at]]
        backward = [f"  {step!r}" for step in self.steps[self.backward_at :]]
        lines = [*head, "forward:", *forward, f"  return {', '.join(map(repr, self.outputs))}"]
        if backward or self.gradients:
            lines += [f"backward of {', '.join(map(repr, self.seeds))}:", *backward]
            lines += [f"  return {', '.join(map(repr, self.gradients))}"]
        return "\n".join(lines)
