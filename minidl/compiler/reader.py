"""The printed beginning of a program: a function that reads its inputs, or says that it does not serve.

Its conditions, from here and from reach.py, cost a tenth of what the same costs as data. What gives
the results is in results.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.compiler.conditions import condition_of_form, may_be_equal, same
from minidl.compiler.forms import is_array, parts_of
from minidl.compiler.optimizers import is_watched
from minidl.compiler.reach import Reach
from minidl.compiler.recording import MISS, Recording
from minidl.compiler.scalars import Everything, is_number
from minidl.compiler.snapshot import ABSENT
from minidl.compiler.standin import raw_of, same_elements
from minidl.compiler.values import Input
from minidl.compiler.writes import assign


class Form:
    """The conditions under which things have the form that they had, and where their arrays are.

    ``leaves`` are places with the arrays there, ``numbers`` the places of numbers; those that are in
    ``varying`` may be any.
    """

    def __init__(self, reach: Reach, varying: Container[int] = frozenset()) -> None:
        self.reach = reach
        self.numbers: list[str] = []
        self._varying = varying
        self.conditions: list[str] = []
        self.leaves: list[tuple[str, Any]] = []
        self._variables = frozenset(map(id, reach.variables))

    def expect(self, place: str, x: Any) -> None:
        """Expect at a place what has the form of ``x``."""
        nest = parts_of(x)
        if is_array(x):
            self._array(place, x)
        elif is_number(x):
            self._number(place, x)
        elif nest is None:
            self._constant(place, x)
        else:
            self._nest(place, x, *nest)

    def _number(self, place: str, x: Any) -> None:
        i = len(self.numbers)
        self.numbers.append(place)
        if i in self._varying:
            self.conditions.append(f"type({place}) is {type(x).__name__}")
        else:
            self._constant(place, x)

    def _constant(self, place: str, x: Any) -> None:
        name = self.reach.name(x)
        condition = f"{place} is {name}"
        if may_be_equal(x):
            condition = f"({condition} or same({place}, {name}))"
        self.conditions.append(condition)

    def _nest(self, place: str, x: Any, keys: tuple[Any, ...], parts: list[Any]) -> None:
        self.conditions.append(f"type({place}) is {self.reach.name(type(x))}")
        if isinstance(x, dict):
            self.conditions.append(self.reach.condition_of_keys(keys, place))
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
        self.conditions.append(f"type({place}) is {name(type(x))}")
        if isinstance(x, Variable):
            self.conditions.append(condition_of_form(f"{place}._raw", x._raw, name))
            self.conditions.append(f"{place}._node {_is(x._node is None)} None")
            if id(x) in self._variables:
                self.conditions.append(f"{place} is {name(x)}")
            elif self._variables:
                self.conditions.append(f"id({place}) not in {name(self._variables)}")
        else:  # the function may ask whether it is one that it closes over
            self.conditions.append(condition_of_form(place, x, name))
            for i, reached in self.reach.where.items():
                if i not in self._variables:
                    self.conditions.append(f"{place} {_is(i == id(x))} {reached}")
        for other, leaf in self.leaves:  # which of the arrays are one and the same
            self.conditions.append(f"{place} {_is(leaf is x)} {other}")
        self.leaves.append((place, x))


def _is(same: bool) -> str:
    return "is" if same else "is not"


def print_reader(recording: Recording, derived: bool) -> Callable[..., Any]:
    """A function of the arguments: the inputs, or MISS. Variables, if the program is ``derived``."""
    return define("read", _Reader(recording, derived).source(), recording.reach, _HELPERS)


class _Reader:
    """Prints what reads the inputs of a program."""

    def __init__(self, recording: Recording, derived: bool) -> None:
        self.recording = recording
        self.reach = recording.reach
        self.derived = derived
        self.arguments = _form_of_arguments(recording)
        self.states = form_of_states(recording)
        leaves = [*self.arguments.leaves, *self.states.leaves]
        self.places: dict[str, Sequence[str]] = {
            "argument": [self._read(*leaf) for leaf in self.arguments.leaves],
            "state": [self._read(*leaf) for leaf in self.states.leaves],
            "number": self.arguments.numbers,
            "state number": self.states.numbers,
        }
        self.holders = {id(x): place for place, x in leaves} | self.reach.where

    def source(self) -> str:
        """The text of the function."""
        call = self.recording.call
        parameters = [f"a{i}" for i in range(len(call.args))]
        if call.kwargs:
            parameters += ["/", "**kw"] if parameters else ["**kw"]
        lines = [f"def read({', '.join(parameters)}):"]
        conditions = self._conditions()
        if conditions:
            lines.append(f"    if not ({' and '.join(conditions)}):")
            lines.append("        return MISS")
        inputs = [self._input(x) for x in self.recording.recorder.inputs if x.kind != "draw"]
        inputs += [self.holders[id(p)] for p in self.recording.owners]
        given = "".join([f"{x}, " for x in inputs])
        lines.append(f"    return ({given})")
        return "\n".join(lines)

    # ---- the inputs ------------------------------------------------------------------------------

    def _input(self, x: Input) -> str:
        """The expression for an input."""
        if x.kind in self.places:
            expression: str = self.places[x.kind][x.of]
            return expression
        if x.kind == "grad":
            return f"{self.holders[id(x.of)]}._grad._raw{_as_number(x.of)}"
        place = self.reach.where.get(id(x.of)) or self.reach.name(x.of)
        return self._read(place, x.of)

    def _read(self, place: str, x: Any) -> str:
        """The expression for what a program is given of a Variable or an array at a place."""
        if not isinstance(x, Variable) or self.derived:
            return place
        return f"{place}._raw{_as_number(x)}"

    # ---- the conditions --------------------------------------------------------------------------

    def _conditions(self) -> list[str]:
        return [
            *self.arguments.conditions,
            *self.reach.conditions,
            *self.states.conditions,
            *self._of_contents(),
            *self._of_optimizers(),
            *self._of_gradients(),
            *self._of_memory(),
        ]

    def _of_contents(self) -> list[str]:
        """Arrays whose values decide on shapes, or of which unseen code may have made something.

        These are all that the program does not read, and if there are arrays of unknown origin, all.
        """
        recorder = self.recording.recorder
        read = {id(x.of) for x in recorder.inputs if x.kind == "object"}
        read -= set(map(id, recorder.fixed))
        if recorder.made_of:
            read.clear()
        conditions = []
        for i, x in self.reach.arrays.items():
            if isinstance(x, np.ndarray) and (i not in read or _may_be_counts(x)):
                place = self.reach.where[i]
                name = self.reach.name
                conditions.append(f"{place} is {name(x)} and equal({place}, {name(x.copy())})")
        return conditions

    def _of_optimizers(self) -> list[str]:
        """Which parameters there are, where a model's attributes do not tell."""
        name = self.reach.name
        others = [o for o in self.recording.recorder.optimizers if not is_watched(o)]
        return [f"{name(o)}._current() is {name(o._current())}" for o in others]

    def _of_gradients(self) -> list[str]:
        """Which parameters have a gradient at the beginning, as far as a step depends on it."""
        conditions = []
        for p, has_one in self.recording.recorder.needs.values():
            holder = self.holders[id(p)]
            conditions.append(f"{holder}._grad {_is(not has_one)} None")
            if has_one:
                conditions.append(f"{holder}._grad._node is None")
        return conditions

    def _of_memory(self) -> list[str]:
        """That no two things have one array, if a program writes into some."""
        recording = self.recording
        if all(write.how is assign for write in recording.writes) and not recording.fills:
            return []
        found = self.reach.arrays.values()
        leaves = [*found, *recording.call.leaves, *recording.states.leaves]
        distinct = {id(x): x for x in leaves if isinstance(raw_of(x), np.ndarray)}
        raws = [
            self.holders[i] + ("._raw" if isinstance(x, Variable) else "")
            for i, x in distinct.items()
        ]
        ids = ", ".join([f"id({raw})" for raw in raws])
        return [f"len({{{ids}}}) == {len(raws)}"]


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
    states = Form(recording.reach, Everything())
    for place, x in zip(recording.states.places, recording.states.values, strict=True):
        if place.use == "state":
            states.expect(place.text, x)
        elif place.use == "count":
            states.conditions.append(f"type({place.text}) is int")
    return states


def define(name: str, source: str, reach: Reach, helpers: dict[str, Any]) -> Callable[..., Any]:
    """The function that a source defines.

    What it can name is what it does name and no more, as that lives as long as the program.
    """
    scope = dict(helpers)
    for known in reach.scope.keys() & re.findall(r"\bk\d+\b", source):
        scope[known] = reach.scope[known]
    exec(compile(source, f"<minidl {name}>", "exec"), scope)
    return scope.pop(name)  # type: ignore[no-any-return]  # a function


def _as_number(x: Variable) -> str:
    """What makes a number of an array without axes, as eagerly."""
    return "[()]" if x.ndim == 0 else ""


def _may_be_counts(x: Any) -> bool:
    """Whether code may well read an array as places or counts, which nobody sees: ``x[:n[1]]``."""
    return x.dtype.kind in "iub" and x.size <= 16


def _equal(a: Any, b: Any) -> bool:
    return bool((a == b).all()) or same_elements(a, b)


_HELPERS = {"MISS": MISS, "ABSENT": ABSENT, "ndarray": np.ndarray, "same": same, "equal": _equal}
