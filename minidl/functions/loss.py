"""The mean squared error, and what losses of numbers have in common: prediction and target are of
one shape, nothing is broadcast.

The other losses of numbers are in regression.py; weights, and sums in place of means, in
weighting.py.
"""

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.autograd.operation import Operation
from minidl.common.arrays import as_array
from minidl.functions.weighting import Reduction, in_wide_steps, is_mean, reduce_loss

__all__ = ["mean_squared_error"]


def as_pair(name: str, y: Any, t: Any) -> tuple[Any, Any]:
    """Prediction and target: both floating, of one shape, the target in the prediction's dtype."""
    y = as_array(y, name)
    t = as_array(t, name)
    if y.shape != t.shape:
        shapes = f"{y.dtype} {y.shape}, {t.dtype} {t.shape}"
        raise ValueError(f"{name}: prediction and target differ in shape: {shapes}")
    if y.dtype.kind != "f" or t.dtype.kind != "f":
        kinds = f"{y.dtype} and {t.dtype}"
        raise TypeError(f"{name}: want floating predictions and targets, got {kinds}")
    return y, t if t.dtype == y.dtype else t.astype(y.dtype)


def _mse(y: Any, t: Any) -> Any:
    d = (y - t).reshape(-1)
    # BLAS takes half of the time, but adds up one after the other: its error grows with the length.
    total = d @ d if d.size <= 1000 else (d * d).sum()
    return total / max(d.size, 1)


# fmt: off
_squared = differentiable(_mse, lambda g, out, y, t: (y - t) * (g * (2 / max(y.size, 1))),
                                lambda g, out, y, t: (t - y) * (g * (2 / max(y.size, 1))), name="mean_squared_error",
                          operation=Operation(inline=True))
# fmt: on


def mean_squared_error(y: Any, t: Any, *, reduction: Reduction = "mean", weight: Any = None) -> Any:
    """The mean of ``(y - t)^2`` over all elements.

    Args:
        y: predictions, floating, any shape.
        t: targets, floating, the same shape; cast to y's dtype.
        reduction: "sum" for the sum, "none" for each by itself.
        weight: w, finite and not negative, of the leading axes of y: the mean is then ``sum(w l) /
            sum(w)``, and 0 if all weights are. A number for each row, most often.

    Raises:
        ValueError: the shapes differ (also (N, 1) against (N,)); a weight of another shape,
            negative or not finite; an unknown reduction.
        TypeError: integers.

    >>> y, t = np.array([1.0, 3.0]), np.array([1.0, 1.0])
    >>> mean_squared_error(y, t), mean_squared_error(y, t, weight=[3.0, 1.0])
    (np.float64(2.0), np.float64(1.0))
    """
    y, t = as_pair("mean_squared_error", y, t)
    if weight is None and is_mean(reduction):
        return in_wide_steps(_squared, y, t)
    return in_wide_steps(
        lambda y, t: reduce_loss("mean_squared_error", np.square(y - t), reduction, weight), y, t
    )
