"""Reductions over axes: sums, products, means, variances, extrema. The engine expands their
gradients.

Products and running sums live in cumulative.py, order statistics in statistics.py, softmax in
activation.py.
"""

import builtins
import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minidl.autograd.composition import composition, real
from minidl.autograd.function import differentiable, implements
from minidl.autograd.operation import Operation
from minidl.functions.into import sum_into

# fmt: off
__all__ = [
    "count_nonzero", "max", "mean", "min", "nanmax", "nanmean", "nanmin", "nanstd",
    "nansum", "nanvar", "ptp", "std", "sum", "var",
]
# fmt: on

HALF = np.dtype(np.float16)
SINGLE = np.dtype(np.float32)


def keepdims_shape(a: Any, axis: Any) -> tuple[int, ...]:
    """The shape that ``a`` has when reduced over ``axis`` with ``keepdims=True``."""
    if axis is None or a.ndim == 0:
        shape: tuple[int, ...] = (1,) * a.ndim
        return shape
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    reduced = {i % a.ndim for i in axes}
    return tuple(1 if i in reduced else n for i, n in enumerate(a.shape))


def count(a: Any, axis: Any) -> int:
    """How many elements are reduced to one."""
    shape = keepdims_shape(a, axis)
    return math.prod(n for n, k in zip(a.shape, shape, strict=True) if k == 1)


def wide(x: Any) -> Any:
    """float16 as float32, in which sums and counts of it can be held; anything else as it is."""
    return x.astype(SINGLE) if x.dtype is HALF else x


def _reciprocal(n: float) -> float:
    """1 / n; of no degrees of freedom infinity, as the value says."""
    return 1 / n if n > 0 else math.inf


def over_or_zero(g: Any, y: Any) -> Any:
    """``g / y``, and 0 where y is 0: the chosen sub-gradient of roots."""
    zero = y == 0
    return np.where(zero, 0, g / np.where(zero, 1, y))


