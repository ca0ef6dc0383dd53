"""numpy.linalg: inverses, solutions, decompositions, determinants, norms, batched as in NumPy.

Products of arrays live in linalg.py and products.py. Notation of the rules: a matrix with a T
behind its name is transposed; ``y`` is the output, ``g`` its gradient.

Sources: Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation"; Murray 2016, "Differentiation of the Cholesky decomposition"; Golub and Pereyra
1973 for the pseudo-inverse; Seeger et al. 2017, "Auto-differentiating linear algebra", for qr, svd.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minidl.autograd.function import Function, differentiable, implements
from minidl.common.arrays import as_array
from minidl.functions.linalg import matmul
from minidl.functions.masks import narrowed, widened
from minidl.functions.products import einsum

# fmt: off
__all__ = [
    "cho_solve", "cholesky", "cond", "det", "eigh", "eigvalsh", "inv", "lstsq", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular",
    "svd", "svdvals", "tensorinv", "tensorsolve", "vector_norm",
]
# fmt: on


class SlogdetResult(NamedTuple):
    """What ``slogdet`` gives."""

    sign: Any
    logabsdet: Any


class EighResult(NamedTuple):
    """What ``eigh`` gives."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """What ``svd`` gives."""

    U: Any
    S: Any
    Vh: Any


class QRResult(NamedTuple):
    """What ``qr`` gives."""

    Q: Any
    R: Any


def _T(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def _times(g: Any, x: Any) -> Any:
    """One number for each matrix times the matrix."""
    return np.expand_dims(g, (-2, -1)) * x


def _diagonal_like(x: Any) -> Any:
    """The mask of the diagonal of square matrices."""
    return np.eye(x.shape[-1], dtype=bool)


# ---- inverses, solutions, determinants -----------------------------------------------------------


def _solve_rule(g: Any, y: Any, wanted: list[bool], a: Any, b: Any) -> list[Any]:
    gb = np.linalg.solve(_T(a), g)
    return [-(gb @ _T(y)) if wanted[0] else None, gb]


def _slogdet_rule(g: Any, y: Any, wanted: list[bool], a: Any) -> list[Any]:
    return [np.zeros_like(a) if g[1] is None else _times(g[1], _T(np.linalg.inv(a)))]


def _cofactors(a: Any) -> Any:
    """``det(a) inv(a).T``, the derivative of det; by singular values, so that a may be singular."""
    u, s, vh = np.linalg.svd(a)
    others = np.where(_diagonal_like(a), 1, np.expand_dims(s, -2)).prod(-1)
    return np.linalg.det(u @ vh)[..., None, None] * ((u * others[..., None, :]) @ vh)


def _cofactors_rule(g: Any, y: Any, a: Any) -> Any:
    back = _T(np.linalg.inv(a))
    return _times((g * y).sum((-2, -1)), back) - y @ _T(g) @ back


def _pinv_rule(g: Any, y: Any, a: Any, rcond: Any = None, *, rtol: Any = None) -> Any:
    yT = _T(y)
    gT = _T(g)
    below = gT - a @ (y @ gT)
    beside = gT - (gT @ y) @ a
    return below @ y @ yT + yT @ (y @ beside) - yT @ g @ yT


def _pinv(a: Any, rcond: Any = None, *, rtol: Any = None) -> Any:
    """The pseudo-inverse, as ``np.linalg.pinv``; its derivative is that at constant rank.

    >>> pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    settings = {"rcond": rcond, "rtol": rtol}
    return np.linalg.pinv(a, **{k: v for k, v in settings.items() if v is not None})


# fmt: off
inv  = differentiable(lambda a: np.linalg.inv(a), lambda g, y, a: -(_T(y) @ g @ _T(y)), replaces=(np.linalg.inv,))
pinv = differentiable(_pinv, _pinv_rule, replaces=(np.linalg.pinv,))
det  = differentiable(lambda a: np.linalg.det(a), lambda g, y, a: _times(g, _cofactors_of(a)),
                      replaces=(np.linalg.det,))
