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
from minidl.compiler.native.operations import Call
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
        self._address = ctypes.c_void_p(self.table.ctypes.data)
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
        if isinstance(part, Call):
            return Between(part, self)
        address = self._address
        return lambda: part(address)

    def view(self, x: Array) -> Any:
        """An array of the program as one of NumPy's."""
        memory = self._memory(x.buffer)[x.offset :]
        strides = tuple([s * x.dtype.itemsize for s in x.strides])
        view = as_strided(memory, x.shape, strides)
        return view if x.shape else view[()]

    def _memory(self, buffer: Buffer) -> Any:
        if buffer.kind == "constant":
            return buffer.data.reshape(-1)
        if buffer in self._offset:
            start = self.parts[field_of(buffer.dtype)]
            start += self._offset[buffer] * buffer.dtype.itemsize
            return self.work[start : start + buffer.size * buffer.dtype.itemsize].view(buffer.dtype)
        i = next(i for i, array in enumerate(self.arrays) if array.buffer is buffer)
        held = self.held[i]
        return (self.copies[i] if held is None else held).reshape(-1)


class Between:
    """A step that NumPy computes, on the memory of a run."""

    def __init__(self, call: Call, arena: Arena) -> None:
        self.call = call
        self.arena = arena

    def __call__(self) -> None:
        step = self.call.step
        operands = [self._value(x) for x in self.call.operands]
        if step.is_effect:
            if self.arena.bad[0]:
                return  # nothing may be written; who runs all this raises then
            operands = [x.copy() if type(x) is np.ndarray else x for x in operands]
        result = step.call(*operands, **step.settings)
        if step.function.saves and not step.derivative:
            result = result[0]
        results = result if isinstance(result, tuple) else (result,)
        for out, value in zip(self.call.outs, results, strict=True):
            if np.shape(value) != out.shape or value.dtype != out.dtype:
                want = f"{out.dtype} {out.shape}"
                raise ValueError(f"{step.name}: want {want}, got {value.dtype} {np.shape(value)}")
            memory = self.arena._memory(out.buffer)
            memory[...] = np.reshape(value, -1)

    def _value(self, x: Any) -> Any:
        if isinstance(x, Array):
            return self.arena.view(x)
        return tuple([self._value(part) for part in x]) if type(x) is tuple else x


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


def is_referred(array: Array) -> bool:
    """Whether an input is too large to be copied."""
    return array.buffer.kind == "input" and array.size * array.dtype.itemsize > COPIED


def _room(array: Array) -> Any:
    """Memory for an input or output; none for an input that is read where it is."""
    shape = (0,) if is_referred(array) else array.shape
    nbytes = int(np.prod(shape)) * array.dtype.itemsize
    return _aligned(max(nbytes, 1))[:nbytes].view(array.dtype).reshape(shape)
