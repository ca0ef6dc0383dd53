"""The datasets: shapes, dtypes, ranges, that seeds decide and only seeds, and what bad input gets."""

from importlib.resources import files

import numpy as np
import pytest

from minidl import Variable
from minidl.data import datasets


def test_digits_are_the_published_ones() -> None:
    (x, t), (xt, tt) = datasets.digits(test=0)
    assert x.shape == (1797, 64) and t.shape == (1797,) and len(xt) == len(tt) == 0
    assert (x.dtype, t.dtype, xt.dtype, tt.dtype) == (np.float32, np.int64, np.float32, np.int64)
    assert x.min() == 0 and x.max() == 1
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # the published ones
    assert np.bincount(t).tolist() == counts
    assert (x * 16).sum(dtype=np.float64) == 561718


def test_digits_against_scikit_learn() -> None:
    source = pytest.importorskip("sklearn.datasets").load_digits()
    (x, t), _ = datasets.digits(test=0, seed=3)
    order = np.random.default_rng(3).permutation(1797)
    assert np.array_equal(x * 16, source.data[order]) and np.array_equal(t, source.target[order])


def test_digits_are_split_without_loss_or_overlap() -> None:
    (x, t), (xt, tt) = datasets.digits(test=0.25, seed=7)
    assert len(x) == len(t) == 1348 and len(xt) == len(tt) == 449
    (everything, _), _ = datasets.digits(test=0)
    together = np.concatenate([x, xt])
    assert np.array_equal(np.sort(together, axis=0), np.sort(everything, axis=0))
    assert set(tt.tolist()) == set(t.tolist()) == set(range(10))


def test_digits_seed_decides_the_order() -> None:
    (x, t), _ = datasets.digits()
    (again, _), _ = datasets.digits()
    (other, _), _ = datasets.digits(seed=1)
    assert np.array_equal(x, again) and not np.array_equal(x, other)
    x[:] = 0  # the arrays are the caller's: no later call sees what is done to them
    assert datasets.digits()[0][0].max() == 1


@pytest.mark.parametrize("test", [-0.1, 1, 1.5, float("nan")])
def test_digits_refuses_a_bad_fraction(test: float) -> None:
    with pytest.raises(ValueError, match=r"digits: test must be in \[0, 1\), got"):
        datasets.digits(test=test)


def test_sunspots() -> None:
    years, values = datasets.sunspots()
    assert years.dtype == values.dtype == np.float32
    assert np.array_equal(years, np.arange(1700, 2009))
    assert values[[0, 4, -1]].tolist() == pytest.approx([5.0, 36.0, 2.9])
    assert years[values.argmax()] == 1957
    assert values.sum(dtype=np.float64) == pytest.approx(15373.4)
    assert years.flags.writeable and values.flags.writeable


def test_monthly_sunspots_are_those_whose_means_are_the_yearly_ones() -> None:
    months, values = datasets.sunspots(monthly=True)
    assert months.shape == values.shape == (2820,) and months.dtype == values.dtype == np.float32
    assert months[0] == 1749 and months[-1] == pytest.approx(1983 + 11 / 12)
    assert values[[0, 1, -1]].tolist() == pytest.approx([58.0, 62.6, 33.4])
    assert values.max() == pytest.approx(253.8) and months[values.argmax()] == pytest.approx(
        1957.75
    )
    years, yearly = datasets.sunspots()
    means = values.reshape(-1, 12).mean(axis=1)
    far = abs(means - yearly[(years >= 1749) & (years <= 1983)])
    assert far.max() < 2 and (far < 0.06).sum() == 196
    with pytest.raises(TypeError, match="sunspots: monthly: want True or False, got 'monthly'"):
        datasets.sunspots("monthly")


def test_spiral() -> None:
    x, t = datasets.spiral(n=40, classes=4, noise=0.1, seed=5)
    assert x.shape == (160, 2) and x.dtype == np.float32 and t.dtype == np.int64
    assert np.bincount(t).tolist() == [40] * 4
    assert np.hypot(*x.T).max() < 1
    assert (t[:-1] != t[1:]).sum() > 60  # shuffled: a fraction taken from the end holds every class


def test_spiral_without_noise_is_the_formula() -> None:
    x, t = datasets.spiral(n=10, noise=0)
    radius = np.hypot(*x.T)
    angle = 2 * np.pi * t / 3 + 4 * radius
    expected = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    np.testing.assert_allclose(x, expected, atol=1e-6)


def test_sine() -> None:
    angles, values = datasets.sine()
    assert angles.shape == values.shape == (1000,) and angles.dtype == values.dtype == np.float32
    assert angles[0] == 0 and angles[-1] == pytest.approx(2 * np.pi)
    noise = values - np.sin(angles)
    assert 0.049 < np.abs(noise).max() <= 0.0501 and abs(noise.mean()) < 0.005
    angles, values = datasets.sine(50, noise=0, cosine=True)
    np.testing.assert_allclose(values, np.cos(angles), atol=1e-6)


