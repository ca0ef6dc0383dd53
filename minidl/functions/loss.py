"""Losses of numbers: one number for a batch of predictions and targets, the mean over all elements.

They take no silent broadcast: prediction and target have the same shape. Losses of labels are in
classification.py.
"""

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.autograd.operation import Operation
from minidl.common.arrays import as_array

__all__ = ["huber", "mean_squared_error"]


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


def as_number(what: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what} must be a number, got {value!r}") from None


_HALF = np.dtype(np.float16)


def in_range(loss: Any, y: Any, *args: Any) -> Any:
    """``loss(y, *args)``.

    Of float16 in float32, as squares of errors and sums over a batch leave float16's range.
    """
    if y.dtype != _HALF:
        return loss(y, *args)
    wide = [a.astype(np.float32) if getattr(a, "dtype", None) == np.float16 else a for a in args]
    return loss(y.astype(np.float32), *wide).astype(np.float16)


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


def mean_squared_error(y: Any, t: Any) -> Any:
    """The mean of ``(y - t)^2`` over all elements.

    Args:
        y: predictions, floating, any shape.
        t: targets, floating, the same shape; cast to y's dtype.

    Raises:
        ValueError: the shapes differ (also (N, 1) against (N,)).
        TypeError: integers.

    >>> mean_squared_error(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    np.float64(2.0)
    """
    return in_range(_squared, *as_pair("mean_squared_error", y, t))


def huber(y: Any, t: Any, delta: float = 1.0) -> Any:
    """The mean of ``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, d = y - t
    (Huber 1964).

    Args and raises as ``mean_squared_error``.

    >>> huber(np.array([0.5, 3.0]), np.array([0.0, 0.0]))
    np.float64(1.3125)
    """
    y, t = as_pair("huber", y, t)
    delta = as_number("huber: delta", delta)  # a NumPy number would widen float32
    if not delta > 0:
        raise ValueError(f"huber: delta must be positive, got {delta}")
    return in_range(_huber, y, t, delta)


def _huber(y: Any, t: Any, delta: float) -> Any:
    d = y - t
    near = np.clip(d, -delta, delta)  # not abs(d), whose second derivative at 0 would be lost
    return (near * (d - 0.5 * near)).mean()
