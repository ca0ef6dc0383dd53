"""Which layer of ours is which module of PyTorch's: by name, and in lists by order.

What their tensors are here is in torch.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

from minidl.autograd import Parameter
from minidl.layers.bidirectional import Bidirectional
from minidl.layers.conv import Conv
from minidl.layers.flatten import Flatten
from minidl.layers.layer import Layer
from minidl.layers.linear import Linear
from minidl.layers.mlp import MLP
from minidl.layers.pool import GlobalAvgPool
from minidl.layers.scaled import Scaled
from minidl.layers.tree import walk
from minidl.layers.weighted import Weighted

# The parts of a module's name, places in lists as numbers.
Place: TypeAlias = tuple[str | int, ...]
Tensors: TypeAlias = dict[str, Any]
RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# The parts of an nn.TransformerEncoderLayer as those of a TransformerBlock.
ENCODER = {
    "self_attn": "attention",
    "linear1": "mlp.0",
    "linear2": "mlp.1",
    "norm1": "norm_1",
    "norm2": "norm_2",
}


class Module(NamedTuple):
    """A layer of ours that has parameters of its own, and where PyTorch would have it."""

    name: str
    place: Place
    layer: Layer
    direction: str  # of a Bidirectional "first" or "second", else ""


Pairs: TypeAlias = list[tuple[Module, str]]


def ours(model: Layer) -> list[Module]:
    """The layers with parameters of their own, in order."""
    names: dict[int, str] = {}
    owners: dict[int, Layer] = {}
    mlps: set[str] = set()
    bidirectional: set[str] = set()
    for name, owner, value in walk(model).entries:
        if isinstance(value, MLP):
            mlps.add(name)
        if isinstance(value, Bidirectional):
            bidirectional.add(name)
        if isinstance(value, Layer):
            names[id(value)] = name
        elif isinstance(value, Parameter):
            owners[id(owner)] = owner
    modules = []
    for key, layer in owners.items():
        name = names[key]
        place = _place(name, mlps)
        parent, _, direction = name.rpartition(".")
        if parent not in bidirectional:
            direction = ""
        modules.append(Module(name, place, layer, direction))
    return modules


class Images:
    """Which linear layers and norms get a flattened image, and how many channels it has.

    Known where a Flatten comes between a convolution and a Linear, in the order of the layers. A
    Linear right after a convolution may get one, by a reshape in somebody's forward: where the sizes
    allow it, it has to be said.
    """

    def __init__(self, model: Layer, modules: list[Module], given: Mapping[str, int]) -> None:
        linear = {module.name for module in modules if isinstance(module.layer, Linear)}
        self.given: dict[str, int] = {}
        self.unknown: list[str] = []
        for name, channels in given.items():
            is_number = isinstance(channels, int) and channels > 0
            if is_number and name in linear:
                self.given[name] = channels
            else:
                want = "the name of a Linear and a number of channels"
                self.unknown.append(f"flattened: want {want}, got {name!r}: {channels!r}")
        self._known: dict[int, int] = {}
        self._possible: dict[int, int] = {}
        channels = 0  # of the last convolution, if no weights came after it
        found = self._possible
        for layer in model.sublayers():
            if isinstance(layer, Flatten):
                found = self._known
            elif isinstance(layer, Scaled):  # its features are the channels, or those of the image
                self._known[id(layer)] = channels or 1
            elif isinstance(layer, Weighted | GlobalAvgPool):
                if isinstance(layer, Linear) and channels:
                    found[id(layer)] = channels
                found = self._possible
                channels = 0
                if isinstance(layer, Conv):
                    channels = layer.out_features

    def channels(self, module: Module, rows: int) -> int:
        """The channels of the image that a layer with so many features in gets; 1 for no image."""
        if module.name in self.given:
            return self.given[module.name]
        key = id(module.layer)
        channels = self._possible.get(key, 1)
        several = 1 < channels < rows
        if several and rows % channels == 0:
            image = f"a flattened image of {channels} channels"
            say = f'flattened={{"{module.name}": {channels}}}'
            raise ValueError(
                f"its input may be {image}, which PyTorch flattens channels first: "
                f"say {say}, or 1 if it is not"
            )
        return self._known.get(key, 1)


def theirs(state: Mapping[str, Any]) -> dict[str, Tensors]:
    """Tensors by their module's name, in order.

    Each layer of a recurrent module is a module, and each direction is, called as Bidirectional
    calls them.
    """
    modules: dict[str, Tensors] = {}
    for key, value in state.items():
        module, _, tensor = str(key).rpartition(".")
        forward = tensor.removesuffix("_reverse")
        kind, _, layer = forward.rpartition("_l")
        if kind in RECURRENT and layer.isdigit():
            weights = f"{module}.weight_ih_l".lstrip(".")
            if f"{weights}1" in state:
                module = f"{module}.{layer}"
            if f"{weights}{layer}_reverse" in state:
                direction = "first" if tensor == forward else "second"
                module = f"{module}.{direction}"
            tensor = kind
            module = module.lstrip(".")
        parent, _, part = module.rpartition(".")
        if part == "out_proj" and f"{parent}.in_proj_weight".lstrip(".") in state:
            module = parent
            tensor = f"out_proj.{tensor}"
        modules.setdefault(module, {})[tensor] = value
    return modules


def pair(
    modules: list[Module], theirs: Mapping[str, Any], names: dict[str, str]
) -> tuple[Pairs, list[str]]:
    """Each of our layers with its module's name, and what is wrong: all that has no partner.

    ``names`` says which is which, the rest is paired by place.
    """
    by_name = {module.name: module for module in modules}
    wrong: list[str] = []
    pairs: Pairs = []
    for name, their_name in names.items():
        if name not in by_name:
            wrong.append(f"names: this model has no layer {name!r}")
        if their_name not in theirs:
            wrong.append(f"names: there is no module {their_name!r}")
        if name in by_name and their_name in theirs:
            pairs.append((by_name[name], their_name))
    places = {m.name: m.place for m in modules if m.name not in names}
    left = _by_rank(places)
    unnamed = theirs.keys() - set(names.values())
    places = {name: _place(_as_block(name, theirs)) for name in theirs if name in unnamed}
    other = _by_rank(places)
    common = [place for place in left if place in other]
    for place in common:
        module = by_name[left.pop(place)]
        pairs.append((module, other.pop(place)))
    if left or other:
        wrong.append(_unpaired(left, other))
    return pairs, wrong


def _as_block(name: str, theirs: Mapping[str, Any]) -> str:
    """A module's name, in an nn.TransformerEncoderLayer that of the part it is in ours."""
    parent, _, part = name.rpartition(".")
    attention = f"{parent}.self_attn".lstrip(".")
    if part in ENCODER and "in_proj_weight" in theirs.get(attention, ()):
        return f"{parent}.{ENCODER[part]}".lstrip(".")
    return name


