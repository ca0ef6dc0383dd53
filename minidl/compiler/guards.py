"""What a compiled function depends on besides its arguments: closures, globals, attributes; looked at before each call.

Arrays and Variables found there may change as long as their form stays: the program reads them afresh.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable

_NUMBERS = (int, float, complex, str, bytes, bool)
_PLAIN = (*_NUMBERS, type(None), type(...), slice, types.ModuleType, types.BuiltinFunctionType)
_OF_EVERY_CLASS = {*vars(type("C", (), {})), "__annotations__", "__init__", "__new__", "__repr__", "__str__"}
_DYNAMIC = {"getattr", "vars", "__dict__", "eval", "exec", "globals", "locals", "attrgetter", "methodcaller"}
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
        if type(self.container) is tuple and self.container and type(self.container[0]) is types.CellType:
            return [cell.cell_contents for cell in self.container]
        return [*self.container.values()] if isinstance(self.container, dict) else [*self.container]


class Guard:
    """The containers a function reaches, and whether they are still as they were when it was recorded."""

    def __init__(self, root: Any) -> None:
        self.names = set[str]()  # what is mentioned in the code that can be reached, which grows as more is
        self._look(root)
        while self.mentioned != self.names:
            self.names = self.mentioned
            self._look(root)

    def _look(self, root: Any) -> None:
        self.spots: list[Spot] = []
        self.states: list[tuple[Any, str]] = []  # (layer, attribute) that a call leaves for the next
        self.where: dict[int, list[tuple[int, int]]] = {}  # id of an array or Variable: spots, and places there
        self.mentioned: set[str] = set()
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
                        self.where.setdefault(id(part), []).append((len(self.spots), i))
                self.spots.append(spot)
                stack += spot.expected

    def _spots_of(self, value: Any) -> Iterator[Spot]:
        if isinstance(value, types.FunctionType):
            if _known(value.__module__) and not value.__closure__:
                return
            names, globals_ = _names(value.__code__), value.__globals__
            self.mentioned.update(names)
            cells = tuple(c for c in value.__closure__ or () if _filled(c))
            if cells:
                yield Spot(cells)
            if found := tuple(n for n in names if n in globals_ and not isinstance(globals_[n], types.ModuleType)):
                yield Spot(globals_, found)
            found_in = [globals_.get(n) for n in names] + [c.cell_contents for c in cells]
            for module in dict.fromkeys(m for m in found_in if type(m) is types.ModuleType):
                if not _known(module.__name__) and (found := tuple(n for n in names if n in vars(module))):
                    yield Spot(vars(module), found)  # config.rate
            if value.__defaults__ or value.__kwdefaults__:
                yield Spot([*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()])
        elif isinstance(value, types.MethodType):
            yield Spot([value.__self__, value.__func__])
        elif isinstance(value, partial):
            yield Spot([value.func, *value.args, *value.keywords.values()])
        elif isinstance(value, type):
            for cls in value.__mro__:
                if not _known(cls.__module__):
                    yield Spot(vars(cls), tuple(n for n in vars(cls) if n not in _OF_EVERY_CLASS and self._used(n)))
        elif isinstance(value, property):
            yield Spot([value.fget])
        elif isinstance(value, (staticmethod, classmethod)):
            yield Spot([value.__func__])
        elif isinstance(value, (dict, list, tuple, set, frozenset)):
            if len(value) <= _MOST:
                yield Spot(value)
        elif slots := _slots(value):
            yield Spot(_Attributes(value), slots)
        elif hasattr(value, "__dict__"):
            carried: Mapping[str, Any] = getattr(type(value), "carried", {})
            self.states += [(value, name) for name in carried]
            keys = [n for n in vars(value) if n not in carried]
            if not hasattr(value, "sublayers"):
                keys = [n for n in keys if self._used(n)]  # a counter beside it may count on
            whole = hasattr(value, "sublayers") and not carried
            yield Spot(vars(value), None if whole else tuple(getattr(type(value), "looked_at", keys)))
            yield from self._spots_of(type(value))

    def _used(self, name: str) -> bool:
        """Whether code that can be reached may use an attribute of that name."""
        return name in self.names or name == "forward" or name[:2] == "__" or not self.names.isdisjoint(_DYNAMIC)

    def changed(self) -> bool | None:
        """Whether something is another array or Variable than at the last call; None if anything else changed."""
        news: dict[int, list[Any]] = {}
        for k, spot in enumerate(self.spots):
            now = spot.now()
            if len(now) == len(spot.expected) and all(map(is_, now, spot.expected)):
                continue
            if len(now) != len(spot.expected) or not all(map(_alike, now, spot.expected)):
                return None
            news[k] = now
        if news:
            for places in self.where.values():  # what was one array in two places must still be one
                parts = [news.get(k, self.spots[k].expected)[i] for k, i in places]
                if any(part is not parts[0] for part in parts):
                    return None
            for k, now in news.items():
                self.spots[k].expected = now
        return bool(news)

    def read(self, at: tuple[int, int]) -> Any:
        """What is at a place now."""
        return self.spots[at[0]].expected[at[1]]

    def renew(self) -> None:
        """Expect what is there now."""
        for spot in self.spots:
            spot.expected = spot.now()


class _Attributes:
    """The attributes of an object that keeps them in slots, as a dict would give them."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def get(self, name: str) -> Any:
        return getattr(self.of, name, None)


def _slots(value: Any) -> tuple[str, ...]:
    """The names of an object's slots, if it has nothing else."""
    if hasattr(value, "__dict__") or _known(type(value).__module__):
        return ()
    found = [vars(cls).get("__slots__", ()) for cls in type(value).__mro__]
    return tuple(n for names in found for n in ((names,) if isinstance(names, str) else names))


def _known(module: Any) -> bool:
    """Whether a module is one whose functions depend on nothing a program would have to look at."""
    name = str(module).partition(".")[0]
    return name in ("minidl", "numpy") or (name in sys.stdlib_module_names and name != "__main__")


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
    return type(now) is type(before) and isinstance(now, _NUMBERS) and repr(now) == repr(before)


def form(x: Any) -> Any:
    """Shape, dtype and kind of an array or Variable, as far as programs depend on them."""
    if isinstance(x, Variable):
        raw = x._raw
        return raw.shape, raw.dtype, x._node is not None
    return x.shape, x.dtype
