"""The workloads in MyGrad: tensors with .backward(), updates on .data; it has no second order, so no W7 and W8.

The formulas are those of formulas.py, and MyGrad's own softmax_crossentropy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
from mygrad.nnet.activations import relu, sigmoid
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks import formulas as f
from benchmarks.workloads import Data, Step

mg.turn_memory_guarding_off()  # which its manual advises where speed matters
VERSION = f"MyGrad {mg.__version__}"


def train(loss_of: Callable[[Any], Any], tensors: list[Any], update: Callable[[], None]) -> Step:
    def step() -> Any:
        for p in tensors:
            p.null_grad()
        loss = loss_of(tensors)
        loss.backward()
        update()
        return loss

    return step


def tensors_of(d: Data) -> list[Any]:
    return [mg.tensor(w.copy()) for w in d.weights]


def descend(loss_of: Callable[[Any], Any], tensors: list[Any], lr: float) -> Step:
    def update() -> None:
        for p in tensors:
            p.data -= lr * p.grad

    return train(loss_of, tensors, update)


def adam(loss_of: Callable[[Any], Any], d: Data, decay: float = 0.0) -> Step:
    tensors = tensors_of(d)
    optimizer = f.Adam([p.data for p in tensors], d.lr, decay)
    return train(loss_of, tensors, lambda: optimizer.update([p.grad for p in tensors]))


def w1(d: Data) -> Step:
    return descend(lambda xs: f.rosenbrock(*xs), [mg.tensor(x) for x in d.start], d.lr)


def w2(d: Data) -> Step:
    return descend(lambda ws: f.squared(mg, f.mlp(ws, d.x, sigmoid), d.t), tensors_of(d), d.lr)


def w3(d: Data) -> Step:
    return adam(lambda ws: softmax_crossentropy(f.mlp(ws, d.x, relu), d.t), d)


def w4(d: Data) -> Step:
    return adam(lambda ws: softmax_crossentropy(f.mlp(ws, d.x, relu), d.t), d, f.DECAY)


def lstm(weights: Any, x: Any) -> list[Any]:
    """Slices of the product, as MyGrad has no split."""
    n = weights[1].shape[0]
    return f.lstm(mg, sigmoid, lambda z: [z[:, k * n : (k + 1) * n] for k in range(4)], weights, x)


def w5(d: Data) -> Step:
    x, t = (a.swapaxes(0, 1).copy() for a in (d.x, d.t))
    return descend(
        lambda ws: f.squared(mg, mg.stack(lstm(ws, x)) @ ws[3] + ws[4], t), tensors_of(d), d.lr
    )


def w6(d: Data) -> Step:
    x = d.x.swapaxes(0, 1).copy()
    return adam(lambda ws: softmax_crossentropy(lstm(ws, x)[-1] @ ws[3] + ws[4], d.t), d)


def w9(d: Data) -> Step:
    inputs = [mg.tensor(a) for a in (d.x, d.w, d.b)]
    step = train(lambda xs: f.fused_terms(mg, *xs), inputs, lambda: None)
    return lambda: (step(), *(p.grad for p in inputs))
