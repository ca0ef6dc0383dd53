"""Places: where a call leaves something for the next, in attributes, variables, dicts and lists.

A program reads a place at its beginning and writes it at its end. Which places there are is found in
reach.py; what is left in Variables is in writes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CellType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minidl.autograd.variable import Parameter
from minidl.compiler.forms import (
    NUMBERS,
    Arguments,
    NotForPrograms,
    arrays_in,
    is_array,
    leaves_of,
    unwrapped,
)
from minidl.compiler.program import Operand
from minidl.compiler.scalars import is_number
from minidl.compiler.standin import StandIn, raw_of

Entry: TypeAlias = tuple[int, Any]  # the id of a container, and a key
UNREAD = object()  # what is in a place that nobody reads, while a function is recorded


class Place(NamedTuple):
    """An entry of a dict or list, or the content of a cell.

    ``text`` is the expression for it, ``name`` what it is to its user. ``use``: a "state" is read
    and written, a "count" is only added to, an "output" only written.
    """

    container: Any
    key: Any
    text: str
    name: str
    use: str = "state"

    @property
    def entry(self) -> Entry:
        """The place, to look it up by."""
        return id(self.container), self.key

    def get(self) -> Any:
        """What is there now."""
        cell = self.container
        return cell.cell_contents if type(cell) is CellType else cell[self.key]

    def put(self, value: Any) -> None:
        """Leave something there."""
        if type(self.container) is CellType:
            self.container.cell_contents = value
        else:
            self.container[self.key] = value


class Change(NamedTuple):
    """What a call leaves in a place: a value, or so much more than before."""

    place: Place
    value: Any
    more: int | None = None


class Fill(NamedTuple):
    """A new value in the array that is number ``leaf`` among those of all states."""

    leaf: int
    operand: Operand


def is_state(x: Any) -> bool:
    """Whether it can be an input of a program: arrays, Variables, numbers, or tuples of them."""
    if type(x) is tuple:
        return bool(x) and all(map(is_state, x))
    if is_number(x):
        return True
    if not is_array(x) or isinstance(x, Parameter):
        return False
    raw = raw_of(x)
    return type(raw) is np.ndarray or isinstance(raw, np.generic)


def is_plain(x: Any) -> bool:
    """Whether there is nothing in it but arrays and numbers."""
    others = [leaf for leaf in leaves_of(x) if not isinstance(leaf, NUMBERS)]
    return all(is_array(leaf) and not isinstance(leaf, Parameter) for leaf in others)


class States:
    """What is in some places now, and the arrays among it that a program reads."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        self.values = [place.get() for place in places]
        pairs = zip(places, self.values)
        self.read = [(place, value) for place, value in pairs if place.use == "state"]
        self.leaves = arrays_in([value for _, value in self.read])

    def put_back(self) -> None:
        """Leave in all places what was there."""
        for place, value in zip(self.places, self.values, strict=True):
            place.put(value)


class Inside:
    """Stand-ins in places while a function is recorded, and what it left there."""

    def __init__(self, states: States, twins: Sequence[Any], number: Callable[[Any], Any]) -> None:
        self.states = states
        self.twins = twins
        self.values = [x.value if type(x) is StandIn else None for x in twins]
        self._nests = Arguments(iter(twins), number)
        self._begin = list(map(self._put, states.places, states.values))
        self._nests.number = None  # it would keep what keeps this
        self.after = self._begin
        self.written = False  # into a nest, which no program does

    def _put(self, place: Place, value: Any) -> Any:
        if place.use != "count":
            value = self._nests.put(value) if place.use == "state" else UNREAD
            place.put(value)
        return value

    def leave(self) -> None:
        """Put arrays in place of stand-ins again."""
        self.after = [place.get() for place in self.states.places]
        self.written = self._nests.pass_on_writes()
        for place, old, new, given in zip(
            self.states.places, self.states.values, self.after, self._begin, strict=True
        ):
            place.put(old if new is given else unwrapped(new))

    def changes(self) -> list[Change]:
        """What the function left."""
        changes = []
        for place, old, new in zip(self.states.places, self._begin, self.after, strict=True):
            if new is old:
                continue
            if place.use == "count" and type(new) is not int:
                raise NotForPrograms(f"{place.name} counts what changes from call to call")
            more = new - old if place.use == "count" else None
            changes.append(Change(place, new, more))
        return changes

    def fills(self) -> list[Fill]:
        """The arrays that the function wrote into."""
        fills = []
        for i, (x, before) in enumerate(zip(self.twins, self.values)):
            if type(x) is StandIn and x.value is not before:
                fills.append(Fill(i, x.value))
        return fills
