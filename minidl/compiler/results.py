"""The printed end of a program: a function that leaves what the call leaves, and gives its result.

What reads the inputs is in reader.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable, box
from minidl.compiler.forms import is_output, parts_of, with_parts
from minidl.compiler.program import Operand, Value
from minidl.compiler.reader import define, form_of_states
from minidl.compiler.recording import Recording

_HELPERS = {"box": box, "asarray": np.asarray, "with_parts": with_parts}


def print_results(recording: Recording, derived: bool) -> Callable[..., Any]:
    """A function of what the program gave: stores the layers' new states, and gives the result."""
    writer = _Writer(recording, derived)
    lines = _writes_of_places(recording, writer)
    for p, operand in recording.gradients:
        new = "None" if operand is None else writer.gradient(operand)
        lines.append(f"{writer.holder(p)}._grad = {new}")
    for write in recording.writes:
        how = writer.name(write.how)
        new = writer.value(write.operand)
        lines.append(f"{how}({writer.holder(write.p)}, {new})")
    lines.append(f"return {writer.text(recording.raw_result)}")
    source = "\n    ".join(["def give(y, owners):", *lines])
    return define("give", source, recording.reach, _HELPERS)


def _writes_of_places(recording: Recording, writer: _Writer) -> list[str]:
    """The lines that leave new values; an array that stays the same is the same in all places."""
    leaves = [place for place, _ in form_of_states(recording).leaves]
    lines = []
    for leaf, operand in recording.fills:
        lines.append(f"{leaves[leaf]}[...] = {writer.value(operand)}")
    writer.before = dict(zip(map(id, recording.inside.twins), leaves))
    for place, value, more in recording.changes:
        new = writer.text(value) if more is None else f"{place.text} + {more}"
        lines.append(f"{place.text} = {new}")
    writer.before = {}
    kept = [f"{name} = {place}" for place, name in writer.kept.items()]
    return [*kept, *lines]


class _Writer:
    """Writes how a result is built of what the program gave."""

    def __init__(self, recording: Recording, derived: bool) -> None:
        self.recording = recording
        self.name = recording.reach.name
        self.derived = derived  # the program is a Function, which gives Variables
        self.owners = {id(p): f"owners[{i}]" for i, p in enumerate(recording.owners)}
        self.before: dict[int, str] = {}  # the places of what was in places before, by id
        self.kept: dict[str, str] = {}  # the names of what these hold, as places are written into

    def text(self, x: Any) -> str:
        """The expression for a part of a result."""
        if id(x) in self.before:
            return self.kept.setdefault(self.before[id(x)], f"s{len(self.kept)}")
        if is_output(x):
            operand, kind = self.recording.output_of(x)
            return self._output(operand, kind)
        nest = parts_of(x)
        if nest is None:
            return self.name(x)
        keys, values = nest
        parts = [self.text(part) for part in values]
        if type(x) is dict:
            parts = [f"{self.name(key)}: {part}" for key, part in zip(keys, parts)]
        text = "".join([f"{part}, " for part in parts])
        if type(x) is tuple:
            return f"({text})"
        if type(x) is dict:
            return f"{{{text}}}"
        return f"[{text}]" if type(x) is list else f"with_parts({self.name(x)}, [{text}])"

    def holder(self, p: Variable) -> str:
        """The expression for a Variable that is written into."""
        return self.owners.get(id(p)) or self.name(p)

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
