"""Carriers: the objects reachable from a trainer's parts whose contents the next batches depend on.

How they are saved, compared and put back is in `snapshot.py`; layers' parameters are found in `layers`.
"""

from __future__ import annotations

import functools
import io
import os
import random
import re
import sys
import types
import weakref
import zlib
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from dis import get_instructions
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import is_foreign
from minidl.layers.layer import Layer

SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
DICTS = (dict, OrderedDict, defaultdict, Counter)
CONTAINERS = (list, tuple, deque, set, frozenset, *DICTS)
GENERATORS = (
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)
CARRIERS = (
    list,
    tuple,
    dict,
    deque,
    np.ndarray,
    array,
    bytearray,
    memoryview,
)  # refused if not held
STATELESS = (  # what holds nothing that a batch changes
    type,
    types.ModuleType,
    np.dtype,
    np.ufunc,
    os.PathLike,
    re.Pattern,
    range,
    slice,
    type(...),
    weakref.ref,
    io.IOBase,
    Enum,
)
WALKED = (
    "types",
    "argparse",
    "collections",
)  # of Python's own modules; instances of others' classes are not
LOCKS_AND_LOGS = ("lock", "RLock", "Logger", "RootLogger")


MUTABLE = (list, deque, set, np.ndarray, *DICTS)
IN_CLASSES = (*SCALARS, *CARRIERS, *GENERATORS, set, types.FunctionType, functools.partial)
METHODS = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)


class Depth(IntEnum):
    """How closely an object is looked at."""

    TRUSTED = 0  # it saves its state by itself: only its generators are looked for
    LOOK = 1  # the same, and what cannot be saved is refused
    HOLD = 2  # plain values are saved too


@dataclass
class Slot:
    """A place that holds a value: an attribute, an entry, a cell. A fixed one cannot be given another value.

    One that is ``shared``, by a global name, is the run's own only if training changes it.
    """

    value: Any
    owner: Any = None
    key: Any = None
    fixed: bool = True
    shared: bool = False

    def set(self, value: Any) -> None:
        if isinstance(self.owner, dict | list):
            self.owner[self.key] = value
        else:
            setattr(self.owner, self.key, value)

    def delete(self) -> None:
        if isinstance(self.owner, dict):
            self.owner.pop(self.key, None)


Parts = list[tuple[str, Slot, Depth]]
Slots = dict[str, Slot]


