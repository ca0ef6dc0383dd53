"""Weighted: what layers with weights on input features share: sizes, first values, checks of input.

What each of them computes is in its own file: linear.py, conv.py, recurrent.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter, Variable
from minidl.common.arrays import as_array, is_foreign, to_kind_of
from minidl.common.checks import flag
from minidl.layers.initializers import (
    Initializer,
    check_init,
    check_rng,
    draw,
    normal_over_sqrt_in,
    zeros,
)
from minidl.layers.layer import Layer, floating_dtype
from minidl.layers.values import Shape


class Weighted(Layer):
    """A layer whose weights have data once the number of input features is known.

    ``_weights`` names them: the first is (in, gates * out), the second, if any, (out, gates * out).
    ``_biases`` are zero at first.
    """

    _weights: ClassVar[tuple[str, ...]] = ("w",)
    _biases: ClassVar[tuple[str, ...]] = ("b",)
    _gates: ClassVar[int] = 1  # how many blocks of `out` columns the weights have
    out_features: int
    b: Parameter | None

    def _init_parameters(
        self,
        features: tuple[int, ...],
        in_features: int | None,
        out_features: int | None,
        dtype: npt.DTypeLike,
        rng: np.random.Generator | None,
        bias: bool = True,
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        """Make ``b``, and the weights: lazy unless the number of input features is given."""
        name = type(self).__name__
        in_features, out = _sizes(name, features, in_features, out_features)
        self.out_features = out
        self._take_settings(name, dtype, rng, init)
        for weight in self._weights:  # reading one that is lazy raises with this name
            lazy = Parameter(None, name=f"{weight} of {name}(?→{out})")
            setattr(self, weight, lazy)
        self.b = None
        if flag(f"{name}: bias", bias):
            self.b = Parameter(np.zeros(self._gates * out, self.dtype), name="b")
        if in_features is not None:
            self._draw_weights(in_features)

    def _take_settings(self, name: str, dtype: npt.DTypeLike, rng: Any, init: Any) -> None:
        """Keep what weights are drawn with; TypeError for what they cannot be."""
        self.dtype = floating_dtype(dtype, name)
        self.rng = check_rng(rng, name)
        self.init = check_init(init, name)

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        # Made when asked for: what is kept in attributes is walked each step.
        width = self._gates * self.out_features
        shapes: list[Shape] = [(None, width), (self.out_features, width)]
        return dict(zip(self._weights, shapes))

    def _draw_weights(self, in_features: int, like: Any = None) -> None:
        """Give what is lazy its first values, and have all as arrays of the kind of ``like``."""
        for name, shape in self._lazy_shapes.items():
            p = getattr(self, name)
            if _is_lazy(p):
                known = tuple(n or self._rows_of(in_features) for n in shape)
                init = zeros if name in self._biases else self.init
                drawn = draw(init, known, self.dtype, self.rng, type(self).__name__)
                p.name = name
                p.data = to_kind_of(drawn, like)
        if is_foreign(like):
            for name in self._biases:
                b = getattr(self, name)
                if b is not None and not is_foreign(b):
                    b.data = to_kind_of(b.data, like)

    @property
    def in_features(self) -> int | None:
        """How many features the input has; None until it is learned."""
        weight = getattr(self, self._weights[0])
        if _is_lazy(weight):
            return None
        return self._features_of(weight)

    def _features_of(self, weight: Any) -> int:
        """The number of input features that a weight is for."""
        return weight.shape[0]  # type: ignore[no-any-return]  # an int

    def _rows_of(self, in_features: int) -> int:
        """The length of the axis that a weight has for so many input features."""
        return in_features

    def _as_input(self, x: Any, weight: Variable) -> Any:
        """The input in the dtype of the weight it meets first; draws weights that are lazy."""
        x = as_array(x, self)
        known = not _is_lazy(weight) and x.dtype is weight.dtype
        if known and x.shape[-1:] == (self._features_of(weight),):
            return x  # nearly always
        dtype = self.dtype if _is_lazy(weight) else weight.dtype
        x = self._as_floating(x, dtype)
        if _is_lazy(weight):
            if x.shape[-1:] in [(), (0,)]:
                raise ValueError(f"{self!r}: want input of shape (.., in), got {x.shape}")
            self._check_first(x.shape)
            self._draw_weights(x.shape[-1], x)
        n = self._features_of(weight)
        if x.shape[-1:] != (n,):
            flat = x.ndim > 2 and math.prod(x.shape[1:]) == n
            hint = "; write x.reshape(len(x), -1)" if flat else ""
            raise ValueError(f"{self!r}: want input of shape (.., {n}), got {x.shape}{hint}")
        return x

    def _check_first(self, shape: tuple[int, ...]) -> None:
        """Raise for a first input that would be refused later on, when weights are drawn."""

    def __repr__(self) -> str:
        name = type(self).__name__
        options = "" if self.b is not None else ", bias=False"
        return f"{name}({self.in_features or '?'}→{self.out_features}{options})"


def _sizes(
    name: str, features: tuple[Any, ...], in_features: Any, out_features: Any
) -> tuple[int | None, int]:
    """(in or None, out) of ``name(out)``, ``name(in, out)`` and their forms with keywords."""
    sizes = list(features)
    if out_features is not None:
        sizes.append(out_features)
    if in_features is not None:
        sizes.insert(0, in_features)
    if len(sizes) in (1, 2) and all(map(_is_size, sizes)):
        *known, out = map(int, sizes)
        if known or in_features is None:
            return (known[0] if known else None), out
    parts = [repr(n) for n in features]
    keywords = {"in_features": in_features, "out_features": out_features}
    parts += [f"{key}={n!r}" for key, n in keywords.items() if n is not None]
    want = f"{name}(out) or {name}(in, out), positive integers"
    raise ValueError(f"{name}: want {want}, got {name}({', '.join(parts)})")


def _is_size(n: Any) -> bool:
    return isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 1


def _is_lazy(weight: Any) -> bool:
    # It may be a Variable or an array, put in the place of the parameter to differentiate by it.
    return isinstance(weight, Parameter) and weight.lazy
