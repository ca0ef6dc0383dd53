"""The rest of NumPy's ufuncs of real numbers: roots, logarithms, inverse and hyperbolic functions,
angles, signs.

Those that models are mostly made of live in elementwise.py, comparisons and the like in
comparison.py.
"""

import math
import operator
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from minidl.autograd.composition import composition
from minidl.autograd.function import Function, differentiable, implements
from minidl.functions.activation import logsumexp, sigmoid
from minidl.functions.elementwise import power
from minidl.functions.masks import floating, masked

# fmt: off
__all__ = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan2", "arctanh", "cbrt", "conjugate", "copysign",
    "deg2rad", "degrees", "divmod", "exp2", "fabs", "float_power", "fmax", "fmin", "fmod", "frexp",
    "heaviside", "hypot", "i0", "ldexp", "log10", "log2", "logaddexp", "logaddexp2", "mod", "modf",
    "nan_to_num", "nextafter", "rad2deg", "radians", "real", "real_if_close", "reciprocal", "sinc",
]
# fmt: on

_DEGREE = math.pi / 180


def _radius(a: Any, b: Any) -> Any:
    """``hypot(a, b)``, but 1 at the origin, where both slopes of the angle are taken as 0."""
    return np.hypot(np.where((a == 0) & (b == 0), 1, a), b)


def _gap(a: Any, b: Any) -> Any:
    """``a - b``, but 0 where both are the same infinity."""
    same = (a == b) & np.isinf(a)
    return np.where(same, 0, a) - np.where(same, 0, b)


def _divmod_rule(g: Any, y: Any, wanted: list[bool], a: Any, b: Any) -> list[Any]:
    quotient, remainder = y
    g = g[1]
    if g is None:  # the quotient is constant between its jumps
        g = np.zeros_like(remainder)
    return [g, g * -quotient]


