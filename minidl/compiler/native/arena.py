"""The memory of one run of a program in C, and the calls of NumPy on it.

What runs on it is printed in code.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.compiler.native.arrays import Array, Buffer
from minidl.compiler.native.c_printer import field_of
from minidl.compiler.native.operations import Call, Dot
from minidl.compiler.native.optimizers import NativeUpdate
from minidl.compiler.native.program import CProgram

COPIED = (
    2**14
)  # bytes of an input that is copied into a buffer; larger ones are read where they are
ALIGNMENT = 64  # bytes


class Arena:
    """Work memory, room for inputs that are copied and for outputs, and the table of addresses.

    ``copies`` are those of ``arrays``, in order; ``bad`` is set by C for a place outside an array.
    """

    def __init__(
        self, program: CProgram, arrays: Sequence[Array], runs: Sequence[list[Any]]
    ) -> None:
        self.arrays = arrays
        self.parts, total = _places_of(program)
        self.work = _aligned(total + ALIGNMENT)
        self.bad = self.work[total : total + 4].view(np.int32)
        self.copies = [_room(array) for array in arrays]
        self.held: list[Any] = [None] * len(arrays)  # inputs that are read where they are
        addresses = [self.work.ctypes.data, *[x.ctypes.data for x in self.copies]]
        self.table = np.array(addresses, np.uint64)
        self._offset = program.memory.offset
        self.address = ctypes.c_void_p(self.table.ctypes.data)
        self.forward, self.backward = [self._in_order(parts) for parts in runs]

    def refer(self, i: int, x: Any) -> None:
        """Let a large input be read where it lies; or copy it, if its elements are not in a row."""
        self.held[i] = None
        if x.flags.c_contiguous and x.flags.aligned:
            self.held[i] = x
            self.table[i + 1] = x.ctypes.data
            return
        if self.copies[i].shape != x.shape:
            self.copies[i] = np.empty(x.shape, x.dtype)
        self.copies[i][...] = x
        self.table[i + 1] = self.copies[i].ctypes.data

    def _in_order(self, parts: list[Any]) -> Callable[[], None]:
        """What runs functions of C and calls of NumPy one after the other."""
        calls = [self._call(part) for part in parts]
        if len(calls) == 1:
            return calls[0]

        def run() -> None:
            for call in calls:
                call()

        return run

    def _call(self, part: Any) -> Callable[[], None]:
        if isinstance(part, NativeUpdate):
            return Update(part, self)
        if isinstance(part, Dot):
            return Product(part, self)
        if isinstance(part, Call):
            return Effect(part, self) if part.step.is_effect else Between(part, self)
        address = self.address
        return lambda: part(address)

    def view(self, x: Array) -> Any:
        """An array of the program as one of NumPy's."""
        memory = self._memory(x.buffer)[x.offset :]
        strides = tuple([s * x.dtype.itemsize for s in x.strides])
        return as_strided(memory, x.shape, strides)

    def _memory(self, buffer: Buffer) -> Any:
        if buffer.kind == "constant":
            return buffer.data.reshape(-1)
        if buffer in self._offset:
            start = self.parts[field_of(buffer.dtype)]
            start += self._offset[buffer] * buffer.dtype.itemsize
            return self.work[start : start + buffer.size * buffer.dtype.itemsize].view(buffer.dtype)
        i = next(i for i, array in enumerate(self.arrays) if array.buffer is buffer)
        held = self.held[i]
        memory = (self.copies[i] if held is None else held).reshape(-1)
        return memory if memory.size == buffer.size else np.zeros(buffer.size, buffer.dtype)


class Between:
    """A step that NumPy computes, on the memory of a run."""

    def __init__(self, call: Call, arena: Arena) -> None:
        self.call = call
        self.arena = arena
        self.moving = any(x.buffer.is_referred for x in call.reads)
        self.operands = self._values()
        self.outs = [arena.view(x) for x in call.outs]

    def _values(self) -> list[Any]:
        return [self._value(x) for x in self.call.operands]

    def _value(self, x: Any) -> Any:
        if isinstance(x, Array):
            return self.arena.view(x)
        return tuple([self._value(part) for part in x]) if type(x) is tuple else x

    def __call__(self) -> None:
        if self.moving:
            self.operands = self._values()
        self.run(*self.operands)

    def run(self, *operands: Any) -> None:
        """Compute, and write the results."""
        step = self.call.step
        result = step.call(*map(_number, operands), **step.settings)
        if step.function.saves and not step.derivative:
            result = result[0]
        results = result if isinstance(result, tuple) else (result,)
        for out, value in zip(self.outs, results, strict=True):
            if np.shape(value) != out.shape or value.dtype != out.dtype:
                want = f"{out.dtype} {out.shape}"
                raise ValueError(f"{step.name}: want {want}, got {value.dtype} {np.shape(value)}")
            out[...] = value


class Product(Between):
    """A product of matrices."""

    def run(self, *operands: Any) -> None:
        a, b = operands
        np.matmul(a, b, out=self.outs[0])


class Effect(Between):
    """A step that does something: an update, with gradients in memory of their own."""

    def run(self, *operands: Any) -> None:
        if self.arena.bad[0]:
            return  # nothing may be written; who runs all this raises then
        step = self.call.step
        result = step.call(*[_number(x.copy()) if _is_array(x) else x for x in operands])
        if self.outs:
            self.outs[0][...] = result


class Update(Between):
    """An update in C; by NumPy where the optimizer is not as it was."""

    def __init__(self, native: NativeUpdate, arena: Arena) -> None:
        super().__init__(native.call, arena)
        self.native = native
        self.plain = Effect(native.call, arena)
        self.numbers = np.zeros(max(native.count, 1))
        self.table: Any = None
        self.address: Any = None

    def run(self, *operands: Any) -> None:
        if self.arena.bad[0]:
            return
        numbers = self.native.numbers()
        if numbers is None:
            self.plain.run(*operands)
            return
        if self.table is None:
            self._bind(operands)
        self.numbers[: len(numbers)] = numbers
        self.native.leave([_number(x.copy()) for x in operands])
        self.native.function(self.address)

    def _bind(self, gradients: Sequence[Any]) -> None:
        """The table of addresses, which stay as long as the optimizer's buffers do."""
        arrays = [self.numbers, *self.native.arrays(gradients)]
        self.table = np.array([x.ctypes.data for x in arrays], np.uint64)
        self.address = ctypes.c_void_p(self.table.ctypes.data)


def _is_array(x: Any) -> bool:
    return type(x) is np.ndarray


def _number(x: Any) -> Any:
    """A number for an array without axes."""
    if type(x) is tuple:
        return tuple([_number(part) for part in x])
    return x if not _is_array(x) or x.ndim else x[()]


def _places_of(program: CProgram) -> tuple[dict[str, int], int]:
    """Where the parts of the work memory begin, in bytes, and where they end."""
    start = 0
    places = {}
    for dtype, n in program.parts:
        places[field_of(dtype)] = start
        start += n * dtype.itemsize
    return places, start


def _aligned(nbytes: int) -> Any:
    memory = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + nbytes]


def _room(array: Array) -> Any:
    """Memory for an input or output; none for an input that is read where it is."""
    shape = (0,) if array.buffer.is_referred else array.shape
    nbytes = int(np.prod(shape)) * array.dtype.itemsize
    return _aligned(max(nbytes, 1))[:nbytes].view(array.dtype).reshape(shape)