@pytest.mark.parametrize("make", [datasets.spiral, datasets.sine])
def test_made_data_depend_on_the_seed_alone(make) -> None:
    np.random.seed(0)  # noqa: NPY002 - it is NumPy's global state that must not matter, and must not change
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - as above
    first, again, other = make(seed=0), make(seed=0), make(seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002 - as above


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.spiral(n=0), "spiral: n must be at least 1, got 0"),
        (lambda: datasets.spiral(classes=0), "spiral: classes must be at least 1, got 0"),
        (lambda: datasets.spiral(noise=-1), "spiral: noise must be"),
        (lambda: datasets.sine(n=0), "sine: n must be at least 1, got 0"),
        (lambda: datasets.sine(noise=float("nan")), "sine: noise must be"),
    ],
)
def test_made_data_refuse_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_windows() -> None:
    series = np.arange(6, dtype=np.float32)
    x, t = datasets.windows(series, 4)
    assert x.shape == (2, 4, 1) and t.shape == (2, 1) and x.dtype == t.dtype == np.float32
    assert x[..., 0].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]] and t[:, 0].tolist() == [4, 5]
    x[:], t[:] = -1, -1  # copies
    assert series.tolist() == [0, 1, 2, 3, 4, 5]
    assert datasets.windows(series, 5)[0].shape == (1, 5, 1)


@pytest.mark.parametrize("features", [None, 1, 3])
@pytest.mark.parametrize("horizon", [1, 2, 4])
@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("targets", [None, 0, [1, 0], (2, 2)])
def test_windows_are_the_definition(features, horizon, step, targets) -> None:
    m, length = 12, 3
    if targets is not None and (features or 0) < 3:
        return
    series = np.arange(m * (features or 1), dtype=np.int32).reshape(m, -1)
    x, t = datasets.windows(series if features else series[:, 0], length, horizon, step, targets)
    columns = list(range(features or 1)) if targets is None else np.atleast_1d(targets).tolist()
    starts = [s for s in range(0, m, step) if s + length + horizon <= m]
    assert len(x) == len(t) == len(starts) == (m - length - horizon) // step + 1
    assert x.dtype == t.dtype == np.int32 and x.flags.owndata and t.flags.owndata
    for i, s in enumerate(starts):
        np.testing.assert_array_equal(x[i], series[s : s + length])
        after = series[s + length : s + length + horizon, columns]
        if features is None:
            after = after[:, 0]
        elif horizon == 1:
            after = after[0]
        np.testing.assert_array_equal(t[i], after)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"horizon": 8}, ValueError, r"of at least length \+ horizon steps, got \(10, 2\), len"),
        ({"horizon": 0}, ValueError, "windows: horizon must be at least 1, got 0"),
        ({"horizon": 1.5}, TypeError, r"windows: horizon must be an int, got 1\.5"),
        ({"step": 0}, ValueError, "windows: step must be at least 1, got 0"),
        ({"step": True}, TypeError, "windows: step must be an int, got True"),
        ({"targets": 2}, ValueError, "want targets from 0 to 1, got 2"),
        ({"targets": -1}, ValueError, "windows: targets must be at least 0, got -1"),
        ({"targets": [0, 5]}, ValueError, r"want targets from 0 to 1, got \[0, 5\]"),
        ({"targets": []}, ValueError, r"want targets from 0 to 1, got \[\]"),
        ({"targets": "a"}, TypeError, "windows: targets must be an int, got 'a'"),
        ({"targets": [True, False]}, TypeError, "windows: targets must be an int, got True"),
    ],
)
def test_windows_refuses(settings, error, message) -> None:
    with pytest.raises(error, match=message):
        datasets.windows(np.ones((10, 2)), 3, **settings)
    with pytest.raises(ValueError, match=r"targets of a series \(m, features\) only"):
        datasets.windows(np.ones(10), 3, targets=0)


@pytest.mark.parametrize(
    ("series", "length"), [([1.0, 2.0], 2), ([1.0, 2.0], 0), (np.ones((3, 2, 1)), 1), ([], 1)]
)
def test_windows_refuses_what_is_too_short(series, length: int) -> None:
    with pytest.raises(ValueError, match=r"windows: (want a series|length must be at least 1)"):
        datasets.windows(series, length)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.digits("a"), "digits: test must be a number, got 'a'"),
        (lambda: datasets.digits(seed=None), "digits: seed must be an int, got None"),
        (lambda: datasets.spiral(2.5), r"spiral: n must be an int, got 2\.5"),
        (lambda: datasets.spiral(classes=1.5), "spiral: classes must be an int"),
        (lambda: datasets.sine("a"), "sine: n must be an int, got 'a'"),
        (lambda: datasets.sine(noise=None), "sine: noise must be a number, got None"),
        (lambda: datasets.windows([1.0, 2.0, 3.0], 1.5), "windows: length must be an int"),
        (lambda: datasets.windows(["a", "b", "c"], 1), "windows: the series.*"),
        (lambda: datasets.windows([1, None, 2], 1), "windows: the series.*"),
        (lambda: datasets.windows(np.ma.masked_array([1.0, 2.0], [0, 1]), 1), "series: .*mask"),
        (lambda: datasets.windows(Variable([1.0, 2.0]), 1), r"the series: want .*\.data"),
    ],
)
def test_what_is_no_number_or_series(call, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_origin_and_licence_are_beside_the_data() -> None:
    folder = files("minidl.data") / "files"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    data = [file.name for file in folder.iterdir() if file.name != "README.md"]
    assert sorted(data) == ["digits.npz", "sunspots.csv", "sunspots_monthly.npz"] and all(
        f"`{name}`" in readme for name in data
    )
    assert "CC BY 4.0" in readme and "public domain" in readme
    assert (files("minidl") / "py.typed").is_file()
