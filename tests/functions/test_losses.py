"""Losses and metrics with their options: against PyTorch and scikit-learn where they are installed, and by hand.

What holds for every function is in test_catalogue.py; the plain losses far out are in test_stability.py.
"""

import itertools
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, gradients
from minidl import functions as F

INF = np.inf
rng = np.random.default_rng(11)
X = rng.normal(size=(6, 4)) * 2
T = np.array([0, 3, -100, 2, 2, 1])
CLASS_WEIGHT = np.array([0.2, 1.5, 0.0, 3.0])
WEIGHT = np.array([0.5, 2.0, 1.0, 0.0, 1.0, 3.0])
REDUCTIONS = ("mean", "sum", "none")


def derivatives(loss: Any, *arrays: Any) -> list[Any]:
    """Value, gradients, and the gradients of a fixed projection of these."""
    xs = [Variable(a) for a in arrays]
    y = loss(*xs)
    seed = np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    first = gradients(y, xs, seed, create_graph=True)
    along = sum((g * np.sin(np.arange(g.size)).reshape(g.shape)).sum() for g in first)
    second = gradients(along + sum((x * 0).sum() for x in xs), xs)
    plain = gradients(loss(*xs), xs, seed)
    for g, h in zip(plain, first, strict=True):
        np.testing.assert_allclose(g.data, h.data, rtol=1e-11, atol=1e-14)
    return [v.data for v in (y, *first, *second)]


def torch_derivatives(loss: Any, *arrays: Any) -> list[Any]:
    torch = pytest.importorskip("torch")
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = loss(*xs)
    seed = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    first = torch.autograd.grad(y, xs, seed, create_graph=True)
    along = sum(
        (g * torch.sin(torch.arange(g.numel(), dtype=g.dtype)).reshape(g.shape)).sum()
        for g in first
    )
    second = torch.autograd.grad(along + sum((x * 0).sum() for x in xs), xs)
    return [v.detach().numpy() for v in (y, *first, *second)]


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_pytorchs(
    reduction: Any, ignore_index: int, class_weight: Any, smoothing: float
) -> None:
    torch = pytest.importorskip("torch")
    t = np.where(T < 0, ignore_index, T)
    weights = None if class_weight is None else torch.tensor(class_weight)

    def theirs(x: Any) -> Any:
        return torch.nn.functional.cross_entropy(
            x,
            torch.tensor(t),
            weight=weights,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=smoothing,
        )

    def ours(x: Any) -> Any:
        return F.cross_entropy(
            x,
            t,
            ignore_index,
            label_smoothing=smoothing,
            class_weight=class_weight,
            reduction=reduction,
        )

    assert_same(derivatives(ours, X), torch_derivatives(theirs, X))
    assert_same(
        [ours(X.reshape(2, 3, 4).reshape(6, 4)), ours(X.astype(np.float32)).astype(float) * 0],
        [ours(X), ours(X) * 0],
    )
    if smoothing == 0:
        log_p = F.log_softmax(X)

        def ours_of_logarithms(p: Any) -> Any:
            return F.negative_log_likelihood(
                p, t, ignore_index, class_weight=class_weight, reduction=reduction
            )

        def theirs_of_logarithms(p: Any) -> Any:
            return torch.nn.functional.nll_loss(
                p, torch.tensor(t), weights, ignore_index=ignore_index, reduction=reduction
            )

        assert_same(
            derivatives(ours_of_logarithms, log_p), torch_derivatives(theirs_of_logarithms, log_p)
        )


