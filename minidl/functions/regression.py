"""Losses of numbers beside the mean squared error: absolute, Huber's, quantiles, directions.

The mean squared error, and the check of predictions and targets, are in loss.py.
"""

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import as_array, host, to_kind_of
from minidl.common.checks import number
from minidl.functions.loss import as_pair
from minidl.functions.weighting import Reduction, in_wide_steps, reduce_loss

__all__ = ["cosine_distance", "huber", "mean_absolute_error", "quantile_loss"]


def mean_absolute_error(
    y: Any, t: Any, *, reduction: Reduction = "mean", weight: Any = None
) -> Any:
    """The mean of ``|y - t|`` over all elements. Where they are equal the slope is 0.

    Args and raises as ``mean_squared_error``.

    >>> mean_absolute_error(np.array([1.0, 4.0]), np.array([1.0, 1.0]))
    np.float64(1.5)
    """
    y, t = as_pair("mean_absolute_error", y, t)
    return in_wide_steps(
        lambda y, t: reduce_loss("mean_absolute_error", np.absolute(y - t), reduction, weight), y, t
    )


def huber(
    y: Any, t: Any, delta: float = 1.0, *, reduction: Reduction = "mean", weight: Any = None
) -> Any:
    """The mean of ``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, d = y - t
    (Huber 1964).

    Args and raises as ``mean_squared_error``; ``delta`` is a number above 0.

    >>> huber(np.array([0.5, 3.0]), np.array([0.0, 0.0]))
    np.float64(1.3125)
    """
    y, t = as_pair("huber", y, t)
    delta = number("huber: delta", delta, positive=True)  # a NumPy number would widen float32

    def loss(y: Any, t: Any) -> Any:
        d = y - t
        near = np.clip(d, -delta, delta)  # not abs(d), whose second derivative at 0 would be lost
        return reduce_loss("huber", near * (d - 0.5 * near), reduction, weight)

    return in_wide_steps(loss, y, t)


def quantile_loss(
    y: Any, t: Any, q: Any, *, reduction: Reduction = "mean", weight: Any = None
) -> Any:
    """The mean of ``q d`` where ``d = t - y`` is above 0, else of ``(q - 1) d``: least where y is
    the quantile q of t (Koenker and Bassett 1978).

    Where y and t are equal the slope is the middle of the two.

    Args:
        y, t: as for ``mean_squared_error``.
        q: a number between 0 and 1, or one for each feature, (features).

    Raises, besides what ``mean_squared_error`` raises, ValueError for another q.

    >>> quantile_loss(np.array([1.0, 3.0]), np.array([2.0, 2.0]), 0.9)
    np.float64(0.5)
    """
    y, t = as_pair("quantile_loss", y, t)
    levels = np.asarray(host(as_array(q, "quantile_loss: q")))
    if levels.shape not in ((), y.shape[-1:]) or not ((levels > 0) & (levels < 1)).all():
        want = "a number between 0 and 1, or one for each of the last axis"
        raise ValueError(f"quantile_loss: q: want {want}, got {q!r}")

    def loss(y: Any, t: Any) -> Any:
        d = t - y
        level = to_kind_of(levels, y, y.dtype)
        return reduce_loss(
            "quantile_loss", np.maximum(level * d, (level - 1) * d), reduction, weight
        )

    return in_wide_steps(loss, y, t)


def _largest(x: Any) -> Any:
    largest = np.absolute(x).max(-1, keepdims=True)
    return np.where(largest == 0, 1, largest)


# fmt: off
_length_scale = differentiable(_largest, name="length_scale")  # no rule: a direction has no length
# fmt: on


def _direction(x: Any) -> Any:
    """Rows of length 1; zeros stay. Scaled first, so that no square leaves the range."""
    x = x / _length_scale(x)
    squares = (x * x).sum(-1, keepdims=True)
    return x / np.sqrt(np.where(squares == 0, 1, squares))


def cosine_distance(y: Any, t: Any, *, reduction: Reduction = "mean", weight: Any = None) -> Any:
    """The mean of 1 minus the cosine of the angle between two rows, over all but the last axis.

    From 0 for one direction to 2 for opposite ones; a row of zeros is at distance 1 of all.

    Args:
        y, t: as for ``mean_squared_error``, (.., features).
        reduction, weight: of the distances, (..).

    Raises what ``mean_squared_error`` raises, and ValueError for a number in place of a row.

    >>> cosine_distance(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    np.float64(0.5)
    """
    y, t = as_pair("cosine_distance", y, t)
    if y.shape[-1:] in [(), (0,)]:
        want = "predictions and targets (.., features)"
        raise ValueError(f"cosine_distance: want {want}, got {y.shape}")

    def loss(y: Any, t: Any) -> Any:
        distances = 1 - (_direction(y) * _direction(t)).sum(-1)
        return reduce_loss("cosine_distance", distances, reduction, weight)

    return in_wide_steps(loss, y, t)
