"""Running sums, products and extrema along an axis, and the product over axes, whose derivative
needs them.

The other reductions live in reduction.py.
"""

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minidl.autograd.composition import composition, numpys
from minidl.autograd.function import Function, differentiable, implements
from minidl.functions.indexing import index_along, put
from minidl.functions.reduction import HALF, SINGLE, masked, merged, reduced_shape, started

# fmt: off
__all__ = [
    "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "nancumprod", "nancumsum", "nanprod", "prod",
]
# fmt: on


def _backwards(x: Any, axis: int = -1) -> Any:
    return x[(slice(None),) * (axis % x.ndim) + (slice(None, None, -1),)]


def _advanced(x: Any, steps: int) -> Any:
    """``x[j + steps]`` at j along the last axis, and 0 beyond its end."""
    return np.concatenate([x[..., steps:], np.zeros_like(x[..., :steps])], axis=-1)


def _exclusive(products: Any) -> Any:
    """The products of all factors before each: running products moved by one, with 1 in front."""
    return np.concatenate([np.ones_like(products[..., :1]), products[..., :-1]], axis=-1)


def _cumsum_forward(a: Any, axis: int) -> Any:
    if a.dtype is HALF:
        return a.cumsum(axis, SINGLE).astype(HALF)
    return a.cumsum(axis)


def _cumprod_rule(g: Any, y: Any, a: Any) -> Any:
    """All that follows a factor, ``s[j] = g[j] + a[j + 1] s[j + 1]``, times all that goes before
    it.

    The recurrence is solved by doubling: after each round ``s`` holds twice as many terms. Nothing
    is divided by, so factors of 0 are like any other.
    """
    s = g
    factors = _advanced(a, 1)
    steps = 1
    while steps < a.shape[-1]:
        s = s + factors * _advanced(s, steps)
        factors = factors * _advanced(factors, steps)
        steps *= 2
    return s * _exclusive(y)


def _prod_rule(g: Any, y: Any, a: Any) -> Any:
    """The product of all other factors: of those before, and of those after."""
    after = _backwards(_exclusive(_cumprod(_backwards(a))))
    return g.reshape((*g.shape, 1)) * (_exclusive(_cumprod(a)) * after)


def _extreme_rule(g: Any, y: Any, a: Any, extreme: np.ufunc, axis: int) -> Any:
    """The gradient goes to the last element so far that was the extreme."""
    places = np.arange(a.shape[axis]).reshape((-1,) + (1,) * (a.ndim - 1 - axis % a.ndim))
    last = np.maximum.accumulate(np.where(a == y, places, 0), axis)
    return put(g, a.shape, *index_along(a.shape, last, axis))


# fmt: off
# Products run along the last axis.
_cumsum: Function = differentiable(_cumsum_forward,
                                   lambda g, y, a, axis: _backwards(_cumsum(_backwards(g, axis), axis), axis),
                                   name="cumsum", fresh=True)
_cumprod = differentiable(lambda a: a.cumprod(-1), _cumprod_rule, name="cumprod", fresh=True)
_prod    = differentiable(lambda a: a.prod(-1), _prod_rule, name="prod", fresh=True)
_running = differentiable(lambda a, extreme, axis: extreme.accumulate(a, axis), _extreme_rule, name="accumulate",
                          fresh=True)
# fmt: on


def _along(a: Any, axis: int | None) -> tuple[Any, int]:
    """The array and the axis to run along, as NumPy has it: all elements in a row for None."""
    if axis is None:
        return a.reshape(-1), 0
    if a.ndim == 0:
        a = a.reshape(1)
    return a, _axis_index(axis, a.ndim)


def _axis_index(axis: int, ndim: int) -> int:
    if isinstance(axis, bool):
        raise TypeError("want an integer as the axis, got a bool")
    return normalize_axis_index(axis, ndim)


@composition(np.cumsum)
def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums along an axis: NumPy's ``cumsum``.

    >>> cumsum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    a, axis = _along(a if dtype is None else a.astype(dtype), axis)
    return _cumsum(a, axis)


