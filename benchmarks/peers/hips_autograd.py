"""The workloads in HIPS autograd: its NumPy, value_and_grad of a loss, updates on plain arrays.

The formulas are those of formulas.py, which is how its users write them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_hvp, value_and_grad

from benchmarks import formulas as f
from benchmarks.workloads import Array, Data, Step, turns

VERSION = f"autograd {version('autograd')}"


def w1(d: Data) -> Step:
    x0, x1 = d.start
    both = value_and_grad(f.rosenbrock, argnum=(0, 1))

    def step() -> Any:
        nonlocal x0, x1
        loss, (g0, g1) = both(x0, x1)
        x0, x1 = x0 - d.lr * g0, x1 - d.lr * g1
        return loss

    return step


def descend(loss_of: Callable[..., Any], d: Data, batches: Iterator[Any]) -> Step:
    both, weights = value_and_grad(loss_of), [w.copy() for w in d.weights]

    def step() -> Any:
        loss, grads = both(weights, *next(batches))
        for w, g in zip(weights, grads):
            w -= d.lr * g
        return loss

    return step


def adam(loss_of: Callable[..., Any], d: Data, batches: Iterator[Any], decay: float = 0.0) -> Step:
    both, weights = value_and_grad(loss_of), [w.copy() for w in d.weights]
    optimizer = f.Adam(weights, d.lr, decay)

    def step() -> Any:
        loss, grads = both(weights, *next(batches))
        optimizer.update(grads)
        return loss

    return step


def sigmoid(x: Any) -> Any:
    return f.sigmoid(anp, x)


def relu(x: Any) -> Any:
    return anp.maximum(x, 0)


def w2(d: Data) -> Step:
    return descend(lambda ws, x, t: f.squared(anp, f.mlp(ws, x, sigmoid), t), d, turns(d))


def w3(d: Data) -> Step:
    return adam(lambda ws, x, t: f.cross_entropy(anp, f.mlp(ws, x, relu), t), d, turns(d))


def w4(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return f.cross_entropy(anp, f.mlp(ws, x, relu), t)

    return adam(loss_of, d, turns(d), f.DECAY)


def time_first(a: Array) -> Array:
    return a.swapaxes(0, 1).copy()


def lstm(weights: Any, x: Any) -> list[Any]:
    return f.lstm(anp, sigmoid, lambda z: anp.split(z, 4, axis=1), weights, x)


def w5(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return f.squared(anp, anp.stack(lstm(ws, x)) @ ws[3] + ws[4], t)

    return descend(loss_of, d, turns(d, time_first, time_first))


def w6(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return f.cross_entropy(anp, lstm(ws, x)[-1] @ ws[3] + ws[4], t)

    return adam(loss_of, d, turns(d, time_first, np.copy))


def w7(d: Data) -> Step:
    batches = turns(d)
    product = make_hvp(lambda ws, x, t: f.cross_entropy(anp, f.mlp(ws, x, anp.tanh), t))
    return lambda: product(d.weights, *next(batches))[0](d.vectors)


def w8(d: Data) -> Step:
    slope, curvature = grad(f.quartic), grad(grad(f.quartic))

    def step() -> Any:
        x, way = d.start, []
        for _ in range(d.steps):
            x = x - slope(x) / curvature(x)
            way.append(x)
        return way

    return step


def w9(d: Data) -> Step:
    both, batches = value_and_grad(lambda *xs: f.fused_terms(anp, *xs), argnum=(0, 1, 2)), turns(d)

    def step() -> Any:
        loss, grads = both(*next(batches))
        return loss, *grads

    return step
