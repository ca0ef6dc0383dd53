"""What a Function is in a compiled program: said beside its definition, by one of these.

The list of operations, and how it is printed, is the compiler's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Operation(NamedTuple):
    """How a program runs a function; of a function that says nothing it calls the forward.

    ``ufunc``: the elementwise ufunc of NumPy's that the forward is, to the last bit.
    ``into``: the forward written into its first argument, an array of the result's shape and dtype;
    used where all arrays among the arguments are of one floating dtype, masks aside. Of a map of
    one such array it may get that for ``out``.
    ``kind``: "map" (each element depends on those at its place only), "reduce", "product",
    "gather", "scatter", "scan", "call", or "effect", which is never left out.
    ``inline``: what the forward applies is noted in its place.
    """

    ufunc: np.ufunc | None = None
    into: Callable[..., Any] | None = None
    kind: str = "call"
    inline: bool = False

    @property
    def is_map(self) -> bool:
        """Whether it can be done in blocks of elements."""
        return self.ufunc is not None or self.kind == "map"


def is_elementwise(forward: Any) -> bool:
    """Whether a forward is a ufunc of one result, element by element."""
    return isinstance(forward, np.ufunc) and forward.nout == 1 and forward.signature is None
