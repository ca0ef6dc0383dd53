"""What the turns of a scan leave, written at its place among those of all turns at once.

A scan is lowered in lowering.py: there each turn's array is copied to its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minidl.compiler.native.arrays import Array
from minidl.compiler.native.loops import read_by, written_by
from minidl.compiler.native.operations import Map, Reduce, Scan


def without_copies(scan: Scan, copies: Sequence[Map]) -> None:
    """Compute what is copied where it is copied to, if all that needs it goes on with the turns."""
    for copy in copies:
        if copy in scan.body and _may_move(scan.body, copy):
            scan.body.remove(copy)
            _move(copy.operands[0].buffer, copy.out, _arrays(scan))


def _may_move(body: Sequence[Any], copy: Map) -> bool:
    source = copy.operands[0]
    makers = [part for part in body if _is_of(written_by(part), source)]
    users = [part for part in body if _is_of(read_by(part), source)]
    return (
        source.is_whole
        and source.buffer.kind == "work"
        and bool(makers)
        and not any(isinstance(part, Scan) for part in [*makers, *users])
        and not any(isinstance(part, Reduce) and part.scatters for part in makers)
    )


def _is_of(arrays: Iterable[Array], source: Array) -> bool:
    return any(x.buffer is source.buffer for x in arrays)


def _arrays(scan: Scan) -> list[Array]:
    inside = [x for part in scan.body for x in [*written_by(part), *read_by(part)]]
    return [*inside, *[new for _, new in scan.carry]]


def _move(buffer: Any, place: Array, arrays: Iterable[Array]) -> None:
    for x in arrays:
        if x.buffer is buffer:
            x.buffer = place.buffer
            x.moving = place.moving