# fmt: off
# Between its jumps the floor is constant: mod has the slope 1, floor_divide (see comparison.py)
# none.
mod  = differentiable(operator.mod, lambda g, y, a, b: g,
                                    lambda g, y, a, b: g * -(a // b), name="mod", replaces=(np.remainder,))
fmod = differentiable(np.fmod,      lambda g, y, a, b: g,
                                    lambda g, y, a, b: g * -np.trunc(a / b))
divmod = differentiable(np.divmod, joint=_divmod_rule)
# At (0, 0) both get 0.
hypot = differentiable(np.hypot, lambda g, y, a, b: g * (a / np.where(y == 0, 1, y)),
                                 lambda g, y, a, b: g * (b / np.where(y == 0, 1, y)))
# fmt: on


# (x - 1)(x + 1) keeps the digits near 1 that x * x - 1 loses, and a root of each factor does not
# overflow.
# fmt: off
exp2       = differentiable(np.exp2,       lambda g, y, x: g * y * math.log(2))
log2       = differentiable(np.log2,       lambda g, y, x: g / x / math.log(2))
log10      = differentiable(np.log10,      lambda g, y, x: g / x / math.log(10))
cbrt       = differentiable(np.cbrt,       lambda g, y, x: g / (3 * y * y))
reciprocal = differentiable(np.reciprocal, lambda g, y, x: g * -y * y)
arcsin     = differentiable(np.arcsin,     lambda g, y, x: g / np.sqrt((1 - x) * (1 + x)))
arccos     = differentiable(np.arccos,     lambda g, y, x: -g / np.sqrt((1 - x) * (1 + x)))
arcsinh    = differentiable(np.arcsinh,    lambda g, y, x: g / np.hypot(1, x))
arccosh    = differentiable(np.arccosh,    lambda g, y, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
arctanh    = differentiable(np.arctanh,    lambda g, y, x: g / ((1 - x) * (1 + x)))
deg2rad    = differentiable(np.deg2rad,    lambda g, y, x: g * _DEGREE)
radians    = differentiable(np.radians,    lambda g, y, x: g * _DEGREE)
rad2deg    = differentiable(np.rad2deg,    lambda g, y, x: g / _DEGREE)
degrees    = differentiable(np.degrees,    lambda g, y, x: g / _DEGREE)
conjugate  = differentiable(np.conjugate,  lambda g, y, x: g)
real       = differentiable(lambda val: np.real(val), lambda g, y, val: g, name="real", replaces=(np.real,))
real_if_close = differentiable(lambda a, tol=100: np.real_if_close(a, tol), lambda g, y, a, tol=100: g,
                               name="real_if_close", replaces=(np.real_if_close,))
fabs       = differentiable(np.fabs,       lambda g, y, x: g * np.sign(x))
arctan2    = differentiable(np.arctan2,    lambda g, y, a, b: g * (b / _radius(a, b)) / _radius(a, b),
                                           lambda g, y, a, b: g * (-a / _radius(a, b)) / _radius(a, b))
logaddexp  = differentiable(np.logaddexp,  lambda g, y, a, b: g * sigmoid(_gap(a, b)),
                                           lambda g, y, a, b: g * sigmoid(_gap(b, a)))
logaddexp2 = differentiable(np.logaddexp2, lambda g, y, a, b: g * sigmoid(_gap(a, b) * math.log(2)),
                                           lambda g, y, a, b: g * sigmoid(_gap(b, a) * math.log(2)))
copysign   = differentiable(np.copysign,   lambda g, y, a, b: g * np.copysign(np.sign(a), np.sign(a) * b), None)
heaviside  = differentiable(np.heaviside,  None, lambda g, y, a, b: np.where(a == 0, g, 0))
nextafter  = differentiable(np.nextafter,  lambda g, y, a, b: g, None)
ldexp      = differentiable(np.ldexp,      lambda g, y, x, i: np.ldexp(g, i), None)
modf       = differentiable(np.modf,       joint=lambda g, y, wanted, x: [np.zeros_like(x) if g[0] is None else g[0]])
_exponent  = differentiable(lambda x: np.frexp(x)[1], name="frexp")
# A NaN beside a number is passed over; where two are equal each gets half.
fmax = differentiable(np.fmax, lambda g, y, a, b: np.where(a == b, 0.5 * g, masked(g, (a > b) | (b != b))),
                               lambda g, y, a, b: np.where(a == b, 0.5 * g, masked(g, (b > a) | (a != a))))
fmin = differentiable(np.fmin, lambda g, y, a, b: np.where(a == b, 0.5 * g, masked(g, (a < b) | (b != b))),
                               lambda g, y, a, b: np.where(a == b, 0.5 * g, masked(g, (b < a) | (a != a))))
float_power = differentiable(np.float_power, *power.rules)

nan_to_num = differentiable(lambda x, copy=True, nan=0.0, posinf=None, neginf=None:
                            np.nan_to_num(x, True, nan, posinf, neginf),
                            lambda g, y, x, copy=True, nan=0.0, posinf=None, neginf=None: masked(g, np.isfinite(x)),
                            name="nan_to_num", replaces=(np.nan_to_num,))
# fmt: on


@implements(np.frexp)
def frexp(x: Any) -> tuple[Any, Any]:
    """The mantissa, in [1/2, 1), and the exponent of 2: NumPy's ``frexp``.

    >>> frexp(np.array([6.0]))
    (array([0.75]), array([3], dtype=int32))
    """
    exponent = _exponent(x)
    return np.ldexp(x, -exponent), exponent


@cache
def _sinc_series(order: int) -> list[float]:
    """Coefficients, of the highest power first, of the derivative of that order of sin(z) / z in z
    * z.
    """
    lowest = (order + 1) // 2
    signs = [
        (-1) ** k * math.perm(2 * k, order) / math.factorial(2 * k + 1)
        for k in range(lowest, lowest + 20)
    ]
    return signs[::-1]


def _sinc(x: Any, order: int = 0) -> Any:
    """The derivative of that order of ``sin(pi x) / (pi x)``.

    Near 0 by its series, where the formula cancels.
    """
    z = floating(x) * math.pi
    near = np.absolute(z) < 2 + order
    small = np.where(near, z, 0)
    series = np.zeros_like(z)
    for c in _sinc_series(order):
        series = series * (small * small) + c
    far = np.where(near, 1, z)
    derivative = np.sin(far) / far
    for n in range(1, order + 1):  # z f = sin(z), differentiated n times
        derivative = (np.sin(far + n * math.pi / 2) - n * derivative) / far
    return np.where(near, series * small ** (order % 2), derivative) * math.pi**order


# fmt: off
sinc: Function = differentiable(lambda x: _sinc(x), lambda g, y, x: g * _sinc_slope(x, 1),
                                name="sinc", replaces=(np.sinc,))
_sinc_slope: Function = differentiable(_sinc, lambda g, y, x, order: g * _sinc_slope(x, order + 1))
# fmt: on


def _bessel_slope(x: Any, order: int) -> Any:
    """The derivative of that order of I0, the mean of ``cos(t)**order * exp(x cos(t))``.

    Of a smooth periodic function a mean over so many points is exact to the last digits.
    """
    points = np.arange(0.5, 256) * (math.pi / 256)
    cosines = np.cos(points).astype(x.dtype)
    return (cosines**order * np.exp(x[..., None] * cosines)).mean(-1)


# fmt: off
i0: Function = differentiable(lambda x: np.i0(x), lambda g, y, x: g * _i0_slope(x, 1),
                              name="i0", replaces=(np.i0,))
_i0_slope: Function = differentiable(_bessel_slope, lambda g, y, x, order: g * _i0_slope(x, order + 1))
# fmt: on


# Methods of ufuncs, by their full names: they run along the first axis if not told which.
implements("logaddexp.reduce")(lambda array, axis=0, **more: logsumexp(array, axis=axis, **more))


@implements("logaddexp.accumulate")
@composition()
def _accumulate(array: Any, axis: int = 0) -> Any:
    if isinstance(axis, bool):
        raise TypeError(f"want an axis, got {axis}")
    rows = np.moveaxis(array, axis, 0)
    return np.stack(list(accumulate(rows, np.logaddexp)), axis)
