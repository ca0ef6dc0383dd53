"""Small datasets: two that ship with the package, and some made on the spot.

Nothing is downloaded; batches are made in `loader.py`. The same call, with its `seed`, gives the
same arrays.
"""

from __future__ import annotations

import os.path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from minidl.common.checks import count, number
from minidl.data.loader import as_numbers

__all__ = ["digits", "sine", "spiral", "sunspots", "windows"]

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]
# Not by importlib.resources, which takes 25 ms to import.
_HERE = os.path.dirname(__file__)
_FILES = os.path.join(_HERE, "files")


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
    x = x[order]
    t = t[order]
    rest = samples - round(test * samples)
    train = x[:rest], t[:rest]
    held_out = x[rest:], t[rest:]
    return train, held_out


def sunspots() -> Pair:
    """Return the yearly mean number of sunspots, 1700 to 2008: `(years, values)`.

    Both are float32 `(309,)`; the values go from 0.0 to 190.2.
    Source: NOAA National Geophysical Data Center, public domain (as counted before 2015's
    recalibration).

    >>> years, values = sunspots()
    >>> float(years[0]), float(values[0]), float(values.max())
    (1700.0, 5.0, 190.1999969482422)
    """
    path = os.path.join(_FILES, "sunspots.csv")
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    years, values = table.T.copy()
    return years, values


def spiral(n: int = 100, classes: int = 3, noise: float = 0.2, seed: int = 0) -> Pair:
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


def sine(n: int = 1000, noise: float = 0.05, seed: int = 0, *, cosine: bool = False) -> Pair:
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
    both = np.stack([angles, values]).astype(np.float32)
    angles, values = both
    return angles, values


def windows(series: npt.ArrayLike, length: int) -> Pair:
    """Return every window of a series and the value after it, for a one-step forecast: `(x, t)`.

    x[i] = series[i : i + length], t[i] = series[i + length]: for a series `(m,)`, `x (m - length,
    length, 1)` are sequences as recurrent layers take them and `t (m - length, 1)`, copies with the
    dtype of the series.
    Raises ValueError if the series does not have exactly one axis or is too short for a window and
    its successor, TypeError if it is no series of numbers or the length no int.

    >>> x, t = windows([1.0, 2.0, 3.0, 4.0], length=2)
    >>> x[:, :, 0].tolist(), t[:, 0].tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    """
    values = as_numbers(series, "windows: the series")
    length = count("windows: length", length)
    if values.ndim != 1 or length >= len(values):
        want = "a series (m,) and a length from 1 to m - 1"
        raise ValueError(f"windows: want {want}, got {values.shape} and length={length}")
    x = sliding_window_view(values[:-1], length)
    t = values[length:]
    x = np.expand_dims(x, -1)
    t = np.expand_dims(t, -1)
    return x.copy(), t.copy()


def _generator(function: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(count(f"{function}: seed", seed, least=0))
