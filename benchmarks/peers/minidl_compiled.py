"""The workloads in minidl with minidl.compile: whole steps as they stand in the loop, compiled.

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
    runge_kutta,
)
from benchmarks.workloads import Data, Step, turns
from minidl import Variable, layers, no_grad, optim, test_mode
from minidl import functions as F

__all__ = ["VERSION"]

Program = Callable[[Any], Any]  # what makes a program of a function: that of minidl_c.py is another


def w1(d: Data, program: Program = minidl.compile) -> Step:
    x0, x1, lr = Variable(d.start[0]), Variable(d.start[1]), d.lr

    @program
    def step() -> Any:
        x0.cleargrad()
        x1.cleargrad()
        loss = rosenbrock(x0, x1)
        loss.backward()
        x0.data -= lr * x0.grad
        x1.data -= lr * x1.grad
        return loss

    return step  # type: ignore[no-any-return]  # a compiled function is called as the function


def compiled(
    model: layers.Layer,
    optimizer: Any,
    loss: Callable[[Any, Any], Any],
    d: Data,
    program: Program,
) -> Step:
    batches = turns(d)

    @program
    def step(x: Any, t: Any) -> Any:
        optimizer.cleargrads()
        value = loss(model(x), t)
        value.backward()
        optimizer.update()
        return value

    return lambda: step(*next(batches))


def w2(d: Data, program: Program = minidl.compile) -> Step:
    model = mlp(d, F.sigmoid)
    return compiled(model, optim.SGD(model, lr=d.lr), F.mean_squared_error, d, program)


def w3(d: Data, program: Program = minidl.compile) -> Step:
    model = mlp(d, F.relu)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d, program)


def w4(d: Data, program: Program = minidl.compile) -> Step:
    model = mlp(d, F.relu)
    return compiled(
        model, optim.AdamW(model, lr=d.lr, weight_decay=DECAY), F.cross_entropy, d, program
    )


def w5(d: Data, program: Program = minidl.compile) -> Step:
    model = lstm(d, return_sequences=True)
    return compiled(model, optim.SGD(model, lr=d.lr), F.mean_squared_error, d, program)


def w6(d: Data, program: Program = minidl.compile) -> Step:
    model = lstm(d, return_sequences=False)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d, program)


def w10(d: Data, program: Program = minidl.compile) -> Step:
    model = lstm(d, return_sequences=False)
    return compiled(model, optim.Adam(model, lr=d.lr), F.mean_squared_error, d, program)


def w13(d: Data, program: Program = minidl.compile) -> Step:
    model = gru(d)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d, program)


def w12(d: Data, program: Program = minidl.compile) -> Step:
    model = conv_net(d)
    return compiled(model, optim.Adam(model, lr=d.lr), F.cross_entropy, d, program)


def w14(d: Data, program: Program = minidl.compile) -> Step:
    model = language_model(d)
    return compiled(
        model, optim.AdamW(model, lr=d.lr, weight_decay=DECAY), F.cross_entropy, d, program
    )


def w7(d: Data, program: Program = minidl.compile) -> Step:
    model, vectors, batches = mlp(d, F.tanh), d.vectors, turns(d)
    params = model.parameters()

    @program
    def product(x: Any, t: Any, vectors: Any) -> Any:
        gs = minidl.gradients(F.cross_entropy(model(x), t), params, create_graph=True)
        return minidl.gradients(sum((g * v).sum() for g, v in zip(gs, vectors)), params)

    return lambda: product(*next(batches), vectors)


def w8(d: Data, program: Program = minidl.compile) -> dict[str, Step]:
    slope = minidl.grad(quartic)
    start = np.float64(d.start)  # a number of Python is a constant of a program
    newton = program(lambda x: x - slope(x) / minidl.grad(slope)(x))

    @program
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


def w9(d: Data, program: Program = minidl.compile) -> Step:
    batches = turns(d)

    def loss_of(x: Any, w: Any, b: Any) -> Any:
        return (F.tanh(x * w + b) * F.sigmoid(x) + F.exp(-x * x)).sum()

    both = program(minidl.value_and_grad(loss_of, argnum=(0, 1, 2)))

    def step() -> Any:
        loss, gradients = both(*next(batches))
        return loss, *gradients

    return step


def w11(d: Data, program: Program = minidl.compile) -> Step:
    model, batches = program(mlp(d, F.relu)), turns(d)

    def step() -> Any:
        with no_grad(), test_mode():
            return model(next(batches)[0]).data

    return step


def w15(d: Data, program: Program = minidl.compile) -> Step:
    model, batches = mlp(d, F.tanh), turns(d)
    params, times = model.parameters(), np.full(d.steps, d.dt, np.float32)

    @program
    def gradients(x: Any, t: Any) -> Any:
        y, _ = F.scan(lambda y, dt: runge_kutta(model, y, dt), x, times)
        loss = F.mean_squared_error(y, t)
        return loss, *minidl.gradients(loss, params)

    return lambda: gradients(*next(batches))
