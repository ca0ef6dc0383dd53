"""Trees of leaves: taken apart, compared, put together."""

from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import pytest

from minidl.common.pytree import flatten, leaves_like, map_leaves, unflatten


class Pair(NamedTuple):
    x: Any
    y: Any


TREES = [
    1.0,
    None,
    [],
    (),
    {},
    [1, [2, (3,)], ()],
    {"b": [1, None], "a": {"c": 2}},
    Pair(1, Pair([2], None)),
    OrderedDict(z=1, a=(2, 3)),
    {("tuple", 1): 1, 2: {}},
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert again == tree and type(again) is type(tree)
    assert flatten(again) == (leaves, structure)
    assert hash(structure) == hash(flatten(again)[1])
    assert leaves == list(range(1, len(leaves) + 1))  # in order


def test_structures_tell_trees_apart() -> None:
    structures = [flatten(tree)[1] for tree in TREES]
    assert len(set(structures)) == len(TREES)
    assert flatten([1, 2])[1] == flatten(["a", object()])[1]
    assert flatten({"a": 1, "b": 2})[1] != flatten({"b": 2, "a": 1})[1]


def test_what_is_no_node_is_a_leaf() -> None:
    class Stack(list[int]):
        pass

    for leaf in (Stack([1, 2]), defaultdict(int, a=1), "text", {1, 2}, range(3), iter([1])):
        assert flatten([leaf])[0] == [leaf]


def test_the_number_of_leaves_is_checked() -> None:
    _, structure = flatten({"a": 1, "b": [2]})
    for leaves in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match=f"want 2 leaves, got {len(leaves)}"):
            unflatten(structure, leaves)


def test_map_keeps_the_tree() -> None:
    assert map_leaves(str, Pair(1, {"a": [2, None]})) == Pair("1", {"a": ["2", None]})


def test_another_tree_of_the_same_form() -> None:
    _, structure = flatten({"a": [0, None], "b": 0})
    assert leaves_like(structure, {"b": 2, "a": (1, None)}) == [1, 2]
    assert leaves_like(structure, {"b": [5], "a": [1, None]}) == [1, [5]]  # a leaf is any value
    for other, place in [
        ({"a": [1, None]}, "tree: "),
        ({"a": [1], "b": 2}, "tree['a']: "),
        ({"a": [1, 3], "b": 2}, "tree['a'][1]: want None"),
        ([1, 2], "tree: "),
    ]:
        with pytest.raises(ValueError) as caught:
            leaves_like(structure, other)
        assert str(caught.value).startswith(place), str(caught.value)
