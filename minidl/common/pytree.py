"""Pytrees: arrays in nested dicts, lists and tuples, taken apart into a flat list and put together
again.

What the leaves are, and what is done with them, is said by those who call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import repeat
from numbers import Real
from typing import Any, NamedTuple


class Structure(NamedTuple):
    """The form of a tree without its leaves; can be hashed and compared, so it may be a key.

    Two dicts with the same keys in another order have different structures: the order is kept.
    """

    kind: type  # dict, OrderedDict, list, tuple, a namedtuple, NoneType; object for a leaf
    keys: tuple[Hashable, ...] = ()  # of a dict
    parts: tuple[Structure, ...] = ()

    @property
    def size(self) -> int:
        """The number of leaves."""
        return 1 if self.kind is object else sum(part.size for part in self.parts)

    def labelled(self, name: str) -> list[tuple[str, Structure]]:
        """The parts, and how one would write where they stand in a tree of that name."""
        labels = self.keys or range(len(self.parts))
        return [(f"{name}[{label!r}]", part) for label, part in zip(labels, self.parts)]


_NONE = type(None)
_DICTS = frozenset({dict, OrderedDict})
_INNER = _DICTS | {list, tuple, _NONE}
LEAF = Structure(object)


def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Structure]:
    """The leaves of a tree in order, and its structure.

    Inner nodes are dicts (and OrderedDicts), lists, tuples and namedtuples. None is no leaf: the
    structure remembers its place. Anything else is a leaf, also an instance of another subclass,
    and what ``is_leaf`` says of a list, tuple or dict.

    >>> leaves, structure = flatten({"w": [1.0, 2.0], "b": None})
    >>> leaves
    [1.0, 2.0]
    >>> unflatten(structure, [3.0, 4.0])
    {'w': [3.0, 4.0], 'b': None}
    """
    if type(tree) not in _INNER and not isinstance(tree, tuple):
        return [tree], LEAF  # nearly always, and at once
    leaves: list[Any] = []
    return leaves, _flatten_into(leaves, tree, is_leaf)


def _flatten_into(leaves: list[Any], tree: Any, is_leaf: Callable[[Any], bool] | None) -> Structure:
    kind = type(tree)
    is_inner = kind in _INNER or _is_namedtuple(kind)
    if not is_inner or (is_leaf is not None and is_leaf(tree)):
        leaves.append(tree)
        return LEAF
    is_dict = kind in _DICTS
    children = tree.values() if is_dict else tree or ()
    parts = [_flatten_into(leaves, part, is_leaf) for part in children]
    return Structure(kind, tuple(tree) if is_dict else (), tuple(parts))


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The tree of that structure with these leaves.

    Raises ValueError if there are more or fewer leaves than the structure has places for.
    """
    leaves = list(leaves)
    if structure is LEAF and len(leaves) == 1:
        return leaves[0]  # nearly always, and at once
    if len(leaves) != structure.size:
        raise ValueError(f"unflatten: want {structure.size} leaves, got {len(leaves)}")
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Iterator[Any]) -> Any:
    kind = structure.kind
    if kind is object:
        return next(leaves)
    parts = [_build(part, leaves) for part in structure.parts]
    if kind in _DICTS:
        return kind(zip(structure.keys, parts))
    if kind is _NONE:
        return None
    return kind(*parts) if _is_namedtuple(kind) else kind(parts)


def leaves_like(structure: Structure, tree: Any, name: str = "tree") -> list[Any]:
    """The leaves of a tree that must have this structure, a dict's in the order of the structure.

    Lists and tuples stand for each other. Raises ValueError that names the place which differs.

    >>> leaves_like(flatten({"a": 0, "b": 0})[1], {"b": 2, "a": 1})
    [1, 2]
    """
    if structure.kind is object:
        return [tree]
    if structure.kind in _DICTS:
        same = isinstance(tree, dict) and tree.keys() == set(structure.keys)
        parts = [tree[key] for key in structure.keys] if same else []
    elif structure.kind is _NONE:
        same = tree is None
        parts = []
    else:
        same = isinstance(tree, list | tuple) and len(tree) == len(structure.parts)
        parts = tree
    if not same:
        raise ValueError(f"{name}: want {describe(structure)}, got {describe(flatten(tree)[1])}")
    pairs = zip(structure.labelled(name), parts, strict=True)
    return [leaf for (place, inner), part in pairs for leaf in leaves_like(inner, part, place)]


def paths(structure: Structure, name: str) -> list[str]:
    """Where each leaf stands, as one would write it.

    >>> paths(flatten({"w": [1.0, 2.0]})[1], "tree")
    ["tree['w'][0]", "tree['w'][1]"]
    """
    if structure.kind is object:
        return [name]
    return [path for place, part in structure.labelled(name) for path in paths(part, place)]


def map_leaves(f: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with ``f`` of each leaf in its place.

    >>> map_leaves(lambda x: 10 * x, (1, [2, None]))
    (10, [20, None])
    """
    leaves, structure = flatten(tree)
    if structure is LEAF:
        return f(tree)  # nearly always, and at once
    return _build(structure, iter([f(leaf) for leaf in leaves]))


class _Star:
    def __repr__(self) -> str:
        return "*"


def describe(structure: Structure) -> str:
    """The structure in words that fit into an error, such as ``{'w': *, 'b': [*, *]}``."""
    return repr(_build(structure, repeat(_Star())))


def is_numbers(tree: Any) -> bool:
    """Whether a list holds numbers, and lists of them, only: it stands for an array, as in NumPy.

    >>> is_numbers([[1.0], [2.0]]), is_numbers((1.0,)), is_numbers([])
    (True, False, False)
    """
    if type(tree) is not list or not tree:
        return False
    return all(isinstance(x, Real) or is_numbers(x) for x in tree)


def _is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")
