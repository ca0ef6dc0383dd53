"""Convolution and pooling as functions: ties, what is not finite, float16, and blocks.

Values and gradients are the catalogue's rows (rows_of_windows.py); PyTorch's numbers and refusals are
in tests/layers/test_conv.py.
"""

import numpy as np
import pytest

from minidl import Variable
from minidl import functions as F
from minidl.functions import convolution


def test_the_first_of_equals_gets_the_gradient():
    x = Variable(np.zeros((1, 4, 1)))
    F.max_pool(x, 2).backward()
    assert x.grad.data[0, :, 0].tolist() == [1, 0, 1, 0]


def test_what_is_not_finite_stays_where_it_is():
    x = Variable([[[1.0], [np.nan], [2.0], [-np.inf], [-np.inf], [-np.inf], [np.inf], [np.inf]]])
    y = F.max_pool(x, 2)
    np.testing.assert_array_equal(y.data[0, :, 0], [np.nan, 2.0, -np.inf, np.inf])
    y.backward(np.array([[[np.inf], [3.0], [5.0], [7.0]]]))
    assert x.grad.data[0, :, 0].tolist() == [0, np.inf, 3, 0, 5, 0, 7, 0]
    padded = Variable(np.full((1, 2, 1), -np.inf))
    F.max_pool(padded, 2, 1, 1).backward()
    assert padded.grad.data[0, :, 0].tolist() == [2, 1]


def test_sums_of_float16_are_made_in_float32():
    x = np.full((1, 2000, 2), 30.0, np.float16)
    y = F.conv(x, np.full((1000, 2, 1), 0.01, np.float16))
    np.testing.assert_allclose(y.astype(float), 600, rtol=2e-3)
    assert y.dtype == np.float16 and F.avg_pool(np.full((1, 500, 1), 200.0, np.float16), 500) == 200
    x = Variable(np.full((1, 5000, 1), 1.0, np.float16))
    w = Variable(np.full((1, 1, 1), 0.5, np.float16))
    F.conv(x, w).backward()
    assert w.grad.data == 5000


@pytest.mark.parametrize("stride", [1, 2])
def test_images_larger_than_a_block(stride, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 13, 11, 4))
    w = rng.normal(size=(3, 2, 2, 6))

    def run():
        a, b = Variable(x), Variable(w)
        y = F.conv(a, b, padding=1, stride=stride, groups=2)
        (y * y).backward()
        return y.data, a.grad.data, b.grad.data

    whole = run()
    for block in (1, 5000, 20000):
        monkeypatch.setattr(convolution, "_BLOCK", block)
        for got, want in zip(run(), whole, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_a_kernel_of_integers_is_refused_and_a_list_taken():
    x = np.ones((1, 4, 1))
    with pytest.raises(TypeError, match="conv: want floating x, w and b, got int64"):
        F.conv(x, np.ones((2, 1, 1), int))
    with pytest.raises(TypeError, match="conv: want floating x, w and b, got int64"):
        F.conv(x, np.ones((2, 1, 1)), [1])
    assert F.conv(x.tolist(), [[[1.0]], [[2.0]]], [0.5]).tolist() == [[[3.5], [3.5], [3.5]]]


def test_strided_memory_is_read_rightly():
    x = np.random.default_rng(0).normal(size=(5, 9, 3, 8))
    views = x.transpose(0, 3, 1, 2)[::2, ::-1]
    w = np.random.default_rng(1).normal(size=(2, 3, 5, 3)).swapaxes(2, 3)
    for function in (lambda x: F.conv(x, w, padding=1), lambda x: F.max_pool(x, 3, 2)):
        plain = function(np.ascontiguousarray(views))
        np.testing.assert_allclose(function(views), plain, rtol=1e-12)
        grads = []
        for given in (views, views.copy()):
            a = Variable(given)
            function(a).backward()
            grads.append(a.grad.data)
        np.testing.assert_allclose(*grads, rtol=1e-12)
