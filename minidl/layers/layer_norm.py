"""LayerNorm: every sample's features with mean 0 and variance 1, then scaled and shifted.

The formula and its derivative are in functions/normalization.py; what is shared with BatchNorm is
in scaled.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.common.hints import refuse_unexpected
from minidl.layers.initializers import Initializer, ones
from minidl.layers.scaled import Scaled


class LayerNorm(Scaled):
    """Normalizes over the features of each sample, at each time and place by itself.

    ``y = (x - mean) / sqrt(var + eps) * w + b``, with mean and variance (of the population) over
    the last axis; ``w`` (features) is one and ``b`` (features) zero at first. Shapes: ``(..,
    features)`` to the same.

    Args:
        features: how many; None to learn it at first use.
        eps: a number of at least 0.
        dtype: floating, of the parameters; floating input is cast to it.
        rng, init: of ``w``, should it not be one: see ``Linear``.

    Raises ValueError for another number of features, TypeError for input that is not floating.

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.

    >>> LayerNorm()(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])).data.round(2)
    array([[-1.22,  0.  ,  1.22],
           [-1.22,  0.  ,  1.22]], dtype=float32)
    """

    @refuse_unexpected
    def __init__(
        self,
        features: int | None = None,
        eps: float = 1e-5,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = ones,
    ) -> None:
        self._init_scale(features, eps, dtype, rng, init)

    def forward(self, x: Any) -> Any:
        x = self._as_input(x, self.w)
        return F.layer_norm(x, self.w, self.b, eps=self.eps)
