"""How initial weights are drawn: plain functions, which layers take as ``init=``.

The default generator is in common/random.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minidl.common import random
from minidl.common.checks import number
from minidl.layers.layer import floating_dtype

Array = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Rng: TypeAlias = "np.random.Generator | None"
Initializer: TypeAlias = Callable[..., Any]  # of (shape, dtype, rng)


def zeros(shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None) -> Array:
    """An array of zeros; nothing is drawn."""
    return np.zeros(shape, dtype)


def ones(shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None) -> Array:
    """An array of ones; nothing is drawn."""
    return np.ones(shape, dtype)


def normal(
    shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None, *, std: float = 1.0
) -> Array:
    """An array of N(0, std^2). Here as in all others: drawn in float64 and then cast, so that one
    seed gives the same weights in every precision; ``rng`` defaults to minidl's generator.

    >>> float(normal((100, 100), np.float64, np.random.default_rng(0), std=0.02).std().round(3))
    0.02
    """
    return _normal("normal", shape, dtype, rng, number("normal: std", std))


def normal_over_sqrt_in(shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None) -> Array:
    """An array ``(in, ..)`` of ``N(0, 1) / sqrt(in)``: products with it keep their variance.

    For a kernel ``(kernel.., in, out)``, ``in`` is the number of its places times the features.
    Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998.

    >>> float(normal_over_sqrt_in((100, 3), np.float64, np.random.default_rng(0)).std().round(2))
    0.1
    """
    fan_in, _ = _fans("normal_over_sqrt_in", shape, least=1)
    rng = _source("normal_over_sqrt_in", rng)
    return _cast("normal_over_sqrt_in", rng.standard_normal(shape) / math.sqrt(fan_in), dtype)


def truncated_normal(
    shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None, *, std: float = 1.0
) -> Array:
    """An array of N(0, std^2) without what is beyond two deviations, which is drawn again.

    PyTorch's ``trunc_normal_`` for ``std=1``; the result's own deviation is 0.88 times ``std``.

    >>> bool(abs(truncated_normal((1000,), rng=np.random.default_rng(0))).max() <= 2)
    True
    """
    std = number("truncated_normal: std", std)
    rng = _source("truncated_normal", rng)
    z = rng.standard_normal(shape)
    while (far := np.absolute(z) > 2).any():
        z[far] = rng.standard_normal(far.sum())
    return _cast("truncated_normal", z * std, dtype)


def xavier_uniform(
    shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None, *, gain: float = 1.0
) -> Array:
    """An array ``(.., in, out)`` of the uniform distribution of variance ``gain^2 * 2 / (in + out)``.

    For a kernel ``(kernel.., in, out)``, both are times the number of its places.
    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.

    >>> bool(abs(xavier_uniform((30, 24))).max() <= (6 / 54) ** 0.5)
    True
    """
    deviation = number("xavier_uniform: gain", gain) * _over_both("xavier_uniform", shape)
    return _uniform("xavier_uniform", shape, dtype, rng, deviation)


def xavier_normal(
    shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None, *, gain: float = 1.0
) -> Array:
    """An array ``(.., in, out)`` of ``N(0, gain^2 * 2 / (in + out))``; see ``xavier_uniform``."""
    deviation = number("xavier_normal: gain", gain) * _over_both("xavier_normal", shape)
    return _normal("xavier_normal", shape, dtype, rng, deviation)


def he_uniform(shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None) -> Array:
    """An array ``(.., in, out)`` of the uniform distribution of variance ``2 / in``: for relu.

    For a kernel ``(kernel.., in, out)``, ``in`` is times the number of its places.
    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015. PyTorch's
    ``kaiming_uniform_``.

    >>> bool(abs(he_uniform((24, 5))).max() <= 0.5)
    True
    """
    fan_in, _ = _fans("he_uniform", shape)
    return _uniform("he_uniform", shape, dtype, rng, math.sqrt(2 / fan_in))


def he_normal(shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None) -> Array:
    """An array ``(.., in, out)`` of ``N(0, 2 / in)``; see ``he_uniform``."""
    fan_in, _ = _fans("he_normal", shape)
    return _normal("he_normal", shape, dtype, rng, math.sqrt(2 / fan_in))


def orthogonal(
    shape: Shape, dtype: DTypeLike = np.float32, rng: Rng = None, *, gain: float = 1.0
) -> Array:
    """``gain`` times an array ``(.., out)`` whose columns, or if there are more of them its rows,
    are orthogonal and of length 1.

    All axes but the last count as one. Source: Saxe, McClelland, Ganguli, "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", 2014.

    >>> q = orthogonal((5, 3), np.float64)
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True
    """
    _fans("orthogonal", shape)
    gain = number("orthogonal: gain", gain)
    rows = math.prod(shape[:-1])
    columns = shape[-1]
    z = _source("orthogonal", rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(z)
    q *= np.sign(np.diag(r))  # or it would not be uniform among all such
    if rows < columns:
        q = q.T
    return _cast("orthogonal", gain * q.reshape(shape), dtype)


def _normal(name: str, shape: Shape, dtype: DTypeLike, rng: Rng, deviation: float) -> Array:
    return _cast(name, _source(name, rng).standard_normal(shape) * deviation, dtype)


def _uniform(name: str, shape: Shape, dtype: DTypeLike, rng: Rng, deviation: float) -> Array:
    bound = math.sqrt(3) * deviation
    return _cast(name, _source(name, rng).uniform(-bound, bound, shape), dtype)


def _cast(name: str, drawn: Array, dtype: DTypeLike) -> Array:
    """What was drawn, in a floating dtype: integers would lose all of it."""
    return drawn.astype(floating_dtype(dtype, name))


def _over_both(name: str, shape: Shape) -> float:
    fan_in, fan_out = _fans(name, shape)
    return math.sqrt(2 / (fan_in + fan_out))


def _fans(name: str, shape: Shape, least: int = 2) -> tuple[int, int]:
    """How many inputs make one output, and how many outputs an input is part of."""
    several = isinstance(shape, tuple | list) and len(shape) >= least
    if not several or not all(isinstance(n, Integral) and n > 0 for n in shape):
        want = "(in, ..)" if least == 1 else "(in, out) or (kernel.., in, out)"
        raise ValueError(f"{name}: want a shape {want}, got {shape}")
    if len(shape) == 1:
        return shape[0], shape[0]
    places = math.prod(shape[:-2])
    return places * shape[-2], places * shape[-1]


def _source(name: str, rng: Any) -> np.random.Generator:
    return random.source(check_rng(rng, name))


def check_rng(rng: Any, where: str) -> np.random.Generator | None:
    """The generator, or None for minidl's; a TypeError for anything else."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        want = "a generator such as np.random.default_rng(0)"
        raise TypeError(f"{where}: want rng to be {want}, got {rng!r}")
    return rng


def check_init(init: Any, where: str) -> Initializer:
    """The initializer; a TypeError for what cannot be called."""
    if callable(init) and not isinstance(init, type):
        return init  # type: ignore[no-any-return]  # of any signature
    want = "a function such as initializers.he_normal"
    raise TypeError(f"{where}: want init to be {want}, got {init!r}")


def draw(init: Initializer, shape: Shape, dtype: DTypeLike, rng: Rng, where: str) -> Array:
    """The first values of a weight; ValueError if the initializer gives another shape."""
    value = np.asarray(init(shape, dtype, rng))
    if value.shape != shape or value.dtype.kind not in "fiu":
        got = f"{value.dtype} {value.shape}"
        raise ValueError(f"{where}: want init to give numbers of shape {shape}, got {got}")
    if not np.isfinite(value).all():
        raise ValueError(f"{where}: want init to give finite numbers, got NaN or infinities")
    return value.astype(dtype, copy=False)