def _unpaired(left: Mapping[Place, str], other: Mapping[Place, str]) -> str:
    missing = list(left.values())
    unknown = list(other.values())
    ours = ", ".join(name or "(the model)" for name in missing)
    others = ", ".join(name or "(the module)" for name in unknown)
    text = f"no module for {ours or 'none'}; no layer for {others or 'none'}"
    if missing and unknown:
        text += f'; say which is which: names={{"{missing[0]}": "{unknown[0]}", ..}}'
    if any(name.endswith("second") for name in unknown):
        text += "; first and second are the directions of a bidirectional module"
    return text


def _place(name: str, mlps: Collection[str] = ()) -> Place:
    """The parts of a name; "layers" goes without saying where the number after it tells of a list.

    In an MLP of ours every second module would be an activation.
    """
    for mlp in mlps:
        start = f"{mlp}.layers.".lstrip(".")
        if name.startswith(start):
            number, *rest = name.removeprefix(start).split(".")
            number = str(2 * int(number))
            name = start + ".".join([number, *rest])
    name = re.sub(r"\blayers\.(?=\d+(\.|$))", "", name)
    parts = name.split(".") if name else []
    return tuple([int(part) if part.isdigit() else part for part in parts])


def _by_rank(places: Mapping[str, Place]) -> dict[Place, str]:
    """Names by place, without what all places begin with, numbers replaced by their order."""
    shared = 0
    for column in zip(*places.values()):
        if len(set(column)) > 1:
            break
        shared += 1
    numbers: dict[Place, set[int]] = {}  # of each list
    for place in places.values():
        for i, part in enumerate(place):
            if isinstance(part, int):
                numbers.setdefault(place[:i], set()).add(part)

    ranked = {}
    for name, place in places.items():
        parts = list(place)
        for i, part in enumerate(place):
            if isinstance(part, int):
                same_list = sorted(numbers[place[:i]])
                parts[i] = same_list.index(part)
        ranked[tuple(parts[shared:])] = name
    return ranked
