"""The printed ends of a program: one function that reads its inputs, one that gives its results.

The reader asks first whether the program serves: its conditions, from here and from reach.py, cost
a tenth of what the same costs as data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable, box
from minidl.compiler.forms import NUMBERS, is_array, parts_of, with_parts
from minidl.compiler.optimizers import is_watched
from minidl.compiler.program import Operand, Value
from minidl.compiler.reach import Reach, same, usual_order
from minidl.compiler.recording import MISS, Recording
from minidl.compiler.scalars import Number, is_number
from minidl.compiler.snapshot import ABSENT
from minidl.compiler.writes import assign

MAPPINGS = (dict,)


class Form:
    """The conditions under which something has the form that it had, and the places of its arrays."""

    def __init__(self, reach: Reach, varying: Set[int] = frozenset()) -> None:
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
            places = [f"{place}[{self._key(key)}]" for key in keys]
        elif keys:
            places = [f"{place}.{key}" for key in keys]
        else:
            self.conditions.append(f"len({place}) == {len(parts)}")
            places = [f"{place}[{i}]" for i in range(len(parts))]
        for where, part in zip(places, parts, strict=True):
            self.expect(where, part)

    def _key(self, key: Any) -> str:
        return repr(key) if type(key) in (str, int) else self.reach.name(key)

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
    call = recording.call
    arguments = Form(reach, recording.varying)
    for i, x in enumerate(call.args):
        arguments.expect(f"a{i}", x)
    if call.kwargs:  # their order may be seen, too
        arguments.conditions.append(f"[*kw] == {reach.name([*call.kwargs])}")
    for keyword, x in call.kwargs.items():
        arguments.expect(f"kw[{keyword!r}]", x)
    states = _form_of_states(recording)
    conditions = [*arguments.conditions, *reach.conditions, *states.conditions]
    numbers = [(place, None) for place in arguments.numbers]
    places = {"argument": arguments.leaves, "state": states.leaves, "number": numbers}
    holders = {id(x): place for place, x in [*arguments.leaves, *states.leaves]} | reach.where
    conditions += [*_of_contents(recording), *_of_gradients(recording, holders)]
    conditions += _of_memory(recording, holders)
    inputs = [
        _place(x, places, holders, reach, derived)
        for x in recording.recorder.inputs
        if x.kind != "draw"
    ]
    inputs += [holders[id(p)] for p in recording.owners]
    parameters = [f"a{i}" for i in range(len(call.args))]
    if call.kwargs:
        parameters += ["/", "**kw"] if parameters else ["**kw"]
    lines = [f"def read({', '.join(parameters)}):"]
    if conditions:
        lines += [f"    if not ({' and '.join(conditions)}):", "        return MISS"]
    lines.append(f"    return ({''.join([f'{x}, ' for x in inputs])})")
    source = "\n".join(lines)
    scope = {**HELPERS, **_names_in(source, reach)}
    exec(compile(source, "<minidl reader>", "exec"), scope)
    return scope.pop("read")  # type: ignore[no-any-return]  # a function


def _form_of_states(recording: Recording) -> Form:
    """What is expected of the places that a program reads."""
    states = Form(recording.reach)
    for place, x in zip(recording.states.places, recording.states.values, strict=True):
        if place.use == "state":
            states.expect(place.text, x)
        elif place.use == "count":
            states.conditions.append(f"type({place.text}) is int")
    return states


def _names_in(source: str, reach: Reach) -> dict[str, Any]:
    """What the names in a source stand for; no more, as it lives as long as the program."""
    names = reach.scope.keys() & re.findall(r"\bk\d+\b", source)
    return {name: reach.scope[name] for name in names}


def _place(
    x: Any, places: dict[str, Any], holders: dict[int, str], reach: Reach, derived: bool
) -> str:
    number = "[()]" if x.value.shape == () else ""  # eagerly it is no array without axes
    if x.kind == "grad":
        return f"{holders[id(x.of)]}._grad._raw{number}"
    if x.kind in places:
        place, source = places[x.kind][x.of]
    else:
        source = x.of
        place = reach.where.get(id(source)) or reach.name(source)
    return f"{place}._raw{number}" if isinstance(source, Variable) and not derived else place


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
    """That no two Variables have one array, if a program writes into some."""
    if all(write.how is assign for write in recording.writes) and not recording.fills:
        return []
    leaves = [*recording.recorder.variables, *recording.call.leaves, *recording.states.leaves]
    arrays = {id(x): x for x in leaves if isinstance(getattr(x, "_raw", x), np.ndarray)}
    raws = [holders[i] + ("._raw" if isinstance(x, Variable) else "") for i, x in arrays.items()]
    return [f"len({{{', '.join([f'id({raw})' for raw in raws])}}}) == {len(raws)}"]


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


def print_results(recording: Recording, derived: bool) -> Callable[..., Any]:
    """A function of what the program gave: stores the layers' new states, and gives the result."""
    scope: dict[str, Any] = {"box": box, "asarray": np.asarray, "with_parts": with_parts}
    writer = _Writer(recording, scope, derived)
    lines = ["def give(y, owners):"]
    lines += _writes_of_places(recording, writer)
    for p, operand in recording.gradients:
        new = "None" if operand is None else writer.gradient(operand)
        lines.append(f"    {writer.holder(p)}._grad = {new}")
    for write in recording.writes:
        new = writer.value(write.operand)
        lines.append(f"    {writer.name(write.how)}({writer.holder(write.p)}, {new})")
    lines.append(f"    return {writer.text(recording.raw_result)}")
    source = "\n".join(lines)
    scope.update(_names_in(source, recording.reach))
    exec(compile(source, "<minidl results>", "exec"), scope)
    return scope.pop("give")  # type: ignore[no-any-return]  # a function


