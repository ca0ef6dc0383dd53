"""Small datasets: two that ship with the package, and some made on the spot.

Nothing is downloaded; batches are made in `loader.py`. The same call, with its `seed`, gives the same arrays.
"""

from __future__ import annotations

import os.path
from typing import Any

import numpy as np
import numpy.typing as npt

Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]
_FILES = os.path.join(
    os.path.dirname(__file__), "files"
)  # importlib.resources takes 25 ms to import


def digits(test: float = 0.2, seed: int = 0) -> tuple[Pair, Pair]:
    """Return 1,797 handwritten digits of 8 x 8 pixels, shuffled by `seed` and split: `(x, t), (xt, tt)`.

    Images `x (n, 64)` are float32 in [0, 1], labels `t (n,)` int64 from 0 to 9; `xt` and `tt` are the part `test`, a
    fraction in [0, 1), that is kept for testing. Raises ValueError for another fraction.
    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.

    >>> (x, t), (xt, tt) = digits()
    >>> x.shape, t.shape, xt.shape, tt.shape
    ((1438, 64), (1438,), (359, 64), (359,))
    """
    if not 0 <= test < 1:
        raise ValueError(f"digits: got test={test!r}, wanted a fraction of the samples in [0, 1)")
    with np.load(os.path.join(_FILES, "digits.npz"), allow_pickle=False) as stored:
        x, t = stored["x"].astype(np.float32) / 16, stored["t"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    train, held_out = np.split(order, [len(x) - round(test * len(x))])
    return (x[train], t[train]), (x[held_out], t[held_out])


def sunspots() -> Pair:
    """Return the yearly mean number of sunspots, 1700 to 2008: `(years, values)`, float32 `(309,)`, 0.0 to 190.2.
    Source: NOAA National Geophysical Data Center, public domain (as counted before 2015's recalibration).

    >>> years, values = sunspots()
    >>> float(years[0]), float(values[0]), float(values.max())
    (1700.0, 5.0, 190.1999969482422)
    """
    table = np.loadtxt(
        os.path.join(_FILES, "sunspots.csv"), delimiter=",", skiprows=1, dtype=np.float32
    )
    return table[:, 0].copy(), table[:, 1].copy()


def spiral(n: int = 100, classes: int = 3, noise: float = 0.2, seed: int = 0) -> Pair:
    """Return points on interleaved spiral arms, one arm of n points per class, shuffled: `(x, t)`.

    Point i of class k has radius r = i / n and angle 2 pi k / classes + 4 r + noise * N(0, 1), in radians.
    `x (n * classes, 2)` is float32 inside the unit circle, `t (n * classes,)` int64 from 0 to classes - 1.
    Raises ValueError if n or classes is below 1, or noise is negative.
    Source: Stanford CS231n, "Putting it together: a minimal neural network case study".

    >>> x, t = spiral(n=50)
    >>> x.shape, sorted(set(t.tolist()))
    ((150, 2), [0, 1, 2])
    """
    _check("spiral", noise, n=n, classes=classes)
    generator = np.random.default_rng(seed)
    t = np.repeat(np.arange(classes, dtype=np.int64), n)
    radius = np.tile(np.arange(n) / n, classes)
    angle = 2 * np.pi * t / classes + 4 * radius + noise * generator.standard_normal(len(t))
    x = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1).astype(np.float32)
    order = generator.permutation(len(t))
    return x[order], t[order]


def sine(n: int = 1000, noise: float = 0.05, seed: int = 0, *, cosine: bool = False) -> Pair:
    """Return one period of a noisy sine, or cosine, in order: `(angles, values)`, both float32 `(n,)`.

    values = sin(angles) + U(-noise, noise), the angles in radians from 0 to 2 pi, both included.
    Raises ValueError if n is below 1, or noise is negative.

    >>> angles, values = sine(1000)
    >>> bool(abs(values - np.sin(angles)).max() < 0.051)
    True
    """
    _check("sine", noise, n=n)
    angles = np.linspace(0, 2 * np.pi, n)
    values = (np.cos if cosine else np.sin)(angles) + np.random.default_rng(seed).uniform(
        -noise, noise, n
    )
    return angles.astype(np.float32), values.astype(np.float32)


def windows(series: npt.ArrayLike, length: int) -> Pair:
    """Return every window of a series and the value that follows it, to learn a one-step forecast: `(x, t)`.

    x[i] = series[i : i + length], t[i] = series[i + length]: for a series `(m,)`, `x (m - length, length, 1)` are
    sequences as recurrent layers take them and `t (m - length, 1)`, copies with the dtype of the series.
    Raises ValueError if the series has not exactly one axis, or is too short for one window and its successor.

    >>> x, t = windows([1.0, 2.0, 3.0, 4.0], length=2)
    >>> x[:, :, 0].tolist(), t[:, 0].tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    """
    values = np.asarray(series)
    if values.ndim != 1 or not 1 <= length < len(values):
        got = f"got a series of shape {values.shape} and length={length!r}"
        raise ValueError(f"windows: {got}, wanted a shape (m,) and a length from 1 to m - 1")
    x = np.lib.stride_tricks.sliding_window_view(values[:-1], length)
    return x[..., None].copy(), values[length:, None].copy()


def _check(function: str, noise: float, **counts: int) -> None:
    for name, value, least in [
        ("noise", noise, 0),
        *((name, count, 1) for name, count in counts.items()),
    ]:
        if not value >= least:  # nan is not
            raise ValueError(f"{function}: got {name}={value!r}, wanted at least {least}")
