"""The backward walk: from the seeded nodes to the leaves, once, in the order of creation numbers.

It owns gradients: un-broadcasting, expanding, dtype and accumulation happen here and nowhere else.
It knows nodes and arrays; it never sees Variables except through ``box`` (see ``walk``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.modes import MODE
from minidl.autograd.node import Application, Leaf, Node, Output, cut
from minidl.common import memory
from minidl.common.arrays import FLOATS, array_of, as_array, is_foreign, sum_rows

Box: TypeAlias = Callable[[Any, "Node | None"], Any]
_HALF = np.dtype(np.float16)
_FREED = "backward through a graph that an earlier backward freed (retain_graph=False)"
_by_number = attrgetter("number")


def reach(roots: Iterable[Node], since: int = -1) -> tuple[list[Any], list[Leaf]]:
    """Applications behind the roots, newest first, and the leaves.

    None older than number ``since``.
    """
    seen: set[Node] = set(roots)
    stack: list[Node] = list(roots)
    applications: list[Any] = []
    leaves: list[Leaf] = []
    while stack:
        node: Any = stack.pop()
        if type(node) is Leaf:
            leaves.append(node)
            continue
        applications.append(node)
        for parent in node.inputs or ():
            if parent is not None and parent not in seen:
                seen.add(parent)
                if type(parent) is Leaf or parent.number >= since:
                    stack.append(parent)
    applications.sort(key=_by_number, reverse=True)
    return applications, leaves


def walk(
    seeds: Mapping[Node, Any],
    box: Box | None = None,
    *,
    targets: AbstractSet[Node] | None = None,
    keep: bool = False,
    free: bool = False,
    since: int = -1,
) -> dict[Node, Any]:
    """Walk back from the seeded nodes; ``{node: gradient}`` of every leaf, or of the ``targets``.

    Gradients are arrays; with ``box`` (which makes a Variable of an array and its node) the rules
    run on Variables and the gradients are Variables with a graph of their own. ``keep`` adds the
    gradients of all applications, ``free`` lets go of each application once it has been passed,
    ``since`` keeps to what was recorded from that number on. No gradient in the result shares
    memory with another.

    Raises RuntimeError at a Variable whose value changed since it was used, and at an application
    that was freed.
    """
    if not memory.started:
        memory.start()
    alive = None if targets is None else _leading_to(targets, reach(seeds, since)[0])
    current = _Walk(seeds, box, alive)
    wanted = targets or ()
    found: dict[Node, Any] = {}
    while current.queue:
        node = heappop(current.queue)[1]
        g = current.pending.pop(node)
        if node.inputs is None:
            raise RuntimeError(_FREED)
        if node.inputs and (alive is None or node in alive):
            if (keep or node in wanted) and type(g) is not list:
                found[node] = _private(g, box)
            if node.number < since:
                pass  # a target: the walk ends there
            elif type(node) is Output:
                current.collect(node, g)
            else:
                try:
                    current.pull(node, g)
                except Exception as error:
                    at = node.trace or "a line that detect_anomaly() names"
                    error.add_note(f"in the derivative of {node.name}, applied at {at}")
                    raise
        if free:
            cut(node, None)
    return found | current.of_leaves()


class _Walk:
    """Gradients in flight.

    What each node has received so far, and which node is next, newest first.
    """

    __slots__ = ("alive", "box", "ours", "pending", "queue", "tracer", "wide")

    def __init__(
        self, seeds: Mapping[Node, Any], box: Box | None, alive: AbstractSet[Node] | None
    ) -> None:
        self.box = box
        self.tracer = MODE.get().tracer
        self.alive = alive  # the targets and what leads to them; None if all counts
        # Of an application with several outputs a list, a gradient for each. What is left in the
        # end is the leaves'.
        self.pending: dict[Node, Any] = dict(seeds)
        self.queue: list[Any] = [(-n.number, n) for n in seeds if type(n) is not Leaf]
        heapify(self.queue)
        # Leaves whose gradient is an array made here, which nobody else holds.
        self.ours: set[Node] = set()
        self.wide: set[Node] = set()  # leaves of float16, whose gradients are added up in float32

    def of_leaves(self) -> dict[Node, Any]:
        """The gradients that the leaves received, each in memory of its own."""
        for leaf in self.wide:
            self.pending[leaf] = self.pending[leaf].astype(np.float16)
        return {
            leaf: g if leaf in self.ours else _private(g, self.box)
            for leaf, g in self.pending.items()
            if self.alive is None or leaf in self.alive
        }

    def collect(self, node: Output, g: Any) -> None:
        """Put the gradient of one output beside those of the application's other outputs.

        One output may come twice, and is added up, with a ``box``: rules use outputs through nodes
        of their own, which ``_boxed`` makes.
        """
        application: Any = node.inputs[0]  # type: ignore[index]  # one that was cut is not walked
        if application not in self.pending:
            self.pending[application] = [None] * len(application.output or ())
            heappush(self.queue, (-application.number, application))
        slots = self.pending[application]
        if slots:
            held = slots[node.index]
            slots[node.index] = g if held is None else held + g

    # Complexity 12: what this loop does itself for each input costs less than a call of a function.
    def pull(self, node: Application, g: Any) -> None:  # noqa: C901
        """Pull an application's gradient back to its inputs: by its rules, fitted, added up."""
        function = node.function
        settings = node.settings
        trace = node.trace
        alive = self.alive
        box = self.box
        pending = self.pending
        args: Sequence[Any] = node.args
        y: Any = node.output
        joined = None
        owned = False
        if node.constants or trace is not None:
            _check_unchanged(node)
        if box is not None or function.joint is not None:
            args, y, joined = self._prepare(node, g)
            owned = joined is not None and function.owned
        for i, parent in enumerate(node.inputs):  # type: ignore[arg-type]  # it is not freed
            is_leaf = type(parent) is Leaf
            if is_leaf and parent.stale:  # type: ignore[union-attr]  # a Leaf
                raise RuntimeError(_stale(parent))  # type: ignore[arg-type]  # the same
            if parent is None or (alive is not None and parent not in alive):
                continue
            if joined is not None:
                gx = joined[i]
            else:
                rule = function.rules[i]
                if rule is None:
                    continue
                gx = rule(g, y, *args, **settings) if settings else rule(g, y, *args)
            a = node.args[i]
            r: Any = gx if box is None else getattr(gx, "_raw", gx)
            # Two NumPy scalars of one type have one shape and dtype, and looking that up costs more
            # than the sum.
            if type(r) is not type(a) or (
                type(a) not in FLOATS and (r.shape != a.shape or r.dtype is not a.dtype)
            ):
                if gx is None and owned:
                    continue  # no derivative reaches it
                gx = _fitted(node, i, gx)
            if trace is not None:
                trace.check_gradient(node, i, g, gx)
            if is_leaf or parent in pending:
                self._add(parent, gx, node, g, owned)
            else:  # nearly always
                pending[parent] = gx
                heappush(self.queue, (-parent.number, parent))

    def _prepare(self, node: Application, g: Any) -> tuple[Sequence[Any], Any, Any]:
        """Arguments and output, as Variables with a ``box``, and the gradients of a joint rule."""
        function = node.function
        box = self.box
        alive = self.alive
        args: Sequence[Any] = node.args
        y = node.output
        if box is not None:
            args, y = self._boxed(node, box)
        if function.joint is None:
            return args, y, None
        parents = node.inputs or ()
        wanted = [n is not None and (alive is None or n in alive) for n in parents]
        if self.tracer is not None and self.tracer.deriving:
            return args, y, self.tracer.joined(node, g, wanted, self.pending)
        if box is not None and function.equals is not None:
            return args, y, function.compose(args, g, wanted, node.settings, box)
        if not function.saves:
            return args, y, function.joint(g, y, wanted, *args, **node.settings)
        saved = node.saved if box is None else None  # what is saved is no part of a graph
        return args, y, function.joint(g, y, saved, wanted, *args, **node.settings)

    def _boxed(self, node: Application, box: Box) -> tuple[Sequence[Any], Any]:
        """Arguments and output of an application, as Variables where they are in a graph."""
        noted = None if self.tracer is None else self.tracer.boxed(node)
        if noted is not None:
            return noted
        y = node.output
        args = [a if n is None else box(a, n) for a, n in zip(node.args, node.inputs or ())]
        if type(y) is not tuple:
            return args, box(y, node)
        return args, tuple([box(o, Output(node, i, o)) for i, o in enumerate(y)])

    def _add(self, parent: Node, gx: Any, node: Application, g: Any, owned: bool) -> None:
        """Add a gradient to what a leaf, or an input that has one already, has received."""
        tracer = None if self.box is None else MODE.get().tracer
        if tracer is not None and tracer.deriving:
            tracer.add_gradient(self, parent, gx, node, g)
            return
        held = self.pending.get(parent)
        if held is None:
            self.pending[parent] = gx
            if type(gx) is np.ndarray and (owned or is_fresh(gx, g, node)):
                self.ours.add(parent)
        elif parent in self.ours and type(held) is np.ndarray and held.dtype is not _HALF:
            np.add(held, gx, out=held)
        else:
            if held.dtype is _HALF and type(parent) is Leaf:
                held = held.astype(np.float32)
                self.wide.add(parent)
            self.pending[parent] = held + gx
            self.ours.add(parent)


