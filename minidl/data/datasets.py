"""Small datasets: two that ship with the package, and some made on the spot.

Nothing is downloaded and nothing is cut into batches here; batches are in `loader.py`. Everything random
comes from a generator of the call's own `seed`, so the same call always gives the same arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]

_FILES = Path(__file__).parent / "files"  # importlib.resources takes 25 ms to import


def digits(test: float = 0.2, seed: int = 0) -> tuple[Pair, Pair]:
    """Return 1,797 handwritten digits of 8 x 8 pixels, shuffled and split: `(x, t), (xt, tt)`.

    Args:
        test: the part that is kept for testing, from 0 up to but not including 1; rounded to whole samples.
        seed: of the shuffling, which decides what is in which part.

    Returns:
        Images `x (n, 64)`, float32 in [0, 1], and labels `t (n,)`, int64 from 0 to 9; then the same two
        for the test part.

    Raises:
        ValueError: test is outside [0, 1).

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.

    Example:
        >>> from minidl.data import datasets
        >>> (x, t), (xt, tt) = datasets.digits()
        >>> x.shape, t.shape, xt.shape, tt.shape
        ((1438, 64), (1438,), (359, 64), (359,))
    """
    if not 0 <= test < 1:
        raise ValueError(f"digits: got test={test!r}, wanted a fraction of the samples in [0, 1)")
    with np.load(_FILES / "digits.npz", allow_pickle=False) as stored:
        x, t = stored["x"].astype(np.float32) / 16, stored["t"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    train, held_out = np.split(order, [len(x) - round(test * len(x))])
    return (x[train], t[train]), (x[held_out], t[held_out])


def sunspots() -> Pair:
    """Return the yearly mean number of sunspots, 1700 to 2008, in order: `(years, values)`.

    Returns:
        `years (309,)` and `values (309,)`, both float32; the values run from 0.0 to 190.2, unscaled, with a
        cycle of about 11 years.

    Source: NOAA National Geophysical Data Center, public domain (as counted before 2015's recalibration).

    Example:
        >>> from minidl.data import datasets
        >>> years, values = datasets.sunspots()
        >>> float(years[0]), float(values[0]), float(values.max())
        (1700.0, 5.0, 190.1999969482422)
    """
    table = np.loadtxt(_FILES / "sunspots.csv", delimiter=",", skiprows=1, dtype=np.float32)
    return table[:, 0].copy(), table[:, 1].copy()


def spiral(n: int = 100, classes: int = 3, noise: float = 0.2, seed: int = 0) -> Pair:
    """Return points on interleaved spiral arms, one arm per class, shuffled: `(x, t)`.

    Point i of class k has radius r = i / n and angle 2 pi k / classes + 4 r + noise * N(0, 1).

    Args:
        n: points per class.
        classes: number of arms.
        noise: standard deviation of the angle, in radians.
        seed: of the noise and the shuffling.

    Returns:
        `x (n * classes, 2)`, float32 inside the unit circle, and `t (n * classes,)`, int64 from 0 to
        classes - 1.

    Raises:
        ValueError: n or classes is below 1, or noise is negative.

    Source: Stanford CS231n, "Putting it together: a minimal neural network case study".

    Example:
        >>> from minidl.data import datasets
        >>> x, t = datasets.spiral(n=50)
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
    """Return one period of a noisy sine curve, in order: `(angles, values)`.

    values = sin(angles) + U(-noise, noise), or cos.

    Args:
        n: number of points, from angle 0 to 2 pi, both included.
        noise: half the width of the uniform noise; 0 for the curve itself.
        seed: of the noise.
        cosine: whether it is a cosine, what a model of the sine is often asked to go on with.

    Returns:
        `angles (n,)`, in radians, and `values (n,)`, both float32.

    Raises:
        ValueError: n is below 1, or noise is negative.

    Example:
        >>> import numpy as np
        >>> from minidl.data import datasets
        >>> angles, values = datasets.sine(1000)
        >>> bool(abs(values - np.sin(angles)).max() < 0.051)
        True
    """
    _check("sine", noise, n=n)
    angles = np.linspace(0, 2 * np.pi, n)
    curve = np.cos(angles) if cosine else np.sin(angles)
    values = curve + np.random.default_rng(seed).uniform(-noise, noise, n)
    return angles.astype(np.float32), values.astype(np.float32)


def windows(series: npt.ArrayLike, length: int) -> Pair:
    """Return every window of a series and the value that follows it, to learn a one-step forecast: `(x, t)`.

    x[i] = series[i : i + length], t[i] = series[i + length].

    Args:
        series: `(m,)`, of any dtype.
        length: steps in a window, from 1 to m - 1.

    Returns:
        `x (m - length, length, 1)` and `t (m - length, 1)`, copies with the dtype of the series: sequences as
        the recurrent layers take them, (batch, time, in).

    Raises:
        ValueError: the series has not exactly one axis, or is too short for one window and its successor.

    Example:
        >>> from minidl.data import datasets
        >>> x, t = datasets.windows([1.0, 2.0, 3.0, 4.0], length=2)
        >>> x[:, :, 0].tolist(), t[:, 0].tolist()
        ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    """
    values = np.asarray(series)
    if values.ndim != 1 or not 1 <= length < len(values):
        raise ValueError(
            f"windows: got a series of shape {values.shape} and length={length!r}, "
            "wanted one axis with more values than the length, which is at least 1"
        )
    x = np.lib.stride_tricks.sliding_window_view(values[:-1], length)
    return x[..., None].copy(), values[length:, None].copy()


def _check(function: str, noise: float, **counts: int) -> None:
    """Raise unless the noise is not negative and every count is at least 1."""
    if not noise >= 0:
        raise ValueError(f"{function}: got noise={noise!r}, wanted 0 or more")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{function}: got {name}={count!r}, wanted at least 1")
