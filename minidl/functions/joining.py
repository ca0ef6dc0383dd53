"""Arrays joined, cut and laid beside each other, by concatenate and split of shape.py.

Functions that move elements inside one array live in rearrangement.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd.composition import composition, numpys, real
from minidl.autograd.function import differentiable
from minidl.functions.shape import concatenate, split

# fmt: off
__all__ = [
    "append", "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "block",
    "broadcast_arrays", "column_stack", "dsplit", "dstack", "hsplit", "hstack", "meshgrid",
    "unstack", "vsplit", "vstack",
]
# fmt: on


def _at_least(n: int, arrays: tuple[Any, ...], at: int = 0) -> Any:
    """Each array with axes of length 1 put in at a place, until it has n."""
    results = [_lifted(a, n, at) for a in arrays]
    return results[0] if len(results) == 1 else tuple(results)


def _lifted(a: Any, n: int, at: int = 0) -> Any:
    missing = max(n - a.ndim, 0)
    return a.reshape(a.shape[:at] + (1,) * missing + a.shape[at:]) if missing else a


@composition(np.atleast_1d, arrays=None)
def atleast_1d(*arys: Any) -> Any:
    """Numbers as arrays of one: NumPy's ``atleast_1d``.

    >>> atleast_1d(3.0)
    array([3.])
    """
    return _at_least(1, arys)


@composition(np.atleast_2d, arrays=None)
def atleast_2d(*arys: Any) -> Any:
    """Vectors as matrices of one row: NumPy's ``atleast_2d``.

    >>> atleast_2d([1.0, 2.0])
    array([[1., 2.]])
    """
    return _at_least(2, arys)


@composition(np.atleast_3d, arrays=None)
def atleast_3d(*arys: Any) -> Any:
    """Vectors as ``(1, n, 1)``, matrices as ``(m, n, 1)``: NumPy's ``atleast_3d``.

    >>> atleast_3d([1.0, 2.0]).shape
    (1, 2, 1)
    """
    results = [_lifted(_lifted(a, 2), 3, at=2) for a in arys]
    return results[0] if len(results) == 1 else tuple(results)


@composition(np.vstack, arrays=0)
def vstack(tup: Sequence[Any], *, dtype: Any = None) -> Any:
    """Arrays joined as rows: NumPy's ``vstack``.

    >>> vstack([[1.0, 2.0], [3.0, 4.0]])
    array([[1., 2.],
           [3., 4.]])
    """
    return concatenate([_lifted(real(a), 2) for a in tup], 0, dtype=dtype)


@composition(np.hstack, arrays=0)
def hstack(tup: Sequence[Any], *, dtype: Any = None) -> Any:
    """Arrays joined along their second axis, vectors along their only one: NumPy's ``hstack``.

    >>> hstack([[1.0, 2.0], [3.0]])
    array([1., 2., 3.])
    """
    arrays = [_lifted(real(a), 1) for a in tup]
    return concatenate(arrays, 0 if arrays and arrays[0].ndim == 1 else 1, dtype=dtype)


@composition(np.dstack, arrays=0)
def dstack(tup: Sequence[Any]) -> Any:
    """Arrays joined along their third axis: NumPy's ``dstack``.

    >>> dstack([[1.0, 2.0], [3.0, 4.0]]).shape
    (1, 2, 2)
    """
    return concatenate([_lifted(_lifted(real(a), 2), 3, at=2) for a in tup], 2)


@composition(np.column_stack, arrays=0)
def column_stack(tup: Sequence[Any]) -> Any:
    """Vectors as the columns of a matrix, beside those of matrices: NumPy's ``column_stack``.

    >>> column_stack([[1.0, 2.0], [3.0, 4.0]])
    array([[1., 3.],
           [2., 4.]])
    """
    arrays = [real(a) for a in tup]
    return concatenate([a if a.ndim > 1 else a.reshape(-1, 1) for a in arrays], 1)


@composition(np.append, arrays=2)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Values joined to the end of an array, both flattened for ``axis=None``: NumPy's ``append``.

    >>> append([1.0, 2.0], 3.0)
    array([1., 2., 3.])
    """
    return concatenate([arr, values], axis)


@composition(np.block, arrays=0)
def block(arrays: Any) -> Any:
    """A matrix of matrices from nested lists, the innermost joined along the last axis: NumPy's
    ``block``.

    >>> block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 3))]])
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 1., 1.]])
    """
    depth, ndim = _measured(arrays)
    return _joined(arrays, depth, max(depth, ndim))


