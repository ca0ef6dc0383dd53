"""What a function depends on besides its arguments: closures, globals, attributes, containers.

They are found by a walk from the function, over the names that its code uses, and become
conditions: Python expressions that hold as long as nothing changed. Arrays may change as long as
their form stays: a program reads them afresh.
"""

from __future__ import annotations

import builtins
import copy
import io
import os
import random as python_random
import sys
import threading
import types
from array import array
from collections import UserDict, UserList, deque
from collections.abc import Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from functools import cache, partial, reduce
from operator import attrgetter, methodcaller, or_
from typing import Any
from weakref import ProxyType, ref

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable
from minidl.common.members import cells_of, slots_of
from minidl.compiler.forms import NUMBERS
from minidl.compiler.names import (
    NO_NAMES,
    Name,
    Names,
    asks_for_names,
    asks_for_types,
    is_known,
    names_of,
)
from minidl.compiler.places import Place, is_plain, is_state
from minidl.compiler.snapshot import ABSENT, Snapshot
from minidl.optim.optimizer import Optimizer

LAZY = "a parameter that has no data yet"
_MOST = 1000  # elements of a container that are watched one by one
_DYNAMIC = {"getattr", "hasattr", "vars", "__dict__", "eval", "exec", "globals", "locals"}
_DYNAMIC |= {"attrgetter", "methodcaller", "setattr", "delattr"}
_READERS = {"copy", "deepcopy", "dataclasses", "asdict", "astuple", "repr", "str", "pickle", "json"}
_OF_EVERY_CLASS = {*vars(type("C", (), {})), "__annotations__", "__init__", "__new__", "__repr__"}
_ACCESSORS = {"__setattr__", "__getattr__", "__getattribute__", "__delattr__"}
_OF_EVERY_CLASS |= {"__str__", "__static_attributes__", "__firstlineno__"}
GENERATORS = (np.random.Generator, np.random.RandomState, python_random.Random)
_UNWATCHABLE = (Iterator, io.IOBase, threading.local, ref, ProxyType, memoryview)
_ATOMS = (*NUMBERS, types.BuiltinFunctionType, *GENERATORS, np.random.BitGenerator)


_Cached = type(cache(len))


class WeakMethod:
    """A method of an object that it does not keep alive."""

    def __init__(self, function: Any, instance: Any) -> None:
        self.function = function
        self._instance = ref(instance)
        self.__name__ = getattr(function, "__name__", "method")

    @property
    def __self__(self) -> Any:
        return self._instance()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self._instance(), *args, **kwargs)


