"""Where the arrays of a C program lie: in variables, in scratch of a row, or in shared work memory.

Which loops there are is decided in loops.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.compiler.native.arrays import Array, Buffer
from minidl.compiler.native.loops import Item, Leaf, Loop, Path, ScanLoop

ALIGNMENT = 64  # bytes


class Access(NamedTuple):
    """One use of an array: by which operation, inside which loops, in which item of the program."""

    array: Array
    path: Path
    item: Item
    leaf: Leaf | None  # None for products and what a scan carries


class Memory:
    """Where everything lies: ``offset`` of buffers in the work memory, ``sizes`` of it by dtype."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.uses: dict[Buffer, list[Access]] = {}
        self.writers: Counter[Buffer] = Counter()  # how many operations write a buffer
        self._order = {id(item): i for i, item in enumerate(items)}
        for item in items:
            self._note(item, item)
        self.offset: dict[Buffer, int] = {}
        self.sizes: dict[np.dtype[Any], int] = {}
        for buffer, uses in self.uses.items():
            if buffer.kind == "work" and self.writers[buffer] == 1:
                _shrink(buffer, uses)
        for dtype in dict.fromkeys([b.dtype for b in self.uses if b.kind == "work"]):
            self._share([b for b in self.uses if b.kind == "work" and b.dtype == dtype], dtype)

    def _note(self, item: Item, outermost: Item) -> None:
        if isinstance(item, Loop):
            for inner in item.body:
                self._note(inner, outermost)
            return
        leaf = item if isinstance(item, Leaf) else None
        if isinstance(item, ScanLoop):
            for inner in item.body:
                self._note(inner, outermost)
            arrays = [array for pair in item.operation.carry for array in pair]
            self.writers.update([state.buffer for state, _ in item.operation.carry])
        else:
            arrays = [*item.operation.reads, *item.operation.writes]
            self.writers.update([array.buffer for array in item.operation.writes])
        for array in arrays:
            self.uses.setdefault(array.buffer, []).append(Access(array, item.path, outermost, leaf))

    def _share(self, buffers: list[Buffer], dtype: np.dtype[Any]) -> None:
        """Give places to buffers, the same to those that are not needed at the same time."""
        step = ALIGNMENT // dtype.itemsize
        placed: list[tuple[int, int, int, int]] = []  # offset, size, first and last item
        for buffer in sorted(buffers, key=lambda b: -b.size):
            items = [self._order[id(use.item)] for use in self.uses[buffer]]
            first, last = min(items), max(items)
            size = -(-max(buffer.size, 1) // step) * step
            offset = 0
            for start, length, begin, end in sorted(placed):
                if begin <= last and first <= end:
                    if offset + size <= start:
                        break
                    offset = max(offset, start + length)
            placed.append((offset, size, first, last))
            self.offset[buffer] = offset
        self.sizes[dtype] = max([o + n for o, n, _, _ in placed], default=0)


def _shrink(buffer: Buffer, uses: list[Access]) -> None:
    """Keep of a buffer what is needed at one turn of the loops that all of its uses share."""
    if any(use.leaf is None or use.array.moving for use in uses):
        return
    common = _common([use.path for use in uses])
    loops = [x for x in common if isinstance(x, Loop)]
    if not loops and any(use.item is not uses[0].item for use in uses):
        return
    for loop in loops:
        steps = {use.array.strides[_axis(use, loop)] for use in uses}
        if len(steps) != 1:
            return
    for use in uses:
        strides = list(use.array.strides)
        for loop in loops:
            strides[_axis(use, loop)] = 0
        use.array.strides = tuple(strides)
    start = min([use.array.offset for use in uses])
    for use in uses:
        use.array.offset -= start
    buffer.size = 1 + max([_last_place(use) for use in uses])
    if buffer.size == 1 and common:
        buffer.kind = "local"


def _axis(use: Access, loop: Loop) -> int:
    assert use.leaf is not None  # see _shrink
    return use.leaf.path_axis(loop)


def _last_place(use: Access) -> int:
    assert use.leaf is not None  # see _shrink
    operation = use.leaf.operation
    return use.array.offset + operation.spans(use.array, 0)


def _common(paths: list[Path]) -> Path:
    """The loops that stand around all."""
    common = paths[0]
    for path in paths[1:]:
        same = [a is b for a, b in zip(common, path)]
        common = common[: same.index(False) if False in same else len(same)]
    return common
