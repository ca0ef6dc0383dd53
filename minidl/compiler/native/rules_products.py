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
from minidl.compiler.native.narrow import narrow_product
from minidl.compiler.native.operations import Dot, Product
from minidl.compiler.program import Step
from minidl.functions import convolution, pooling, products

# Multiplications from which on NumPy's products are faster: of matrices, and of those whose columns
# are too few for vectors.
LARGE = 2**21
LARGE_OF_NARROW = 2**18
NARROW = 16


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
    if low.calls and not low.depth and not sizes[0] and _is_large(sizes, columns):
        matrices = [_matrix(out, rows), _matrix(a, rows), _matrix(c, math.prod(sizes[3]))]
        if None not in matrices:
            low.operations.append(Dot(*matrices))
            return
    if narrow_product(low, out, a, c, sizes):
        return
    if rows > 1 and columns > 1 and c.strides[-1] != 1:
        c = low.copy(c)
    low.operations.append(Product(out, a, c, sizes))


def _is_large(sizes: tuple[Shape, ...], columns: int) -> bool:
    work = math.prod([n for axes in sizes for n in axes])
    return work >= (LARGE_OF_NARROW if columns < NARROW else LARGE)


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


@lowers(products._einsum)
def _einsum(low: Lowering, step: Step, operands: list[Any]) -> Any:
    """Of two arrays, whose axes all have names of their own, a product; else a call."""
    names = _names_of(step.settings.get("subscripts", ""), operands)
    if names is None or step.out.dtype.kind != "f":
        return low.call(step, operands)
    left, right, result = names
    a, c = [as_dtype(low, x, step.out.dtype) for x in operands]
    out = new_array(step.out.shape, step.out.dtype)
    batch = [n for n in result if n in left and n in right]
    rows = [n for n in result if n not in right]
    columns = [n for n in result if n not in left]
    inner = [n for n in left if n not in result]
    axes = list(zip(left + right, a.shape + c.shape, strict=True))
    lengths = dict(axes)
    if any(lengths[name] != n for name, n in axes):  # one is broadcast
        return low.call(step, operands)
    sizes = tuple([tuple([lengths[n] for n in axes]) for axes in (batch, rows, columns, inner)])
    target = _turned(out, result, batch + rows + columns)
    first = _turned(a, left, batch + rows + inner)
    product(low, target, first, _turned(c, right, batch + inner + columns), sizes)
    return out


def _names_of(subscripts: str, operands: list[Any]) -> tuple[str, str, str] | None:
    """The names of the axes of two factors and of the result; None if they are no product."""
    left, _, result = subscripts.replace(" ", "").partition("->")
    names = left.split(",")
    if len(operands) != 2 or len(names) != 2 or "." in subscripts or "->" not in subscripts:
        return None
    a, c = names
    apart = all(len(set(part)) == len(part) for part in (a, c, result))
    only = (set(a) ^ set(c)) - set(result)
    return (a, c, result) if apart and not only else None


def _turned(x: Array, names: str, order: list[str]) -> Array:
    """An array with its axes in the order of some names."""
    places = [names.index(name) for name in order]
    shape = tuple([x.shape[i] for i in places])
    return x.view(shape, tuple([x.strides[i] for i in places]))


