"""recompute: a function whose inner results are not kept for the backward, but computed again
there.

Memory for time: of the function's graph only its arguments and results stay. The walk is
engine.py's.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable, identity, record
from minidl.autograd.modes import Switch, current
from minidl.autograd.node import Func, Leaf, Node, next_number
from minidl.autograd.targets import gradients_for, sources
from minidl.autograd.transforms import is_differentiated
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import array_of
from minidl.common.members import cells_of
from minidl.common.pytree import flatten, unflatten
from minidl.common.random import Draws, noting_draws, repeating_draws

State = list[tuple[Any, dict[str, Any]]]  # layers, and what their calls leave for the next


def _layers_in(f: Any) -> list[Any]:
    """The layers that a call of a function may change: its own, or those it names."""
    held = [f, getattr(f, "__self__", None), *(getattr(f, "__defaults__", None) or ())]
    if isinstance(f, FunctionType):
        held += [f.__globals__.get(name) for name in f.__code__.co_names]
        held += [cell.cell_contents for _, cell in cells_of(f)]
    parts = [part for x in held for part in _members(x)]
    objects = [x for x in parts if hasattr(x, "sublayers") and not isinstance(x, type)]
    return [layer for x in objects for layer in x.sublayers()]


def _members(x: Any) -> list[Any]:
    """The layers in a list, tuple or dict of layers; anything else alone: it may be long."""
    parts = list(x.values()) if isinstance(x, dict) else x
    if isinstance(parts, list | tuple) and parts and hasattr(parts[0], "sublayers"):
        return list(parts)
    return [x]


def _state_of(f: Any) -> State:
    """What layers carry from call to call, and their running statistics."""
    state = []
    for layer in _layers_in(f):
        names = (*layer.carried, *layer.buffers)
        state.append((layer, {name: getattr(layer, name, None) for name in names}))
    return state


def _restore(state: State) -> None:
    for layer, values in state:
        layer.__dict__.update(values)


class Segment:
    """One call of a function, and what is needed to make the same call again."""

    def __init__(self, f: Func, args: Any, kwargs: Any) -> None:
        self.f = f
        self.testing = current().testing
        self.state = _state_of(f)
        self.leaves, self.structure = flatten([list(args), kwargs])
        # Places of the differentiated arguments; the nodes of what else the function uses.
        self.moving = [i for i, x in enumerate(self.leaves) if is_differentiated(x)]
        self.closed: list[Node] = []
        self.draws: Draws = {}
        self.outputs: tuple[Any, ...] = ()

    def call(self, moving: Sequence[Variable]) -> tuple[list[Any], Any, list[int]]:
        """Leaves and structure of the result, and which of the leaves are differentiated."""
        leaves = list(self.leaves)
        for i, x in zip(self.moving, moving, strict=True):
            leaves[i] = x
        args, kwargs = unflatten(self.structure, leaves)
        results, structure = flatten(self.f(*args, **kwargs))
        return results, structure, [i for i, y in enumerate(results) if is_differentiated(y)]

    def first(self) -> Any:
        """The result, recorded as one application."""
        inputs = [self.leaves[i] for i in self.moving]
        copies = [identity(x) for x in inputs]
        since = next_number()
        with noting_draws() as self.draws:
            results, structure, moving = self.call(copies)
        if moving:
            ys = [results[i] for i in moving]
            own = {x._node for x in copies}
            self.closed = [node for node in sources(ys, since) if node not in own]
            for i in self.moving:
                self.leaves[i] = None  # from now on the application's own arguments
            self.outputs = tuple([array_of(y) for y in ys])
            inputs += map(_variable_of, self.closed)
            recorded = record(_recompute, tuple(inputs), {"segment": self})
            for i, y in zip(moving, recorded, strict=True):
                results[i] = y
        return unflatten(structure, results)

    def again(self, moving: Sequence[Variable]) -> list[Any]:
        """The differentiated results with a graph.

        RuntimeError if they are not those of the first call.
        """
        state = _state_of(self.f)
        try:
            _restore(self.state)
            with Switch(recording=True, testing=self.testing), repeating_draws(self.draws):
                results, _, places = self.call(moving)
        finally:
            _restore(state)
        ys = [results[i] for i in places]
        pairs = zip(map(array_of, ys), self.outputs)
        same = all(np.array_equal(y, old, equal_nan=True) for y, old in pairs)
        if len(ys) != len(self.outputs) or not same:
            name = getattr(self.f, "__name__", type(self.f).__name__)
            raise RuntimeError(
                f"recompute({name}): computed again for the backward, it gave other values: "
                "it draws from a generator that minidl does not know, or uses something that "
                "changed since"
            )
        return ys


def _variable_of(node: Node) -> Variable:
    owner = node.owner()
    if owner is None and not isinstance(node, Leaf):
        return box(node.output, node)
    assert owner is not None  # a leaf that is used has its Variable
    return owner


def _recompute_rule(g: Any, y: Any, wanted: list[bool], *args: Any, segment: Segment) -> list[Any]:
    """Call the function again, with a graph, and walk back through that."""
    boxing = box if any(isinstance(x, Variable) for x in g) else None
    count = len(segment.moving)
    xs = [identity(a) if isinstance(a, Variable) else Variable(a) for a in args[:count]]
    since = next_number()
    ys = segment.again(xs)
    for a, node in zip(args[count:], segment.closed, strict=True):
        xs.append(box(array_of(a), node))
    pairs = zip(ys, g, strict=True)
    used = [x if want else None for x, want in zip(xs, wanted, strict=True)]
    return gradients_for(used, pairs, boxing, since)


_recompute = differentiable(
    lambda *args, segment=None: segment.outputs, joint=_recompute_rule, name="recompute"
)


def recompute(f: Func) -> Func:
    """The same function or layer, but its inner results are computed again for the backward.

    What ``f`` is given and what it closes over (parameters, other results) gets its gradients, to
    any order. Arguments and results may be nested dicts, lists and tuples. Dropout repeats its
    numbers; states and counters of layers are written in the forward only. In a compiled function
    it is ``f`` itself.

    Raises RuntimeError in the backward if ``f`` then gives other values than before.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".

    >>> x = Variable([1.0, 2.0])
    >>> recompute(lambda x: np.tanh(x) ** 2)(x).sum().backward()
    >>> x.grad
    Variable([0.63970001, 0.13621869])
    """

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        mode = current()
        if not mode.recording or mode.tracer is not None:
            return f(*args, **kwargs)
        return Segment(f, args, kwargs).first()

    return functools.update_wrapper(recomputed, f, updated=())
