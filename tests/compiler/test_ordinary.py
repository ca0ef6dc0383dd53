"""Ordinary programs, as users write them: each must be compiled, and right at every call.

Programs that have to run eagerly are in test_prevention.py.
"""

import dataclasses
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers
from minidl import functions as F
from minidl.compiler.agreement import same

# A function, the arguments of its call number i, and what happens before that call.
Made = tuple[Callable[..., Any], Callable[[int], Any], Callable[[int], object] | None]
PROGRAMS: list[Callable[[], Made]] = []


def prog(make: Callable[[], Made]) -> Callable[[], Made]:
    PROGRAMS.append(make)
    return make


RNG = np.random.default_rng(0)


def N(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


@prog
def closure_setting() -> Made:
    s = {"k": 1.0}
    m = layers.MLP([8, 3], in_features=4)
    return (
        (lambda x: m(x).sum() * s["k"]),
        (lambda i: (N(5, 4),)),
        (lambda i: s.update(k=float(i // 10))),
    )


@prog
def closure_float() -> Made:
    k = 1.0

    def f(x):
        return F.tanh(x * k).sum()

    def bet(i):
        nonlocal k
        k = float(i // 12) + 0.5

    return f, (lambda i: (Variable(N(50)),)), bet


@prog
def dict_arg() -> Made:
    m = layers.Linear(4, 2)
    return (
        (lambda b: F.mean_squared_error(m(b["x"]), b["y"])),
        (lambda i: ({"x": N(5, 4), "y": N(5, 2)},)),
        None,
    )


@prog
def list_arg() -> Made:
    m = layers.Linear(4, 2)
    return (lambda b: sum(m(x).sum() for x in b)), (lambda i: ([N(5, 4), N(3, 4)],)), None


@prog
def method() -> Made:
    class T:
        def __init__(self):
            self.m = layers.MLP([8, 1], in_features=3)
            self.scale = 2.0
            self.hist = []

        def loss(self, x, t):
            return F.mean_squared_error(self.m(x), t) * self.scale

    t = T()
    return t.loss, (lambda i: (N(6, 3), N(6, 1))), (lambda i: t.hist.append(i))


@prog
def nested() -> Made:
    w = Parameter(N(3, 3))

    def layer(x):
        return F.relu(x @ w)

    def f(x):
        def inner(z):
            return layer(z) + z

        for _ in range(3):
            x = inner(x)
        return x.sum()

    return f, (lambda i: (N(4, 3),)), None


@prog
def carried() -> Made:
    m = layers.LSTM(3, 4)
    return (
        (lambda x: m(x).sum()),
        (lambda i: (N(2, 3),)),
        (lambda i: m.reset_state() if i % 5 == 0 else None),
    )


@prog
def dropout() -> Made:
    m = layers.Sequential(layers.Linear(4, 8), F.relu, layers.Dropout(0.5), layers.Linear(8, 2))
    return (lambda x: m(x).sum()), (lambda i: (N(4, 4),)), None


@prog
def result_dict() -> Made:
    m = layers.Linear(4, 2)
    return (lambda x: {"pred": m(x), "norm": (x**2).sum()}), (lambda i: (N(4, 4),)), None


@dataclasses.dataclass
class Out:
    loss: object
    pred: object
    name: str = "a"


@prog
def result_dataclass() -> Made:
    m = layers.Linear(4, 2)
    return (lambda x: Out(m(x).sum(), m(x))), (lambda i: (N(4, 4),)), None


@prog
def result_namespace() -> Made:
    return (lambda x: types.SimpleNamespace(a=x * 2, b=x.sum())), (lambda i: (N(4, 4),)), None


@prog
def plain_numpy() -> Made:
    return (
        (lambda x, y: np.exp(-((x[:, None] - y[None]) ** 2).sum(-1))),
        (lambda i: (N(4, 4), N(3, 4))),
        None,
    )


@prog
def plain_methods() -> Made:
    return (lambda x: (x - x.mean(0)) / (x.std(0) + 1e-5)), (lambda i: (N(4, 4),)), None


@prog
def grads() -> Made:
    return minidl.grad(lambda x: (F.tanh(x) ** 2).sum()), (lambda i: (N(5),)), None


@prog
def constants_inside() -> Made:
    def f(x):
        h = np.zeros((x.shape[0], 3), np.float32)
        eye = np.eye(3, dtype=np.float32)
        for t in range(x.shape[1]):
            h = np.tanh(h @ eye + x[:, t])
        return h

    return f, (lambda i: (N(2, 4, 3),)), None


@prog
def schedule_arg() -> Made:
    return (lambda x, k=0.5: x * k + 1), (lambda i: (N(5),)), None


@prog
def batchnorm_like() -> Made:
    class B(layers.Layer):
        def __init__(self):
            self.w = Parameter(np.ones(4, np.float32))
            self.training_steps = 3

        def forward(self, x):
            m = x.mean(0)
            return (x - m) * self.w

    b = B()
    return (lambda x: b(x).sum()), (lambda i: (N(6, 4),)), None


@prog
def kwargs() -> Made:
    m = layers.Linear(4, 2)
    return (lambda x, *, scale: m(x).sum() * scale), (lambda i: ((N(5, 4),), {"scale": 2.0})), None


@prog
def attention() -> Made:
    q, k, v = [layers.Linear(8, 8) for _ in range(3)]
    return (
        (lambda x: (F.softmax(q(x) @ k(x).swapaxes(1, 2) / 8**0.5) @ v(x)).mean()),
        (lambda i: (N(2, 5, 8),)),
        None,
    )


@prog
def config_obj() -> Made:
    class Cfg:
        rate = 0.1
        mode = "a"

    c = Cfg()
    m = layers.Linear(3, 3)

    def f(x):
        y = m(x)
        return y * c.rate if c.mode == "a" else y

    def bet(i):
        c.rate = 0.1 if i < 20 else 0.2

    return f, (lambda i: (N(2, 3),)), bet


@prog
def metric() -> Made:
    m = layers.MLP([8, 3], in_features=4)

    def f(x, t):
        y = m(x)
        l = F.cross_entropy(y, t)
        return l, F.accuracy(y, t)

    return f, (lambda i: (N(5, 4), RNG.integers(0, 3, 5))), None


@prog
def inplace_own() -> Made:
    def f(x):
        y = x * 2
        y += 1
        y *= x
        return y

    return f, (lambda i: (N(50),)), None


@prog
def tuple_state() -> Made:
    w = Parameter(N(3, 3))

    def f(state, x):
        h, c = state
        h2 = F.tanh(h @ w + x)
        return (h2, c + h2.sum())

    return f, (lambda i: ((N(2, 3), N(1)), N(2, 3))), None


@prog
def enumerate_list_models() -> Made:
    ms = [layers.Linear(3, 3) for _ in range(3)]

    def f(x):
        for i, m in enumerate(ms):
            x = F.relu(m(x)) * (i + 1)
        return x.sum()

    return f, (lambda i: (N(2, 3),)), None


@prog
def weight_decay() -> Made:
    m = layers.MLP([8, 1], in_features=3)

    def f(x, t):
        return F.mean_squared_error(m(x), t) + 1e-3 * sum((p**2).sum() for p in m.parameters())

    return f, (lambda i: (N(5, 3), N(5, 1))), None


@prog
def argmax_onehot() -> Made:
    def f(x):
        k = x.argmax(1)
        return np.eye(4, dtype=np.float32)[k] * x

    return f, (lambda i: (N(5, 4),)), None


@prog
def where_clip() -> Made:
    return (
        (lambda x: np.where(x > 0, np.clip(x, 0, 0.5), -x).sum()),
        (lambda i: (Variable(N(5, 4)),)),
        None,
    )


@prog
def dataclass_arg() -> Made:
    @dataclasses.dataclass
    class Batch:
        x: object
        t: object

    m = layers.Linear(4, 2)
    return (
        (lambda b: F.mean_squared_error(m(b.x), b.t)),
        (lambda i: (Batch(N(5, 4), N(5, 2)),)),
        None,
    )


EAGER = {"argmax_onehot"}  # np.eye(4)[k] asks for the values of k


def results(make: Callable[[], Made], compile: bool) -> tuple[list[Any], Any]:
    global RNG
    RNG = np.random.default_rng(1)
    minidl.seed(0)
    f, arguments, between = make()
    f = minidl.compile(f) if compile else f
    found = []
    for i in range(20):
        if between is not None:
            between(i)
        args = arguments(i)
        keywords = args[1] if type(args[-1]) is dict and type(args[0]) is tuple else {}
        found.append(f(*(args[0] if keywords else args), **keywords))
    return found, f


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_it_is_compiled_and_right(make: Callable[[], Made]) -> None:
    with warnings.catch_warnings():
        if make.__name__ in EAGER:
            warnings.simplefilter("ignore")
        got, compiled = results(make, True)
    for i, (a, b) in enumerate(zip(got, results(make, False)[0], strict=True)):
        assert same(a, b), f"call {i}"
    assert ("NumPy" in compiled.status()) is (make.__name__ not in EAGER)
    assert len(compiled.programs) <= 3  # as many as there are settings
