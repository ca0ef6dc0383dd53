"""Plain values and the places that hold them: copied, checked, and put back, in place where others
may hold them.

Which places there are is found out in `carriers.py`.
"""

from __future__ import annotations

import inspect
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.autograd.variable import Parameter, Variable
from minidl.checkpoints.describe import SCALARS, article, describe_plain
from minidl.common.arrays import is_foreign, to_kind_of
from minidl.layers.layer import Layer

DICTS = (dict, OrderedDict, defaultdict, Counter)
SETS = (set, frozenset)
CONTAINERS = (list, tuple, deque, *SETS, *DICTS)


@dataclass
class Slot:
    """A place that holds a value: an attribute, an entry, a cell. A fixed one cannot be given
    another value.

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


Slots = dict[str, Slot]


def copied(value: Any) -> Any:
    """A copy of a plain value, its Variables cut off from their graphs.

    None for one without data.
    """
    if isinstance(value, Variable):
        return None if value.lazy else Variable(value._raw.copy(), requires_grad=False)
    if isinstance(value, np.ndarray) or is_foreign(value):
        return value.copy()
    if isinstance(value, DICTS):
        twin = copy(value)
        for key, part in value.items():
            twin[key] = copied(part)
        return twin
    if isinstance(value, deque):
        return deque(map(copied, value), value.maxlen)
    if isinstance(value, CONTAINERS):
        parts = map(copied, value)
        kind = type(value)
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return value


def values_of(slots: Slots) -> dict[str, Any]:
    """Copies of the values in slots, by path."""
    return {path: copied(slot.value) for path, slot in slots.items()}


class Places:
    """The slots of some objects, and the ``namespaces`` in which a value may be new."""

    def __init__(self, slots: Slots, namespaces: Mapping[str, Any], model: Any) -> None:
        self.slots = slots
        self.namespaces = namespaces
        parameters = model.parameters() if isinstance(model, Layer) else []
        held = [p for p in parameters if not p.lazy]
        self.like = next(filter(is_foreign, held), None)  # an array of the kind of the model's

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError if values have no place, or one that holds something of another kind."""
        for path, value in values.items():
            old = self.find(path).value
            if value is None or old is None:
                continue
            got = article(kind_of(value))
            want = article(kind_of(old))
            if got != want:
                raise ValueError(f"{path}: got {got}, want {want}")

    def load(self, values: Mapping[str, Any], given: Mapping[str, str]) -> None:
        """Put values into their slots, but settings that are ``given`` and that training had not
        changed.
        """
        for path, value in values.items():
            unchanged = path in given and given[path] == describe_plain(value)
            if not unchanged:
                slot = self.find(path)
                put(slot, self.to_kind(value))

    def remove_all_but(self, values: Mapping[str, Any]) -> None:
        """Remove attributes and entries that are not among the values."""
        for path, slot in self.slots.items():
            if path not in values:
                slot.delete()

    def find(self, path: str) -> Slot:
        """The slot of a path, or one for a new attribute or entry; ValueError where none may be."""
        if path in self.slots:
            return self.slots[path]
        parent, _, name = path.rpartition(".")
        owner = self.namespaces.get(parent)
        if isinstance(owner, dict):
            names = [isinstance(key, str) for key in owner]
            if all(names):
                return Slot(None, owner, name, fixed=False)
        if owner is None or not is_free(owner, name):
            raise ValueError(f"{path} is no place for an array or number")
        attributes = getattr(owner, "__dict__", owner)
        return Slot(None, attributes, name, fixed=False)

    def to_kind(self, value: Any) -> Any:
        """A Variable, or those in a tuple, as arrays of the kind of the model's.

        Others as they are.
        """
        if type(value) is tuple:
            return tuple(map(self.to_kind, value))
        if isinstance(value, Variable) and self.like is not None:
            return Variable(to_kind_of(value, self.like), requires_grad=False)
        return value


def is_free(owner: Any, name: str) -> bool:
    """Whether an object may get an attribute of that name.

    Neither Python's, nor a method, a property, a layer.
    """
    old = inspect.getattr_static(owner, name, None)
    plain = isinstance(old, (*SCALARS, np.ndarray))
    return plain and name.isidentifier() and not name.startswith("__")


def kind_of(value: Any) -> str:
    """What may take the place of what.

    Numbers and arrays of each other, text of text, a list of a list.
    """
    if isinstance(value, bool | str | bytes | list | deque | set | frozenset):
        return type(value).__name__
    if isinstance(value, DICTS):
        return "dict"
    return "tuple" if isinstance(value, tuple) else "number"


def put(slot: Slot, value: Any) -> None:
    """Give a slot a value."""
    old = slot.value
    leaf = isinstance(old, Variable) and old.creator is None
    if leaf and (old.requires_grad or slot.fixed):
        if value is not None or isinstance(old, Parameter):
            load_weight(old, None if value is None else value._raw)
        return
    value = _in_place(old, copied(value))
    if not slot.fixed:
        slot.set(value)
        return
    same = isinstance(old, np.ndarray) and np.array_equal(old, value)
    if value is not old and not same:
        raise ValueError(f"{slot.key} cannot be given another value")


def load_weight(held: Any, value: Any) -> None:
    """Give a parameter or a buffer a copy of an array, or take its data away."""
    if value is not None:
        held.data = to_kind_of(value.copy(), None if held.lazy else held.data)
    elif not isinstance(held, Variable):
        held.data = None
    elif not held.lazy:
        del held._raw


def _in_place(old: Any, value: Any) -> Any:
    """The old list, dict, set or array with the new content, if it can have that.

    Else the value.
    """
    if is_foreign(old) and isinstance(value, np.ndarray):
        value = to_kind_of(value, old)
    if isinstance(old, np.ndarray):
        return _fill(old, value)
    if isinstance(old, tuple) and hasattr(old, "_fields") and value is not None:
        return type(old)(*value)
    if kind_of(old) != kind_of(value) or not isinstance(old, list | deque | set | dict):
        return value
    most = getattr(old, "maxlen", None)
    if most != getattr(value, "maxlen", None):
        return value
    old.clear()
    if isinstance(old, list | deque):
        old.extend(value)
    else:
        old.update(value)
    return old


def _fill(old: Any, value: Any) -> Any:
    fits = isinstance(value, np.ndarray) and (value.shape, value.dtype) == (old.shape, old.dtype)
    if not fits or not old.flags.writeable:
        return value
    old[...] = value
    return old
