"""The printed end of a program: a function that leaves what the call leaves, and gives its result.

What reads the inputs is in reader.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable, box
from minidl.compiler.forms import is_output, parts_of, with_parts
from minidl.compiler.program import Operand, Value
from minidl.compiler.reader import form_of_states, names_in
from minidl.compiler.recording import Recording


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
    scope.update(names_in(source, recording.reach))
    exec(compile(source, "<minidl results>", "exec"), scope)
    return scope.pop("give")  # type: ignore[no-any-return]  # a function


def _writes_of_places(recording: Recording, writer: _Writer) -> list[str]:
    """The lines that leave new values; an array that stays the same is the same in all places."""
    leaves = [place for place, _ in form_of_states(recording).leaves]
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
        self.derived = derived  # the program is a Function, which gives Variables
        self.same: dict[int, str] = {}  # names for what was in places before

    def name(self, x: Any) -> str:
        name = f"k{id(x)}"
        self.scope[name] = x
        return name

    def text(self, x: Any) -> str:
        """The expression for a part of a result."""
        if id(x) in self.same:
            return self.same[id(x)]
        if is_output(x):
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
        if type(x) is dict:
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
        raw = f"{place}._raw" if self.derived else place
        if kind is Variable:
            return f"box({raw}, None)"
        return f"asarray({raw})" if kind is np.ndarray else raw
