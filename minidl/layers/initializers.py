"""How initial weights are drawn. The default generator is in common/random.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.common import random


def normal_over_sqrt_in(
    shape: tuple[int, ...], dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None
) -> Any:
    """An array ``(in, ..)`` of ``N(0, 1) / sqrt(in)``: products with it keep their variance.

    It is drawn in float64 and then cast: one seed, the same weights in every precision. ``rng``
    defaults to minidl's.
    Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998.

    >>> float(normal_over_sqrt_in((100, 3), np.float64, np.random.default_rng(0)).std().round(2))
    0.1
    """
    if not shape:
        raise ValueError("normal_over_sqrt_in: want a shape (in, ..), got ()")
    rng = check_rng(rng, "normal_over_sqrt_in") or random.generator()
    return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype)


def check_rng(rng: Any, where: str) -> np.random.Generator | None:
    """The generator, or None for minidl's; a TypeError for anything else."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        want = "a generator such as np.random.default_rng(0)"
        raise TypeError(f"{where}: want rng to be {want}, got {rng!r}")
    return rng
