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
from minidl.compiler.standin import StandIn


class Input(NamedTuple):
    """What a program reads at each call. ``kind``: "argument", "state", "draw" or "object"."""

    kind: str
    value: Value
    of: Any  # the place among arguments or states; a Draw; the Variable or array itself


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
        if self.gone and not self.gone.isdisjoint((id(x), id(getattr(x, "_raw", x)))):
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
        if value is None and id(x) not in self.where and x._node is None:
            value = self._of_array(x._raw)
            self.register(x, value)
        if value is None:
            if id(x) not in self.where:
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

    def _fix(self, x: Any, operand: Operand) -> Operand:
        """An operand that decides on a shape: a constant of the program, if it is closed over."""
        if not any(values_in(operand)):
            return operand
        if type(x) is np.ndarray and id(x) in self.where:
            copy = x.copy()
            self.fixed.append(x)
            return copy
        if type(x) is np.ndarray and id(x) not in self._of_object:
            return x.copy()
        self.stop(f"a shape depends on values at {users_line()}")
        return operand

    def operands(self, function: Function, inputs: Sequence[Any]) -> tuple[Operand, ...]:
        first = function.static
        if function.operation.kind in ("gather", "scatter"):
            masks = [i for i, x in enumerate(inputs) if i and getattr(x, "dtype", None) == np.bool_]
        else:
            masks = [] if first is None else list(range(first, len(inputs)))
        return tuple(
            [
                self._fix(x, self._peek(x)) if i in masks else self.operand(x)
                for i, x in enumerate(inputs)
            ]
        )

    def _peek(self, x: Any) -> Operand:
        """The operand, without making an input of an array."""
        return Value(x) if isinstance(x, np.ndarray) else self.operand(x)
