"""Polynomials by their coefficients, the highest power first: values, arithmetic, calculus, fits.

Sums and differences of samples live in differences.py.
"""

from typing import Any

import numpy as np

from minidl.autograd.composition import composition, real
from minidl.common.checks import count
from minidl.functions.decompositions import lstsq

# fmt: off
__all__ = [
    "polyadd", "polyder", "polyfit", "polyint", "polymul", "polysub", "polyval", "vander",
]
# fmt: on


def _check_vectors(*polynomials: Any) -> None:
    for p in polynomials:
        if p.ndim != 1:
            raise ValueError(f"want vectors of coefficients, got shape {p.shape}")


@composition(np.polyval, arrays=2)
def polyval(p: Any, x: Any) -> Any:
    """The polynomial with coefficients p, the highest power first, at x: NumPy's ``polyval``.

    >>> polyval([1.0, 0.0, -1.0], 3.0)
    np.float64(8.0)
    """
    y = np.zeros_like(x)
    for coefficient in p:
        y = y * x + coefficient
    return y


@composition(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers of x as columns, the highest first unless ``increasing``: NumPy's ``vander``.

    >>> vander(np.array([2.0, 3.0]), 3)
    array([[4., 2., 1.],
           [9., 3., 1.]])
    """
    if x.ndim != 1:
        raise ValueError(f"want a vector, got shape {x.shape}")
    powers = np.arange(x.size if N is None else count("N", N, 0))
    powers = powers.astype(x.dtype) if x.dtype.kind == "f" else powers
    return x.reshape(-1, 1) ** (powers if increasing else powers[::-1])


def _aligned(a1: Any, a2: Any) -> tuple[Any, Any]:
    """Both of one length, with zeros for the highest powers that one of them does not have."""
    a1, a2 = np.atleast_1d(a1, a2)
    _check_vectors(a1, a2)
    n = max(a1.size, a2.size)
    return np.pad(a1, (n - a1.size, 0)), np.pad(a2, (n - a2.size, 0))


@composition(np.polyadd, arrays=2)
def polyadd(a1: Any, a2: Any) -> Any:
    """The sum of two polynomials: NumPy's ``polyadd``.

    >>> polyadd([1.0, 2.0, 3.0], [1.0, 1.0])
    array([1., 3., 4.])
    """
    a1, a2 = _aligned(a1, a2)
    return a1 + a2


@composition(np.polysub, arrays=2)
def polysub(a1: Any, a2: Any) -> Any:
    """The difference of two polynomials: NumPy's ``polysub``.

    >>> polysub([1.0, 2.0, 3.0], [1.0, 1.0])
    array([1., 1., 2.])
    """
    a1, a2 = _aligned(a1, a2)
    return a1 - a2


@composition(np.polymul, arrays=2)
def polymul(a1: Any, a2: Any) -> Any:
    """The product of two polynomials: NumPy's ``polymul``, but leading zeros stay.

    >>> polymul([1.0, 2.0], [1.0, -2.0])
    array([ 1.,  0., -4.])
    """
    return np.convolve(a1, a2)


@composition(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """The derivative of order m of a polynomial: NumPy's ``polyder``.

    >>> polyder([1.0, 2.0, 3.0])
    array([2., 2.])
    """
    if m < 0:
        raise ValueError(f"want an order of at least 0, got {m}")
    _check_vectors(p)
    for _ in range(min(m, p.size)):  # then nothing is left
        powers = np.arange(p.size - 1, 0, -1)
        p = p[:-1] * (powers.astype(p.dtype) if p.dtype.kind == "f" else powers)
    return p


@composition(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The antiderivative of order m of a polynomial, with constants k: NumPy's ``polyint``.

    >>> polyint([2.0, 2.0], k=3.0)
    array([1., 2., 3.])
    """
    if m < 0:
        raise ValueError(f"want an order of at least 0, got {m}")
    _check_vectors(p)
    kind = p.dtype if p.dtype.kind == "f" else np.float64
    k = real(0 if k is None else k)
    if k.size not in (1, m):
        raise ValueError(f"want {m} constants, got {k.size}")
    constants = np.broadcast_to(k.astype(kind), (m,))
    for constant in constants:
        shares = p / np.arange(p.size, 0, -1).astype(kind)
        p = np.append(shares, constant)
    return p


@composition(np.polyfit, arrays=2)
def polyfit(x: Any, y: Any, deg: int, rcond: float | None = None, *, w: Any = None) -> Any:
    """The polynomial of least squares through points, weighted by w: NumPy's ``polyfit``.

    >>> polyfit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 1).round(6)
    array([2., 1.])
    """
    if x.ndim != 1 or y.shape[:1] != x.shape:
        raise ValueError(f"want x a vector and as many samples of y, got {x.shape}, {y.shape}")
    x = x.astype(np.result_type(x.dtype, y.dtype))
    powers = vander(x, count("deg", deg, 0) + 1)
    if w is not None:
        w = real(w)
        if w.shape != x.shape:
            raise ValueError(f"want w of shape {x.shape}, got {w.shape}")
        powers = powers * w[:, None]
        y = (y.T * w).T
    lengths = np.sqrt(np.square(powers).sum(0))
    if rcond is None:
        rcond = x.size * np.finfo(lengths.dtype).eps
    fitted, *_ = lstsq(powers / lengths, y, rcond)
    return (fitted.T / lengths).T
