"""Elementwise functions of numbers: arithmetic, powers, exponentials, extrema, choice.

Activations live in activation.py, comparisons in comparison.py, what rules share in masks.py.
"""

import math
import operator
from typing import Any

import numpy as np

from minidl.autograd.composition import numpys
from minidl.autograd.function import differentiable, implements
from minidl.autograd.operation import Operation
from minidl.common.arrays import BaseVariable
from minidl.functions.into import power_into
from minidl.functions.masks import masked, sigmoid_slope, unless_nan

# fmt: off
__all__ = [
    "abs", "add", "arctan", "astype", "clip", "cos", "cosh", "divide", "exp", "expm1", "log",
    "log1p", "maximum", "minimum", "multiply", "negative", "positive", "power", "sin", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "where",
]
# fmt: on

# The discipline for rules, everywhere in this folder (a test checks what a machine can):
# 1. Pure: a rule uses only what it is given.
# 2. Closed: a rule uses only functions that have rules (or that are locally constant, like sign).
# 3. Methods, operators and ufuncs rather than other np.* functions; mask with np.where or masked, never by a product.
# 4. Scale by Python numbers only: np.float64(2) would widen a float32 gradient.
# 5. Use whichever of x and y has the digits: 1 - tanh(x)**2 is 0 from x = 20 on, where the slope is 2e-17.
# 6. Where the value is NaN, so is the gradient; a mask alone would turn it into 0.
# Un-broadcasting, expanding, dtype and accumulation are the engine's.

# fmt: off
# Where there is more than one slope: abs has 0 at 0, sqrt and powers below 1 have infinity.
# The operators are several times faster than the ufuncs on NumPy's scalars, and the same on arrays.
add      = differentiable(operator.add,     lambda g, y, a, b: g,
                                            lambda g, y, a, b: g, replaces=(np.add,), operation=Operation(np.add))
subtract = differentiable(operator.sub,     lambda g, y, a, b: g,
                                            lambda g, y, a, b: -g, replaces=(np.subtract,),
                          operation=Operation(np.subtract))
multiply = differentiable(operator.mul,     lambda g, y, a, b: g * b,
                                            lambda g, y, a, b: g * a, replaces=(np.multiply,),
                          operation=Operation(np.multiply))
divide   = differentiable(operator.truediv, lambda g, y, a, b: g / b,
                                            lambda g, y, a, b: g * (-y / b), replaces=(np.divide,),
                          operation=Operation(np.divide))
positive = differentiable(operator.pos,     lambda g, y, x: g, replaces=(np.positive,),
                          operation=Operation(np.positive))
negative = differentiable(operator.neg,     lambda g, y, x: -g, replaces=(np.negative,),
                          operation=Operation(np.negative))
square   = differentiable(np.square,   lambda g, y, x: g * (2 * x))
sqrt     = differentiable(np.sqrt,     lambda g, y, x: g * 0.5 / y)
exp      = differentiable(np.exp,      lambda g, y, x: g * y)
expm1    = differentiable(np.expm1,    lambda g, y, x: g * np.exp(x))
log      = differentiable(np.log,      lambda g, y, x: g / x)
log1p    = differentiable(np.log1p,    lambda g, y, x: g / (1 + x))
sin      = differentiable(np.sin,      lambda g, y, x: g * np.cos(x))
cos      = differentiable(np.cos,      lambda g, y, x: -g * np.sin(x))
tan      = differentiable(np.tan,      lambda g, y, x: g * (1 + y * y))
arctan   = differentiable(np.arctan,   lambda g, y, x: g / np.hypot(1, x) / np.hypot(1, x))
sinh     = differentiable(np.sinh,     lambda g, y, x: g * np.cosh(x))
cosh     = differentiable(np.cosh,     lambda g, y, x: g * np.sinh(x))
tanh     = differentiable(np.tanh,     lambda g, y, x: g * sigmoid_slope(x, y, 2))
abs      = differentiable(np.absolute, lambda g, y, x: g * np.sign(x), name="abs")
# fmt: on


def _to_larger(g: Any, y: Any, a: Any, b: Any) -> Any:
    """The gradient of ``a`` where it is the larger.

    Of equals each gets half, whatever their order.
    """
    return unless_nan(y, np.where(a == b, 0.5 * g, masked(g, a > b)))


# fmt: off
maximum = differentiable(np.maximum, lambda g, y, a, b: _to_larger(g, y, a, b),
                                     lambda g, y, a, b: _to_larger(g, y, b, a))
minimum = differentiable(np.minimum, lambda g, y, a, b: _to_larger(g, y, b, a),
                                     lambda g, y, a, b: _to_larger(g, y, a, b))
# fmt: on


_BOOL = np.dtype(bool)


def _power(x: Any, p: Any) -> Any:
    """``x ** p`` as np.power has it.

    The operator squares and takes roots where that does not, but bools to int8.
    """
    return np.power(x, p) if getattr(x, "dtype", None) is _BOOL else x**p


def _less_one(x: Any, p: Any) -> Any:
    """The exponent of the derivative, but 0 where p = 0.

    Its factor p is 0, and 0 times infinity is not.
    """
    if isinstance(p, (int, float)):
        return p - 1 if p else 0
    return np.where((p == 0) & ((x == 0) | (x != x)), 0, p - 1)


def _log_base(y: Any, x: Any, p: Any) -> Any:
    """The logarithm of the base, to be multiplied by ``y = x**p``: 0 where the limit of the product
    is 0.

    Of ``0**p = inf`` for p < 0 any number below 0 will do.
    """
    if isinstance(x, (int, float)):  # a Python number gives one, so that float32 stays
        if x == 0:
            return -(p < 0).astype(y.dtype)
        return math.log(x) if x > 0 else math.nan
    base = np.where((y == 0) | ((x == 0) & (p >= 0)), 1, x)
    return np.log(np.where(base == 0, 0.5, base))


# fmt: off
power = differentiable(_power, lambda g, y, x, p: g * (p * x ** _less_one(x, p)),
                               lambda g, y, x, p: g * (y * _log_base(y, x, p)), name="power", replaces=(np.power,),
                      operation=Operation(into=power_into, kind="map"))

_where = differentiable(np.where, None,
                        lambda g, out, condition, x, y: np.where(condition, g, 0),
                        lambda g, out, condition, x, y: np.where(condition, 0, g), fresh=True)

# At a limit itself the gradient passes to a.
_clip = differentiable(np.clip,
                       lambda g, y, a, low, high: unless_nan(y, masked(g, y == a)),
                       lambda g, y, a, low, high: unless_nan(y, masked(g, (a < low) & (y >= low))),
                       lambda g, y, a, low, high:
                       unless_nan(y, masked(g, (a > high) | (y < (-math.inf if low is None else low)))))
# fmt: on


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """``x`` where the condition holds, else ``y``; of the condition alone, where it holds: NumPy's
    ``where``.

    >>> where(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
    array([1., 0.])
    """
    if x is None and y is None:
        return np.nonzero(condition)
    if x is None or y is None:
        raise ValueError("where: want both x and y, or neither")
    return _where(condition, x, y)


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """``a`` between two limits: NumPy's ``clip``. At a limit itself the gradient is a's.

    >>> clip(np.array([-1.0, 0.5, 2.0]), 0, 1)
    array([0. , 0.5, 1. ])
    """
    if min is not None or max is not None:
        if a_min is not None or a_max is not None:
            raise ValueError("clip: want a_min and a_max, or min and max, got both")
        return _clip(a, min, max)
    return _clip(a, a_min, a_max)


# fmt: off
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


for _original in numpys("astype"):
    implements(_original)(astype)
