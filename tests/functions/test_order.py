"""Choices among equals, and answers beside values, which the catalogue's rows do not show."""

import numpy as np
import pytest

from minidl import Variable
from minidl import functions as F


def test_unique_gives_the_gradient_to_the_first_of_equals() -> None:
    x = Variable(np.array([[2.0, 1.0, 2.0], [3.0, 1.0, 1.5]]))
    y = np.unique(x)
    y.backward(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(x.grad.data, [[3.0, 1.0, 0.0], [4.0, 0.0, 2.0]])
    settings = {"return_index": True, "return_inverse": True, "return_counts": True}
    got = np.unique(x, **settings)
    for ours, numpys in zip(got, np.unique(x.data, **settings), strict=True):
        np.testing.assert_array_equal(ours.data, numpys)
    assert got[0].requires_grad and not got[1].requires_grad
    with pytest.raises(ValueError, match="unique: want axis=None"):
        np.unique(x, axis=0)


def test_equal_elements_stay_in_their_order() -> None:
    x = Variable(np.array([1.0, 0.0, 1.0, 0.0]))
    for f in (np.sort, lambda v: np.take_along_axis(v, np.argsort(v, stable=True), axis=-1)):
        x.cleargrad()
        f(x).backward(np.array([1.0, 2.0, 3.0, 4.0]))
        np.testing.assert_array_equal(x.grad.data, [3.0, 1.0, 4.0, 2.0])
    x.cleargrad()
    np.median(x).backward()
    np.testing.assert_array_equal(x.grad.data, [0.5, 0.0, 0.0, 0.5])


def test_running_extremes_give_the_gradient_to_the_last_that_ties() -> None:
    x = Variable(np.array([1.0, 2.0, 2.0, 0.0]))
    np.maximum.accumulate(x).backward(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(x.grad.data, [1.0, 2.0, 7.0, 0.0])


def test_nan_is_last_in_order_and_makes_quantiles_nan() -> None:
    x = Variable(np.array([np.nan, 1.0, 0.5]))
    np.testing.assert_array_equal(np.sort(x).data, [0.5, 1.0, np.nan])
    assert np.isnan(np.median(x).data) and np.isnan(np.quantile(x, 0.1).data)
    assert np.nanmedian(x).data == 0.75


def test_infinities_in_medians() -> None:
    for x in ([np.inf, np.inf], [np.inf, 1.0, 2.0], [-np.inf, 1.0, np.inf], [-np.inf, 1.0]):
        assert np.median(Variable(x)).data == np.median(x)


def test_average_returns_the_weights_too() -> None:
    x = np.arange(6.0).reshape(2, 3)
    weights = np.array([1.0, 2.0, 1.0])
    got = np.average(Variable(x), 1, weights, returned=True)
    want = np.average(x, 1, weights, returned=True)
    for ours, numpys in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.asarray(getattr(ours, "data", ours)), numpys)
    with pytest.raises(ZeroDivisionError, match="average: the weights sum to zero"):
        np.average(Variable(x), weights=np.zeros((2, 3)))


def test_of_values_set_at_one_place_the_last_counts() -> None:
    x = Variable(np.zeros(3))
    values = Variable(np.array([1.0, 2.0, 3.0]))
    y = F.index_set(x, [0, 0, 2], values)
    np.testing.assert_array_equal(y.data, [2.0, 0.0, 3.0])
    y.backward()
    np.testing.assert_array_equal(values.grad.data, [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(x.grad.data, [0.0, 1.0, 0.0])


def test_refused_in_words() -> None:
    v = Variable(np.arange(4.0))
    for call, kind, words in [
        (lambda: np.pad(v, 1, "empty"), ValueError, "pad: want a mode of .*, got 'empty'"),
        (lambda: np.polyder(v, -1), ValueError, "polyder: want an order of at least 0, got -1"),
        (lambda: np.polyint(v, 2, [1, 2, 3]), ValueError, "polyint: want 2 constants, got 3"),
        (lambda: np.polyfit(v, v, 1, full=True), TypeError, "polyfit: .*'full'"),
        (lambda: np.full_like(np.ones(3), v), TypeError, "np.broadcast_to"),
        (lambda: np.full((2, 4), v), TypeError, "np.full would leave .*np.broadcast_to"),
        (lambda: np.r_[v, v], TypeError, "np.r_ .*np.concatenate"),
        (lambda: np.array([v, v]), TypeError, "np.stack"),
        (lambda: np.polynomial.polynomial.polyval(2.0, v), TypeError, r"np.polyval\(p\[::-1\]"),
        (lambda: np.vectorize(abs)(v), TypeError, r"np.vectorize.__call__ would leave .* whole"),
        (lambda: F.cumsum(v, dim=0), TypeError, "cumsum: .*'dim'.*'axis'"),
        (lambda: np.quantile(v, 1.5), ValueError, r"quantile: want quantiles in \[0, 1\]"),
        (lambda: np.quantile(v, 0.5, method="closest"), ValueError, "want a method of linear"),
        (lambda: np.take_along_axis(v, v, 0), ValueError, "take_along_axis: want integers"),
        (lambda: np.sort(v, axis=1), np.exceptions.AxisError, "sort: .*axis 1"),
        (lambda: np.choose(np.array([2]), [v, v]), IndexError, "index 2 is out of bounds"),
        (lambda: np.choose(np.array([-1]), [v, v]), ValueError, "choose: want indices from 0"),
        (lambda: F.index_set(v, 7, 1.0), IndexError, "index_set: index 7"),
        (lambda: F.index_add(v, [0], [1.0, 2.0]), ValueError, "index_add: "),
        (lambda: np.select([v], [v]), TypeError, "select: want conditions of bools"),
        (lambda: np.gradient(v, 1.0, 2.0), TypeError, "gradient: want a spacing"),
        (lambda: v.sort(), AttributeError, r"np\.sort"),
        (lambda: F.std(np.array([1j])), TypeError, "std: want real numbers, got complex128"),
    ]:
        with pytest.raises(kind, match=words):
            call()
