"""The examples whose numbers are known: what they compute, not what they draw.

Every example also runs as a program, in its short form, by `make examples`.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rosenbrock_follows_the_published_trajectory(capsys):
    path = load("gradient_descent").descend(10_000, 0.001, 1_000)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and lines[0] == "0.0 2.0"
    assert lines[-1] == "0.9944984367782456 0.9890050527419593"
    assert len(path) == 10_001


def test_newton_finds_the_minimum():
    way = load("newton").newton(2.0, 10)
    assert way[1] == pytest.approx(2 - 24 / 44) and way[-1] == 1.0


def test_closed_forms_of_higher_orders():
    example = load("higher_order")
    x = np.linspace(-3, 3, 50)
    for name, closed in example.CLOSED.items():
        for y, formula in zip(example.derivatives(getattr(np, name), x), closed, strict=True):
            np.testing.assert_allclose(y.data, formula(x), atol=1e-13)


def test_the_fit_is_scipys_and_its_errors_cover_the_truth(capsys):
    from scipy.optimize import curve_fit

    example = load("fit_curve")
    x, y = example.measured(80, 0.25, seed=0)
    p, covariance = example.fit(x, y)
    found, by_gauss_newton = curve_fit(lambda x, *p: example.model(p, x), x, y, p0=example.START)
    np.testing.assert_allclose(p, found, rtol=1e-5)
    np.testing.assert_allclose(covariance, by_gauss_newton, rtol=0.3, atol=1e-3)
    assert (abs(p - example.TRUE) < 3 * np.sqrt(np.diag(covariance))).all()


def test_the_marginal_likelihood_is_that_of_a_normal_distribution():
    from scipy.stats import multivariate_normal

    example = load("gaussian_process")
    x, y = np.linspace(-2, 2, 6), np.cos(np.arange(6.0))
    L = example.factor(example.START, x)
    want = -multivariate_normal(np.zeros(6), L @ L.T).logpdf(y)
    np.testing.assert_allclose(example.minus_log_likelihood(example.START, x, y), want)
    p, values = example.learn(x, y)
    assert values[-1] < values[0] and values[-1] == min(values)


def test_bigrams_and_windows_of_a_text():
    example = load("char_transformer")
    codes = np.array([0, 1] * 50)
    seen = np.log([[1 / 52, 51 / 52], [50 / 51, 1 / 51]])  # one more of each pair than there is
    want = -(3 * seen[0, 1] + 2 * seen[1, 0]) / 5
    assert example.bigram_loss(codes, codes[:6], 2) == pytest.approx(want)
    x, t = example.windows(np.arange(10), 4, 3)
    assert x.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]] and (t == x + 1).all()


def test_the_bound_of_an_autoencoder():
    """By hand, where neither the code nor the pixels depend on the image."""
    import minidl
    from minidl import functions as F

    example = load("vae_digits")
    model = example.VAE(pixels=3, hidden=4)
    for p in model.parameters():
        p.data = np.zeros(p.shape, np.float32)
    model.mean.b.data = np.array([1.0, -2.0], np.float32)
    model.log_variance.b.data = np.log(np.array([0.5, 3.0], np.float32))
    loss = F.binary_cross_entropy_with_logits
    bound = example.Bound(model, minidl.optim.Adam(model), loss)
    value, prediction = bound.loss_of((np.array([[0.0, 1.0, 0.5]], np.float32),))
    apart = [(v + m**2 - 1 - np.log(v)) / 2 for m, v in ((1.0, 0.5), (-2.0, 3.0))]
    assert value.item() == pytest.approx(3 * np.log(2) + sum(apart), rel=1e-6)
    assert prediction is None


def test_a_table_of_customers_goes_through_the_pipeline():
    pytest.importorskip("sklearn")
    example = load("sklearn_table")
    columns, stays = example.customers(50, np.random.default_rng(0))
    table = example.as_table(columns)
    x = example.prepare(table, list(columns)).fit_transform(table)
    assert x.shape == (50, 3 + 3 + 4) and np.isfinite(x).all() and set(stays) == {"stays", "leaves"}
    np.testing.assert_allclose(x[:, :3].mean(0), 0, atol=1e-12)
    assert (x[:, 3:].sum(1) == 2).all()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda f: f.stem)
def test_examples_are_short(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120  # with a picture each