@pytest.mark.parametrize(
    ("class_weight", "smoothing"), [*itertools.product([None, CLASS_WEIGHT], [0.0, 0.2])]
)
def test_weights_beside_class_weights_smoothing_and_ignored_rows(
    class_weight: Any, smoothing: float
) -> None:
    options = {"class_weight": class_weight, "label_smoothing": smoothing}
    each = F.cross_entropy(X, T, reduction="none", **options)
    c = np.ones(4) if class_weight is None else class_weight
    counts = np.where(T < 0, 0, c[np.maximum(T, 0)]) * WEIGHT
    got = F.cross_entropy(X, T, weight=WEIGHT, **options)
    np.testing.assert_allclose(got, (each * WEIGHT).sum() / counts.sum(), rtol=1e-13)
    twice = np.repeat(np.arange(6), [1, 2, 1, 1, 2, 1])  # a weight of 2 is a row that comes twice
    np.testing.assert_allclose(
        F.cross_entropy(X, T, weight=[1, 2, 1, 1, 2, 1], **options),
        F.cross_entropy(X[twice], T[twice], **options),
        rtol=1e-13,
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_plain_loss_is_its_composition(dtype: Any) -> None:
    """One function for the plain call, one with all options: values and gradients."""
    x = np.concatenate([X, [[40, 0, 1, 2], [-INF, 0, 1, 2]]]).astype(dtype)
    t = np.array([*T, 0, 1])
    near = 4 * float(np.finfo(dtype).eps)
    results = []
    for options in ({}, {"weight": np.ones(len(t), dtype)}):
        v = Variable(x)
        loss = F.cross_entropy(v, t, **options)
        loss.backward()
        assert loss.dtype == v.grad.dtype == dtype
        results.append((loss.data, v.grad.data))
    for plain, composed in zip(*results, strict=True):
        np.testing.assert_allclose(plain, composed, rtol=near, atol=near * 1e-12)


LOSSES = {
    "mean_squared_error": F.mean_squared_error,
    "mean_absolute_error": F.mean_absolute_error,
    "huber": F.huber,
    "binary_cross_entropy": lambda y, t, **o: F.binary_cross_entropy(
        F.sigmoid(y), (t > 0).astype(y.dtype), **o
    ),
    "binary_cross_entropy_with_logits": lambda y, t, **o: F.binary_cross_entropy_with_logits(
        y, (t > 0).astype(y.dtype), **o
    ),
    "hinge": lambda y, t, **o: F.hinge(y, np.where(t > 0, 1, -1), **o),
    "quantile_loss": lambda y, t, **o: F.quantile_loss(y, t, 0.3, **o),
    "kl_divergence": lambda y, t, **o: F.kl_divergence(F.log_softmax(y), F.softmax(t), **o),
    "cosine_distance": F.cosine_distance,
    "cross_entropy": lambda y, t, **o: F.cross_entropy(y, t.argmax(-1), **o),
    "negative_log_likelihood": lambda y, t, **o: F.negative_log_likelihood(
        F.log_softmax(y), t.argmax(-1), **o
    ),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_reductions_and_weights_of_every_loss(name: str) -> None:
    loss = LOSSES[name]
    y, t = rng.normal(size=(2, 3, 5, 4))
    each = loss(y, t, reduction="none")
    assert each.shape in ((3, 5, 4), (3, 5))
    np.testing.assert_allclose(loss(y, t), each.mean(), rtol=1e-13)
    np.testing.assert_allclose(loss(y, t, reduction="sum"), each.sum(), rtol=1e-13)
    for shape in ((3,), (3, 5), each.shape):
        w = rng.uniform(0.5, 2, size=shape)
        w.flat[0] = 0
        wide = np.broadcast_to(w.reshape(shape + (1,) * (each.ndim - len(shape))), each.shape)
        for weight in (w, w.tolist(), Variable(w, requires_grad=False)):
            got = [np.asarray(loss(y, t, weight=weight, reduction=r)) for r in REDUCTIONS]
            want = [(each * wide).sum() / wide.sum(), (each * wide).sum(), each * wide]
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(loss(y, t, weight=np.ones(3, int)), each.mean(), rtol=1e-12)
    np.testing.assert_allclose(loss(y, t, weight=np.arange(3) > 0), each[1:].mean(), rtol=1e-12)


@every_loss
def test_dtypes_of_every_loss(name: str) -> None:
    y, t = rng.normal(size=(2, 3, 4))
    for dtype in (np.float16, np.float32, np.float64):
        for options in ({}, {"weight": np.ones(3)}, {"weight": [1, 2, 3], "reduction": "sum"}):
            v = Variable(y.astype(dtype))
            got = LOSSES[name](v, t.astype(dtype), **options)
            got.backward()
            assert got.dtype == v.grad.dtype == dtype
            np.testing.assert_allclose(
                got.data, LOSSES[name](y, t, **options), rtol=100 * np.finfo(dtype).eps
            )


@every_loss
def test_what_has_no_weight_is_nothing(name: str) -> None:
    y, t = rng.normal(size=(2, 3, 4))
    v = Variable(y)
    for reduction in ("mean", "sum"):
        v.cleargrad()
        loss = LOSSES[name](v, t, weight=np.zeros(3), reduction=reduction)
        loss.backward()
        assert loss.item() == 0 and not v.grad.data.any()
    empty = LOSSES[name](np.zeros((0, 4)), np.zeros((0, 4)), weight=np.zeros(0))
    assert empty == 0 == LOSSES[name](np.zeros((0, 4)), np.zeros((0, 4)))


@every_loss
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduction": "avg"}, ['"mean", "sum" or "none"', "'avg'"]),
        ({"reduction": None}, ["None"]),
        ({"weight": np.ones(2)}, ["weight", "(3,)", "(2,)"]),
        ({"weight": np.ones((3, 1, 1))}, ["weight", "(3, 1, 1)"]),
        ({"weight": 2.0}, ["weight", "()"]),
        ({"weight": [1.0, -1.0, 1.0]}, ["weight", "at least 0", "-1.0"]),
        ({"weight": [1.0, np.nan, 1.0]}, ["weight", "finite", "nan"]),
        ({"weight": [1.0, np.inf, 1.0]}, ["weight", "finite", "inf"]),
        ({"weight": [1.0, -np.inf, 1.0]}, ["weight", "finite", "inf"]),
    ],
)
def test_options_that_no_loss_takes(name: str, options: Any, words: list[str]) -> None:
    y, t = rng.normal(size=(2, 3, 4))
    with pytest.raises(ValueError) as error:
        LOSSES[name](Variable(y), t, **options)
    for word in (name, *words):
        assert word in str(error.value)


