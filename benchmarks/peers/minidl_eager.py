"""The workloads in minidl, eager, as its README has users write them.

The models are layers; nothing here reaches below the public names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from benchmarks.formulas import DECAY, quartic, rosenbrock
from benchmarks.workloads import Data, Step
from minidl import Variable, layers, optim
from minidl import functions as F

VERSION = f"minidl {getattr(minidl, '__version__', 'of this checkout')}"


def w1(d: Data) -> Step:
    x0, x1, lr = Variable(d.start[0]), Variable(d.start[1]), d.lr

    def step() -> Any:
        x0.cleargrad()
        x1.cleargrad()
        loss = rosenbrock(x0, x1)
        loss.backward()
        x0.data -= lr * x0.grad
        x1.data -= lr * x1.grad
        return loss

    return step


def loaded(model: layers.Layer, d: Data) -> Any:
    for p, w in zip(model.parameters(), d.weights, strict=True):
        p.data = w.copy()
    return model


def train(
    model: layers.Layer,
    optimizer: optim.SGD | optim.Adam,
    loss_of: Callable[[Any, Any], Any],
    d: Data,
) -> Step:
    x, t = d.x, d.t

    def step() -> Any:
        optimizer.cleargrads()
        loss = loss_of(model(x), t)
        loss.backward()
        optimizer.update()
        return loss

    return step


def mlp(d: Data, activation: Callable[[Any], Any]) -> Any:
    sizes = [b.size for b in d.weights[1::2]]
    return loaded(layers.MLP(sizes, activation, in_features=d.x.shape[1]), d)


def w2(d: Data) -> Step:
    model = mlp(d, F.sigmoid)
    return train(model, optim.SGD(model, lr=d.lr), F.mean_squared_error, d)


def w3(d: Data) -> Step:
    model = mlp(d, F.relu)
    return train(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def w4(d: Data) -> Step:
    model = mlp(d, F.relu)
    return train(model, optim.AdamW(model, lr=d.lr, weight_decay=DECAY), F.cross_entropy, d)


def lstm(d: Data, *, return_sequences: bool) -> Any:
    w_x, w_h, w = d.weights[0], d.weights[1], d.weights[3]
    first = layers.LSTM(w_x.shape[0], w_h.shape[0], return_sequences=return_sequences)
    return loaded(layers.Sequential(first, layers.Linear(*w.shape)), d)


def w5(d: Data) -> Step:
    model = lstm(d, return_sequences=True)
    return train(model, optim.SGD(model, lr=d.lr), F.mean_squared_error, d)


def w6(d: Data) -> Step:
    model = lstm(d, return_sequences=False)
    return train(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def w10(d: Data) -> Step:
    model = lstm(d, return_sequences=False)
    return train(model, optim.Adam(model, lr=d.lr), F.mean_squared_error, d)


def gru(d: Data) -> Any:
    w_x, w_h, w = d.weights[0], d.weights[1], d.weights[4]
    first = layers.GRU(w_x.shape[0], w_h.shape[0], return_sequences=False)
    return loaded(layers.Sequential(first, layers.Linear(*w.shape)), d)


def w13(d: Data) -> Step:
    model = gru(d)
    return train(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def conv_net(d: Data) -> Any:
    return loaded(
        layers.Sequential(
            layers.Conv2d(1, 16, kernel=3, padding="same"),
            F.relu,
            layers.MaxPool2d(2),
            layers.Conv2d(16, 32, kernel=3, padding="same"),
            F.relu,
            layers.Flatten(),
            layers.Linear(512, 10),
        ),
        d,
    )


def w12(d: Data) -> Step:
    model = conv_net(d)
    return train(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d)


def language_model(d: Data) -> Any:
    return loaded(
        layers.Sequential(
            layers.Embedding(64, 64),
            layers.TransformerBlock(d.heads, causal=True, features=64),
            layers.Linear(64, 64),
        ),
        d,
    )


def w14(d: Data) -> Step:
    model = language_model(d)
    return train(model, optim.AdamW(model, lr=d.lr, weight_decay=DECAY), F.cross_entropy, d)


def w7(d: Data) -> dict[str, Step]:
    model, vectors = mlp(d, F.tanh), d.vectors
    params = model.parameters()
    ends = np.cumsum([0, *(w.size for w in d.weights)]).tolist()
    places = [(a, b, w.shape) for a, b, w in zip(ends, ends[1:], d.weights)]
    flat, vector = (np.concatenate([a.ravel() for a in arrays]) for arrays in (d.weights, vectors))

    def parts(a: Any) -> list[Any]:
        return [a[i:j].reshape(shape) for i, j, shape in places]

    def loss_of(a: Any) -> Any:
        w, b, w_out, b_out = parts(a)
        return F.cross_entropy(F.linear(F.tanh(F.linear(d.x, w, b)), w_out, b_out), d.t)

    def gradients() -> Any:
        gs = minidl.gradients(F.cross_entropy(model(d.x), d.t), params, create_graph=True)
        return minidl.gradients(sum((g * v).sum() for g, v in zip(gs, vectors)), params)

    return {"gradients": gradients, "hvp": lambda: parts(minidl.hvp(loss_of)(flat, vector))}


def w8(d: Data) -> Step:
    def step() -> Any:
        x, way = Variable(d.start), []
        for _ in range(d.steps):
            x.cleargrad()
            quartic(x).backward(create_graph=True)
            slope = x.grad
            x.cleargrad()
            slope.backward()
            x.data -= slope.data / x.grad.data
            way.append(x.item())
        return way

    return step


def w9(d: Data) -> Step:
    x, w, b = (Variable(a) for a in (d.x, d.w, d.b))

    def step() -> Any:
        for p in (x, w, b):
            p.cleargrad()
        loss = (np.tanh(x * w + b) * F.sigmoid(x) + np.exp(-x * x)).sum()
        loss.backward()
        return loss, x.grad, w.grad, b.grad

    return step
