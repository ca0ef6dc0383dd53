"""Sequential: layers and functions one after the other. What each of them computes is its own file's."""

from __future__ import annotations

from collections.abc import Callable
from reprlib import recursive_repr
from typing import Any

from minidl.layers.layer import Layer, nested


class Sequential(Layer):
    """Layers and functions, each applied to what the one before gave.

    ``y = last(.. second(first(x)))``. Takes layers and any functions of one array; a slice is a Sequential of the
    same layers. Raises TypeError if one of them cannot be called.

    >>> import numpy as np
    >>> from minidl import functions as F, layers
    >>> model = Sequential(layers.Linear(2, 16), F.relu, layers.Linear(1))
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
                hint = "; pass them one by one: Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise TypeError(f"Sequential: want layers and functions, got {layer!r} at place {i}{hint}")
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
