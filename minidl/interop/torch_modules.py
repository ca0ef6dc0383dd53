"""Which layer of ours is which module of PyTorch's: by name, and in lists by order.

What their tensors are here is in torch.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

from minidl.autograd import Parameter
from minidl.layers.layer import Layer
from minidl.layers.mlp import MLP
from minidl.layers.tree import walk

Place: TypeAlias = tuple[str | int, ...]  # the parts of a module's name, places in lists as numbers
RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Module(NamedTuple):
    """A layer of ours that has parameters of its own, and where PyTorch would have it."""

    name: str
    place: Place
    layer: Layer


def ours(model: Layer) -> list[Module]:
    """The layers with parameters of their own, in order."""
    names: dict[int, str] = {}
    owners: dict[int, Layer] = {}
    mlps: set[str] = set()
    for name, owner, value in walk(model).entries:
        if isinstance(value, MLP):
            mlps.add(name)
        if isinstance(value, Layer):
            names[id(value)] = name
        elif isinstance(value, Parameter):
            owners[id(owner)] = owner
    return [Module(names[key], _place(names[key], mlps), layer) for key, layer in owners.items()]


def theirs(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tensors by their module's name, in order; each layer of a recurrent module is a module."""
    modules: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        module, _, tensor = str(key).rpartition(".")
        kind, _, layer = tensor.rpartition("_l")
        if kind in RECURRENT and layer.isdigit():
            tensor = kind
            if f"{module}.weight_ih_l1".lstrip(".") in state:
                module = f"{module}.{layer}".lstrip(".")
        modules.setdefault(module, {})[tensor] = value
    return modules


def pair(
    modules: list[Module], theirs: Mapping[str, Any], names: dict[str, str]
) -> tuple[list[tuple[Module, str]], list[str]]:
    """Each of our layers with its module's name, and what is wrong: all that has no partner.

    ``names`` says which is which, the rest is paired by place.
    """
    by_name = {module.name: module for module in modules}
    wrong = [f"names: this model has no layer {name!r}" for name in names if name not in by_name]
    wrong += [
        f"names: there is no module {name!r}" for name in names.values() if name not in theirs
    ]
    pairs = [(by_name[a], b) for a, b in names.items() if a in by_name and b in theirs]
    left = _by_rank({m.name: m.place for m in modules if m.name not in names})
    other = _by_rank({name: _place(name) for name in theirs if name not in names.values()})
    pairs += [(by_name[name], other[place]) for place, name in left.items() if place in other]
    missing = [name or "(the model)" for place, name in left.items() if place not in other]
    unknown = [name or "(the module)" for place, name in other.items() if place not in left]
    if missing or unknown:
        wrong.append(_unpaired(missing, unknown))
    return pairs, wrong


def _unpaired(missing: list[str], unknown: list[str]) -> str:
    hint = ""
    if missing and unknown:
        hint = f'; say which is which: names={{"{missing[0]}": "{unknown[0]}", ..}}'
    nobody = "none"
    return (
        f"no module for {', '.join(missing) or nobody}; "
        f"no layer for {', '.join(unknown) or nobody}{hint}"
    )


def _place(name: str, mlps: Collection[str] = ()) -> Place:
    """The parts of a name; "layers" goes without saying where the number after it tells of a list.

    In an MLP of ours every second module would be an activation.
    """
    place: list[str | int] = []
    parts = name.split(".") if name else []
    for i, part in enumerate(parts):
        if part.isdigit():
            in_mlp = parts[i - 1 : i] == ["layers"] and ".".join(parts[: i - 1]) in mlps
            place.append(int(part) * (2 if in_mlp else 1))
        elif part != "layers" or not "".join(parts[i + 1 : i + 2]).isdigit():
            place.append(part)
    return tuple(place)


def _by_rank(places: Mapping[str, Place]) -> dict[Place, str]:
    """Names by place, without what all places begin with, numbers replaced by their order."""
    shared = 0
    for parts in zip(*places.values()):
        if len(set(parts)) > 1:
            break
        shared += 1
    numbers: dict[Place, set[int]] = {}  # of each list
    for place in places.values():
        for i, part in enumerate(place):
            if isinstance(part, int):
                numbers.setdefault(place[:i], set()).add(part)

    def ranked(place: Place) -> Place:
        return tuple(
            [
                sorted(numbers[place[:i]]).index(part) if isinstance(part, int) else part
                for i, part in enumerate(place)
            ]
        )

    return {ranked(place)[shared:]: name for name, place in places.items()}
