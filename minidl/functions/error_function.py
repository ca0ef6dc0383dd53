"""The error function and its complement, which NumPy lacks, by one series.

SciPy's functions are not needed for it.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.functions.masks import narrowed, widened

__all__ = ["erf", "erfc"]

# erf and erfc, which NumPy lacks, are both made of log(erfc(z)) for z >= 0. With h = z / (2 + z),
# which maps all z to [0, 1), it is -z**2 - log(1 + z / 2) plus h times a function that is nearly a
# polynomial of h.
_END = 0.96  # h at z = 48, where erfc has long been 0


def _log_erfcx(z: float) -> float:
    """``log(erfc(z)) + z**2``."""
    if z < 2:
        return math.log1p(-math.erf(z)) + z * z
    fraction = z  # Laplace's continued fraction: erfc itself underflows
    for k in range(100, 0, -1):
        fraction = z + 0.5 * k / fraction
    return -math.log(fraction * math.sqrt(math.pi))


@cache
def _erf_series(degree: int) -> list[float]:
    """The polynomial in u = 1 - 2h / _END, highest power first, fitted at Chebyshev's nodes."""

    def smooth(u: float) -> float:
        h = 0.5 * _END * (1 - u)
        z = 2 * h / (1 - h)
        return (_log_erfcx(z) + math.log1p(0.5 * z)) / h

    nodes = np.cos((np.arange(64) + 0.5) * math.pi / 64)
    series = np.polynomial.chebyshev.chebfit(nodes, [smooth(u) for u in nodes], degree)
    return [float(c) for c in np.polynomial.chebyshev.cheb2poly(series)[::-1]]


_SINGLE = np.dtype(np.float32)


def _log_erfc(x: Any, log1p: Any = np.log1p) -> Any:
    """``log(erfc(|x|))``."""
    z = np.minimum(np.absolute(x), 2 * _END / (1 - _END))
    h = z / (2 + z)
    u = 1 - h * (2 / _END)
    first, second, *others = _erf_series(9 if x.dtype == _SINGLE else 22)
    series = first * u + second
    for c in others:
        series *= u
        series += c
    return h * series - log1p(0.5 * z) - z * z


def _log_of_one_and(z: Any) -> Any:
    """``log1p(z)`` to the digits that erfc needs, in a tenth of the time."""
    return np.log(1 + z)


def _erf(x: Any) -> Any:
    """The error function, 2 / sqrt(pi) times the integral of exp(-u^2) from 0 to x, to a relative
    4e-15.

    >>> erf(np.array([0.0, 1.0])).round(6)
    array([0.      , 0.842701])
    """
    wide = widened(x)
    return narrowed(np.copysign(np.expm1(_log_erfc(wide)), wide), x)


def _erfc(x: Any) -> Any:
    """The complementary error function ``1 - erf(x)``, which keeps its digits for large x.

    >>> erfc(np.array([0.0, 10.0]))
    array([1.00000000e+00, 2.08848758e-45])
    """
    wide = widened(x)
    tail = np.exp(_log_erfc(wide, _log_of_one_and))
    sign = np.copysign(1, wide)  # tail, or below 0 2 - tail, in a tenth of the time of np.where
    return narrowed((1 - sign) + sign * tail, x)


def _bell(x: Any) -> Any:
    """``exp(-x * x)``; from 40 on it is 0, and x * x may overflow."""
    near = np.clip(x, -40, 40)
    return np.exp(-near * near)


# fmt: off
erf  = differentiable(_erf,  lambda g, y, x: g * (2 / math.sqrt(math.pi)) * _bell(x))
erfc = differentiable(_erfc, lambda g, y, x: g * (-2 / math.sqrt(math.pi)) * _bell(x))
# fmt: on
