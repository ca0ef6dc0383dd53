"""What a compiled function depends on besides its arguments: closures, globals, attributes; looked at before each call.

Arrays and Variables found there may change as long as their form stays: the program reads them afresh.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable

_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), type, types.ModuleType, types.BuiltinFunctionType)
_MOST = 10_000  # elements of a list that are looked at


class Spot:
    """A container and what was in it: the attributes of an object, the elements of a list, cells, globals."""

    __slots__ = ("container", "expected", "keys")

    def __init__(self, container: Any, keys: tuple[Any, ...] | None = None) -> None:
        self.container, self.keys = container, keys
        self.expected = self.now()

    def now(self) -> list[Any]:
        """What is in it now."""
        if self.keys is not None:
            return [self.container.get(key) for key in self.keys]
        if type(self.container) is tuple:
            return [cell.cell_contents if type(cell) is types.CellType else cell for cell in self.container]
        return [*self.container.values()] if isinstance(self.container, dict) else [*self.container]


class Guard:
    """The containers a function reaches, and whether they are still as they were when it was recorded."""

    def __init__(self, root: Any) -> None:
        self.spots: list[Spot] = []
        self.states: list[tuple[Any, str]] = []  # (layer, attribute) that a call leaves for the next
        self.where: dict[int, tuple[int, int]] = {}  # id of an array or Variable: its spot, and place there
        seen: set[int] = set()
        stack = [root]
        while stack:
            value = stack.pop()
            if id(value) in seen or isinstance(value, (*_PLAIN, np.ndarray, np.generic, Variable, Function)):
                continue
            seen.add(id(value))
            for spot in self._spots_of(value):
                for i, part in enumerate(spot.expected):
                    if isinstance(part, (Variable, np.ndarray)):
                        self.where.setdefault(id(part), (len(self.spots), i))
                self.spots.append(spot)
                stack += spot.expected

    def _spots_of(self, value: Any) -> Iterator[Spot]:
        if isinstance(value, types.FunctionType):
            if (value.__module__ or "").partition(".")[0] in ("minidl", "numpy") and not value.__closure__:
                return
            if value.__closure__:
                yield Spot(tuple(c for c in value.__closure__ if _filled(c)))
            names = tuple(n for n in _names(value.__code__) if not isinstance(value.__globals__.get(n), _PLAIN[-3:]))
            if names := tuple(n for n in names if n in value.__globals__):
                yield Spot(value.__globals__, names)
            if value.__defaults__:
                yield Spot(list(value.__defaults__))
        elif isinstance(value, types.MethodType):
            yield Spot([value.__self__, value.__func__])
        elif isinstance(value, partial):
            yield Spot([value.func, *value.args, *value.keywords.values()])
        elif isinstance(value, dict):
            yield Spot(value)
        elif isinstance(value, (list, tuple, set, frozenset)):
            if len(value) <= _MOST:
                yield Spot(value if isinstance(value, list) else list(value))
        elif hasattr(value, "__dict__"):
            carried: Mapping[str, Any] = getattr(type(value), "carried", {})
            self.states += [(value, name) for name in carried]
            if carried:
                yield Spot(vars(value), tuple(n for n in vars(value) if n not in carried))
            else:
                yield Spot(vars(value))

    def changed(self) -> bool | None:
        """Whether something is another array or Variable than at the last call; None if anything else changed."""
        changed = False
        for spot in self.spots:
            now = spot.now()
            if len(now) == len(spot.expected) and all(map(is_, now, spot.expected)):
                continue
            if len(now) != len(spot.expected) or not all(map(_alike, now, spot.expected)):
                return None
            spot.expected, changed = now, True
        return changed

    def read(self, at: tuple[int, int]) -> Any:
        """What is at a place now."""
        return self.spots[at[0]].expected[at[1]]

    def renew(self) -> None:
        """Expect what is there now."""
        for spot in self.spots:
            spot.expected = spot.now()


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _names(code: types.CodeType) -> list[str]:
    """The global names a function's code mentions, and the functions written inside it."""
    inner = [n for c in code.co_consts if isinstance(c, types.CodeType) for n in _names(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _alike(now: Any, before: Any) -> bool:
    """Whether a program recorded with one serves for the other."""
    if now is before:
        return True
    if isinstance(before, Variable) or isinstance(now, Variable):
        return type(now) is type(before) and form(now) == form(before)
    if isinstance(before, np.ndarray):
        return type(now) is np.ndarray and form(now) == form(before)
    return type(now) is type(before) and isinstance(now, _PLAIN[:6]) and bool(now == before)


def form(x: Any) -> Any:
    """Shape, dtype and kind of an array or Variable, as far as programs depend on them."""
    if isinstance(x, Variable):
        raw = x._raw
        return raw.shape, raw.dtype, x._node is not None
    return x.shape, x.dtype