@dataclass
class Carriers:
    """What was found, by path.

    ``layers`` and ``objects`` are the slots with plain values, of each layer of the model and of everything else;
    ``namespaces`` are objects and dicts in which a value may be new; ``parts`` have a ``state_dict()`` of their own;
    ``facts`` describe what is compared only (settings, functions, types); ``refused`` names what a checkpoint cannot
    hold, ``unknown`` what may or may not be state.
    """

    layers: list[Slots] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)  # of the paths in them
    objects: Slots = field(default_factory=dict)
    namespaces: dict[str, Any] = field(default_factory=dict)
    generators: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class Walk:
    """A walk through objects, each once; ``known`` ones, and the model's layers, are not entered from others."""

    def __init__(self, known: Iterable[Any], layers: list[Layer]) -> None:
        self.found = Carriers()
        self._alive = list(known)  # so that no id is used twice
        self._seen = {id(value) for value in self._alive}
        self._layers = {id(layer) for layer in layers}
        self._paths = {id(layer): "model" for layer in layers[:1]}
        self._later: Parts = []
        self._slots: Slots = self.found.objects
        for i, layer in enumerate(layers):  # a layer comes after the one that it is an attribute of
            self._slots = {}
            path = self._paths.get(id(layer), f"model.{i}")
            self._run(self._object_parts(path, layer, Depth.HOLD))
            self.found.layers.append(self._slots)
            self.found.prefixes.append(f"{path}.")
        self._slots = self.found.objects

    def visit(self, path: str, value: Any, depth: Depth = Depth.HOLD) -> None:
        """Look at a value and all that is in it."""
        self._run([(path, Slot(value), depth)])

    def visit_attributes(self, path: str, value: Any, known: Iterable[str]) -> None:
        """Look at an instance's attributes and its class, but not at ``known`` attributes."""
        parts = self._attribute_parts(path, value, vars(value), Depth.HOLD)
        hidden = {f"{path}.{name}" for name in known}
        self._run([part for part in parts if part[0] not in hidden])

    def finish(self) -> Carriers:
        """Look at the classes and functions met on the way; return what was found."""
        while self._later:
            self._run([self._later.pop(0)])
        return self.found

    def _run(self, parts: Parts) -> None:
        stack = parts[::-1]
        while stack:
            stack += self._look(*stack.pop())[::-1]

    def _look(self, path: str, slot: Slot, depth: Depth) -> Parts:
        """Note one value; return what is in it."""
        value = slot.value
        if id(value) in self._layers:
            self._paths.setdefault(id(value), path)
            return []
        if id(value) in self._seen:
            return []
        if self._is_plain(value):
            self._note(path, slot, depth)
            return []
        self._alive.append(value)
        self._seen.add(id(value))
        if isinstance(value, random.SystemRandom):
            self._refuse(path, value)
            return []
        if isinstance(value, GENERATORS):
            self.found.generators[path] = value
            return []
        if depth > Depth.TRUSTED:
            self.found.facts.setdefault(path, describe(value))
        return self._parts(path, value, depth)

    def _is_plain(self, value: Any) -> bool:
        """Whether a value is numbers, text and arrays, and containers of these: what a file can hold."""
        kind = type(value)
        if kind in DICTS:
            return all(map(is_key, value)) and all(map(self._is_plain, value.values()))
        if kind in CONTAINERS or hasattr(kind, "_fields"):
            return all(map(self._is_plain, value))
        if isinstance(value, Variable):
            return id(value) not in self._seen
        if isinstance(value, np.ndarray):
            return kind in (np.ndarray, np.memmap) and value.dtype.kind not in "OV"
        return (isinstance(value, SCALARS) and not isinstance(value, Enum)) or is_foreign(value)

    def _note(self, path: str, slot: Slot, depth: Depth) -> None:
        """Note a place that holds a plain value."""
        text = describe_plain(slot.value)
        if text and depth > Depth.TRUSTED:
            self.found.facts[path] = text
        if depth is Depth.HOLD:
            if not (slot.fixed and isinstance(slot.value, (*SCALARS, tuple, frozenset))):
                while path in self._slots:
                    path += "'"
                self._slots[path] = slot
        elif depth is Depth.LOOK and isinstance(slot.value, deque):
            self._refuse(path, slot.value)

    def _refuse(self, path: str, value: Any) -> None:
        self.found.refused.append(f"{path} is {article(type(value).__name__)}")

    def _parts(self, path: str, value: Any, depth: Depth) -> Parts:
        """What is in a value that is no plain one."""
        if isinstance(value, types.FunctionType):
            return _function_parts(path, value, depth)
        if isinstance(value, METHODS):
            function = [(path, Slot(getattr(value, "__func__", None)), depth)]
            return [(f"{path}.self", Slot(value.__self__), depth), *function]
        if isinstance(value, functools.partial):
            parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
            return [(f"{path}.{name}", Slot(part), depth) for name, part in parts.items()]
        if isinstance(value, STATELESS):
            return []
        if isinstance(value, CONTAINERS) and type(value) in CONTAINERS:
            return self._container_parts(path, value, depth)
        if hasattr(value, "__wrapped__"):
            return [(path, Slot(value.__wrapped__), depth)]
        return self._object_parts(path, value, depth)

    def _container_parts(self, path: str, value: Any, depth: Depth) -> Parts:
        if isinstance(value, set | frozenset):  # whose order is another in every process
            self.found.unknown.append(f"{path} is a set of objects")
            return []
        if isinstance(value, deque) and depth > Depth.TRUSTED:
            self._refuse(path, value)
            return []
        if isinstance(value, dict):
            self.found.namespaces[path] = value
        items = value.items() if isinstance(value, dict) else enumerate(value)
        fixed = isinstance(value, tuple | deque)
        return [(f"{path}.{key}", Slot(part, value, key, fixed), depth) for key, part in items]

    def _object_parts(self, path: str, value: Any, depth: Depth) -> Parts:
        """The attributes of an instance, then its class's, or a note that they are out of reach."""
        kind = type(value)
        if depth is Depth.HOLD and not isinstance(value, Layer) and has_state(value):
            self.found.parts[path] = value
            depth = Depth.TRUSTED
        attributes = attributes_of(value)
        iterator = attributes is None and hasattr(kind, "__next__")
        if iterator or isinstance(value, CARRIERS) or hasattr(kind, "__array__"):
            if depth > Depth.TRUSTED:
                self._refuse(path, value)
            return []
        if attributes is None:
            if depth > Depth.TRUSTED and kind.__name__ not in LOCKS_AND_LOGS:
                self.found.unknown.append(f"{path} is {article(kind.__name__)}")
            return []
        return self._attribute_parts(path, value, attributes, depth)

    def _attribute_parts(
        self, path: str, value: Any, attributes: dict[str, Any], depth: Depth
    ) -> Parts:
        """The attributes of an instance; its classes are looked at later."""
        for cls in filter(is_of_user, type(value).__mro__):
            if id(cls) not in self._seen:
                self._seen.add(id(cls))
                self._later += _class_parts(path, cls, depth)
        self.found.namespaces[path] = value
        owner = vars(value) if hasattr(value, "__dict__") else value
        return [
            (f"{path}.{name}", Slot(part, owner, name, fixed=False), depth)
            for name, part in attributes.items()
        ]


