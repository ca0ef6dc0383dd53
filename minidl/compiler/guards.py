"""What a compiled function depends on besides its arguments, checked before each call.

These are closures, globals, attributes, lists. Arrays and Variables among them may change as long
as their form stays: the program reads them afresh.
"""

from __future__ import annotations

import builtins
import sys
import types
from array import array
from collections import UserDict, UserList, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from operator import attrgetter, is_
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable

_NUMBERS = (int, float, complex, str, bytes, bool)
_ARRAYS = (np.ndarray, np.generic, Variable)
_PLAIN = (*_NUMBERS, *_ARRAYS, type(None), type(...), slice, types.BuiltinFunctionType, Function)
_OF_EVERY_CLASS = {
    *vars(type("C", (), {})),
    "__annotations__",
    "__init__",
    "__new__",
    "__repr__",
    "__str__",
}
_DYNAMIC = {
    "getattr",
    "hasattr",
    "vars",
    "__dict__",
    "eval",
    "exec",
    "globals",
    "locals",
    "attrgetter",
    "methodcaller",
}
_OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")
_MOST = 100_000  # elements of a list that are looked at
_ABSENT = object()


class Spot:
    """A container (attributes, a list, cells, globals) and what was in it."""

    __slots__ = ("container", "expected", "keys", "names", "now")

    def __init__(self, container: Any, keys: tuple[Any, ...] | None = None) -> None:
        self.container, self.keys = container, keys
        self.names = self.names_now()
        self.now = _reader(container, keys)  # what is in it now
        self.expected = self.now()

    def names_now(self) -> list[Any] | None:
        """The keys of a whole dict."""
        return (
            [*self.container] if self.keys is None and isinstance(self.container, Mapping) else None
        )

    def same(self, now: Sequence[Any]) -> bool:
        """Whether these are the very things expected, under the same names."""
        if len(now) != len(self.expected) or not all(map(is_, now, self.expected)):
            return False
        return self.names is None or self.names_now() == self.names


def _reader(container: Any, keys: tuple[Any, ...] | None) -> Callable[[], Sequence[Any]]:
    """A fast way to read a container: it is read before each call of a program."""
    if (
        keys is not None
        and isinstance(container, Attributes)
        and len(keys) > 1
        and all(map(container.has, keys))
    ):
        return partial(attrgetter(*keys), container.of)
    if keys is not None:
        get, absent = container.get, (_ABSENT,) * len(keys)
        return lambda: [*map(get, keys, absent)]
    if type(container) is tuple and container and type(container[0]) is types.CellType:
        return lambda: [cell.cell_contents for cell in container]
    return lambda: [*container.values()] if isinstance(container, Mapping) else [*container]


