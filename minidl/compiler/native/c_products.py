"""The C of products of matrices: loops of their own, of which compilers make vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidl.compiler.native.arrays import Array, Shape
from minidl.compiler.native.operations import Product

LANES = 16  # columns that are summed side by side


class _Axis:
    """One axis of a product: its variable and length, and the strides of the three arrays."""

    def __init__(self, var: str, length: int, strides: tuple[int, int, int]) -> None:
        self.var = var
        self.length = length
        self.out, self.a, self.c = strides

    def loop(self) -> str:
        """The head of the loop along it."""
        return f"for (ptrdiff_t {self.var} = 0; {self.var} < {self.length}; {self.var}++) {{"


def product_lines(product: Product) -> list[str]:
    """The loops of a product."""
    batch, rows, columns, inner = _axes(product)
    out, a, c = product.out, product.a, product.c
    n = columns[-1] if columns and columns[-1].c == 1 and columns[-1].out == 1 else None
    c_type = out.buffer.c_type
    around = [*batch, *rows, *[x for x in columns if x is not n]]
    lines = [x.loop() for x in around]
    place_a = _place(a, [(x.var, x.a) for x in (*around, *inner)])
    if n is None:
        place_c = _place(c, [(x.var, x.c) for x in (*around, *inner)])
        lines += [f"{c_type} sum = 0;", *[x.loop() for x in inner]]
        lines.append(f"sum += {place_a} * {place_c};")
        lines += ["}"] * len(inner)
        lines.append(f"{_place(out, [(x.var, x.out) for x in around])} = sum;")
    else:
        whole, rest = divmod(n.length, LANES)
        if whole:
            start = "g"
            lines.append(f"for (ptrdiff_t g = 0; g < {whole * LANES}; g += {LANES}) {{")
            lines += _lanes(product, around, inner, place_a, start, LANES)
            lines.append("}")
        if rest:
            lines += ["{", *_lanes(product, around, inner, place_a, str(whole * LANES), rest), "}"]
    return lines + ["}"] * len(around)


def _lanes(
    product: Product,
    around: Sequence[_Axis],
    inner: Sequence[_Axis],
    place_a: str,
    start: str,
    count: int,
) -> list[str]:
    """Some columns next to each other."""
    c_type = product.out.buffer.c_type
    place_c = _place(product.c, [(x.var, x.c) for x in (*around, *inner)], [start, "s"])
    place_out = _place(product.out, [(x.var, x.out) for x in around], [start, "s"])
    each = f"for (ptrdiff_t s = 0; s < {count}; s++)"
    return [
        f"{c_type} sums[{count}] = {{0}};",
        *[x.loop() for x in inner],
        f"const {c_type} factor = {place_a};",
        f"{each} sums[s] += factor * {place_c};",
        *["}"] * len(inner),
        f"{each} {place_out} = sums[s];",
    ]


def _axes(product: Product) -> tuple[list[_Axis], ...]:
    """The axes b, m, n and k."""
    batch, rows, columns, inner = map(len, product.sizes)
    out, a, c = product.out.strides, product.a.strides, product.c.strides
    found: list[list[_Axis]] = [[], [], [], []]
    for i in range(batch):
        found[0].append(_Axis(f"b{i}", product.sizes[0][i], (out[i], a[i], c[i])))
    for i in range(rows):
        found[1].append(_Axis(f"m{i}", product.sizes[1][i], (out[batch + i], a[batch + i], 0)))
    for i in range(columns):
        strides = (out[batch + rows + i], 0, c[batch + inner + i])
        found[2].append(_Axis(f"n{i}", product.sizes[2][i], strides))
    for i in range(inner):
        strides = (0, a[batch + rows + i], c[batch + i])
        found[3].append(_Axis(f"k{i}", product.sizes[3][i], strides))
    return tuple([[x for x in axes if x.length != 1] for axes in found])


def _place(x: Array, steps: Sequence[tuple[str, int]], more: Sequence[str] = ()) -> str:
    terms = [var if stride == 1 else f"{var} * {stride}" for var, stride in steps if stride]
    terms += [part for part in more if part != "0"]
    if x.moving:
        terms.append(f"t * {x.moving}")
    if x.offset or not terms:
        terms.append(str(x.offset))
    return f"{x.buffer.name}[{' + '.join(terms)}]"


def work_of(sizes: Sequence[Shape]) -> int:
    """How many multiplications a product is."""
    return math.prod([n for axes in sizes for n in axes])
