"""Products of few columns, turned so that the loops inside are long enough for vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from minidl.compiler.native.arrays import Array, Shape, new_array
from minidl.compiler.native.operations import Product

if TYPE_CHECKING:
    from minidl.compiler.native.lowering import Lowering

NARROW = 8  # columns, below which rows are no vectors
LONG = 16  # elements


def narrow_product(low: Lowering, out: Array, a: Array, c: Array, sizes: tuple[Shape, ...]) -> bool:
    """Note a product of two matrices ``a`` and ``c``, if ``c`` has few columns and it pays."""
    if not low.calls or sizes[0] or any(len(axes) != 1 for axes in sizes[1:]):
        return False  # elsewhere compilers are not told that sums may be vectors
    rows, columns, inner = map(math.prod, sizes[1:])
    if not 1 < columns < NARROW or rows < NARROW:
        return False
    if inner >= LONG and a.strides[1] == 1:
        low.operations.append(Product(out, a, _turned(low.copy(_turned(c))), sizes))
        return True
    if rows >= LONG and a.strides[0] == 1:
        whole = new_array((columns, rows), out.dtype)
        low.operations.append(
            Product(whole, _turned(c), _turned(a), ((), sizes[2], sizes[1], sizes[3]))
        )
        low.write(_turned(whole), out)
        return True
    return False


def _turned(x: Array) -> Array:
    return x.view(x.shape[::-1], x.strides[::-1])
