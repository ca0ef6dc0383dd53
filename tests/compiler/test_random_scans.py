"""Random bodies of F.scan: compiled, every loss and gradient has the bits of the eager one."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable
from minidl import functions as F

STEPS: list[Callable[[Any, Any, Any, Any], Any]] = [
    lambda a, b, w, v: np.tanh(a @ w),
    lambda a, b, w, v: (a @ w.T) * 0.5,
    lambda a, b, w, v: a * b,
    lambda a, b, w, v: a - 0.5 * b,
    lambda a, b, w, v: F.sigmoid(a) * v,
    lambda a, b, w, v: np.where(a > 0, a, b),
    lambda a, b, w, v: F.relu(a) + b.mean(axis=1, keepdims=True),
    lambda a, b, w, v: np.concatenate([a[:, :1], b[:, 1:]], axis=1),
    lambda a, b, w, v: F.softmax(a),
]


class RandomScan:
    """A loss of a scan: some states and slices have graphs, some results are used."""

    def __init__(self, seed: int) -> None:
        choose = random.Random(seed)
        generator = np.random.default_rng(seed)

        def array(*shape: int) -> Any:
            return generator.standard_normal(shape) * 0.5

        def maybe(x: Any) -> Any:
            return Parameter(x) if choose.random() < 0.5 else x

        self.weights = [Parameter(array(3, 3)) for _ in range(2)]
        self.v = Parameter(array(3))
        n = choose.choice([2, 3, 9, 40])
        self.xs = [maybe(array(n, 2, 3)) for _ in range(choose.randint(1, 2))]
        self.begin = [maybe(array(2, 3)) for _ in range(choose.randint(1, 3))]
        width = len(self.xs) + len(self.begin)
        self.plan: list[tuple[Any, int, int, Any]] = []
        for made in range(choose.randint(2, 8)):
            i = choose.randrange(width + made)
            j = choose.randrange(width + made)
            self.plan.append((choose.choice(STEPS), i, j, choose.choice(self.weights)))
        total = width + len(self.plan)
        self.new = [choose.randrange(total) for _ in self.begin]
        self.ys = [choose.randrange(total) for _ in range(choose.randint(0, 2))]
        self.used = [choose.random() < 0.7 for _ in (*self.new, *self.ys)]
        self.used[0] = True
        self.decay = choose.random() < 0.4

    def step(self, state: Any, row: Any) -> Any:
        values = [*state, *row]
        for function, i, j, w in self.plan:
            values.append(function(values[i], values[j], w, self.v))
        return [np.tanh(values[i]) if i % 2 else values[i] for i in self.new], [
            values[i] for i in self.ys
        ]

    def loss(self) -> Any:
        state, ys = F.scan(self.step, list(self.begin), list(self.xs))
        total = (self.v * self.v).sum() if self.decay else self.v.sum() * 0.0
        for used, x in zip(self.used, [*state, *ys], strict=True):
            total = total + (x * x).sum() if used else total
        return total + (self.weights[0] ** 2).sum() if self.decay else total

    def bits(self, loss: Callable[[], Any]) -> list[Any]:
        params = [x for x in (*self.weights, self.v, *self.xs, *self.begin) if type(x) is Parameter]
        for p in params:
            p.cleargrad()
        y = loss()
        assert isinstance(y, Variable)
        y.backward()
        return [
            y.data.tobytes(),
            *[p.grad if p.grad is None else p.grad.data.tobytes() for p in params],
        ]


@pytest.mark.parametrize("seed", range(60))
def test_random_scans(seed: int) -> None:
    case = RandomScan(seed)
    f = minidl.compile(case.loss, check="never")
    eager = case.bits(case.loss)
    for _ in range(3):
        assert case.bits(f) == eager


def test_most_of_them_are_one_step() -> None:
    rolled = 0
    for seed in range(40):
        f = minidl.compile(RandomScan(seed).loss, check="never")
        rolled += " times:" in str(f.program())
    assert rolled > 20
