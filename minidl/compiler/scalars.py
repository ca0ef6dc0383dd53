"""Numbers of Python's that other calls find to be others: arguments, an optimizer's rate and count.

A ``Number`` stands for one while a function is recorded, as stand-ins do for arrays. Arithmetic with
it is noted; whatever else is done with it reads its value, and then it is a constant.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Set
from typing import Any, Protocol

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.protocols import ours_for
from minidl.compiler.program import Value

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_UNARY = ("neg", "pos", "abs")
_READS = [
    "float", "int", "bool", "index", "complex", "round", "trunc", "floor", "ceil", "str", "repr",
    "format", "hash", "eq", "ne", "lt", "le", "gt", "ge", "divmod", "rdivmod",
]  # fmt: skip


class Notes(Protocol):
    """What a number tells: the recorder."""

    def compute(self, function: Callable[..., Any], xs: tuple[Any, ...]) -> Any:
        """Compute with numbers, and note it."""

    def read_number(self, x: Number, how: str) -> None:
        """The value of a number is read."""


class Number:
    """Stands for an int or a float, and computes as that does."""

    __slots__ = ("_notes", "_raw", "value")

    def __init__(self, raw: float, value: Value, notes: Notes) -> None:
        self._raw = raw
        self.value = value
        self._notes = notes

    @property  # type: ignore[misc]  # so that isinstance() says what it says of the number
    def __class__(self) -> type:
        return type(self._raw)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        ours = ours_for(ufunc)
        if ours is not None and method == "__call__" and not settings:
            return ours(*inputs)
        self._notes.read_number(self, ufunc.__name__)
        return getattr(ufunc, method)(*map(plain, inputs), **settings)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self._notes.read_number(self, "np.asarray")
        return np.asarray(self._raw, dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._notes.read_number(self, f".{name}")
        return getattr(self._raw, name)


def plain(x: Any) -> Any:
    """The number itself; anything else as it is."""
    return x._raw if type(x) is Number else x


def _arithmetic(name: str, swapped: bool = False) -> Any:
    function = getattr(operator, name)

    def method(self: Number, *others: Any) -> Any:
        if any(type(x) not in (int, float, bool, Number) for x in others):
            return NotImplemented
        return self._notes.compute(function, (*others, self) if swapped else (self, *others))

    return method


def _reading(name: str) -> Any:
    special = f"__{name}__"

    def method(self: Number, *others: Any) -> Any:
        if any(type(x) not in (int, float, bool, str, Number) for x in others):
            return NotImplemented
        self._notes.read_number(self, f"{name}()")
        return getattr(self._raw, special)(*map(plain, others))

    return method


for _name in _BINARY:
    setattr(Number, f"__{_name}__", _arithmetic(_name))
    setattr(Number, f"__r{_name}__", _arithmetic(_name, swapped=True))
for _name in _UNARY:
    setattr(Number, f"__{_name}__", _arithmetic(_name))
for _name in _READS:
    setattr(Number, f"__{_name}__", _reading(_name))


def is_number(x: Any) -> bool:
    """Whether it is a number of Python's; True and False are choices."""
    return type(x) in (int, float)


def takes_numbers(function: Function, inputs: tuple[Any, ...]) -> bool:
    """Whether the form of a function's result is the same whatever the numbers among its inputs are."""
    operation = function.operation
    if operation.is_map:
        return True
    if operation.kind != "call" or function.view or function.draws or function.static is not None:
        return False
    return not any(type(x) in (tuple, list, slice) and holds_number(x) for x in inputs) and all(
        type(x._raw) is float for x in inputs if type(x) is Number
    )


def holds_number(x: Any) -> bool:
    """Whether a Number is in an operand or a setting."""
    if type(x) is slice:
        x = (x.start, x.stop, x.step)
    if type(x) in (tuple, list):
        return any(map(holds_number, x))
    return type(x) is Number


class Everything:
    """What everything is in."""

    def __contains__(self, x: object) -> bool:
        return True


class Varying:
    """Which numbers among the arguments are others in other calls, by their place in order.

    ``constant`` are entries of containers whose numbers are none; ``allowed``: where no number may
    vary, all are.
    """

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed
        self.places: set[int] = set()
        self._read: set[int] = set()  # they decide on something, so they are constants
        self._last: list[Any] = []
        self._entries = set[tuple[int, Any]]()

    @property
    def constant(self) -> Container[tuple[int, Any]]:
        """The entries of containers that are constants."""
        return self._entries if self.allowed else Everything()

    def meet(self, numbers: list[Any]) -> frozenset[int]:
        """Those that vary, of a call that no program serves for."""
        if len(numbers) == len(self._last):
            for i, (now, before) in enumerate(zip(numbers, self._last)):
                if repr(now) != repr(before):
                    self.places.add(i)
        self._last = numbers
        return frozenset(self.places - self._read) if self.allowed else frozenset()

    def give_up(self, places: frozenset[int], entries: Set[tuple[int, Any]]) -> bool:
        """Numbers among arguments and in places cannot vary within a program; whether there are any."""
        self._read.update(places)
        self._entries.update(entries)
        return bool(places or entries)
