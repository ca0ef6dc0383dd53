"""Normalization by the batch's own statistics: those of each row (layer_norm) or each feature
(batch_norm).

Running statistics belong to layers/batch_norm.py; softmax and its kin are in activation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import is_foreign, sum_rows
from minidl.functions.masks import narrowed, widened

__all__ = ["batch_norm", "layer_norm"]


def _check(x: Any, w: Any, b: Any) -> None:
    """Raise ValueError unless scale and shift have a number for each feature: none is broadcast."""
    if x.ndim == 0 or not w.shape == b.shape == x.shape[-1:]:
        raise ValueError("want x (.., features), w (features) and b (features)")


def _rows(x: Any) -> Any:
    """All axes but the last as one."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _promoted(x: Any, w: Any, b: Any) -> Any:
    """``x`` with the dtype of the output, so that no digit of it is lost before it meets the scale
    and the shift.
    """
    return x.astype(np.result_type(x.dtype, w.dtype, b.dtype), copy=False)


def _feature_means(rows: Any) -> Any:
    return sum_rows(rows) / len(rows)


def _batch_moments(x: Any) -> tuple[Any, Any]:
    """Mean and variance of an array's features, over all axes but the last."""
    rows = _rows(widened(x))
    if is_foreign(x):
        return rows.mean(0), rows.var(0)
    mean = _feature_means(rows)
    centred = rows - mean
    rest = _feature_means(centred)  # what had no digits beside the sum of large numbers
    var = _feature_means(centred * centred) - rest * rest
    return mean + rest, np.maximum(var, 0)


def _scaled(x: Any, w: Any, b: Any, centred: Any, var: Any, eps: float) -> Any:
    """The output; and what the rule needs: the normalized rows, and what divided them, inverted."""
    r = 1 / np.sqrt(var + eps)
    centred *= r
    y = centred * w + b
    return narrowed(y, x).reshape(x.shape), (centred, r)


def _layer_norm(x: Any, w: Any, b: Any, *, eps: float = 1e-5) -> Any:
    """``(x - mean) / sqrt(var + eps) * w + b``, with mean and variance over the last axis.

    Args:
        x: floating, (.., features).
        w, b: scale and shift, (features).
        eps: is added to the variance, which is that of the population.

    Raises ValueError for other shapes.

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.

    >>> layer_norm(np.array([[1.0, 2.0, 3.0]]), np.ones(3), np.zeros(3)).round(3)
    array([[-1.225,  0.   ,  1.225]])
    """
    _check(x, w, b)
    x = _promoted(x, w, b)
    rows = _rows(widened(x))
    n = rows.shape[1]
    centred = rows - rows @ np.full((n, 1), 1 / n, rows.dtype)  # a third of the time of a mean
    var = np.vecdot(centred, centred)[:, None] / n
    return _scaled(x, w, b, centred, var, eps)


def _batch_norm(
    x: Any, w: Any, b: Any, mean: Any = None, var: Any = None, *, eps: float = 1e-5
) -> Any:
    """``(x - mean) / sqrt(var + eps) * w + b``, with mean and variance over all axes but the last.

    Args:
        x: floating, (.., features).
        w, b: scale and shift, (features).
        mean, var: if the caller knows them. The gradient is the same: they are functions of x.
        eps: is added to the variance, which is that of the population.

    Raises ValueError for other shapes.

    Source: Ioffe, Szegedy, "Batch normalization", 2015.

    >>> batch_norm(np.array([[1.0], [2.0], [3.0]]), np.ones(1), np.zeros(1)).round(3).T
    array([[-1.225,  0.   ,  1.225]])
    """
    _check(x, w, b)
    x = _promoted(x, w, b)
    if mean is None:
        mean, var = _batch_moments(x)
    return _scaled(x, w, b, _rows(widened(x)) - mean, var, eps)


# Each element of x moves the mean and the variance, too: what they pass on is subtracted.
def _layer_norm_rule(
    g: Any, y: Any, saved: Any, wanted: list[bool], x: Any, w: Any, b: Any, *, eps: float = 1e-5
) -> list[Any]:
    normal, r = saved
    g, product = _products(g, normal)
    gw = sum_rows(product)
    gb = sum_rows(g)
    if not wanted[0]:
        return [None, gw, gb]
    n = w.size
    gx = g * w
    gx -= (g @ w)[:, None] / n
    by_var = (product @ w)[:, None] / n
    gx -= np.multiply(normal, by_var, out=product)
    gx *= r
    return [narrowed(gx, x).reshape(x.shape), gw, gb]


def _batch_norm_rule(
    g: Any, y: Any, saved: Any, wanted: list[bool], x: Any, w: Any, *rest: Any, eps: float = 1e-5
) -> list[Any]:
    normal, r = saved
    g, product = _products(g, normal)
    gw = sum_rows(product)
    gb = sum_rows(g)
    known = [None] * (len(rest) - 1)  # the moments
    if not wanted[0]:
        return [None, gw, gb, *known]
    n = len(g)
    gx = g - gb / n
    gx -= np.multiply(normal, gw / n, out=product)
    gx *= w * r
    return [narrowed(gx, x).reshape(x.shape), gw, gb, *known]


def _products(g: Any, normal: Any) -> tuple[Any, Any]:
    """The gradient's rows, and their products with the normalized ones, in no less than float32."""
    g = _rows(g).astype(np.promote_types(g.dtype, normal.dtype), copy=False)
    return g, g * normal


def _composition_over(axes: Callable[[int], Any]) -> Callable[..., Any]:
    """The plain composition that the fused function equals."""

    def normalize(x: Any, w: Any, b: Any, *known: Any, eps: float = 1e-5) -> Any:
        _check(x, w, b)
        over = axes(x.ndim)
        centred = x - x.mean(over, keepdims=True)
        var = (centred * centred).mean(over, keepdims=True)
        return centred / np.sqrt(var + eps) * w + b

    return normalize


batch_moments = differentiable(_batch_moments, name="batch_moments", fresh=True)
layer_norm = differentiable(
    _layer_norm,
    joint=_layer_norm_rule,
    saves=True,
    equals=_composition_over(lambda ndim: -1),
    fresh=True,
)
batch_norm = differentiable(
    _batch_norm,
    joint=_batch_norm_rule,
    saves=True,
    equals=_composition_over(lambda ndim: tuple(range(ndim - 1))),
    fresh=True,
)
