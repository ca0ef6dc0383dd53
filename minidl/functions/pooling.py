"""Pooling over one or two axes, features last: the largest, or the mean, of what each window shows.

Where windows lie is in windows.py, convolution in convolution.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd.composition import composition
from minidl.autograd.function import Function, differentiable
from minidl.functions.indexing import put
from minidl.functions.reduction import HALF, wide
from minidl.functions.windows import Windows, check_kind, check_padding, per_axis, windows_over

__all__ = ["avg_pool", "max_pool"]


def _windows(x: Any, size: Any, stride: Any, padding: Any) -> Windows:
    check_kind(x)
    if x.dtype.kind != "f":
        raise TypeError(f"want floating x, got {x.dtype}")
    axes = x.ndim - 2
    if axes not in (1, 2):
        want = "(batch, time, features) or (batch, height, width, features)"
        raise ValueError(f"want x {want}, got {x.shape}")
    sizes = per_axis("size", size, axes)
    pads = check_padding(padding, axes)
    if any(2 * pad > n for pad, n in zip(pads, sizes)):
        raise ValueError(f"want padding of at most half of the size {sizes}, got {pads}")
    return windows_over(x.shape[1:-1], sizes, sizes if stride is None else stride, pads)


# ---- the largest ---------------------------------------------------------------------------------


def _largest(x: Any, windows: Windows) -> Any:
    first, *rest = windows.parts(windows.pad(x, -math.inf))
    y = first.copy()
    for part in rest:
        np.maximum(y, part, out=y)
    return y


def _first_place(x: Any, y: Any, windows: Windows) -> Any:
    """Where in the flat ``x`` the largest of each window stands, the first of several."""
    if np.isnan(y).any():  # which equals nothing, but the first of them is what stands in y
        x = np.where(np.isnan(x), math.inf, x)
        y = np.where(np.isnan(y), math.inf, y)
    *parts, _ = windows.parts(windows.pad(x, math.nan))  # padding equals nothing either
    first, further = windows.places(x.shape)
    behind = np.ones(y.shape, bool)  # the largest is behind the parts so far
    which = np.zeros(y.shape, np.uint8 if len(parts) < 256 else np.intp)
    for part in parts:
        behind &= part != y
        which += behind
    return further[which] + first


# fmt: off
_place: Function = differentiable(_first_place, name="first_place")
_max_pool: Function = differentiable(
    _largest, lambda g, y, x, windows: put(g.reshape(-1), (x.size,), _place(x, y, windows).reshape(-1))
    .reshape(x.shape), name="max_pool", fresh=True)
# fmt: on


@composition()
def max_pool(
    x: Any,
    size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Any:
    """The largest of what each window shows, feature by feature.

    The gradient goes to where the largest stands, in a window where several are equal to the first
    of them, as in PyTorch; NaN counts as largest.

    Args:
        x: (batch, time, features) or (batch, height, width, features), floating.
        size: of a window: an int, or a tuple with one for each spatial axis, as the others.
        stride: steps between windows; default the size.
        padding: places around x, which are never the largest; at most half of the size.

    Raises ValueError for other shapes and where not even one window fits, TypeError for an x that
    is not floating.

    >>> max_pool(np.array([[[1.0], [3.0], [2.0], [0.0]]]), 2)[0, :, 0]
    array([3., 2.])
    """
    return _max_pool(x, _windows(x, size, stride, padding))


# ---- the mean ------------------------------------------------------------------------------------


def _mean_forward(x: Any, windows: Windows) -> Any:
    first, *rest = windows.parts(windows.pad(x))
    y = first.copy()
    for part in rest:
        y += part
    y /= math.prod(windows.size)
    return y


def _spread_forward(g: Any, lengths: Sequence[int], windows: Windows) -> Any:
    """The adjoint of ``_mean`` for x of these lengths: each place gets its share of all windows it
    is in.
    """
    gx = np.zeros((len(g), *windows.whole(lengths), g.shape[-1]), g.dtype)
    share = g / math.prod(windows.size)
    for part in windows.parts(gx):
        part += share
    return windows.inside(gx, lengths)


# fmt: off
_mean: Function = differentiable(
    _mean_forward, lambda g, y, x, windows: _spread(g, x.shape[1:-1], windows),
    name="avg_pool", fresh=True)
_spread: Function = differentiable(
    _spread_forward, lambda g, y, out, lengths, windows: _mean(g, windows), name="spread", fresh=True)
# fmt: on


@composition()
def avg_pool(
    x: Any,
    size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Any:
    """The mean of what each window shows, feature by feature; padding counts, as zeros.

    Args and raises as ``max_pool``.

    >>> avg_pool(np.array([[[1.0], [3.0], [2.0], [0.0]]]), 2)[0, :, 0]
    array([2., 1.])
    """
    y = _mean(wide(x), _windows(x, size, stride, padding))
    return y.astype(HALF) if x.dtype == HALF else y
