"""Picking elements by NumPy's indices, and the adjoint: adding into zeros at those indices.

Regular moves of whole arrays live in shape.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minidl.autograd.composition import composition, real
from minidl.autograd.function import Function, differentiable, implements
from minidl.autograd.modes import values_of
from minidl.autograd.operation import Operation
from minidl.common.arrays import add_at, array_of, as_array, to_kind_of

# fmt: off
__all__ = [
    "bincount", "choose", "compress", "embedding", "extract", "getitem", "index_add", "index_set", "piecewise",
    "select", "take", "take_along_axis",
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
_pick: Function = differentiable(_getitem, lambda g, y, x, *index: put(g, x.shape, *index), name="getitem",
                                 view=True, operation=Operation(kind="gather"))
put: Function = differentiable(_scatter_add, lambda g, y, x, shape, *index: g[index], name="scatter_add",
                                fresh=True, operation=Operation(kind="scatter"))
# fmt: on


def index_along(shape: tuple[int, ...], indices: Any, axis: int) -> tuple[Any, ...]:
    """The index that picks ``indices`` along an axis, at each place along the others of a shape."""
    axis = axis % len(shape)
    ones = (1,) * len(shape)
    others = [np.arange(n).reshape((*ones[:i], n, *ones[i + 1 :])) for i, n in enumerate(shape)]
    return (*others[:axis], indices, *others[axis + 1 :])


def _is_list(index: Any) -> bool:
    return hasattr(index, "__len__") and hasattr(index, "index") and not hasattr(index, "dtype")


def _index(x: Any, index: Any) -> tuple[Any, ...]:
    """The index as a tuple, lists in it as arrays."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(to_kind_of(i, x, None if len(i) else np.intp) if _is_list(i) else i for i in parts)


@implements("getitem")
def getitem(x: Any, index: Any) -> Any:
    """``x[index]`` for every index of NumPy: integers, slices, None, ``...``, masks, integer
    arrays.

    Integer and bool Variables index like arrays. The adjoint adds, so an element picked twice gets
    both gradients.

    >>> getitem(np.array([1.0, 2.0]), [0, 0, 1])
    array([1., 1., 2.])
    """
    if type(index) is slice or type(index) is int:  # by far the most frequent, and no list
        return _pick(x, index)
    return _pick(x, *_index(x, index))


def _take_forward(a: Any, indices: Any, axis: int | None = None) -> Any:
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
        return put(g, (a.size,), indices).reshape(a.shape)
    return put(g, a.shape, *(slice(None),) * (axis % a.ndim), indices)


@composition(arrays=2)
def _take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    """Elements at ``indices`` along an axis (of the flattened array for None): NumPy's ``take``.

    What lies outside is an error, or by ``mode`` counted round ("wrap") or moved to the edge
    ("clip").

    >>> take(np.array([1.0, 2.0]), [0, 3], mode="wrap")
    array([1., 2.])
    """
    n = a.size if axis is None else a.shape[axis]
    return take(a, _in_range(indices, n, mode), axis)


# fmt: off
take = differentiable(_take_forward, _take_rule, None, replaces=(np.take,), general=_take)
# fmt: on


def _embedding(w: Any, indices: Any) -> Any:
    """The rows of a table: w (count, features), integers (..), gives (.., features).

    The gradient of a row that is picked several times is the sum of all.

    Raises TypeError for what is no integers, ValueError for an index below 0 or not below count.

    >>> embedding(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1]))
    array([[3., 4.],
           [3., 4.]])
    """
    if w.ndim != 2:
        raise ValueError("want w (count, features)")
    if not hasattr(indices, "dtype"):
        indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError("want integers as indices; write x.astype(int) if they are")
    outside = (indices < 0) | (indices >= len(w))
    if outside.any().item():
        first = indices[outside].reshape(-1)[0].item()
        raise ValueError(f"want indices from 0 to {len(w) - 1}, got {first}")
    return w[indices]


# fmt: off
embedding = differentiable(_embedding, lambda g, y, w, indices: put(g, w.shape, indices), None)
# fmt: on


