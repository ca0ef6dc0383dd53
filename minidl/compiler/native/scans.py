"""Scans as steps of a primitive program: a body that is done for each step of a sequence."""

from __future__ import annotations

from typing import Any

from minidl.autograd.function import Function
from minidl.compiler.program import Operand, Step, Value, values_in


def _not_called(*_: Any) -> Any:
    raise NotImplementedError("a scan in C is no call")


SCAN = Function(_not_called, (), None, "scan")


class ScanStep(Step):
    """``steps`` for each of ``length`` times.

    ``before`` are the Values of the state, ``xs`` those of a time's inputs, ``after`` those of the
    next state and ``ys`` those of a time's outputs.
    """

    __slots__ = ("after", "before", "length", "steps", "xs", "ys")

    def __init__(
        self,
        length: int,
        operands: tuple[Operand, ...],
        outs: tuple[Value, ...],
        steps: list[Step],
        values: list[Any],
        states: int,
        inputs: int,
    ) -> None:
        super().__init__(SCAN, operands, {}, outs)
        self.length = length
        self.steps = steps
        self.before = values[:states]
        self.xs = values[states : states + inputs]
        self.after = values[states + inputs : 2 * states + inputs]
        self.ys = values[2 * states + inputs :]

    @property
    def free(self) -> set[Value]:
        """What the body reads from outside."""
        read = {v for step in self.steps for v in values_in(step.operands)}
        read.update(values_in((*self.after, *self.ys)))
        made = {v for step in self.steps for v in step.outs}
        return read - made - {*self.before, *self.xs}
