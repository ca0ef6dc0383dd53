"""Convolution over one or two axes, features last: a matrix product of what each window shows.

Where windows lie is in windows.py, pooling in pooling.py. NumPy's convolve and correlate, of two
sequences without features, are in products.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from minidl.autograd.composition import composition, real
from minidl.autograd.function import Function, differentiable
from minidl.common.arrays import sum_rows
from minidl.common.checks import count
from minidl.functions.reduction import HALF, wide
from minidl.functions.windows import Windows, check_kind, windows_over

__all__ = ["conv"]

# How it is computed, and why:
# - What windows show is copied side by side, as columns, and one product is made of them: with few
#   features a product for each place in the window would have too little to do. It goes block by
#   block, so that the columns stay in the cache, and take no memory that counts.
# - The gradient of x is, for stride 1, the convolution of the gradient with the flipped kernel; for
#   others one product for each place in the window, which is added where it lies.
# - ``(groups, rows, features)`` is the form of all products; without groups the first axis is 1.
_BLOCK = 2**20  # bytes of columns


def _blocks(shape: Sequence[int], axes: int, itemsize: int) -> Iterator[tuple[slice, ...]]:
    """Indices of the blocks of a view of windows: some samples, or some first places of one."""
    _, batch, first, *rest = shape
    places = max(_BLOCK // max(math.prod(rest) * itemsize, 1), 1)
    samples = max(places // first, 1)
    places = min(places, first)
    for i, j in product(range(0, batch, samples), range(0, first, places)):
        yield slice(None), slice(i, i + samples), slice(j, j + places)


def _columns(x: Any, windows: Windows, groups: int) -> Iterator[tuple[Any, Any]]:
    """Blocks of windows: their index in (groups, batch, windows..), and their columns (groups,
    rows, places of a window with the features of each).
    """
    axes = len(windows.size)
    view = windows.view(_split_groups(windows.pad(x), groups))
    view = view.transpose(1 + 2 * axes, *range(1 + 2 * axes), 2 + 2 * axes)
    width = math.prod(view.shape[2 + axes :])
    for block in _blocks(view.shape, axes, view.itemsize):
        part = view[block]
        rows = math.prod(part.shape[1 : 2 + axes])
        if part.shape[-1] > 1 or windows.size[-1] > 7:
            yield block, part.reshape(groups, rows, width)
            continue
        # Of single features, in a narrow window, a copy place by place takes half of the time.
        columns = np.empty(part.shape, part.dtype)
        for place in np.ndindex(*windows.size):
            columns[(..., *place, 0)] = part[(..., *place, 0)]
        yield block, columns.reshape(groups, rows, width)


def _split_groups(x: Any, groups: int) -> Any:
    """The last axis as two: groups, and the features of each."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def _groups_first(x: Any) -> Any:
    """(.., groups, features) with the groups in front."""
    last = x.ndim - 1
    return x.transpose(last - 1, *range(last - 1), last)


