"""Weighted: what layers with weights on their input features share: sizes, drawing at first use, input checks.

What is computed with the weights is in linear.py and recurrent.py, how they are drawn in initializers.py.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter
from minidl.initializers import normal_over_sqrt_in
from minidl.layers.layer import Layer, floating


class Weighted(Layer):
    """A layer whose weights exist from construction and have data once the number of input features is known."""

    out_features: int
    dtype: np.dtype[Any]
    rng: np.random.Generator | None

    def _set_sizes(self, features: tuple[int, ...], dtype: npt.DTypeLike, rng: np.random.Generator | None) -> None:
        kind = type(self).__name__
        try:
            sizes = [operator.index(n) for n in features]
        except TypeError:
            sizes = []
        if len(sizes) not in (1, 2) or min(sizes) < 1:
            got = ", ".join(map(repr, features))
            raise ValueError(f"{kind}: want {kind}(out) or {kind}(in, out), positive integers, got {kind}({got})")
        self.out_features = sizes[-1]
        self.dtype, self.rng = floating(dtype, kind), rng

    def _make_weights(self, features: tuple[int, ...], **shapes: tuple[int | None, ...]) -> None:
        """Make the weights; the first of them has the input features as its first axis, here None."""
        self.shapes = shapes
        for name in shapes:
            setattr(self, name, Parameter(None, name=name))
        for name in shapes:
            getattr(self, name).name = f"{name} of {self!r}"
        if len(features) == 2:
            self._draw(operator.index(features[0]))

    def _draw(self, in_features: int) -> None:
        for name, shape in self.shapes.items():
            weight = getattr(self, name)
            if weight.lazy:
                full = tuple(in_features if n is None else n for n in shape)
                weight.data = normal_over_sqrt_in(full, self.dtype, self.rng)
                weight.name = name

    @property
    def in_features(self) -> int | None:
        """How many features the input has; None until it is learned."""
        weight = getattr(self, next(iter(self.shapes)))
        return None if weight.lazy else weight.shape[0]

    def _checked(self, x: Any) -> Any:
        """The input in the parameters' dtype, weights drawn if they were not yet."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x)
        if x.dtype.kind != "f":
            raise TypeError(f"{self!r}: want floating input, got {x.dtype} {x.shape}; say x.astype(np.float32)")
        weight = getattr(self, next(iter(self.shapes)))
        if weight.lazy and x.ndim:
            self._draw(x.shape[-1])
        if x.shape[-1:] != weight.shape[:1]:
            raise ValueError(f"{self!r}: want input of shape (.., {self.in_features}), got {x.shape}")
        return x if x.dtype == weight.dtype else x.astype(weight.dtype)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self._options().items())
        return f"{type(self).__name__}({self.in_features or '?'}→{self.out_features}{options})"

    def _options(self) -> dict[str, Any]:
        """What to show of a layer besides its sizes."""
        return {}
