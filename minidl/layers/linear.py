"""Linear: a weighted sum of the input features.

What layers with weights share (sizes learned at first use, checks of input) is in weighted.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common.hints import refuse_unexpected
from minidl.layers.initializers import Initializer, normal_over_sqrt_in
from minidl.layers.weighted import Weighted


class Linear(Weighted):
    """Every output feature is a weighted sum of the input features, plus a bias.

    ``y = x @ w + b``, with ``w`` (in, out) drawn as N(0, 1)/sqrt(in) and ``b`` (out) zero.
    Shapes: ``(.., in)`` to ``(.., out)``.

    Args:
        features: ``out``, or ``in, out``; with ``out`` alone the layer learns ``in`` at first use.
        in_features, out_features: the same by keyword.
        bias: whether there is a ``b``; without, it is None.
        dtype: floating, of the parameters; floating input is cast to it.
        rng: what weights are drawn from; default minidl's seeded generator.
        init: what draws ``w``, of ``minidl.initializers`` or your own: ``init(shape, dtype, rng)``.

    Raises ValueError if the sizes are no one or two positive integers or the input has another
    number of features; TypeError if the dtype or the input is not floating, or ``rng`` is no
    generator.

    >>> layer = Linear(10)  # prints as Linear(?→10)
    >>> layer(np.ones((32, 64), np.float32)).shape, layer
    ((32, 10), Linear(64→10))
    """

    w: Parameter

    @refuse_unexpected
    def __init__(
        self,
        *features: int,
        in_features: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        self._init_parameters(features, in_features, out_features, dtype, rng, bias, init)

    def forward(self, x: Any) -> Any:
        return F.linear(self._as_input(x, self.w), self.w, self.b)
