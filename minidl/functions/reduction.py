"""Reductions over axes: sum, mean, variance, extrema. The engine expands the gradients that these give back.

Functions that only move elements live in shape.py; softmax and the like in activation.py.
"""

import math
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable


def _kept(a: Any, axis: Any) -> Any:
    """The shape that ``a`` has when reduced over ``axis`` with ``keepdims=True``."""
    if axis is None:
        return (1,) * a.ndim
    axes = {i % a.ndim for i in (axis if isinstance(axis, (tuple, list)) else (axis,))} if a.ndim else set()
    return tuple(1 if i in axes else n for i, n in enumerate(a.shape))


def _count(a: Any, axis: Any) -> int:
    """How many elements are reduced to one."""
    return math.prod(n for n, k in zip(a.shape, _kept(a, axis), strict=True) if k == 1)


def _sum(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Sum over an axis, a tuple of axes, or all: NumPy's ``sum``. The dtype stays."""
    return a.sum(axis, keepdims=keepdims)


def _mean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Arithmetic mean over an axis, a tuple of axes, or all: NumPy's ``mean``."""
    return a.mean(axis, keepdims=keepdims)


def _var(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """Variance, the mean squared distance from the mean, over n - ddof: NumPy's ``var``."""
    return a.var(axis, ddof=ddof, keepdims=keepdims)


def _max(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Largest element; where several tie, each gets an equal share of the gradient."""
    return a.max(axis, keepdims=keepdims)


def _min(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Smallest element; where several tie, each gets an equal share of the gradient."""
    return a.min(axis, keepdims=keepdims)


def _to_extremes(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The gradient goes to the elements that are the extreme, in equal shares."""
    kept = _kept(a, axis)
    tied = a == y.reshape(kept)
    share = g.reshape(kept) / tied.sum(axis, keepdims=True).astype(g.dtype)
    return np.where(tied, share, 0)


sum  = differentiable(_sum,  lambda g, y, a, axis=None, *, keepdims=False: g.reshape(_kept(a, axis)),
                      replaces=(np.sum,))
mean = differentiable(_mean, lambda g, y, a, axis=None, *, keepdims=False:
                      g.reshape(_kept(a, axis)) / _count(a, axis), replaces=(np.mean,))
var  = differentiable(_var,  lambda g, y, a, axis=None, *, ddof=0, keepdims=False:
                      g.reshape(_kept(a, axis)) * (a - a.mean(axis, keepdims=True)) * (2 / (_count(a, axis) - ddof)),
                      replaces=(np.var,))
max  = differentiable(_max, _to_extremes, replaces=(np.max, np.amax))
min  = differentiable(_min, _to_extremes, replaces=(np.min, np.amin))
