"""Order: sorting, partial sorting, searching, the distinct values, interpolation between them.

Medians and quantiles live in statistics.py; functions that pick by index in indexing.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd.composition import composition, real
from minidl.autograd.function import differentiable
from minidl.functions.indexing import take_along_axis

# fmt: off
__all__ = [
    "argpartition", "argwhere", "digitize", "flatnonzero", "interp", "isclose", "lexsort",
    "partition", "searchsorted", "sort", "unique",
]

# fmt: on


def _check_rising(xp: Any) -> Any:
    falling = xp[1:] < xp[:-1]
    if falling.any():
        raise ValueError("want xp rising: sort the points by xp")
    return xp


# fmt: off
# Places and answers: recorded, without a rule.
argpartition = differentiable(np.argpartition, replaces=(np.argpartition,))
argwhere     = differentiable(np.argwhere,     replaces=(np.argwhere,), static=0)
digitize     = differentiable(np.digitize,     replaces=(np.digitize,))
flatnonzero  = differentiable(np.flatnonzero,  replaces=(np.flatnonzero,), static=0)
isclose      = differentiable(np.isclose,      replaces=(np.isclose,))
searchsorted = differentiable(np.searchsorted, replaces=(np.searchsorted,))
_lexsort     = differentiable(np.lexsort, name="lexsort")
_distinct    = differentiable(lambda a, equal_nan: np.unique(a, True, True, True, equal_nan=equal_nan)[1:],
                              name="unique", static=0)
_rising      = differentiable(_check_rising, lambda g, y, xp: g, name="interp")
# fmt: on


def _row(a: Any, axis: int | None) -> tuple[Any, int]:
    """The array and the axis; all elements in a row for None."""
    return (a.reshape(-1), 0) if axis is None else (a, axis)


@composition(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Any:
    """The elements in rising order along an axis, NaN last: NumPy's ``sort``.

    Equal elements stay in their order (the sort is always stable), and so do their gradients.

    >>> sort(np.array([3.0, 1.0, 2.0]))
    array([1., 2., 3.])
    """
    a, axis = _row(a, axis)
    return take_along_axis(a, np.argsort(a, axis, stable=True), axis)


@composition(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect") -> Any:
    """The element number ``kth`` in its sorted place, smaller ones before, larger ones after:
    NumPy's ``partition``.

    >>> partition(np.array([3.0, 1.0, 2.0]), 0)[0]
    np.float64(1.0)
    """
    a, axis = _row(a, axis)
    return take_along_axis(a, np.argpartition(a, kth, axis, kind), axis)


@composition(np.lexsort, arrays=0)
def lexsort(keys: Sequence[Any], axis: int = -1) -> Any:
    """The places that sort by several keys, the last one first: NumPy's ``lexsort``.

    >>> lexsort(([2.0, 1.0], [0.0, 0.0]))
    array([1, 0])
    """
    return _lexsort(np.stack([real(key) for key in keys]), axis)


@composition(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: None = None,
    *,
    equal_nan: bool = True,
) -> Any:
    """The distinct elements in rising order: NumPy's ``unique``. The first of equals gets the
    gradient.

    >>> unique(np.array([2.0, 1.0, 2.0]), return_counts=True)
    (array([1., 2.]), array([1, 2]))
    """
    if axis is not None:
        raise ValueError(f"want axis=None, got {axis}: distinct slices have no rule")
    places, inverse, counts = _distinct(ar, equal_nan)
    results = [ar.reshape(-1)[places]]
    results += [places] if return_index else []
    results += [inverse] if return_inverse else []
    results += [counts] if return_counts else []
    return tuple(results) if len(results) > 1 else results[0]


@composition(np.interp, arrays=3)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: float | None = None
) -> Any:
    """Linear interpolation through the points ``(xp, fp)``, xp rising: NumPy's ``interp``.

    Beyond the ends it is ``left`` and ``right``, by default the values there. At a point the slope
    is that of the piece on its right.

    >>> interp(1.5, [1.0, 2.0], [10.0, 20.0])
    np.float64(15.0)
    """
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(f"want points as two vectors of one length, got {xp.shape}, {fp.shape}")
    left = left if left is None else _number(left)
    right = right if right is None else _number(right)
    kind = np.result_type(x.dtype, xp.dtype, fp.dtype)
    x, xp, fp = [v.astype(kind if kind.kind == "f" else np.float64) for v in (x, xp, fp)]
    if period is None:
        xp = _rising(xp)
    else:
        x, xp, fp = _periodic(x, xp, fp, period)
        left = right = None
    if xp.size == 1:
        inside = np.broadcast_to(fp[0], x.shape)
    else:
        i = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, xp.size - 2)
        inside = _on_line(x, (xp[i], xp[i + 1]), (fp[i], fp[i + 1]))
    y = np.where(x > xp[-1], fp[-1] if right is None else right, inside)
    return np.where(x < xp[0], fp[0] if left is None else left, y)


def _number(value: Any) -> Any:
    value = real(value)
    if value.ndim:
        raise ValueError(f"want numbers for left and right, got shape {value.shape}")
    return value


def _on_line(x: Any, xs: tuple[Any, Any], ys: tuple[Any, Any]) -> Any:
    """The value at x of the line through two points; beside an infinity, as NumPy has it, what the
    other end says.
    """
    rise = ys[1] - ys[0]
    run = xs[1] - xs[0]
    y = ys[0] + rise * ((x - xs[0]) / run)
    y = np.where(np.isnan(y), ys[1] - rise * ((xs[1] - x) / run), y)
    y = np.where(np.isnan(y) & ((x == xs[0]) | (ys[0] == ys[1])), ys[0], y)
    return np.where(np.isnan(y) & (x == xs[1]), ys[1], y)


def _periodic(x: Any, xp: Any, fp: Any, period: float) -> tuple[Any, Any, Any]:
    """All within one period, the points in order, with one of the neighbouring periods at either
    end.
    """
    if period == 0:
        raise ValueError("want a period other than 0")
    period = abs(period)
    x = x - np.floor(x / period) * period
    xp = xp - np.floor(xp / period) * period
    order = np.argsort(xp)
    xp = xp[order]
    fp = fp[order]
    ends = [xp[-1:] - period, xp, xp[:1] + period]
    return x, np.concatenate(ends), np.concatenate([fp[-1:], fp, fp[:1]])
