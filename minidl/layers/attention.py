"""MultiHeadAttention: attention in several subspaces at once. The formula of one is
functions.attention.

The block around it is in transformer.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common.arrays import as_array
from minidl.common.checks import count, flag
from minidl.common.hints import refuse_unexpected
from minidl.layers.initializers import Initializer, normal_over_sqrt_in
from minidl.layers.values import Shape
from minidl.layers.weighted import Weighted


class MultiHeadAttention(Weighted):
    """Each step of a sequence asks all steps, of itself or of another sequence.

    ``y = concatenate(attention(q_i, k_i, v_i) for each head i) @ w_o + b_o``, where ``q = x @ w_q +
    b_q``, ``k`` and ``v`` likewise of the context, and q_i is the i-th of ``heads`` equal parts of
    the features. Shapes: ``(.., time, features)`` to the same. Weights (features, features) are
    drawn as N(0, 1)/sqrt(features), biases (features) are zero.

    Called as ``layer(x, context=None, mask=None, causal=False)``: ``context`` (.., time of its own,
    features) is what is asked, by default x itself; ``mask`` of bools, True where a query sees a
    key, broadcasts to (.., query, key), for all heads, or with one axis more to (.., heads, query,
    key): of padded sequences (batch, 1, key). ``causal`` lets step i see the steps 0 .. i.

    Args:
        heads: how many; they divide the features.
        features: how many; None to learn it at first use.
        bias: whether there are ``b_q``, ``b_k``, ``b_v`` and ``b_o``; without, they are None.
        dtype, rng, init: as for ``Linear``.

    Raises ValueError for features that the heads do not divide, for input of another number of
    features, and for a context of another batch; what ``functions.attention`` raises for a mask.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> layer = MultiHeadAttention(4)
    >>> layer(np.ones((2, 7, 8)), causal=True).shape, layer
    ((2, 7, 8), MultiHeadAttention(heads=4, features=8))
    """

    _weights = ("w_q", "w_k", "w_v", "w_o")
    _biases = ("b_q", "b_k", "b_v", "b_o")
    w_q: Parameter
    w_k: Parameter
    w_v: Parameter
    w_o: Parameter
    b_q: Parameter | None
    b_k: Parameter | None
    b_v: Parameter | None
    b_o: Parameter | None

    @refuse_unexpected
    def __init__(
        self,
        heads: int,
        features: int | None = None,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        name = "MultiHeadAttention"
        self.heads = count(f"{name}: heads", heads)
        self._take_settings(name, dtype, rng, init)
        with_bias = flag(f"{name}: bias", bias)
        for part in self._weights + self._biases:
            is_there = with_bias or part in self._weights
            setattr(self, part, Parameter(None, name=f"{part} of {name}(?)") if is_there else None)
        if features is not None:
            self._draw_weights(count(f"{name}: features", features))

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        shapes: dict[str, Shape] = dict.fromkeys(self._weights, (None, None))
        if self.b_q is not None:
            shapes |= dict.fromkeys(self._biases, (None,))
        return shapes

    def _draw_weights(self, in_features: int, like: Any = None) -> None:
        self._check_heads(in_features)
        super()._draw_weights(in_features, like)

    def _check_heads(self, features: int) -> None:
        if features % self.heads:
            raise ValueError(f"{self!r}: {self.heads} heads do not divide {features} features")

    def forward(self, x: Any, context: Any = None, mask: Any = None, causal: bool = False) -> Any:
        x = self._as_sequence(x, self.w_q)
        context = x if context is None else self._as_sequence(context, self.w_k)
        if context.shape[:-2] != x.shape[:-2]:
            what = f"a context {(*x.shape[:-2], 'time', x.shape[-1])}".replace("'", "")
            raise ValueError(f"{self!r}: want {what}, got {context.shape}")
        q = self._split_heads(F.linear(x, self.w_q, self.b_q))
        k = self._split_heads(F.linear(context, self.w_k, self.b_k))
        v = self._split_heads(F.linear(context, self.w_v, self.b_v))
        if mask is not None:
            mask = as_array(mask, self)
            if 2 < mask.ndim <= x.ndim:
                mask = mask[..., None, :, :]
        y = F.attention(q, k, v, mask, causal)
        return F.linear(y.swapaxes(-3, -2).reshape(x.shape), self.w_o, self.b_o)

    def _as_sequence(self, x: Any, weight: Parameter) -> Any:
        x = self._as_input(x, weight)
        self._check_first(x.shape)
        return x

    def _check_first(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2 or not shape[-2]:
            want = "input (.., time, features), time > 0"
            raise ValueError(f"{self!r}: want {want}, got {shape}")
        self._check_heads(shape[-1])

    def _split_heads(self, x: Any) -> Any:
        """(.., time, features) as (.., heads, time, features of a head)."""
        *lead, features = x.shape
        return x.reshape(*lead, self.heads, features // self.heads).swapaxes(-3, -2)

    def __repr__(self) -> str:
        options = "" if self.b_q is not None else ", bias=False"
        return (
            f"MultiHeadAttention(heads={self.heads}, features={self.in_features or '?'}{options})"
        )