@lowers(convolution._conv)
def _conv(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, w, b, windows, groups = operands
    x = as_dtype(low, x, step.out.dtype)
    w = as_dtype(low, w, step.out.dtype)
    out = _convolved(low, x, w, windows, groups)
    return out if b is None else low.map(UFUNCS[np.add], [out, b], step.out)


def _convolved(low: Lowering, x: Array, w: Array, windows: Any, groups: int) -> Array:
    """What windows show, times a kernel (size.., features, out)."""
    shown = _shown(low, x, windows, groups)
    rows = shown.shape[1 : 2 + len(windows.size)]
    out = new_array((*rows, w.shape[-1]), x.dtype)
    each = w.shape[-1] // groups
    kernel = w.shape[:-1]
    step = w.strides[-1]
    c = w.view((groups, *kernel, each), (each * step, *w.strides[:-1], step))
    product(low, _split(out, groups), shown, c, ((groups,), rows, (each,), kernel))
    return out


def _shown(low: Lowering, x: Array, windows: Any, groups: int) -> Array:
    """What windows show: (groups, batch, windows.., size.., features of a group)."""
    shown = window_view(padded(low, x, windows, 0.0), windows)
    features = shown.shape[-1] // groups
    step = shown.strides[-1]
    shape = (groups, *shown.shape[:-1], features)
    return shown.view(shape, (features * step, *shown.strides[:-1], step))


def _split(x: Array, groups: int) -> Array:
    """The last axis as two, of which the first, the groups, stands in front."""
    each = x.shape[-1] // groups
    step = x.strides[-1]
    return x.view((groups, *x.shape[:-1], each), (each * step, *x.strides[:-1], step))


@lowers(convolution._conv_weight)
def _conv_weight(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, g, windows, groups = operands
    x = as_dtype(low, x, step.out.dtype)
    g = as_dtype(low, g, step.out.dtype)
    shown = _shown(low, x, windows, groups)
    axes = len(windows.size)
    order = (0, *range(2 + axes, 3 + 2 * axes), *range(1, 2 + axes))
    shape = tuple([shown.shape[i] for i in order])
    turned = shown.view(shape, tuple([shown.strides[i] for i in order]))
    out = new_array(step.out.shape, x.dtype)
    rows = shape[1 : 2 + axes]
    inner = shape[2 + axes :]
    columns = (g.shape[-1] // groups,)
    product(low, _split(out, groups), turned, _split(g, groups), ((groups,), rows, columns, inner))
    return out


@lowers(convolution._conv_input)
def _conv_input(low: Lowering, step: Step, operands: list[Any]) -> Array:
    g, w, lengths, windows, groups = operands
    reach = windows.reach()
    if set(windows.stride) != {1} or min(reach.before + reach.after) < 0:
        result: Array = low.call(step, operands)
        return result
    g = as_dtype(low, g, step.out.dtype)
    w = as_dtype(low, w, step.out.dtype)
    turned = low.moved(w, lambda places: convolution._flip(places, groups))
    return _convolved(low, g, low.contiguous(turned), reach, groups)


@lowers(pooling._place)
def _first_place(low: Lowering, step: Step, operands: list[Any]) -> Array:
    """The least of the flat places where the largest of a window stands."""
    x, y, windows = operands
    if any(windows.before + windows.after):
        result: Array = low.call(step, operands)
        return result
    shown = _size_last(window_view(x, windows), windows)
    places = _size_last(window_view(Array(x.buffer, x.shape), windows), windows).strides
    terms = [f"{{x{i}}} * {stride}" for i, stride in enumerate(places)]
    largest = y.view((*y.shape, *windows.size), (*y.strides, *[0] * len(windows.size)))
    text = f"{{0}} == {{1}} || ({{0}} != {{0}} && {{1}} != {{1}}) ? {' + '.join(terms)} : {x.size}"
    found = low.text(text, [shown, largest], shown.shape, step.out.dtype)
    return low.reduce("min", found, range(len(y.shape), len(shown.shape)))


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
    shown = _size_last(window_view(padded(low, x, windows, filling), windows), windows)
    return low.reduce(kind, shown, range(2 + len(windows.size), len(shown.shape)))


def _size_last(shown: Array, windows: Any) -> Array:
    """(batch, windows.., size.., features) with the size last."""
    axes = len(windows.size)
    last = len(shown.shape) - 1
    order = (*range(1 + axes), last, *range(1 + axes, last))
    shape = tuple([shown.shape[i] for i in order])
    return shown.view(shape, tuple([shown.strides[i] for i in order]))


@lowers(pooling._max_pool)
def _max_pool(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, windows = operands
    return _pooled(low, x, windows, "max", -math.inf)


@lowers(pooling._mean)
def _avg_pool(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, windows = operands
    total = _pooled(low, x, windows, "sum", 0.0)
    return low.map(UFUNCS[np.divide], [total, math.prod(windows.size)], step.out)
