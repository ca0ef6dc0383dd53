"""Activations: what stands between layers. Normalizing ones (softmax) and dropout are here too.

Losses live in loss.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.autograd.composition import composition
from minidl.autograd.function import differentiable
from minidl.autograd.modes import current
from minidl.autograd.operation import Operation
from minidl.common.arrays import as_array, is_foreign, to_kind_of
from minidl.common.checks import flag, fraction
from minidl.common.random import source
from minidl.functions.error_function import erfc
from minidl.functions.into import relu_into, sigmoid_into
from minidl.functions.masks import (
    floating,
    narrowed,
    sigmoid_slope,
    unless_nan,
    where_positive,
    widened,
)
from minidl.functions.reduction import keepdims_shape

# fmt: off
__all__ = [
    "dropout", "elu", "gelu", "glu", "hard_sigmoid", "hard_tanh", "leaky_relu", "log_sigmoid",
    "log_softmax", "logsumexp", "mask_fill", "mish", "relu", "selu", "sigmoid", "silu", "softmax",
    "softplus", "softsign",
]
# fmt: on


def _relu(x: Any) -> Any:
    """``max(x, 0)``; the derivative at 0 is 0.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(x, 0)


def _weak(number: Any) -> Any:
    """A number of NumPy's as Python's, which does not widen float32."""
    return float(number) if isinstance(number, np.generic) else number


def _leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """``x`` where positive, else ``slope * x``.

    >>> leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    return np.where(x > 0, x, _weak(slope) * x)


def _sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``, without overflow, to full relative precision down to the smallest
    normal number.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    with np.errstate(
        over="ignore"
    ):  # 1 / inf is right; exp(-abs(x)) needs np.where, three times as slow
        return 1 / (1 + np.exp(-floating(x)))


def _softplus(x: Any) -> Any:
    """``log(1 + exp(x))``, without overflow.

    >>> softplus(np.array([0.0, 1000.0]))
    array([6.93147181e-01, 1.00000000e+03])
    """
    x = floating(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x)))


def _shifted(x: Any, axis: Any) -> Any:
    """``x`` minus its maximum along the axis, so that no exponential overflows; -inf rows stay."""
    x = widened(x)
    m = x.max(axis, keepdims=True)
    return x - np.where(m == -np.inf, 0, m)


def _softmax(x: Any, axis: Any = -1) -> Any:
    """``exp(x) / sum(exp(x))`` along an axis; a row of only -inf (all masked) gives zeros.

    >>> softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    e = np.exp(_shifted(x, axis))
    s = e.sum(axis, keepdims=True)
    return narrowed(e / np.where(s == 0, 1, s), x)


def _log_sum(z: Any, axis: Any, keepdims: bool = True) -> Any:
    """``log(sum(exp(z)))`` where the largest z is 0. The ones of the largest are counted apart:
    beside them the digits of all others would be lost. Of nothing but -inf it is -inf.
    """
    top = z == 0
    ones = top.sum(axis, keepdims=keepdims).astype(z.dtype)
    ones = np.where(ones == 0, 1, ones)
    rest = np.where(top, 0, np.exp(z)).sum(axis, keepdims=keepdims)
    return np.log(ones) + np.log1p(rest / ones)


def _log_softmax(x: Any, axis: Any = -1) -> Any:
    """The logarithm of ``softmax``, computed without it: ``x - log(sum(exp(x)))``.

    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    z = _shifted(x, axis)
    return narrowed(z - _log_sum(z, axis), x)


def _log_softmax_rule(g: Any, y: Any, x: Any, axis: Any = -1) -> Any:
    """``g - exp(y) sum(g)``, without the difference from 1 that has no digits where a probability
    is nearly 1.
    """
    others = g.sum(axis, keepdims=True) - g
    return -g * np.expm1(y) - np.exp(y) * others


def _gelu(x: Any, approximate: bool = False) -> Any:
    """``x`` times the normal distribution function of x (Hendrycks and Gimpel 2016).

    Exact by default; ``approximate=True`` is the paper's form with tanh, several times faster.

    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    flag("approximate", approximate)  # PyTorch's "none" would count as true
    wide = np.maximum(widened(x), -_FAR)  # -inf times a probability of 0 is none
    normal = _normal(np.minimum(wide, _FAR), approximate)
    return narrowed(wide * normal, x), normal


_A = math.sqrt(2 / math.pi)
_B = 0.044715
_FAR = 40.0  # where the normal density, and its approximation, have long been 0


