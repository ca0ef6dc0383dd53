"""Walks over a part of a graph: to some nodes only, or back to a number only.

The walk itself is engine.py's; whose the nodes are is known to those who call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minidl.autograd.engine import Box, reach, walk
from minidl.autograd.node import Node


def sources(roots: Iterable[Node], since: int) -> list[Node]:
    """The nodes older than number ``since`` that what is newer was computed from, each once."""
    applications, leaves = reach(roots, since)
    parents = [p for node in applications for p in node.inputs or () if p is not None]
    return [node for node in dict.fromkeys([*parents, *leaves]) if node.number < since]


def gradients_for(
    nodes: Sequence[Node | None],
    seeds: Iterable[tuple[Node | None, Any]],
    box: Box | None,
    since: int = -1,
) -> list[Any]:
    """The gradient of each of these nodes; None where none arrives.

    ``seeds`` are pairs of a node and a gradient that the walk starts with there.
    """
    start: dict[Node, Any] = {}
    for node, g in seeds:
        if node is not None and g is not None:
            start[node] = start[node] + g if node in start else g
    targets = {node for node in nodes if node is not None}
    gradients = walk(start, box, targets=targets, since=since)
    return [None if node is None else gradients.get(node) for node in nodes]
