"""Scaled: what layers share that normalize, and then scale and shift each feature.

What each of them normalizes by is in its own file: layer_norm.py, batch_norm.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter
from minidl.common.arrays import to_kind_of
from minidl.common.checks import count, number
from minidl.layers.initializers import Initializer, check_init, check_rng, draw, zeros
from minidl.layers.layer import floating_dtype
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
        self.dtype = floating_dtype(dtype, name)
        self.rng = check_rng(rng, name)
        self.init = check_init(init, name)
        self.w = Parameter(None, name=f"w of {name}(?)")
        self.b = Parameter(None, name=f"b of {name}(?)")
        if features is not None:
            n = count(f"{name}: features", features)
            self._draw_weights(n)

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        return {"w": (None,), "b": (None,)}

    def _draw_weights(self, in_features: int, like: Any = None) -> None:
        for name, init in (("w", self.init), ("b", zeros)):
            p = getattr(self, name)
            if p.lazy:
                drawn = draw(init, (in_features,), self.dtype, self.rng, type(self).__name__)
                p.name = name
                p.data = to_kind_of(drawn, like)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features or '?'})"
