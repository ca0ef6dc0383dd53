"""Weights and arrays of other libraries: PyTorch's state dicts in and out, arrays by DLPack without a copy.

Nothing of PyTorch is imported. Files of weights are serialization.py's, ONNX is onnx.py's, scikit-learn sklearn.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter, Variable
from minidl.common.arrays import host
from minidl.layers.layer import Layer
from minidl.layers.linear import Weighted
from minidl.layers.mlp import MLP
from minidl.layers.tree import walk

Array = npt.NDArray[Any]
Place = tuple[str | int, ...]  # of a module: the parts of its name, places in lists as numbers
# An LSTM's gates are i, f, g, o in PyTorch and f, i, o, u, which is g, in minidl: neighbours change places either way.
_GATES = (1, 0, 3, 2)
_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def load_torch_state_dict(
    model: Layer, state: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> None:
    """Give a model the weights of a PyTorch model of the same structure; then equal inputs give equal outputs.

    ``Linear``: ``w = weight.T``, ``b = bias``. ``RNN`` (tanh) and ``LSTM``: ``w_x = weight_ih.T``,
    ``w_h = weight_hh.T``, ``b = bias_ih + bias_hh``, the LSTM's gates reordered. Modules are matched by name; in lists
    (``Sequential``, ``MLP``, ``ModuleList``) by their order, so that activations may be modules there and functions
    here; prefixes that all names share are left out. A recurrent module of several layers counts as a list of them.
    Lazy parameters get their shape; values are cast to the parameters' dtype.

    Args:
        model: a layer of minidl.
        state: what PyTorch's ``state_dict()`` gives: names to tensors (on any device), or to arrays.
        names: our layer's name to their module's, where they differ, such as ``{"layers.0": "fc1"}``.

    Raises TypeError if ``state`` is no mapping; ValueError, listing all that differs and changing nothing, if modules
    are missing on either side or shapes differ.

    >>> from minidl import layers
    >>> model = layers.MLP([5, 1])
    >>> load_torch_state_dict(model, {"0.weight": np.ones((5, 3)), "0.bias": np.zeros(5),
    ...                               "2.weight": np.ones((1, 5)), "2.bias": np.zeros(1)})
    >>> model
    MLP(3→5→1)
    """
    if not isinstance(state, Mapping):
        got = type(state).__name__
        raise TypeError(
            f"load_torch_state_dict: want a dict, such as PyTorch's model.state_dict() gives, got {got}"
        )
    theirs = _their_modules(state)
    pairs, wrong = _paired(_our_modules(model), theirs, dict(names or {}))
    new: dict[str, Array] = {}
    for ours, name, tensors in pairs:
        try:
            values = _from_torch(ours.layer, tensors)
        except ValueError as error:
            wrong.append(
                f"{ours.name or type(ours.layer).__name__} from {name or 'the module'}: {error}"
            )
        else:
            new |= {f"{ours.name}.{key}".lstrip("."): value for key, value in values.items()}
    if wrong:
        raise ValueError(
            f"load_torch_state_dict of {type(model).__name__}; nothing was changed; "
            + "; ".join(wrong)
        )
    model.load_state_dict(new)


def torch_state_dict(model: Layer) -> dict[str, Array]:
    """The model's weights under PyTorch's names and in its shapes: the way back of ``load_torch_state_dict``.

    The names are those of the model written with ``torch.nn.Sequential`` where minidl has ``Sequential``, and for an
    ``MLP`` with its activations between: ``0.weight``, ``2.weight``. ``bias_ih`` is ``b`` and ``bias_hh`` zero. Make
    tensors of the arrays, which are copies, for PyTorch's own ``load_state_dict``:
    ``{name: torch.from_numpy(a) for name, a in torch_state_dict(model).items()}``.

    Raises RuntimeError while a lazy parameter has no value yet.

    >>> from minidl import layers
    >>> {name: a.shape for name, a in torch_state_dict(layers.MLP([5, 1], in_features=3)).items()}
    {'0.weight': (5, 3), '0.bias': (5,), '2.weight': (1, 5), '2.bias': (1,)}
    """
    found: dict[str, Array] = {}
    for module in _our_modules(model):
        name = ".".join(map(str, module.written))
        values = _to_torch(module.layer)
        found |= {
            f"{name}.{key}".lstrip("."): np.ascontiguousarray(value)
            for key, value in values.items()
        }
    return found


def from_dlpack(x: Any, requires_grad: bool | None = None, name: str | None = None) -> Variable:
    """A Variable over the memory of another library's array, tensor or data frame column; nothing is copied.

    A change on either side is seen on the other, until the Variable is given other memory: at an
    optimizer's first update (which moves what it trains into one buffer of its own), when ``.data`` is
    assigned another array, by ``load_state_dict`` and ``to``. ``x`` has ``__dlpack__`` and lies in the
    CPU's memory; the other arguments are ``Variable``'s. The way out is
    ``torch.from_dlpack(variable.data)``, or, for one that requires no gradient, of the variable itself.

    Raises TypeError if ``x`` does not speak DLPack, BufferError if it lies elsewhere or may not be shared.

    >>> a = np.zeros(2)
    >>> x = from_dlpack(a)
    >>> a[0] = 1
    >>> x
    Variable([1. 0.])
    """
    if not hasattr(x, "__dlpack__"):
        hint = "Variable(x) takes arrays, numbers and lists"
        raise TypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__; {hint}")
    try:
        shared = np.from_dlpack(x)
    except BufferError:
        raise
    except (RuntimeError, ValueError) as error:
        raise BufferError(
            f"from_dlpack: this {type(x).__name__} cannot be shared with the CPU: {error}"
        ) from error
    return Variable(shared, requires_grad, name)


# ---- which module is which --------------------------------------------------------------------------------------


class _Module(NamedTuple):
    """A layer of ours that has parameters of its own, and what PyTorch would call it."""

    name: str
    written: Place
    layer: Layer


def _our_modules(model: Layer) -> list[_Module]:
    """The layers with parameters of their own, in order."""
    layers: dict[int, str] = {}
    owners: dict[int, Layer] = {}
    with_mlp: set[str] = set()
    for name, owner, value in walk(model).found:
        if isinstance(value, MLP):
            with_mlp.add(name)
        if isinstance(value, Layer):
            layers[id(value)] = name
        elif isinstance(value, Parameter):
            owners[id(owner)] = owner
    found = []
    for key, layer in owners.items():
        parts, written = layers[key].split(".") if layers[key] else [], list[str | int]()
        for i, part in enumerate(parts):
            if part == "layers" and i + 1 < len(parts) and parts[i + 1].isdigit():
                continue
            inside = ".".join(parts[: i - 1]) in with_mlp and parts[i - 1] == "layers" and i > 0
            written.append(int(part) * (2 if inside else 1) if part.isdigit() else part)
        found.append(_Module(layers[key], tuple(written), layer))
    return found


def _their_modules(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tensors by their module's name, in order; each layer of a recurrent module is a module."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        module, _, leaf = str(key).rpartition(".")
        start, _, layer = leaf.rpartition("_l")
        if start in _RECURRENT and layer.isdigit():
            several = f"{module}.weight_ih_l1".lstrip(".") in state
            module, leaf = f"{module}.{layer}".lstrip(".") if several else module, start
        found.setdefault(module, {})[leaf] = value
    return found


def _ranked(places: Mapping[str, Place]) -> dict[Place, str]:
    """Names by place, without what all places begin with, and numbers replaced by their rank among their like."""
    own = list(places.values())
    shared = 0
    while own and all(len(p) > shared and p[shared] == own[0][shared] for p in own):
        shared += 1
    numbers: dict[Place, set[int]] = {}
    for place in own:
        for i, part in enumerate(place):
            if isinstance(part, int):
                numbers.setdefault(place[:i], set()).add(part)
    ranks = {at: {n: rank for rank, n in enumerate(sorted(found))} for at, found in numbers.items()}

    def ranked(place: Place) -> Place:
        return tuple(
            [
                ranks[place[:i]][part] if isinstance(part, int) else part
                for i, part in enumerate(place)
            ]
        )

    return {ranked(place)[shared:]: name for name, place in places.items()}


def _paired(
    ours: list[_Module], theirs: dict[str, dict[str, Any]], names: dict[str, str]
) -> tuple[list[tuple[_Module, str, dict[str, Any]]], list[str]]:
    """Each layer with its module's name and tensors, and what is wrong: those without a partner."""
    by_name = {module.name: module for module in ours}
    wrong = [f"names: this model has no layer {name!r}" for name in names if name not in by_name]
    wrong += [
        f"names: there is no module {name!r}" for name in names.values() if name not in theirs
    ]
    pairs = [(by_name[a], b, theirs[b]) for a, b in names.items() if a in by_name and b in theirs]
    left = _ranked({m.name: m.written for m in ours if m.name not in names})
    other = _ranked({name: _place(name) for name in theirs if name not in names.values()})
    pairs += [
        (by_name[name], other[place], theirs[other[place]])
        for place, name in left.items()
        if place in other
    ]
    missing = [name or "(the model)" for place, name in left.items() if place not in other]
    unknown = [name or "(the module)" for place, name in other.items() if place not in left]
    if missing or unknown:
        say = (
            f'; say which is which: names={{"{missing[0]}": "{unknown[0]}", ..}}'
            if missing and unknown
            else ""
        )
        wrong.append(
            f"no module for {', '.join(missing) or 'none'}; no layer for {', '.join(unknown) or 'none'}{say}"
        )
    return pairs, wrong


