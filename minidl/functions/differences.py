"""Differences and sums along an axis as in calculus, and grids.

Running sums live in cumulative.py, polynomials in polynomials.py.
"""

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from minidl.autograd.composition import composition, real
from minidl.autograd.function import differentiable
from minidl.common.arrays import as_array

# fmt: off
__all__ = [
    "diff", "ediff1d", "geomspace", "gradient", "linspace", "logspace", "trapezoid", "unwrap",
]
# fmt: on


def _cut(a: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """A slice along one axis."""
    return a[(slice(None),) * axis + (slice(start, stop),)]


@composition(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along an axis, n times: NumPy's ``diff``.

    >>> diff(np.array([1.0, 4.0, 9.0]))
    array([3., 5.])
    """
    if n < 0:
        raise ValueError(f"want an order of at least 0, got {n}")
    axis = normalize_axis_index(axis, a.ndim)
    parts = [_edge(prepend, a, axis), a, _edge(append, a, axis)]
    a = np.concatenate([p for p in parts if p is not None], axis) if n else a
    for _ in range(min(n, a.shape[axis])):
        later = _cut(a, axis, 1, None)
        before = _cut(a, axis, None, -1)
        a = later != before if a.dtype == bool else later - before
    return a


def _like(value: Any, a: Any) -> Any:
    """A value beside the array ``a``: Python's numbers do not widen it."""
    if isinstance(value, (int, float)):
        return np.asarray(value, np.result_type(a.dtype, value))
    return real(value)


def _edge(value: Any, a: Any, axis: int) -> Any:
    if value is None:
        return None
    value = _like(value, a)
    shape = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    return np.broadcast_to(value, shape) if value.ndim == 0 else value


@composition(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours in the flattened array, with values before and after: NumPy's.

    >>> ediff1d(np.array([1.0, 4.0, 9.0]), to_begin=0.0)
    array([0., 3., 5.])
    """
    flat = ary.reshape(-1)
    parts = [to_begin, flat[1:] - flat[:-1], to_end]  # of bools refused, which diff would compare
    vectors = []
    for part in parts:
        if part is not None:
            vector = _like(part, ary)
            if not np.can_cast(vector.dtype, ary.dtype, "same_kind"):
                raise TypeError(f"want what a {ary.dtype} holds before and after, got {part!r:.40}")
            vectors.append(vector.astype(ary.dtype).reshape(-1))
    return np.concatenate(vectors)


def _check_steps(steps: Any) -> Any:
    if not (steps.all() and np.isfinite(steps).all()):
        raise ValueError("want coordinates that are finite and differ from their neighbours")
    return steps


# fmt: off
_checked_steps = differentiable(_check_steps, lambda g, y, steps: g, name="gradient")
# fmt: on


@composition(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Slopes of samples along axes, by central differences of second order: NumPy's ``gradient``.

    >>> gradient(np.array([1.0, 4.0, 9.0]))
    array([3., 4., 5.])
    """
    axes = range(f.ndim) if axis is None else normalize_axis_tuple(axis, f.ndim)
    spacings = [real(h) for h in varargs] or [np.ones(())]
    if len(spacings) == 1 and spacings[0].ndim == 0:
        spacings = spacings * len(axes)
    if len(spacings) != len(axes) or edge_order not in (1, 2):
        raise TypeError(f"want a spacing for each of {len(axes)} axes, and edge_order 1 or 2")
    if f.dtype.kind == "b":
        raise TypeError("want numbers, got bool")
    if f.dtype.kind != "f":
        f = f.astype(float)
    slopes = tuple(_slope(f, x, a, edge_order) for x, a in zip(spacings, axes, strict=True))
    return slopes if len(slopes) > 1 else slopes[0]


def _slope(f: Any, x: Any, axis: int, edge_order: int) -> Any:
    """Along one axis, from a step or from coordinates x."""
    f = f.swapaxes(axis, -1)
    n = f.shape[-1]
    if n <= edge_order or (x.ndim and x.shape != (n,)):
        raise ValueError(f"want more than {edge_order} samples and as many coordinates, got {n}")
    x = x.astype(f.dtype)  # before differences, which small integers would not hold
    steps = _checked_steps(diff(x)) if x.ndim else np.broadcast_to(x, (n - 1,))
    rise = diff(f) / steps  # slopes between neighbours
    left = steps[:-1]
    right = steps[1:]
    if x.ndim:
        inner = (rise[..., :-1] * right + rise[..., 1:] * left) / (left + right)
    else:  # the sample between the two does not count, not even if it is infinite
        inner = (f[..., 2:] - f[..., :-2]) / (left + right)
    first = rise[..., :1]
    last = rise[..., -1:]
    if edge_order == 2:  # the slope of the parabola through three samples, at its ends
        bend = (rise[..., 1:] - rise[..., :-1]) / (left + right)
        first = first - bend[..., :1] * steps[:1]
        last = last + bend[..., -1:] * steps[-1:]
    return np.concatenate([first, inner, last], axis=-1).swapaxes(axis, -1)


@composition(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples along an axis by the trapezoidal rule: NumPy's ``trapezoid``.

    >>> trapezoid(np.array([1.0, 2.0, 3.0]))
    np.float64(4.0)
    """
    d = dx
    if x is not None:
        x = real(x)
        d = diff(x, axis=axis) if x.ndim > 1 else diff(x)
    place = normalize_axis_index(axis, y.ndim)
    if x is not None and x.ndim == 1:
        d = d.reshape((-1,) + (1,) * (y.ndim - 1 - place))
    return (d * (_cut(y, place, 1, None) + _cut(y, place, None, -1)) * 0.5).sum(axis)


@composition(np.linspace, arrays=0)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Numbers at equal distances from start to stop: NumPy's ``linspace``.

    >>> linspace(0.0, 1.0, 3)
    array([0. , 0.5, 1. ])
    """
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"want at least 0 samples, got {num}")
    start, stop = (v if isinstance(v, (int, float)) else real(v) for v in (start, stop))
    span = real(stop * 1.0 - start * 1.0)
    parts = num - 1 if endpoint else num
    shares = np.arange(num).reshape((-1,) + (1,) * span.ndim) / max(parts, 1)
    inside = start + span * shares.astype(span.dtype)
    y = np.moveaxis(np.where(shares == 1, stop * 1.0, inside), 0, axis)  # the end without rounding
    y = y if dtype is None else y.astype(dtype)
    if not retstep:
        return y
    return y, span / parts if parts > 0 else np.nan


@composition(np.logspace, arrays=0)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """``base`` to the power of numbers at equal distances: NumPy's ``logspace``.

    >>> logspace(0.0, 2.0, 3)
    array([  1.,  10., 100.])
    """
    y = base ** linspace(start, stop, num, endpoint, axis=axis)
    return y if dtype is None else y.astype(dtype)


@composition(np.geomspace, arrays=0)
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """Numbers of equal ratios from start to stop, both of one sign: NumPy's ``geomspace``.

    >>> geomspace(1.0, 100.0, 3)
    array([  1.,  10., 100.])
    """
    ratio = as_array(stop) / start
    shares = linspace(np.zeros_like(ratio), np.ones_like(ratio), num, endpoint)
    y = np.moveaxis(start * ratio**shares, 0, axis)
    return y if dtype is None else y.astype(dtype)


# fmt: off
_turns = differentiable(lambda p, discont, axis, period: np.unwrap(p, discont, axis, period=period) - p, name="unwrap")
# fmt: on


@composition(np.unwrap)
def unwrap(
    p: Any, discont: Any = None, axis: int = -1, *, period: float = 6.283185307179586
) -> Any:
    """Angles without jumps of more than half a period: NumPy's ``unwrap``. What is added is
    constant.

    >>> unwrap(np.array([0.0, 3.0, 6.0, 9.0 - 2 * np.pi])).round(6)
    array([0., 3., 6., 9.])
    """
    return p + _turns(p, discont, axis, period)
