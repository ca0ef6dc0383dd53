"""Numbers of Python's that change from call to call: inputs of one program, as eagerly."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.compiler.agreement import same

F32 = np.linspace(0.5, 2.0, 6, dtype=np.float32).reshape(2, 3)
Number = Callable[[int], Any]
W = Parameter(F32[0].copy())

ONE_PROGRAM: dict[str, tuple[Callable[..., Any], Number]] = {
    "factor": (lambda x, k: x * k, lambda i: 0.1 * i),
    "on the left": (lambda x, k: k * x - k, lambda i: 0.1 * i),
    "whole numbers": (lambda x, k: x * k + k, lambda i: i + 2),
    "arithmetic": (lambda x, k: x * (1 - 0.9**k) / (k + 1), lambda i: i + 1),
    "a closed-over array": (lambda x, k: F32 * k + x, lambda i: 0.1 * i),
    "a loss": (lambda x, k: ((x @ W - 1) ** 2).sum() * k + k * (W * W).sum(), lambda i: 0.1 * i),
    "compared with arrays": (lambda x, k: np.where(x > k, x, k * 2), lambda i: 0.3 * i),
    "a power": (lambda x, k: x**k, lambda i: 0.5 + 0.1 * i),
    "maximum": (lambda x, k: np.maximum(x, k), lambda i: 0.3 * i),
    "a result": (lambda x, k: (x * k, k * 2, k), lambda i: 0.3 * i),
    "in a dict": (lambda x, k: x * k["rate"], lambda i: {"rate": 0.1 * i, "name": "a"}),
    "what it is": (lambda x, k: x * k if isinstance(k, float) else x, lambda i: 0.1 * i),
}
CONSTANTS: dict[str, tuple[Callable[..., Any], Number]] = {
    "a shape": (lambda x, k: x.reshape(-1, k), lambda i: (1, 2, 3, 6)[i % 4]),
    "an index": (lambda x, k: x[:, k], lambda i: i % 3),
    "a slice": (lambda x, k: x[:, :k], lambda i: i % 3 + 1),
    "a loop": (lambda x, k: sum(x * i for i in range(k)), lambda i: i % 3 + 1),
    "a branch": (lambda x, k: x if k > 0.5 else -x, lambda i: 0.25 * (i % 4)),
    "a truth": (lambda x, k: x * k if k else x, lambda i: 0.5 * (i % 3)),
    "a function of math": (lambda x, k: x * math.exp(k), lambda i: 0.5 * (i % 3)),
    "a number of NumPy": (lambda x, k: x * np.float32(k), lambda i: 0.5 * (i % 3)),
    "a ufunc": (lambda x, k: x * np.exp(k), lambda i: 0.5 * (i % 3)),
    "an axis": (lambda x, k: x.sum(k), lambda i: i % 2),
    "a setting": (lambda x, k: F.softmax(x, axis=k), lambda i: i % 2),
    "a filled array": (lambda x, k: x + np.full(3, k), lambda i: 0.5 * (i % 3)),
    "its type": (lambda x, k: x * k if type(k) is int else x, lambda i: i % 3),
    "text": (lambda x, k: {f"{k}": x}, lambda i: i % 3),
    "a key": (lambda x, k: x * {0: 1.0, 1: 2.0, 2: 3.0}[k], lambda i: i % 3),
    "a power of a Variable": (lambda x, k: (W**k).sum(), lambda i: 0.5 + 0.1 * i),
    "its attributes": (lambda x, k: x * k.real, lambda i: 0.5 * (i % 3)),
    "an array of it": (lambda x, k: x * np.array([k, 1.0, 2 * k]), lambda i: 0.5 * (i % 3)),
    "what is repeated": (lambda x, k: np.repeat(x, k), lambda i: i % 3 + 1),
    "one-hot": (lambda x, k: np.eye(k + 1)[0] * x.sum(), lambda i: i % 3 + 1),
    "a function of NumPy": (lambda x, k: np.nan_to_num(x, nan=k), lambda i: 0.5 * (i % 3)),
}


def calls(f: Callable[..., Any], number: Number) -> list[Any]:
    found = []
    for i in range(16):
        W.cleargrad()
        result = f(F32 + np.float32(i), number(i))
        if isinstance(result, Variable):
            result.backward()
            result = (result.data, W.grad.data)
        found.append(result)
    return found


@pytest.mark.parametrize("check", ["raise", "never"])
@pytest.mark.parametrize("name", ONE_PROGRAM)
def test_one_program_serves(name: str, check: Any) -> None:
    f, number = ONE_PROGRAM[name]
    compiled = minidl.compile(f, check=check)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(map(same, calls(compiled, number), calls(f, number)))
    assert compiled.status().count("program") == 2, (
        compiled.status()
    )  # the first one has a constant


@pytest.mark.parametrize("check", ["raise", "never"])
@pytest.mark.parametrize("name", CONSTANTS)
def test_what_decides_is_a_constant(name: str, check: Any) -> None:
    f, number = CONSTANTS[name]
    compiled = minidl.compile(f, check=check)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(map(same, calls(compiled, number), calls(f, number)))
    assert compiled.status().count("program") >= 2


@pytest.mark.parametrize("check", ["raise", "never"])
def test_numbers_that_are_kept(check: Any) -> None:
    class Model:
        def __init__(self) -> None:
            self.sum = 0
            self.last = 0.0
            self.w = Variable(np.float32(1.0))

        def step(self, x: Any, k: int) -> Any:
            self.sum += k
            self.last = k * 0.5
            self.w.data = k
            return (self.w * x).data

    def run(compile: bool) -> list[Any]:
        model = Model()
        step = minidl.compile(model.step, check=check) if compile else model.step
        return [(step(F32, i % 4), model.sum, model.last, model.w.data) for i in range(12)]

    assert same(run(True), run(False))


def test_dropout_at_an_annealed_rate() -> None:
    def run(compile: bool) -> list[Any]:
        minidl.seed(0)
        f = minidl.compile(F.dropout, check="never") if compile else F.dropout
        return [f(F32, 0.1 * (i % 3)) for i in range(9)]

    assert all(map(same, run(True), run(False)))


def test_a_step_with_a_rate_of_its_own() -> None:
    def run(check: Any) -> list[Any]:
        minidl.seed(0)
        model = layers.MLP([4, 1], in_features=3)

        def step(x: Any, rate: float, decay: float) -> Any:
            model.cleargrads()
            loss = (model(x) ** 2).mean() + decay * sum((p * p).sum() for p in model.parameters())
            loss.backward()
            for p in model.parameters():
                p.data -= rate * p.grad.data
            return loss

        f = minidl.compile(step, check=check) if check else step
        found = [f(F32, 0.1 / (1 + i), 0.01 * i).data for i in range(12)]
        if check:
            assert "eager" not in f.status()
        return [*found, *[p.data for p in model.parameters()]]

    for check in ("raise", "never"):
        assert all(map(same, run(check), run(None)))


def test_rates_of_groups_still_follow() -> None:
    model = layers.Linear(3, 2)
    learner = optim.SGD(model, lr=0.1)
    f = minidl.compile(lambda x, k: (model(x) * k).sum(), check="raise")
    for i in range(5):
        learner.cleargrads()
        f(F32, 1.0 + i).backward()
        learner.update()
    assert learner.t == 5
