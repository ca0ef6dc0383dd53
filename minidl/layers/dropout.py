"""Dropout as a layer, for a Sequential; the function itself is functions.dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import functions as F
from minidl.common.checks import number
from minidl.common.hints import refuse_unexpected
from minidl.layers.initializers import check_rng
from minidl.layers.layer import Layer


class Dropout(Layer):
    """Zeros each element with probability ``rate``; under ``test_mode`` passes its input on.

    ``y = x * mask / (1 - rate)``, the mask being 0 with probability ``rate`` and else 1; any
    floating x.

    Args:
        rate: a number in [0, 1), else a ValueError or TypeError.
        rng: what masks are drawn from; default minidl's seeded generator.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    2014.

    >>> Dropout(0.5, np.random.default_rng(2))(np.ones(5))
    array([2., 0., 0., 0., 0.])
    """

    @refuse_unexpected
    def __init__(self, rate: float = 0.5, rng: np.random.Generator | None = None) -> None:
        self.rate = number("Dropout: rate", rate, below=1)
        self.rng = check_rng(rng, "Dropout")

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.rate, rng=self.rng)

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"
