"""TransformerBlock: attention and an MLP, each on normalized features and added to what came in.

The attention is in attention.py, a place's encoding in positional.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common.arrays import as_array, to_kind_of
from minidl.common.checks import count, flag
from minidl.common.hints import refuse_unexpected
from minidl.layers.attention import MultiHeadAttention
from minidl.layers.dropout import Dropout
from minidl.layers.initializers import Initializer, normal_over_sqrt_in
from minidl.layers.layer import Layer
from minidl.layers.layer_norm import LayerNorm
from minidl.layers.linear import Linear
from minidl.layers.mlp import MLP
from minidl.layers.values import Shape


class TransformerBlock(Layer):
    """A block of a transformer, normalized before each part.

    ``x = x + dropout(attention(norm_1(x)))``, then ``x + dropout(mlp(norm_2(x)))``, where the MLP
    has one hidden layer with GELU. Shapes: ``(.., time, features)`` to the same. Its parts are
    ``norm_1``, ``attention``, ``norm_2`` and ``mlp``. Called as ``block(x, mask=None)``, the mask
    as for ``MultiHeadAttention``.

    Args:
        heads: of the attention; they divide the features.
        hidden: the width of the hidden layer; default 4 times the features.
        dropout: the rate at which what is added is dropped.
        causal: whether step i sees the steps 0 .. i only.
        features: how many; None to learn it at first use.
        dtype, rng, init: as for ``Linear``.

    Raises what its parts raise.

    Source: Vaswani et al., "Attention is all you need", 2017; normalized as in Radford et al.,
    "Language models are unsupervised multitask learners", 2019.

    >>> block = TransformerBlock(2, causal=True)
    >>> block(np.ones((3, 5, 8))).shape, block.mlp
    ((3, 5, 8), MLP(8→32→8))
    """

    @refuse_unexpected
    def __init__(
        self,
        heads: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        *,
        features: int | None = None,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        self.hidden = None if hidden is None else count("TransformerBlock: hidden", hidden)
        self.causal = flag("TransformerBlock: causal", causal)
        self.norm_1 = LayerNorm(features, dtype=dtype)
        self.attention = MultiHeadAttention(heads, features, dtype=dtype, rng=rng, init=init)
        self.norm_2 = LayerNorm(features, dtype=dtype)
        self.mlp = MLP([1, 1], F.gelu)
        self.mlp.layers = [LazyLinear(dtype, rng, init) for _ in range(2)]
        self.dropout = Dropout(dropout, rng)
        if features is not None:
            self._learn_sizes(features)

    def _learn_sizes(self, features: int, like: Any = None) -> None:
        sizes = (features, self.hidden or 4 * features, features)
        for linear, pair in zip(self.mlp.layers, pairwise(sizes)):
            if isinstance(linear, LazyLinear) and not linear.out_features:
                linear.learn_sizes(*pair, like)

    def forward(self, x: Any, mask: Any = None) -> Any:
        x = as_array(x, self.norm_1)
        self.attention._check_first(x.shape)
        x = self.norm_1._as_input(x, self.norm_1.w)
        self._learn_sizes(x.shape[-1], x)
        x = x + self.dropout(self.attention(self.norm_1(x), mask=mask, causal=self.causal))
        return x + self.dropout(self.mlp(self.norm_2(x)))


class LazyLinear(Linear):
    """A linear layer whose output size too is learned, from the block around it; till then it is 0."""

    b: Parameter

    def __init__(self, dtype: npt.DTypeLike, rng: Any, init: Initializer) -> None:
        self._take_settings("TransformerBlock", dtype, rng, init)
        self.w = Parameter(None, name="w of Linear(?→?)")
        self.b = Parameter(None, name="b of Linear(?→?)")

    @property
    def out_features(self) -> int:  # type: ignore[override]  # it may come with loaded weights
        # Another Variable may stand in the place of the parameter, to differentiate by it.
        lazy = isinstance(self.b, Parameter) and self.b.lazy
        return 0 if lazy else self.b.size

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        out = self.out_features or None
        return {"w": (None, out), "b": (out,)}

    def learn_sizes(self, in_features: int, out_features: int, like: Any = None) -> None:
        """Give the parameters data."""
        self.b.name = "b"
        self.b.data = to_kind_of(np.zeros(out_features, self.dtype), like)
        self._draw_weights(in_features, like)

    def __repr__(self) -> str:
        return f"Linear({self.in_features or '?'}→{self.out_features or '?'})"
