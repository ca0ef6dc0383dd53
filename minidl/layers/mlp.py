"""Chains of layers: MLP, of linear layers with an activation between them, and Sequential, of anything.

What each of them computes is its own file's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from reprlib import recursive_repr
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.layers.layer import Layer, nested
from minidl.layers.linear import Linear


class MLP(Layer):
    """A multi-layer perceptron: linear layers, with an activation after all but the last.

    ``y = linear_n(.. activation(linear_2(activation(linear_1(x)))))``, ``(.., in)`` to ``(.., sizes[-1])``.
    ``mlp[i]`` is the i-th linear layer.

    Args:
        sizes: how many features each linear layer gives, the last being the output's.
        activation: a function, or a layer, which is then shared.
        in_features: of the input; default learned at first use.
        bias, dtype, rng: as for ``Linear``.

    Raises ValueError if the sizes are no list of positive integers, TypeError if the activation cannot be called.

    >>> MLP([128, 10])
    MLP(?→128→10)
    >>> mlp = MLP([128, 10], activation=F.tanh, in_features=64)
    >>> mlp(np.ones((32, 64))).shape, mlp[0]
    ((32, 10), Linear(64→128))
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[Any], Any] = F.relu,
        *,
        in_features: int | None = None,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        if not isinstance(sizes, Sequence) or not sizes:
            raise ValueError(
                f"MLP: want a list of output sizes such as MLP([128, 10]), got {sizes!r}"
            )
        if not callable(activation):
            raise TypeError(
                f"MLP: the activation must be a function or a layer, got {activation!r}"
            )
        first = (sizes[0],) if in_features is None else (in_features, sizes[0])
        self.layers = [
            Linear(*pair, bias=bias, dtype=dtype, rng=rng) for pair in [first, *pairwise(sizes)]
        ]
        self.activation = activation

    def forward(self, x: Any) -> Any:
        *hidden, last = self.layers
        for linear in hidden:
            x = self.activation(linear(x))
        return last(x)

    def __getitem__(self, index: int) -> Linear:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        sizes = [
            self.layers[0].in_features or "?",
            *(linear.out_features for linear in self.layers),
        ]
        return f"MLP({'→'.join(map(str, sizes))})"


class Sequential(Layer):
    """Layers and functions, each applied to what the one before gave.

    ``y = last(.. second(first(x)))``. Takes layers and any functions of one array; a slice is a Sequential of the
    same layers. Raises TypeError if one of them cannot be called.

    >>> model = Sequential(Linear(2, 16), F.relu, Linear(1))
    >>> model
    Sequential(
      0: Linear(2→16)
      1: relu
      2: Linear(?→1)
    )
    >>> len(model), model[0], model[:2](np.ones((5, 2))).shape
    (3, Linear(2→16), (5, 16))
    """

    def __init__(self, *layers: Callable[..., Any]) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer) or isinstance(layer, type):
                hint = (
                    "; pass them one by one: Sequential(*layers)"
                    if isinstance(layer, list | tuple)
                    else ""
                )
                raise TypeError(
                    f"Sequential: want layers and functions, got {layer!r} at place {i}{hint}"
                )
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, index: int | slice) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    @recursive_repr("...")
    def __repr__(self) -> str:
        return nested(self, [(str(i), layer) for i, layer in enumerate(self.layers)])
