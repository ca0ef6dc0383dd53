"""scan: the loop it stands for, its derivatives, its forms and its refusals."""

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, grad, gradcheck
from minidl import functions as F
from minidl.autograd import engine

rng = np.random.default_rng(0)


def step(h: Any, x: Any) -> Any:
    h = np.tanh(h * 0.7 + x)
    return h, h * x


def test_it_is_the_loop() -> None:
    h0, xs = rng.standard_normal(3), rng.standard_normal((4, 3))
    h, ys = h0, []
    for x in xs:
        h, y = step(h, x)
        ys.append(y)
    for state, outputs in (F.scan(step, h0, xs), F.scan(step, Variable(h0), Variable(xs))):
        np.testing.assert_array_equal(getattr(state, "data", state), h)
        np.testing.assert_array_equal(getattr(outputs, "data", outputs), np.stack(ys))


def test_derivatives_of_any_order() -> None:
    h0, xs = rng.standard_normal(2), rng.standard_normal((3, 2))
    assert gradcheck(lambda h, x: F.scan(step, h, x), h0, xs, order=3)
    w = np.array([0.5, 1.5])
    f = lambda w: F.scan(lambda h, x: (np.sin(w * h) + x, None), h0, xs)[0].sum()
    assert gradcheck(f, w, order=2)


def test_trees() -> None:
    def step(state: Any, x: Any) -> Any:
        state = {"a": state["a"] + x[0], "b": [state["b"][0] * x[1]["k"]]}
        return state, {"sum": state["a"], "product": (state["b"][0], None)}

    xs = (np.array([1.0, 2.0, 3.0]), {"k": np.array([2.0, 3.0, 4.0])})
    state, ys = F.scan(step, {"a": 0.0, "b": [1.0]}, xs)
    assert state == {"a": 6.0, "b": [24.0]} and ys["product"][1] is None
    assert ys["sum"].tolist() == [1.0, 3.0, 6.0] and ys["product"][0].tolist() == [2.0, 6.0, 24.0]
    g = grad(lambda xs: F.scan(step, {"a": 0.0, "b": [1.0]}, xs)[0]["b"][0])(xs)
    assert g[1]["k"].tolist() == [12.0, 8.0, 6.0] and not g[0].any()
    assert F.scan(lambda s, x: (s + x, None), 0.0, [1.0, 2.0]) == (3.0, None)


def test_float32_stays() -> None:
    xs = rng.standard_normal((3, 2)).astype(np.float32)
    state, ys = F.scan(step, np.zeros(2, np.float32), Variable(xs))
    assert state.dtype == ys.dtype == np.float32


def test_the_graph_grows_with_the_steps_alone() -> None:
    def size(n: int) -> int:
        _, ys = F.scan(step, Variable(0.0), Variable(np.ones(n)))
        return len(engine.reach([ys._node])[0])

    assert size(40) - size(20) == size(60) - size(40) <= 20 * 6


def test_scans_nest_and_recompute() -> None:
    xs = rng.standard_normal((3, 2))

    def inner(h: Any, row: Any) -> Any:
        return F.scan(step, h, row)

    assert gradcheck(lambda h, x: F.scan(inner, h, x), np.array(0.3), xs, order=2)
    again = minidl.recompute(step)
    f, g = (lambda x, s=s: F.scan(s, 0.1, x)[1].sum() for s in (step, again))
    np.testing.assert_allclose(grad(f)(xs[0]), grad(g)(xs[0]))


def test_refusals() -> None:
    xs = np.ones((3, 2))
    for bad, words in (
        (np.ones((0, 2)), r"xs \(0, 2\)"),
        (np.ones(()), r"xs \(\)"),
        ({"a": xs, "b": xs[:2]}, r"xs\['a'\] \(3, 2\), xs\['b'\] \(2, 2\)"),
        ((), r"got \(\)"),
    ):
        with pytest.raises(ValueError, match=words):
            F.scan(step, 0.0, bad)
    with pytest.raises(ValueError, match=r"\(state, y\), got ndarray"):
        F.scan(lambda s, x: s + x, np.zeros(2), xs)
    with pytest.raises(ValueError, match=r"state after step 0: want shape \(\), got \(2,\)"):
        F.scan(lambda s, x: (s + x, None), 0.0, xs)
    with pytest.raises(ValueError, match=r"state after step 0: want \(\*, \*\), got \*"):
        F.scan(lambda s, x: (x, None), (x := np.zeros(2), x), xs)
    with pytest.raises(ValueError, match=r"output 1: want shape \(2,\), got \(2, 2\)"):
        F.scan(lambda s, x: (s + 1, x if s == 0 else (x, x)), 0, xs)
