"""A recording that is given up, at whatever point, is the eager call: results, gradients, states.

What makes a function go on eagerly is in test_prevention.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.compiler.agreement import same
from minidl.compiler.updates import StepRecorder

# A step, and what there is to compare after it.
Made = tuple[Callable[[], Any], Callable[[], Any]]


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def plain(x: Any) -> Any:
    if isinstance(x, Variable):
        return x._raw
    return [plain(part) for part in x] if isinstance(x, list | tuple) else x


def training(model: Any, x: Any, t: Any, loss: Any = F.mean_squared_error) -> Made:
    optimizer = optim.Adam(model, lr=0.1)
    optimizer.hooks.append(optim.hooks.ClipGrad(1.0))

    def step() -> Any:
        optimizer.cleargrads()
        y = loss(model(x), t)
        y.backward()
        optimizer.update()
        return y

    def left() -> Any:
        grads = [p.grad for p in model.parameters()]
        return [list(model.state_dict().values()), grads, optimizer.t]

    return step, left


def mlp() -> Made:
    model = layers.Sequential(layers.Linear(3, 4), F.tanh, layers.Dropout(0.5), layers.Linear(4, 2))
    return training(model, normal(5, 3), np.arange(5) % 2, F.cross_entropy)


def stateful() -> Made:
    model = layers.Sequential(
        layers.LSTM(3, 4, stateful=True, return_sequences=True), layers.Linear(4, 2)
    )
    return training(model, normal(5, 6, 3), normal(5, 6, 2))


def batch_norm() -> Made:
    model = layers.Sequential(layers.Linear(3, 4), layers.BatchNorm(4), layers.Linear(4, 2))
    return training(model, normal(5, 3), normal(5, 2))


def gradient_penalty() -> Made:
    w = Parameter(normal(3, 1))

    def step() -> Any:
        w.cleargrad()
        x = Variable(normal(5, 3))
        y = F.tanh(x @ w).sum()
        (gx,) = minidl.gradients(y, [x], create_graph=True)
        loss = y + ((gx**2).sum() - 1) ** 2
        loss.backward()
        return loss

    return step, lambda: w.grad


def penalty_on_weights() -> Made:
    w = Parameter(normal(3, 1))
    x = normal(5, 3)

    def step() -> Any:
        w.cleargrad()
        y = F.sigmoid(x @ w).sum()
        (gw,) = minidl.gradients(y, [w], create_graph=True)
        loss = y + (gw * gw).sum()
        loss.backward()
        return loss

    return step, lambda: w.grad


def transforms() -> Made:
    x = normal(4)

    def f(x: Any) -> Any:
        return (F.sin(x) * np.exp(-x * x)).sum()

    def step() -> Any:
        value, gradient = minidl.value_and_grad(f)(x)
        return value, gradient, minidl.hessian(f)(x)

    return step, lambda: None


def two_losses() -> Made:
    w = Parameter(normal(3, 2))
    x = normal(5, 3)

    def step() -> Any:
        w.cleargrad()
        y = x @ w
        first = (y * y).mean()
        first.backward(retain_graph=True)
        second = abs(y).sum() + w.detach().sum()
        second.backward()
        return first, second

    return step, lambda: w.grad


def in_place_arithmetic() -> Made:
    x = normal(6)

    def step() -> Any:
        total = x * 2
        total += np.abs(x)
        total *= 0.5
        return total, total.sum()

    return step, lambda: x


MADE = [
    mlp,
    stateful,
    batch_norm,
    gradient_penalty,
    penalty_on_weights,
    transforms,
    two_losses,
    in_place_arithmetic,
]


def outcome(make: Callable[[], Made], compiled: bool) -> Any:
    """Two steps' results, and what they left; the first one is recorded, the second eager."""
    minidl.seed(0)
    step, left = make()
    step = minidl.compile(step) if compiled else step
    found = []
    for _ in range(2):
        found.append([plain(step()), plain(left())])
        assert all(type(x) is not Variable for x in found)
    return found


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:.*goes on eagerly")
def test_a_recording_may_stop_anywhere(
    make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = StepRecorder.apply
    count = 0
    stops_at = -1

    def counted(self: Any, *args: Any) -> Any:
        nonlocal count
        count += 1
        if count == stops_at:
            self.stop("it was told to")
        return apply(self, *args)

    monkeypatch.setattr(StepRecorder, "apply", counted)
    want = outcome(make, compiled=False)
    assert same(outcome(make, compiled=True), want)
    for stops_at in range(1, count + 1, 1 + count // 50):
        count = 0
        assert same(outcome(make, compiled=True), want), f"stopped at application {stops_at}"