class Attributes:
    """Attributes of an object that has no dict of them, as a dict would give them."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self.of, name, default)

    def has(self, name: str) -> bool:
        return hasattr(self.of, name)


class Guard:
    """The containers a function reaches, and whether they are as they were when it was recorded."""

    def __init__(self, root: Any) -> None:
        self.names = set[
            str
        ]()  # what is mentioned in the code that can be reached, which grows as more is
        self._look(root)
        while self.mentioned != self.names:
            self.names = self.mentioned
            self._look(root)

    def _look(self, root: Any) -> None:
        self.spots: list[Spot] = []
        self.states: list[
            tuple[Any, str]
        ] = []  # (layer, attribute) that a call leaves for the next
        self.where: dict[
            int, list[tuple[int, int]]
        ] = {}  # id of an array or Variable: spots, and places there
        self.mentioned: set[str] = set()
        seen: set[int] = set()
        stack = [root]
        while stack:
            value = stack.pop()
            if id(value) in seen or isinstance(value, _PLAIN):
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
            yield from self._of_function(value)
        elif isinstance(value, types.ModuleType):
            if not _known(value.__name__) and (
                names := tuple(n for n in sorted(self.names) if n in vars(value))
            ):
                yield Spot(vars(value), names)  # config.rate
        elif isinstance(value, types.MethodType):
            yield Spot([value.__self__, value.__func__])
        elif isinstance(value, partial):
            yield Spot([value.func, *value.args, *value.keywords.values()])
        elif isinstance(value, type):
            inherited = {n for cls in value.__mro__ for n in vars(cls)} - _OF_EVERY_CLASS
            for cls in value.__mro__:
                if not _known(cls.__module__):
                    yield Spot(vars(cls), tuple(n for n in sorted(inherited) if self._used(n)))
        elif isinstance(value, property):
            yield Spot([value.fget])
        elif isinstance(value, (staticmethod, classmethod)):
            yield Spot([value.__func__])
        elif isinstance(value, ContextVar):
            yield Spot(_Current(value), ("value",))
        elif isinstance(
            value, (Mapping, list, tuple, set, frozenset, deque, array, UserDict, UserList)
        ):
            if len(value) <= _MOST:
                yield Spot(value)
        elif slots := _slots(value):
            yield Spot(Attributes(value), slots)
        elif hasattr(value, "__dict__"):
            yield from self._of_object(value)

    def _of_function(self, value: types.FunctionType) -> Iterator[Spot]:
        if _known(value.__module__) and not value.__closure__:
            return
        names, globals_ = _names(value.__code__), value.__globals__
        self.mentioned.update(names)
        yield Spot(Attributes(value), _OF_FUNCTIONS)
        if cells := tuple(c for c in value.__closure__ or () if _filled(c)):
            yield Spot(cells)
        yield Spot(globals_, tuple(n for n in names if n in globals_ or not hasattr(builtins, n)))
        if imported := [sys.modules[n] for n in names if n in sys.modules and not _known(n)]:
            yield Spot(imported)

    def _of_object(self, value: Any) -> Iterator[Spot]:
        layer = hasattr(value, "sublayers") and hasattr(value, "forward")
        carried: Mapping[str, Any] = getattr(type(value), "carried", {}) if layer else {}
        self.states += [(value, name) for name in carried]
        if chosen := vars(type(value)).get("looked_at"):
            yield Spot(vars(value), chosen)
            return
        if layer or _known(type(value).__module__):
            yield Spot(
                vars(value), tuple(n for n in vars(value) if n not in carried) if carried else None
            )
        else:  # a counter beside what is used may count on
            known = {
                *vars(value),
                *(n for cls in type(value).__mro__ for n in vars(cls)),
            } - _OF_EVERY_CLASS
            whole = not self.names.isdisjoint(_DYNAMIC)
            yield Spot(
                vars(value), None if whole else tuple(n for n in sorted(known) if self._used(n))
            )
        yield from self._spots_of(type(value))

    def _used(self, name: str) -> bool:
        """Whether code that can be reached may use an attribute of that name."""
        return (
            name in self.names
            or name == "forward"
            or name[:2] == "__"
            or not self.names.isdisjoint(_DYNAMIC)
        )

    def changed(self) -> bool | None:
        """True if an array or Variable was swapped, False if nothing changed, None if else."""
        news: dict[int, Sequence[Any]] = {}
        for k, spot in enumerate(self.spots):
            now = spot.now()
            if spot.same(now):
                continue
            if len(now) != len(spot.expected) or not all(map(_alike, now, spot.expected)):
                return None
            if spot.names is not None and spot.names_now() != spot.names:
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

    def undone(self) -> bool:
        """Put back what the function changed while it ran; return whether there was anything."""
        changed = False
        for spot in self.spots:
            now = spot.now()
            if not spot.same(now):
                changed = True
                with suppress(TypeError):  # a class's attributes
                    _put_back(spot)
        return changed


def _put_back(spot: Spot) -> None:
    container, before = spot.container, spot.expected
    if type(container) is tuple:
        for cell, value in zip(container, before):
            if isinstance(cell, types.CellType):
                cell.cell_contents = value
    elif isinstance(container, (dict, Mapping)):
        items = dict(zip(spot.keys if spot.keys is not None else spot.names or (), before))
        for key in [key for key in container if key not in items] if spot.keys is None else []:
            del container[key]  # type: ignore[attr-defined]  # it has changed, so it can
        for key, value in items.items():
            if value is not _ABSENT and container.get(key, _ABSENT) is not value:
                container[key] = value  # type: ignore[index]
            elif value is _ABSENT and key in container:
                del container[key]  # type: ignore[attr-defined]
    elif isinstance(container, Attributes):
        for key, value in zip(spot.keys or (), before):
            setattr(container.of, key, value)
    elif isinstance(container, (list, deque)):
        container.clear()
        container.extend(before)
    elif isinstance(container, set):
        container.clear()
        container.update(before)


class _Current:
    """A ContextVar's value, as a dict would give it."""

    def __init__(self, of: ContextVar[Any]) -> None:
        self.of = of

    def get(self, name: str, default: Any = None) -> Any:
        return self.of.get(default)


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
