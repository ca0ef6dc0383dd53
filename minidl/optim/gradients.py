"""StepGradients: what hooks read and write of one step, and the call of the hooks.

The built-in hooks are in hooks.py; when a step is made is decided in optimizer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import zeros
from minidl.optim.buffer import split

Params: TypeAlias = list[Variable]
Hook: TypeAlias = Callable[["StepGradients"], Any]
Hooks: TypeAlias = Hook | Iterable[Hook]


class StepGradients:
    """The gradients of one step, copied: what a hook reads and writes; ``p.grad`` stays as it is.

    ``params`` are the Variables of the step, of all groups, ``grads`` their gradients, views of the
    one buffer ``flat``, which is float32 for gradients of float16.
    """

    def __init__(self, params: Params, grads: list[Any]) -> None:
        self.params = params
        self.flat = np.concatenate([g.reshape(-1) for g in grads])
        if self.flat.dtype == np.float16:
            self.flat = self.flat.astype(np.float32)
        self.grads = split(self.flat, grads)


def gradients_of(ready: Params) -> list[Any]:
    """The gradients of parameters that have one, which nothing changes while a step is made."""
    grads = []
    for p in ready:
        g = p._grad._raw  # type: ignore[union-attr]  # those that are ready have one
        if getattr(g, "base", g) is not None:
            # A view may be of a parameter, whose values change before it is read.
            g = g.copy()
        grads.append(g)
    return grads


def run_hooks(
    where: str, hooks: list[Hook], params: Params, ready: Params
) -> tuple[Params, list[Any]]:
    """Who takes part after the hooks, and with which gradients.

    A hook with ``needs_all_parameters`` is given all, and chooses. It is
    ``minidl.distributed.AllReduce``: which have a gradient may differ between processes.
    """
    for hook in hooks:
        if getattr(hook, "needs_all_parameters", False):
            ready = [p for p in params if p._node is not None and not p.lazy]
    if not ready:
        return ready, []
    before = [p._raw for p in ready]
    gradients = StepGradients(ready, [_gradient_or_zeros(p) for p in ready])
    for hook in hooks:
        hook(gradients)
    for p, raw in zip(ready, before):
        if p.shape != np.shape(raw) or p.dtype != raw.dtype:
            raise ValueError(f"{where}: a hook gave a parameter another shape or dtype")
    return gradients.params, gradients.grads


def _gradient_or_zeros(p: Variable) -> Any:
    if p._grad is None:
        return zeros(p.shape, p.dtype, p)
    return p._grad._raw