def _check_unchanged(node: Application) -> None:
    """Raise if a constant has a new value, or, under detect_anomaly, an array has changed."""
    for constant in node.constants:
        if constant.stale:
            raise RuntimeError(_stale(constant))
    if node.trace is not None:
        node.trace.check_arrays(node)


def _fitted(node: Application, i: int, gx: Any) -> Any:
    if gx is None:
        raise TypeError(f"the derivative of {node.name} for argument {i} returned None")
    a = node.args[i]
    return fit(gx, a.shape, a.dtype, a)


def fit(g: Any, shape: tuple[int, ...], dtype: Any, like: Any = None) -> Any:
    """The gradient of a value of that shape and dtype.

    Summed over broadcast axes, expanded, cast.
    """
    g = as_array(g)
    if g.shape != shape:
        g = _expanded(_summed(g, shape), shape, like)
    return g if g.dtype == dtype else g.astype(dtype)


def _summed(g: Any, shape: tuple[int, ...]) -> Any:
    """The sum over the axes that a value of that shape does not have, or has with length 1."""
    if g.dtype is _HALF:
        g = g.astype(np.float32)  # a sum of halves stands still at 2048 ones
    lead = g.ndim - len(shape)
    if lead == 1 and shape and g.ndim == 2 and g.dtype.kind == "f" and not is_foreign(g):
        g = sum_rows(g)  # half of the time of a sum
    elif lead > 0:
        g = g.sum(tuple(range(lead)))
    if g.shape == shape or g.ndim != len(shape):
        return g
    axes = tuple([i for i, (m, n) in enumerate(zip(g.shape, shape)) if n == 1 != m])
    return g.sum(axis=axes, keepdims=True) if axes else g


