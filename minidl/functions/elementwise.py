"""Elementwise functions of numbers: arithmetic, powers, exponentials, extrema, choice.

Activations live in activation.py, comparisons in comparison.py.
"""

import math
import operator
from functools import cache
from typing import Any

import numpy as np

from minidl.autograd.function import Function, differentiable, implements
from minidl.common.arrays import BaseVariable

# fmt: off
__all__ = [
    "abs", "add", "arctan", "astype", "clip", "cos", "cosh", "divide", "erf", "exp", "expm1",
    "log", "log1p", "maximum", "minimum", "multiply", "negative", "positive", "power", "sin",
    "sinh", "sqrt", "square", "subtract", "tan", "tanh", "where",
]
# fmt: on

# The discipline for rules, everywhere in this folder (a test checks what a machine can):
# 1. Pure: a rule uses only what it is given.
# 2. Closed: a rule uses only functions that have rules (or that are locally constant, like sign).
# 3. Methods, operators and ufuncs rather than other np.* functions; mask with np.where or kept, never by a product.
# 4. Scale by Python numbers only: np.float64(2) would widen a float32 gradient.
# Un-broadcasting, expanding, dtype and accumulation are the engine's.

# fmt: off
# The operators are several times faster than the ufuncs on NumPy's scalars, and the same on arrays.
add      = differentiable(operator.add,     lambda g, y, a, b: g,
                                            lambda g, y, a, b: g, replaces=(np.add,))
subtract = differentiable(operator.sub,     lambda g, y, a, b: g,
                                            lambda g, y, a, b: -g, replaces=(np.subtract,))
multiply = differentiable(operator.mul,     lambda g, y, a, b: g * b,
                                            lambda g, y, a, b: g * a, replaces=(np.multiply,))
divide   = differentiable(operator.truediv, lambda g, y, a, b: g / b,
                                            lambda g, y, a, b: -g * y / b, replaces=(np.divide,))
positive = differentiable(operator.pos,     lambda g, y, x: g, replaces=(np.positive,))
negative = differentiable(operator.neg,     lambda g, y, x: -g, replaces=(np.negative,))
square   = differentiable(np.square,   lambda g, y, x: g * (2 * x))
sqrt     = differentiable(np.sqrt,     lambda g, y, x: g * 0.5 / y)
exp      = differentiable(np.exp,      lambda g, y, x: g * y)
expm1    = differentiable(np.expm1,    lambda g, y, x: g * (y + 1))
log      = differentiable(np.log,      lambda g, y, x: g / x)
log1p    = differentiable(np.log1p,    lambda g, y, x: g / (1 + x))
sin      = differentiable(np.sin,      lambda g, y, x: g * np.cos(x))
cos      = differentiable(np.cos,      lambda g, y, x: -g * np.sin(x))
tan      = differentiable(np.tan,      lambda g, y, x: g * (1 + y * y))
arctan   = differentiable(np.arctan,   lambda g, y, x: g / (1 + x * x))
sinh     = differentiable(np.sinh,     lambda g, y, x: g * np.cosh(x))
cosh     = differentiable(np.cosh,     lambda g, y, x: g * np.sinh(x))
tanh     = differentiable(np.tanh,     lambda g, y, x: g * (1 - y * y))
abs      = differentiable(np.absolute, lambda g, y, x: g * np.sign(x), name="abs")
# fmt: on

_BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def _kept(x: Any, mask: Any) -> Any:
    """``x`` where the mask holds, else 0. By bits: np.where takes ten times as long for a mask without a pattern."""
    if not type(x) is type(mask) is np.ndarray or x.shape != mask.shape or x.itemsize not in _BITS:
        return np.where(mask, x, 0)
    bits = mask.astype(bool, copy=False).astype(_BITS[x.itemsize])
    bits *= x.view(bits.dtype)  # by 1 or 0: exact for what the bits mean, infinities too
    return bits.view(x.dtype)


# fmt: off
kept: Function = differentiable(_kept, lambda g, y, x, mask: kept(g, mask), None)

# Where two are equal each gets half, so that the order of the arguments does not matter.
maximum  = differentiable(np.maximum,  lambda g, y, a, b: np.where(a == b, 0.5 * g, kept(g, a > b)),
                                       lambda g, y, a, b: np.where(a == b, 0.5 * g, kept(g, b > a)))
