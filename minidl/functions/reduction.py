"""Reductions over axes: sum, mean, variance, extrema. The engine expands the gradients that these give back.

Functions that only move elements live in shape.py; softmax and the like in activation.py.
"""

import builtins
import math
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable

# fmt: off
__all__ = [
    "max", "mean", "min", "sum", "var",
]
# fmt: on


def _kept(a: Any, axis: Any) -> Any:
    """The shape that ``a`` has when reduced over ``axis`` with ``keepdims=True``."""
    if axis is None:
        return (1,) * a.ndim
    axes = (
        {i % a.ndim for i in (axis if isinstance(axis, (tuple, list)) else (axis,))}
        if a.ndim
        else set()
    )
    return tuple(1 if i in axes else n for i, n in enumerate(a.shape))


def _count(a: Any, axis: Any) -> Any:
    """How many elements are reduced to one, at least 1: of none there is no gradient to divide."""
    return builtins.max(
        1, math.prod(n for n, k in zip(a.shape, _kept(a, axis), strict=True) if k == 1)
    )


def _to_extremes(g: Any, y: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The gradient goes to the elements that are the extreme, in equal shares."""
    if axis is not None:
        g, y = g.reshape(_kept(a, axis)), y.reshape(_kept(a, axis))
    tied = a == y
    share = g / tied.sum(axis, keepdims=True).astype(g.dtype)
    return np.where(tied, share, 0)


def _two_over(n: int) -> float:
    return 2 / n if n else math.nan


# fmt: off
sum  = differentiable(lambda a, axis=None, *, keepdims=False: a.sum(axis, keepdims=keepdims),
                      lambda g, y, a, axis=None, *, keepdims=False: g if axis is None else g.reshape(_kept(a, axis)),
                      replaces=(np.sum,))
mean = differentiable(lambda a, axis=None, *, keepdims=False: a.mean(axis, keepdims=keepdims),
                      lambda g, y, a, axis=None, *, keepdims=False:
                      g / builtins.max(a.size, 1) if axis is None else g.reshape(_kept(a, axis)) / _count(a, axis),
                      replaces=(np.mean,), fresh=True)
var  = differentiable(lambda a, axis=None, *, ddof=0, keepdims=False: a.var(axis, ddof=ddof, keepdims=keepdims),
                      lambda g, y, a, axis=None, *, ddof=0, keepdims=False:
                      g.reshape(_kept(a, axis)) * (a - a.mean(axis, keepdims=True)) * _two_over(_count(a, axis) - ddof),
                      replaces=(np.var,), fresh=True)
# Where several elements tie, each gets an equal share of the gradient.
max  = differentiable(lambda a, axis=None, *, keepdims=False: a.max(axis, keepdims=keepdims), _to_extremes,
                      replaces=(np.max, np.amax))
min  = differentiable(lambda a, axis=None, *, keepdims=False: a.min(axis, keepdims=keepdims), _to_extremes,
                      replaces=(np.min, np.amin))
# fmt: on
