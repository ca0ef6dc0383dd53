"""What products of matrices, convolutions and pools are in C: sums over views, never a copy."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.compiler.native.arrays import Array, NotInC, Shape, constant_array, new_array
from minidl.compiler.native.expressions import UFUNCS
from minidl.compiler.native.lowering import Lowering, lowers
from minidl.compiler.native.operations import Dot, Product
from minidl.compiler.program import Step
from minidl.functions import convolution, pooling

LARGE = 2**21  # multiplications from which on NumPy's products are faster


@lowers(F.matmul)
def _matmul(low: Lowering, step: Step, operands: list[Any]) -> Array:
    a, c = [as_dtype(low, x, step.out.dtype) for x in operands]
    if len(a.shape) == 1:
        a = a.view((1, *a.shape), (0, *a.strides))
    if len(c.shape) == 1:
        c = c.view((*c.shape, 1), (*c.strides, 0))
    batch = np.broadcast_shapes(a.shape[:-2], c.shape[:-2])
    a = a.broadcast((*batch, *a.shape[-2:]))
    c = c.broadcast((*batch, *c.shape[-2:]))
    out = new_array((*batch, a.shape[-2], c.shape[-1]), a.dtype)
    product(low, out, a, c, (batch, a.shape[-2:-1], c.shape[-1:], c.shape[-2:-1]))
    return out.view(step.out.shape)


@lowers(F.linear)
def _linear(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, w, *rest = operands
    x = as_dtype(low, x, step.out.dtype)
    w = as_dtype(low, w, step.out.dtype)
    out = new_array(step.out.shape, step.out.dtype)
    product(low, out, x, w, ((), x.shape[:-1], w.shape[1:], w.shape[:1]))
    if not rest or rest[0] is None:
        return out
    return low.map(UFUNCS[np.add], [out, rest[0]], step.out)


def as_dtype(low: Lowering, x: Any, dtype: Any) -> Array:
    """An operand as an Array of the dtype that a product is computed in."""
    if dtype.kind != "f":
        raise NotInC(f"a product of {dtype}")
    array = x if isinstance(x, Array) else constant_array(np.asarray(x).astype(dtype))
    return array if array.dtype == dtype else low.text("{0}", [array], array.shape, dtype)


def product(low: Lowering, out: Array, a: Array, c: Array, sizes: tuple[Shape, ...]) -> None:
    """Note a product; the right factor with its columns next to each other, if it is used often."""
    rows = math.prod(sizes[1])
    columns = math.prod(sizes[2])
    if rows > 1 and columns > 1 and c.strides[-1] != 1:
        c = low.copy(c)
    work = math.prod([n for axes in sizes for n in axes])
    if low.calls and not low.depth and work >= LARGE:
        matrices = [_matrix(out, rows), _matrix(a, rows), _matrix(c, math.prod(sizes[3]))]
        if not sizes[0] and None not in matrices:
            low.operations.append(Dot(*matrices))
            return
    low.operations.append(Product(out, a, c, sizes))


def _matrix(x: Array, rows: int) -> Any:
    """An array as a matrix of so many rows; None if no strides give it."""
    for at in range(len(x.shape) + 1):
        if math.prod(x.shape[:at]) == rows:
            first = _merged(x.shape[:at], x.strides[:at])
            second = _merged(x.shape[at:], x.strides[at:])
            if first is not None and second is not None:
                columns = math.prod(x.shape[at:])
                return x.view((rows, columns), (first, second))
    return None


def _merged(shape: Shape, strides: Shape) -> int | None:
    """The stride of some axes as one."""
    axes = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if any(s != m * r for (_, s), (m, r) in pairwise(axes)):
        return None
    return axes[-1][1] if axes else 1


@lowers(convolution._conv)
def _conv(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, w, b, windows, groups = operands
    x = as_dtype(low, x, step.out.dtype)
    w = as_dtype(low, w, step.out.dtype)
    kernel = windows.size
    shown = window_view(padded(low, x, windows, 0.0), windows)
    features, count = w.shape[-2:]
    batch, *counts = shown.shape[: 1 + len(kernel)]
    rows = (batch, *counts)
    step_in, step_out = shown.strides[-1], w.strides[-1]
    a = shown.view(
        (groups, *rows, *kernel, features), (features * step_in, *shown.strides[:-1], step_in)
    )
    each = count // groups
    c = w.view((groups, *kernel, features, each), (each * step_out, *w.strides[:-1], step_out))
    out = new_array(step.out.shape, step.out.dtype)
    split = out.view((groups, *rows, each), (each, *out.strides[:-1], 1))
    product(low, split, a, c, ((groups,), rows, (each,), (*kernel, features)))
    return out if b is None else low.map(UFUNCS[np.add], [out, b], step.out)


def padded(low: Lowering, x: Array, windows: Any, value: float) -> Array:
    """The array with a value around it, as windows want it."""
    if not any(windows.before + windows.after):
        return x
    axes = len(windows.size)
    lengths = x.shape[1 : 1 + axes]
    whole = new_array((x.shape[0], *windows.whole(lengths), *x.shape[1 + axes :]), x.dtype)
    low.fill(whole, value)
    low.write(x, whole.at_slices((slice(None), *_inner(windows, lengths))))
    return whole


def _inner(windows: Any, lengths: Shape) -> list[slice]:
    return [slice(first, first + n) for n, first in zip(lengths, windows.before)]


def window_view(x: Array, windows: Any) -> Array:
    """What all windows show: (batch, windows.., size.., features)."""
    axes = len(windows.size)
    counts = windows.counts(x.shape[1 : 1 + axes])
    first, *steps = x.strides
    between = [step * stride for step, stride in zip(steps, windows.stride)]
    within = [step * dilation for step, dilation in zip(steps, windows.dilation)]
    shape = (x.shape[0], *counts, *windows.size, *x.shape[1 + axes :])
    return x.view(shape, (first, *between, *within, *steps[axes:]))


def _pooled(low: Lowering, x: Array, windows: Any, kind: str, filling: float) -> Array:
    axes = len(windows.size)
    shown = window_view(padded(low, x, windows, filling), windows)
    last = len(shown.shape) - 1
    order = (*range(1 + axes), last, *range(1 + axes, last))  # what a window shows comes last
    shape = tuple([shown.shape[i] for i in order])
    turned = shown.view(shape, tuple([shown.strides[i] for i in order]))
    return low.reduce(kind, turned, range(2 + axes, len(shape)))


@lowers(pooling._max_pool)
def _max_pool(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, windows = operands
    return _pooled(low, x, windows, "max", -math.inf)


@lowers(pooling._mean)
def _avg_pool(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, windows = operands
    total = _pooled(low, x, windows, "sum", 0.0)
    return low.map(UFUNCS[np.divide], [total, math.prod(windows.size)], step.out)
