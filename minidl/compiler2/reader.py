"""The reader of a program: one printed function that asks whether it serves, and reads its inputs.

Conditions come from reach.py; printed, they cost a tenth of what the same costs as data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.compiler2.recording import MISS, Recording


def print_reader(recording: Recording) -> Callable[..., Any]:
    """A function of the arguments' and states' arrays: the inputs, or MISS."""
    reach = recording.reach
    leaves = recording.call.leaves
    scope = reach.scope
    scope["MISS"] = MISS
    conditions = [*_of_arguments(recording), *reach.conditions, *_of_contents(recording)]
    parameters = [f"a{i}" for i in range(len(leaves))]
    parameters += [f"s{i}" for i in range(len(recording.states.leaves))]
    inputs = [_place(x, recording) for x in recording.recorder.inputs if x.kind != "draw"]
    lines = [f"def read({', '.join(parameters)}):"]
    if conditions:
        lines += [f"    if not ({' and '.join(conditions)}):", "        return MISS"]
    lines.append(f"    return ({''.join([f'{x}, ' for x in inputs])})")
    exec(compile("\n".join(lines), "<minidl reader>", "exec"), scope)
    return scope.pop("read")  # type: ignore[no-any-return]  # a function


def _of_arguments(recording: Recording) -> list[str]:
    """The forms of the arguments, and whether they are what the function closes over."""
    found = []
    reach = recording.reach
    outside = frozenset([i for i, x in reach.found.items() if isinstance(x, Variable)])
    for i, x in enumerate(recording.call.leaves):
        raw = "_raw." if isinstance(x, Variable) else ""
        found.append(f"type(a{i}) is {reach.name(type(x))} and a{i}.{raw}shape == {x.shape!r}")
        found.append(f"a{i}.{raw}dtype == {reach.name(x.dtype)}")
        if isinstance(x, Variable):
            found.append(f"a{i}._node {'is' if x._node is None else 'is not'} None")
            if id(x) in outside:
                found.append(f"a{i} is {reach.name(x)}")
            elif outside:
                found.append(f"id(a{i}) not in {reach.name(outside)}")
        twins = [k for k in range(i) if recording.call.leaves[k] is x]
        others = [k for k in range(i) if recording.call.leaves[k] is not x]
        found += [f"a{i} is a{k}" for k in twins[:1]] + [f"a{i} is not a{k}" for k in others]
    return found


def _of_contents(recording: Recording) -> list[str]:
    """Arrays whose values decide on shapes, or from which unseen code computed something."""
    reach = recording.reach
    recorder = recording.recorder
    watched = {id(x): x for x in recorder.fixed}
    if recorder.made_of:
        watched |= {i: x for i, x in reach.found.items() if isinstance(x, np.ndarray)}
    reach.scope["equal"] = _equal
    return [f"equal({reach.where[i]}, {reach.name(x.copy())})" for i, x in watched.items()]


def _equal(a: Any, b: Any) -> bool:
    return bool((a == b).all()) or np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _place(x: Any, recording: Recording) -> str:
    if x.kind == "argument":
        return f"a{x.of}"
    if x.kind == "state":
        return f"s{x.of}"
    return recording.reach.where.get(id(x.of)) or recording.reach.name(x.of)
