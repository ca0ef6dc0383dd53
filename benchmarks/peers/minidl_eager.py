"""The workloads in minidl, eager, as its README has users write them.

The models are layers; nothing here reaches below the public names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from benchmarks.formulas import DECAY, quartic, rosenbrock
from benchmarks.workloads import Data, Step, on_turns, turns
from minidl import Trainer, Variable, layers, no_grad, optim, test_mode
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
    batches = turns(d)

    def step() -> Any:
        x, t = next(batches)
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

    def loss_of(a: Any, x: Any, t: Any) -> Any:
        w, b, w_out, b_out = parts(a)
        return F.cross_entropy(F.linear(F.tanh(F.linear(x, w, b)), w_out, b_out), t)

    def gradients(x: Any, t: Any) -> Any:
        gs = minidl.gradients(F.cross_entropy(model(x), t), params, create_graph=True)
        return minidl.gradients(sum((g * v).sum() for g, v in zip(gs, vectors)), params)

    def product(x: Any, t: Any) -> Any:
        return parts(minidl.hvp(lambda a: loss_of(a, x, t))(flat, vector))

    return {"gradients": on_turns(gradients, d), "hvp": on_turns(product, d)}


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
    batches = turns(d, Variable, Variable, Variable)

    def step() -> Any:
        x, w, b = next(batches)
        for p in (x, w, b):
            p.cleargrad()
        loss = (np.tanh(x * w + b) * F.sigmoid(x) + np.exp(-x * x)).sum()
        loss.backward()
        return loss, x.grad, w.grad, b.grad

    return step


def w11(d: Data) -> Step:
    model, batches = mlp(d, F.relu), turns(d)

    def step() -> Any:
        with no_grad(), test_mode():
            return model(next(batches)[0]).data

    return step


def w11t(d: Data) -> Step:
    model, batches = mlp(d, F.relu), turns(d)
    trainer = Trainer(model, optim.SGD(model), F.cross_entropy)
    return lambda: trainer.predict(next(batches)[0])


def runge_kutta(slope: Callable[[Any], Any], y: Any, dt: Any) -> tuple[Any, None]:
    """One step from y; there is no output besides."""
    k_1 = slope(y)
    k_2 = slope(y + dt / 2 * k_1)
    k_3 = slope(y + dt / 2 * k_2)
    k_4 = slope(y + dt * k_3)
    return y + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4), None


def w15(d: Data) -> Step:
    model, batches = mlp(d, F.tanh), turns(d)
    params, times = model.parameters(), np.full(d.steps, d.dt, np.float32)

    def step() -> Any:
        x, t = next(batches)
        y, _ = F.scan(lambda y, dt: runge_kutta(model, y, dt), x, times)
        loss = F.mean_squared_error(y, t)
        return loss, *minidl.gradients(loss, params)

    return step
