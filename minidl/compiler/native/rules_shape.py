"""What functions that move elements are in C: views where strides give them, else picks or copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import functions as F
from minidl.compiler.native.arrays import Array, NotInC, constant_array, new_array
from minidl.compiler.native.lowering import Lowering, lowers
from minidl.compiler.native.operations import Pick, Reduce
from minidl.compiler.program import Step
from minidl.functions import indexing, joining, rearrangement, shape


@lowers(
    F.reshape,
    F.ravel,
    F.transpose,
    F.swapaxes,
    F.expand_dims,
    F.squeeze,
    F.broadcast_to,
    shape._split,
    joining._slices,
)
def _moves(low: Lowering, step: Step, operands: list[Any]) -> Any:
    x, *rest = operands
    if step.function in (F.reshape, F.ravel):
        return low.reshaped(x, step.out.shape)
    return low.moved(x, lambda index: step.function.forward(index, *rest, **step.settings))


@lowers(F.copy)
def _copy(low: Lowering, step: Step, operands: list[Any]) -> Array:
    return low.copy(operands[0])


@lowers(rearrangement.rearranged)
def _rearranged(low: Lowering, step: Step, operands: list[Any]) -> Any:
    x, move = operands
    return low.moved(x, move)


@lowers(shape._concatenate)
def _concatenate(low: Lowering, step: Step, operands: list[Any]) -> Array:
    axis = step.settings.get("axis", 0) % len(step.out.shape)
    out = new_array(step.out.shape, step.out.dtype)
    start = 0
    for x in operands:
        x = constant_array(x) if isinstance(x, np.ndarray) else x
        part = out.view(x.shape, out.strides, start * out.strides[axis])
        low.write(x, part)
        start += x.shape[axis]
    return out


@lowers(shape.sum_to)
def _sum_to(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, wanted = operands
    lead = len(x.shape) - len(wanted)
    axes = [i for i, n in enumerate(x.shape) if i < lead or wanted[i - lead] != n]
    return low.reduce("sum", x, axes).view(step.out.shape)


@lowers(indexing._pick)
def _getitem(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, *index = operands
    dynamic = [i for i, part in enumerate(index) if isinstance(part, Array)]
    if not dynamic:
        places = tuple(index)
        result: Array = low.moved(x, lambda a: a[places])
        return result
    return _picked(low, x, index)


def _picked(low: Lowering, x: Array, index: list[Any], wrap: bool = True) -> Array:
    """Elements at places that are computed: all integers arrays, on axes that follow another."""
    parts = [constant_array(i) if isinstance(i, np.ndarray) else i for i in index]
    axes = [k for k, part in enumerate(parts) if isinstance(part, Array)]
    full = all(part == slice(None) for part in parts if not isinstance(part, Array))
    together = axes == list(range(axes[0], axes[-1] + 1))
    kinds = {parts[k].dtype.kind for k in axes}
    if not full or not together or not kinds <= {"i", "u"}:
        raise NotInC("an index of this form")
    first = axes[0]
    picked = np.broadcast_shapes(*[parts[k].shape for k in axes])
    domain = (*x.shape[:first], *picked, *x.shape[axes[-1] + 1 :])
    out = new_array(domain, x.dtype)
    still = (0,) * len(picked)
    source = x.view(domain, (*x.strides[:first], *still, *x.strides[axes[-1] + 1 :]))
    operands: list[Any] = [source]
    picks = []
    for k in axes:
        operands.append(_along(parts[k].broadcast(picked), domain, first))
        picks.append(Pick(0, len(operands) - 1, x.shape[k], x.strides[k], True, wrap))
    low.add_picks(domain, out, operands, picks)
    return out


def _along(x: Array, domain: Any, first: int) -> Array:
    """An array of places, along its axes of the domain only."""
    after = len(domain) - first - len(x.shape)
    return x.view(domain, ((0,) * first + x.strides + (0,) * after))


@lowers(F.take)
def _take(low: Lowering, step: Step, operands: list[Any]) -> Array:
    a, indices, *rest = operands
    axis = rest[0] if rest else None
    if axis is None:
        a = low.reshaped(a, (a.size,))
        axis = 0
    if not isinstance(indices, Array):
        result: Array = low.moved(a, lambda x: x.take(indices, axis))
        return result
    return _picked(low, a, [slice(None)] * (axis % len(a.shape)) + [indices])


@lowers(F.embedding)
def _embedding(low: Lowering, step: Step, operands: list[Any]) -> Array:
    w, indices = operands
    w = constant_array(w) if isinstance(w, np.ndarray) else w
    if not isinstance(indices, Array):
        result: Array = low.moved(w, lambda rows: rows[np.asarray(indices)])
        return result
    return _picked(low, w, [indices], wrap=False)


@lowers(indexing.put)
def _put(low: Lowering, step: Step, operands: list[Any]) -> Array:
    g, shape, *index = operands
    if any(isinstance(part, Array) for part in index):
        return _added(low, g, shape, index)
    places = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)[tuple(index)]
    whole = Array(new_array(tuple(shape), g.dtype).buffer, tuple(shape))
    view = whole.at(places)
    if view is not None and len(np.unique(places)) == places.size:
        zero = low.fill(whole, 0)
        low.write(g, Array(zero.buffer, view.shape, view.strides, view.offset))
        return zero
    flat = low.reshaped(g.broadcast(places.shape), (places.size,))
    return _added(low, flat, (whole.size,), [constant_array(places.reshape(-1))]).view(whole.shape)


def _added(low: Lowering, g: Array, shape: Any, index: list[Any]) -> Array:
    """Zeros to which ``g`` is added at places that are computed."""
    parts = [constant_array(i) if isinstance(i, np.ndarray) else i for i in index]
    axes = [k for k, part in enumerate(parts) if isinstance(part, Array)]
    full = all(part == slice(None) for part in parts if not isinstance(part, Array))
    together = axes == list(range(axes[0], axes[-1] + 1))
    if not full or not together or any(parts[k].dtype.kind not in "iu" for k in axes):
        raise NotInC("an index of this form")
    first = axes[0]
    picked = np.broadcast_shapes(*[parts[k].shape for k in axes])
    domain = (*shape[:first], *picked, *shape[axes[-1] + 1 :])
    out = new_array(tuple(shape), g.dtype)
    still = (0,) * len(picked)
    target = out.view(domain, (*out.strides[:first], *still, *out.strides[axes[-1] + 1 :]))
    operands: list[Any] = [g.broadcast(domain)]
    picks = []
    for k in axes:
        operands.append(_along(parts[k].broadcast(picked), domain, first))
        picks.append(Pick(-1, len(operands) - 1, shape[k], out.strides[k], True, True))
    low.operations.append(Reduce("sum", domain, target, operands, picks=picks))
    return out
