"""The backward walk: from the seeded nodes to the leaves, once, in the order of creation numbers.

It owns gradients: un-broadcasting, expanding, dtype and accumulation happen here and nowhere else.
It knows nodes and arrays; it never sees Variables except through ``box`` (see ``walk``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.node import Application, Leaf, Node, Output, cut
from minidl.autograd.protocols import as_array

Box: TypeAlias = Callable[[Any, "Node | None"], Any]
_SCALARS = frozenset({np.float64, np.float32, np.float16, np.longdouble})
_by_number = attrgetter("number")


def reach(roots: Iterable[Node], since: int = -1, check: bool = True) -> tuple[list[Any], list[Leaf]]:
    """Applications behind the roots, newest first, and the leaves; none older than number ``since``.

    With ``check``, RuntimeError on a leaf whose value changed since it was used, and on what was freed.
    """
    seen: set[Node] = set(roots)
    stack: list[Node] = list(roots)
    applications: list[Any] = []
    leaves: list[Leaf] = []
    while stack:
        node: Any = stack.pop()
        if type(node) is Leaf:
            if node.stale and check:
                raise RuntimeError(_stale(node))
            leaves.append(node)
            continue
        if node.inputs is None and check:
            raise RuntimeError("backward through a graph that an earlier backward freed (retain_graph=False)")
        if node.constants and check:
            for constant in node.constants:
                if constant.stale:
                    raise RuntimeError(_stale(constant))
        applications.append(node)
        for parent in node.inputs or ():
            if parent is not None and parent not in seen:
                seen.add(parent)
                if type(parent) is Leaf or parent.number >= since:
                    stack.append(parent)
    applications.sort(key=_by_number, reverse=True)
    return applications, leaves


def walk(
    seeds: Mapping[Node, Any], box: Box | None = None, *, targets: AbstractSet[Node] | None = None,
    keep: bool = False, free: bool = False, since: int = -1,
) -> dict[Node, Any]:
    """Gradients of the seeded nodes, as ``{node: gradient}`` for every leaf, or for the ``targets``.

    Gradients are arrays; with ``box`` (which makes a Variable of an array and its node) the rules run on Variables and
    the gradients are Variables with a graph of their own. ``keep`` adds the gradients of all applications, ``free``
    lets go of each application once it has been passed, ``since`` keeps to what was recorded from that number on. No
    gradient in the result shares memory with another.
    """
    order, leaves = reach(seeds, since)
    alive = None if targets is None else _leading_to(targets, order)
    gradients: dict[Node, Any] = dict(seeds)
    ours: set[Node] = set()  # whose gradient is an array made here, which nobody else holds
    found: dict[Node, Any] = {}
    for node in order:
        g = gradients.pop(node, None)
        if g is not None and node.inputs and (alive is None or node in alive):
            if type(g) is not list and (keep or (targets is not None and node in targets)):
                found[node] = _private(g, box)
            if type(node) is Output:
                _collect(gradients, node, g)
            else:
                try:
                    _step(node, g, gradients, ours, alive, box)
                except Exception as error:
                    at = node.trace or "a line that detect_anomaly() names"
                    error.add_note(f"in the derivative of {node.name}, applied at {at}")
                    raise
        if free:
            cut(node, None)
    for leaf in leaves:
        g = gradients.get(leaf)
        if g is not None and (alive is None or leaf in alive):
            found[leaf] = g if leaf in ours else _private(g, box)
    return found


def _step(
    node: Application, g: Any, gradients: dict[Node, Any], ours: set[Node], alive: AbstractSet[Node] | None, box: Any
) -> None:
    """Pull the gradient of one application back to its inputs: its rules, made to fit, added up."""
    args: Sequence[Any] = node.args
    function, y, settings = node.function, node.output, node.settings
    rules, joined = function.rules, None
    if node.trace is not None:
        node.trace.check_arrays(node)
    if box is not None or function.joint is not None:
        args, y, joined = function.prepare(node, g, alive, box)
    for i, parent in enumerate(node.inputs or ()):
        if parent is None or (alive is not None and parent not in alive):
            continue
        if joined is not None:
            gx = joined[i]
        else:
            rule = rules[i]
            if rule is None:
                continue
            gx = rule(g, y, *args, **settings)
        a = node.args[i]
        # Two NumPy scalars of one type have one shape and dtype; looking it up costs more than the sum.
        if type(gx) is not type(a) or (type(a) not in _SCALARS and (gx.shape != a.shape or gx.dtype is not a.dtype)):
            if gx is None:
                raise TypeError(f"the derivative of {function.name} for argument {i} returned None")
            gx = fit(gx, a.shape, a.dtype)
        if node.trace is not None:
            node.trace.check_gradient(node, i, gx)
        held = gradients.get(parent)
        if held is None:
            gradients[parent] = gx
            if type(parent) is Leaf and joined is None and type(gx) is np.ndarray and _fresh(gx, g, node):
                ours.add(parent)
        elif parent in ours and type(held) is np.ndarray:
            np.add(held, gx, out=held)
        else:
            gradients[parent] = held + gx
            ours.add(parent)


def _collect(gradients: dict[Node, Any], node: Output, g: Any) -> None:
    """Put the gradient of one output beside those of the application's other outputs."""
    application: Any = node.inputs[0]  # type: ignore[index]  # an Output that was cut is not walked
    if not application.inputs:
        return
    slots = gradients.setdefault(application, [None] * len(application.output))
    slots[node.index] = g if slots[node.index] is None else slots[node.index] + g


def fit(g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The gradient of a value of that shape and dtype: summed over broadcast axes, expanded, cast."""
    g = as_array(g)
    if g.shape != shape:
        if (lead := g.ndim - len(shape)) > 0:
            axes = tuple(range(lead)) if lead > 1 else 0
            g = np.add.reduce(g, axes) if type(g) is np.ndarray else g.sum(axes)  # a third of the time of g.sum
        if g.shape != shape and g.ndim == len(shape):
            axes = tuple([i for i, (m, n) in enumerate(zip(g.shape, shape)) if n == 1 and m != 1])
            g = g.sum(axis=axes, keepdims=True) if axes else g
        if g.shape != shape:
            g = np.broadcast_to(g, shape)
    return g if g.dtype == dtype else g.astype(dtype)


def _fresh(gx: Any, g: Any, node: Application) -> bool:
    """Whether a rule's result is an array of its own: no view, and not the incoming gradient or an argument."""
    if gx.base is not None or gx is g or gx is node.output:
        return False
    for a in node.args:
        if gx is a:
            return False
    return True


def _private(g: Any, box: Box | None) -> Any:
    """The same gradient in memory of its own (numbers cannot be written to and stay as they are)."""
    if box is None:
        return g if isinstance(g, np.generic) else g.copy()
    raw = g._raw
    return box(raw if isinstance(raw, np.generic) else raw.copy(), g._node)


def _leading_to(targets: AbstractSet[Node], order: list[Any]) -> set[Node]:
    """The targets and every application through which a gradient reaches one of them."""
    alive = set(targets)
    for node in reversed(order):
        if any(parent in alive for parent in node.inputs):
            alive.add(node)
    return alive


def _stale(leaf: Leaf) -> str:
    owner = leaf.owner()
    who = "it" if owner is None else f"{repr(owner.name) + ' ' if owner.name else ''}of shape {owner.shape}"
    return (
        f"backward through an older value of a Variable: {who} was given a new value (.data, or an optimizer's "
        "update) after this graph was recorded; run the forward again before backward"
    )
