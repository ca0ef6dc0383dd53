"""How initial weights are drawn. Which generator is the default one is said in random.py.

Layers say which parameter has which shape; nothing here knows them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import random


def normal_over_sqrt_in(
    shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32, rng: np.random.Generator | None = None
) -> npt.NDArray[Any]:
    """Weights that keep the variance of what passes through them: ``N(0, 1) / sqrt(in)``.

    They are drawn in float64 and then cast, so that one seed gives the same weights in every precision.

    Args:
        shape: ``(in, ..)``, the first axis being what a product with the weights sums over.
        dtype: floating, of the result.
        rng: drawn from; default minidl's seeded generator.

    Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998.

    >>> normal_over_sqrt_in((100, 3), np.float64, np.random.default_rng(0)).std().round(2)
    np.float64(0.1)
    """
    drawn = (rng or random.generator()).standard_normal(shape)
    return (drawn / math.sqrt(shape[0])).astype(dtype)
