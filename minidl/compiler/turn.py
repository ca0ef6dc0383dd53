"""A turn of a scan as it is noted, and whether two turns are one program.

What is made of turns that are the same is in rolling.py.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.node import Node
from minidl.autograd.variable import Variable
from minidl.compiler.calls import Again
from minidl.compiler.program import Operand, Step, Value, values_in
from minidl.compiler.recorder import Notes
from minidl.compiler.scan import ScanStep


class Turn(NamedTuple):
    """One turn as it was noted: what it was given, what it gave.

    ``given`` are the operands of state and row, ``made`` those of the new state and the outputs.
    ``since`` is a number that is no larger than that of its first application.
    """

    steps: list[Step]
    tape: list[Step]
    state: list[Any]
    row: list[Any]
    new: list[Any]
    ys: list[Any]
    given: tuple[Operand, ...]
    made: tuple[Operand, ...]
    since: int


class Later(NamedTuple):
    """What a turn gave that was not noted."""

    new: list[Any]
    ys: list[Any]


def node_of(x: Any) -> Node | None:
    """The node of a Variable in a graph."""
    return x._node if isinstance(x, Variable) else None


# ---- whether two turns are the same --------------------------------------------------------------


class Match:
    """Whether another turn is what ``body``, a turn, is, applied to what the other was given.

    ``to`` are the other's Values by those of the body; ``drawn`` those of random numbers. Of two
    things compared, the first is the body's.
    """

    def __init__(self, recorder: Notes, tracked: set[Operand], body: Turn, other: Turn) -> None:
        self.differentiated = recorder.differentiated
        self.tracked = tracked
        self.to: dict[Value, Operand] = {}
        self.drawn: dict[Value, Value] = {}
        self.inputs = {x.value: x for x in recorder.inputs}
        self.agrees = (
            self._bind(body.given, other.given)
            and all(map(self._same_graph, body.given, other.given))
            and self._steps(body.steps, other.steps)
            and self._operand(body.made, other.made)
        )

    def _steps(self, a: list[Step], b: list[Step]) -> bool:
        return len(a) == len(b) and all(map(self._step, a, b))

    def _step(self, a: Step, b: Step) -> bool:
        if a.is_effect or a.derivative != b.derivative or a.errors != b.errors:
            return False
        return (
            self._same_record(a, b)
            and self._same_call(a, b)
            and same_constant(a.settings, b.settings)
            and self._operand(a.operands, b.operands)
            and self._bind(a.out, b.out)
        )

    def _same_record(self, a: Step, b: Step) -> bool:
        """Whether both are recorded in graphs, or only the first, as the other reads none of one."""
        is_recorded = a in self.differentiated
        if is_recorded == (b in self.differentiated):
            return True
        return is_recorded and self.tracked.isdisjoint(values_in(b.operands))

    def _same_graph(self, a: Operand, b: Operand) -> bool:
        """Whether the first is in a graph if the other is."""
        return a in self.tracked or b not in self.tracked

    def _same_call(self, a: Step, b: Step) -> bool:
        if isinstance(a, ScanStep) and isinstance(b, ScanStep):
            return self._same_loop(a, b)
        return same_call(a.call, b.call)

    def _same_loop(self, a: ScanStep, b: ScanStep) -> bool:
        """Whether two loops inside the turns are the same."""
        if a.loop.sizes != b.loop.sizes or a.loop.count != b.loop.count:
            return False
        mine = a.loop.body
        its = b.loop.body
        return (
            a.backward is b.backward
            and self._bind(tuple(mine.inputs), tuple(its.inputs))
            and self._steps(mine.steps, its.steps)
            and self._operand((*mine.state, *mine.ys), (*its.state, *its.ys))
        )

    def _bind(self, a: Any, b: Any) -> bool:
        """Let what the other turn is given, or makes, be what the first is."""
        if type(a) is tuple:
            return _alike(a, b) and all(map(self._bind, a, b))
        if not isinstance(a, Value) or not a.same_form(b):
            return False
        return self.to.setdefault(a, b) is b

    def _operand(self, a: Operand, b: Operand) -> bool:
        """Whether the other reads what the first one reads."""
        if type(a) is tuple:
            return _alike(a, b) and all(map(self._operand, a, b))
        if not isinstance(a, Value):
            return same_constant(a, b)
        if a in self.to:
            return self.to[a] is b
        return a is b or (isinstance(b, Value) and self._same_input(a, b))

    def _same_input(self, a: Value, b: Value) -> bool:
        """Whether both are drawn in their turns, or constants of the same numbers."""
        mine = self.inputs.get(a)
        its = self.inputs.get(b)
        if mine is None or its is None or mine.kind != its.kind or not a.same_form(b):
            return False
        if mine.kind == "draw":
            return self.drawn.setdefault(a, b) is b
        return isinstance(mine.of, np.ndarray) and same_constant(mine.of, its.of)


def _alike(a: Any, b: Any) -> bool:
    """Whether two sequences are of one type and length."""
    return type(a) is type(b) and len(a) == len(b)


def same_constant(a: Any, b: Any) -> bool:
    """Whether two constants are the same: types, and every bit of arrays."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return _same_array(a, b)
    if isinstance(a, tuple | list):
        return _alike(a, b) and all(map(same_constant, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(map(same_constant, a.values(), b.values()))
    return bool(a == b) if callable(a) else repr(a) == repr(b)


def _same_array(a: Any, b: Any) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype or a.strides != b.strides:
        return False
    same: bool = a.tobytes() == b.tobytes()
    return same


def same_call(a: Any, b: Any) -> bool:
    """Whether two calls are one function, or the same code over the same constants."""
    if type(a) is type(b) is Again:
        return same_constant(vars(a), vars(b))
    if a is b or type(a) is not FunctionType or type(b) is not FunctionType:
        return bool(a == b)
    return a.__code__ is b.__code__ and same_constant(_closed_over(a), _closed_over(b))


def _closed_over(function: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or ()]
