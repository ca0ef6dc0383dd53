"""The C of a program: its loops, and what stands in them.

Which loops there are is decided in loops.py, where arrays lie in memory.py; products are printed by
c_products.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl.compiler.native.arrays import C_TYPES, Array, Buffer, Shape
from minidl.compiler.native.c_products import product_lines
from minidl.compiler.native.literals import literal
from minidl.compiler.native.loops import Block, Item, Leaf, Loop, ScanLoop
from minidl.compiler.native.memory import Memory
from minidl.compiler.native.operations import Map, Operation, Pick, Product, Reduce

_VARIABLES = "ijklmnpq"
Key: TypeAlias = tuple[Buffer, int, Shape, int]
Places: TypeAlias = "dict[int, list[tuple[str, Pick]]]"  # variables, by the operand picked from

_STARTS = {"sum": "0", "prod": "1", "max": "-INFINITY", "min": "INFINITY"}
_UPDATES = {
    "sum": "{a} += {v};",
    "prod": "{a} *= {v};",
    "max": "{a} = !({v} <= {a}) && {a} == {a} ? {v} : {a};",
    "min": "{a} = !({v} >= {a}) && {a} == {a} ? {v} : {a};",
}

# Unsigned, as integers go round: they are of 64 bits here.
_INTEGER_UPDATES = {
    "sum": "{a} = (uint64_t){a} + (uint64_t){v};",
    "prod": "{a} = (uint64_t){a} * (uint64_t){v};",
}

PLACES = [
    "static inline ptrdiff_t place(ptrdiff_t i, ptrdiff_t n) { /* -1 for a place outside */",
    "  return i >= 0 && i < n ? i : -1;",
    "}",
    "static inline ptrdiff_t place_from_end(ptrdiff_t i, ptrdiff_t n) {",
    "  return place(i < 0 ? i + n : i, n);",
    "}",
]


class Printer:
    """Prints items one after the other; ``lines`` are the statements so far."""

    def __init__(self, memory: Memory, simd: bool) -> None:
        self.simd = simd  # whether compilers are told which loops may be done side by side
        self.memory = memory
        self.lines: list[str] = []
        self.needs_place = False  # whether places are checked
        self._variables: dict[Loop, str] = {}  # of the loops around what is printed
        self._known: list[dict[Key, str]] = []  # elements that have a name, by scope
        self._count = 0

    # ---- items -----------------------------------------------------------------------------------

    def program(self, items: Sequence[Item]) -> list[str]:
        """The lines of all items, each in a block with the pointers that it needs."""
        for item in items:
            used = self.memory.uses.items()
            buffers = [b for b, uses in used if any(use.item is item for use in uses)]
            self.lines.append(f"{{ /* {', '.join(names_in(item))} */")
            for buffer in buffers:
                if buffer.kind == "work":
                    self.lines.append(self._pointer(buffer))
            self._items([item])
            self.lines.append("}")
        return self.lines

    def _pointer(self, buffer: Buffer) -> str:
        field = field_of(buffer.dtype)
        where = f"work->{field} + {self.memory.offset[buffer]}"
        return f"{buffer.c_type} *restrict const {buffer.name} = {where};"

    def _items(self, items: Iterable[Item]) -> None:
        self._known.append({})
        for item in items:
            if isinstance(item, Loop):
                self._loop(item)
            elif isinstance(item, ScanLoop):
                self._scan(item)
            elif isinstance(item, Block):
                assert isinstance(item.operation, Product)  # calls are no part of C
                self.lines += self._with_pragmas(product_lines(item.operation))
            else:
                self._leaf(item)
        self._known.pop()

    def _with_pragmas(self, lines: list[str]) -> list[str]:
        return lines if self.simd else [x for x in lines if not x.startswith("SIMD_")]

    def _loop(self, loop: Loop) -> None:
        sums = [leaf.operation for leaf in loop.sums if isinstance(leaf.operation, Reduce)]
        for operation in sums:
            self._begin(operation)
        depth = len(self._variables)
        var = _VARIABLES[depth % len(_VARIABLES)] + str(depth // len(_VARIABLES) or "")
        self._variables[loop] = var
        if self.simd:
            self.lines += _pragma(loop)
        self.lines.append(f"for (ptrdiff_t {var} = 0; {var} < {loop.length}; {var}++) {{")
        self._items(loop.body)
        self.lines.append("}")
        del self._variables[loop]
        for operation in sums:
            self._end(operation)

    def _scan(self, item: ScanLoop) -> None:
        scan = item.operation
        if scan.backwards:
            self.lines.append(f"for (ptrdiff_t t = {scan.length - 1}; t >= 0; t--) {{")
        else:
            self.lines.append(f"for (ptrdiff_t t = 0; t < {scan.length}; t++) {{")
        self._items(item.body)
        for state, new in scan.carry:
            n = state.size
            place = _plus(new.offset, "i")
            if new.moving:
                place += f" + {_times('t', new.moving)}"
            source = f"{new.buffer.name}[{place}]"
            self.lines.append(
                f"for (ptrdiff_t i = 0; i < {n}; i++) {state.buffer.name}[i] = {source};"
            )
        self.lines.append("}")

    # ---- elementwise operations and reductions ---------------------------------------------------

    def _leaf(self, leaf: Leaf) -> None:
        operation = leaf.operation
        loops = [self._variables[x] for x in leaf.path if isinstance(x, Loop)]
        places = self._places(operation, loops)
        value = self._value(operation, loops, places)
        if isinstance(operation, Reduce):
            if operation.scatters and not operation.domain:  # else its loop does it
                self._begin(operation)
            self._reduce(operation, value, loops, places.get(-1, []))
            return
        out = operation.out
        self._count += 1
        local = out.buffer.name if out.buffer.kind == "local" else f"e{self._count}"
        self.lines.append(f"const {out.buffer.c_type} {local} = {value};")
        if out.buffer.kind != "local":
            self.lines.append(f"{self._element(out, loops)} = {local};")
        if self.memory.writers[out.buffer] == 1:
            self._known[-1][_key(out)] = local

    def _value(self, operation: Operation, loops: list[str], places: Places) -> str:
        """The text of an operation with its operands."""
        operands = []
        for i, x in enumerate(operation.operands):
            if isinstance(x, Array):
                operands.append(self._read(x, operation, loops, places.get(i, [])))
            else:
                operands.append(literal(x, operation.cast or operation.out.dtype))
        single = (operation.cast or operation.out.dtype) == np.float32
        variables = dict(zip([f"x{axis}" for axis in operation.axes], loops, strict=True))
        first = {f"x{k}": "0" for k in range(10)}
        text = operation.text.replace("#", "f32" if single else "f64")
        text = text.replace("~", "f" if single else "")
        text = text.format(*operands, **(first | variables))
        checked = [name for picks in places.values() for name, pick in picks if pick.checked]
        if checked and isinstance(operation, Map):
            nothing = "NAN" if operation.out.dtype.kind == "f" else "0"
            inside = " && ".join([f"{name} >= 0" for name in checked])
            return f"{inside} ? {text} : {nothing}"
        return text

    def _places(self, operation: Operation, loops: list[str]) -> Places:
        """The variables that hold the places of picks, by the operand that is picked from."""
        places: Places = {}
        for pick in operation.picks:
            self._count += 1
            name = f"p{self._count}"
            where = self._element(operation.operands[pick.operand], loops)
            if pick.checked:
                self.needs_place = True
                kind = "place_from_end" if pick.wraps else "place"
                where = f"{kind}({where}, {pick.length})"
            self.lines.append(f"const ptrdiff_t {name} = {where};")
            if pick.checked and self.simd:
                self.lines.append(f"if ({name} < 0) work->bad = 1;")
            places.setdefault(pick.array, []).append((name, pick))
        return places

    def _read(self, x: Array, operation: Operation, loops: list[str], picks: Any) -> str:
        more = [f"{name} * {pick.stride}" for name, pick in picks]
        name = None if more else self._name_of(x)
        text = name or self._element(x, loops, more)
        if operation.cast is not None and x.dtype not in (operation.cast, np.bool_):
            return f"({C_TYPES[operation.cast]}){text}"
        return text

    def _name_of(self, x: Array) -> str | None:
        key = _key(x)
        for scope in reversed(self._known):
            if key in scope:
                return scope[key]
        return x.buffer.name if x.buffer.kind == "local" else None

    def _element(self, x: Array, loops: list[str], more: Sequence[str] = ()) -> str:
        if x.buffer.kind == "local":
            return x.buffer.name
        if x.buffer.is_number:
            return literal(x.buffer.data.reshape(-1)[0], x.dtype)
        terms = [_times(var, stride) for var, stride in zip(loops, x.strides) if stride]
        terms += more
        if x.moving:
            terms.append(_times("t", x.moving))
        if x.offset or not terms:
            terms.append(str(x.offset))
        return f"{x.buffer.name}[{' + '.join(terms)}]"

    def _begin(self, operation: Reduce) -> None:
        """What a reduction starts with."""
        out = operation.out
        start = start_of(operation.kind, out.dtype)
        if operation.is_inner:
            self.lines.append(f"{out.buffer.c_type} {_sum_name(operation)} = {start};")
            return
        if operation.scatters:
            self.lines.append(
                f"for (ptrdiff_t i = 0; i < {out.buffer.size}; i++) {out.buffer.name}[i] = {start};"
            )
            return
        loops = list(self._variables.values())
        lines = []
        for k in range(operation.outermost, len(operation.domain)):
            var = f"z{k}"
            loops.append(var)
            if operation.out.strides[k]:
                n = operation.domain[k]
                lines.append(f"for (ptrdiff_t {var} = 0; {var} < {n}; {var}++)")
        self.lines.append(f"{' '.join(lines)} {self._element(out, loops)} = {start};")

    def _reduce(
        self, operation: Reduce, value: str, loops: list[str], picked: list[tuple[str, Pick]]
    ) -> None:
        out = operation.out
        local = value
        if not value.isidentifier():
            self._count += 1
            local = f"e{self._count}"
            self.lines.append(f"const {out.buffer.c_type} {local} = {value};")
        update = _UPDATES[operation.kind]
        if out.dtype.kind != "f":
            update = update.replace(" && {a} == {a}", "")
            update = _INTEGER_UPDATES.get(operation.kind, update)
        if operation.is_inner and operation.reduces:
            self.lines.append(update.format(a=_sum_name(operation), v=local))
            return
        if not operation.reduces:
            target = self._element(out, loops)
            declared = f"const {out.buffer.c_type} " if out.buffer.kind == "local" else ""
            self.lines.append(f"{declared}{target} = {local};")
            return
        target = self._element(out, loops, [f"{name} * {p.stride}" for name, p in picked])
        line = update.format(a=target, v=local)
        inside = " && ".join([f"{name} >= 0" for name, p in picked if p.checked])
        self.lines.append(f"if ({inside}) {line}" if inside else line)

    def _end(self, operation: Reduce) -> None:
        if not operation.is_inner or operation.out.buffer.kind == "local":
            return
        loops = list(self._variables.values())
        rest = ["0"] * (len(operation.domain) - len(loops))
        element = self._element(operation.out, loops + rest)
        self.lines.append(f"{element} = {_sum_name(operation)};")


def _pragma(loop: Loop) -> list[str]:
    """What tells a compiler that the turns of an innermost loop may be done side by side."""
    leaves = [item for item in loop.body if isinstance(item, Leaf)]
    if len(leaves) < len(loop.body):
        return []
    sums = []
    for leaf in leaves:
        operation = leaf.operation
        if operation.picks:
            return []
        if isinstance(operation, Reduce) and operation.reduces:
            if operation.is_inner and operation.kind == "sum":
                sums.append(_sum_name(operation))
            elif operation.out.strides[-1] == 0:
                return []
    return [f"SIMD_SUM({', '.join(sums)})"] if sums else ["SIMD"]


def _sum_name(operation: Reduce) -> str:
    buffer = operation.out.buffer
    return buffer.name if buffer.kind == "local" else f"a_{buffer.name}"


def _key(x: Array) -> Key:
    return x.buffer, x.offset, x.strides, x.moving


def _times(var: str, stride: int) -> str:
    return var if stride == 1 else f"{var} * {stride}"


def _plus(offset: int, var: str) -> str:
    return f"{offset} + {var}" if offset else var


def field_of(dtype: Any) -> str:
    """The name of the part of the work memory for a dtype."""
    return f"{np.dtype(dtype).kind}{np.dtype(dtype).itemsize}"


def start_of(kind: str, dtype: Any) -> str:
    """What a reduction of a kind starts with, in C."""
    if dtype.kind == "f" or kind not in ("max", "min"):
        return _STARTS[kind]
    if dtype.kind == "b":
        return "0" if kind == "max" else "1"
    least = np.iinfo(dtype)
    return literal(least.min if kind == "max" else least.max, dtype)


def names_in(item: Item) -> list[str]:
    """The functions that the operations of an item came from, each once."""
    if isinstance(item, Leaf | Block):
        return [item.operation.origin]
    names = [item.operation.origin] if isinstance(item, ScanLoop) else []
    for inner in item.body:
        names += names_in(inner)
    return list(dict.fromkeys(names))
