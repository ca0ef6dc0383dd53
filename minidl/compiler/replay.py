"""Hooks of optimizers in a checked call: program and function both update, each hook is called once.

What is compared is in checks.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.compiler.standin import same_elements
from minidl.optim.optimizer import Optimizer


class _Use:
    """What a hook was given and what it left, in copies."""

    def __init__(self, gradients: Any) -> None:
        self.given = _copies(gradients.grads)
        self.given_to: list[Variable] = gradients.params
        self.params: list[Variable] = []
        self.grads: list[Any] = []
        self.values: list[Any] = []

    def end(self, gradients: Any) -> None:
        """Note what the hook left."""
        self.params = gradients.params
        self.grads = _copies(gradients.grads)
        self.values = _copies([p._raw for p in self.given_to])

    def is_of(self, gradients: Any) -> bool:
        """Whether these are the gradients that the hook was given."""
        now = gradients.grads
        return len(now) == len(self.given) and all(map(_is_same, self.given, now))

    def repeat(self, gradients: Any) -> None:
        """Leave the same again: gradients, and the values of parameters."""
        for p, value in zip(gradients.params, self.values, strict=True):
            p._raw = _write(p._raw, value)
        gradients.params = self.params
        if len(gradients.grads) == len(self.grads):
            gradients.grads = list(map(_write, gradients.grads, self.grads))
        else:
            gradients.grads = self.grads


def _copies(arrays: Sequence[Any]) -> list[Any]:
    return list(map(np.copy, arrays))


def _write(x: Any, new: Any) -> Any:
    """New numbers, in the place of old ones where these have one."""
    if not isinstance(x, np.ndarray) or x.shape != new.shape or x.dtype != new.dtype:
        return new[()]
    x[...] = new
    return x


def _is_same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and same_elements(a, b)


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
        if self.replayed:
            before = self.replayed.pop(0)
            if before.is_of(gradients):
                before.repeat(gradients)
                return
        use = _Use(gradients)
        self.hook(gradients)
        use.end(gradients)
        self.uses.append(use)


@contextmanager
def hooks_once(optimizers: Sequence[Optimizer]) -> Iterator[list[_Once]]:
    """Let the optimizers' hooks be called once; those that ranks call together stay as they are."""
    once: dict[int, _Once] = {}
    replaced = []
    for optimizer in optimizers:
        hooks = list(optimizer.hooks)
        for hook in hooks:
            if not getattr(hook, "needs_all_parameters", False):
                once.setdefault(id(hook), _Once(hook))
        given = [once.get(id(hook), hook) for hook in hooks]
        optimizer.hooks[:] = given
        replaced.append((optimizer, hooks, given))
    try:
        yield list(once.values())
    finally:
        for optimizer, hooks, given in replaced:
            if optimizer.hooks == given:  # else the function has set others
                optimizer.hooks[:] = hooks