def _place(name: str) -> Place:
    """The parts of a name of PyTorch's, without the "layers" that are said to be a list by the number after it."""
    parts = name.split(".") if name else []
    kept = [
        p
        for i, p in enumerate(parts)
        if not (p == "layers" and parts[i + 1 : i + 2] and parts[i + 1].isdigit())
    ]
    return tuple([int(part) if part.isdigit() else part for part in kept])


# ---- what their tensors are here --------------------------------------------------------------------------------


def _array(value: Any) -> Array:
    """The array of a tensor, wherever it lies; of anything else, NumPy's."""
    if isinstance(value, Variable):
        return host(value.data)  # type: ignore[no-any-return]  # NumPy's
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value  # NumPy has none
        return np.asarray(value.numpy())
    return np.asarray(value)


def _gates(a: Array) -> Array:
    """The last axis's four blocks, one a gate, in the other order."""
    return np.concatenate([np.split(a, 4, axis=-1)[i] for i in _GATES], axis=-1)


def _from_torch(layer: Layer, tensors: Mapping[str, Any]) -> dict[str, Array]:
    """Our parameters of one layer from the tensors of one module."""
    values = {name: _array(value) for name, value in tensors.items()}
    if not isinstance(layer, Weighted):
        return values  # a layer of the user's: names and shapes as they are
    linear = layer._weights == ("w",)
    need = (
        {"weight", "bias"} - ({"bias"} if layer.b is None else set())
        if linear
        else {*_RECURRENT[:2]}
    )
    may = need if linear else {*_RECURRENT}
    if not need <= values.keys() <= may or any(
        values[name].ndim != 2 for name in need if name.startswith("weight")
    ):
        got = ", ".join(f"{name} {value.shape}" for name, value in values.items())
        raise ValueError(f"{layer!r} wants {', '.join(sorted(need))}, got {got}")
    if linear:
        return {"w": values["weight"].T} | ({"b": values["bias"]} if "bias" in values else {})
    rows, hidden = values["weight_hh"].shape
    if rows != layer._gates * hidden:
        got = {1: "RNN", 3: "GRU", 4: "LSTM"}.get(
            rows // max(hidden, 1), f"cell with weight_hh {(rows, hidden)}"
        )
        raise ValueError(
            f"{layer!r} wants the weights of an {type(layer).__name__}, got those of: {got}"
        )
    bias = sum([values[name] for name in _RECURRENT[2:] if name in values], np.zeros(rows))
    new = {"w_x": values["weight_ih"].T, "w_h": values["weight_hh"].T, "b": np.asarray(bias)}
    return new if layer._gates == 1 else {name: _gates(value) for name, value in new.items()}


def _to_torch(layer: Layer) -> dict[str, Array]:
    """The tensors of one module from our parameters of one layer."""
    values = {name: host(p.data) for name, p in vars(layer).items() if isinstance(p, Parameter)}
    if not isinstance(layer, Weighted):
        own = [
            (name, p)
            for name, owner, p in walk(layer).found
            if owner is layer and isinstance(p, Parameter)
        ]
        return {name: host(p.data).copy() for name, p in own}
    if layer._weights == ("w",):
        return {"weight": values["w"].T.copy()} | (
            {"bias": values["b"].copy()} if "b" in values else {}
        )
    if layer._gates == 4:
        values = {name: _gates(value) for name, value in values.items()}
    pair = {"weight_ih_l0": values["w_x"].T.copy(), "weight_hh_l0": values["w_h"].T.copy()}
    return pair | {"bias_ih_l0": values["b"].copy(), "bias_hh_l0": np.zeros_like(values["b"])}