class Reach:
    """What is reached from some roots.

    ``conditions`` hold as long as nothing changed, evaluated in ``scope``; ``where`` has the place
    of each array and Variable, by id; ``places`` are where calls leave something for the next;
    ``snapshots`` of the containers tell whether a call wrote into them. ``unwatchable`` names what
    cannot be watched, or is None. ``written``: entries that a call was seen to write, which are
    places then, by the id of the container and the key.
    """

    def __init__(
        self, roots: list[Any], written: Set[tuple[int, Any]] = frozenset(), whole: bool = True
    ) -> None:
        self.written = written
        self._whole = whole  # what updates call is looked at, too
        self.names = NO_NAMES  # that reachable code uses; grow as more code is reached
        self._unseen = NO_NAMES  # those of hooks and schedules, which a program calls as they are
        self._unseen_objects = set[int]()  # the ids of what these reach
        self._attributes = frozenset[str]()
        before = None
        while before != (self.names, self._unseen):
            before = (self.names, self._unseen)
            self._walk(roots)

    def _walk(self, roots: list[Any]) -> None:
        self.conditions: dict[str, None] = {}
        self.scope: dict[str, Any] = {}
        self.where: dict[int, str] = {}
        self.found: dict[int, Any] = {}  # the arrays and Variables themselves
        self._places: dict[str, Place] = {}
        self.snapshots: list[Snapshot] = []
        self.optimizers: list[Optimizer] = []
        self.generators: dict[int, Any] = {}
        self.unwatchable: str | None = None
        self._seen: set[int] = set()
        self._todo: list[Any] = list(roots)
        while self._todo:
            self._visit(self._todo.pop())

    def knows(self, x: Any) -> bool:
        """Whether an object was reached."""
        return id(x) in self._seen

    # ---- conditions ------------------------------------------------------------------------------

    def name(self, thing: Any) -> str:
        """A name for an object in the scope of the conditions."""
        name = f"k{id(thing)}"
        self.scope[name] = thing
        return name

    def _expect(self, place: str, value: Any) -> None:
        """Expect at a place what is there now, and go on there."""
        if isinstance(value, np.ndarray):
            dtype = self.name(value.dtype)
            self._add(f"type({place}) is ndarray and {place}.shape == {value.shape!r}")
            self._add(f"{place}.dtype is {dtype}{usual_order(value, place)}")
            if id(value) in self.where:
                self._add(f"{place} is {self.where[id(value)]}")
            else:
                self.where[id(value)] = place
                self.found[id(value)] = value
                self.snapshots.append(Snapshot(value, "an array that it closes over"))
            return
        if isinstance(value, NUMBERS) and not isinstance(value, type(None) | bool | slice):
            self._add(f"({place} is {self.name(value)} or same({place}, {self.name(value)}))")
        else:
            self._add(f"{place} is {self.name(value)}")
            self._todo.append(value)

    def _add(self, condition: str) -> None:
        self.conditions[condition] = None

    def _elements(self, x: Any, items: Iterator[tuple[Any, Any]] | Any) -> None:
        """Expect each element of a container under its key."""
        name = self.name(x)
        for key, value in items:
            text = repr(key) if type(key) in (str, int) else self.name(key)
            self._entry(
                Place(x, key, f"{name}[{text}]", f"an element of a {type(x).__name__}"), value
            )

    def _entry(self, place: Place, value: Any, name: Name | None = None, kind: Any = None) -> None:
        """What is in a place: it is expected to stay, unless calls leave something there."""
        use = self._use(place, value, name, kind)
        if use is None:
            self._expect(place.text, value)
        else:
            self._places[place.text] = place._replace(use=use)

    @property
    def places(self) -> list[Place]:
        """Where calls leave something for the next."""
        return list(self._places.values())

    def _use(self, place: Place, value: Any, name: Name | None, kind: Any) -> str | None:
        """How a place is used that is stored under a name, of an object of a class; None: not."""
        if id(place.container) in self._unseen_objects or name in self._unseen.used:
            return None
        if (id(place.container), place.key) in self.written and is_state(value):
            return "state"
        if name not in self.names.stored or self._is_dynamic():
            return None
        is_read = name in self.names.read or name[1] in names_in_library(kind)
        is_read = is_read or not self.names.of("global").isdisjoint(_READERS)
        if not is_read and name not in self.names.added and is_plain(value):
            return "output"
        if not is_read and name not in self.names.assigned and type(value) is int:
            return "count"
        return "state" if is_state(value) else None

    def types_of_keys(self, keys: Any, place: str) -> str:
        """The condition that keys have the types that they had: 1, 1.0 and True are equal."""
        kinds = list(map(type, keys))
        return "" if {*kinds} <= {str} else f" and [*map(type, {place})] == {self.name(kinds)}"

    # ---- what is there ---------------------------------------------------------------------------

    def _visit(self, x: Any) -> None:
        if id(x) in self._seen:
            return
        self._seen.add(id(x))
        if isinstance(x, Variable):
            self._variable(x)
        elif isinstance(x, GENERATORS):
            self.generators[id(x)] = x
        elif isinstance(x, _UNWATCHABLE):
            self.unwatchable = f"it uses a {type(x).__name__}, which another call finds changed"
        elif not isinstance(x, _ATOMS):
            self._parts(x)

    def _variable(self, x: Variable) -> None:
        name = self.name(x)
        self.where[id(x)] = name
        self.found[id(x)] = x
        if x.lazy:
            self.unwatchable = LAZY
            return
        requires = "is not" if x._node is not None else "is"
        self._add(f"{name}._raw.shape == {x.shape!r} and {name}._raw.dtype is {self.name(x.dtype)}")
        self._add(f"{name}._node {requires} None{usual_order(x._raw, name + '._raw')}")
        if self._used({"name"}):
            self._expect(f"{name}.name", x.name)
        if not is_known(type(x).__module__):
            self._object(x)

    def _parts(self, x: Any) -> None:
        if isinstance(x, types.FunctionType):
            self._function(x)
        elif isinstance(x, types.MethodType):
            self._todo += [x.__self__, x.__func__]
        elif isinstance(x, WeakMethod):
            self._todo += [x.__self__, x.function]
        elif isinstance(x, partial):
            self._todo += [x.func, x.args, x.keywords]
        elif isinstance(x, types.ModuleType):
            self._module(x)
        elif isinstance(x, type):
            self._class(x)
        elif isinstance(x, property | staticmethod | classmethod):
            self._todo.append(x.fget if isinstance(x, property) else x.__func__)
        elif isinstance(x, ContextVar):
            self._expect(f"{self.name(x)}.get(None)", x.get(None))
        elif isinstance(x, Function):
            self._todo += _of_the_user((x.forward, *x.rules, x.joint))
        elif isinstance(x, attrgetter | methodcaller):
            self._getter(x)
        elif isinstance(x, _Cached):  # what it keeps is used, until it is computed anew
            self._todo.append(x.__wrapped__)
            self._add(f"{self.name(x)}.cache_info()[1:] == {x.cache_info()[1:]!r}")
            self.snapshots.append(Snapshot(x, f"the cache of {x.__name__}"))
        elif not self._container(x):
            self._object(x)

    def _getter(self, x: Any) -> None:
        """An attrgetter uses the names that it was made with."""
        texts = [part for part in x.__reduce__()[1] if isinstance(part, str)]
        names = [name for text in texts for name in text.split(".")]
        self._attributes |= frozenset(names)
        self.names |= Names(frozenset([("attribute", name) for name in names]))

    def _function(self, x: types.FunctionType) -> None:
        own = not is_known(x.__module__)
        if not own and not x.__closure__:
            return
        name = self.name(x)
        self._expect(f"{name}.__code__", x.__code__)
        self._expect(f"{name}.__defaults__", x.__defaults__)
        self._expect(f"{name}.__kwdefaults__", x.__kwdefaults__)
        for n, cell in cells_of(x):
            place = Place(cell, "", f"{self.name(cell)}.cell_contents", n)
            self._entry(place, cell.cell_contents, ("cell", n))
            self.snapshots.append(Snapshot(cell, "a variable that it closes over"))
        if own:
            held = vars(x)
            self.snapshots.append(Snapshot(held, f"{x.__name__}."))
            names = names_of(x.__code__)
            self.unwatchable = asks_for_types(names) or asks_for_names(names) or self.unwatchable
            self.names |= names
            self._attributes |= names.of("attribute") | (names.of("global") & _DYNAMIC)
            self._globals(x.__globals__, names.of("global"))
            for imported in names.of("import") & sys.modules.keys():
                self._todo.append(sys.modules[imported])
            if self._is_dynamic():
                self._add(f"len({self.name(held)}) == {len(held)}")
            for n in sorted(self._used(held)):
                self._entry(self._attribute(x, held, n), held[n], ("attribute", n))

    def _globals(self, scope: dict[str, Any], names: frozenset[str]) -> None:
        self.snapshots.append(Snapshot(scope, "global"))
        for n in sorted(names):
            if n in scope:
                place = Place(scope, n, f"{self.name(scope)}[{n!r}]", f"global {n}")
                self._entry(place, scope[n], ("global", n))
            elif not hasattr(builtins, n):
                self._add(f"{n!r} not in {self.name(scope)}")

    def _module(self, x: types.ModuleType) -> None:
        if is_known(x.__name__):
            self._library(x)
            return
        self.snapshots.append(Snapshot(vars(x), f"{x.__name__}."))
        if "__getattr__" in vars(x):
            self.unwatchable = f"it uses module {x.__name__}, which makes attributes when asked"
        for n in sorted(self._used(vars(x))):
            self._expect(f"{self.name(vars(x))}[{n!r}]", vars(x)[n])

    def _library(self, x: types.ModuleType) -> None:
        """Watch what a user may change in a module of the library: sys.argv, os.environ."""
        names = self._attributes.intersection(vars(x)) - {"modules"}
        for n in sorted(names):
            if isinstance(vars(x)[n], (list, dict, set, Mapping)):
                self._expect(f"{self.name(vars(x))}[{n!r}]", vars(x)[n])

    def _class(self, x: type) -> None:
        if not is_known(type(x).__module__):
            self._todo.append(type(x))
        for cls in x.__mro__:
            if is_known(cls.__module__):
                continue
            self._add(f"len({self.name(cls)}.__dict__) == {len(vars(cls))}")
            for n in sorted(self._used(vars(cls)) - _OF_EVERY_CLASS):
                self._expect(f"{self.name(cls)}.__dict__.get({n!r}, ABSENT)", vars(cls)[n])
            inherited = {n for base in cls.__mro__ for n in vars(base)} - vars(cls).keys()
            for n in sorted(self._used(inherited) - _OF_EVERY_CLASS):
                self._add(f"{n!r} not in {self.name(cls)}.__dict__")

    def _container(self, x: Any) -> bool:
        name = self.name(x)
        if isinstance(x, Mapping | UserDict):
            self._add(f"[*{name}] == {self.name([*x])}{self.types_of_keys(x, name)}")
            self._elements(x, x.items())
        elif isinstance(x, list | tuple | deque | UserList) and len(x) <= _MOST:
            self._add(f"len({name}) == {len(x)}")
            self._elements(x, enumerate(x))
        elif isinstance(x, set | frozenset | array | bytearray | list | tuple | deque):
            self._add(f"{name} == {self.name(copy.copy(x))}")
            if isinstance(x, set | frozenset):
                self._todo += x
            elif not all(isinstance(part, NUMBERS) for part in x):
                self.unwatchable = f"it uses a {type(x).__name__} of objects, too long to watch"
        else:
            return False
        if not is_known(type(x).__module__):
            self._todo.append(type(x))
        if x is not os.environ:  # which gives new texts each time it is read
            self.snapshots.append(Snapshot(x, f"an element of a {type(x).__name__}"))
        return True

    def _object(self, x: Any) -> None:
        kind = type(x)
        if hasattr(kind, "_reached"):
            self._todo += [getattr(x, name) for name in kind._reached]
            if self._whole and isinstance(x, Optimizer):
                self.optimizers.append(x)
                called = Reach(_called_by(x), whole=False)
                self._unseen |= called.names
                self._unseen_objects |= called._seen
            return
        is_layer = hasattr(kind, "sublayers") and hasattr(kind, "forward")
        if _is_of_the_library(kind):
            self._settings(getattr(x, "__dict__", {}))
            return
        held: dict[str, Any] = getattr(x, "__dict__", {})
        self._add(f"len({self.name(held)}) == {len(held)}")
        if kind.__weakrefoffset__ and not is_known(kind.__module__):
            weak = ref(x)  # a program does not keep alive what it is a method of
            self._add(f"{self.name(weak)}().__class__ is {self.name(kind)}")
        carried = _carried(kind) & held.keys() if is_layer else set()
        for n in sorted(carried):
            use = "count" if n in getattr(kind, "_counted", ()) else "state"
            place = self._attribute(x, held, n)._replace(use=use)
            self._places[place.text] = place
        watched = set(held) if is_layer or is_known(kind.__module__) else self._used(held)
        for n in sorted(watched - carried):
            name = None if sets_attributes_itself(kind) else ("attribute", n)
            self._entry(self._attribute(x, held, n), held[n], name, kind)
        for n in _slots(kind):
            self._expect(f"getattr({self.name(x)}, {n!r}, ABSENT)", getattr(x, n, ABSENT))
        self.snapshots.append(Snapshot(held, f"{kind.__name__}."))
        self._todo.append(kind)

    def _attribute(self, x: Any, held: dict[str, Any], n: str) -> Place:
        return Place(held, n, f"{self.name(held)}[{n!r}]", f"{type(x).__name__}.{n}")

    def _settings(self, held: dict[str, Any]) -> None:
        """Watch what is read of an object of the library: an argparse.Namespace, an Event."""
        for n, value in held.items():
            if n in self._attributes or isinstance(value, NUMBERS):
                self._expect(f"{self.name(held)}[{n!r}]", value)

    def _is_dynamic(self) -> bool:
        """Whether code asks for attributes by names that it computes."""
        return not self._attributes.isdisjoint(_DYNAMIC)

    def _used(self, names: Any) -> set[str]:
        """Those of the names that reachable code may use."""
        if self._is_dynamic():
            return set(names)
        dunder = {n for n in names if n[:2] == "__" or n == "forward"}
        return dunder.union(self._attributes.intersection(names))