def _expanded(g: Any, shape: tuple[int, ...], like: Any) -> Any:
    """One number, or the numbers along some axes, in every place, without memory for each."""
    if g.shape == shape:
        return g
    is_number = isinstance(array_of(g), np.generic)
    if is_number and type(like) is not np.ndarray and is_foreign(like):
        # Another library's sums may be NumPy's numbers.
        return g * np.ones_like(like, dtype=g.dtype)
    if not isinstance(g, np.generic):
        return np.broadcast_to(g, shape)
    # A fifth of the time of broadcast_to.
    out = np.ndarray(shape, g.dtype, np.asarray(g), 0, (0,) * len(shape))
    out.flags.writeable = False
    return out


def is_fresh(gx: Any, g: Any, node: Application) -> bool:
    """Whether a rule's result is an array of its own.

    No view, and not the incoming gradient or an argument.
    """
    if type(gx) is not np.ndarray or gx.base is not None or gx is g or gx is node.output:
        return False
    for a in node.args:  # noqa: SIM110  # a generator takes twice as long
        if gx is a:
            return False
    return True


def _private(g: Any, box: Box | None) -> Any:
    """The same gradient in memory of its own; numbers, which nobody can change, as they are."""
    if box is not None and MODE.get().tracer is not None:
        return g  # a program's values are never written to
    raw = array_of(g)
    raw = raw if isinstance(raw, np.generic) else raw.copy()
    return raw if box is None else box(raw, g._node)


def _leading_to(targets: AbstractSet[Node], order: list[Any]) -> set[Node]:
    """The targets and every application through which a gradient reaches one of them."""
    alive = set(targets)
    for node in reversed(order):
        if node.inputs is None:
            raise RuntimeError(_FREED)
        if not alive.isdisjoint(node.inputs):
            alive.add(node)
    return alive


def _stale(leaf: Leaf) -> str:
    owner = leaf.owner()
    named = f"{owner.name!r} " if owner is not None and owner.name else ""
    who = "it" if owner is None else f"{named}of shape {owner.shape}"
    return (
        f"backward through an older value of a Variable: {who} was given a new value (.data, or an "
        "optimizer's update) after this graph was recorded; run the forward again before backward"
    )
