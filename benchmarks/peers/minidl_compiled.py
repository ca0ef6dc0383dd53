"""The workloads in minidl with minidl.compile: the same loops, around compiled losses.

What is not compiled (models, optimizers, how weights are loaded) is in minidl_eager.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from benchmarks.formulas import DECAY, quartic, rosenbrock
from benchmarks.peers.minidl_eager import (
    VERSION,
    conv_net,
    gru,
    language_model,
    lstm,
    mlp,
    train,
)
from benchmarks.workloads import Data, Step
from minidl import Variable, layers, optim
from minidl import functions as F

__all__ = ["VERSION"]


def w1(d: Data) -> Step:
    x0, x1, lr = Variable(d.start[0]), Variable(d.start[1]), d.lr
    loss_of = minidl.compile(lambda: rosenbrock(x0, x1))

    def step() -> Any:
        x0.cleargrad()
        x1.cleargrad()
        loss = loss_of()
        loss.backward()
        x0.data -= lr * x0.grad
        x1.data -= lr * x1.grad
        return loss

    return step


def compiled(model: layers.Layer, optimizer: Any, loss: Callable[[Any, Any], Any], d: Data) -> Step:
    loss_of = minidl.compile(lambda x, t: loss(model(x), t))
    return train(lambda x: x, optimizer, lambda x, t: loss_of(x, t), d)  # type: ignore[arg-type]  # the model is inside


def w2(d: Data) -> Step:
    model = mlp(d, F.sigmoid)
    return compiled(model, optim.SGD(model, lr=d.lr), F.mean_squared_error, d)


def w3(d: Data) -> Step:
    model = mlp(d, F.relu)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def w4(d: Data) -> Step:
    model = mlp(d, F.relu)
    return compiled(model, optim.AdamW(model, lr=d.lr, weight_decay=DECAY), F.cross_entropy, d)


def w5(d: Data) -> Step:
    model = lstm(d, return_sequences=True)
    return compiled(model, optim.SGD(model, lr=d.lr), F.mean_squared_error, d)


def w6(d: Data) -> Step:
    model = lstm(d, return_sequences=False)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def w10(d: Data) -> Step:
    model = lstm(d, return_sequences=False)
    return compiled(model, optim.Adam(model, lr=d.lr), F.mean_squared_error, d)


def w13(d: Data) -> Step:
    model = gru(d)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def w12(d: Data) -> Step:
    model = conv_net(d)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def w14(d: Data) -> Step:
    model = language_model(d)
    return compiled(model, optim.AdamW(model, lr=d.lr, weight_decay=DECAY), F.cross_entropy, d)


def w7(d: Data) -> Step:
    model, vectors = mlp(d, F.tanh), d.vectors
    params = model.parameters()

    @minidl.compile
    def product(x: Any, t: Any, vectors: Any) -> Any:
        gs = minidl.gradients(F.cross_entropy(model(x), t), params, create_graph=True)
        return minidl.gradients(sum((g * v).sum() for g, v in zip(gs, vectors)), params)

    return lambda: product(d.x, d.t, vectors)


def w8(d: Data) -> dict[str, Step]:
    slope = minidl.grad(quartic)
    start = np.float64(d.start)  # a number of Python is a constant of a program
    newton = minidl.compile(lambda x: x - slope(x) / minidl.grad(slope)(x))

    @minidl.compile
    def all_of_them(x: Any) -> Any:
        way = []
        for _ in range(d.steps):
            x = x - slope(x) / minidl.grad(slope)(x)
            way.append(x)
        return way

    def one_by_one() -> Any:
        x, way = start, []
        for _ in range(d.steps):
            x = newton(x)
            way.append(x)
        return way

    return {"a call a step": one_by_one, "one call": lambda: all_of_them(start)}


def w9(d: Data) -> Step:
    x, w, b = (Variable(a) for a in (d.x, d.w, d.b))
    loss_of = minidl.compile(
        lambda x, w, b: (F.tanh(x * w + b) * F.sigmoid(x) + F.exp(-x * x)).sum()
    )

    def step() -> Any:
        for p in (x, w, b):
            p.cleargrad()
        loss = loss_of(x, w, b)
        loss.backward()
        return loss, x.grad, w.grad, b.grad

    return step
