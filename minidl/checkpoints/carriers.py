"""Carriers: the objects reachable from a trainer's parts whose contents the next batches depend on.

What functions and classes reach is in `reach.py`; how the state is saved and put back, in
`parts.py`.
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
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.checkpoints.describe import SCALARS, article, describe, describe_plain
from minidl.checkpoints.generators import GENERATORS
from minidl.checkpoints.reach import (
    Reached,
    is_of_user,
    reached_by_class,
    reached_by_function,
)
from minidl.checkpoints.values import CONTAINERS, DICTS, SETS, Slot, Slots
from minidl.common.arrays import is_foreign
from minidl.common.checks import has_state
from minidl.common.members import slots_of
from minidl.layers.layer import Layer

CARRIERS = (list, tuple, dict, deque, np.ndarray, array, bytearray, memoryview, random.SystemRandom)
STATELESS = (  # what holds nothing that a batch changes
    *(type, types.ModuleType, types.NoneType, Enum, np.dtype, np.ufunc),
    *(os.PathLike, io.IOBase, re.Pattern, weakref.ref, range, slice, type(...)),
)
METHODS = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
WALKED = ("types", "argparse", "collections")  # modules of Python's whose objects are looked into
LOCKS_AND_LOGS = ("lock", "RLock", "Logger", "RootLogger")


class Depth(IntEnum):
    """How closely an object is looked at."""

    TRUSTED = 0  # it saves its state by itself: only its generators are looked for
    LOOK = 1  # the same, and what cannot be saved is refused
    HOLD = 2  # plain values are saved too


Parts = list[tuple[str, Slot, Depth]]


@dataclass
class Carriers:
    """What holds a state, by path.

    ``layers`` and ``objects`` are the slots with plain values, of the model's layers and of
    everything else; ``namespaces`` are objects and dicts in which a value may be new; ``parts``
    have a ``state_dict()`` of their own; ``facts`` describe what is compared only (settings,
    functions, types); ``refused`` names what a checkpoint cannot hold, ``unknown`` what may or may
    not be state.
    """

    layers: Slots = field(default_factory=dict)
    objects: Slots = field(default_factory=dict)
    namespaces: dict[str, Any] = field(default_factory=dict)
    generators: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class Walk:
    """A walk through objects, each once.

    ``known`` ones, and the model's layers, are not entered from others.
    """

    def __init__(self, known: Iterable[Any], layers: list[Layer]) -> None:
        self.carriers = Carriers()
        self._alive = list(known)  # so that no id is used twice
        self._seen = set(map(id, self._alive))
        self._layers = set(map(id, layers))
        self._paths: dict[int, str] = {}
        if layers:
            self._paths[id(layers[0])] = "model"
        self._later: Parts = []
        self._classes: set[type] = set()
        self._slots = self.carriers.layers
        for i, layer in enumerate(layers):  # a layer comes after the one that it is an attribute of
            path = self._paths.get(id(layer), f"model.{i}")
            self.visit_attributes(path, layer, known=layer.buffers)  # the model's weights hold them
        self._slots = self.carriers.objects

    def visit(self, path: str, value: Any, depth: Depth = Depth.HOLD) -> None:
        """Look at a value and all that is in it."""
        self._run([(path, Slot(value), depth)])

    def visit_attributes(self, path: str, value: Any, known: Iterable[str]) -> None:
        """Look at an instance's attributes and its class, but not at ``known`` attributes."""
        hidden = {f"{path}.{name}" for name in known}
        parts = self._attributes(path, value, Depth.HOLD)
        self._run([part for part in parts if part[0] not in hidden])

    def finish(self) -> Carriers:
        """Look at the classes met on the way; return all that holds a state."""
        while self._later:
            self._run([self._later.pop(0)])
        return self.carriers

    def _run(self, parts: Parts) -> None:
        stack = parts[::-1]
        while stack:
            stack += self._look(*stack.pop())[::-1]

    def _look(self, path: str, slot: Slot, depth: Depth) -> Parts:
        """Note one value; return what is in it."""
        value = slot.value
        if id(value) in self._layers:
            self._paths.setdefault(id(value), path)
        elif id(value) in self._seen:
            pass
        elif self._is_plain(value):
            self._note(path, slot, depth)
        else:
            self._alive.append(value)
            self._seen.add(id(value))
            if slot.shared:
                depth = min(depth, Depth.LOOK)
            return self._parts(path, value, depth)
        return []

    def _is_plain(self, value: Any) -> bool:
        """Whether a value is numbers, text and arrays, and containers of these.

        What a file can hold.
        """
        kind = type(value)
        if kind in DICTS:
            plain = map(self._is_plain, value.values())
            return all(map(is_key, value)) and all(plain)
        if kind in CONTAINERS or hasattr(kind, "_fields"):
            return all(map(self._is_plain, value))
        if isinstance(value, Variable):
            return id(value) not in self._seen
        if isinstance(value, np.ndarray):
            return kind in (np.ndarray, np.memmap) and value.dtype.kind not in "OV"
        if isinstance(value, SCALARS):
            return not isinstance(value, Enum)
        return is_foreign(value)

    def _note(self, path: str, slot: Slot, depth: Depth) -> None:
        """Note a place that holds a plain value."""
        value = slot.value
        text = describe_plain(value)
        if text and depth > Depth.TRUSTED:
            self.carriers.facts[path] = text
        constant = slot.fixed and isinstance(value, (*SCALARS, tuple, frozenset))
        if depth is Depth.HOLD and not constant:
            while path in self._slots:
                path += "'"
            self._slots[path] = slot
        elif depth is Depth.LOOK and isinstance(value, deque):
            self._refuse(path, value)

    def _refuse(self, path: str, value: Any) -> None:
        kind = article(type(value).__name__)
        self.carriers.refused.append(f"{path} is {kind}")

    def _parts(self, path: str, value: Any, depth: Depth) -> Parts:
        """What is in a value that is no plain one."""
        system = isinstance(value, random.SystemRandom)
        if isinstance(value, GENERATORS) and not system:
            self.carriers.generators[path] = value
            return []
        if depth > Depth.TRUSTED:
            self.carriers.facts.setdefault(path, describe(value))
        if isinstance(value, type):  # its methods, and functions that name it, may change it
            self._note_class(path, value, depth)
        if isinstance(value, STATELESS):
            return []
        reached = self._reached(path, value)
        if reached is None:
            return self._instance(path, value, depth)
        parts: Parts = []
        for name, slot in reached:
            place = f"{path}.{name}" if name else path
            parts.append((place, slot, depth))
        return parts

    def _reached(self, path: str, value: Any) -> Reached | None:
        """What a function, a method, a partial, a wrapper or a container has in it.

        None for other objects.
        """
        if isinstance(value, types.FunctionType):
            return reached_by_function(value)
        if isinstance(value, METHODS):
            function = getattr(value, "__func__", None)
            return [("self", Slot(value.__self__)), ("", Slot(function))]
        if isinstance(value, functools.partial):
            return [
                ("func", Slot(value.func)),
                ("args", Slot(value.args)),
                ("keywords", Slot(value.keywords)),
            ]
        if type(value) in DICTS:
            self.carriers.namespaces[path] = value
            return entries(value, value.items(), fixed=False)
        if type(value) in (list, tuple):
            return entries(value, enumerate(value), fixed=type(value) is tuple)
        if hasattr(value, "__wrapped__"):
            return [("", Slot(value.__wrapped__))]
        return None

    def _instance(self, path: str, value: Any, depth: Depth) -> Parts:
        """The attributes of an instance, unless it saves itself.

        A note if they are out of reach.
        """
        kind = type(value)
        own = has_state(value) and not isinstance(value, Layer)
        if own and depth is Depth.HOLD:
            self.carriers.parts[path] = value
            depth = Depth.TRUSTED
        closed = attributes_of(value) is None
        carrier = isinstance(value, CARRIERS) or hasattr(kind, "__array__")
        if closed:  # an iterator, or another library's generator
            carrier |= hasattr(kind, "__next__") or hasattr(kind, "get_state")
        if carrier:
            if depth > Depth.TRUSTED:
                self._refuse(path, value)
        elif not closed:
            return self._attributes(path, value, depth)
        elif depth > Depth.TRUSTED and kind.__name__ not in LOCKS_AND_LOGS:
            what = "set of objects" if kind in SETS else kind.__name__
            self.carriers.unknown.append(f"{path} is {article(what)}")
        return []

    def _attributes(self, path: str, value: Any, depth: Depth) -> Parts:
        """The attributes of an instance; its classes are looked at later."""
        self._note_class(path, type(value), depth)
        self.carriers.namespaces[path] = value
        owner = getattr(value, "__dict__", value)
        attributes = attributes_of(value) or {}
        parts: Parts = []
        for name, part in attributes.items():
            slot = Slot(part, owner, name, fixed=False)
            parts.append((f"{path}.{name}", slot, depth))
        return parts

    def _note_class(self, path: str, kind: type, depth: Depth) -> None:
        """Have a class of the user's and its bases looked at later."""
        start = "callbacks." if path.startswith("callbacks.") else ""
        for cls in filter(is_of_user, kind.__mro__):
            if cls in self._classes:
                continue
            self._classes.add(cls)
            for name, slot in reached_by_class(cls):
                place = f"{start}{cls.__name__}.{name}"
                self._later.append((place, slot, depth))


def entries(owner: Any, items: Iterable[tuple[Any, Any]], fixed: bool) -> Reached:
    """The parts of a list, tuple or dict."""
    reached: Reached = []
    for key, part in items:
        slot = Slot(part, owner, key, fixed)
        reached.append((str(key), slot))
    return reached


def is_key(value: Any) -> bool:
    """Whether a file can hold a key of a dict: a number, text, or a tuple of them."""
    if type(value) is tuple:
        parts = map(is_key, value)
        return all(parts)
    return isinstance(value, str | int | float | None)


def attributes_of(value: Any) -> Mapping[str, Any] | None:
    """The attributes of an instance by name, in slots too; None where it has neither."""
    root = type(value).__module__.partition(".")[0]
    if root in sys.stdlib_module_names and root not in (*WALKED, "__main__"):
        return None
    attributes = dict(getattr(value, "__dict__", {}))
    if isinstance(value, Layer):
        names = list(value.carried)
    else:
        names = [name for cls in type(value).__mro__ for name in slots_of(cls)]
    if not names and not hasattr(value, "__dict__"):
        return None
    for name in names:
        if hasattr(value, name):
            attributes[name] = getattr(value, name)
    return attributes