@composition(np.cumprod)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products along an axis: NumPy's ``cumprod``.

    >>> cumprod(np.array([1.0, 2.0, 3.0]))
    array([1., 2., 6.])
    """
    a, axis = _along(a if dtype is None else a.astype(dtype), axis)
    if axis == a.ndim - 1:
        return _cumprod(a)
    return _cumprod(a.swapaxes(axis, -1)).swapaxes(axis, -1)


@composition(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums in which NaN counts as 0: NumPy's ``nancumsum``.

    >>> nancumsum(np.array([1.0, np.nan, 3.0]))
    array([1., 1., 4.])
    """
    return cumsum(np.where(np.isnan(a), 0, a), axis, dtype)


@composition(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products in which NaN counts as 1: NumPy's ``nancumprod``.

    >>> nancumprod(np.array([2.0, np.nan, 3.0]))
    array([2., 2., 6.])
    """
    return cumprod(np.where(np.isnan(a), 1, a), axis, dtype)


@composition(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The product of elements over axes: NumPy's ``prod``. Factors of 0 have the right gradient,
    too.

    >>> prod(np.array([2.0, 3.0, 4.0]), where=[True, False, True])
    np.float64(8.0)
    """
    a = masked(a if dtype is None else a.astype(dtype), where, 1)
    y = _prod(merged(a, axis)).reshape(reduced_shape(a, axis, keepdims))
    return y if initial is None else y * started(initial, y)


@composition(np.nanprod)
def nanprod(a: Any, axis: Any = None, dtype: Any = None, **settings: Any) -> Any:
    """The product in which NaN counts as 1, with the settings of ``prod``: NumPy's ``nanprod``.

    >>> nanprod(np.array([2.0, np.nan, 3.0]))
    np.float64(6.0)
    """
    return prod(np.where(np.isnan(a), 1, a), axis, dtype, **settings)


def _accumulate(extreme: np.ufunc) -> Any:
    @composition()
    def accumulate(array: Any, axis: int = 0) -> Any:
        return _running(array, extreme, _axis_index(axis, array.ndim))

    return accumulate


# The methods of ufuncs, by their full names.
implements("maximum.accumulate")(_accumulate(np.maximum))
implements("minimum.accumulate")(_accumulate(np.minimum))
implements("add.accumulate")(lambda array, axis=0, dtype=None: cumsum(array, axis, dtype))
implements("multiply.accumulate")(lambda array, axis=0, dtype=None: cumprod(array, axis, dtype))
implements("multiply.reduce")(
    lambda array, axis=0, dtype=None, **more: prod(array, axis, dtype, **more)
)


def _from_initial(running: Any, x: Any, axis: int | None, dtype: Any, initial: float | None) -> Any:
    """Running results along an axis, after ``initial`` if that is given."""
    if axis is None and x.ndim > 1:
        raise ValueError(f"want an axis for an array of {x.ndim} axes")
    y = running(x, axis, dtype)
    if initial is None:
        return y
    first = np.zeros_like(np.take(y, [0], axis=axis or 0)) + initial
    return np.concatenate([first, y], axis=axis or 0)


@composition(*numpys("cumulative_sum"))
def cumulative_sum(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running sums, after 0 if ``include_initial``: NumPy's ``cumulative_sum``.

    >>> cumulative_sum(np.array([1.0, 2.0]), include_initial=True)
    array([0., 1., 3.])
    """
    return _from_initial(cumsum, x, axis, dtype, 0.0 if include_initial else None)


@composition(*numpys("cumulative_prod"))
def cumulative_prod(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running products, after 1 if ``include_initial``: NumPy's ``cumulative_prod``.

    >>> cumulative_prod(np.array([2.0, 3.0]), include_initial=True)
    array([1., 2., 6.])
    """
    return _from_initial(cumprod, x, axis, dtype, 1.0 if include_initial else None)
