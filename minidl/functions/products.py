"""Products beyond the matrix product: einsum, tensordot, inner, outer, kron, cross, convolution.

matmul, dot and linear live in linalg.py; these are compositions of them, or linear maps with
their adjoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minidl.autograd.composition import composition, numpys
from minidl.autograd.function import Function, differentiable, implements
from minidl.common.arrays import as_array
from minidl.functions.linalg import matmul

# fmt: off
__all__ = [
    "convolve", "correlate", "cross", "einsum", "inner", "kron", "matvec", "outer",
    "tensordot", "trace", "vdot", "vecdot", "vecmat",
]
# fmt: on

# string.ascii_letters, whose module takes as long to import as three of these
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# ---- einsum --------------------------------------------------------------------------------------


def _labels(subscripts: str, arrays: Sequence[Any]) -> tuple[list[str], str]:
    """Labels of the operands and the output, a letter an axis; no ellipsis, no implicit output."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    free = [c for c in LETTERS if c not in subscripts]
    spans = [a.ndim - len(t) + 3 if "..." in t else 0 for t, a in zip(terms, arrays, strict=True)]
    wide = "".join(free[: max(spans)])
    terms = [t.replace("...", wide[len(wide) - n :]) for t, n in zip(terms, spans, strict=True)]
    if arrow:
        return terms, output.replace("...", wide)
    letters = inputs.replace(",", "").replace(".", "")
    return terms, wide + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


def _einsum_rule(
    g: Any, y: Any, wanted: list[bool], *arrays: Any, subscripts: str = "", optimize: Any = False
) -> list[Any]:
    """The derivative of an einsum is an einsum of the gradient and the other operands."""
    terms, output = _labels(subscripts, arrays)
    optimize = optimize is not False
    gradients = []
    for i, (term, want) in enumerate(zip(terms, wanted, strict=True)):
        factors = [(output, g), *((t, a) for k, (t, a) in enumerate(zip(terms, arrays)) if k != i)]
        gradients.append(_einsum_of(factors, term, arrays[i], optimize) if want else None)
    return gradients


def _einsum_of(factors: list[tuple[str, Any]], term: str, like: Any, optimize: bool) -> Any:
    """The product of the factors over the axes of ``term``: some repeated, some in no factor."""
    free = iter([c for c in LETTERS if all(c not in t for t in (term, *_terms(factors)))])
    axes = ""
    for c, n in zip(term, like.shape, strict=True):
        if c in axes:  # a diagonal was taken: the gradient is zero beside it
            copy = next(free)
            factors.append((c + copy, np.eye(n, dtype=like.dtype)))
            c = copy
        axes += c
    known = [c for c in axes if any(c in t for t in _terms(factors))]
    subscripts = f"{','.join(_terms(factors))}->{''.join(known)}"
    result = np.einsum(subscripts, *(a for _, a in factors), optimize=optimize)
    lengths = iter(result.shape)
    return result.reshape(tuple([next(lengths) if c in known else 1 for c in axes]))


def _terms(factors: list[tuple[str, Any]]) -> list[str]:
    return [term for term, _ in factors]


# fmt: off
_einsum: Function = differentiable(
    lambda *arrays, subscripts="", optimize=False: np.einsum(subscripts, *arrays, optimize=optimize),
    joint=_einsum_rule, name="einsum")
# fmt: on


