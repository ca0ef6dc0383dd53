"""Parameters that a model holds where they are not collected: named, so that nobody trains without them unawares.

Where parameters are collected from is decided in `layers`; here is only the search for others.
"""

from __future__ import annotations

import types
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.variable import Variable

_DEPTH = 4  # of objects that are no layers, within one another
_MOST = 100_000  # values looked at: a list of all words of a language is no place for parameters
_VALUES = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    type,
    types.ModuleType,
    np.generic,
    np.dtype,
)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc, Function)
_CONTAINERS = (list, tuple, set, frozenset, deque)


def warn_of_missing_parameters(
    model: Any, known: Iterable[Variable], where: str, stacklevel: int
) -> None:
    """Warn, naming the attributes, if a model holds Variables to be trained that are not among ``known``."""
    names = missing_parameters(model, known)
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        warnings.warn(
            f"{where}: {type(model).__name__}.{shown} would be neither trained nor saved nor cleared: want a "
            "Parameter, or a layer, in an attribute of a layer, or in a list, tuple or dict there; for a constant "
            "an array, or Variable(.., requires_grad=False)",
            stacklevel=stacklevel,
        )


def missing_parameters(model: Any, known: Iterable[Variable]) -> list[str]:
    """The dotted names of Variables that require a gradient, are results of nothing, and are not among ``known``.

    They are looked for in the attributes of the model and of what is in it: layers, lists, dicts, sets, dataclasses
    and other objects. Functions are not looked into, nor the states that layers carry.
    """
    known_ids = {id(p) for p in known}
    found: list[str] = []
    seen: set[int] = set()
    queue: deque[tuple[str, Any, int]] = deque([("", model, 0)])
    while queue and len(seen) < _MOST:
        name, value, depth = queue.popleft()
        if isinstance(value, (*_VALUES, *_FUNCTIONS)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Variable):
            if id(value) not in known_ids and value.requires_grad and value.creator is None:
                found.append(name)
            continue
        if not _is_layer(value):
            depth += not isinstance(value, list | tuple | dict)
        if depth <= _DEPTH:
            queue.extend((part_name, part, depth) for part_name, part in _parts(name, value))
    return found


def _is_layer(value: Any) -> bool:
    return hasattr(type(value), "parameters") and hasattr(type(value), "sublayers")


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values that an object holds, each with its name."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            yield from ((f"{name}[{i}]", part) for i, part in enumerate(value.flat))
        return
    if isinstance(value, Mapping):
        yield from ((f"{name}[{key!r}]", part) for key, part in list(value.items()))
    elif isinstance(value, _CONTAINERS):
        yield from ((f"{name}[{i}]", part) for i, part in enumerate(list(value)))
    start = f"{name}." if name else ""
    for attribute, part in _attributes(value):
        if not (_is_layer(value) and attribute in value.carried):
            yield start + attribute, part
    if _is_layer(value):
        for attribute, part in _class_attributes(type(value)):
            yield start + attribute, part


def _class_attributes(layer: type) -> Iterator[tuple[str, Any]]:
    """What a class of layers holds for all its instances, where no layer looks for parameters."""
    for kind in layer.__mro__:
        for name, value in vars(kind).items():
            held = isinstance(value, (Variable, *_CONTAINERS, dict)) or _is_layer(value)
            if held and not name.startswith("__"):
                yield name, value


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """The attributes of an object, those in ``__slots__`` too."""
    found = list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        names = [slots] if isinstance(slots, str) else slots
        found += [(n, getattr(value, n)) for n in names if n[:2] != "__" and hasattr(value, n)]
    return found