def _normal(x: Any, approximate: bool) -> Any:
    """The normal distribution function, or its approximation.

    Tanh as a sigmoid, which has digits below 0.
    """
    if approximate:
        return sigmoid(x * (2 * _A + 2 * _A * _B * x * x))
    return 0.5 * erfc(x * -math.sqrt(0.5))


def _density(x: Any, approximate: bool) -> Any:
    """The derivative of ``_normal``."""
    if not approximate:
        return np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    inner = 2 * _A + 2 * _A * _B * x * x
    return sigmoid_slope(x * inner, _normal(x, True), 1) * (2 * _A + 6 * _A * _B * x * x)


def _gelu_joint(
    g: Any, y: Any, normal: Any, wanted: list[bool], x: Any, approximate: bool = False
) -> tuple[Any, None]:
    x = np.clip(x, -_FAR, _FAR)
    return g * (normal + x * _density(x, approximate)), None


def _gelu_plain(x: Any, approximate: bool = False) -> Any:
    x = floating(x)
    near = np.clip(x, -_FAR, _FAR)
    return near * _normal(near, approximate) + relu(x - _FAR)


# fmt: off
relu        = differentiable(_relu, lambda g, y, x: where_positive(g, x),
                             operation=Operation(into=relu_into, kind="map"))
leaky_relu  = differentiable(_leaky_relu, lambda g, y, x, slope=0.01:
                             unless_nan(y, np.where(x > 0, g, _weak(slope) * g)))
sigmoid     = differentiable(_sigmoid, lambda g, y, x: g * sigmoid_slope(x, y, 1),
                             operation=Operation(into=sigmoid_into, kind="map"))
softplus    = differentiable(_softplus, lambda g, y, x: g * sigmoid(x))
softmax     = differentiable(_softmax, lambda g, y, x, axis=-1: y * (g - (g * y).sum(axis, keepdims=True)))
log_softmax = differentiable(_log_softmax, _log_softmax_rule)
gelu        = differentiable(_gelu, joint=_gelu_joint, saves=True, equals=_gelu_plain, fresh=True)
# fmt: on