def _subscripts_of_lists(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The form ``einsum(a, [0, 1], b, [1, 2], [0, 2])`` as subscripts and arrays."""
    arrays = operands[: len(operands) // 2 * 2 : 2]
    lists = [*operands[1::2], *operands[len(arrays) * 2 :]]
    labels = sorted({n for places in lists for n in places if n is not Ellipsis})
    letter = dict(zip(labels, sorted(LETTERS)))
    terms = ["".join("..." if n is Ellipsis else letter[n] for n in places) for places in lists]
    inputs = ",".join(terms[: len(arrays)])
    return (f"{inputs}->{terms[-1]}" if len(terms) > len(arrays) else inputs), arrays


@implements(np.einsum)
def einsum(*operands: Any, optimize: Any = False, **settings: Any) -> Any:
    """Sums of products of named axes: NumPy's ``einsum``, in all of its forms.

    >>> einsum("ij,j->i", np.eye(2), np.array([1.0, 2.0]))
    array([1., 2.])
    """
    subscripts = operands[0]
    arrays = operands[1:]
    if not isinstance(subscripts, str):
        subscripts, arrays = _subscripts_of_lists(operands)
    arrays = tuple([as_array(a) for a in arrays])
    return _einsum(*arrays, subscripts=subscripts, optimize=optimize, **settings)


# ---- contractions, all of them einsums -----------------------------------------------------------


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """The sum of products over axes of ``a`` and axes of ``b``: NumPy's ``tensordot``.

    >>> tensordot(np.ones((2, 3)), np.ones((3, 2)), axes=([0, 1], [1, 0]))
    array(6.)
    """
    a = as_array(a)
    b = as_array(b)
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            want = f"axes from 0 to {min(a.ndim, b.ndim)}"
            raise ValueError(f"tensordot: for shapes {a.shape}, {b.shape} want {want}, got {axes}")
        axes = range(a.ndim - axes, a.ndim), range(axes)
    summed = normalize_axis_tuple(axes[0], a.ndim, "tensordot: axes[0]")
    paired = normalize_axis_tuple(axes[1], b.ndim, "tensordot: axes[1]")
    if [a.shape[i] for i in summed] != [b.shape[i] for i in paired]:
        raise ValueError(f"tensordot: shapes {a.shape} and {b.shape} differ along axes {axes}")
    left = list(range(a.ndim))
    right = [summed[paired.index(i)] if i in paired else a.ndim + i for i in range(b.ndim)]
    free = [i for i in left if i not in summed] + [i for i in right if i >= a.ndim]
    return einsum(a, left, b, right, free, optimize=True)


@implements(np.inner)
def inner(a: Any, b: Any) -> Any:
    """The sum of products over the last axes: NumPy's ``inner``.

    >>> inner(np.array([1.0, 2.0]), np.eye(2))
    array([1., 2.])
    """
    a = as_array(a)
    b = as_array(b)
    return tensordot(a, b, (-1, -1)) if a.ndim and b.ndim else a * b


@implements(np.outer)
def outer(a: Any, b: Any) -> Any:
    """All products of an element of ``a`` and one of ``b``, as a matrix: NumPy's ``outer``.

    >>> outer([1.0, 2.0], [3.0, 4.0])
    array([[3., 4.],
           [6., 8.]])
    """
    return as_array(a).reshape(-1, 1) * as_array(b).reshape(-1)


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    """The sum of products of all elements: NumPy's ``vdot``.

    >>> vdot(np.eye(2), np.ones((2, 2)))
    np.float64(2.0)
    """
    return matmul(as_array(a).reshape(-1), as_array(b).reshape(-1))


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    """Each element of ``a`` times the whole of ``b``, as blocks: NumPy's ``kron``.

    >>> kron(np.array([1.0, 10.0]), np.array([1.0, 2.0]))
    array([ 1.,  2., 10., 20.])
    """
    a = as_array(a)
    b = as_array(b)
    ndim = max(a.ndim, b.ndim)
    rows = (1,) * (ndim - a.ndim) + a.shape
    columns = (1,) * (ndim - b.ndim) + b.shape
    product = a.reshape([k for n in rows for k in (n, 1)]) * b.reshape(
        [k for n in columns for k in (1, n)]
    )
    return product.reshape([m * n for m, n in zip(rows, columns)])


@implements(np.vecdot)
def vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    """The sum of products along one axis: NumPy's ``vecdot``.

    >>> vecdot(np.eye(2), np.array([1.0, 2.0]))
    array([1., 2.])
    """
    return (as_array(x1) * as_array(x2)).sum(axis)


# fmt: off
matvec: Function = differentiable(
    lambda x1, x2: (x1 @ np.expand_dims(x2, -1))[..., 0],
    lambda g, y, x1, x2: np.expand_dims(g, -1) * np.expand_dims(x2, -2),
    lambda g, y, x1, x2: vecmat(g, x1), name="matvec", replaces=numpys("matvec"))
vecmat: Function = differentiable(
    lambda x1, x2: (np.expand_dims(x1, -2) @ x2)[..., 0, :],
    lambda g, y, x1, x2: matvec(x2, g),
    lambda g, y, x1, x2: np.expand_dims(x1, -1) * np.expand_dims(g, -2), name="vecmat", replaces=numpys("vecmat"))
# fmt: on


# ---- vectors of length 3, and traces -------------------------------------------------------------


@composition(np.cross, arrays=2)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """The vector product of vectors of length 3: NumPy's ``cross``.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    array([0., 0., 1.])
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a = np.moveaxis(a, axisa, -1)
    b = np.moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"want vectors of length 3, got shapes {a.shape} and {b.shape}")
    ahead = [1, 2, 0]
    behind = [2, 0, 1]
    product = a[..., ahead] * b[..., behind] - a[..., behind] * b[..., ahead]
    return np.moveaxis(product, -1, axisc)


