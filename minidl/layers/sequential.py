"""Sequential: layers and functions one after the other. What each of them computes is its own file's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, overload

from minidl.layers.layer import Layer


class Sequential(Layer):
    """Layers and functions, each applied to what the one before gave.

    ``y = last(.. second(first(x)))``

    Args:
        layers: layers, or any functions of one array.

    Shapes: those of the first layer's input and the last one's output.

    Raises:
        TypeError: one of the layers cannot be called.

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

    @overload
    def __getitem__(self, index: int) -> Callable[..., Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Callable[..., Any]:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self.layers)

    def __repr__(self) -> str:
        lines = []
        for i, layer in enumerate(self.layers):
            name = repr(layer) if isinstance(layer, Layer) else getattr(layer, "__name__", repr(layer))
            lines.append(f"  {i}: {name}\n".replace("\n", "\n  ").rstrip(" "))
        return f"Sequential(\n{''.join(lines)})" if lines else "Sequential()"
