"""Small datasets: two that ship with the package, and some made on the spot.

Nothing is downloaded; batches are made in `loader.py`. The same call, with its `seed`, gives the
same arrays.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from minidl.common.checks import count, flag, number
from minidl.data.loader import as_data

__all__ = ["digits", "sine", "spiral", "sunspots", "windows"]

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]
# Not by importlib.resources, which takes 25 ms to import.
_FILES = os.path.join(os.path.dirname(__file__), "files")


def digits(test: float = 0.2, seed: int = 0) -> tuple[Pair, Pair]:
    """Return 1,797 handwritten digits of 8 x 8 pixels, shuffled, as `(x, t), (xt, tt)`.

    Images `x (n, 64)` are float32 in [0, 1], labels `t (n,)` int64 from 0 to 9; `xt` and `tt` are
    the part `test`, a fraction in [0, 1), that is kept for testing. Raises ValueError for another
    fraction.
    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.

    >>> (x, t), (xt, tt) = digits()
    >>> x.shape, t.shape, xt.shape, tt.shape
    ((1438, 64), (1438,), (359, 64), (359,))
    """
    test = number("digits: test", test, below=1)
    generator = _generator("digits", seed)
    path = os.path.join(_FILES, "digits.npz")
    with np.load(path, allow_pickle=False) as stored:
        x = stored["x"].astype(np.float32) / 16
        t = stored["t"].astype(np.int64)
    samples = len(x)
    order = generator.permutation(samples)
    rest = samples - round(test * samples)
    first, last = np.split(order, [rest])
    train = x[first], t[first]
    held_out = x[last], t[last]
    return train, held_out


def sunspots(monthly: bool = False) -> Pair:
    """Return the yearly mean number of sunspots, 1700 to 2008, or the monthly one, 1749 to 1983.

    It is `(years, values)`, both float32 `(309,)` or `(2820,)`; a month is the year plus its place
    in it, from 0 to 11, over 12. The values go from 0.0 to 190.2, those of months to 253.8. Raises
    TypeError if `monthly` is neither True nor False.
    Source: NOAA National Geophysical Data Center, public domain (as counted before 2015's
    recalibration); of the months, Andrews and Herzberg, Data, 1985, as shipped with R.

    >>> years, values = sunspots()
    >>> float(years[0]), float(values[0]), float(values.max())
    (1700.0, 5.0, 190.1999969482422)
    >>> years, values = sunspots(monthly=True)
    >>> years[:3].round(2).tolist(), values[:3].round(1).tolist()
    ([1749.0, 1749.0799560546875, 1749.1700439453125], [58.0, 62.599998474121094, 70.0])
    """
    if flag("sunspots: monthly", monthly):
        path = os.path.join(_FILES, "sunspots_monthly.npz")
        with np.load(path, allow_pickle=False) as stored:
            tenths = stored["tenths"]
        months = np.arange(len(tenths))
        years = 1749 + months / 12
        values = tenths / 10
    else:
        path = os.path.join(_FILES, "sunspots.csv")
        table = np.loadtxt(path, delimiter=",", skiprows=1)
        years, values = table.T
    return years.astype(np.float32), values.astype(np.float32)


def spiral(
    n: int = 100,
    classes: int = 3,
    noise: float = 0.2,
    seed: int = 0,
) -> Pair:
    """Return points on interleaved spiral arms, one arm of n points per class, shuffled: `(x, t)`.

    Point i of class k has radius r = i / n and angle 2 pi k / classes + 4 r + noise * N(0, 1), in
    radians. `x (n * classes, 2)` is float32 inside the unit circle, `t (n * classes,)` int64 from 0
    to classes - 1.
    Raises ValueError if n or classes is below 1 or noise is negative, TypeError for what is no
    number.
    Source: Stanford CS231n, "Putting it together: a minimal neural network case study".

    >>> x, t = spiral(n=50)
    >>> x.shape, sorted(set(t.tolist()))
    ((150, 2), [0, 1, 2])
    """
    n = count("spiral: n", n)
    classes = count("spiral: classes", classes)
    noise = number("spiral: noise", noise)
    generator = _generator("spiral", seed)
    labels = np.arange(classes, dtype=np.int64)
    t = np.repeat(labels, n)
    one_arm = np.arange(n) / n
    radius = np.tile(one_arm, classes)
    angle = 2 * np.pi * t / classes
    angle += 4 * radius
    angle += noise * generator.standard_normal(len(t))
    x = np.empty((len(t), 2), np.float32)
    x[:, 0] = radius * np.sin(angle)
    x[:, 1] = radius * np.cos(angle)
    order = generator.permutation(len(t))
    return x[order], t[order]


def sine(
    n: int = 1000,
    noise: float = 0.05,
    seed: int = 0,
    *,
    cosine: bool = False,
) -> Pair:
    """Return one period of a noisy sine, or cosine: `(angles, values)`, both float32 `(n,)`.

    values = sin(angles) + U(-noise, noise), the angles in radians from 0 to 2 pi, both included.
    Raises ValueError if n is below 1 or noise is negative, TypeError for what is no number.

    >>> angles, values = sine(1000)
    >>> bool(abs(values - np.sin(angles)).max() < 0.051)
    True
    """
    n = count("sine: n", n)
    noise = number("sine: noise", noise)
    generator = _generator("sine", seed)
    angles = np.linspace(0, 2 * np.pi, n)
    wave = np.cos if cosine else np.sin
    values = wave(angles)
    values += generator.uniform(-noise, noise, n)
    return angles.astype(np.float32), values.astype(np.float32)


def windows(
    series: npt.ArrayLike,
    length: int,
    horizon: int = 1,
    step: int = 1,
    targets: int | Sequence[int] | None = None,
) -> Pair:
    """Return windows of a series and the values after each, for a forecast: `(x, t)`.

    x[i] = series[s : s + length] and t[i] = series[s + length : s + length + horizon], s = i step.

    Args:
        series: numbers, `(m,)` or, with several features, `(m, features)`.
        length: how many steps a window has.
        horizon: how many steps after it are to be forecast.
        step: how far a window begins after the one before.
        targets: the column, or columns, of the series that are to be forecast; None for all.

    There are n = (m - length - horizon) // step + 1 windows. `x (n, length, features)` are
    sequences as recurrent layers take them; `t` is `(n, horizon)` of a series `(m,)`, of one with
    features `(n, horizon, targets)`, or `(n, targets)` where the horizon is 1. Both are copies with
    the dtype of the series.
    Raises ValueError if the series has another number of axes or is too short for a window and what
    is after it, or has no such column; TypeError if it is no series of numbers or another argument
    no int.

    >>> x, t = windows([1.0, 2.0, 3.0, 4.0], length=2)
    >>> x[:, :, 0].tolist(), t[:, 0].tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    >>> x, t = windows(np.ones((100, 3)), length=24, horizon=12, targets=0)
    >>> x.shape, t.shape
    ((65, 24, 3), (65, 12, 1))
    """
    values = as_data(series, "windows: the series", "fiub")
    length = count("windows: length", length)
    horizon = count("windows: horizon", horizon)
    step = count("windows: step", step)
    if values.ndim not in (1, 2) or length + horizon > len(values):
        want = "a series (m,) or (m, features) of at least length + horizon steps"
        got = f"{values.shape}, length={length} and horizon={horizon}"
        raise ValueError(f"windows: want {want}, got {got}")
    columns = _columns(targets, values)
    table = values
    if values.ndim == 1:
        table = np.expand_dims(values, 1)
    spans = sliding_window_view(table, length + horizon, axis=0)
    spans = spans.swapaxes(1, 2)
    spans = spans[::step]
    x = spans[:, :length]
    t = spans[:, length:, columns]
    if horizon == 1:
        t = t[:, 0]
    elif values.ndim == 1:
        t = t[:, :, 0]
    return x.copy(), t.copy()


def _columns(targets: int | Sequence[int] | None, series: Array) -> list[int]:
    """The numbers of the columns that are to be forecast."""
    features = series.size // len(series)
    if targets is None:
        return list(range(features))
    if series.ndim == 1:
        raise ValueError("windows: want targets of a series (m, features) only, got some of (m,)")
    several = targets
    if not isinstance(several, Sequence | np.ndarray) or isinstance(several, str):
        several = [several]
    columns = [count("windows: targets", column, least=0) for column in several]
    if not columns or max(columns) >= features:
        raise ValueError(f"windows: want targets from 0 to {features - 1}, got {targets}")
    return columns


def _generator(function: str, seed: int) -> np.random.Generator:
    seed = count(f"{function}: seed", seed, least=0)
    return np.random.default_rng(seed)
