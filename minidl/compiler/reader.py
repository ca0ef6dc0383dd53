"""The printed beginning of a program: a function that reads its inputs, or says that it does not serve.

Its conditions, from here and from reach.py, cost a tenth of what the same costs as data. What gives
the results is in results.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.compiler.conditions import same, usual_order
from minidl.compiler.forms import NUMBERS, is_array, parts_of
from minidl.compiler.optimizers import is_watched
from minidl.compiler.reach import Reach
from minidl.compiler.recording import MISS, Call, Recording
from minidl.compiler.scalars import is_number
from minidl.compiler.snapshot import ABSENT
from minidl.compiler.writes import assign


class Form:
    """The conditions under which something has the form that it had, and the places of its arrays."""

    def __init__(self, reach: Reach, varying: Container[int] = frozenset()) -> None:
        self.reach = reach
        self.numbers: list[str] = []  # places of numbers
        self._varying = varying
        self.conditions: list[str] = []
        self.leaves: list[tuple[str, Any]] = []
        self._variables = frozenset([i for i, x in reach.found.items() if isinstance(x, Variable)])
        self._arrays = [(i, place) for i, place in reach.where.items() if i not in self._variables]

    def expect(self, place: str, x: Any) -> None:
        """Expect at a place what has the form of ``x``."""
        if is_array(x):
            self._array(place, x)
            return
        if is_number(x):
            self.numbers.append(place)
            if len(self.numbers) - 1 in self._varying:
                self.conditions.append(f"type({place}) is {type(x).__name__}")
                return
        nest = parts_of(x)
        name = self.reach.name(x)
        if nest is None:
            by_value = isinstance(x, NUMBERS) and not isinstance(x, bool | type(None))
            same = f" or same({place}, {name})" if by_value else ""
            self.conditions.append(f"({place} is {name}{same})")
            return
        keys, parts = nest
        self.conditions.append(f"type({place}) is {self.reach.name(type(x))}")
        if isinstance(x, dict):
            types = self.reach.types_of_keys(keys, place)
            self.conditions.append(f"[*{place}] == {self.reach.name([*keys])}{types}")
            places = [f"{place}[{self.reach.key(key)}]" for key in keys]
        elif keys:
            places = [f"{place}.{key}" for key in keys]
        else:
            self.conditions.append(f"len({place}) == {len(parts)}")
            places = [f"{place}[{i}]" for i in range(len(parts))]
        for where, part in zip(places, parts, strict=True):
            self.expect(where, part)

    def _array(self, place: str, x: Any) -> None:
        name = self.reach.name
        add = self.conditions.append
        is_variable = isinstance(x, Variable)
        raw = "._raw" if is_variable else ""
        add(f"type({place}) is {name(type(x))}")
        array = x._raw if is_variable else x
        add(f"{place}{raw}.shape == {x.shape!r} and {place}{raw}.dtype is {name(x.dtype)}")
        self.conditions[-1] += usual_order(array, place + raw)
        if is_variable:
            add(f"{place}._node {'is' if x._node is None else 'is not'} None")
            if id(x) in self._variables:
                add(f"{place} is {name(x)}")
            elif self._variables:
                add(f"id({place}) not in {name(self._variables)}")
        else:  # the function may ask whether it is one that it closes over
            for i, reached in self._arrays:
                add(f"{place} {'is' if i == id(x) else 'is not'} {reached}")
        for other, leaf in self.leaves:  # which of the arrays are one and the same
            add(f"{place} {'is' if leaf is x else 'is not'} {other}")
        self.leaves.append((place, x))


def print_reader(recording: Recording, derived: bool) -> Callable[..., Any]:
    """A function of the arguments: the inputs, or MISS. Variables, if the program is ``derived``."""
    reach = recording.reach
    arguments = _form_of_arguments(recording)
    states = form_of_states(recording)
    leaves = [*arguments.leaves, *states.leaves]
    holders = {id(x): place for place, x in leaves} | reach.where
    conditions = [*arguments.conditions, *reach.conditions, *states.conditions]
    conditions += _of_contents(recording)
    conditions += _of_gradients(recording, holders)
    conditions += _of_memory(recording, holders)
    places = {
        "argument": [_read(place, x, derived) for place, x in arguments.leaves],
        "state": [_read(place, x, derived) for place, x in states.leaves],
        "number": arguments.numbers,
        "state number": states.numbers,
    }
    inputs = []
    for kind, _, of in recording.recorder.inputs:
        if kind in places:
            inputs.append(places[kind][of])
        elif kind == "grad":
            number = "[()]" if of.ndim == 0 else ""
            inputs.append(f"{holders[id(of)]}._grad._raw{number}")
        elif kind == "object":
            inputs.append(_read(reach.where.get(id(of)) or reach.name(of), of, derived))
    inputs += [holders[id(p)] for p in recording.owners]
    source = _source(recording.call, conditions, inputs)
    scope = {**HELPERS, **names_in(source, reach)}
    exec(compile(source, "<minidl reader>", "exec"), scope)
    return scope.pop("read")  # type: ignore[no-any-return]  # a function


def _source(call: Call, conditions: list[str], inputs: list[str]) -> str:
    parameters = [f"a{i}" for i in range(len(call.args))]
    if call.kwargs:
        parameters += ["/", "**kw"] if parameters else ["**kw"]
    lines = [f"def read({', '.join(parameters)}):"]
    if conditions:
        lines.append(f"    if not ({' and '.join(conditions)}):")
        lines.append("        return MISS")
    given = "".join([f"{x}, " for x in inputs])
    lines.append(f"    return ({given})")
    return "\n".join(lines)


def _form_of_arguments(recording: Recording) -> Form:
    """What is expected of the arguments."""
    call = recording.call
    arguments = Form(recording.reach, recording.varying)
    for i, x in enumerate(call.args):
        arguments.expect(f"a{i}", x)
    if call.kwargs:  # their order may be seen, too
        arguments.conditions.append(f"[*kw] == {recording.reach.name([*call.kwargs])}")
    for keyword, x in call.kwargs.items():
        arguments.expect(f"kw[{keyword!r}]", x)
    return arguments


def form_of_states(recording: Recording) -> Form:
    """What is expected of the places that a program reads."""
    states = Form(recording.reach, range(recording.numbers))
    for place, x in zip(recording.states.places, recording.states.values, strict=True):
        if place.use == "state":
            states.expect(place.text, x)
        elif place.use == "count":
            states.conditions.append(f"type({place.text}) is int")
    return states


def names_in(source: str, reach: Reach) -> dict[str, Any]:
    """What the names in a source stand for; no more, as it lives as long as the program."""
    names = reach.scope.keys() & re.findall(r"\bk\d+\b", source)
    return {name: reach.scope[name] for name in names}


def _read(place: str, x: Any, derived: bool) -> str:
    """The expression for what a program is given of a Variable or an array at a place."""
    if not isinstance(x, Variable) or derived:
        return place
    number = "[()]" if x.ndim == 0 else ""  # no array without axes, as eagerly
    return f"{place}._raw{number}"


def _of_contents(recording: Recording) -> list[str]:
    """Arrays whose values decide on shapes, or of which unseen code may have made something.

    These are all that the program does not read, and if there are arrays of unknown origin, all.
    """
    reach = recording.reach
    recorder = recording.recorder
    read = set() if recorder.made_of else {id(x.of) for x in recorder.inputs if x.kind == "object"}
    read -= {id(x) for x in recorder.fixed}
    found = {i: x for i, x in reach.found.items() if isinstance(x, np.ndarray)}
    watched = {i: x for i, x in found.items() if i not in read or _may_be_counts(x)}
    conditions = []
    for i, x in watched.items():
        place = reach.where[i]
        conditions.append(f"{place} is {reach.name(x)} and equal({place}, {reach.name(x.copy())})")
    return conditions


def _may_be_counts(x: Any) -> bool:
    """Whether code may well read an array as places or counts, which nobody sees: ``x[:n[1]]``."""
    return x.dtype.kind in "iub" and x.size <= 16


def _of_memory(recording: Recording, holders: dict[int, str]) -> list[str]:
    """That no two things have one array, if a program writes into some."""
    if all(write.how is assign for write in recording.writes) and not recording.fills:
        return []
    found = recording.reach.found.values()
    leaves = [*found, *recording.call.leaves, *recording.states.leaves]
    distinct = {id(x): x for x in leaves if isinstance(getattr(x, "_raw", x), np.ndarray)}
    ids = [
        f"id({holders[i]}._raw)" if isinstance(x, Variable) else f"id({holders[i]})"
        for i, x in distinct.items()
    ]
    return [f"len({{{', '.join(ids)}}}) == {len(ids)}"]


def _of_gradients(recording: Recording, holders: dict[int, str]) -> list[str]:
    """Which parameters have a gradient at the beginning, as far as a step depends on it.

    And which there are, where a model's attributes do not tell.
    """
    name = recording.reach.name
    others = [o for o in recording.recorder.optimizers if not is_watched(o)]
    found = [f"{name(o)}._current() is {name(o._current())}" for o in others]
    for p, has_one in recording.recorder.needs.values():
        holder = holders[id(p)]
        found.append(f"{holder}._grad is {'not ' if has_one else ''}None")
        if has_one:
            found.append(f"{holder}._grad._node is None")
    return found


def _equal(a: Any, b: Any) -> bool:
    return bool((a == b).all()) or np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


HELPERS = {"MISS": MISS, "ABSENT": ABSENT, "ndarray": np.ndarray, "same": same, "equal": _equal}
