"""Embedding: a trained row of features for each integer.

The look-up and its derivative are in functions/indexing.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common import checks
from minidl.common.hints import refuse_unexpected
from minidl.layers.initializers import Initializer, check_init, check_rng, draw, normal
from minidl.layers.layer import Layer, floating_dtype


class Embedding(Layer):
    """A row of features for each of ``count`` integers, such as words or categories.

    ``y = w[x]``, with ``w`` (count, features) drawn as N(0, 1). Shapes: integers ``(..)`` from 0 to
    count - 1 give ``(.., features)``.

    Args:
        count: how many rows there are.
        features: of each.
        dtype: floating, of ``w``.
        rng: what ``w`` is drawn from; default minidl's seeded generator.
        init: what draws ``w``: see ``Linear``.

    Raises TypeError for what is no integers, ValueError for an integer outside of the range.

    >>> words = Embedding(100, 8)
    >>> words(np.array([[3, 14, 15], [92, 65, 35]])).shape
    (2, 3, 8)
    """

    w: Parameter

    @refuse_unexpected
    def __init__(
        self,
        count: int,
        features: int,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = normal,
    ) -> None:
        shape = (
            checks.count("Embedding: count", count),
            checks.count("Embedding: features", features),
        )
        dtype = floating_dtype(dtype, "Embedding")
        rng = check_rng(rng, "Embedding")
        drawn = draw(check_init(init, "Embedding"), shape, dtype, rng, "Embedding")
        self.w = Parameter(drawn, name="w")

    def forward(self, x: Any) -> Any:
        return F.embedding(self.w, x)

    def __repr__(self) -> str:
        return f"Embedding({self.w.shape[0]}→{self.w.shape[1]})"
