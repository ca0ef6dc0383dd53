"""Picking elements by NumPy's indices, and the adjoint: adding into zeros at those indices.

Regular moves of whole arrays live in shape.py.
"""

from typing import Any

import numpy as np

from minidl.autograd.composition import composition
from minidl.autograd.function import Function, differentiable, implements
from minidl.common.arrays import add_at, to_kind_of

# fmt: off
__all__ = [
    "getitem", "take",
]
# fmt: on


def _getitem(x: Any, *index: Any) -> Any:
    return x[index]


_ONCE = (
    int,
    np.integer,
    slice,
    type(None),
    type(...),
)  # indices that pick no element twice, and so do masks


def _scatter_add(g: Any, shape: tuple[int, ...], *index: Any) -> Any:
    z = np.zeros_like(g, shape=shape)
    if all(isinstance(i, _ONCE) or getattr(i, "dtype", None) == np.bool_ for i in index):
        z[index] = g
    else:
        add_at(z, index, g)  # the same element may be picked several times
    return z


# fmt: off
_pick: Function = differentiable(_getitem, lambda g, y, x, *index: _put(g, x.shape, *index), name="getitem",
                                 view=True)
_put: Function = differentiable(_scatter_add, lambda g, y, x, shape, *index: g[index], name="scatter_add",
                                fresh=True)
# fmt: on


def _is_list(index: Any) -> bool:
    return hasattr(index, "__len__") and hasattr(index, "index") and not hasattr(index, "dtype")


@implements("getitem")
def getitem(x: Any, index: Any) -> Any:
    """``x[index]`` for every index of NumPy: integers, slices, None, ``...``, masks, integer arrays.

    Integer and bool Variables index like arrays. The adjoint adds, so an element picked twice gets both
    gradients.

    >>> getitem(np.array([1.0, 2.0]), [0, 0, 1])
    array([1., 1., 2.])
    """
    index = index if isinstance(index, tuple) else (index,)
    return _pick(
        x, *(to_kind_of(i, x, None if len(i) else np.intp) if _is_list(i) else i for i in index)
    )


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    """Elements at ``indices`` along an axis (of the flattened array for None): NumPy's ``take``.

    >>> take(np.array([[1.0, 2.0], [3.0, 4.0]]), [1, 0], axis=1)
    array([[2., 1.],
           [4., 3.]])
    """
    if isinstance(indices, (float, np.floating)):  # an array of them is refused by NumPy
        raise TypeError(f"want integers as indices, got {indices!r}")
    return a.take(indices, axis)


def _take_rule(g: Any, y: Any, a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return _put(g, (a.size,), indices).reshape(a.shape)
    return _put(g, a.shape, *(slice(None),) * (axis % a.ndim), indices)


@composition(arrays=2)
def _take_by_mode(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    """Elements at ``indices`` along an axis (of the flattened array for None): NumPy's ``take``.

    What lies outside is an error, or by ``mode`` counted round ("wrap") or moved to the edge ("clip").

    >>> take(np.array([1.0, 2.0]), [0, 3], mode="wrap")
    array([1., 2.])
    """
    n = a.size if axis is None else a.shape[axis]
    if mode == "wrap":
        indices = indices - np.floor(indices / n).astype(int) * n
    elif mode == "clip":
        indices = np.clip(indices, 0, n - 1)
    elif mode != "raise":
        raise ValueError(f"take: want mode 'raise', 'wrap' or 'clip', got {mode!r}")
    return take(a, indices, axis)


# fmt: off
take = differentiable(_take, _take_rule, None, replaces=(np.take,), general=_take_by_mode)
# fmt: on
