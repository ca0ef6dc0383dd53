"""Statistics beyond means and variances: averages with weights, quantiles, covariances.

Means, variances and their forms without NaN live in reduction.py.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minidl.autograd.composition import composition, real
from minidl.autograd.function import differentiable
from minidl.functions.indexing import take_along_axis
from minidl.functions.order import sort
from minidl.functions.reduction import merged, reduced_shape
from minidl.functions.weighting import as_weight

# fmt: off
__all__ = [
    "average", "corrcoef", "cov", "median", "nanmedian", "nanpercentile", "nanquantile",
    "percentile", "quantile",
]
# fmt: on


def _check_total(total: Any) -> Any:
    if total.size == 0 or np.any(total == 0):
        raise ZeroDivisionError("the weights sum to zero, or there are none")
    return total


# fmt: off
_checked_total = differentiable(_check_total, lambda g, y, total: g, name="average")
# fmt: on


@composition(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The mean with weights, ``sum(w a) / sum(w)``: NumPy's ``average``.

    >>> average(np.array([1.0, 4.0]), weights=[2.0, 1.0])
    np.float64(2.0)
    """
    axis = None if axis is None else normalize_axis_tuple(axis, a.ndim)
    weights = np.ones(a.shape, a.dtype) if weights is None else real(weights)
    weights = weights.astype(np.result_type(a.dtype, weights.dtype))  # that of the sums
    if weights.shape != a.shape:
        if axis is None or weights.shape != tuple([a.shape[i] for i in axis]):
            raise ValueError(
                f"want weights of shape {a.shape}, or along the axes, got {weights.shape}"
            )
        shape = [n if i in axis else 1 for i, n in enumerate(a.shape)]
        weights = weights.transpose(np.argsort(axis)).reshape(shape)
    weights = np.broadcast_to(weights, a.shape)
    total = _checked_total(np.sum(weights, axis, keepdims=keepdims))
    y = np.sum(a * weights, axis, keepdims=keepdims) / total
    return (y, total) if returned else y


# ---- quantiles -----------------------------------------------------------------------------------


def _between(alpha: float, beta: float) -> Callable[[Any, float], Any]:
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _middle(place: Any) -> Any:
    return 0.5 * (np.floor(place) + np.ceil(place))


# Where in n sorted elements, counted from 0, a quantile stands.
_linear = _between(1, 1)
_METHODS: dict[str, Callable[[Any, float], Any]] = {
    "linear": _linear,
    "lower": lambda n, q: np.floor(_linear(n, q)),
    "higher": lambda n, q: np.ceil(_linear(n, q)),
    "nearest": lambda n, q: np.rint(_linear(n, q)),
    "midpoint": lambda n, q: _middle(_linear(n, q)),
    "interpolated_inverted_cdf": _between(0, 1),
    "hazen": _between(0.5, 0.5),
    "weibull": _between(0, 0),
    "median_unbiased": _between(1 / 3, 1 / 3),
    "normal_unbiased": _between(3 / 8, 3 / 8),
}


def _quantiles(a: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool) -> Any:
    """Quantiles of the sorted elements, whose axes, those of q, come first; the median for None."""
    if method not in _METHODS:
        raise ValueError(f"want a method of {', '.join(_METHODS)}, got {method!r}")
    if q is not None and not ((q >= 0) & (q <= 1)).all():
        raise ValueError("want quantiles in [0, 1]")
    if axis is not None:
        axis = normalize_axis_tuple(axis, a.ndim)
    shape = reduced_shape(a, axis, keepdims)
    rising = sort(merged(a, axis))
    unknown = np.isnan(rising)
    n = (
        np.sum(~unknown, -1, keepdims=True)
        if skip_nan
        else np.full((1,) * rising.ndim, rising.shape[-1])
    )

    def known(y: Any) -> Any:
        if not skip_nan:
            has_nan = unknown[..., -1:]
            # Where the value is NaN, so is the gradient of each element.
            nan = (np.where(has_nan, rising, 0) * math.nan).sum(-1, keepdims=True)
            y = np.where(has_nan, nan, y)
        return y.reshape(shape)

    if q is None:
        return known(_median(rising, n))
    whole = method in ("lower", "higher", "nearest")
    places = [_METHODS[method](n, one) for one in q.reshape(-1).tolist()]
    results = [known(_quantile(rising, n, place, whole)) for place in places]
    return np.stack(results).reshape(q.shape + shape)


def _quantile(rising: Any, n: Any, place: Any, whole: bool) -> Any:
    """The value at a place between two of the first n elements, or at a ``whole`` one, for each row
    (as an axis of length 1).
    """
    place = np.clip(place, 0, n - 1)
    low = np.floor(place).astype(int)
    first = _at(rising, low)
    if whole:  # beside an infinity nothing is left of what counts nothing
        return first
    part = (place - low).astype(rising.dtype if rising.dtype.kind == "f" else float)
    second = _at(rising, np.minimum(low + 1, n - 1))
    gap = second - first
    # From the nearer one, as NumPy does: beside an infinity the two differ.
    return np.where(part < 0.5, first + gap * part, second - gap * (1 - part))


