"""Conditions under which a program serves: Python expressions that hold as long as nothing changed.

What they are about is found in reach.py; how they are printed is in reader.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minidl.compiler.forms import NUMBERS
from minidl.compiler.names import Name
from minidl.compiler.places import Entry, Place
from minidl.compiler.snapshot import Snapshot


class Conditions:
    """What is expected of things that have a place.

    ``conditions`` are evaluated in ``scope``; ``where`` has the place of each array and Variable, by
    id, ``arrays`` these themselves. ``places`` are where calls leave something for the next;
    ``snapshots`` of arrays and containers tell whether a call wrote into them.
    """

    def _begin(self, roots: Iterable[Any]) -> None:
        self.conditions: dict[str, None] = {}
        self.scope: dict[str, Any] = {}
        self.where: dict[int, str] = {}
        self.arrays: dict[int, Any] = {}
        self.snapshots: list[Snapshot] = []
        self._places: dict[str, Place] = {}
        self._todo: list[Any] = list(roots)  # what is still to be visited

    @property
    def places(self) -> list[Place]:
        """Where calls leave something for the next."""
        return list(self._places.values())

    def name(self, thing: Any) -> str:
        """A name for an object in the scope of the conditions."""
        name = f"k{id(thing)}"
        self.scope[name] = thing
        return name

    def key(self, key: Any) -> str:
        """The expression for a key."""
        return repr(key) if type(key) in (str, int) else self.name(key)

    def _add(self, condition: str) -> None:
        self.conditions[condition] = None

    def _expect(self, place: str, value: Any, entry: Entry | None = None) -> None:
        """Expect at a place what is there now, and go on there."""
        if isinstance(value, np.ndarray):
            self._expect_array(place, value, entry)
            return
        name = self.name(value)
        if may_be_equal(value):
            self._add(f"({place} is {name} or same({place}, {name}))")
        else:
            self._add(f"{place} is {name}")
            self._todo.append(value)

    def _expect_array(self, place: str, x: Any, entry: Entry | None) -> None:
        self._add(f"type({place}) is ndarray")
        self._add(condition_of_form(place, x, self.name))
        if id(x) in self.where:
            self._add(f"{place} is {self.where[id(x)]}")
            return
        self.where[id(x)] = place
        self.arrays[id(x)] = x
        self.snapshots.append(Snapshot(x, "an array that it closes over", entry))

    def _expect_length(self, held: Any) -> None:
        self._add(f"len({self.name(held)}) == {len(held)}")

    def _entries(
        self,
        held: Any,
        items: Iterable[tuple[Any, Any]],
        label: str,
        kind_of_name: str = "",
        owner: Any = None,
    ) -> None:
        """What is in a dict or list: ``label`` with a key is what that is to its user."""
        name = self.name(held)
        for key, value in items:
            text = f"{name}[{self.key(key)}]"
            self._entry(Place(held, key, text, f"{label}{key}"), value, (kind_of_name, key), owner)

    def _entry(self, place: Place, value: Any, name: Name, owner: Any = None) -> None:
        """What is in a place: it is expected to stay, unless calls leave something there."""
        use = self._use(place, value, name, owner)
        if use is None:
            self._expect(place.text, value, place.entry)
        else:
            self._places[place.text] = place._replace(use=use)

    def _use(self, place: Place, value: Any, name: Name, owner: Any) -> str | None:
        """How a place is used that has a name, in an object of the class ``owner``; None: not."""
        raise NotImplementedError("reach.py says it, which knows what code stores")

    def condition_of_keys(self, keys: Iterable[Any], place: str) -> str:
        """The condition that a dict has these keys, by type as well: 1, 1.0 and True are equal."""
        condition = f"[*{place}] == {self.name([*keys])}"
        kinds = list(map(type, keys))
        if {*kinds} <= {str}:
            return condition
        return f"{condition} and [*map(type, {place})] == {self.name(kinds)}"


def condition_of_form(place: str, x: Any, name: Callable[[Any], str]) -> str:
    """The condition that an array has the form that it had, and lies in memory as it did.

    The latter because sums add up in that order. ``name`` gives the name of an object.
    """
    condition = f"{place}.shape == {x.shape!r} and {place}.dtype is {name(x.dtype)}"
    if x.ndim < 2:
        return condition
    if x.flags.c_contiguous:
        return f"{condition} and {place}.flags.c_contiguous"
    return f"{condition} and {place}.strides == {x.strides!r}"


def may_be_equal(x: Any) -> bool:
    """Whether another object is as good as this one: numbers and texts."""
    return isinstance(x, NUMBERS) and not isinstance(x, bool | type(None))


def same(now: Any, before: Any) -> bool:
    """Whether two numbers or texts are the same, by type and to the last bit."""
    return type(now) is type(before) and repr(now) == repr(before)


def under(held: Any, names: Iterable[str]) -> list[tuple[str, Any]]:
    """The entries of a dict under some names."""
    return [(n, held[n]) for n in sorted(names)]
