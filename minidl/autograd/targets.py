"""Walks over a part of a graph: to some Variables only, or back to a number only.

The walk itself is engine.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.autograd.engine import Box, reach, walk
from minidl.autograd.node import Node
from minidl.common.arrays import array_of

if TYPE_CHECKING:
    from minidl.autograd.variable import Variable


def sources(ys: Iterable[Variable], since: int) -> list[Node]:
    """The nodes older than number ``since`` that what is newer was computed from, each once."""
    roots = [y._node for y in ys if y._node is not None]
    applications, leaves = reach(roots, since)
    parents = [p for node in applications for p in node.inputs or () if p is not None]
    return [node for node in dict.fromkeys([*parents, *leaves]) if node.number < since]


def gradients_for(
    xs: Sequence[Variable | None],
    pairs: Iterable[tuple[Variable, Any]],
    box: Box | None,
    since: int = -1,
    *,
    alone: bool = False,
    zeros: bool = True,
) -> list[Any]:
    """The gradient of each of these Variables, zeros (or None) where none arrives; None for None.

    ``pairs`` are results and the gradients that the walk starts with there, None for none. With
    ``alone`` the results depend on the Variables, which are leaves, and on nothing else: then the
    walk need not look for the way to them.
    """
    seeds: dict[Node, Any] = {}
    for y, g in pairs:
        node = y._node
        if node is not None and g is not None:
            g = array_of(g) if box is None else g
            seeds[node] = seeds[node] + g if node in seeds else g
    nodes = [None if x is None else x._node for x in xs]
    targets = None if alone else {node for node in nodes if node is not None}
    found = walk(seeds, box, targets=targets, since=since)
    gradients = [None if node is None else found.get(node) for node in nodes]
    for i, x in enumerate(xs):
        if zeros and gradients[i] is None and x is not None:
            gradients[i] = np.zeros_like(x._raw)
    return gradients
