"""Calls of NumPy's functions that are none of minidl's, to be made again on other arrays.

When they are noted is in recorder.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.pytree import unflatten
from minidl.compiler.standin import StandIn


class Again:
    """A call of a function, with other arrays in the places of those that it had.

    ``leaves`` and ``structure`` are its arguments and settings, flattened; ``forms`` are the shapes
    and dtypes of what it gave.
    """

    def __init__(self, function: Callable[..., Any], leaves: list[Any], structure: Any) -> None:
        self.function = function
        self.structure = structure
        self.places: list[int] = []
        self.leaves = list(leaves)
        for i, x in enumerate(leaves):
            if type(x) in (StandIn, np.ndarray):
                self.places.append(i)
                self.leaves[i] = None
        self.forms: list[tuple[Any, Any]] = []
        numbered = list(range(len(leaves)))
        self.flat = unflatten(structure, numbered) == (tuple(numbered), {})
        self.__name__: str = getattr(function, "__name__", "call")

    def __call__(self, *arrays: Any) -> Any:
        args, settings = self.arguments(arrays)
        y = self.function(*args, **settings)
        parts = y if type(y) is tuple else (y,)
        for part, (shape, dtype) in zip(parts, self.forms):
            if part.shape != shape or part.dtype != dtype:
                raise ValueError(f"want {dtype} {shape}, got {part.dtype} {part.shape}")
        return y

    def arguments(self, arrays: Sequence[Any]) -> Any:
        """The arguments and settings of the call, with these arrays."""
        leaves = list(self.leaves)
        for i, x in zip(self.places, arrays, strict=True):
            leaves[i] = x
        return (leaves, {}) if self.flat else unflatten(self.structure, leaves)

    def on_variables(self, variables: Sequence[Any]) -> Any:
        """The same of Variables: of a method of arrays, the Variable's own."""
        args, settings = self.arguments(variables)
        method = getattr(Variable, self.__name__, None)
        if getattr(self.function, "__objclass__", None) is np.ndarray and method is not None:
            return method(*args, **settings)
        return self.function(*args, **settings)
