"""Checks: the program and the function, run from the same state, must give the same to the last bit.

Which calls are checked is decided in budget.py; what comes of a difference in api.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd.node import Leaf, next_number
from minidl.autograd.targets import gradients_for
from minidl.autograd.variable import Variable
from minidl.compiler.effects import Draws, same_state
from minidl.compiler.effects import state_of as state_of_generator
from minidl.compiler.forms import parts_of, with_parts
from minidl.compiler.optimizers import arrays_of, attributes_of, state_of
from minidl.compiler.places import States
from minidl.compiler.recording import MISS, Call
from minidl.compiler.replay import hooks_once
from minidl.compiler.specialization import Specialization


class Before:
    """Whatever a call of a program may change, as it was before; each array is copied once."""

    def __init__(self, spec: Specialization, variables: Sequence[Variable]) -> None:
        places: list[tuple[Any, str]]
        places = [(p, name) for p in variables for name in ("_raw", "_node", "_leaf", "_grad")]
        leaves = [leaf for p in variables for leaf in (p._node, p._leaf)]
        places += [(leaf, "stale") for leaf in leaves if type(leaf) is Leaf]
        places += [place for o in spec.optimizers for place in attributes_of(o)]
        self.attributes = [(x, name, getattr(x, name)) for x, name in places]
        self.states = States(spec.places)
        arrays = [getattr(x, "_raw", x) for x in (*variables, *self.states.leaves)]
        arrays += [array for o in spec.optimizers for array in arrays_of(o)]
        distinct = {id(x): x for x in arrays if isinstance(x, np.ndarray)}
        self.copies = {i: (array, array.copy()) for i, array in distinct.items()}
        self.draws = Draws(spec.generators())

    def put_back(self) -> None:
        """Put everything back; the copies get what the arrays held."""
        for x, name, value in self.attributes:
            setattr(x, name, value)
        self.states.put_back()
        for array, copy in self.copies.values():
            now = array.copy()
            array[...] = copy
            copy[...] = now
        self.draws.restore()

    def held(self, x: Any) -> Any:
        """What an array held when it was put back, those in tuples too; anything else as it is."""
        if type(x) is tuple:
            return tuple(map(self.held, x))
        return self.copies[id(x)][1] if id(x) in self.copies else x


def outcome(
    spec: Specialization, result: Any, gradients: Sequence[Any], variables: Sequence[Variable]
) -> dict[str, Any]:
    """What a call gave and left, by what it is called in a warning; arrays are not copied."""
    found: dict[str, Any] = {"the result": _without_graphs(result) if spec.learns else result}
    for i, g in enumerate(gradients):
        found[f"gradient {i}"] = np.asarray(g)
    for i, p in enumerate(variables):
        name = p.name or "a Variable"
        found[f"the value of {name} ({i})"] = p.data
        found[f"the gradient of {name} ({i})"] = None if p._grad is None else p._grad.data
    for i, optimizer in enumerate(spec.optimizers):
        for k, part in enumerate(state_of(optimizer)):
            found[f"the state of optimizer {i} ({k})"] = part
    for i, place in enumerate(spec.places):
        value = place.get()
        found[f"{place.name} ({i})"] = _without_graphs(value) if spec.learns else value
    return found


def check(spec: Specialization, call: Call) -> tuple[Any, str | None]:
    """Run the program, then the function from the same state; its result, and what differed.

    What the function does stands; it is the same, unless something differed.
    """
    inputs = spec.inputs(call.args, call.kwargs)
    if inputs is MISS:
        return MISS, None
    with hooks_once(spec.optimizers) as hooks:
        return _compare(spec, call, inputs, hooks)


def _compare(
    spec: Specialization, call: Call, inputs: Any, hooks: list[Any]
) -> tuple[Any, str | None]:
    variables = [*spec.variables, *spec.owners(inputs)]
    before = Before(spec, variables)
    since = next_number()
    program = _run_program(spec, inputs, since, variables)
    drawn = _streams(spec)
    before.put_back()
    for hook in hooks:
        hook.replay()
    result = call.eagerly()
    if program is None:
        return result, "an error that only the program raised"
    eager = outcome(spec, result, _gradients(spec, result, inputs, since), variables)
    held = {what: before.held(value) for what, value in program.items()}
    difference = spec.difference(held, eager)
    if difference is not None:
        return result, difference
    if not all(map(same_state, drawn, _streams(spec))):
        return result, "the random numbers drawn"
    return result, None


def _streams(spec: Specialization) -> list[Any]:
    return [state_of_generator(g) for g in spec.generators()]


def _without_graphs(x: Any) -> Any:
    """A result with arrays in place of Variables: after a step that learns they have no graph."""
    if isinstance(x, Variable):
        return np.asarray(x._raw)
    nest = parts_of(x)
    return x if nest is None else with_parts(x, [_without_graphs(part) for part in nest[1]])


def _run_program(
    spec: Specialization, inputs: Any, since: int, variables: Sequence[Variable]
) -> dict[str, Any] | None:
    result = spec.run(inputs)
    if result is MISS:
        return None
    return outcome(spec, result, _gradients(spec, result, inputs, since), variables)


def _gradients(spec: Specialization, result: Any, inputs: Any, since: int) -> list[Any]:
    """The gradients of the inputs, of all results at once, each seeded by ones."""
    if spec.learns or not spec.differentiated:
        return []
    seeds = [(x, np.ones_like(x._raw)[()]) for x in _variables(result) if x.requires_grad]
    xs = [x if isinstance(x, Variable) and x.requires_grad else None for x in inputs]
    with np.errstate(all="ignore"):
        return gradients_for(xs, seeds, None, since, zeros=False)


def _variables(x: Any) -> list[Any]:
    if isinstance(x, Variable):
        return [x]
    nest = parts_of(x)
    return [] if nest is None else [y for part in nest[1] for y in _variables(part)]
