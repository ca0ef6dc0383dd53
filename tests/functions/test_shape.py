"""Arguments of shape functions as NumPy takes them, and refused as it refuses them."""

from typing import Any

import numpy as np
import pytest

from minidl import Variable


def test_axes_and_shapes_of_every_kind() -> None:
    x = np.arange(6.0).reshape(2, 3)
    v = Variable(x)
    calls: list[Any] = [
        lambda a: np.transpose(a, [1, 0]),
        lambda a: np.transpose(a, np.array([1, 0])),
        lambda a: np.transpose(a.reshape(6), np.int64(0)),
        lambda a: a.reshape(6).transpose(0),
        lambda a: np.reshape(a, [3, 2]),
        lambda a: np.reshape(a, np.array([3, -1])),
        lambda a: a.reshape(np.int64(3), np.int64(2)),
        lambda a: np.expand_dims(a, [0, -1]),
        lambda a: np.squeeze(np.expand_dims(a, (0, 2)), (-2, 0)),
        lambda a: np.swapaxes(a, np.int64(-1), 0),
        lambda a: np.split(a, np.array([1, 2]), axis=1)[1],
        lambda a: np.split(a, Variable(np.array([1, 2])), axis=1)[1],
        lambda a: np.split(a, 2, -2)[0],
        lambda a: np.broadcast_to(a, np.array([2, 2, 3])),
        lambda a: a.take(np.array([1, 1]), 1, mode="wrap"),
    ]
    for call in calls:
        y = call(v)
        v.cleargrad()
        y.backward()
        np.testing.assert_array_equal(y.data, call(x))
        assert v.grad.shape == x.shape


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda v: np.transpose(v, (0, 0)), ValueError, "transpose: repeated axis"),
        (lambda v: np.transpose(v, 0), ValueError, "transpose: axes don't match"),
        (lambda v: np.transpose(v, (0, 2)), np.exceptions.AxisError, "transpose: axis 2"),
        (lambda v: np.expand_dims(v, (0, 0)), ValueError, "expand_dims: repeated axis"),
        (lambda v: np.squeeze(v, 0), ValueError, "squeeze: cannot select an axis"),
        (lambda v: np.squeeze(v, [0]), TypeError, "squeeze: "),
        (lambda v: np.reshape(v, (4, 2)), ValueError, "reshape: cannot reshape"),
        (lambda v: np.reshape(v, (3, 2), order="A"), ValueError, "want order 'C' or 'F', got 'A'"),
        (lambda v: np.take(v, [0], mode="round"), ValueError, "take: want mode .* got 'round'"),
        (lambda v: np.take(v, [9], 0), IndexError, "take: index 9"),
        (lambda v: np.split(v, 4, 1), ValueError, "split: array split does not"),
        (lambda v: v.reshape(3, 2, shape=1), TypeError, "shape"),
    ],
)
def test_refused_at_the_call(call: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        call(Variable(np.ones((2, 3))))