def _at(rising: Any, place: Any) -> Any:
    return take_along_axis(rising, np.broadcast_to(place, (*rising.shape[:-1], 1)), -1)


def _median(rising: Any, n: Any) -> Any:
    return _at(rising, (n - 1) // 2) * 0.5 + _at(rising, n // 2) * 0.5


@composition(np.quantile)
def quantile(
    a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """The value below which a part q of the elements lies: NumPy's ``quantile``; of equals the
    first ones count less.

    >>> quantile(np.array([1.0, 2.0, 4.0]), [0.25, 0.5])
    array([1.5, 2. ])
    """
    return _quantiles(a, np.asarray(q, float), axis, method, keepdims, skip_nan=False)


@composition(np.percentile)
def percentile(
    a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """The quantile of q per cent: NumPy's ``percentile``.

    >>> percentile(np.array([1.0, 2.0, 4.0]), 50)
    np.float64(2.0)
    """
    return _quantiles(a, np.asarray(q, float) / 100, axis, method, keepdims, skip_nan=False)


@composition(np.median)
def median(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The middle element, or the mean of the two in the middle: NumPy's ``median``.

    >>> median(np.array([1.0, 2.0, 4.0, 9.0]))
    np.float64(3.0)
    """
    return _quantiles(a, None, axis, "linear", keepdims, skip_nan=False)


@composition(np.nanquantile)
def nanquantile(
    a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """The quantile of all but NaN: NumPy's ``nanquantile``.

    >>> nanquantile(np.array([1.0, np.nan, 2.0]), 0.5)
    np.float64(1.5)
    """
    return _quantiles(a, np.asarray(q, float), axis, method, keepdims, skip_nan=True)


@composition(np.nanpercentile)
def nanpercentile(
    a: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """The percentile of all but NaN: NumPy's ``nanpercentile``.

    >>> nanpercentile(np.array([1.0, np.nan, 2.0]), 50)
    np.float64(1.5)
    """
    return _quantiles(a, np.asarray(q, float) / 100, axis, method, keepdims, skip_nan=True)


@composition(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The median of all but NaN: NumPy's ``nanmedian``.

    >>> nanmedian(np.array([1.0, np.nan, 2.0]))
    np.float64(1.5)
    """
    return _quantiles(a, None, axis, "linear", keepdims, skip_nan=True)


# ---- covariances ---------------------------------------------------------------------------------


def _variables_as_rows(m: Any, rowvar: bool) -> Any:
    if m.ndim > 2:
        raise ValueError(f"want at most 2 axes, got shape {m.shape}")
    if m.ndim < 2:
        return m.reshape(1, -1)
    return m if rowvar or m.shape[0] == 1 else m.T


def _whole(counts: Any) -> Any:
    counts = real(counts)
    if counts.dtype.kind == "f" and (counts != np.rint(counts)).any():
        raise TypeError("want fweights of whole numbers, which say how often a sample was seen")
    return counts


@composition(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """Covariances of variables, the rows of m (and of y): NumPy's ``cov``.

    ``fweights`` says how often each sample was seen, ``aweights`` how much it counts.

    >>> cov(np.array([[1.0, 3.0], [2.0, 6.0]]))
    array([[2., 4.],
           [4., 8.]])
    """
    x = _variables_as_rows(m, rowvar)
    if y is not None:
        x = np.concatenate([x, _variables_as_rows(real(y), rowvar)])
    if ddof is None:
        ddof = 1 if bias == 0 else 0
    if ddof != int(ddof):
        raise ValueError(f"want ddof to be a whole number, got {ddof}")
    kind = x.dtype if x.dtype.kind == "f" else np.float64
    samples = x.shape[1:]
    weights = np.ones(samples, kind)
    if aweights is not None:
        weights = as_weight("aweights", aweights, samples, kind)
    counted = weights
    if fweights is not None:
        counted = weights * as_weight("fweights", _whole(fweights), samples, kind)
    total = counted.sum()
    x = x - (x @ counted)[:, None] / total
    count = total - ddof * (counted * weights).sum() / total
    return np.squeeze((x * counted) @ x.T / np.maximum(count, 0))


@composition(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """Correlations of variables, the rows of x (and of y): NumPy's ``corrcoef``.

    >>> corrcoef(np.array([[1.0, 3.0], [2.0, 6.0]]))
    array([[1., 1.],
           [1., 1.]])
    """
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    deviations = np.sqrt(np.diagonal(c))
    return np.clip(c / deviations[:, None] / deviations[None], -1, 1)
