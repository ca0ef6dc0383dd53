"""A program in C: the operations of primitive steps, their loops and memory, and the text of all.

What is around it, a file of its own or a library, is in export.py and code.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl.compiler.native import rules
from minidl.compiler.native.arrays import Array, Buffer, constant_array, new_array
from minidl.compiler.native.c_printer import Printer, field_of
from minidl.compiler.native.literals import decimal, literal
from minidl.compiler.native.loops import Block, Item, arrange, flatten
from minidl.compiler.native.lowering import Lowering
from minidl.compiler.native.memory import Memory
from minidl.compiler.native.operations import Call
from minidl.compiler.native.primitives import Primitives
from minidl.compiler.program import Operand, Step, Value

RULES = rules.ALL  # which are there once their files are imported
Part: TypeAlias = "list[Item] | Call"  # loops in C one after the other, or a call of NumPy


class CProgram:
    """The C of a primitive program, whose inputs are these arrays.

    ``outputs`` are the Arrays of its outputs and then gradients, with these names. ``forward`` and
    ``backward`` are its parts, ``lines`` gives the C of one. ``constants`` have the names of
    ``weights``, by ids of their arrays.
    """

    def __init__(
        self,
        primitives: Primitives,
        inputs: dict[Value, Array],
        names: Sequence[str],
        weights: dict[int, str] | None = None,
        library: bool = False,
    ) -> None:
        program = primitives.program
        self.lowering = Lowering(primitives.constants, library)
        self.lowering.of.update(inputs)
        count = len(program.outputs)
        at = program.backward_at
        items = self._items(
            primitives, program.steps[:at], list(zip(program.outputs, names, strict=False))
        )
        self.outputs = self._last
        gradients = [g for g in program.gradients if g is not None]
        later = list(zip(gradients, names[count:], strict=True))
        more = self._items(primitives, program.steps[at:], later)
        self.outputs = [*self.outputs, *self._last]
        self.memory = Memory([*items, *more])
        self.constants = [b for b in self.memory.uses if b.kind == "constant" and not b.is_number]
        self._name_buffers(weights or {})
        self.printer = Printer(self.memory, library)
        self.forward = _parts(items)
        self.backward = _parts(more)

    def _items(
        self,
        primitives: Primitives,
        steps: Sequence[Step],
        outputs: Sequence[tuple[Operand, str]],
    ) -> list[Item]:
        """Loops for some steps, and what hands out their results."""
        self.lowering.operations = []
        self.lowering.lower(steps, primitives.origin)
        self._last = [self._output(operand, name) for operand, name in outputs]
        items: list[Item] = arrange(self.lowering.operations)
        flatten(items)
        return items

    def _output(self, operand: Operand, name: str) -> Array:
        low = self.lowering
        x = low.operand(operand)
        array = x if isinstance(x, Array) else constant_array(np.asarray(x))
        if array.is_whole and array.buffer.kind == "work":
            array.buffer.kind = "output"
            array.buffer.name = name
            return array
        out = new_array(array.shape, array.dtype, "output")
        out.buffer.name = name
        low.write(array, out)
        low.operations[-1].origin = "result"
        return out

    def _name_buffers(self, weights: dict[int, str]) -> None:
        taken: set[str] = set()  # weights a.b_c and a_b.c would have one name
        for buffer in self.constants:
            name = weights.get(id(buffer.data), "")
            buffer.name = "" if name in taken else name
            taken.add(name)
        for letter, kinds in (("v", ("work", "local")), ("w", ("constant",))):
            buffers = [b for b in self.memory.uses if b.kind in kinds and not b.name]
            for i, buffer in enumerate(buffers):
                buffer.name = f"{letter}{i}"

    def lines(self, part: list[Item]) -> list[str]:
        """The C of a part."""
        self.printer.lines = []
        return self.printer.program(part)

    def all_lines(self) -> list[str]:
        """The C of the forward, which has no calls."""
        parts = [part for part in self.forward if isinstance(part, list)]
        return [line for part in parts for line in self.lines(part)]

    def buffers_of(self, part: list[Item]) -> list[Buffer]:
        """What a part reads and writes."""
        return [b for b, uses in self.memory.uses.items() if any(u.item in part for u in uses)]

    @property
    def nbytes(self) -> int:
        """Bytes of work memory."""
        return sum([n * dtype.itemsize for dtype, n in self.memory.sizes.items()])

    @property
    def parts(self) -> list[tuple[np.dtype[Any], int]]:
        """The dtypes and sizes of the parts of the work memory, in their order in the struct."""
        sizes = [(dtype, n) for dtype, n in self.memory.sizes.items() if n]
        return sorted(sizes, key=lambda part: (-part[0].itemsize, str(part[0])))

    def fields(self) -> list[str]:
        """The declarations of the work memory."""
        return [f"{Buffer(dtype, n).c_type} {field_of(dtype)}[{n}];" for dtype, n in self.parts]


def _parts(items: Sequence[Item]) -> list[Part]:
    """Loops one after the other, and the calls between them."""
    parts: list[Part] = []
    for item in items:
        if isinstance(item, Block) and isinstance(item.operation, Call):
            parts.append(item.operation)
        elif parts and isinstance(parts[-1], list):
            parts[-1].append(item)
        else:
            parts.append([item])
    return parts


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
