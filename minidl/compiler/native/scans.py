"""Scans as steps of a primitive program: a body that is done for each step of a sequence."""

from __future__ import annotations

from typing import Any, NamedTuple

from minidl.autograd.function import Function
from minidl.compiler.passes import optimized
from minidl.compiler.program import Operand, Program, Step, Value, made_by, replace, values_in


class Counts(NamedTuple):
    """How many of the body's inputs are the state, and how many come anew at each time."""

    states: int
    xs: int


class ScanStep(Step):
    """The program ``body`` for each of ``length`` times; ``backwards``: the last time first.

    Operands are the first state, arrays of all times' inputs, and what the body reads besides; the
    body's inputs are the state, one time's inputs, and the same. Its outputs are the next state and
    one time's outputs. The step gives the last state, and arrays of all times' outputs.
    """

    __slots__ = ("backwards", "body", "counts", "length")

    def __init__(
        self,
        length: int,
        operands: tuple[Operand, ...],
        outs: tuple[Value, ...],
        body: Program,
        counts: Counts,
        backwards: bool = False,
    ) -> None:
        # A Function of its own, as nothing but itself is the same scan.
        super().__init__(Function(_not_called, (), None, "scan"), operands, {}, outs)
        self.length = length
        self.body = body
        self.counts = counts
        self.backwards = backwards

    def add_output(self, v: Value, whole: Value) -> None:
        """Give what the body computes at all times besides."""
        self.body.outputs.append(v)
        self.out = self.outs = (*self.outs, whole)

    def close(self) -> None:
        """Make operands of all that the body reads from outside."""
        for step in self.body.steps:
            if isinstance(step, ScanStep):
                step.close()
        free = free_values(self.body)
        inner = {v: _like(v) for v in free}
        for step in self.body.steps:
            step.operands = tuple([replace(x, inner) for x in step.operands])
        self.body.outputs = [replace(x, inner) for x in self.body.outputs]
        self.body.inputs = [*self.body.inputs, *inner.values()]
        self.operands = (*self.operands, *free)
        self.body = optimized(self.body)


def _like(v: Value) -> Value:
    new = Value(None)
    new.shape = v.shape
    new.dtype = v.dtype
    new.axes = v.axes
    return new


def _not_called(*_: Any) -> Any:
    raise NotImplementedError("a scan in C is no call")


def free_values(body: Program) -> list[Value]:
    """What a program reads that is none of its inputs."""
    read = [v for step in body.steps for v in _read_by(step)]
    read += body.results
    made = {*body.inputs, *made_by(body.steps)}
    return [v for v in dict.fromkeys(read) if v not in made]


def _read_by(step: Step) -> list[Value]:
    inner = free_values(step.body) if isinstance(step, ScanStep) else []
    return [*values_in(step.operands), *inner]