def is_key(value: Any) -> bool:
    """Whether a file can hold a key of a dict: a number, text, or a tuple of them."""
    return isinstance(value, str | int | float | None) or (
        type(value) is tuple and all(map(is_key, value))
    )


def copied(value: Any) -> Any:
    """A copy of a plain value, its Variables cut off from their graphs; None for one without data."""
    if isinstance(value, Variable):
        return None if value._raw is None else Variable(value._raw.copy(), requires_grad=False)
    if isinstance(value, np.ndarray) or is_foreign(value):
        return value.copy()
    if isinstance(value, DICTS):
        twin = copy(value)
        dict.update(twin, {key: copied(part) for key, part in value.items()})
        return twin
    if isinstance(value, deque):
        return deque(map(copied, value), value.maxlen)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(copied, value))
    return type(value)(map(copied, value)) if isinstance(value, CONTAINERS) else value


def attributes_of(value: Any) -> dict[str, Any] | None:
    """The attributes of an instance by name, in slots too; None where it has neither."""
    root = type(value).__module__.partition(".")[0]
    if root in sys.stdlib_module_names and root not in WALKED:
        return None
    slots = [name for cls in type(value).__mro__ for name in slots_of(cls)]
    if not hasattr(value, "__dict__") and not slots:
        return None
    found = dict(getattr(value, "__dict__", {}))
    if isinstance(value, Layer):
        return found | {name: getattr(value, name) for name in value.carried}
    hidden = ("__dict__", "__weakref__")
    return found | {n: getattr(value, n) for n in slots if n not in hidden and hasattr(value, n)}


def slots_of(cls: type) -> list[str]:
    """The names in a class's ``__slots__``."""
    names = vars(cls).get("__slots__", ())
    return [names] if isinstance(names, str) else list(names)


def has_state(value: Any) -> bool:
    """Whether an object saves and loads its state by itself."""
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def is_of_user(thing: Any) -> bool:
    """Whether a class or a function is neither minidl's, nor Python's, nor an installed library's."""
    root = (getattr(thing, "__module__", None) or "").partition(".")[0]
    if root == "minidl" or (root in sys.stdlib_module_names and root != "__main__"):
        return False
    file: Any
    if isinstance(thing, types.FunctionType):
        file = thing.__code__.co_filename
    else:
        file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return not re.search(r"(site|dist)-packages", file or "")