def _measured(arrays: Any) -> tuple[int, int]:
    """How deep lists are nested, and the most axes of an array within them."""
    if not isinstance(arrays, list):
        return 0, real(arrays).ndim
    if not arrays:
        raise ValueError("want lists that are not empty")
    inner = [_measured(a) for a in arrays]
    if len({depth for depth, _ in inner}) > 1:
        raise ValueError("want lists nested to one depth")
    return inner[0][0] + 1, max(ndim for _, ndim in inner)


def _joined(arrays: Any, depth: int, ndim: int) -> Any:
    if depth == 0:
        return _lifted(real(arrays), ndim)
    return concatenate([_joined(a, depth - 1, ndim) for a in arrays], -depth)


@composition(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """An array cut into sections that need not be equal: NumPy's ``array_split``.

    >>> [p.shape for p in array_split(np.zeros(5), 2)]
    [(3,), (2,)]
    """
    if np.ndim(indices_or_sections):
        return split(ary, indices_or_sections, axis)
    sections = int(indices_or_sections)
    if sections < 1:
        raise ValueError("number sections must be larger than 0")
    size, larger = divmod(ary.shape[axis], sections)
    ends = np.cumsum([size + 1] * larger + [size] * (sections - larger))
    return split(ary, ends[:-1], axis)


def _split_along(axis: int, least: int, ary: Any, indices_or_sections: Any) -> Any:
    if ary.ndim < least:
        raise ValueError(f"want at least {least} axes, got shape {ary.shape}")
    return split(ary, indices_or_sections, axis)


@composition(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """An array cut along its second axis, a vector along its only one: NumPy's ``hsplit``.

    >>> [p.shape for p in hsplit(np.zeros((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    return _split_along(min(ary.ndim - 1, 1), 1, ary, indices_or_sections)


@composition(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """A matrix cut along its first axis: NumPy's ``vsplit``.

    >>> [p.shape for p in vsplit(np.zeros((2, 4)), 2)]
    [(1, 4), (1, 4)]
    """
    return _split_along(0, 2, ary, indices_or_sections)


@composition(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """An array cut along its third axis: NumPy's ``dsplit``.

    >>> [p.shape for p in dsplit(np.zeros((1, 2, 4)), 2)]
    [(1, 2, 2), (1, 2, 2)]
    """
    return _split_along(2, 3, ary, indices_or_sections)


def _slices_rule(gs: Any, ys: Any, wanted: list[bool], x: Any) -> list[Any]:
    return [np.stack([np.zeros_like(y) if g is None else g for g, y in zip(gs, ys, strict=True)])]


# fmt: off
_slices = differentiable(lambda x: tuple(x), joint=_slices_rule, name="unstack")
# fmt: on


@composition(*numpys("unstack"))
def unstack(x: Any, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices along an axis, as a tuple: NumPy's ``unstack`` (2.1).

    >>> unstack(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    (array([1., 3.]), array([2., 4.]))
    """
    if x.ndim == 0:
        raise ValueError("want at least one axis, got a number")
    slices: tuple[Any, ...] = _slices(np.moveaxis(x, axis, 0))
    return slices


@composition(np.broadcast_arrays, arrays=None)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """All arrays in the shape that they broadcast to: NumPy's ``broadcast_arrays``.

    >>> [a.shape for a in broadcast_arrays(np.zeros(2), np.zeros((3, 1)))]
    [(3, 2), (3, 2)]
    """
    shape = np.broadcast_shapes(*(a.shape for a in args))
    return tuple(np.broadcast_to(a, shape) for a in args)


@composition(np.meshgrid, arrays=None)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Coordinates of a grid from those along each axis: NumPy's ``meshgrid``.

    >>> meshgrid([1.0, 2.0], [3.0])
    (array([[1., 2.]]), array([[3., 3.]]))
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"want indexing 'xy' or 'ij', got {indexing!r}")
    order = list(range(len(xi)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    grid = []
    for x, axis in zip(xi, order, strict=True):
        shape = [1] * len(xi)
        shape[axis] = x.size
        grid.append(x.reshape(tuple(shape)))
    return tuple(grid) if sparse else broadcast_arrays(*grid)
