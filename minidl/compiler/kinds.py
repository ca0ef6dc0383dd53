"""Questions about the classes of objects that a function reaches.

The walk that asks them is in reach.py.
"""

from __future__ import annotations

import types
from functools import cache, reduce
from operator import or_

from minidl.common.members import slots_of
from minidl.compiler.names import NO_NAMES, is_known, names_of

_ACCESSORS = {"__setattr__", "__getattr__", "__getattribute__", "__delattr__"}


def is_layer(kind: type) -> bool:
    """Whether instances are layers."""
    return hasattr(kind, "sublayers") and hasattr(kind, "forward")


def classes_of_user(kind: type) -> list[type]:
    """A class and what it inherits from, as far as these are the user's own."""
    return [cls for cls in kind.__mro__ if not is_known(cls.__module__)]


def slots_of_user(kind: type) -> list[str]:
    """The names of the slots of a user's classes; those of minidl's keep what was looked up."""
    return [name for cls in classes_of_user(kind) for name in slots_of(cls)]


def carried_by(kind: type) -> set[str]:
    """The attributes of a layer that calls leave for the next."""
    if not is_layer(kind):
        return set()
    return {*getattr(kind, "carried", ()), *getattr(kind, "buffers", ())}


def sets_attributes_itself(kind: type) -> bool:
    """Whether a class of the user's has a say when attributes are read or set."""
    return not all(_ACCESSORS.isdisjoint(vars(cls)) for cls in classes_of_user(kind))


@cache
def names_in_library(kind: type | None) -> frozenset[str]:
    """The attributes that minidl's own classes use, of which a user's class is made."""
    names = NO_NAMES
    for cls in getattr(kind, "__mro__", ()):
        if is_known(cls.__module__):
            functions = [f for f in vars(cls).values() if hasattr(f, "__code__")]
            names = reduce(or_, [names_of(f.__code__) for f in functions], names)
    return names.of("attribute")


def is_of_the_library(kind: type) -> bool:
    """Whether instances of a class are Python's or NumPy's affair."""
    is_minidl = kind.__module__.partition(".")[0] == "minidl"
    return is_known(kind.__module__) and not is_minidl and kind is not types.SimpleNamespace
