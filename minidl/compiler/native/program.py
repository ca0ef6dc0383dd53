"""A program in C: the operations of primitive steps, their loops and memory, and the text of all.

What is around it, a file of its own or a library, is in export.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.compiler.native import rules
from minidl.compiler.native.arrays import Array, Buffer, constant_array, new_array
from minidl.compiler.native.c_printer import Printer, decimal, field_of, literal
from minidl.compiler.native.loops import Item, arrange, flatten
from minidl.compiler.native.lowering import Lowering
from minidl.compiler.native.memory import Memory
from minidl.compiler.native.trace import Primitive
from minidl.compiler.program import Operand, Value

RULES = rules.ALL  # which are there once their files are imported


class CProgram:
    """The C of a primitive program: ``lines`` that compute the outputs from the inputs.

    ``outputs`` come with their names in C, ``names`` has those of constants, by ids of the arrays.
    """

    def __init__(
        self,
        primitive: Primitive,
        inputs: dict[Value, Array],
        outputs: Sequence[tuple[Operand, str]],
        names: dict[int, str],
        simd: bool = False,
    ) -> None:
        self.lowering = Lowering(primitive.constants)
        self.lowering.of.update(inputs)
        self.lowering.lower(primitive.steps, primitive.recorder.origin)
        self.outputs = [self._output(operand, name) for operand, name in outputs]
        items: list[Item] = arrange(self.lowering.operations)
        flatten(items)
        self.memory = Memory(items)
        self.constants = [b for b in self.memory.uses if b.kind == "constant" and b.size != 1]
        self._name_buffers(names)
        printer = Printer(self.memory, simd)
        self.lines = printer.program(items)
        self.checks_places = printer.needs_place

    def _output(self, operand: Operand, name: str) -> Array:
        low = self.lowering
        x = low.operand(operand)
        array = x if isinstance(x, Array) else constant_array(np.asarray(x))
        low.origin = "result"
        if array.is_whole and array.buffer.kind == "work":
            array.buffer.kind = "output"
            array.buffer.name = name
            return array
        out = new_array(array.shape, array.dtype, "output")
        out.buffer.name = name
        low.write(array, out)
        low.operations[-1].origin = low.origin
        return out

    def _name_buffers(self, names: dict[int, str]) -> None:
        for buffer in self.constants:
            buffer.name = names.get(id(buffer.data), "")
        for letter, kinds in (("v", ("work", "local")), ("w", ("constant",))):
            buffers = [b for b in self.memory.uses if b.kind in kinds and not b.name]
            for i, buffer in enumerate(buffers):
                buffer.name = f"{letter}{i}"

    @property
    def nbytes(self) -> int:
        """Bytes of work memory."""
        return sum([n * dtype.itemsize for dtype, n in self.memory.sizes.items()])

    def fields(self) -> list[str]:
        """The declarations of the work memory."""
        sizes = [(dtype, n) for dtype, n in self.memory.sizes.items() if n]
        return [
            f"{Buffer(dtype, n).c_type} {field_of(dtype)}[{n}];"
            for dtype, n in sorted_by_size(sizes)
        ]


def sorted_by_size(sizes: list[tuple[np.dtype[Any], int]]) -> list[tuple[np.dtype[Any], int]]:
    """Parts of a struct, those of large elements first."""
    return sorted(sizes, key=lambda part: (-part[0].itemsize, str(part[0])))


def constant_lines(buffer: Buffer, width: int = 96) -> list[str]:
    """The definition of an array whose elements are known."""
    numbers = _numbers(buffer.data.reshape(-1))
    lines = [f"static const {buffer.c_type} {buffer.name}[{max(buffer.size, 1)}] = {{"]
    line = ""
    for number in numbers or ["0"]:
        if len(line) + len(number) + 2 > width:
            lines.append(line.rstrip())
            line = ""
        line += f"{number}, "
    return [*lines, line.rstrip(" ,"), "};"]


def _numbers(data: Any) -> list[str]:
    if data.dtype.kind == "f" and np.isfinite(data).all():
        return [decimal(x, data.dtype) for x in data.tolist()]
    return [literal(x, data.dtype) for x in data]


def indented(lines: Sequence[str]) -> list[str]:
    """Lines of C, moved in by the braces around them."""
    depth = 1
    result = []
    for line in lines:
        depth -= line.startswith("}")
        result.append("  " * depth + line if line else line)
        depth += line.endswith("{") or (line.startswith("{ ") and not line.endswith("}"))
    return result
