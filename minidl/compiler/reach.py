"""What a function depends on besides its arguments: closures, globals, attributes, containers.

They are found by a walk from the function, over the names that its code uses, and become
conditions: Python expressions that hold as long as nothing changed. Arrays may change as long as
their form stays: a program reads them afresh.
"""

from __future__ import annotations

import copy
import io
import os
import random as python_random
import sys
import threading
import types
from array import array
from collections import UserDict, UserList, deque
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from functools import cache, partial
from operator import attrgetter, methodcaller
from typing import Any
from weakref import ProxyType, ref

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable
from minidl.common.members import cells_of
from minidl.compiler.conditions import Conditions, condition_of_form, under
from minidl.compiler.forms import NUMBERS, numbers_in
from minidl.compiler.kinds import (
    carried_by,
    classes_of_user,
    is_layer,
    is_of_the_library,
    names_in_library,
    sets_attributes_itself,
    slots_of_user,
)
from minidl.compiler.names import (
    NO_NAMES,
    Name,
    Names,
    asks_for_names,
    asks_for_types,
    is_known,
    names_of,
)
from minidl.compiler.places import Entry, Place, is_plain, is_state
from minidl.compiler.snapshot import ABSENT, Snapshot
from minidl.optim.optimizer import Optimizer

LAZY = "a parameter that has no data yet"
_MOST = 1000  # elements of a container that are watched one by one
_DYNAMIC = {"getattr", "hasattr", "vars", "__dict__", "eval", "exec", "globals", "locals"}
_DYNAMIC |= {"attrgetter", "methodcaller", "setattr", "delattr"}
_READERS = {"copy", "deepcopy", "dataclasses", "asdict", "astuple", "repr", "str", "pickle", "json"}
_OF_EVERY_CLASS = {*vars(type("C", (), {})), "__annotations__", "__init__", "__new__", "__repr__"}
_OF_EVERY_CLASS |= {"__str__", "__static_attributes__", "__firstlineno__"}
GENERATORS = (np.random.Generator, np.random.RandomState, python_random.Random)
_CONTAINERS = (list, dict, set, Mapping)
_UNWATCHABLE = (Iterator, io.IOBase, threading.local, ref, ProxyType, memoryview)
_ATOMS = (*NUMBERS, types.BuiltinFunctionType, *GENERATORS, np.random.BitGenerator)
_EMPTY = types.CellType()
_Cached = type(cache(len))
_WRAPPERS = {  # what is used of things that stand around others
    types.MethodType: ("__self__", "__func__"),
    partial: ("func", "args", "keywords"),
    property: ("fget",),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
}


