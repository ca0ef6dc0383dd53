"""Chains of layers: MLP, of linear layers with an activation between them, and Sequential, of
anything.

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
from minidl.common.hints import refuse_unexpected
from minidl.layers.initializers import Initializer, normal_over_sqrt_in
from minidl.layers.layer import Layer
from minidl.layers.linear import Linear
from minidl.layers.summary import nested_repr


class MLP(Layer):
    """A multi-layer perceptron: linear layers, with an activation after all but the last.

    ``y = linear_n(.. activation(linear_2(activation(linear_1(x)))))``, ``(.., in)`` to ``(..,
    sizes[-1])``. ``mlp[i]`` is the i-th linear layer.

    Args:
        sizes: how many features each linear layer gives, the last being the output's.
        activation: a function, or a layer, which is then shared.
        in_features: of the input; default learned at first use.
        bias, dtype, rng, init: as for ``Linear``.

    Raises ValueError if the sizes are no list of positive integers, TypeError if the activation
    cannot be called.

    >>> MLP([128, 10])
    MLP(?→128→10)
    >>> mlp = MLP([128, 10], activation=F.tanh, in_features=64)
    >>> mlp(np.ones((32, 64))).shape, mlp[0]
    ((32, 10), Linear(64→128))
    """

    @refuse_unexpected
    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[Any], Any] = F.relu,
        *,
        in_features: int | None = None,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        if not isinstance(sizes, Sequence) or isinstance(sizes, str) or not sizes:
            want = "a list of output sizes such as MLP([128, 10])"
            raise ValueError(f"MLP: want {want}, got {sizes!r}")
        check_step("MLP", "activation", activation)
        first = (sizes[0],) if in_features is None else (in_features, sizes[0])
        pairs = [first, *pairwise(sizes)]
        self.layers = [Linear(*pair, bias=bias, dtype=dtype, rng=rng, init=init) for pair in pairs]
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
            *(linear.out_features or "?" for linear in self.layers),
        ]
        return f"MLP({'→'.join(map(str, sizes))})"


class Sequential(Layer):
    """Layers and functions, each applied to what the one before gave.

    ``y = last(.. second(first(x)))``. Takes layers and any functions of one array; a slice is a
    Sequential of the same layers. Raises TypeError if one of them cannot be called.

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
            check_step("Sequential", f"place {i}", layer)
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
        return nested_repr(self, [(str(i), layer) for i, layer in enumerate(self.layers)])


def check_step(owner: str, place: str, step: Any) -> None:
    """Raise TypeError for what is no function or layer, and say what was probably meant."""
    if callable(step) and not isinstance(step, type):
        return
    hint = ""
    if isinstance(step, str) and callable(getattr(F, step, None)):
        hint = f"; write functions.{step}"
    elif isinstance(step, type):
        hint = f"; write {step.__name__}(..)"
    elif isinstance(step, list | tuple):
        hint = f"; pass them one by one: {owner}(*layers)"
    elif isinstance(step, int) and owner == "MLP":
        hint = "; the sizes are one list: MLP([128, 10])"
    raise TypeError(f"{owner}: want a function or a layer as {place}, got {step!r}{hint}")
