"""The search for trainable values that a layer's walk would miss, to warn of them.

Where parameters are found is decided in tree.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from types import FunctionType, MappingProxyType, MethodType
from typing import Any

import numpy as np

from minidl.autograd import Variable
from minidl.autograd.node import Leaf
from minidl.common.members import cells_of, slots_of
from minidl.layers.tree import PLAIN, Tree, Walk

_DEEPEST = 4  # how far into objects, and
_MOST = 10_000  # at how many things it is looked, where they are no layers


def complaints(root: Tree, new: Walk) -> Iterator[str]:
    """A sentence for each attribute in which something trainable is not found."""
    known = {id(value) for _, _, value in new.entries}
    for name, value in [*new.others, *_outside_dicts(new)]:
        thing = _trainable_in(value, known)
        if thing is not None:
            yield f"{type(root).__name__}: {_complaint(name, value, thing)}"


def _complaint(name: str, value: Any, thing: Any) -> str:
    if thing is value and type(thing) is Variable:
        return (
            f"{name!r} is a Variable, which is not trained, saved or cleared with the layer: "
            "make it a minidl.Parameter, or pass requires_grad=False if it is constant"
        )
    learns = not isinstance(thing, Tree) or thing.parameters()
    return (
        f"{name!r} ({type(value).__name__}) holds a {type(thing).__name__} that is not trained, "
        "saved or cleared with the layer: parameters and layers are looked for in a layer's "
        "attributes and in lists, tuples and dicts there"
        + ("; call freeze() of one that is not to be trained" if learns else "")
    )


def _outside_dicts(new: Walk) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of what layers hold outside of their instance's dict."""
    for name, _, layer in new.entries:
        if isinstance(layer, Tree):
            start = f"{name}." if name else ""
            for key, value in _outside_dict(layer):
                yield f"{start}{key}", value


def _outside_dict(layer: Tree) -> Iterator[tuple[str, Any]]:
    """The attributes of a layer that are in slots or its class's, and what its forward uses."""
    for cls in type(layer).__mro__:
        if cls is Tree:
            return
        if cls.__module__.startswith("minidl."):
            continue
        for name, value in vars(cls).items():
            if name == "forward":  # it may use what is no attribute
                yield name, value
            is_container = isinstance(value, (Variable, Tree, list, tuple, dict))
            if is_container and name not in ("carried", "buffers"):
                yield name, value
        yield from _in_slots(cls, layer)


def _in_slots(cls: type, thing: Any) -> Iterator[tuple[str, Any]]:
    for name in slots_of(cls):
        if hasattr(thing, name):
            yield name, getattr(thing, name)


def _trainable_in(value: Any, known: set[int]) -> Any:
    """The first trainable Variable or layer in a value that the walk does not know, or None."""
    seen = set(known)
    todo = deque([(value, 0)])
    while todo and len(seen) < _MOST:
        thing, depth = todo.popleft()
        if id(thing) in seen or isinstance(thing, PLAIN):
            continue
        seen.add(id(thing))
        if isinstance(thing, (Tree, Variable)):
            if _is_trainable(thing) or _is_made_of_lost_leaves(thing):
                return thing
        elif depth < _DEEPEST:
            todo += [(part, depth + 1) for part in _parts(thing)]
    return None


def _is_trainable(thing: Tree | Variable) -> bool:
    """Whether it learns: by gradients or, as a Normalization does, from data."""
    if isinstance(thing, Tree):
        parameters = thing.parameters()
        return any(p.requires_grad for p in parameters) or (
            not parameters and any(layer.buffers for layer in thing.sublayers())
        )
    return thing.requires_grad and thing.creator is None


def _is_made_of_lost_leaves(thing: Tree | Variable) -> bool:
    """Whether it was computed from what nobody holds, as in ``self.w = Parameter(..) * 0.1``."""
    if isinstance(thing, Tree):
        return False
    nodes: list[Any] = [thing._node]
    for _ in range(_DEEPEST):  # the graph of a whole model may be kept, for its value
        for node in nodes:
            if isinstance(node, Leaf) and node.owner() is None:
                return True
        nodes = [before for node in nodes if node for before in node.inputs or ()]
    return False


def _parts(value: Any) -> list[Any]:
    """What an object that is no layer holds, as far as can be seen without running its code."""
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, (dict, MappingProxyType)):
        return list(value.values())
    if isinstance(value, np.ndarray):
        return list(value.flat) if value.dtype == object else []
    if isinstance(value, MethodType):
        return [value.__self__]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, FunctionType):
        outer = [cell.cell_contents for _, cell in cells_of(value)]
        return [*outer, *_globals(value), *(value.__defaults__ or ())]
    parts = list(getattr(value, "__dict__", {}).values())
    for cls in type(value).__mro__:
        parts += [part for _, part in _in_slots(cls, value)]
    return parts


def _globals(function: FunctionType) -> Iterator[Any]:
    """What a function of the user's takes from its module."""
    if function.__module__.startswith("minidl."):
        return
    from dis import get_instructions  # here, as it is for models with functions of the user's only

    for instruction in get_instructions(function):
        if instruction.opname == "LOAD_GLOBAL" and instruction.argval in function.__globals__:
            yield function.__globals__[instruction.argval]
