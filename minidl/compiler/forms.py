"""Arguments and results of any form: taken apart into arrays and the rest, and put together again.

What a program does with the arrays is in specialization.py.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import is_foreign
from minidl.compiler.scalars import Number, is_number
from minidl.compiler.standin import StandIn

NUMBERS = (
    int,
    float,
    complex,
    bool,
    str,
    bytes,
    type(None),
    type(...),
    slice,
    np.generic,
    np.dtype,
)
_SEQUENCES = (list, tuple, deque)
_MAPPINGS = (dict, OrderedDict)


class NotForPrograms(Exception):
    """Arguments of a kind that is left to eager code: subclasses of arrays, other libraries'."""


def parts_of(x: Any) -> tuple[tuple[Any, ...], list[Any]] | None:
    """The keys and parts of a nest: a list, tuple, dict, namedtuple or dataclass; else None."""
    kind = type(x)
    if kind in _SEQUENCES or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return (), list(x)
    if kind in _MAPPINGS:
        return tuple(x), list(x.values())
    if kind is SimpleNamespace:
        return tuple(vars(x)), list(vars(x).values())
    if is_dataclass(kind) and not hasattr(kind, "sublayers"):
        names = tuple([field.name for field in fields(x) if hasattr(x, field.name)])
        return names, [getattr(x, name) for name in names]
    return None


def with_parts(x: Any, parts: Sequence[Any]) -> Any:
    """A nest of the same type and keys with other parts."""
    kind = type(x)
    if kind is deque:
        return deque(parts, x.maxlen)
    if kind in _SEQUENCES:
        return kind(parts)
    if isinstance(x, tuple):
        return kind(*parts)
    if kind in _MAPPINGS:
        return kind(zip(x, parts))
    new = copy.copy(x)
    keys, _ = parts_of(x) or ((), [])
    for name, part in zip(keys, parts, strict=True):
        object.__setattr__(new, name, part)
    return new


def is_array(x: Any) -> bool:
    """Whether it is an array, a Variable or a float of NumPy's: an input or output of programs."""
    return isinstance(x, (np.ndarray, np.floating, Variable))


def leaves_of(x: Any) -> Iterator[Any]:
    """What is in a nest and no nest itself, in order."""
    nest = parts_of(x)
    if nest is None:
        yield x
        return
    for part in nest[1]:
        yield from leaves_of(part)


def arrays_in(x: Any) -> list[Any]:
    """Arrays, Variables and floats of NumPy's in an argument, in order.

    Raises NotForPrograms for arrays that only eager code takes.
    """
    leaves = list(leaves_of(x))
    arrays = list(filter(is_array, leaves))
    if any(map(is_foreign, leaves)) or not all(map(_is_for_programs, arrays)):
        raise NotForPrograms
    return arrays


def _is_for_programs(x: Any) -> bool:
    """Whether programs take an array: none of a subclass, or of objects."""
    raw = x._raw if isinstance(x, Variable) else x
    if type(raw) is not np.ndarray and not isinstance(raw, np.generic):
        return False
    return raw.dtype.kind in "fiub"


def numbers_in(x: Any) -> list[Any]:
    """The numbers in an argument, in order."""
    return list(filter(is_number, leaves_of(x)))


def objects_in(x: Any) -> list[Any]:
    """What there is in arguments besides arrays and numbers: programs depend on it, too."""
    return [leaf for leaf in leaves_of(x) if not is_array(leaf) and not isinstance(leaf, NUMBERS)]


class _Copy(NamedTuple):
    """A nest among arguments, what the function gets for it, and the keys and parts of that."""

    nest: Any
    new: Any
    keys: tuple[Any, ...]
    parts: list[Any]

    def is_written(self) -> bool:
        """Whether the function wrote into what it got."""
        keys, parts = parts_of(self.new) or ((), [])
        return keys != self.keys or not _are_the_same(parts, self.parts)


class Arguments:
    """Arguments with stand-ins in place of their arrays.

    Nests that hold arrays are copies; what the function writes into a copy is passed on. A nest that
    is there twice has one copy.
    """

    def __init__(self, new: Iterator[Any], number: Callable[[Any], Any] | None = None) -> None:
        self._new = new
        self.number = number  # what stands for a number of Python's
        self._copies: dict[int, _Copy] = {}  # by the id of the nest

    def put(self, x: Any) -> Any:
        """The argument with the next of the new leaves in place of each array."""
        if is_array(x):
            return next(self._new)
        if self.number is not None and is_number(x):
            return self.number(x)
        nest = parts_of(x)
        if nest is None:
            return x
        keys, old = nest
        parts = [self.put(part) for part in old]
        if id(x) not in self._copies:
            new = x if _are_the_same(parts, old) else with_parts(x, parts)
            self._copies[id(x)] = _Copy(x, new, keys, parts)
        return self._copies[id(x)].new

    def pass_on_writes(self) -> bool:
        """Write into the arguments what was written into copies; whether there was anything."""
        written = [it for it in self._copies.values() if it.is_written()]
        for it in written:
            _overwrite(it.nest, unwrapped(it.new))
        return bool(written)


def _are_the_same(xs: list[Any], ys: list[Any]) -> bool:
    return list(map(id, xs)) == list(map(id, ys))


def _overwrite(x: Any, plain: Any) -> None:
    if x is plain:
        return
    if isinstance(x, dict):
        x.clear()
        x.update(plain)
    elif isinstance(x, list | deque):
        x.clear()
        x.extend(plain)
    else:
        for name, value in vars(plain).items():
            object.__setattr__(x, name, value)


def unwrapped(x: Any, depth: int = 4) -> Any:
    """A result with arrays in place of stand-ins; in objects these are replaced as they stand."""
    if type(x) in (StandIn, Number):
        return x._raw
    if is_array(x) or isinstance(x, NUMBERS):
        return x
    nest = parts_of(x)
    if nest is not None:
        _, old = nest
        parts = [unwrapped(part, depth) for part in old]
        return x if _are_the_same(parts, old) else with_parts(x, parts)
    if not depth or isinstance(x, type):
        return x
    held: Any = x if isinstance(x, dict) else getattr(x, "__dict__", None)
    for name, value in held.items() if isinstance(held, dict) else ():
        held[name] = unwrapped(value, depth - 1)
    for cell in getattr(x, "__closure__", None) or ():
        _unwrap_cell(cell, depth - 1)
    return x


def _unwrap_cell(cell: Any, depth: int) -> None:
    """An array in place of a stand-in in what a function closes over."""
    try:
        content = cell.cell_contents
    except ValueError:  # it is empty
        return
    array = unwrapped(content, depth)
    if array is not content:
        cell.cell_contents = array


def take_apart(result: Any, known: Callable[[Any], bool]) -> list[Any]:
    """Arrays, numbers of NumPy's and Variables of a result, in order.

    Raises NotForPrograms for an object that is made anew at each call: not ``known``.
    """
    outputs = []
    for leaf in leaves_of(result):
        if is_output(leaf):
            outputs.append(leaf)
        elif not isinstance(leaf, NUMBERS) and not known(leaf):
            kind = type(leaf).__name__
            raise NotForPrograms(f"its result holds a {kind}, made anew at each call")
    return outputs


def is_output(x: Any) -> bool:
    """Whether a part of a result is what programs give."""
    return isinstance(x, (Variable, np.ndarray, np.generic)) or type(x) is Number
