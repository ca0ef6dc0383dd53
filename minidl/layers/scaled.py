"""Scaled: what layers share that normalize, and then scale and shift each feature.

What each of them normalizes by is in its own file: layer_norm.py, batch_norm.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter
from minidl.common.checks import count, number
from minidl.layers.initializers import Initializer
from minidl.layers.values import Shape
from minidl.layers.weighted import Weighted


class Scaled(Weighted):
    """A layer with a scale ``w`` and a shift ``b`` (features), lazy if features is None."""

    w: Parameter
    b: Parameter

    def _init_scale(
        self,
        features: int | None,
        eps: float,
        dtype: npt.DTypeLike,
        rng: np.random.Generator | None,
        init: Initializer,
    ) -> None:
        name = type(self).__name__
        self.eps = number(f"{name}: eps", eps)
        self._take_settings(name, dtype, rng, init)
        self.w = Parameter(None, name=f"w of {name}(?)")
        self.b = Parameter(None, name=f"b of {name}(?)")
        if features is not None:
            self._draw_weights(count(f"{name}: features", features))

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        return {"w": (None,), "b": (None,)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features or '?'})"