def _elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` where positive, else ``alpha (exp(x) - 1)`` (Clevert et al. 2015). At 0 the slope is
    alpha.

    >>> elu(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """
    x = floating(x)
    return np.where(x > 0, x, _weak(alpha) * np.expm1(np.minimum(x, 0)))


def _silu(x: Any) -> Any:
    """``x sigmoid(x)``, also called swish (Elfwing et al. 2017).

    >>> silu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """
    return np.maximum(x, -_SILENT) * sigmoid(x)  # -inf times 0 is none


def _silu_rule(g: Any, y: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s + np.clip(x, -_SILENT, _SILENT) * sigmoid_slope(x, s, 1))


_SILENT = 1000.0  # where sigmoid and its slope are 0 or 1 in every dtype


def _mish(x: Any) -> Any:
    """``x tanh(softplus(x))`` (Misra 2019).

    >>> mish(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.3034,  0.    ,  0.8651])
    """
    return np.maximum(x, -_SILENT) * np.tanh(_softplus(x))


def _mish_rule(g: Any, y: Any, x: Any) -> Any:
    x = np.clip(x, -_SILENT, _SILENT)
    s = softplus(x)
    gate = np.tanh(s)
    return g * (gate + x * sigmoid(x) * sigmoid_slope(s, gate, 2))


def _softsign(x: Any) -> Any:
    """``x / (1 + |x|)``.

    >>> softsign(np.array([-1.0, 3.0]))
    array([-0.5 ,  0.75])
    """
    x = floating(x)
    size = np.absolute(x)
    far = np.isinf(size)
    return np.where(far, np.sign(x), x / (1 + np.where(far, 0, size)))


def _log_sigmoid(x: Any) -> Any:
    """``log(sigmoid(x))``, for any x.

    >>> log_sigmoid(np.array([-3.0, 0.0])).round(2)
    array([-3.05, -0.69])
    """
    return -_softplus(-floating(x))


# fmt: off
elu         = differentiable(_elu, lambda g, y, x, alpha=1.0:
                             np.where(x > 0, g, g * (_weak(alpha) * np.exp(np.where(x > 0, 0, x)))))
silu        = differentiable(_silu, _silu_rule)
mish        = differentiable(_mish, _mish_rule)
softsign    = differentiable(_softsign, lambda g, y, x: g / (1 + np.absolute(x)) / (1 + np.absolute(x)))
log_sigmoid = differentiable(_log_sigmoid, lambda g, y, x: g * sigmoid(-x))
# fmt: on


@composition()
def selu(x: Any) -> Any:
    """``1.0507 elu(x, 1.6733)``: keeps mean 0 and variance 1 from layer to layer (Klambauer et al.
    2017).

    >>> selu(np.array([-1.0, 1.0])).round(4)
    array([-1.1113,  1.0507])
    """
    return elu(x, 1.6732632423543772) * 1.0507009873554805


@composition()
def hard_sigmoid(x: Any) -> Any:
    """``x / 6 + 1 / 2``, cut off at 0 and 1. At the corners the slope is 1/6.

    >>> hard_sigmoid(np.array([-4.0, 0.0, 1.5]))
    array([0.  , 0.5 , 0.75])
    """
    return np.clip(x / 6 + 0.5, 0, 1)


@composition()
def hard_tanh(x: Any) -> Any:
    """``x``, cut off at -1 and 1. At the corners the slope is 1.

    >>> hard_tanh(np.array([-4.0, 0.5, 1.5]))
    array([-1. ,  0.5,  1. ])
    """
    return np.clip(x, -1, 1)


@composition()
def glu(x: Any, axis: int = -1) -> Any:
    """The first half of x along an axis times the sigmoid of the second (Dauphin et al. 2016).

    Raises ValueError if the axis has an odd length.

    >>> glu(np.array([1.0, 2.0, 0.0, 0.0]))
    array([0.5, 1. ])
    """
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ValueError(f"want an even number of elements along axis {axis}, got shape {x.shape}")
    first, second = np.split(x, 2, axis)
    return first * sigmoid(second)


def _logsumexp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """``log(sum(exp(a)))`` over axes, without overflow; of nothing but -inf it is -inf.

    >>> logsumexp(np.array([1000.0, 1000.0])).round(4)
    np.float64(1000.6931)
    """
    wide = widened(a)
    m = wide.max(axis, keepdims=True)
    infinite = np.isinf(m)
    shifted = wide - np.where(infinite, 0, m)
    y = _log_sum(shifted, axis, keepdims)
    m = m.reshape(y.shape)
    return narrowed(np.where(np.isinf(m), m, y + m), a)


def _logsumexp_rule(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    shape = keepdims_shape(a, axis)
    y = y.reshape(shape)
    return g.reshape(shape) * np.exp(a - np.where(y == -np.inf, 0, y))


logsumexp = differentiable(_logsumexp, _logsumexp_rule)


def _mask_fill(x: Any, mask: Any, value: Any) -> Any:
    """``x`` with a number put where the mask is True, such as -inf before a softmax.

    >>> mask_fill(np.array([1.0, 2.0]), np.array([True, False]), -np.inf)
    array([-inf,   2.])
    """
    if as_array(value, "mask_fill").shape != ():
        raise ValueError("the value must be one number")
    if (
        as_array(mask, "mask_fill").dtype != np.bool_
        or np.broadcast_shapes(as_array(mask, "mask_fill").shape, x.shape) != x.shape
    ):
        raise ValueError("the mask must be of bools and broadcast to x")
    number = as_array(value, "mask_fill").item()  # a Python number takes the dtype of x
    return np.where(mask, number, x)


# fmt: off
mask_fill = differentiable(_mask_fill, lambda g, y, x, mask, value: np.where(mask, 0, g), None)

_uniform = differentiable(lambda shape, rng: source(rng).random(shape, dtype=np.float32), name="uniform")
# fmt: on
_uniform.draws = True
# fmt: off
_dropped = differentiable(lambda x, mask: x * mask, lambda g, y, x, mask: g * mask, None, name="dropout")
# fmt: on


def dropout(x: Any, rate: float = 0.5, *, rng: np.random.Generator | None = None) -> Any:
    """Zero each element with probability ``rate`` and divide the others by ``1 - rate`` (Srivastava
    et al. 2014).

    Under ``test_mode`` the input itself.

    Args:
        x: floating, any shape.
        rate: in [0, 1).
        rng: drawn from; default minidl's seeded generator.

    Raises:
        ValueError: the rate is outside [0, 1).

    >>> from minidl import random
    >>> random.seed(0)
    >>> dropout(np.ones(4), 0.5)
    array([2., 2., 2., 0.])
    """
    rate = fraction("dropout: rate", rate)
    x = as_array(x, "dropout")
    if x.dtype.kind != "f":
        raise TypeError(f"dropout: want floating data, got {x.dtype}")
    if current().testing or rate == 0:
        return x
    mask = _uniform(x.shape, rng) >= rate
    if is_foreign(x):  # drawn as ever, so that a seed gives the same numbers everywhere
        mask = to_kind_of(mask, x)
    return _dropped(x, mask.astype(x.dtype) * (1 / (1 - rate)))
