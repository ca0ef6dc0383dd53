"""Weighted: what layers with weights on input features share: sizes, drawing at first use, checks of the input.

What is computed with the weights is in linear.py and recurrent.py, how they are drawn in initializers.py.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter, Variable
from minidl.initializers import normal_over_sqrt_in
from minidl.layers.layer import Layer, floating


class Weighted(Layer):
    """A layer whose weights exist from construction and have data once the number of input features is known."""

    out_features: int

    def _set_sizes(self, features: tuple[int, ...], dtype: npt.DTypeLike, rng: np.random.Generator | None) -> None:
        kind = type(self).__name__
        try:
            sizes = [operator.index(n) for n in features]
        except TypeError:
            sizes = []
        if len(sizes) not in (1, 2) or min(sizes) < 1:
            got = ", ".join(map(repr, features))
            raise ValueError(f"{kind}: want {kind}(out) or {kind}(in, out), positive integers, got {kind}({got})")
        self.out_features, self.dtype, self.rng = sizes[-1], floating(dtype, kind), rng

    def _make_weights(self, features: tuple[int, ...], **shapes: tuple[int | None, ...]) -> None:
        """Make the weights; None stands for the number of input features, the first axis of the first weight."""
        self.shapes = shapes
        vars(self).update({name: Parameter(None) for name in shapes})
        for name in shapes:  # reading one before first use raises with this name
            getattr(self, name).name = f"{name} of {self!r}"
        if len(features) == 2:
            self._draw(operator.index(features[0]))

    def _draw(self, in_features: int) -> None:
        for name, shape in self.shapes.items():
            weight = getattr(self, name)
            if _lazy(weight):
                weight.data = normal_over_sqrt_in(tuple(n or in_features for n in shape), self.dtype, self.rng)
                weight.name = name

    @property
    def in_features(self) -> int | None:
        """How many features the input has; None until it is learned."""
        weight = getattr(self, next(iter(self.shapes)))
        return None if _lazy(weight) else weight.shape[0]

    def _checked(self, x: Any, weight: Variable) -> Any:
        """The input in the dtype of the weight it meets first; the weights are drawn if they were not yet."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x)
        if x.dtype.kind != "f":
            raise TypeError(f"{self!r}: want floating input, got {x.dtype} {x.shape}; say x.astype(np.float32)")
        if _lazy(weight):
            if x.ndim == 0 or x.shape[-1] == 0:
                raise ValueError(f"{self!r}: want input of shape (.., in), got {x.shape}")
            self._draw(x.shape[-1])
        if x.shape[-1:] != weight.shape[:1]:
            raise ValueError(f"{self!r}: want input of shape (.., {weight.shape[0]}), got {x.shape}")
        return x if x.dtype == weight.dtype else x.astype(weight.dtype)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self._options().items())
        return f"{type(self).__name__}({self.in_features or '?'}→{self.out_features}{options})"

    def _options(self) -> dict[str, Any]:
        """What to show of a layer besides its sizes."""
        return {}


def _lazy(weight: Variable) -> bool:
    return isinstance(weight, Parameter) and weight.lazy  # it may be a plain Variable put there to differentiate by it
