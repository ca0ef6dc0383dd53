"""The workloads in MyGrad: tensors with .backward(), updates on .data; it has no second order, so no W7 and W8.

The formulas are those of formulas.py, and MyGrad's own softmax_crossentropy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu, sigmoid
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks import formulas as f
from benchmarks.workloads import Array, Data, Step, turns

mg.turn_memory_guarding_off()  # which its manual advises where speed matters
VERSION = f"MyGrad {mg.__version__}"


def train(
    loss_of: Callable[..., Any],
    tensors: list[Any],
    batches: Iterator[Any],
    update: Callable[[], None],
) -> Step:
    def step() -> Any:
        for p in tensors:
            p.null_grad()
        loss = loss_of(tensors, *next(batches))
        loss.backward()
        update()
        return loss

    return step


def tensors_of(d: Data) -> list[Any]:
    return [mg.tensor(w.copy()) for w in d.weights]


def descend(
    loss_of: Callable[..., Any], tensors: list[Any], batches: Iterator[Any], lr: float
) -> Step:
    def update() -> None:
        for p in tensors:
            p.data -= lr * p.grad

    return train(loss_of, tensors, batches, update)


def adam(loss_of: Callable[..., Any], d: Data, batches: Iterator[Any], decay: float = 0.0) -> Step:
    tensors = tensors_of(d)
    optimizer = f.Adam([p.data for p in tensors], d.lr, decay)
    return train(loss_of, tensors, batches, lambda: optimizer.update([p.grad for p in tensors]))


def w1(d: Data) -> Step:
    return descend(lambda xs: f.rosenbrock(*xs), [mg.tensor(x) for x in d.start], repeat(()), d.lr)


def w2(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return f.squared(mg, f.mlp(ws, x, sigmoid), t)

    return descend(loss_of, tensors_of(d), turns(d), d.lr)


def classify(ws: Any, x: Any, t: Any) -> Any:
    return softmax_crossentropy(f.mlp(ws, x, relu), t)


def w3(d: Data) -> Step:
    return adam(classify, d, turns(d))


def w4(d: Data) -> Step:
    return adam(classify, d, turns(d), f.DECAY)


def time_first(a: Array) -> Array:
    return a.swapaxes(0, 1).copy()


def lstm(weights: Any, x: Any) -> list[Any]:
    """Slices of the product, as MyGrad has no split."""
    n = weights[1].shape[0]
    return f.lstm(mg, sigmoid, lambda z: [z[:, k * n : (k + 1) * n] for k in range(4)], weights, x)


def w5(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return f.squared(mg, mg.stack(lstm(ws, x)) @ ws[3] + ws[4], t)

    return descend(loss_of, tensors_of(d), turns(d, time_first, time_first), d.lr)


def w6(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return softmax_crossentropy(lstm(ws, x)[-1] @ ws[3] + ws[4], t)

    return adam(loss_of, d, turns(d, time_first, np.copy))


def w9(d: Data) -> Step:
    batches = turns(d, *[mg.tensor] * 3)

    def step() -> Any:
        inputs = next(batches)
        for p in inputs:
            p.null_grad()
        loss = f.fused_terms(mg, *inputs)
        loss.backward()
        return loss, *(p.grad for p in inputs)

    return step
