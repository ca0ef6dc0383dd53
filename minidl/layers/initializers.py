"""How initial weights are drawn. The default generator is in common/random.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.common import random


def normal_over_sqrt_in(
    shape: tuple[int, ...], dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None
) -> Any:
    """An array ``(.., in, out)`` of ``N(0, 1) / sqrt(n)``: products with it keep their variance.

    n is the product of all lengths but the last, of a vector its length: the number of terms of
    each sum.

    It is drawn in float64 and then cast: one seed, the same weights in every precision. ``rng``
    defaults to minidl's.
    Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998.

    >>> float(normal_over_sqrt_in((100, 3), np.float64, np.random.default_rng(0)).std().round(2))
    0.1
    """
    if not shape:
        raise ValueError("normal_over_sqrt_in: want a shape (in, ..), got ()")
    rng = check_rng(rng, "normal_over_sqrt_in") or random.generator()
    terms = math.prod(shape[:-1] or shape)
    return (rng.standard_normal(shape) / np.sqrt(terms)).astype(dtype)


def check_rng(rng: Any, where: str) -> np.random.Generator | None:
    """The generator, or None for minidl's; a TypeError for anything else."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        want = "a generator such as np.random.default_rng(0)"
        raise TypeError(f"{where}: want rng to be {want}, got {rng!r}")
    return rng
