"""What stands for what: the Values of arrays and Variables that a recorded function meets.

What is noted of them is in recorder.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable
from minidl.common.arrays import is_foreign
from minidl.common.callers import users_line
from minidl.compiler.program import Operand, Value, values_in
from minidl.compiler.scalars import Number
from minidl.compiler.standin import StandIn, raw_of


class Input(NamedTuple):
    """What a program reads at each call.

    By ``kind``, ``of`` is: "argument", "state": the place among the arrays of these; "number",
    "state number": that among their numbers; "draw": a Draw; "object": a Variable or an array;
    "grad": the Variable whose gradient it is.
    """

    kind: str
    value: Value
    of: Any


class Draw(NamedTuple):
    """Random numbers that are drawn anew at each call."""

    function: Function
    args: tuple[Any, ...]
    settings: dict[str, Any]


class Values:
    """The Values of a recording, by the objects that they stand for.

    ``stopped`` says why there will be no program: from then on nothing is noted.
    """

    def __init__(self, where: dict[int, str]) -> None:
        self.where = where  # places of what the function reaches, by id of an array or Variable
        self.inputs: list[Input] = []
        self.fixed: list[np.ndarray] = []  # arrays whose values decide on shapes
        self.made_of: list[np.ndarray] = []  # arrays of nobody's: what unseen code computed
        self.stopped: str | None = None
        self.deriving = False
        self._of_object: dict[int, Operand] = {}
        self._of_node: dict[Any, Operand] = {}
        self._kept: list[Any] = []  # keeps alive what is looked up by id
        self.gone: set[int] = set()  # ids of arrays that were written into, in part

    @property
    def draws(self) -> list[Draw]:
        """The random numbers among the inputs."""
        return [x.of for x in self.inputs if x.kind == "draw"]

    def forget(self) -> None:
        """Let go of all arrays and graphs: blocks of the mode may keep this until the collector
        comes, and nothing is looked up any more.
        """
        self._of_object.clear()
        self._of_node.clear()
        self._kept.clear()

    def stop(self, why: str) -> None:
        """There will be no program: the function just goes on."""
        if self.stopped is None:
            self.stopped = why

    def refuse(self, x: Any, how: str) -> None:
        """A value is read: the program would keep what it is now."""
        if self.stopped is None and self._is_ours(x):
            hint = "compute with np.where or another function, or make it an argument"
            self.stop(f"{how} of a value of shape {x.shape} is read at {users_line()}: {hint}")

    def read_number(self, x: Number, how: str) -> None:
        """The value of a number is read."""
        self.stop(f"{how} of a number that changes from call to call is read at {users_line()}")

    def _is_ours(self, x: Any) -> bool:
        return isinstance(x, Variable) and not x.lazy

    def add_input(self, kind: str, raw: Any, of: Any) -> Value:
        """A Value that is read at each call."""
        if is_foreign(raw):
            self.stop("")
        value = Value(raw)
        self.inputs.append(Input(kind, value, of))
        return value

    def register(self, x: Any, value: Operand) -> None:
        """Let an array or a Variable, and its node, stand for a Value or a number."""
        if id(x) not in self._of_object:
            self._kept.append(x)  # so that its id stays its own
        self._of_object[id(x)] = value
        if isinstance(x, Variable) and x._node is not None:
            self._of_node[x._node] = value

    def operand(self, x: Any) -> Operand:
        """What stands for an argument in a step: a Value, or the constant itself."""
        if self.gone and (id(x) in self.gone or id(raw_of(x)) in self.gone):
            self.stop(f"a view of an array that was written into is used at {users_line()}")
        if type(x) in (StandIn, Number):
            return x.value
        if isinstance(x, Variable):
            return self._of_variable(x)
        if isinstance(x, np.ndarray) or is_foreign(x):
            return self._of_array(x)
        if type(x) is tuple:
            return tuple([self.operand(part) for part in x])
        return x

    def _of_variable(self, x: Variable) -> Operand:
        value = self._of_object.get(id(x))
        if value is None and x._node is not None:
            value = self._of_node.get(x._node)
        if value is not None:
            return value
        if id(x) in self.where:
            value = self.add_input("object", x._raw, x)
        elif x._node is None:
            value = self._of_array(x._raw)
        else:
            self.stop(f"it uses a Variable that it makes anew at each call, at {users_line()}")
            value = self.add_input("object", x._raw, x)
        self.register(x, value)
        return value

    def _of_array(self, x: Any) -> Operand:
        if isinstance(x, np.generic):
            return x
        if id(x) in self._of_object:
            return self._of_object[id(x)]
        if id(x) in self.where:
            value = self.add_input("object", x, x)
        else:  # what unseen code made: a constant, as far as can be seen
            copy = x.copy()
            if not self.deriving:
                self.made_of.append(copy)
            value = self.add_input("object", copy, copy)
        self.register(x, value)
        return value

    def operands(self, function: Function, inputs: Sequence[Any]) -> tuple[Operand, ...]:
        """What stands for the arguments of an application."""
        operands = []
        for i, x in enumerate(inputs):
            decides = _decides_on_shape(function, i, x)
            operands.append(self._fix(x) if decides else self.operand(x))
        return tuple(operands)

    def _fix(self, x: Any) -> Operand:
        """An argument that decides on a shape: a constant of the program, if it is closed over."""
        closed_over = id(x) in self.where
        if type(x) is np.ndarray and (closed_over or id(x) not in self._of_object):
            if closed_over:
                self.fixed.append(x)
            return x.copy()
        operand = Value(x) if isinstance(x, np.ndarray) else self.operand(x)
        if any(values_in(operand)):
            self.stop(f"a shape depends on values at {users_line()}")
        return operand


def _decides_on_shape(function: Function, i: int, x: Any) -> bool:
    """Whether the values of the argument ``x``, number ``i``, decide on the result's shape."""
    if function.operation.kind in ("gather", "scatter"):
        is_mask: bool = getattr(x, "dtype", None) == np.bool_
        return i > 0 and is_mask
    return function.static is not None and i >= function.static