minimum  = differentiable(np.minimum,  lambda g, y, a, b: np.where(a == b, 0.5 * g, kept(g, a < b)),
                                       lambda g, y, a, b: np.where(a == b, 0.5 * g, kept(g, b < a)))
# fmt: on


def _less_one(x: Any, p: Any) -> Any:
    """The exponent of the derivative, but 1 for 0**0: its factor p is 0, and 0 * inf is not."""
    return (
        (p - 1 if p else 1)
        if isinstance(p, (int, float))
        else np.where((p == 0) & (x == 0), 1, p - 1)
    )


def _log(x: Any) -> Any:
    """The logarithm, but 0 at 0; of a Python number a Python number, so that float32 stays."""
    if isinstance(x, (int, float)):
        return 0.0 if x == 0 else math.log(x) if x > 0 else math.nan
    return np.log(np.where(x == 0, 1, x))


# fmt: off
# The operator squares and takes roots where np.power would not.
power = differentiable(operator.pow, lambda g, y, x, p: g * (p * x ** _less_one(x, p)),
                                     lambda g, y, x, p: g * (y * _log(x)), replaces=(np.power,))


where = differentiable(lambda condition, x, y: np.where(condition, x, y),
                       None,
                       lambda g, out, condition, x, y: np.where(condition, g, 0),
                       lambda g, out, condition, x, y: np.where(condition, 0, g), replaces=(np.where,),
                       fresh=True)

# At a limit itself the gradient passes to a.
clip = differentiable(lambda a, a_min=None, a_max=None: np.clip(a, a_min, a_max),
                      lambda g, y, a, a_min=None, a_max=None: kept(g, y == a),
                      lambda g, y, a, a_min=None, a_max=None: kept(g, (a < a_min) & (y >= a_min)),
                      lambda g, y, a, a_min=None, a_max=None:
                      kept(g, (a > a_max) | (y < (-math.inf if a_min is None else a_min))), replaces=(np.clip,))
# fmt: on


@cache
def _erf_series() -> list[float]:
    """The polynomial in u = 1 - 2h / (3/4) that is (log(erfc(z)) + z^2 + log(1 + z/2)) / h, with h = z / (2 + z)."""

    def smooth(u: float) -> float:
        h = 0.375 * (1 - u)
        z = 2 * h / (1 - h)
        log_erfc = math.log1p(-math.erf(z)) if z < 0.5 else math.log(math.erfc(z))
        return (log_erfc + z * z + math.log1p(0.5 * z)) / h

    nodes = np.cos((np.arange(64) + 0.5) * math.pi / 64)
    series = np.polynomial.chebyshev.chebfit(nodes, [smooth(u) for u in nodes], 18)
    return [float(c) for c in np.polynomial.chebyshev.cheb2poly(series)[::-1]]


def _erf(x: Any) -> Any:
    """The error function, 2 / sqrt(pi) times the integral of exp(-u^2) from 0 to x, to a relative 4e-15.

    NumPy has none; this is ``1 - exp(log(erfc(|x|)))``, whose logarithm is nearly a polynomial in |x| / (2 + |x|).
    """
    z = np.minimum(np.absolute(x), 6.0)  # beyond, erf is 1 to the last digit
    h = z / (2 + z)
    u = 1 - h * (2 / 0.75)
    first, *others = _erf_series()
    series = first
    for c in others:
        series = series * u + c
    return np.copysign(np.expm1(h * series - np.log1p(0.5 * z) - z * z), x)


# fmt: off
erf = differentiable(_erf, lambda g, y, x: g * (2 / math.sqrt(math.pi)) * np.exp(-x * x))


_to_floating = differentiable(lambda x, dtype: x.astype(dtype), lambda g, y, x, dtype: g, name="astype")
_to_other = differentiable(lambda x, dtype: x.astype(dtype), name="astype")
# fmt: on


@implements("astype")
def astype(x: Any, dtype: Any) -> Any:
    """``x`` in another dtype. Gradients come back in x's own; to integers or bools there is none.

    >>> astype(np.array([1.0]), np.float32).dtype
    dtype('float32')
    """
    try:
        if isinstance(dtype, BaseVariable):
            raise TypeError("got a Variable: say its .dtype")
        dtype = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"astype: {error}") from None
    return (_to_floating if dtype.kind == "f" else _to_other)(x, dtype)
