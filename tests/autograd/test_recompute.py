"""recompute: the gradients of the plain function, of any order, and what it does not keep."""

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, grad, hessian, layers, recompute
from minidl import functions as F
from minidl.autograd import engine

W = np.array([[0.5, -1.0], [2.0, 0.3]])


def block(x: Any, w: Any) -> Any:
    return np.tanh(x @ w) * np.sin(x)


def test_values_and_gradients_are_those_of_the_function() -> None:
    results = []
    for f in (block, recompute(block)):
        x, w = Variable([[1.0, 2.0]]), Parameter(W)
        y = f(f(x, w), w)
        (y * y).sum().backward()
        results.append([y.data, x.grad.data, w.grad.data])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_inner_results_are_not_kept() -> None:
    x, w = Variable(np.ones((1, 2))), Parameter(W)
    y = recompute(lambda x: block(block(block(x, w), w), w))(x)
    applications, _ = engine.reach([y._node])
    assert [a.name for a in applications] == ["recompute[0]", "recompute"]


def test_what_is_closed_over_gets_its_gradient() -> None:
    layer = layers.Linear(2, 2, rng=np.random.default_rng(0), dtype=np.float64)
    for f in (layer, recompute(layer)):
        x = Variable([[1.0, 2.0]])
        layer.cleargrads()
        np.tanh(f(x)).sum().backward()
        got = [p.grad.data.copy() for p in layer.parameters()] + [x.grad.data]
        if f is layer:
            want = got
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    x.cleargrad()
    h = x * x
    y = recompute(lambda z: z * h + h * x)(x)  # a result that is no argument
    y.sum().backward(create_graph=True)
    np.testing.assert_allclose(x.grad.data, 6 * x.data**2)
    g = x.grad
    x.cleargrad()
    g.sum().backward()
    np.testing.assert_allclose(x.grad.data, 12 * x.data)
    shared = Parameter(W)
    recompute(lambda x: x @ shared)(shared).sum().backward()  # an argument and closed over
    np.testing.assert_allclose(shared.grad.data, grad(lambda w: (w @ w).sum())(W))


def test_orders_and_transforms() -> None:
    f = lambda x: (recompute(lambda z: np.sin(z) * z**2)(x)).sum()
    plain = lambda x: (np.sin(x) * x**2).sum()
    x = np.array([0.3, -1.2])
    np.testing.assert_allclose(grad(f)(x), grad(plain)(x))
    np.testing.assert_allclose(hessian(f)(x), hessian(plain)(x))
    third = lambda f: grad(lambda x: grad(lambda x: grad(f)(x).sum())(x).sum())(x)
    np.testing.assert_allclose(third(f), third(plain))
    np.testing.assert_allclose(minidl.jvp(f, x, x)[1], minidl.jvp(plain, x, x)[1])
    w = Variable(2.0)
    y = recompute(lambda x: w * x**3)(Variable(3.0))
    y.backward(create_graph=True)
    g, w.grad = w.grad, None
    g.backward()
    assert w.grad is None or float(w.grad.data) == 0
    assert minidl.gradcheck(lambda x, w: recompute(block)(x, w), np.ones((1, 2)), W, order=3)


def test_trees_and_constants() -> None:
    f = recompute(lambda p, *, scale: {"y": [p["a"] * scale, p["n"]], "none": None})
    p = {"a": Variable([1.0, 2.0]), "n": 3}
    y = f(p, scale=2.0)
    assert y["y"][1] == 3 and y["none"] is None
    y["y"][0].sum().backward()
    assert p["a"].grad.data.tolist() == [2.0, 2.0]
    assert recompute(lambda x: x * 2)(np.ones(2)).tolist() == [2.0, 2.0]
    pair = recompute(lambda x: (x * 2, x * 3, x * 2))(p["a"])
    p["a"].cleargrad()
    pair[1].sum().backward()
    assert p["a"].grad.data.tolist() == [3.0, 3.0]
    with minidl.no_grad():
        assert not f(p, scale=1.0)["y"][0].requires_grad


def test_dropout_repeats_its_numbers() -> None:
    x = np.ones(50)
    own = layers.Dropout(0.5, rng=np.random.default_rng(1))
    for f, again in (
        (lambda x: F.dropout(np.exp(x), 0.5), lambda: minidl.seed(4)),
        (lambda x: own(np.exp(x)), lambda: setattr(own, "rng", np.random.default_rng(1))),
    ):
        again()
        v = Variable(x)
        f(v).sum().backward()
        want, after = v.grad.data, f(v).data
        again()
        v = Variable(x)
        y = recompute(f)(v)
        y.sum().backward()
        np.testing.assert_array_equal(v.grad.data, want)
        np.testing.assert_array_equal(f(v).data, after)  # the stream goes on as without


@pytest.mark.parametrize("step", [lambda f: f, lambda f: lambda x: f(x), lambda f: f.forward])
def test_states_are_carried_once(step: Any) -> None:
    x = np.ones((2, 3))
    results = []
    for wrap in (lambda f: f, recompute):
        lstm = layers.LSTM(3, 4, dtype=np.float64, rng=np.random.default_rng(0))
        f, v = wrap(step(lstm)), Variable(x)
        first, second = f(v), f(v * 2)  # one step each, with the state and its graph carried
        (first * second).sum().backward()
        gradients = [p.grad.data for p in lstm.parameters()]
        results.append([v.grad.data, lstm.state[0].data, lstm.steps, *gradients])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_modes_are_those_of_the_forward() -> None:
    x = Variable(np.ones(50))
    with minidl.test_mode():
        y = recompute(lambda x: F.dropout(x * x, 0.5))(x)
    y.sum().backward()
    assert (x.grad.data == 2).all()


def test_what_cannot_be_repeated_is_refused() -> None:
    rng, x = np.random.default_rng(0), Variable([1.0, 2.0])
    y = recompute(lambda x: x * x * rng.normal())(x)
    with pytest.raises(RuntimeError, match="gave other values"):
        y.sum().backward()
    p = Parameter([1.0, 2.0])
    y = recompute(lambda x: x * p)(x)
    p.data = np.array([3.0, 4.0])
    with pytest.raises(RuntimeError, match="changed since"):
        y.sum().backward()


def test_in_a_compiled_function_it_is_the_function() -> None:
    f = minidl.compile(lambda x: recompute(lambda z: np.tanh(z) ** 2)(x).sum())
    x = Variable([1.0, 2.0])
    f(x).backward()
    np.testing.assert_allclose(x.grad.data, grad(lambda z: (np.tanh(z) ** 2).sum())([1.0, 2.0]))