def _writes_of_places(recording: Recording, writer: _Writer) -> list[str]:
    """The lines that leave new values; an array that stays the same is the same in all places."""
    leaves = [place for place, _ in _form_of_states(recording).leaves]
    lines = [
        f"{place}[...] = {writer.value(operand)}"
        for place, operand in ((leaves[leaf], operand) for leaf, operand in recording.fills)
    ]
    twins = recording.inside.twins
    writer.same = {id(x): f"s{i}" for i, x in enumerate(twins)}
    for place, value, more in recording.changes:
        new = writer.text(value) if more is None else f"{place.text} + {more}"
        lines.append(f"{place.text} = {new}")
    writer.same = {}
    source = "\n".join(lines)
    kept = [f"s{i} = {leaves[i]}" for i in range(len(twins)) if re.search(rf"\bs{i}\b", source)]
    return [f"    {line}" for line in [*kept, *lines]]


class _Writer:
    """Writes how a result is built of what the program gave."""

    def __init__(self, recording: Recording, scope: dict[str, Any], derived: bool) -> None:
        self.recording = recording
        self.scope = scope
        self.derived = derived
        self.same: dict[int, str] = {}  # names for what was in places before

    def name(self, x: Any) -> str:
        name = f"k{id(x)}"
        self.scope[name] = x
        return name

    def text(self, x: Any) -> str:
        """The expression for a part of a result."""
        if id(x) in self.same:
            return self.same[id(x)]
        if isinstance(x, Variable | np.ndarray | np.generic) or type(x) is Number:
            operand, kind = self.recording.output_of(x)
            return self._output(operand, kind)
        nest = parts_of(x)
        if nest is None:
            return self.name(x)
        parts = [self.text(part) for part in nest[1]]
        if type(x) is list:
            return f"[{', '.join(parts)}]"
        if type(x) is tuple:
            return f"({''.join([f'{part}, ' for part in parts])})"
        if type(x) in MAPPINGS:
            pairs = zip(map(self.name, nest[0]), parts)
            return f"{{{', '.join([f'{key}: {part}' for key, part in pairs])}}}"
        return f"with_parts({self.name(x)}, [{', '.join(parts)}])"

    def holder(self, p: Variable) -> str:
        """The expression for a Variable that is written into."""
        places = [i for i, owner in enumerate(self.recording.owners) if owner is p]
        return f"owners[{places[0]}]" if places else self.name(p)

    def value(self, operand: Operand) -> str:
        """The expression for the new value of a Variable."""
        return self._output(operand, np.generic)

    def gradient(self, operand: Operand) -> str:
        """The expression for a gradient that is left in a parameter."""
        return self._output(operand, Variable)

    def _output(self, operand: Operand, kind: type) -> str:
        if not isinstance(operand, Value):
            return f"box({self.name(operand)}, None)" if kind is Variable else self.name(operand)
        place = f"y[{self.recording.real.index(operand)}]"
        if kind is Variable and operand in self.recording.floating:
            return place
        raw = f"{place}._raw" if self._is_variable(operand) else place
        if kind is Variable:
            return f"box({raw}, None)"
        return f"asarray({raw})" if kind is np.ndarray else raw

    def _is_variable(self, v: Value) -> bool:
        """Whether the program, as a Function, gives a Variable."""
        return self.derived