def _of_the_user(functions: Sequence[Any]) -> list[Any]:
    """Those that are no functions of minidl, NumPy or Python's library."""
    return [f for f in functions if not is_known(getattr(f, "__module__", None))]


def usual_order(x: Any, place: str) -> str:
    """The condition that an array lies in memory as it did: sums add up in that order."""
    if x.ndim < 2:
        return ""
    usual = x.flags.c_contiguous
    return f" and {place}" + (".flags.c_contiguous" if usual else f".strides == {x.strides!r}")


def same(now: Any, before: Any) -> bool:
    """Whether two numbers or texts are the same, by type and to the last bit."""
    return type(now) is type(before) and repr(now) == repr(before)


def _slots(kind: type) -> list[str]:
    """The names of the slots of a user's classes; those of minidl's keep what was looked up."""
    own = [cls for cls in kind.__mro__ if not is_known(cls.__module__)]
    return [name for cls in own for name in slots_of(cls)]


def _carried(kind: type) -> set[str]:
    """The attributes of a layer's class that calls leave for the next."""
    return {*getattr(kind, "carried", ()), *getattr(kind, "buffers", ())}


def sets_attributes_itself(kind: type) -> bool:
    """Whether a class of the user's has a say when attributes are read or set."""
    own = [vars(cls) for cls in kind.__mro__ if not is_known(cls.__module__)]
    return any(name in held for held in own for name in _ACCESSORS)


@cache
def names_in_library(kind: type | None) -> frozenset[str]:
    """The attributes that minidl's own classes use, of which a user's class is made."""
    own = [cls for cls in getattr(kind, "__mro__", ()) if is_known(cls.__module__)]
    functions = [f for cls in own for f in vars(cls).values() if hasattr(f, "__code__")]
    names = reduce(or_, [names_of(f.__code__) for f in functions], NO_NAMES)
    return names.of("attribute")


def _called_by(optimizer: Any) -> list[Any]:
    """The user's functions that an update calls: hooks and schedules."""
    groups = [group.settings for group in getattr(optimizer, "groups", ())]
    return [*getattr(optimizer, "hooks", ()), getattr(optimizer, "lr", None), groups]


def _is_of_the_library(kind: type) -> bool:
    """Whether instances of a class are Python's or NumPy's affair."""
    is_minidl = kind.__module__.partition(".")[0] == "minidl"
    return is_known(kind.__module__) and not is_minidl and kind is not types.SimpleNamespace
