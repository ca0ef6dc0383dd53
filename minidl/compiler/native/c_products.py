"""The C of products of matrices: loops of their own, of which compilers make vectors."""

from __future__ import annotations

from collections.abc import Sequence

from minidl.compiler.native.arrays import Array
from minidl.compiler.native.literals import literal
from minidl.compiler.native.operations import Product

# A row of the result is read and written once for so many products that are added to it: more where
# it is short, as each waits for the one before.
STEPS = ((64, 4), (0, 8))  # from so many columns on
SHORT = 12  # so many are added without a loop
# So many rows are computed together, for which the right factor is read once.
ROWS = ((256, 4), (17, 2), (0, 4))  # from so many columns on


class _Axis:
    """One axis of a product: its variable and length, and the strides of the three arrays."""

    def __init__(self, var: str, length: int, strides: tuple[int, int, int]) -> None:
        self.var = var
        self.length = length
        self.out, self.a, self.c = strides

    def each(self) -> str:
        """The head of the loop along it."""
        return f"for (ptrdiff_t {self.var} = 0; {self.var} < {self.length}; {self.var}++)"

    def loop(self) -> str:
        """The same with the brace of its body."""
        return f"{self.each()} {{"


def product_lines(product: Product) -> list[str]:
    """The loops of a product."""
    batch, rows, columns, inner = _axes(product)
    if not columns or columns[-1].c != 1 or columns[-1].out != 1:
        around = [*batch, *rows, *columns]
        body = _number_lines(product, around, inner)
        if not around:
            return ["{", *body, "}"]  # its names are its own
        return [*[x.loop() for x in around], *body, *["}"] * len(around)]
    *rest, column = columns
    others = [*batch, *rows[:-1], *rest]
    around = [*batch, *rows, *rest]
    lines = [x.loop() for x in others]
    if rows:
        row = rows[-1]
        together = _from(ROWS, column.length)
        whole = row.length // together * together
        for start, stop, step in ((0, whole, together), (whole, row.length, 1)):
            if start < stop:
                lines.append(_head(row.var, start, stop, step))
                shifts = [(i * row.out, i * row.a) for i in range(step)]
                lines += [*_row_lines(product, around, column, inner, shifts), "}"]
    else:
        lines += _row_lines(product, around, column, inner, [(0, 0)])
    return [*lines, *["}"] * len(others)]


def _from(table: Sequence[tuple[int, int]], length: int) -> int:
    return next(number for least, number in table if length >= least)


def _head(var: str, start: int, stop: int, step: int) -> str:
    more = f"{var}++" if step == 1 else f"{var} += {step}"
    return f"for (ptrdiff_t {var} = {start}; {var} < {stop}; {more}) {{"


def _number_lines(product: Product, around: list[_Axis], inner: list[_Axis]) -> list[str]:
    """One element of the result."""
    dtype = product.out.buffer
    a = _place(product.a, [(x.var, x.a) for x in (*around, *inner)])
    c = _place(product.c, [(x.var, x.c) for x in (*around, *inner)])
    out = _place(product.out, [(x.var, x.out) for x in around])
    loops = [x.loop() for x in inner]
    if inner:
        loops.insert(len(inner) - 1, "SIMD_SUM(sum)")
    ends = ["}"] * len(inner)
    return [f"{dtype.c_type} sum = 0;", *loops, f"sum += {a} * {c};", *ends, f"{out} = sum;"]


def _row_lines(
    product: Product,
    around: list[_Axis],
    column: _Axis,
    inner: list[_Axis],
    shifts: Sequence[tuple[int, int]],
) -> list[str]:
    """Some rows of the result: to all of their columns are added, again and again, a few products.

    ``shifts``: how far each row of the result, and of the left factor, is from the first.
    """
    places = [(x.var, x.out) for x in around]
    rows = [_place(product.out, places, [column.var], shift) for shift, _ in shifts]
    if not inner:
        inner = [_Axis("k", 1, (0, 0, 0))]
    *others, last = inner
    step = _from(STEPS, column.length)
    whole = last.length // step * step
    if last.length <= SHORT:
        step = whole = last.length
    lines = [f"{column.each()} {row} = 0;" for row in rows]
    lines += [x.loop() for x in others]
    axes = [*around, *others]
    if step == whole:
        lines += ["{", *_add(product, axes, last, ("0", step), rows, column, shifts), "}"]
    else:
        lines.append(_head(last.var, 0, whole, step))
        lines += [*_add(product, axes, last, (last.var, step), rows, column, shifts), "}"]
    if last.length > whole:
        rest = (str(whole), last.length - whole)
        lines += ["{", *_add(product, axes, last, rest, rows, column, shifts), "}"]
    return lines + ["}"] * len(others)


def _add(
    product: Product,
    around: list[_Axis],
    last: _Axis,
    part: tuple[str, int],
    rows: Sequence[str],
    column: _Axis,
    shifts: Sequence[tuple[int, int]],
) -> list[str]:
    """Add a part of the products, of which it is the first and the number, to the columns."""
    start, count = part
    buffer = product.out.buffer
    kind = buffer.c_type
    fma = f"fma_{buffer.dtype.kind}{buffer.dtype.itemsize * 8}"
    places = [*[(x.var, x.a) for x in around], (start, last.a)]
    lines = []
    texts = list(rows)
    for j, (_, shift) in enumerate(shifts):
        for i in range(count):
            a = _place(product.a, places, [], i * last.a + shift)
            lines.append(f"const {kind} f{j}_{i} = {a};")
            texts[j] = f"{fma}(f{j}_{i}, c{i}, {texts[j]})"
    steps = [*[(x.var, x.c) for x in around], (start, last.c)]
    lines.append(f"{column.each()} {{")
    for i in range(count):
        c = _place(product.c, steps, [column.var], i * last.c)
        lines.append(f"const {kind} c{i} = {c};")
    lines += [f"{row} = {text};" for row, text in zip(rows, texts, strict=True)]
    return [*lines, "}"]


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


def _place(
    x: Array, steps: Sequence[tuple[str, int]], more: Sequence[str] = (), offset: int = 0
) -> str:
    """The element of an array at some places along its axes."""
    if x.buffer.is_number:
        return literal(x.buffer.data.reshape(-1)[0], x.dtype)
    terms = [var if stride == 1 else f"{var} * {stride}" for var, stride in steps if stride]
    terms = [part for part in (*terms, *more) if not part.startswith("0 * ") and part != "0"]
    if x.moving:
        terms.append(f"t * {x.moving}")
    if x.offset + offset or not terms:
        terms.append(str(x.offset + offset))
    return f"{x.buffer.name}[{' + '.join(terms)}]"