def _rows(x: Any) -> Any:
    """(groups, .., features) with all axes between as one."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])


def _forward(x: Any, w: Any, b: Any, windows: Windows, groups: int) -> Any:
    counts = windows.counts(windows.whole(x.shape[1:-1]))
    y = np.empty((len(x), *counts, w.shape[-1]), np.result_type(x, w))
    if _is_depthwise(w.shape, groups):
        y.fill(0)
        for part, tap in zip(windows.parts(windows.pad(x)), w.reshape(-1, groups)):
            y += part * tap
    else:
        out = _groups_first(_split_groups(y, groups))
        kernel = _groups_first(_split_groups(w.reshape(-1, w.shape[-1]), groups))
        for block, columns in _columns(x, windows, groups):
            target = out[block]
            target[...] = (columns @ kernel).reshape(target.shape)
    if b is None:
        return y
    return np.add(y, b, out=y) if y.dtype == b.dtype else y + b


def _is_depthwise(shape: Sequence[int], groups: int) -> bool:
    """Whether each feature goes by itself: then matrices would have one column, and be slow."""
    return shape[-2] == 1 and shape[-1] == groups > 1


def _input_forward(g: Any, w: Any, lengths: Sequence[int], windows: Windows, groups: int) -> Any:
    """The adjoint of ``_forward`` in x, of these lengths: each window's share is added where it lies."""
    reach = windows.reach()
    if set(windows.stride) == {1} and min(reach.before + reach.after) >= 0:
        return _forward(g, _flip(w, groups), None, reach, groups)
    features = w.shape[-2] * groups
    whole = windows.whole(lengths)
    gx = np.zeros((len(g), *whole, features), np.result_type(g, w))
    if _is_depthwise(w.shape, groups):
        for part, tap in zip(windows.parts(gx), w.reshape(-1, groups)):
            part += g * tap
        return windows.inside(gx, lengths)
    rows = _rows(_groups_first(_split_groups(g, groups)))
    parts = windows.parts(_split_groups(gx, groups))
    taps = _split_groups(w, groups).reshape(len(parts), -1, groups, w.shape[-1] // groups)
    for part, tap in zip(parts, taps):
        target = _groups_first(part)
        target += (rows @ tap.transpose(1, 2, 0)).reshape(target.shape)
    return windows.inside(gx, lengths)


def _flip(w: Any, groups: int) -> Any:
    """The kernel from the other end, of which each input sees the outputs: a kernel from out to in."""
    grouped = _split_groups(w, groups).swapaxes(-3, -1)  # (kernel.., out, groups, in)
    turned = np.flip(grouped, tuple(range(w.ndim - 2)))
    return turned.reshape(*w.shape[:-2], w.shape[-1] // groups, w.shape[-2] * groups)


def _weight_forward(x: Any, g: Any, windows: Windows, groups: int) -> Any:
    """The adjoint of ``_forward`` in w."""
    shape = (*windows.size, x.shape[-1] // groups, g.shape[-1])
    if _is_depthwise(shape, groups):
        parts = windows.parts(windows.pad(x))
        sums = [sum_rows((part * g).reshape(-1, groups)) for part in parts]
        return np.stack(sums).reshape(shape)
    grouped = _groups_first(_split_groups(g, groups))
    width = math.prod(windows.size) * x.shape[-1] // groups
    gw = np.zeros((groups, width, grouped.shape[-1]), np.result_type(x, g))
    for block, columns in _columns(x, windows, groups):
        gw += columns.swapaxes(1, 2) @ _rows(grouped[block])
    return gw.swapaxes(0, 1).reshape(shape)


# One form that is linear in x, in w and in g, and its three derivatives, each the rule of the
# others.
# fmt: off
_conv: Function = differentiable(
    _forward,
    lambda g, y, x, w, b, windows, groups:
    _conv_input(g, w, x.shape[1:-1], windows, groups),
    lambda g, y, x, w, b, windows, groups: _conv_weight(x, g, windows, groups),
    lambda g, y, x, w, b, windows, groups: g.reshape(-1, g.shape[-1]), name="conv", fresh=True)
_conv_input: Function = differentiable(
    _input_forward,
    lambda g, y, out, w, lengths, windows, groups: _conv(g, w, None, windows, groups),
    lambda g, y, out, w, lengths, windows, groups: _conv_weight(g, out, windows, groups),
    name="conv_input", fresh=True)
_conv_weight: Function = differentiable(
    _weight_forward,
    lambda g, y, x, out, windows, groups:
    _conv_input(out, g, x.shape[1:-1], windows, groups),
    lambda g, y, x, out, windows, groups: _conv(x, g, None, windows, groups),
    name="conv_weight", fresh=True)
# fmt: on


@composition(arrays=2)
def conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Any:
    """Sums of products of a kernel and the places under it, wherever it fits; features last.

    ``y[n, i, o] = b[o] + sum over k, c of x[n, i * stride + k * dilation - padding, c] w[k, c, o]``
    with one spatial axis, with two the same for both: what deep learning calls a convolution (a
    cross-correlation: the kernel is not flipped).

    Args:
        x: (batch, time, in) or (batch, height, width, in), floating; exactly one batch axis.
        w: (kernel, in / groups, out) or (kernel, kernel, in / groups, out), floating.
        b: (out), or None.
        stride, dilation: steps between the windows, and between the places in one: an int, or a
            tuple with one for each spatial axis.
        padding: zeros around x: "valid" for none; an int, or a tuple of them, on both sides of each
            axis; "same" for ceil(length / stride) windows: spread evenly, the odd one at the end,
            as Keras does, and PyTorch, which has it for stride 1 only.
        groups: into how many parts features are cut; each part of out sees one part of in.

    Raises ValueError for other shapes, a kernel larger than the padded input, groups that do not
    divide in and out, negative padding; TypeError for arrays that are not floating.

    Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989.

    >>> x = np.arange(8.0).reshape(1, 4, 2)
    >>> conv(x, np.ones((3, 2, 1)))[0, :, 0]
    array([15., 27.])
    """
    b = b if b is None else real(b)
    _check(x, w, b, groups)
    windows = windows_over(x.shape[1:-1], w.shape[:-2], stride, padding, dilation)
    half = {a.dtype for a in (x, w, b) if a is not None} == {HALF}  # then sums are float32's
    y = _conv(wide(x), wide(w), b, windows, groups)
    return y.astype(HALF) if half else y


def _check(x: Any, w: Any, b: Any, groups: Any) -> None:
    kinds = [str(a.dtype) for a in (x, w, b) if a is not None and a.dtype.kind != "f"]
    if kinds:
        raise TypeError(f"want floating x, w and b, got {' and '.join(kinds)}")
    check_kind(x)
    axes = w.ndim - 2
    if axes not in (1, 2) or x.ndim != w.ndim:
        want = "x (batch, time, in), w (kernel, in, out), or both with two spatial axes"
        raise ValueError(f"want {want}, got {x.shape} and {w.shape}")
    count("groups", groups)
    features, out = w.shape[-2:]
    if x.shape[-1] != features * groups or out % groups:
        want = f"x (.., in), w (.., in / {groups}, out), both divided by groups={groups}"
        raise ValueError(f"want {want}, got {x.shape} and {w.shape}")
    if 0 in w.shape:
        raise ValueError(f"want a kernel that is not empty, got {w.shape}")
    if b is not None and b.shape != (out,):
        raise ValueError(f"want b {(out,)}, got {b.shape}")