@composition(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Elements at ``indices`` along an axis, which have a place of their own along the others:
    NumPy's.

    >>> take_along_axis(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1], [0]]), axis=1)
    array([[2.],
           [3.]])
    """
    indices = real(indices)
    if axis is None:
        arr = arr.reshape(-1)
        axis = 0
    axis = normalize_axis_index(axis, arr.ndim)
    if indices.ndim != arr.ndim or indices.dtype.kind not in "iu":
        raise ValueError(f"want integers with {arr.ndim} axes, got {indices.dtype} {indices.shape}")
    return getitem(arr, index_along(arr.shape, indices, axis))


@composition(np.compress, arrays=2)
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """The slices along an axis for which the condition holds: NumPy's ``compress``.

    >>> compress([True, False, True], np.array([1.0, 2.0, 3.0]))
    array([1., 3.])
    """
    if condition.ndim != 1:
        raise ValueError(f"want a condition with one axis, got shape {condition.shape}")
    return take(a, np.nonzero(condition)[0], axis)


# The method, whose own array comes first.
implements("compress")(lambda a, condition, axis=None: compress(condition, a, axis))


@composition(np.extract, arrays=2)
def extract(condition: Any, arr: Any) -> Any:
    """The elements for which the condition holds, in a row: NumPy's ``extract``.

    >>> extract([[True, False], [False, True]], np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([1., 4.])
    """
    return take(arr.reshape(-1), np.nonzero(condition.reshape(-1))[0])


def _in_range(indices: Any, n: int, mode: str) -> Any:
    """Indices from 0 to n - 1: others refused, counted round, or moved to the edge."""
    if mode == "wrap":
        return indices - np.floor(indices / n).astype(int) * n
    if mode == "clip":
        return np.clip(indices, 0, n - 1)
    if mode != "raise":
        raise ValueError(f"want mode 'raise', 'wrap' or 'clip', got {mode!r}")
    return indices


@composition(np.choose)
def choose(a: Any, choices: Any, *, mode: str = "raise") -> Any:
    """Of several arrays the element of the one that an integer array names: NumPy's ``choose``.

    >>> choose(np.array([0, 1, 0]), [np.array([1.0, 2.0, 3.0]), 9.0])
    array([1., 9., 3.])
    """
    if a.dtype.kind not in "iub":
        raise TypeError(f"want integers, got {a.dtype}")
    arrays = [real(c) for c in choices]
    shape = np.broadcast_shapes(a.shape, *(c.shape for c in arrays))
    stacked = np.stack([np.broadcast_to(c, shape) for c in arrays])
    a = _in_range(np.broadcast_to(a, shape).astype(int), len(arrays), mode)
    if (a < 0).any():
        raise ValueError("want indices from 0 on, got negative ones")
    return getitem(stacked, index_along(stacked.shape, a.reshape((1, *shape)), 0)).reshape(shape)


@composition(np.select, arrays=0)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """At each place the choice whose condition is the first to hold, or the default: NumPy's
    ``select``.

    >>> x = np.array([1.0, 2.0, 3.0])
    >>> select([x < 2, x > 2], [x, -x])
    array([ 1.,  0., -3.])
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"want a condition for each choice, got {len(condlist)} and {len(choicelist)}"
        )
    result = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        condition = real(condition)
        if condition.dtype != bool:
            raise TypeError(f"want conditions of bools, got {condition.dtype}")
        result = np.where(condition, choice, result)
    return result


@composition(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Each function (or number) on the elements for which its condition holds: NumPy's
    ``piecewise``.

    >>> piecewise(np.array([-1.0, 2.0]), [np.array([True, False])], [lambda v: -v, 5.0])
    array([1., 5.])
    """
    whole = not isinstance(condlist, (list, tuple)) or np.ndim(condlist[0]) < x.ndim
    conditions = [real(c) for c in ([condlist] if whole else condlist)]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    if len(funclist) != len(conditions):
        raise ValueError(f"want a function for each of {len(conditions)} conditions")
    y = np.zeros_like(x)
    for condition, f in zip(conditions, funclist, strict=True):
        y = index_set(y, condition, f(getitem(x, condition), *args, **kw) if callable(f) else f)
    return y


# ---- functional updates --------------------------------------------------------------------------


def _is_mask(i: Any) -> bool:
    return getattr(i, "dtype", None) == np.bool_


def _values(x: Any, index: tuple[Any, ...], values: Any) -> Any:
    """The values in the shape that is picked, and in x's dtype."""
    places = tuple([values_of(i, "a mask") if _is_mask(i) else array_of(i) for i in index])
    picked = np.broadcast_to(False, x.shape)[places].shape
    values = real(values)
    if not np.can_cast(values.dtype, x.dtype, "same_kind"):
        raise TypeError(f"values of {values.dtype} would be cut to fit into {x.dtype}")
    values = values if values.dtype == x.dtype else values.astype(x.dtype)
    return np.broadcast_to(values, picked)


@composition()
def index_add(x: Any, index: Any, values: Any) -> Any:
    """A copy of x to which the values are added at an index of NumPy's; what is picked twice gets
    both.

    >>> index_add(np.zeros(3), [0, 0, 2], np.array([1.0, 2.0, 3.0]))
    array([3., 0., 3.])
    """
    index = _index(x, index)
    return x + put(_values(x, index, values), x.shape, *index)


def _set(x: Any, values: Any, *index: Any) -> Any:
    y = np.copy(x)
    y[index] = values
    return y


def _last_set(g: Any, x: Any, values: Any, *index: Any) -> Any:
    """The gradient of those values that stayed: of several for one element the last."""
    order = np.arange(1, values.size + 1).reshape(values.shape)
    stayed = _index_set(np.zeros(x.shape, int), order, *index)[index]
    return np.where(stayed == order, g[index], 0)


_index_set: Function = differentiable(
    _set,
    lambda g, y, x, values, *index: _index_set(g, np.zeros_like(values), *index),
    lambda g, y, x, values, *index: _last_set(g, x, values, *index),
    name="index_set",
    fresh=True,
    operation=Operation(kind="scatter"),
)


@composition()
def index_set(x: Any, index: Any, values: Any) -> Any:
    """A copy of x with the values at an index of NumPy's; of several values for one element the
    last stays.

    >>> index_set(np.zeros(3), slice(1, None), np.array([1.0, 2.0]))
    array([0., 1., 2.])
    """
    index = _index(x, index)
    return _index_set(x, _values(x, index, values), *index)


@composition(np.bincount, arrays=0)
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number occurs, or the sum of its weights: NumPy's ``bincount``.

    >>> bincount([0, 2, 2], [1.0, 2.0, 3.0])
    array([1., 0., 5.])
    """
    x = values_of(as_array(x), "np.bincount")
    counts = np.bincount(x, minlength=minlength)
    if weights is None:
        return counts
    return put(as_array(weights), counts.shape, x)