def _sum_forward(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    if a.dtype is HALF:
        return a.sum(axis, SINGLE, keepdims=keepdims).astype(HALF)
    return a.sum(axis, keepdims=keepdims)


def _var_forward(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    if a.dtype is HALF:
        return a.var(axis, SINGLE, ddof=ddof, keepdims=keepdims).astype(HALF)
    return a.var(axis, ddof=ddof, keepdims=keepdims)


def _to_extremes(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The gradient goes to the elements that are the extreme, in equal shares.

    Where that is NaN it is NaN.
    """
    if axis is not None:
        shape = keepdims_shape(a, axis)
        g = g.reshape(shape)
        y = y.reshape(shape)
    g = wide(g)
    unknown = y != y
    tied = (a == y) | unknown
    share = g / tied.sum(axis, keepdims=True).astype(g.dtype)
    return np.where(tied, np.where(unknown, y, share), 0)


# ---- the arguments of NumPy that the rules do not know: compositions of those that they do -------


def _mask(a: Any, where: Any) -> Any:
    """The mask in the shape of ``a``."""
    where = real(where)
    if where.dtype != bool or np.broadcast_shapes(where.shape, a.shape) != a.shape:
        raise ValueError(
            f"where= wants bools that broadcast to {a.shape}, got {where.dtype} {where.shape}"
        )
    return np.broadcast_to(where, a.shape)


def masked(a: Any, where: Any, fill: Any) -> Any:
    """``a`` with ``fill`` where the mask does not hold."""
    return a if where is True else np.where(_mask(a, where), a, fill)


def _count_where(a: Any, axis: Any, where: Any, dtype: Any, keepdims: bool) -> Any:
    """How many elements the mask lets in, as an array of the dtype."""
    return np.sum(_mask(a, where), axis, keepdims=keepdims).astype(dtype)


@composition()
def _sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The sum of elements over axes: NumPy's ``sum``.

    >>> sum(np.array([1.0, 2.0, 4.0]), where=[True, False, True])
    np.float64(5.0)
    """
    a = masked(a if dtype is None else a.astype(dtype), where, 0)
    y = sum(a, axis, keepdims=keepdims)
    return y if initial is None else y + started(initial, y)


@composition()
def _mean(
    a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    """The arithmetic mean over axes: NumPy's ``mean``.

    >>> mean(np.array([1.0, 2.0, 4.0]), where=[True, True, False])
    np.float64(1.5)
    """
    a = a if dtype is None else a.astype(dtype)
    if where is True:
        return mean(a, axis, keepdims=keepdims)
    total = sum(masked(a, where, 0), axis, keepdims=keepdims)
    return total / _count_where(
        a, axis, where, total.dtype if total.dtype.kind == "f" else float, keepdims
    )


@composition()
def _var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """The variance over axes, the mean of (a - mean(a))^2, divided by n - ddof: NumPy's ``var``.

    >>> var(np.array([1.0, 2.0, 3.0]), correction=1)
    np.float64(1.0)
    """
    if correction is not None:
        if ddof:
            raise ValueError(f"var: want ddof or correction, got both ({ddof} and {correction})")
        ddof = correction
    a = a if dtype is None else a.astype(dtype)
    if where is True and mean is None:
        return var(a, axis, ddof=ddof, keepdims=keepdims)
    center = _mean(a, axis, keepdims=True, where=where) if mean is None else mean
    deviation = masked(a - center, where, 0)
    squares = sum(deviation * deviation, axis, keepdims=keepdims)
    return squares / np.maximum(_count_where(a, axis, where, squares.dtype, keepdims) - ddof, 0)


def reduced_shape(a: Any, axis: Any, keepdims: bool) -> tuple[int, ...]:
    """The shape that ``a`` has when reduced, the arguments checked by NumPy."""
    shape: tuple[int, ...] = np.sum(np.broadcast_to(False, a.shape), axis, keepdims=keepdims).shape
    return shape


def merged(a: Any, axis: Any) -> Any:
    """``a`` with the reduced axes (all for None) as one, the last."""
    if axis is None or a.ndim == 0:
        return a.reshape(-1)
    last = normalize_axis_tuple(axis, a.ndim)
    first = [i for i in range(a.ndim) if i not in last]
    shape = tuple(a.shape[i] for i in first)
    return a.transpose((*first, *last)).reshape((*shape, count(a, axis)))


def started(initial: Any, like: Any) -> Any:
    """What a reduction starts with, in the dtype of ``like``, as NumPy has it."""
    initial = real(initial)
    if initial.ndim:
        raise ValueError(f"initial= wants one number, got shape {initial.shape}")
    return initial.astype(like.dtype)


def _extreme(reduce: Any, a: Any, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
    """max or min with a value to start with, which is one more element."""
    if initial is None:
        if where is not True:
            raise ValueError(f"{reduce.name}: where= wants initial=, for where nothing takes part")
        return reduce(a, axis, keepdims=keepdims)
    shape = reduced_shape(a, axis, keepdims)
    initial = started(initial, a)
    rest = merged(masked(a, where, initial), axis)
    first = np.broadcast_to(initial, (*rest.shape[:-1], 1))
    return reduce(np.concatenate([first, rest], axis=-1), -1).reshape(shape)


@composition()
def _max(
    a: Any, axis: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """The largest element over axes: NumPy's ``max``. Where several tie, each gets an equal share
    of the gradient.

    >>> max(np.array([1.0, 3.0]), initial=5.0)
    np.float64(5.0)
    """
    return _extreme(max, a, axis, keepdims, initial, where)


@composition()
def _min(
    a: Any, axis: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """The smallest element over axes: NumPy's ``min``. Where several tie, each gets an equal share
    of the gradient.

    >>> min(np.array([1.0, 3.0]))
    np.float64(1.0)
    """
    return _extreme(min, a, axis, keepdims, initial, where)


# fmt: off
sum  = differentiable(_sum_forward,
                      lambda g, y, a, axis=None, *, keepdims=False:
                      g if axis is None else g.reshape(keepdims_shape(a, axis)),
                      replaces=(np.sum,), general=_sum, operation=Operation(into=sum_into, kind="reduce"))
mean = differentiable(lambda a, axis=None, *, keepdims=False: a.mean(axis, keepdims=keepdims),
                      lambda g, y, a, axis=None, *, keepdims=False:
                      wide(g) / builtins.max(a.size, 1) if axis is None
                      else wide(g).reshape(keepdims_shape(a, axis)) / builtins.max(count(a, axis), 1),
                      replaces=(np.mean,), general=_mean, fresh=True)
var  = differentiable(_var_forward,
                      lambda g, y, a, axis=None, *, ddof=0, keepdims=False:
                      wide(g).reshape(keepdims_shape(a, axis)) * (wide(a) - wide(a).mean(axis, keepdims=True))
                      * (2 * _reciprocal(count(a, axis) - ddof)),
                      replaces=(np.var,), general=_var, fresh=True)
# Where several elements tie, each gets an equal share of the gradient.
max  = differentiable(lambda a, axis=None, *, keepdims=False: a.max(axis, keepdims=keepdims), _to_extremes,
                      replaces=(np.max, np.amax), general=_max)
min  = differentiable(lambda a, axis=None, *, keepdims=False: a.min(axis, keepdims=keepdims), _to_extremes,
                      replaces=(np.min, np.amin), general=_min)
# fmt: on

root = differentiable(lambda v: np.sqrt(v), lambda g, y, v: over_or_zero(0.5 * g, y), name="root")


@composition(np.std)
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """The standard deviation over axes, the root of ``var``: NumPy's ``std``. Of constants its
    gradient is 0.

    >>> std(np.array([1.0, 3.0]))
    np.float64(1.0)
    """
    variance = _var(
        wide(a),  # which may leave the range of float16 where its root does not
        axis,
        dtype,
        ddof=ddof,
        keepdims=keepdims,
        where=where,
        mean=mean,
        correction=correction,
    )
    y = root(variance)
    return y.astype(HALF) if a.dtype is HALF and dtype is None else y


@composition(np.ptp)
def ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest element less the smallest: NumPy's ``ptp``.

    >>> ptp(np.array([3.0, 1.0, 4.0]))
    np.float64(3.0)
    """
    return max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)


@composition(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """How many elements are not 0: NumPy's ``count_nonzero``.

    >>> count_nonzero(np.array([0.0, 2.0]))
    np.int64(1)
    """
    return sum(a != 0, axis, keepdims=keepdims)


# ---- without NaN ---------------------------------------------------------------------------------


@composition(np.nansum)
def nansum(a: Any, axis: Any = None, dtype: Any = None, **settings: Any) -> Any:
    """The sum in which NaN counts as 0, with the settings of ``sum``: NumPy's ``nansum``.

    >>> nansum(np.array([1.0, np.nan]))
    np.float64(1.0)
    """
    return sum(np.where(np.isnan(a), 0, a), axis, dtype, **settings)


@composition(np.nanmean)
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    """The mean of all but NaN: NumPy's ``nanmean``.

    >>> nanmean(np.array([1.0, np.nan, 2.0]))
    np.float64(1.5)
    """
    return mean(a, axis, dtype, keepdims=keepdims, where=~np.isnan(a) & where)


@composition(np.nanvar)
def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, *, where: Any = True, **settings: Any
) -> Any:
    """The variance of all but NaN, with the settings of ``var``: NumPy's ``nanvar``.

    >>> nanvar(np.array([1.0, np.nan, 3.0]))
    np.float64(1.0)
    """
    return var(a, axis, dtype, where=~np.isnan(a) & where, **settings)


@composition(np.nanstd)
def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, *, where: Any = True, **settings: Any
) -> Any:
    """The standard deviation of all but NaN, with the settings of ``std``: NumPy's ``nanstd``.

    >>> nanstd(np.array([1.0, np.nan, 3.0]))
    np.float64(1.0)
    """
    return root(var(a, axis, dtype, where=~np.isnan(a) & where, **settings))


def _nan_extreme(reduce: Any, outermost: float, a: Any, axis: Any, keepdims: bool) -> Any:
    """Of all but NaN; NaN where there is nothing else."""
    unknown = np.isnan(a)
    y = reduce(np.where(unknown, outermost, a), axis, keepdims=keepdims)
    return np.where(np.all(unknown, axis, keepdims=keepdims), math.nan, y)


@composition(np.nanmax)
def nanmax(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest element that is not NaN: NumPy's ``nanmax``.

    >>> nanmax(np.array([1.0, np.nan, 3.0]))
    np.float64(3.0)
    """
    return _nan_extreme(max, -math.inf, a, axis, keepdims)


@composition(np.nanmin)
def nanmin(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The smallest element that is not NaN: NumPy's ``nanmin``.

    >>> nanmin(np.array([1.0, np.nan, 3.0]))
    np.float64(1.0)
    """
    return _nan_extreme(min, math.inf, a, axis, keepdims)


# The methods of ufuncs, by their full names: they reduce the first axis if not told which.
implements("add.reduce")(lambda array, axis=0, dtype=None, **more: sum(array, axis, dtype, **more))
implements("maximum.reduce")(lambda array, axis=0, **more: max(array, axis, **more))
implements("minimum.reduce")(lambda array, axis=0, **more: min(array, axis, **more))
implements("fmax.reduce")(lambda array, axis=0, **more: nanmax(array, axis, **more))
implements("fmin.reduce")(lambda array, axis=0, **more: nanmin(array, axis, **more))
