"""Checks: the program and the function, run from the same state, must give the same to the last bit.

Which calls are checked is decided in budget.py; what comes of a difference in api.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.node import Leaf, next_number
from minidl.autograd.targets import gradients_for
from minidl.autograd.variable import Variable
from minidl.compiler.effects import Draws, same_state, state_of
from minidl.compiler.forms import NUMBERS, parts_of, with_parts
from minidl.compiler.recording import MISS, Call, States
from minidl.compiler.replay import hooks_once
from minidl.compiler.specialization import Specialization


class Outcome:
    """What a call gave and left: result, gradients, states, random streams; in copies."""

    def __init__(
        self,
        spec: Specialization,
        result: Any,
        gradients: Sequence[Any],
        variables: Sequence[Variable],
    ) -> None:
        self.parts: list[tuple[str, Any]] = [("the result", result)]
        self.parts += [(f"gradient {i}", np.asarray(g)) for i, g in enumerate(gradients)]
        if spec.learns:
            self.parts = [("the result", _without_graphs(result))]
        for p in variables:
            grad = p._grad
            self.parts.append((f"the value of {p.name or 'a Variable'}", np.copy(p._raw)))
            self.parts.append(("a gradient", None if grad is None else np.copy(grad._raw)))
        self.parts += [("the optimizer's state", o.state_dict()) for o in spec.optimizers]
        for layer, name in spec.places:
            self.parts.append((f"{type(layer).__name__}.{name}", getattr(layer, name)))
        self.streams = [state_of(g) for g in spec.generators()]

    def difference(self, other: Outcome) -> str | None:
        """The first thing in which another outcome differs, in words; None if nothing does."""
        for (what, mine), (_, its) in zip(self.parts, other.parts, strict=True):
            if not same(mine, its):
                return what
        streams = zip(self.streams, other.streams, strict=True)
        return None if all(same_state(a, b) for a, b in streams) else "the random numbers drawn"


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same: forms, types, and every bit of every array."""
    if isinstance(a, Variable) or isinstance(b, Variable):
        if type(a) is not type(b) or a.requires_grad != b.requires_grad:
            return False
        return _same_array(np.asarray(a._raw), np.asarray(b._raw))
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return _same_array(np.asarray(a), np.asarray(b))
    mine = parts_of(a)
    its = parts_of(b)
    if mine is None or its is None:
        return a is b or (isinstance(a, NUMBERS) and repr(a) == repr(b))
    if mine[0] != its[0] or len(mine[1]) != len(its[1]):
        return False
    return all(map(same, mine[1], its[1]))


def _same_array(a: Any, b: Any) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


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
    states = States(spec.places)
    variables = [*spec.variables, *spec.owners(inputs)]
    restore = list(map(_keep, variables))
    restore += [o.keep() for o in spec.optimizers]
    draws = Draws(spec.generators())
    since = next_number()
    program = _run_program(spec, inputs, since, variables)
    states.restore()
    draws.restore()
    for put_back in reversed(restore):
        put_back()
    for hook in hooks:
        hook.replay()
    result = call.eagerly()
    if program is None:
        return result, "an error that only the program raised"
    eager = Outcome(spec, result, _gradients(spec, result, inputs, since), variables)
    return result, eager.difference(program)


def _keep(p: Variable) -> Callable[[], None]:
    """A function that puts a Variable's value, place and gradient back as they are now."""
    raw = p._raw
    copy = np.copy(raw)
    before = (p._node, p._leaf, p._grad)
    stale = [leaf for leaf in before[:2] if type(leaf) is Leaf]

    def restore() -> None:
        p._raw = raw
        if isinstance(raw, np.ndarray):
            raw[...] = copy
        p._node, p._leaf, p._grad = before
        for leaf in stale:
            leaf.stale = False

    return restore


def _without_graphs(x: Any) -> Any:
    """A result with arrays in place of Variables: after a step that learns they have no graph."""
    if isinstance(x, Variable):
        return np.asarray(x._raw)
    nest = parts_of(x)
    return x if nest is None else with_parts(x, [_without_graphs(part) for part in nest[1]])


def _run_program(
    spec: Specialization, inputs: Any, since: int, variables: Sequence[Variable]
) -> Outcome | None:
    result = spec.run(inputs)
    if result is MISS:
        return None
    return Outcome(spec, result, _gradients(spec, result, inputs, since), variables)


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
