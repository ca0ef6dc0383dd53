"""What a function is, is decided by the Function object: never by the name that is printed.

Every row of the catalogue under a built-in's name is run by tests/functions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl import optim
from minidl.autograd.function import Function

X = np.array([-2.0, 0.5, 3.0])
# Names that the compiler has code for, of one argument and of two.
# fmt: off
UNARY = [
    "relu", "sigmoid", "negative", "positive", "identity", "constant", "transpose", "ravel", "tanh",
    "sum", "sum_rows", "squeeze", "nonzero", "mean", "var", "exp", "lstm", "rnn", "compiled",
    "getitem",
]
BINARY = [
    "add", "subtract", "multiply", "divide", "power", "matmul", "linear", "kept", "masked",
    "maximum", "where", "concatenate", "reshape", "astype", "swapaxes", "expand_dims",
    "broadcast_to", "sum_to", "split", "scatter_add", "mean_squared_error", "cross_entropy",
]
# fmt: on


def of_one(name: str) -> Function:
    return minidl.differentiable(
        lambda x: x * x * x + 1.0, lambda g, y, x: g * (3 * x * x), name=name
    )


def of_two(name: str) -> Function:
    return minidl.differentiable(
        lambda a, b: a * a * b, lambda g, y, a, b: g * (2 * a * b), lambda g, y, a, b: g * (a * a),
        name=name,
    )  # fmt: skip


def same(f: Callable[..., Any], *args: Any) -> None:
    """Compiled as eagerly: values, and gradients, of first and later calls."""
    compiled = minidl.compile(f)
    for factor in (1.0, 1.5):
        wanted, got = ([minidl.Variable(a * factor) for a in args] for _ in range(2))
        y, z = f(*wanted), compiled(*got)
        np.testing.assert_array_equal(z.data, y.data)
        y.sum().backward()
        z.sum().backward()
        for a, b in zip(wanted, got, strict=True):
            np.testing.assert_array_equal(b.grad.data, a.grad.data)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", UNARY)
def test_of_one_argument(name: str) -> None:
    f = of_one(name)
    assert f.name == name
    same(lambda x: f(x) * 1.5, X)
    same(lambda x: f(f(x)), X)  # two negations, two transposes
    same(lambda x: f(x * 2.0) + f(x).sum(), np.ones((300, 300)) * X[:1])  # in blocks


@pytest.mark.parametrize("name", BINARY)
def test_of_two_arguments(name: str) -> None:
    f = of_two(name)
    same(lambda a, b: f(a, b) * 1.5, X, X[::-1].copy())
    same(lambda a: f(a, 2.0) + f(a, 1.0), X)
    same(lambda a: f(f(a, 1.0), 3.0).sum() * 2.0, X)
    same(lambda a, b: f(a, b).reshape(-1) + 1.0, np.full((300, 300), 2.0), np.full((300, 300), 3.0))


def test_on_numbers() -> None:
    for name in ("power", "add", "multiply"):
        f = of_two(name)
        same(lambda a: f(a, 2.0) * a, np.float64(3.0))  # noqa: B023
    for name in ("negative", "identity", "positive"):
        g = of_one(name)
        same(lambda a: g(g(a)) * a, np.float64(3.0))  # noqa: B023


def test_the_real_ones_are_known_by_another_name() -> None:
    assert F.relu is not of_one("relu")
    program = minidl.compile(lambda x: F.relu(F.relu(x) * 2.0)).program(minidl.Variable(X))
    assert [step.applies(F.relu) for step in program.steps[: program.backward_at]] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("name", ["sigmoid", "relu", "tanh", "cross_entropy", "linear"])
def test_a_joint_rule_under_a_known_name(name: str) -> None:
    f = minidl.differentiable(
        lambda x: (x * x, x),
        joint=lambda g, y, saved, wanted, x: [g * (2 * (x if saved is None else saved))],
        saves=True,
        name=name,
    )
    same(lambda x: f(x) * 1.5, X)


def test_the_joint_rules_gradient_may_be_what_it_was_given() -> None:
    f = minidl.differentiable(
        lambda a, b: (a + b, None),
        joint=lambda g, y, s, wanted, a, b: [g, g],
        saves=True,
        name="lstm",
    )
    same(lambda a, b: f(a * 2.0, b * 3.0) * 1.5, X, X + 1)


def test_training_with_a_function_of_that_name() -> None:
    def sigmoid(x: Any) -> Any:
        return x / (1 + np.abs(x))

    def losses(compile: bool) -> list[float]:
        minidl.seed(0)
        soft = minidl.differentiable(sigmoid, lambda g, y, x: g / (1 + abs(x)) ** 2)
        model = minidl.layers.Sequential(
            minidl.layers.Linear(4, 8), soft, minidl.layers.Linear(8, 1)
        )
        trainer = minidl.Trainer(
            model, optim.Adam(model, lr=0.01), F.mean_squared_error, compile=compile
        )
        x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
        history = trainer.fit(x, x[:, :1] * 2, epochs=3, verbose=0)
        return list(history["loss"])

    assert losses(False) == losses(True)


def test_generalized_ufuncs_are_not_elementwise() -> None:
    if not hasattr(np, "vecdot"):
        pytest.skip("this NumPy has no vecdot")
    registry = minidl.autograd.protocols.REGISTRY
    before = registry[np.vecdot]
    f = minidl.differentiable(
        np.vecdot,
        lambda g, y, a, b: g.reshape(*g.shape, 1) * b,
        lambda g, y, a, b: g.reshape(*g.shape, 1) * a,
        name="dots",
    )
    try:
        same(lambda a, b: f(a * 2.0, b) * 1.5, np.ones((3, 4)), np.full((3, 4), 2.0))
        same(lambda a, b: f(a, b) + f(b, a), np.full((4, 4), 3.0), np.arange(16.0).reshape(4, 4))
    finally:
        registry[np.vecdot] = before


def test_the_warning_about_softmax_goes_by_the_function() -> None:
    soft = minidl.differentiable(lambda x: x * 2.0, lambda g, y, x: g * 2, name="softmax")
    logits = minidl.Variable(np.ones((2, 3)))
    F.cross_entropy(soft(logits), np.array([0, 1]))  # a warning would be an error
    with pytest.warns(UserWarning, match="made by softmax"):
        F.cross_entropy(F.softmax(logits), np.array([0, 1]))


def test_a_second_result_leaves_no_zeros_where_no_gradient_arrives() -> None:
    """An optimizer skips a parameter without a gradient, and moves one whose gradient is zero."""

    def gradients(compiled: bool) -> list[Any]:
        a, b = (minidl.Parameter(np.arange(3.0)) for _ in range(2))

        def f(x: Any) -> Any:
            return (a * x).sum(), (a * x * x).sum(), (b * x).sum()

        run = minidl.compile(f, check="never") if compiled else f
        found = []
        for _ in range(3):
            a.cleargrad()
            b.cleargrad()
            first, second, _ = run(np.ones(3))
            first.backward()
            second.backward()
            found += [None if p.grad is None else p.grad.data.copy() for p in (a, b)]
        return found

    for mine, its in zip(gradients(True), gradients(False), strict=True):
        assert (mine is None) == (its is None)
        assert mine is None or np.array_equal(mine, its)


@pytest.mark.parametrize("start", [2.0, 2, np.float64(2.0), np.float32(2.0), np.array(2.0)])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_result_that_depends_on_no_array_has_its_type(order: int, start: Any) -> None:
    def f(x: Any) -> Any:
        return x**4 - 2 * x**2

    for _ in range(order):
        f = minidl.grad(f)
    if order and isinstance(start, int):
        start = 2.0  # integers have no gradient
    run = minidl.compile(f, check="never")
    want = f(start)
    for _ in range(3):
        got = run(start)
        assert type(got) is type(want) and got == want
    checked = minidl.compile(f, check="raise")
    assert checked(start) == checked(start) == want
