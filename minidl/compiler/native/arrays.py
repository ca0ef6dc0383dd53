"""Strided arrays of a C program: buffers of memory, and views of them.

What is computed of them is in operations.py, where buffers lie in memory.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]

C_TYPES = {
    np.dtype(kind): name
    for kind, name in {
        "f4": "float",
        "f8": "double",
        "?": "uint8_t",
        "i1": "int8_t",
        "i2": "int16_t",
        "i4": "int32_t",
        "i8": "int64_t",
        "u1": "uint8_t",
        "u2": "uint16_t",
        "u4": "uint32_t",
        "u8": "uint64_t",
    }.items()
}


class NotInC(Exception):
    """What a program does has no form in C; the message says what it is."""


class Buffer:
    """Memory for so many elements of a dtype.

    ``kind``: "input", "output", "state", "constant" (with its ``data``), or "work", which may be
    anywhere. ``name`` is what it is called in C. ``is_referred``: C reads an input where the
    caller has it.
    """

    __slots__ = ("data", "dtype", "is_referred", "kind", "name", "size")

    def __init__(self, dtype: Any, size: int, kind: str = "work", data: Any = None) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype not in C_TYPES:
            raise NotInC(f"{self.dtype} arrays")
        self.size = size
        self.kind = kind
        self.data = data
        self.name = ""
        self.is_referred = False

    @property
    def is_number(self) -> bool:
        """Whether it is a number that is known, and stands in the code itself."""
        return self.kind == "constant" and self.size == 1

    @property
    def c_type(self) -> str:
        """The type of an element in C."""
        return C_TYPES[self.dtype]


class Array:
    """A view of a buffer: element (i, j, ..) is at ``offset + i * strides[0] + j * strides[1]..``.

    ``moving``: in a scan, how much further the view lies with each step of it.
    """

    __slots__ = ("buffer", "moving", "offset", "shape", "strides")

    def __init__(
        self,
        buffer: Buffer,
        shape: Shape,
        strides: Shape | None = None,
        offset: int = 0,
        moving: int = 0,
    ) -> None:
        self.buffer = buffer
        self.shape = tuple(shape)
        self.strides = row_major(self.shape) if strides is None else tuple(strides)
        self.offset = offset
        self.moving = moving

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self.buffer.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_whole(self) -> bool:
        """Whether it is its buffer, element by element."""
        plain = all(s == r or n == 1 for n, s, r in self._steps())
        return plain and self.size == self.buffer.size and not self.offset and not self.moving

    def _steps(self) -> list[tuple[int, int, int]]:
        return list(zip(self.shape, self.strides, row_major(self.shape), strict=True))

    def view(self, shape: Shape, strides: Shape | None = None, offset: int = 0) -> Array:
        """Another view of the same buffer, from so much further on."""
        return Array(self.buffer, shape, strides, self.offset + offset, self.moving)

    def broadcast(self, shape: Shape) -> Array:
        """The view as NumPy broadcasts it to a shape."""
        lead = len(shape) - len(self.shape)
        pairs = zip(self.shape, self.strides, shape[lead:], strict=True)
        steps = [0 if n == 1 and n != m else s for n, s, m in pairs]
        return self.view(shape, (0,) * lead + tuple(steps))

    def without(self, axes: Sequence[int]) -> Array:
        """The view without some of its axes, along which it stands still or there is one place."""
        left = [i for i in range(len(self.shape)) if i not in axes]
        shape = tuple([self.shape[i] for i in left])
        return self.view(shape, tuple([self.strides[i] for i in left]))

    def at_slices(self, slices: Sequence[slice]) -> Array:
        """The view that slices of step 1, one for each of the first axes, give."""
        shape = list(self.shape)
        offset = 0
        for i, part in enumerate(slices):
            start, stop, _ = part.indices(self.shape[i])
            shape[i] = stop - start
            offset += start * self.strides[i]
        return self.view(tuple(shape), self.strides, offset)

    def places(self) -> npt.NDArray[np.int64]:
        """The place in the buffer of each element, without what moves."""
        places = np.full((), self.offset, np.int64)
        for n, stride in zip(self.shape, self.strides, strict=True):
            places = places[..., None] + np.arange(n, dtype=np.int64) * stride
        return places

    def at(self, places: npt.NDArray[np.int64]) -> Array | None:
        """The view whose elements are at these places, or None if no strides give them."""
        if places.size == 0:
            return self.view(places.shape, row_major(places.shape), -self.offset)
        origin = places[(0,) * places.ndim]
        ends = [
            places[(0,) * i + (1,) + (0,) * (places.ndim - i - 1)] if n > 1 else origin
            for i, n in enumerate(places.shape)
        ]
        strides = tuple([int(end - origin) for end in ends])
        found = Array(self.buffer, places.shape, strides, int(origin), self.moving)
        return found if np.array_equal(found.places(), places) else None


def row_major(shape: Shape) -> Shape:
    """The strides of an array whose last axis is contiguous."""
    return tuple([math.prod(shape[i + 1 :]) for i in range(len(shape))])


def new_array(shape: Shape, dtype: Any, kind: str = "work") -> Array:
    """An array with a buffer of its own."""
    return Array(Buffer(dtype, math.prod(shape), kind), shape)


def constant_array(data: Any) -> Array:
    """An array whose elements are known."""
    array = np.ascontiguousarray(data)
    return Array(Buffer(array.dtype, array.size, "constant", array), np.shape(data))