_cofactors_of: Function = differentiable(_cofactors, _cofactors_rule, name="cofactors")
_solve   = differentiable(lambda a, b: np.linalg.solve(a, b), joint=_solve_rule, name="solve")
_slogdet = differentiable(lambda a: tuple(np.linalg.slogdet(a)), joint=_slogdet_rule, name="slogdet")
matrix_rank = differentiable(lambda A, tol=None, hermitian=False, *, rtol=None:
                             np.asarray(np.linalg.matrix_rank(A, tol, hermitian, rtol=rtol)),
                             replaces=(np.linalg.matrix_rank,))
# fmt: on


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """The solution x of ``a @ x = b``, for a vector or matrices ``b``: NumPy's ``linalg.solve``.

    >>> solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([2.0, 2.0]))
    array([1. , 0.5])
    """
    a = as_array(a)
    b = as_array(b)
    return _solve(a, b[:, None])[..., 0] if b.ndim == 1 else _solve(a, b)


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant: NumPy's ``linalg.slogdet``.

    >>> slogdet(np.eye(2)).logabsdet
    np.float64(0.0)
    """
    return SlogdetResult(*_slogdet(as_array(a)))


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The solution x of ``tensordot(a, x, x.ndim) = b``: NumPy's ``linalg.tensorsolve``.

    >>> tensorsolve(2 * np.eye(4).reshape(2, 2, 4), np.ones((2, 2)))
    array([0.5, 0.5, 0.5, 0.5])
    """
    a = as_array(a)
    b = as_array(b)
    last = normalize_axis_tuple(axes or (), a.ndim, "tensorsolve: axes")
    a = a.transpose([i for i in range(a.ndim) if i not in last] + list(last))
    shape = a.shape[b.ndim :]
    if math.prod(shape) != b.size or a.shape[: b.ndim] != b.shape:
        raise ValueError(
            f"tensorsolve: want a of shape b.shape + x.shape with as many elements in x "
            f"as in b, got {a.shape} and {b.shape}"
        )
    return solve(a.reshape(b.size, b.size), b.reshape(-1)).reshape(shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse for ``tensordot(.., ind)``: NumPy's ``linalg.tensorinv``.

    >>> tensorinv(2 * np.eye(4).reshape(4, 2, 2), ind=1).shape
    (2, 2, 4)
    """
    a = as_array(a)
    if ind <= 0:
        raise ValueError(f"tensorinv: want ind > 0, got {ind}")
    rows = math.prod(a.shape[:ind])
    columns = math.prod(a.shape[ind:])
    return inv(a.reshape(rows, columns)).reshape(a.shape[ind:] + a.shape[:ind])


# ---- triangles -----------------------------------------------------------------------------------


def _mirror_lower(x: Any) -> Any:
    """The lower triangle, with its mirror image above the diagonal."""
    return np.where(np.tri(x.shape[-1], dtype=bool), x, _T(x))


def _cholesky_rule(g: Any, y: Any, a: Any) -> Any:
    """The symmetric one of the gradients that are right for symmetric changes of ``a``."""
    yT = _T(y)
    half = np.linalg.solve(yT, _mirror_lower(yT @ g))
    return 0.5 * np.linalg.solve(yT, _T(half))


def _qr_rule(g: Any, y: Any, wanted: list[bool], a: Any) -> list[Any]:
    gq, gr = g
    q, r = y
    middle = 0
    if gr is not None:
        middle = r @ _T(gr)
    if gq is not None:
        middle = middle - _T(gq) @ q
    inner = q @ _mirror_lower(middle)
    return [_T(np.linalg.solve(r, _T(inner if gq is None else gq + inner)))]


def _triangle_mask(n: int, lower: bool, unit_diagonal: bool) -> Any:
    """Which elements of a triangular matrix are read."""
    mask = np.tri(n, n, -int(unit_diagonal), dtype=bool)
    return mask if lower else mask.T


def _solve_triangle(a: Any, b: Any, trans: bool, lower: bool, unit_diagonal: bool) -> Any:
    try:
        from scipy.linalg import solve_triangular as solve_in_place
    except ImportError:
        solve_in_place = None
    if solve_in_place is not None and a.ndim == b.ndim == 2:
        return solve_in_place(a, b, int(trans), lower, unit_diagonal)
    a = np.where(_triangle_mask(a.shape[-1], lower, unit_diagonal), a, 0)
    if unit_diagonal:
        a = a + np.eye(a.shape[-1], dtype=a.dtype)
    return np.linalg.solve(_T(a) if trans else a, b)


def _solve_triangle_rule(
    g: Any, y: Any, wanted: list[bool], a: Any, b: Any, trans: bool, lower: bool, unit: bool
) -> list[Any]:
    gb = _triangular(a, g, not trans, lower, unit)
    ga = -(y @ _T(gb) if trans else gb @ _T(y))
    return [np.where(_triangle_mask(a.shape[-1], lower, unit), ga, 0), gb, None, None, None]


# fmt: off
_cholesky = differentiable(lambda a: np.linalg.cholesky(a), _cholesky_rule, name="cholesky")
_qr       = differentiable(lambda a: tuple(np.linalg.qr(a)), joint=_qr_rule, name="qr")
_triangular: Function = differentiable(_solve_triangle, joint=_solve_triangle_rule, name="solve_triangular")
# fmt: on


@implements(np.linalg.cholesky)
def cholesky(a: Any, *, upper: bool = False) -> Any:
    """The lower triangular L with ``L @ L.T = a``, positive definite: NumPy's ``linalg.cholesky``.

    Only the lower triangle is read (the upper with ``upper=True``). The gradient is symmetric, as
    PyTorch's is: right for changes of ``a`` that keep it symmetric.

    >>> cholesky(np.array([[4.0, 2.0], [2.0, 2.0]]))
    array([[2., 0.],
           [1., 1.]])
    """
    a = as_array(a)
    return _T(_cholesky(_T(a))) if upper else _cholesky(a)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Orthogonal Q and upper triangular R with ``Q @ R = a``: NumPy's ``linalg.qr``.

    ``mode`` is "reduced" or "r" (R alone), or "complete" where that is the same.

    >>> q, r = qr(np.array([[3.0], [4.0]]))
    >>> (q @ r).round(12)
    array([[3.],
           [4.]])
    """
    a = as_array(a)
    rows, columns = a.shape[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and rows <= columns):
        raise TypeError(f"qr: want mode 'reduced' or 'r', got {mode!r} for shape {a.shape}")
    q, r = _qr(a[..., :rows] if columns > rows else a)
    if columns > rows:
        r = np.concatenate([r, _T(q) @ a[..., rows:]], axis=-1)
    return r if mode == "r" else QRResult(q, r)


def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """The solution x of ``a @ x = b``, a triangular: SciPy's ``linalg.solve_triangular``.

    Only the triangle that is said is read, the upper one by default, and only it has a gradient.
    SciPy does the work where it is installed. ``trans`` 1 or "T" solves with the transposed
    matrix; ``overwrite_b`` and ``check_finite`` are accepted and change nothing.

    >>> solve_triangular(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([2.0, 3.0]), lower=True)
    array([1., 2.])
    """
    a = as_array(a)
    b = as_array(b)
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(f"solve_triangular: want trans 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    settings = trans not in (0, "N"), bool(lower), bool(unit_diagonal)
    if b.ndim == 1:
        return _triangular(a, b[:, None], *settings)[..., 0]
    return _triangular(a, b, *settings)


def cho_solve(
    c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """The solution x of ``a @ x = b`` from the Cholesky factor of a: SciPy's ``linalg.cho_solve``.

    >>> cho_solve((np.diag([2.0, 3.0]), True), np.array([4.0, 9.0]))
    array([1., 1.])
    """
    c, lower = c_and_lower
    half = solve_triangular(c, b, 0 if lower else 1, lower)
    return solve_triangular(c, half, 1 if lower else 0, lower)


# ---- eigenvalues and singular values -------------------------------------------------------------


def _gaps_forward(w: Any) -> Any:
    """``w[j] - w[i]`` at (i, j), and 1 on the diagonal, where nothing is divided."""
    gaps = np.where(_diagonal_like(w), 1, w[..., None, :] - w[..., :, None])
    if not gaps.all():
        raise np.linalg.LinAlgError(
            "eigenvalues or singular values coincide: their vectors have no derivative there"
        )
    return gaps


def _gaps_rule(g: Any, y: Any, w: Any) -> Any:
    beside = np.where(_diagonal_like(w), 0, g)
    return beside.sum(-2) - beside.sum(-1)


def _eigh_rule(g: Any, y: Any, wanted: list[bool], a: Any, uplo: str) -> list[Any]:
    gw, gv = g
    w, v = y
    if gv is None:
        return [(v * np.expand_dims(gw, -2)) @ _T(v), None]
    turns = _T(v) @ gv
    # Symmetric, as the gaps change their sign with i and j.
    turns = 0.5 * (turns - _T(turns)) / _gaps(w)
    stretch = 0 if gw is None else np.expand_dims(gw, -2)
    return [v @ np.where(_diagonal_like(v), stretch, turns) @ _T(v), None]


def _svd_rule(g: Any, y: Any, wanted: list[bool], a: Any) -> list[Any]:
    gu, gs, gvh = g
    u, s, vh = y
    across = np.expand_dims(s, -2)
    stretch = 0 if gs is None else np.expand_dims(gs, -2)
    ga = u @ np.where(_diagonal_like(s), stretch, _turns(gu, gvh, u, s, vh)) @ vh
    rows, columns = a.shape[-2:]
    if gu is not None and rows > columns:
        ga = ga + ((gu - u @ (_T(u) @ gu)) / across) @ vh
    if gvh is not None and columns > rows:
        ga = ga + (u / across) @ (gvh - (gvh @ _T(vh)) @ vh)
    return [ga]


def _full_svd_forward(a: Any) -> tuple[Any, Any, Any, Any]:
    """U, S and Vh of the reduced form, and what the full one adds to the larger of U and Vh."""
    u, s, vh = np.linalg.svd(a)
    k = s.shape[-1]
    more = vh[..., k:, :] if vh.shape[-2] > k else u[..., k:]
    return u[..., :k], s, vh[..., :k, :], more


def _full_svd_rule(g: Any, y: Any, wanted: list[bool], a: Any) -> list[Any]:
    if g[3] is not None:
        raise ValueError("svd: the vectors that full_matrices=True adds have no derivative")
    return _svd_rule(g[:3], y[:3], wanted, a)


def _turns(gu: Any, gvh: Any, u: Any, s: Any, vh: Any) -> Any:
    """What the gradients of the vectors give beside the diagonal, in the basis of the vectors."""
    if gu is None and gvh is None:
        return 0
    gaps = _gaps(s * s)
    turns = 0
    if gu is not None:
        left = _T(u) @ gu
        turns = (left - _T(left)) / gaps * np.expand_dims(s, -2)
    if gvh is not None:
        right = vh @ _T(gvh)
        turns = turns + np.expand_dims(s, -1) * ((right - _T(right)) / gaps)
    return turns


# fmt: off
_gaps: Function = differentiable(_gaps_forward, _gaps_rule, name="gaps")
_eigh = differentiable(lambda a, uplo: tuple(np.linalg.eigh(a, uplo)), joint=_eigh_rule, name="eigh")
_svd  = differentiable(lambda a: tuple(np.linalg.svd(a, False)), joint=_svd_rule, name="svd")
_full_svd = differentiable(_full_svd_forward, joint=_full_svd_rule, name="full_svd")
# fmt: on


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix: NumPy's ``linalg.eigh``.

    Only one triangle is read; the gradient is right for changes that keep ``a`` symmetric, as
    PyTorch's. Where eigenvalues coincide, the vectors have no derivative: LinAlgError in the
    backward. That of the values is one of those that are possible there.

    >>> eigh(np.diag([2.0, 1.0])).eigenvalues
    array([1., 2.])
    """
    return EighResult(*_eigh(as_array(a), UPLO))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Eigenvalues of a symmetric matrix, ascending: NumPy's ``linalg.eigvalsh``; as ``eigh``.

    >>> eigvalsh(np.diag([2.0, 1.0]))
    array([1., 2.])
    """
    return eigh(a, UPLO).eigenvalues


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular values S, descending, and vectors: ``U @ diag(S) @ Vh = a``: NumPy's ``linalg.svd``.

    Only ``full_matrices=False`` gives U and Vh a derivative where ``a`` is not square. Where
    singular values coincide, the vectors have none: LinAlgError in the backward.

    >>> svd(np.diag([1.0, 2.0])).S
    array([2., 1.])
    """
    if hermitian:
        raise TypeError("svd: hermitian=True has no derivative rule; leave it out, or use eigh")
    if not compute_uv:
        return svdvals(a)
    a = as_array(a)
    rows, columns = a.shape[-2:]
    if not full_matrices or rows == columns:
        return SVDResult(*_svd(a))
    u, s, vh, more = _full_svd(a)
    if rows > columns:
        return SVDResult(np.concatenate([u, more], axis=-1), s, vh)
    return SVDResult(u, s, np.concatenate([vh, more], axis=-2))


@implements(np.linalg.svdvals)
def svdvals(x: Any) -> Any:
    """Singular values, descending: NumPy's ``linalg.svdvals``.

    >>> svdvals(np.array([[3.0, 4.0]]))
    array([5.])
    """
    return _svd(as_array(x))[1]


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> tuple[Any, Any, Any, Any]:
    """The least-squares solution of ``a @ x = b``, and its residuals: NumPy's ``linalg.lstsq``.

    A tuple of the solution, the residuals, the rank and the singular values. The residuals are
    those of all systems with more rows than columns, also of smaller rank.

    >>> lstsq(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]))[0]
    array([2.])
    """
    a = as_array(a)
    b = as_array(b)
    rows, columns = a.shape
    if rcond is None:
        rcond = float(np.finfo(a.dtype).eps) * max(rows, columns)
    x = matmul(pinv(a, rcond), b)
    s = svdvals(a)
    rank = (s > rcond * s[0]).sum()
    left = (b - matmul(a, x)).reshape(rows, -1)
    if rows <= columns:
        left = left[:, :0]
    return x, (left * left).sum(0), rank, s


# ---- powers, chains and norms --------------------------------------------------------------------


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """A square matrix times itself, ``n`` times: NumPy's ``linalg.matrix_power``.

    >>> matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 3)
    array([[1., 3.],
           [0., 1.]])
    """
    a = as_array(a)
    n = operator.index(n)
    if n < 0:
        a = inv(a)
        n = -n
    result = None if n else np.zeros_like(a) + np.eye(a.shape[-1], dtype=a.dtype)
    while n:
        if n % 2:
            result = a if result is None else result @ a
        n //= 2
        if n:
            a = a @ a
    return result


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    """The matrix product of several arrays in the cheapest order: NumPy's ``linalg.multi_dot``.

    >>> multi_dot([np.eye(2), 2 * np.eye(2), np.ones(2)])
    array([2., 2.])
    """
    arrays = [as_array(a) for a in arrays]
    labels = [[i, i + 1] for i in range(len(arrays))]
    first = [0][: arrays[0].ndim - 1]
    last = [len(arrays)][: arrays[-1].ndim - 1]
    labels[0] = [*first, 1]
    labels[-1] = [len(arrays) - 1, *last]
    operands = [x for pair in zip(arrays, labels) for x in pair]
    return einsum(*operands, first + last, optimize=True)


def _with_axes(y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """A norm with the axes of ``x`` that it was taken over, of length 1."""
    return y if y.ndim == x.ndim else np.expand_dims(y, axes)


def _length_forward(x: Any, axes: Any, keepdims: bool) -> Any:
    wide = widened(x)
    return narrowed(np.sqrt((wide * wide).sum(axes, keepdims=keepdims)), x)


def _p_length_forward(x: Any, p: float, axes: Any, keepdims: bool) -> Any:
    powers = np.abs(widened(x)) ** p
    return narrowed(powers.sum(axes, keepdims=keepdims) ** (1 / p), x)


def _length_rule(g: Any, y: Any, x: Any, axes: Any, keepdims: bool) -> Any:
    g = _with_axes(g, x, axes)
    y = _with_axes(y, x, axes)
    zero = y == 0
    return x * np.where(zero, 0, g / np.where(zero, 1, y))


def _p_length_rule(g: Any, y: Any, x: Any, p: float, axes: Any, keepdims: bool) -> Any:
    g = _with_axes(g, x, axes)
    y = _with_axes(y, x, axes)
    zero = y == 0
    shares = np.where(x == 0, 1, abs(x)) / np.where(zero, 1, y)
    return np.where(zero, 0, g) * np.sign(x) * shares ** (p - 1)


# At 0 the gradient of both is 0.
# fmt: off
_length   = differentiable(_length_forward, _length_rule, name="norm")
_p_length = differentiable(_p_length_forward, _p_length_rule, name="norm")
# fmt: on


def _vector_norm(x: Any, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if order is None or order == 2:
        return _length(x, axes, keepdims)
    if order == math.inf:
        return abs(x).max(axes, keepdims=keepdims)
    if order == -math.inf:
        return abs(x).min(axes, keepdims=keepdims)
    if order == 0:
        return (x != 0).astype(x.dtype).sum(axes, keepdims=keepdims)
    if isinstance(order, str):
        raise ValueError(f"norm: want a number as the order of a vector norm, got {order!r}")
    return _p_length(x, float(order), axes, keepdims)


def _matrix_norm(x: Any, order: Any, rows: int, columns: int) -> Any:
    """The norm of each matrix, with its axes, of length 1."""
    if order in (1, -1):
        return _matrix_norm(x, order * math.inf, columns, rows)
    if order == math.inf:
        return abs(x).sum(columns, keepdims=True).max(rows, keepdims=True)
    if order == -math.inf:
        return abs(x).sum(columns, keepdims=True).min(rows, keepdims=True)
    if order not in (2, -2, "nuc"):
        raise ValueError(f"norm: {order!r} is no order of a matrix norm")
    others = [i for i in range(x.ndim) if i not in (rows, columns)]
    s = svdvals(x.transpose([*others, rows, columns]))
    s = np.where(s == 0, 0, s)  # the slope is 0 there
    largest_or_least = s[..., 0] if order == 2 else s[..., -1]
    y = s.sum(-1) if order == "nuc" else largest_or_least
    return np.expand_dims(y, (rows, columns))


def _norm_axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return normalize_axis_tuple(axis, x.ndim, "norm: axis")


def _floating(x: Any) -> Any:
    x = as_array(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norms of vectors and matrices, of every order that NumPy's ``linalg.norm`` has.

    The gradient at 0 is 0; largest and smallest elements that tie share it.

    >>> norm(np.array([3.0, -4.0])), norm(np.array([3.0, -4.0]), 1)
    (np.float64(5.0), np.float64(7.0))
    """
    x = _floating(x)
    axes = _norm_axes(x, axis)
    if (axis is None and ord is None) or len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"norm: want one axis or two different ones, got {axis} for {x.shape}")
    if ord in (None, "fro", "f"):
        return _length(x, axes, keepdims)
    y = _matrix_norm(x, ord, *axes)
    return y if keepdims else np.squeeze(y, axes)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm over all given axes as over one vector: NumPy's ``linalg.vector_norm``; as ``norm``.

    >>> vector_norm(np.ones((2, 2)))
    np.float64(2.0)
    """
    x = _floating(x)
    axes = _norm_axes(x, axis)
    return _vector_norm(x, ord, axes, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm over the last two axes: NumPy's ``linalg.matrix_norm``; as ``norm``.

    >>> matrix_norm(np.ones((2, 2)))
    np.float64(2.0)
    """
    return norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """The condition number, ``norm(x, p) * norm(inv(x), p)``: NumPy's ``linalg.cond``.

    >>> cond(np.diag([1.0, 4.0]))
    np.float64(4.0)
    """
    x = as_array(x)
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))