@composition(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """The sum along a diagonal: NumPy's ``trace``.

    >>> trace(np.eye(3))
    np.float64(3.0)
    """
    return np.diagonal(a, offset, axis1, axis2).sum(-1, dtype=dtype)


# NumPy has some functions a second time under np.linalg, where matrices are the last two axes.
implements(np.linalg.matmul)(matmul)
implements(np.linalg.tensordot)(tensordot)
implements(np.linalg.vecdot)(vecdot)


@implements(np.linalg.cross)
def _linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


@implements(np.linalg.outer)
def _linalg_outer(x1: Any, x2: Any, /) -> Any:
    if as_array(x1).ndim != 1 or as_array(x2).ndim != 1:
        raise ValueError("outer: want two vectors")
    return outer(x1, x2)


@implements(np.linalg.trace)
def _linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return trace(x, offset, -2, -1, dtype)


@implements(np.linalg.diagonal)
def _linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, -2, -1)


@implements(np.linalg.matrix_transpose)
def _linalg_transpose(x: Any, /) -> Any:
    return as_array(x).swapaxes(-1, -2)


# ---- convolution ---------------------------------------------------------------------------------

# Two linear maps, each in both arguments, that are one another's adjoints.
# fmt: off
_spread: Function = differentiable(lambda a, v: np.convolve(a, v, "full"),
                                   lambda g, y, a, v: _slide(g, v),
                                   lambda g, y, a, v: _slide(g, a), name="convolve")
_slide: Function = differentiable(lambda a, v: np.correlate(a, v, "valid"),  # v not longer than a
                                  lambda g, y, a, v: _spread(g, v),
                                  lambda g, y, a, v: _slide(a, g), name="correlate")
# fmt: on


def _sequences(name: str, a: Any, v: Any) -> tuple[Any, Any]:
    a = as_array(a, name)
    v = as_array(v, name)
    if max(a.ndim, v.ndim) > 1 or not min(a.size, v.size):
        raise ValueError(f"{name}: want sequences that are not empty, got {a.shape}, {v.shape}")
    first, second = np.atleast_1d(a, v)
    return first, second


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """The discrete convolution of two sequences: NumPy's ``convolve``.

    >>> convolve([1.0, 2.0, 3.0], [0.0, 1.0])
    array([0., 1., 2., 3.])
    """
    a, v = _sequences("convolve", a, v)
    if a.size < v.size:
        a, v = v, a
    if mode == "valid":
        return _slide(a, v[::-1])
    if mode == "same":
        start = (v.size - 1) // 2
        return _spread(a, v)[start : start + a.size]
    if mode != "full":
        raise ValueError(f"convolve: want mode 'full', 'same' or 'valid', got {mode!r}")
    return _spread(a, v)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """The cross-correlation of two sequences: NumPy's ``correlate``.

    >>> correlate([1.0, 2.0, 3.0], [0.0, 1.0])
    array([2., 3.])
    """
    a, v = _sequences("correlate", a, v)
    if a.size < v.size:
        return convolve(v, a[::-1], mode)[::-1]
    return convolve(a, v[::-1], mode)