def _class_parts(path: str, cls: type, depth: Depth) -> Parts:
    """The methods of a class, and its attributes that are plain or generators."""
    start = f"callbacks.{cls.__name__}" if path.startswith("callbacks.") else cls.__name__
    parts: Parts = []
    for name, member in vars(cls).items():
        member = getattr(member, "__func__", getattr(member, "fget", member))
        hidden = name == "carried" or (name.startswith("__") and name != "__call__")
        if not hidden and (isinstance(member, IN_CLASSES) or is_of_user(type(member))):
            parts.append((f"{start}.{name}", Slot(member, cls, name, fixed=False), depth))
    return parts


def _function_parts(path: str, function: types.FunctionType, depth: Depth) -> Parts:
    """What a function closes over, its defaults, its attributes, and generators that it names."""
    stored, _ = stored_names(function.__code__)
    parts: Parts = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            slot = Slot(cell.cell_contents, cell, "cell_contents", fixed=name not in stored)
        except ValueError:  # it is empty so far
            continue
        parts.append((f"{path}.{name}", slot, depth))
    defaults = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    parts += [(f"{path}.{name}", Slot(part), depth) for name, part in defaults.items()]
    attributes = vars(function)
    parts += [
        (f"{path}.{name}", Slot(part, attributes, name, fixed=False), depth)
        for name, part in attributes.items()
    ]
    return parts + (_global_parts(path, function, depth) if is_of_user(function) else [])


def _global_parts(path: str, function: types.FunctionType, depth: Depth) -> Parts:
    """What a function finds by global names: numbers that it rebinds, what can be called, generators."""
    names = dict.fromkeys(name for code in all_codes(function.__code__) for name in code.co_names)
    _, rebound = stored_names(function.__code__)
    space = function.__globals__
    parts: Parts = []
    for name in filter(space.__contains__, names):
        value = space[name]
        if name in rebound:
            parts.append((f"{path}.{name}", Slot(value, space, name, fixed=False), depth))
        elif value is random:
            parts.append(("random", Slot(random.seed), depth))  # a method of the global generator
        elif value is np and "random" in names:
            parts.append(("numpy.random", Slot(np.random.rand), depth))
        elif callable(value) and is_walked(value):
            parts.append((f"{path}.{name}", Slot(value), depth))
        elif isinstance(value, MUTABLE):
            parts.append((f"{path}.{name}", Slot(value, shared=True), depth))
        elif not callable(value):
            parts.append((f"{path}.{name}", Slot(value), min(depth, Depth.LOOK)))
    return parts


def is_walked(value: Any) -> bool:
    """Whether something to call that a global name leads to can lead to a state."""
    return not isinstance(value, (*STATELESS, types.FunctionType)) or (
        isinstance(value, types.FunctionType) and is_of_user(value)
    )


@functools.cache
def stored_names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The names that a function, and those in it, bind: outer ones and globals."""
    steps = [step for part in all_codes(code) for step in get_instructions(part)]
    outer = {step.argval for step in steps if step.opname == "STORE_DEREF"}
    return outer, {step.argval for step in steps if step.opname == "STORE_GLOBAL"}


def all_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from all_codes(part)


# ---- descriptions, to be compared ----------------------------------------------------------------------


def describe(value: Any) -> str:
    """A function by its name and the names and constants in it; a class's instance by the class."""
    if isinstance(value, types.FunctionType):
        codes = all_codes(value.__code__)
        inside = [
            (code.co_names, [c for c in code.co_consts if isinstance(c, bool | int | float | str)])
            for code in codes
        ]
        return f"{value.__qualname__}#{zlib.crc32(repr(inside).encode()):08x}"
    name = str(value) if isinstance(value, Enum) else getattr(value, "__name__", None)
    return name if isinstance(name, str) else type(value).__qualname__


def describe_plain(value: Any) -> str:
    """Numbers and text, alone or a few in a tuple, as they are written; other values as nothing."""
    if isinstance(value, np.generic):
        value = value.item()
    few = isinstance(value, tuple) and len(value) <= 8
    if few and all(isinstance(part, SCALARS) for part in value):
        return repr(tuple([p.item() if isinstance(p, np.generic) else p for p in value]))
    return repr(value) if isinstance(value, SCALARS) else ""


def article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"
