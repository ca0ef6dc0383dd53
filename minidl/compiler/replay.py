"""Hooks of optimizers in a checked call: program and function both update, each hook is called once.

What is compared is in checks.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.variable import Variable


class _Use(NamedTuple):
    """What a hook was given and what it left, in copies."""

    given: list[Any]
    params: list[Variable]
    grads: list[Any]
    values: list[Any]

    def repeat(self, gradients: Any) -> None:
        """Leave the same again: gradients, and the values of parameters."""
        for p, value in zip(gradients.params, self.values, strict=True):
            p._raw = _write(p._raw, value)
        old = gradients.grads
        if len(old) != len(self.grads):
            gradients.params, gradients.grads = self.params, self.grads
            return
        gradients.params = self.params
        gradients.grads = [_write(g, new) for g, new in zip(old, self.grads)]


def _write(x: Any, new: Any) -> Any:
    """New numbers, in the place of old ones where these have one."""
    if not isinstance(x, np.ndarray) or x.shape != new.shape or x.dtype != new.dtype:
        return new[()]
    x[...] = new
    return x


class _Once:
    """A hook that is called for the program, and repeats for the function what it did then."""

    def __init__(self, hook: Any) -> None:
        self.hook = hook
        self.uses: list[_Use] = []
        self.replayed: list[_Use] = []

    def replay(self) -> None:
        """From now on repeat."""
        self.replayed[:] = self.uses

    def __call__(self, gradients: Any) -> None:
        given = [np.copy(g) for g in gradients.grads]
        params = gradients.params
        if self.replayed:
            use = self.replayed.pop(0)
            if _same(use.given, given):
                use.repeat(gradients)
                return
        self.hook(gradients)
        grads = [np.copy(g) for g in gradients.grads]
        values = [np.copy(p._raw) for p in params]
        self.uses.append(_Use(given, gradients.params, grads, values))


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(map(_same_bits, a, b))


def _same_bits(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


@contextmanager
def hooks_once(optimizers: Sequence[Any]) -> Iterator[list[_Once]]:
    """Let the optimizers' hooks be called once; those that ranks call together stay as they are."""
    before = [(o, list(o.hooks)) for o in optimizers if hasattr(o, "hooks")]
    once = {id(hook): _Once(hook) for _, hooks in before for hook in hooks if _is_alone(hook)}
    for o, hooks in before:
        o.hooks[:] = [once.get(id(hook), hook) for hook in hooks]
    wrapped = [(o, list(o.hooks)) for o, _ in before]
    try:
        yield list(once.values())
    finally:
        for (o, hooks), (_, given) in zip(before, wrapped, strict=True):
            if o.hooks == given:  # else the function has set others
                o.hooks[:] = hooks


def _is_alone(hook: Any) -> bool:
    return not getattr(hook, "needs_all_parameters", False)
