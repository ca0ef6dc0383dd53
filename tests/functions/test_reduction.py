"""Reductions where numbers are not finite, not many, or narrow. Values and gradients are the catalogue's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable
from minidl import functions as F


def value_and_gradient(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    v = Variable(np.asarray(x))
    y = f(v)
    y.backward()
    return y.data, v.grad.data


@pytest.mark.parametrize("f", [np.max, np.min])
def test_the_gradient_of_an_extreme_that_is_nan_is_nan(f: Any) -> None:
    y, g = value_and_gradient(f, [1.0, np.nan, 3.0])
    assert np.isnan(y) and np.isnan(g).all()
    y, g = value_and_gradient(lambda x: f(x, axis=1), [[1.0, np.nan], [2.0, 2.0]])
    np.testing.assert_array_equal(g, [[np.nan, np.nan], [0.5, 0.5]])


def test_infinite_extremes_share() -> None:
    _, g = value_and_gradient(np.max, [1.0, np.inf, np.inf])
    np.testing.assert_array_equal(g, [0.0, 0.5, 0.5])
    _, g = value_and_gradient(np.min, [1.0, np.inf, -np.inf])
    np.testing.assert_array_equal(g, [0.0, 0.0, 1.0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_variance_without_degrees_of_freedom_is_infinite_and_so_is_its_slope() -> None:
    for ddof in (2, 3, 2.5):
        y, g = value_and_gradient(lambda x, ddof=ddof: np.var(x, ddof=ddof), [1.0, 2.0])
        assert y == np.inf
        np.testing.assert_array_equal(g, [-np.inf, np.inf])
    y, g = value_and_gradient(lambda x: np.var(x, ddof=1), [5.0])
    assert np.isnan(y) and np.isnan(g).all()
    y, g = value_and_gradient(np.mean, np.zeros(0))
    assert np.isnan(y) and g.shape == (0,)


def test_the_deviation_of_constants_has_slope_0() -> None:
    v = Variable(np.array([[2.0, 2.0], [1.0, 3.0]]))
    y = np.std(v, axis=1)
    y.backward(create_graph=True)
    np.testing.assert_array_equal(v.grad.data, [[0.0, 0.0], [-0.5, 0.5]])
    first = v.grad
    v.cleargrad()
    first.backward(np.array([[1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(v.grad.data, np.zeros((2, 2)))


def test_float16_is_accumulated_wide() -> None:
    x = np.full((70_000, 2), 2.0**-10, np.float16)
    for axis, n in ((0, 70_000), (None, 140_000)):
        y, g = value_and_gradient(lambda v, axis=axis: np.sum(v, axis), x)
        assert y.dtype == g.dtype == np.float16
        np.testing.assert_array_equal(y, np.float16(n / 1024))
        y, g = value_and_gradient(lambda v, axis=axis: np.mean(v, axis), x)
        np.testing.assert_array_equal(y, np.float16(2.0**-10))
        np.testing.assert_array_equal(g, np.float16(1 / n))
        y, g = value_and_gradient(lambda v, axis=axis: np.max(v, axis), x)
        np.testing.assert_array_equal(g, np.float16(1 / n))
    x[::2] = 300.0
    y, g = value_and_gradient(np.var, x)
    np.testing.assert_allclose(float(y), 150.0**2, rtol=1e-3)
    np.testing.assert_allclose(
        g[:2].astype(float), 300 / 140_000 * np.array([[1, 1], [-1, -1]]), rtol=1e-3
    )


def test_integers_and_bools_are_reduced_as_numpy_does() -> None:
    for x in (np.array([[1, 2], [250, 6]], np.uint8), np.array([[True, False], [True, True]])):
        for f in (np.sum, np.mean, np.var, np.std, np.max, np.min):
            for axis in (None, 0):
                y = f(Variable(x), axis=axis)
                want = f(x, axis=axis)
                assert not y.requires_grad and y.dtype == want.dtype
                np.testing.assert_array_equal(y.data, want)


def test_dtype_is_that_of_the_accumulation_and_the_result() -> None:
    x = np.full(1000, 0.1, np.float32)
    for f in (np.sum, np.mean, np.var, np.std):
        y, g = value_and_gradient(lambda v, f=f: f(v, dtype=np.float64), x)
        assert y.dtype == np.float64 and g.dtype == np.float32
        np.testing.assert_array_equal(y, f(x, dtype=np.float64))
        assert f(Variable(x), None, np.float64).data == y


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda v: v.sum(dim=1), TypeError, "sum: .*'dim'.*'axis'"),
        (lambda v: v.mean(keepdim=True), TypeError, "mean: .*'keepdim'.*'keepdims'"),
        (lambda v: np.sum(v, axis=2), np.exceptions.AxisError, "sum: axis 2"),
        (lambda v: np.sum(v, (0, 0)), ValueError, "sum: duplicate"),
        (lambda v: np.sum(v, 0.5), TypeError, "sum: "),
        (lambda v: np.sum(v, [0, 1]), TypeError, "sum: "),
        (lambda v: np.max(v[:0]), ValueError, "max: zero-size"),
        (
            lambda v: np.max(v, where=np.ones((2, 2), bool)),
            ValueError,
            "max: where= wants initial=",
        ),
        (
            lambda v: np.sum(v, where=np.ones((3, 2, 2), bool)),
            ValueError,
            "where= wants bools that",
        ),
        (lambda v: np.mean(v, where=[1, 0]), ValueError, "where= wants bools that"),
        (lambda v: np.var(v, ddof=1, correction=1), ValueError, "var: want ddof or correction"),
        (lambda v: np.mean(v, 0, None, np.zeros(2)), TypeError, "mean"),
    ],
)
def test_refused_at_the_call(call: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        call(Variable(np.ones((2, 2))))


def test_axes_as_numpy_takes_them() -> None:
    x = np.arange(6.0).reshape(2, 3)
    for axis in (np.int64(1), -1, (1,), (-2, 1), np.array(1), Variable(1), ()):
        plain = axis.data if isinstance(axis, Variable) else axis
        for f in (F.sum, F.mean, F.var, F.max):
            y, g = value_and_gradient(lambda v, f=f, axis=axis: f(v, axis), x)
            np.testing.assert_array_equal(y, getattr(np, f.__name__)(x, plain))
            assert g.shape == x.shape


def test_compiled_sums_of_float16_are_wide_too() -> None:
    x = np.full((70_000, 2), 2.0**-10, np.float16)
    f = minidl.compile(lambda v: np.sum(v, 0) * 1.0)
    for _ in range(2):
        np.testing.assert_array_equal(f(Variable(x)).data, np.float16(70_000 / 1024))
