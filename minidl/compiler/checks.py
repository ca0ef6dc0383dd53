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
from minidl.compiler.agreement import Outcome, size_of
from minidl.compiler.effects import Draws
from minidl.compiler.effects import state_of as state_of_generator
from minidl.compiler.forms import leaves_of, parts_of, with_parts
from minidl.compiler.observed import Call
from minidl.compiler.optimizers import arrays_of, attributes_of, state_of
from minidl.compiler.places import States
from minidl.compiler.recording import MISS
from minidl.compiler.replay import hooks_once
from minidl.compiler.specialization import Specialization

_OF_VARIABLES = ("_raw", "_node", "_leaf", "_grad")


def check(spec: Specialization, call: Call) -> tuple[Any, str | None]:
    """Run the program, then the function from the same state; its result, and what differed.

    What the function does stands; it is the same, unless something differed.
    """
    inputs = spec.inputs(call.args, call.kwargs)
    if inputs is MISS:
        return MISS, None
    with hooks_once(spec.optimizers) as hooks:
        checked = CheckedCall(spec, inputs)
        before = Before(spec, checked.variables)
        given = size_of(inputs)
        with np.errstate(all="ignore"):  # what there is to warn of, the function will
            result = spec.run(inputs)
        program = checked.outcome(result)
        before.put_back()
        for hook in hooks:
            hook.replay()
        result = call.eagerly()
        if program is None:
            return result, "an error that only the program raised"
        eager: Any = checked.outcome(result)
        held = {what: before.held(value) for what, value in program.items()}
        return result, spec.difference(held, eager, given)


class CheckedCall:
    """What there is to compare of one call, once the program has run and once the function has."""

    def __init__(self, spec: Specialization, inputs: Any) -> None:
        self.spec = spec
        self.inputs = inputs
        self.variables = [*spec.variables, *spec.owners(inputs)]
        self.since = next_number()

    def outcome(self, result: Any) -> Outcome | None:
        """What a call gave and left, None of a program that failed; arrays are not copied."""
        if result is MISS:
            return None
        spec = self.spec
        found: Outcome = {"the result": self._comparable(result)}
        for i, g in enumerate(self._gradients(result)):
            found[f"gradient {i}"] = np.asarray(g)
        for i, p in enumerate(self.variables):
            name = p.name or "a Variable"
            found[f"the value of {name} ({i})"] = p.data
            if p._grad is not None:
                found[f"the gradient of {name} ({i})"] = p._grad.data
        for i, optimizer in enumerate(spec.optimizers):
            for k, part in enumerate(state_of(optimizer)):
                found[f"the state of optimizer {i} ({k})"] = part
        for i, place in enumerate(spec.places):
            found[f"{place.name} ({i})"] = self._comparable(place.get())
        for i, generator in enumerate(spec.generators()):
            found[f"random generator {i}"] = state_of_generator(generator)
        return found

    def _comparable(self, x: Any) -> Any:
        """A result; without graphs, as a step that learns leaves it."""
        return _without_graphs(x) if self.spec.learns else x

    def _gradients(self, result: Any) -> list[Any]:
        """The gradients of the inputs, of all results at once, each seeded by ones."""
        if self.spec.learns or not self.spec.differentiated:
            return []
        ys = filter(_has_graph, leaves_of(result))
        seeds = [(y, np.ones_like(y._raw)[()]) for y in ys]
        xs = [x if _has_graph(x) else None for x in self.inputs]
        with np.errstate(all="ignore"):
            return gradients_for(xs, seeds, None, self.since, zeros=False)


def _has_graph(x: Any) -> bool:
    return isinstance(x, Variable) and x.requires_grad


def _without_graphs(x: Any) -> Any:
    """A result with arrays in place of Variables."""
    if isinstance(x, Variable):
        return np.asarray(x._raw)
    nest = parts_of(x)
    if nest is None:
        return x
    return with_parts(x, list(map(_without_graphs, nest[1])))


class Before:
    """Whatever a call of a program may change, as it was before; each array is copied once."""

    def __init__(self, spec: Specialization, variables: Sequence[Variable]) -> None:
        self.attributes: list[tuple[Any, str, Any]] = []
        self.copies: dict[int, tuple[Any, Any]] = {}  # by the id of an array: it, and its copy
        self.states = States(spec.places)
        self.draws = Draws(spec.generators())
        for p in variables:
            self._keep_variable(p)
        for leaf in self.states.leaves:
            self._keep_array(getattr(leaf, "_raw", leaf))
        for optimizer in spec.optimizers:
            for x, name in attributes_of(optimizer):
                self._keep_attribute(x, name)
            for array in arrays_of(optimizer):
                self._keep_array(array)

    def _keep_variable(self, p: Variable) -> None:
        for name in _OF_VARIABLES:
            self._keep_attribute(p, name)
        for leaf in (p._node, p._leaf):
            if type(leaf) is Leaf:
                self._keep_attribute(leaf, "stale")
        self._keep_array(p._raw)

    def _keep_attribute(self, x: Any, name: str) -> None:
        self.attributes.append((x, name, getattr(x, name)))

    def _keep_array(self, x: Any) -> None:
        if isinstance(x, np.ndarray) and id(x) not in self.copies:
            self.copies[id(x)] = (x, x.copy())

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
        _, copy = self.copies.get(id(x), (None, x))
        return copy
