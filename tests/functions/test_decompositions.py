"""Where decompositions have no derivative, or one of several: what is said and what is chosen.

Values and derivatives at other places are rows of the catalogue.
"""

import builtins
from typing import Any

import numpy as np
import pytest

from minidl import Variable, grad, gradcheck, hessian
from minidl import functions as F

rng = np.random.default_rng(0)


def test_determinants_of_singular_matrices_have_their_gradient() -> None:
    for a in ([[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0, 0.0], [2.0, 4.0, 1.0], [0.0, 0.0, 3.0]]):
        assert gradcheck(np.linalg.det, a, order=1)
    assert not grad(np.linalg.det)(np.zeros((3, 3))).any()
    assert grad(np.linalg.det)([[0.0]]) == [[1.0]]
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        hessian(np.linalg.det)(np.zeros((3, 3)))


def test_vectors_of_coinciding_values_are_refused_in_the_backward() -> None:
    def vectors_of_svd(x: Any) -> Any:
        return np.linalg.svd(x)[0].sum()

    for f in (lambda x: np.linalg.eigh(x).eigenvectors.sum(), vectors_of_svd):
        with pytest.raises(np.linalg.LinAlgError, match="coincide") as caught:
            grad(f)(np.eye(3))
        assert any("in the derivative of" in note for note in caught.value.__notes__)
    np.testing.assert_allclose(grad(lambda x: np.linalg.eigvalsh(x).sum())(np.eye(3)), np.eye(3))
    np.testing.assert_allclose(grad(lambda x: np.linalg.svdvals(x).sum())(np.eye(3)), np.eye(3))


def test_what_full_matrices_adds_has_no_derivative() -> None:
    for x in (rng.standard_normal((4, 2)), rng.standard_normal((2, 5))):
        for got, want in zip(np.linalg.svd(Variable(x)), np.linalg.svd(x), strict=True):
            np.testing.assert_allclose(got.data, want)
        wide = x.shape[1] > x.shape[0]
        assert gradcheck(lambda x: np.linalg.svd(x).S, x)
        assert gradcheck(lambda x, wide=wide: np.linalg.svd(x)[0 if wide else 2], x, rtol=1e-4)
        with pytest.raises(ValueError, match="full_matrices=True"):
            grad(lambda x, wide=wide: np.linalg.svd(x)[2 if wide else 0].sum())(x)


def test_norms_at_zero() -> None:
    for order in (None, 1, 2, 3, 0.5):
        assert not grad(lambda x, order=order: np.linalg.norm(x, order))(np.zeros(3)).any()
    assert not grad(np.linalg.norm)(np.zeros((2, 2))).any()
    assert not hessian(np.linalg.norm)(np.zeros(2)).any()
    np.testing.assert_allclose(
        grad(lambda x: np.linalg.norm(x, axis=1).sum())(np.array([[0.0, 0.0], [3.0, 4.0]])),
        [[0.0, 0.0], [0.6, 0.8]],
    )


def test_results_have_numpys_names() -> None:
    x = np.diag([1.0, 2.0])
    assert list(F.eigh(x)._fields) == ["eigenvalues", "eigenvectors"]
    for name in ("eigh", "slogdet", "svd", "qr"):
        ours, theirs = getattr(F, name)(x), getattr(np.linalg, name)(x)
        assert ours._fields == theirs._fields and type(ours).__name__ == type(theirs).__name__


def test_only_the_triangle_that_is_read() -> None:
    a = np.array([[4.0, np.nan], [2.0, 3.0]])
    assert np.isfinite(grad(lambda a: np.linalg.cholesky(a).sum())(a)).all()
    assert np.isfinite(grad(lambda a: np.linalg.cholesky(a, upper=True).sum())(a.T)).all()
    a[0, 1] = 7.0
    f = lambda a: F.solve_triangular(a, np.ones(2), lower=True).sum()
    assert f(a) == f(np.tril(a)) and grad(f)(a)[0, 1] == 0


def test_solve_triangular_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rng.standard_normal((3, 3)) + 2 * np.eye(3), rng.standard_normal(3)
    cases = [(t, low, unit) for t in (0, 1) for low in (False, True) for unit in (False, True)]
    want = [F.solve_triangular(a, b, *case) for case in cases]
    original = builtins.__import__

    def without_scipy(name: str, *args: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    for case, x in zip(cases, want, strict=True):
        np.testing.assert_allclose(F.solve_triangular(a, b, *case), x)


def test_gradients_are_pytorchs() -> None:
    """Also their choice among those that are right for symmetric changes."""
    torch = pytest.importorskip("torch")
    square, tall = rng.standard_normal((3, 3)), rng.standard_normal((4, 3))
    cases: list[tuple[str, Any, Any]] = [
        ("cholesky", square @ square.T + np.eye(3), lambda y: y),
        ("eigh", square, lambda y: y[0] * (y[1] * y[1])),
        ("eigvalsh", square, lambda y: y),
        ("qr", tall, lambda y: y[0] @ y[1] @ y[1]),
        ("svdvals", tall, lambda y: y),
        ("pinv", tall, lambda y: y),
        ("det", square, lambda y: y),
        ("slogdet", square, lambda y: y[1]),
        ("inv", square, lambda y: y),
        ("norm", tall, lambda y: y),
        ("matrix_norm", tall, lambda y: y),
        ("multi_dot", (square, tall.T), lambda y: y),
        ("solve", (square, tall.T), lambda y: y),
    ]
    for name, x, pick in cases:
        arrays = x if isinstance(x, tuple) else (x,)
        xs, ts = (
            [Variable(a) for a in arrays],
            [torch.tensor(a, requires_grad=True) for a in arrays],
        )
        call = (lambda f, *a: f(a)) if name == "multi_dot" else (lambda f, *a: f(*a))
        y, t = (
            pick(call(getattr(np.linalg, name), *xs)),
            pick(call(getattr(torch.linalg, name), *ts)),
        )
        w = rng.standard_normal(y.shape)
        (y * w).sum().backward()
        (t * torch.tensor(w)).sum().backward()
        for ours, theirs in zip(xs, ts, strict=True):
            assert ours.grad is not None
            np.testing.assert_allclose(ours.grad.data, theirs.grad, rtol=1e-8, atol=1e-10)