def test_a_weight_of_one_column_is_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"mean_squared_error: weight: want .*\(3, 4\), got .*1"):
        F.mean_squared_error(np.ones((3, 4)), np.ones((3, 4)), weight=np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"cross_entropy: class_weight: want shape \(4,\), got"):
        F.cross_entropy(X, T, class_weight=np.ones(3))
    with pytest.raises(ValueError, match=r"class_weight: want finite .* got -1"):
        F.cross_entropy(X, T, class_weight=[1, 1, -1, 1])
    for smoothing in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="cross_entropy: label_smoothing must be in"):
            F.cross_entropy(X, T, label_smoothing=smoothing)
    with pytest.raises(ValueError, match="label 4 is outside the 4 classes"):
        F.cross_entropy(X, np.full(6, 4), label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"huber: weight: want finite .* got inf"):
        F.huber(np.ones(2, np.float32), np.ones(2, np.float32), weight=[1e300, 1.0])
    with pytest.raises(TypeError, match="huber: weight"):
        F.huber(np.ones(2), np.ones(2), weight=["a", "b"])


def test_targets_that_a_loss_does_not_mean() -> None:
    with pytest.raises(ValueError, match=r"hinge: want targets -1 and 1, got 0.* 2 \* t - 1"):
        F.hinge(np.ones(3), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match=r"kl_divergence: want probabilities p in .*log_q"):
        F.kl_divergence(np.array([0.5, 0.5]), np.log([0.5, 0.5]))
    for q in (0, 1, -0.5, np.nan, [0.1, 0.2]):
        with pytest.raises(ValueError, match="quantile_loss: q: want a number between 0 and 1"):
            F.quantile_loss(np.ones((2, 3)), np.ones((2, 3)), q)
    for loss in (F.cosine_distance, F.kl_divergence):
        with pytest.raises(ValueError, match="got \\(\\)"):
            loss(np.array(0.5), np.array(0.5))
    p = F.softmax(Variable(X))
    with pytest.warns(UserWarning, match="kl_divergence takes logarithms, of log_softmax"):
        F.kl_divergence(p, np.full((6, 4), 0.25))
    with pytest.warns(UserWarning, match="negative_log_likelihood takes logarithms"):
        F.negative_log_likelihood(p, np.zeros(6, int))


def test_losses_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    TF = torch.nn.functional
    y, t = rng.normal(size=(2, 5, 3))
    p = F.softmax(t)
    signs = np.sign(t)
    for ours, theirs in (
        (lambda y: F.mean_absolute_error(y, t), lambda y: TF.l1_loss(y, torch.tensor(t))),
        (
            lambda y: F.kl_divergence(F.log_softmax(y), p),
            lambda y: TF.kl_div(TF.log_softmax(y, -1), torch.tensor(p), reduction="batchmean"),
        ),
        (
            lambda y: F.cosine_distance(y, t),
            lambda y: (1 - TF.cosine_similarity(y, torch.tensor(t), -1)).mean(),
        ),
        (
            lambda y: F.hinge(y, signs),
            lambda y: (1 - torch.tensor(signs) * y).clamp(min=0).mean(),
        ),
        (
            lambda y: F.binary_cross_entropy_with_logits(y, p, weight=WEIGHT[:5], reduction="sum"),
            lambda y: TF.binary_cross_entropy_with_logits(
                y, torch.tensor(p), torch.tensor(WEIGHT[:5, None]), reduction="sum"
            ),
        ),
    ):
        assert_same(derivatives(ours, y), torch_derivatives(theirs, y))


