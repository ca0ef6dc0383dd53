"""Loops: each operation in a nest of them, with others where one's results are the other's operands.

What stands in the innermost loops is printed by c_printer.py; where arrays lie is in memory.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from minidl.compiler.native.arrays import Array, Buffer
from minidl.compiler.native.operations import Call, Operation, Product, Reduce, Scan

Item: TypeAlias = "Loop | Leaf | Block | ScanLoop"
Path: TypeAlias = tuple[Any, ...]  # the loops around something, outermost first


class Loop:
    """``for`` each of ``length`` places do what is in ``body``."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.body: list[Item] = []
        self.sums: list[Leaf] = []  # reductions that this is the outermost loop of

    def leaves(self) -> Iterator[Leaf]:
        """All elementwise operations in it."""
        for item in self.body:
            if isinstance(item, Leaf):
                yield item
            elif isinstance(item, Loop):
                yield from item.leaves()


class Leaf:
    """An elementwise operation or a reduction, inside loops over the axes of its domain."""

    def __init__(self, operation: Operation, path: Path) -> None:
        self.operation = operation
        self.path = path

    def path_axis(self, loop: Loop) -> int:
        """Along which axis of its domain it goes round with a loop."""
        return [x for x in self.path if isinstance(x, Loop)].index(loop)


class Block:
    """A product, with loops of its own, or a call of NumPy."""

    def __init__(self, operation: Product | Call, path: Path) -> None:
        self.operation = operation
        self.path = path


class ScanLoop:
    """A scan: its body, for each time, and then the next state takes the place of the old."""

    def __init__(self, operation: Scan, path: Path) -> None:
        self.operation = operation
        self.path = path
        self.body: list[Item] = []


def arrange(operations: Sequence[Any], path: Path = ()) -> list[Item]:
    """Loops for operations, in an order that gives each its operands."""
    items: list[Item] = []
    written: dict[Buffer, int] = {}  # which item writes a buffer last
    for operation in operations:
        place = _place(items, written, operation, path)
        for array in written_by(operation):
            written[array.buffer] = max(place, written.get(array.buffer, 0))
    return items


def _place(items: list[Item], written: dict[Buffer, int], operation: Any, path: Path) -> int:
    """Put an operation into the first loops that can take it, or into new ones at the end."""
    if not isinstance(operation, Operation):
        items.append(_alone(operation, path))
        return len(items) - 1
    touched = [*operation.reads, *operation.writes]
    first = max([written.get(array.buffer, 0) for array in touched], default=0)
    for i in range(first, len(items)):
        item = items[i]
        if isinstance(item, Loop) and _fits(item, operation, 0):
            _insert(item, operation, 0, (*path, item))
            return i
    leaf, item = _nest(operation, 0, path)
    items.append(item)
    return len(items) - 1


def _alone(operation: Any, path: Path) -> Item:
    if isinstance(operation, Product | Call):
        return Block(operation, path)
    scan = ScanLoop(operation, path)
    scan.body = arrange(operation.body, (*path, scan))
    return scan


def _nest(operation: Operation, axis: int, path: Path) -> tuple[Leaf, Item]:
    """New loops over the axes of an operation from one on, and the operation in them."""
    if axis == len(operation.domain):
        leaf = Leaf(operation, path)
        return leaf, leaf
    loop = Loop(operation.domain[axis])
    leaf, inner = _nest(operation, axis + 1, (*path, loop))
    loop.body.append(inner)
    if isinstance(operation, Reduce) and operation.outermost == axis:
        loop.sums.append(leaf)
    return leaf, loop


def _insert(loop: Loop, operation: Operation, axis: int, path: Path) -> None:
    """Put an operation into a loop over one of its axes, as deep inside as it can be."""
    leaf = None
    if axis + 1 < len(operation.domain):
        last = loop.body[-1]
        if isinstance(last, Loop) and _fits(last, operation, axis + 1):
            _insert(last, operation, axis + 1, (*path, last))
            leaf = _last_leaf(last)
    if leaf is None:
        leaf, item = _nest(operation, axis + 1, path)
        loop.body.append(item)
    if isinstance(operation, Reduce) and operation.outermost == axis:
        loop.sums.append(leaf)


def _last_leaf(loop: Loop) -> Leaf:
    item: Any = loop
    while isinstance(item, Loop):
        item = item.body[-1]
    assert isinstance(item, Leaf)  # the one that was just put there
    return item


def _fits(loop: Loop, operation: Operation, axis: int) -> bool:
    """Whether an operation can go round with a loop, along one of its axes.

    At each turn it may need only what was written at that turn or before.
    """
    if axis >= len(operation.domain) or operation.domain[axis] != loop.length:
        return False
    touched = [*operation.reads, *operation.writes]
    for leaf in loop.leaves():
        written = leaf.operation.out
        shared = [array for array in touched if array.buffer is written.buffer]
        if not all(_in_step(leaf.operation, written, operation, r, axis) for r in shared):
            return False
    return True


def _in_step(writer: Operation, w: Array, reader: Operation, r: Array, axis: int) -> bool:
    """Whether, at each turn, a reader stays inside of what the writer has written in that turn."""
    if w.strides[: axis + 1] != r.strides[: axis + 1] or w.moving != r.moving:
        return False
    if isinstance(writer, Reduce) and writer.scatters:
        return False  # any turn may write anywhere
    step = w.strides[axis]
    ahead = r.offset - w.offset
    if step <= 0 or ahead < 0:
        return False
    return writer.spans(w, axis + 1) < step and ahead + reader.spans(r, axis + 1) < step


def written_by(operation: Any) -> list[Array]:
    """All arrays that an operation writes, in a scan those of its body too."""
    if isinstance(operation, Scan):
        inner = [array for part in operation.body for array in written_by(part)]
        return [*inner, *[state for state, _ in operation.carry]]
    arrays: list[Array] = operation.writes
    return arrays


def read_by(operation: Any) -> list[Array]:
    """All arrays that an operation reads, in a scan those of its body too."""
    if isinstance(operation, Scan):
        inner = [array for part in operation.body for array in read_by(part)]
        return [*inner, *[array for pair in operation.carry for array in pair]]
    arrays: list[Array] = operation.reads
    return arrays


# ---- fewer loops ---------------------------------------------------------------------------------


def flatten(items: Sequence[Item]) -> None:
    """Make one loop of two, where what is in them goes through memory as through one."""
    for item in items:
        if isinstance(item, ScanLoop):
            flatten(item.body)
        elif isinstance(item, Loop):
            flatten(item.body)
            while _is_flat(item):
                _join(item)


def _is_flat(loop: Loop) -> bool:
    if len(loop.body) != 1 or not isinstance(loop.body[0], Loop):
        return False
    inner = loop.body[0]
    if inner.sums or any(leaf.operation.text.count("{x") for leaf in inner.leaves()):
        return False
    for leaf in inner.leaves():
        axis = leaf.path_axis(loop)
        for array in [*leaf.operation.reads, *leaf.operation.writes]:
            if array.strides[axis] != array.strides[axis + 1] * inner.length:
                return False
    return True


def _join(loop: Loop) -> None:
    inner = loop.body[0]
    assert isinstance(inner, Loop)  # see _is_flat
    for leaf in inner.leaves():
        axis = leaf.path_axis(loop)
        leaf.operation.join(axis)
        leaf.path = tuple([x for x in leaf.path if x is not inner])
    loop.length *= inner.length
    loop.body = inner.body
