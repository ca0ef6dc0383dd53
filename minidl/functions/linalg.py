"""Matrix products: matmul in all its shapes, and linear (a product plus bias).

Elementwise products live in elementwise.py.
"""

import math
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable, implements
from minidl.autograd.operation import Operation
from minidl.common.arrays import as_array
from minidl.functions.elementwise import multiply
from minidl.functions.into import linear_into, matmul_into

# fmt: off
__all__ = [
    "dot", "linear", "matmul",
]
# fmt: on


def _product(a: Any, b: Any) -> Any:
    """``a @ b`` by np.dot, which takes half of its time on small matrices and a tenth on thin
    ones.
    """
    plain = type(a) is type(b) is np.ndarray and 0 < a.ndim < 3 and 0 < b.ndim < 3
    if plain and a.dtype.kind in "fiub" and b.dtype.kind in "fiub":
        return np.dot(a, b)  # which makes objects of dates and records
    return a @ b


def _matmul(a: Any, b: Any) -> Any:
    """The matrix product, as ``np.matmul``: over the last two axes, broadcast over those before.

    >>> matmul(np.array([[1.0, 2.0]]), np.array([3.0, 4.0]))
    array([11.])
    """
    return _product(a, b) if type(b) is np.ndarray else np.matmul(a, b)


def _matmul_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    """The gradient for the left factor; the engine sums over broadcast batch axes."""
    if b.ndim == 1:
        return np.expand_dims(g, -1) * b  # (.., m, n), or (n,) when both are vectors
    if a.ndim == 1:
        return _product(b, np.expand_dims(g, -1)).reshape(b.shape[:-1])
    return _product(g, b.swapaxes(-1, -2))


def _matmul_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    """The gradient for the right factor."""
    if a.ndim == 1:
        return np.expand_dims(a, -1) * np.expand_dims(g, -2) if b.ndim > 1 else g * a
    if b.ndim == 1:
        return np.expand_dims(g, -1) * a
    return _product(a.swapaxes(-1, -2), g)


# fmt: off
matmul = differentiable(_matmul, _matmul_a, _matmul_b, replaces=(np.matmul,),
                        operation=Operation(into=matmul_into, kind="product"))
# fmt: on


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    """NumPy's ``dot``: the last axis of ``a`` against the last but one of ``b``, for all pairs of
    the other axes.

    >>> dot(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.float64(11.0)
    """
    if 0 in (as_array(a, "dot").ndim, as_array(b, "dot").ndim):
        return multiply(a, b)
    b = as_array(b)
    if b.ndim < 3:
        return matmul(a, b)
    *lead, inner, last = range(b.ndim)
    others = [b.shape[i] for i in (*lead, last)]
    columns = b.transpose((inner, *lead, last)).reshape(b.shape[inner], math.prod(others))
    return matmul(a, columns).reshape((*as_array(a).shape[:-1], *others))


def _linear(x: Any, w: Any, b: Any = None) -> Any:
    """``x @ w + b``: x (.., in), w (in, out), b (out) or None; gives (.., out).

    Raises ValueError for other shapes: nothing is broadcast but b over the leading axes of x.

    >>> linear(np.ones((2, 3)), np.ones((3, 1)), np.array([0.5]))
    array([[3.5],
           [3.5]])
    """
    fits = w.ndim == 2 and x.ndim > 0 and x.shape[-1] == w.shape[0]
    if not fits or (b is not None and b.shape != w.shape[1:]):
        raise ValueError("want x (.., in), w (in, out) and b (out)")
    y = _rowwise(x, w)
    if b is None:
        return y
    return np.add(y, b, out=y) if type(y) is np.ndarray and y.dtype == b.dtype else y + b


def _rows(a: Any) -> Any:
    """All leading axes as one (of a length that -1 could not find if the last axis is empty)."""
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def _rowwise(a: Any, w: Any) -> Any:
    """``a @ w`` for a matrix w as one product of matrices, however many axes ``a`` has."""
    if a.ndim < 3:
        return _product(a, w)
    return _product(_rows(a), w).reshape(*a.shape[:-1], w.shape[1])


# fmt: off
linear = differentiable(_linear, lambda g, y, x, w, b=None: _rowwise(g, w.T),
                                 lambda g, y, x, w, b=None: _product(_rows(x).T, _rows(g)),
                                 lambda g, y, x, w, b=None: _rows(g) if g.ndim > 2 else g,
                                 operation=Operation(into=linear_into, kind="product"))
# fmt: on
