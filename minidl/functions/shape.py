"""Functions that move elements without changing them: reshape, transpose, broadcast, join and
split.

Picking elements by index lives in indexing.py.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from minidl.autograd.composition import composition
from minidl.autograd.engine import fit
from minidl.autograd.function import differentiable, implements
from minidl.autograd.operation import Operation
from minidl.common.arrays import as_array
from minidl.functions.into import concatenate_into

# fmt: off
__all__ = [
    "broadcast_to", "concatenate", "copy", "expand_dims", "full_like", "matrix_transpose",
    "moveaxis", "ravel", "reshape", "rollaxis", "split", "squeeze", "stack", "sum_to", "swapaxes",
    "transpose",
]
# fmt: on


def _inverse(axes: Any, ndim: int) -> Any:
    """The axes that undo ``transpose(axes)``."""
    if axes is None:
        return None
    order = normalize_axis_tuple(axes, ndim)
    return tuple(sorted(range(ndim), key=order.__getitem__))


@composition()
def _reshape(a: Any, shape: Any, order: str = "C") -> Any:
    """The same elements in another shape, read in C's order of axes or Fortran's: NumPy's
    ``reshape``.

    >>> reshape(np.arange(4), (2, 2), order="F")
    array([[0, 2],
           [1, 3]])
    """
    if order == "C":
        return reshape(a, shape)
    if order != "F":
        raise ValueError(f"reshape: want order 'C' or 'F', got {order!r}")
    shape = tuple(np.atleast_1d(shape))
    return a.transpose().reshape(shape[::-1]).transpose()


@composition()
def _ravel(a: Any, order: str = "C") -> Any:
    """All elements along one axis, in C's order of axes or Fortran's: NumPy's ``ravel``.

    >>> ravel(np.array([[1, 2], [3, 4]]), order="F")
    array([1, 3, 2, 4])
    """
    return _reshape(a, (-1,), order)


def _sum_to(x: Any, shape: Any) -> Any:
    """Summed over the axes along which ``shape`` would broadcast to x's: the adjoint of
    ``broadcast_to``.
    """
    if not isinstance(shape, (tuple, list, np.ndarray)) or x.dtype.kind not in "fiub":
        raise TypeError("want real numbers, and their shape as a tuple")
    shape = tuple(shape)
    if np.broadcast_shapes(x.shape, shape) != x.shape:
        raise ValueError(f"shape {x.shape} cannot be summed to {shape}")
    if x.dtype.kind != "f":  # as np.sum has it: 200 + 100 is more than uint8 holds
        x = x.astype(np.add.reduce(np.zeros(1, x.dtype)).dtype)
    return fit(x, shape, x.dtype)


# fmt: off
copy         = differentiable(lambda a, order="K": a.copy(order),
                              lambda g, y, a, order="K": g, name="copy", replaces=(np.copy,), fresh=True)
reshape      = differentiable(lambda a, shape: a.reshape(shape),
                              lambda g, y, a, shape: g.reshape(a.shape), replaces=(np.reshape,), general=_reshape,
                              view=True, static=1)
ravel        = differentiable(lambda a: a.reshape(-1),
                              lambda g, y, a: g.reshape(a.shape), replaces=(np.ravel,), general=_ravel,
                              view=True)
transpose    = differentiable(lambda a, axes=None: a.transpose(axes),
                              lambda g, y, a, axes=None: g.transpose(_inverse(axes, g.ndim)), replaces=(np.transpose,),
                              view=True)
swapaxes     = differentiable(lambda a, axis1, axis2: a.swapaxes(axis1, axis2),
                              lambda g, y, a, axis1, axis2: g.swapaxes(axis1, axis2), replaces=(np.swapaxes,),
                              view=True)
expand_dims  = differentiable(lambda a, axis: np.expand_dims(a, axis),
                              lambda g, y, a, axis: g.reshape(a.shape), replaces=(np.expand_dims,),
                              view=True)
squeeze      = differentiable(lambda a, axis=None: a.squeeze(axis),
                              lambda g, y, a, axis=None: g.reshape(a.shape), replaces=(np.squeeze,),
                              view=True)
# The engine sums a gradient that is larger than the argument and expands one that is smaller.
broadcast_to = differentiable(lambda array, shape: np.broadcast_to(array, shape),
                              lambda g, y, array, shape: g, replaces=(np.broadcast_to,),
                              view=True, static=1)
sum_to       = differentiable(_sum_to, lambda g, y, x, shape: g, static=1)
# fmt: on


def _part(axis: int, ndim: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(None),) * (axis % ndim) + (slice(start, stop),)


def _concatenate_rule(g: Any, y: Any, wanted: list[bool], *arrays: Any, axis: int = 0) -> list[Any]:
    ends = accumulate(a.shape[axis] for a in arrays)
    return [
        g[_part(axis, g.ndim, end - a.shape[axis], end)] if want else None
        for a, end, want in zip(arrays, ends, wanted, strict=True)
    ]


def _split_rule(
    gs: Any, ys: Any, wanted: list[bool], ary: Any, sections: Any, axis: int = 0
) -> list[Any]:
    pieces = [np.zeros_like(y) if g is None else g for g, y in zip(gs, ys, strict=True)]
    return [np.concatenate(pieces, axis=axis)]


# fmt: off
_concatenate = differentiable(lambda *arrays, axis=0: np.concatenate(arrays, axis),
                              joint=_concatenate_rule, name="concatenate",
                              operation=Operation(into=concatenate_into, kind="gather"))
_split = differentiable(lambda ary, sections, axis=0: tuple(np.split(ary, sections, axis)),
                        joint=_split_rule, name="split", view=True, static=1)
# fmt: on


@implements(np.concatenate)
def concatenate(arrays: Sequence[Any], axis: int | None = 0, *, dtype: Any = None) -> Any:
    """Arrays joined along an axis they have: NumPy's ``concatenate``.

    >>> concatenate([np.ones(2), np.zeros(1)])
    array([1., 1., 0.])
    """
    arrays = [as_array(a, "concatenate") for a in arrays]
    if axis is None:
        arrays = [np.ravel(a) for a in arrays]
        axis = 0
    joined = _concatenate(*arrays, axis=axis)
    return joined if dtype is None else joined.astype(dtype)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, *, dtype: Any = None) -> Any:
    """Arrays of one shape joined along a new axis: NumPy's ``stack``.

    >>> stack([np.zeros(2), np.ones(2)], axis=1)
    array([[0., 1.],
           [0., 1.]])
    """
    arrays = [as_array(a, "stack") for a in arrays]
    if len({a.shape for a in arrays}) != 1:
        raise ValueError(
            f"stack: want at least one array and all of one shape, got {[a.shape for a in arrays]}"
        )
    return concatenate([np.expand_dims(a, axis) for a in arrays], axis, dtype=dtype)


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """An array cut along an axis, into equal sections or before the given indices: NumPy's
    ``split``.

    >>> [p.shape for p in split(np.zeros((6, 2)), 3)]
    [(2, 2), (2, 2), (2, 2)]
    """
    cuts = getattr(indices_or_sections, "tolist", lambda: indices_or_sections)()
    return list(_split(ary, tuple(cuts) if isinstance(cuts, list) else cuts, axis))


@composition(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Some axes moved to other places, the rest in their order: NumPy's ``moveaxis``.

    >>> moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    moved = normalize_axis_tuple(source, a.ndim, "source")
    places = normalize_axis_tuple(destination, a.ndim, "destination")
    if len(moved) != len(places):
        raise ValueError(f"want as many destinations as sources, got {destination} for {source}")
    order = [i for i in range(a.ndim) if i not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return a.transpose(tuple(order))


@composition(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """One axis moved before that at ``start``: NumPy's ``rollaxis``.

    >>> rollaxis(np.zeros((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    axis = normalize_axis_index(axis, a.ndim)
    if not -a.ndim <= start <= a.ndim:
        raise np.exceptions.AxisError(f"start is out of bounds: {start} for {a.ndim} axes")
    start = start + a.ndim if start < 0 else start
    return moveaxis(a, axis, start - 1 if axis < start else start)


@composition(np.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    """The last two axes swapped: NumPy's ``matrix_transpose``.

    >>> matrix_transpose(np.zeros((2, 3, 4))).shape
    (2, 4, 3)
    """
    return x.swapaxes(-1, -2)


@composition(np.full_like, arrays=2)
def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """The value in the shape and dtype of a: NumPy's ``full_like``. Only the value has a gradient.

    >>> full_like(np.zeros(2), 3.0)
    array([3., 3.])
    """
    filled = np.broadcast_to(fill_value, a.shape if shape is None else shape)
    return filled.astype(a.dtype if dtype is None else dtype)
