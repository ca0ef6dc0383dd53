"""Linear, and Weighted: what all layers with weights on input features share: sizes, drawing at first use, checks.

The recurrent ones are in recurrent.py, several linear ones with activations between in mlp.py.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter, Variable
from minidl.common.arrays import as_array, kind_of, to_kind_of
from minidl.layers.initializers import normal_over_sqrt_in
from minidl.layers.layer import Layer, floating


class Weighted(Layer):
    """A layer whose weights exist from construction and have data once the number of input features is known."""

    weights: ClassVar[tuple[str, ...]] = (
        "w",
    )  # the first of (in, gates * out), the second of (out, gates * out)
    gates: ClassVar[int] = 1  # how many blocks of `out` columns they have
    out_features: int
    b: Parameter | None

    def _make(
        self,
        features: tuple[int, ...],
        dtype: npt.DTypeLike,
        rng: np.random.Generator | None,
        bias: bool = True,
    ) -> None:
        """Make ``b`` and the weights, lazy unless ``in`` is given."""
        kind = type(self).__name__
        try:
            *known, out = [operator.index(n) for n in features]
        except (TypeError, ValueError):
            known, out = [], 0
        if len(known) > 1 or min(*known, out, 1) < 1:
            got = ", ".join(map(repr, features))
            raise ValueError(
                f"{kind}: want {kind}(out) or {kind}(in, out), positive integers, got {kind}({got})"
            )
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise TypeError(
                f"{kind}: rng must be a generator such as np.random.default_rng(0), got {rng!r}"
            )
        self.out_features, self.dtype, self.rng, width = (
            out,
            floating(dtype, kind),
            rng,
            self.gates * out,
        )
        for name in self.weights:
            setattr(
                self, name, Parameter(None, name=f"{name} of {kind}(?→{out})")
            )  # reading it raises with this name
        self.b = Parameter(np.zeros(width, self.dtype), name="b") if bias else None
        if known:
            self._draw(known[0])

    @property
    def lazy_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        width = (
            self.gates * self.out_features
        )  # made when asked for: what is kept in attributes is walked each step
        return dict(zip(self.weights, [(None, width), (self.out_features, width)]))

    def _draw(self, in_features: int, like: Any = None) -> None:
        for name, shape in self.lazy_shapes.items():
            weight = getattr(self, name)
            if _lazy(weight):
                drawn = normal_over_sqrt_in(
                    tuple(n or in_features for n in shape), self.dtype, self.rng
                )
                weight.data, weight.name = to_kind_of(drawn, like), name
        if (
            self.b is not None
            and kind_of(self.b) is np.ndarray is not kind_of(like)
            and like is not None
        ):
            self.b.data = to_kind_of(self.b.data, like)

    @property
    def in_features(self) -> int | None:
        """How many features the input has; None until it is learned."""
        weight = getattr(self, self.weights[0])
        return None if _lazy(weight) else weight.shape[0]

    def _checked(self, x: Any, weight: Variable) -> Any:
        """The input in the dtype of the weight it meets first; the weights are drawn if they were not yet."""
        x = as_array(x, self)
        if not _lazy(weight) and x.dtype is weight.dtype and x.shape[-1:] == weight.shape[:1]:
            return x  # nearly always
        if x.dtype.kind != "f":
            raise TypeError(
                f"{self!r}: want floating input, got {x.dtype} {x.shape}; say x.astype(np.float32)"
            )
        if _lazy(weight) and x.shape[-1:] not in [(), (0,)]:
            self._draw(x.shape[-1], x)
        wanted = "in" if _lazy(weight) else weight.shape[0]
        if x.shape[-1:] != (wanted,):
            raise ValueError(f"{self!r}: want input of shape (.., {wanted}), got {x.shape}")
        return x if x.dtype == weight.dtype else x.astype(weight.dtype)

    def __repr__(self) -> str:
        options = (
            ", bias=False"
            if self.b is None
            else ", stateful=True"
            if getattr(self, "stateful", False)
            else ""
        )
        return f"{type(self).__name__}({self.in_features or '?'}→{self.out_features}{options})"


def _lazy(weight: Variable) -> bool:
    return (
        isinstance(weight, Parameter) and weight.lazy
    )  # it may be a plain Variable put there to differentiate by it


class Linear(Weighted):
    """Every output feature is a weighted sum of the input features, plus a bias.

    ``y = x @ w + b``, with ``w`` (in, out) drawn as N(0, 1)/sqrt(in) and ``b`` (out) zero.
    Shapes: ``(.., in)`` to ``(.., out)``.

    Args:
        features: ``out``, or ``in, out``; with ``out`` alone the layer learns ``in`` at first use.
        bias: whether there is a ``b``; without, it is None.
        dtype: floating, of the parameters; floating input is cast to it.
        rng: what weights are drawn from; default minidl's seeded generator.

    Raises ValueError if the sizes are no one or two positive integers or the input has another number of features;
    TypeError if the dtype or the input is not floating, or ``rng`` is no generator.

    >>> layer = Linear(10)  # prints as Linear(?→10)
    >>> layer(np.ones((32, 64), np.float32)).shape, layer
    ((32, 10), Linear(64→10))
    """

    w: Parameter

    def __init__(
        self,
        *features: int,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._make(features, dtype, rng, bias)

    def forward(self, x: Any) -> Any:
        return F.linear(self._checked(x, self.w), self.w, self.b)