class Reach(Conditions):
    """What is reached from some roots, and the conditions for it.

    ``generators`` and ``optimizers`` are found on the way. ``unwatchable`` names what cannot be
    watched, or is None. ``written``: entries that a call was seen to write, which are places then;
    ``constant``: numbers that decide on something, which are none.
    """

    def __init__(
        self,
        roots: list[Any],
        written: Set[Entry] = frozenset(),
        constant: Container[Entry] = frozenset(),
        whole: bool = True,
    ) -> None:
        self.written = written
        self._constant = constant
        self._whole = whole  # what updates call is looked at, too
        self.names = NO_NAMES  # that reachable code uses; grow as more code is reached
        self._attributes = frozenset[str]()
        self._unseen = NO_NAMES  # those of hooks and schedules, which a program calls as they are
        self._unseen_objects = set[int]()  # the ids of what these reach
        before = None
        while before != (self.names, self._unseen):
            before = (self.names, self._unseen)
            self._walk(roots)

    def _walk(self, roots: list[Any]) -> None:
        self._begin(roots)
        self.optimizers: list[Optimizer] = []
        self.generators: dict[int, Any] = {}
        self.unwatchable: str | None = None
        self._seen: set[int] = set()
        while self._todo:
            self._visit(self._todo.pop())

    @property
    def variables(self) -> list[Variable]:
        """The Variables that were found."""
        return [x for x in self.arrays.values() if isinstance(x, Variable)]

    def knows(self, x: Any) -> bool:
        """Whether an object was reached."""
        return id(x) in self._seen

    def _use(self, place: Place, value: Any, name: Name, owner: Any) -> str | None:
        if id(place.container) in self._unseen_objects or name in self._unseen.used:
            return None
        may_be_state = is_state(value)
        if may_be_state and numbers_in(value):
            asks = "type" in self.names.of("global")
            may_be_state = not asks and place.entry not in self._constant
        if place.entry in self.written and may_be_state:
            return "state"
        if name not in self.names.stored or self._is_dynamic():
            return None
        if self._is_read(name, owner):
            return "state" if may_be_state else None
        if name not in self.names.added and is_plain(value):
            return "output"
        if name not in self.names.assigned and type(value) is int:
            return "count"
        return "state" if may_be_state else None

    def _is_read(self, name: Name, owner: Any) -> bool:
        """Whether what is stored under a name may matter to something else than ``+=``."""
        if name in self.names.read or name[1] in names_in_library(owner):
            return True
        return not self.names.of("global").isdisjoint(_READERS)

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
        self.arrays[id(x)] = x
        if x.lazy:
            self.unwatchable = LAZY
            return
        requires = "is not" if x._node is not None else "is"
        self._add(condition_of_form(f"{name}._raw", x._raw, self.name))
        self._add(f"{name}._node {requires} None")
        if self._used({"name"}):
            self._expect(f"{name}.name", x.name)
        if not is_known(type(x).__module__):
            self._object(x)

    def _parts(self, x: Any) -> None:
        if isinstance(x, types.FunctionType):
            self._function(x)
        elif isinstance(x, tuple(_WRAPPERS)):
            names = next(names for kind, names in _WRAPPERS.items() if isinstance(x, kind))
            self._todo += [getattr(x, name) for name in names]
        elif isinstance(x, types.ModuleType):
            self._module(x)
        elif isinstance(x, type):
            self._class(x)
        elif isinstance(x, ContextVar):
            self._expect(f"{self.name(x)}.get(None)", x.get(None))
        elif isinstance(x, Function):
            self._todo += _of_the_user((x.forward, *x.rules, x.joint))
        elif isinstance(x, attrgetter | methodcaller):
            self._getter(x)
        elif isinstance(x, _Cached):
            self._cached(x)
        elif not self._container(x):
            self._object(x)

    def _cached(self, x: Any) -> None:
        """What a function with a cache keeps is used, until it is computed anew."""
        self._todo.append(x.__wrapped__)
        self._add(f"{self.name(x)}.cache_info()[1:] == {x.cache_info()[1:]!r}")
        self.snapshots.append(Snapshot(x, f"the cache of {x.__name__}"))

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
        for cell in x.__closure__ or ():
            if cell == _EMPTY:
                self._add(f"{self.name(cell)} == {self.name(_EMPTY)}")
        for n, cell in cells_of(x):
            place = Place(cell, "", f"{self.name(cell)}.cell_contents", n)
            self._entry(place, cell.cell_contents, ("cell", n))
            self.snapshots.append(Snapshot(cell, "a variable that it closes over"))
        if own:
            self._code(x)
            self._attributes_of(x, self._used(vars(x)), "attribute")
            if self._is_dynamic():
                self._expect_length(vars(x))

    def _code(self, x: types.FunctionType) -> None:
        """The names that the code of a function uses."""
        names = names_of(x.__code__)
        self.unwatchable = asks_for_types(names) or asks_for_names(names) or self.unwatchable
        self.names |= names
        self._attributes |= names.of("attribute") | (names.of("global") & _DYNAMIC)
        self._globals(x.__globals__, names.of("global"))
        for imported in names.of("import") & sys.modules.keys():
            self._todo.append(sys.modules[imported])

    def _globals(self, scope: dict[str, Any], names: frozenset[str]) -> None:
        self.snapshots.append(Snapshot(scope, "global"))
        self._entries(scope, under(scope, names & scope.keys()), "global ", "global")
        for n in sorted(names - scope.keys()):
            self._add(f"{n!r} not in {self.name(scope)}")

    def _attributes_of(self, x: Any, names: Set[str], kind_of_name: str = "") -> None:
        """Attributes that lie in the dict of an object."""
        held = vars(x)
        named = x if isinstance(x, types.ModuleType | types.FunctionType) else type(x)
        label = named.__name__
        self.snapshots.append(Snapshot(held, f"{label}."))
        self._entries(held, under(held, names), f"{label}.", kind_of_name, type(x))

    def _module(self, x: types.ModuleType) -> None:
        if is_known(x.__name__):
            self._library(x)
            return
        if "__getattr__" in vars(x):
            self.unwatchable = f"it uses module {x.__name__}, which makes attributes when asked"
        self._attributes_of(x, self._used(vars(x)))

    def _library(self, x: types.ModuleType) -> None:
        """Watch what a user may change in a module of the library: sys.argv, os.environ."""
        names = self._attributes.intersection(vars(x)) - {"modules"}
        held = vars(x)
        containers = [name for name in names if isinstance(held[name], _CONTAINERS)]
        self._entries(held, under(held, containers), f"{x.__name__}.")

    def _class(self, x: type) -> None:
        if not is_known(type(x).__module__):
            self._todo.append(type(x))
        for cls in classes_of_user(x):
            name = self.name(cls)
            held = vars(cls)
            self._add(f"len({name}.__dict__) == {len(held)}")
            for n, value in under(held, self._used(held) - _OF_EVERY_CLASS):
                self._expect(f"{name}.__dict__.get({n!r}, ABSENT)", value)
            inherited = set().union(*map(vars, cls.__mro__)) - held.keys()
            for n in sorted(self._used(inherited) - _OF_EVERY_CLASS):
                self._add(f"{n!r} not in {name}.__dict__")

    def _container(self, x: Any) -> bool:
        name = self.name(x)
        label = f"an element of a {type(x).__name__}"
        if isinstance(x, Mapping | UserDict):
            self._add(self.condition_of_keys(x, name))
            self._entries(x, x.items(), f"{label} ")
        elif isinstance(x, list | tuple | deque | UserList) and len(x) <= _MOST:
            self._expect_length(x)
            self._entries(x, enumerate(x), f"{label} ")
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
            self.snapshots.append(Snapshot(x, label))
        return True

    def _object(self, x: Any) -> None:
        kind = type(x)
        if hasattr(kind, "_reached"):
            self._todo += [getattr(x, name) for name in kind._reached]
            if isinstance(x, Optimizer):
                self._optimizer(x)
        elif is_of_the_library(kind):
            self._settings(getattr(x, "__dict__", {}))
        else:
            if hasattr(x, "__dict__"):
                self._held(x, kind)
            for n in slots_of_user(kind):
                self._expect(f"getattr({self.name(x)}, {n!r}, ABSENT)", getattr(x, n, ABSENT))
            self._todo.append(kind)

    def _held(self, x: Any, kind: type) -> None:
        """The attributes in the dict of an object."""
        held = vars(x)
        self._expect_length(held)
        if kind.__weakrefoffset__ and not is_known(kind.__module__):
            weak = ref(x)  # a program does not keep alive what it is a method of
            self._add(f"{self.name(weak)}().__class__ is {self.name(kind)}")
        carried = carried_by(kind) & held.keys()
        counted = getattr(kind, "_counted", ())
        for n in sorted(carried):
            text = f"{self.name(held)}[{n!r}]"
            use = "count" if n in counted else "state"
            self._places[text] = Place(held, n, text, f"{kind.__name__}.{n}", use)
        all_watched = is_layer(kind) or is_known(kind.__module__)
        watched = set(held) if all_watched else self._used(held)
        own = "" if sets_attributes_itself(kind) else "attribute"
        self._attributes_of(x, watched - carried, own)

    def _optimizer(self, x: Optimizer) -> None:
        """What its updates call: hooks and schedules, which a program calls as well."""
        if not self._whole:
            return
        self.optimizers.append(x)
        settings = [group.settings for group in x.groups]
        called = Reach([*x.hooks, x.lr, settings], whole=False)
        self._unseen |= called.names
        self._unseen_objects |= called._seen

    def _settings(self, held: dict[str, Any]) -> None:
        """Watch what is read of an object of the library: an argparse.Namespace, an Event."""
        watched = [n for n in held if n in self._attributes or isinstance(held[n], NUMBERS)]
        self._entries(held, under(held, watched), "")

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