def test_kl_divergence_where_nothing_is_left() -> None:
    p, q = np.array([1.0, 0.0]), np.array([0.0, -INF])
    v, w = Variable(q), Variable(p)
    loss = F.kl_divergence(v, w)
    loss.backward()
    assert loss.item() == 0 and v.grad.data.tolist() == [-1, 0] and w.grad.data.tolist() == [1, 0]
    assert F.kl_divergence(q, np.array([0.5, 0.5])) == INF


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_cosine_distance_of_any_length(scale: float) -> None:
    y = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32) * np.float32(scale)
    t = np.array([[4.0, 3.0], [1.0, 0.0]], np.float32)
    v = Variable(y)
    each = F.cosine_distance(v, t, reduction="none")
    np.testing.assert_allclose(each.data, [0.04, 1.0], rtol=1e-5)
    each.sum().backward()
    assert np.isfinite(v.grad.data).all()
    np.testing.assert_allclose(v.grad.data[0] * scale, [-0.0448, 0.0336], rtol=1e-3)


def test_corners() -> None:
    def slope(f: Any, y: float) -> float:
        v = Variable(np.array([y]))
        f(v).backward()
        return v.grad.data.item()

    zero = np.zeros(1)
    assert slope(lambda v: F.mean_absolute_error(v, zero), 0.0) == 0
    assert slope(lambda v: F.quantile_loss(v, zero, 0.9), 0.0) == pytest.approx(-0.4)
    assert slope(lambda v: F.hinge(v, np.array([1])), 1.0) == 0


# ---- metrics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, np.linspace(0, 2, 40)])
def test_metrics_are_scikit_learns(weight: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    x, t = rng.normal(size=(40, 5)), rng.integers(0, 4, 40)
    x[:, 3] -= 9  # a class that is never predicted, and one, 4, that never occurs
    guess, w = x.argmax(-1), weight
    assert F.accuracy(x, t, weight=w) == pytest.approx(
        metrics.accuracy_score(t, guess, sample_weight=w)
    )
    for average in ("macro", "micro"):
        want = metrics.f1_score(t, guess, average=average, sample_weight=w)
        assert F.f1(x, t, average=average, weight=w) == pytest.approx(want)
    each = metrics.f1_score(
        t, guess, labels=range(5), average=None, sample_weight=w, zero_division=0
    )
    np.testing.assert_allclose(F.f1(x, t, average=None, weight=w), each)
    y, t = rng.normal(size=(2, 40, 3))
    t[:, 1] = 0.5
    for a, b in ((y, t), (y[:, 0], t[:, 0])):
        assert F.r2(a, b, weight=w) == pytest.approx(metrics.r2_score(b, a, sample_weight=w))


def test_metrics_of_few_and_of_variables() -> None:
    y = np.array([[0.1], [0.1]])
    assert F.r2(y, y) == 1 and F.r2(y + 1, y) == 0
    assert np.isnan(F.r2(y[:1], y[:1])) and np.isnan(F.r2(y, y, weight=[0, 0]))
    x, t = Variable(np.eye(3, dtype=np.float32)), np.array([0, 1, 1])
    for got in (F.accuracy(x, t, weight=[1, 1, 2]), F.f1(x, t), F.r2(x, np.eye(3))):
        assert isinstance(got, Variable) and not got.requires_grad and got.shape == ()
    assert F.accuracy(x, t, weight=[0, 0, 0]).item() == 0
    assert F.f1(np.zeros((0, 3)), np.zeros(0, int)) == 0


def test_what_no_metric_takes() -> None:
    x, t = np.eye(3), np.array([0, 1, 1])
    with pytest.raises(ValueError, match='f1: want average "macro", "micro" or None, got'):
        F.f1(x, t, average="binary")
    for metric in (F.accuracy, F.f1):
        with pytest.raises(ValueError, match=f"{metric.__name__}: weight: want shape"):
            metric(x, t, weight=[1, 2])
        with pytest.raises(ValueError, match=f"{metric.__name__}: .*label 3 is outside"):
            metric(x, np.array([0, 1, 3]))
    with pytest.raises(ValueError, match="r2: weight: want finite numbers"):
        F.r2(x, x, weight=[1, 2, -1])
    with pytest.raises(ValueError, match="r2: prediction and target differ in shape"):
        F.r2(np.ones((3, 1)), np.ones(3))


def test_losses_with_options_can_be_compiled() -> None:
    def step(x: Any, t: Any, w: Any) -> Any:
        loss = F.cross_entropy(x, t, weight=w, label_smoothing=0.1, class_weight=CLASS_WEIGHT)
        return loss + F.huber(x, x * 0.5, weight=w)

    compiled = minidl.compile(step)
    for k in (1, 2, 3):
        t = (T + k) % 4
        np.testing.assert_array_equal(compiled(X * k, t, WEIGHT / k), step(X * k, t, WEIGHT / k))
    with pytest.raises(ValueError, match="at least 0"):
        compiled(X, T % 4, -WEIGHT)
