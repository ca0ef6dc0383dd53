"""Weights of PyTorch's: state dicts in and out. Nothing of PyTorch is imported.

Which module is which layer is found in torch_modules.py; memory is shared by dlpack.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter, Variable
from minidl.common.arrays import host
from minidl.interop import torch_attention, torch_modules
from minidl.layers.attention import MultiHeadAttention
from minidl.layers.batch_norm import BatchNorm
from minidl.layers.embedding import Embedding
from minidl.layers.layer import Layer
from minidl.layers.layer_norm import LayerNorm
from minidl.layers.linear import Linear
from minidl.layers.recurrent import GRU, LSTM
from minidl.layers.scaled import Scaled
from minidl.layers.tree import walk
from minidl.layers.values import load_values
from minidl.layers.weighted import Weighted

__all__ = ["load_torch_state_dict", "torch_state_dict"]

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Tensors = Mapping[str, Any]
# An LSTM's gates are i, f, g, o in PyTorch and f, i, o, u, which is g, in minidl: neighbours change
# places either way.
_GATES = (1, 0, 3, 2)
# Layers whose arrays are PyTorch's as they are, under other names.
_RENAMED: Mapping[type[Layer], Mapping[str, str]] = {
    LayerNorm: {"w": "weight", "b": "bias"},
    BatchNorm: {"w": "weight", "b": "bias", "mean": "running_mean", "var": "running_var"},
    Embedding: {"w": "weight"},
}
_CELLS = {1: "RNN", 3: "GRU", 4: "LSTM"}  # by the number of gates


def load_torch_state_dict(
    model: Layer,
    state: Tensors,
    names: Mapping[str, str] | None = None,
    flattened: Mapping[str, int] | None = None,
) -> None:
    """Give a model the weights of a PyTorch model of the same structure.

    Then equal inputs give equal outputs, up to rounding.

    ``Linear``: ``w = weight.T``, ``b = bias``. ``Conv1d``, ``Conv2d``: ``w`` is ``weight`` with its
    first two axes last, in the other order. ``RNN`` (tanh) and ``LSTM``: ``w_x = weight_ih.T``,
    ``w_h = weight_hh.T``, ``b = bias_ih + bias_hh``, the LSTM's gates reordered; ``GRU``: the same,
    but what n's part of ``bias_hh`` is stays apart, as ``b_h``. ``Bidirectional``: ``second`` has
    the tensors whose names end in ``_reverse``. ``LayerNorm``, ``Embedding`` and ``BatchNorm`` as
    they are, running statistics included; ``num_batches_tracked`` is of no use here.
    ``MultiHeadAttention``: of ``nn.MultiheadAttention``, ``in_proj_weight`` split in three.
    ``TransformerBlock``: of ``nn.TransformerEncoderLayer(.., norm_first=True, activation="gelu")``,
    which the tensors do not tell from other settings, or of a module whose parts have the block's
    names, its ``mlp`` an ``nn.Sequential``. Modules are
    matched by name; in lists (``Sequential``, ``MLP``, ``ModuleList``) by their order, so that
    activations may be modules there and functions here; prefixes that all names share are left out.
    A recurrent module of several layers counts as a list of them. Lazy parameters get their shape;
    values are cast to the parameters' dtype.

    Args:
        model: a layer of minidl.
        state: what PyTorch's ``state_dict()`` gives: names to tensors (on any device), or to
        arrays.
        names: our layer's name to their module's, where they differ, such as ``{"layers.0":
            "fc1"}``.
        flattened: the ``Linear`` layers of ours that get a flattened image, and how many channels
            it has, such as ``{"fc1": 32}``; 1 for one that gets none. PyTorch flattens channels
            first and minidl last, so the rows of their weights are in another order. Where a
            ``Flatten`` stands between a convolution and a ``Linear`` it is known.

    Raises TypeError if ``state`` is no mapping; ValueError, listing all that differs and changing
    nothing, if modules are missing on either side or shapes differ.

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
            "load_torch_state_dict: want a dict, such as PyTorch's model.state_dict() gives, "
            f"got {got}"
        )
    ours = torch_modules.ours(model)
    theirs = torch_modules.theirs(state)
    pairs, wrong = torch_modules.pair(ours, theirs, dict(names or {}))
    new: Arrays = {}
    images = torch_modules.Images(model, ours, flattened or {})
    wrong += images.unknown
    for module, name in pairs:
        try:
            values = _from_torch(module.layer, theirs[name])
            for key in _keys_by_features(module.layer, values):
                array = values[key]
                channels = images.channels(module, len(array))
                values[key] = _reordered(array, channels)
        except ValueError as error:
            title = module.name or type(module.layer).__name__
            wrong.append(f"{title} from {name or 'the module'}: {error}")
        else:
            for key, value in values.items():
                new[_join(module.name, key)] = value
    if wrong:
        raise ValueError(
            f"load_torch_state_dict of {type(model).__name__}; nothing was changed; "
            + "; ".join(wrong)
        )
    paired = [id(module.layer) for module in ours]
    without = []
    for name, owner, _ in walk(model).buffers:
        if id(owner) not in paired:
            without.append(name)
    load_values(model, new, strict=True, optional=without)  # PyTorch has no Normalization, say


def torch_state_dict(model: Layer, flattened: Mapping[str, int] | None = None) -> Arrays:
    """The model's weights under PyTorch's names and in its shapes.

    The names are those of the model written with ``torch.nn.Sequential`` where minidl has
    ``Sequential``, and for an ``MLP`` with its activations between: ``0.weight``, ``2.weight``.
    ``bias_ih`` is ``b`` and ``bias_hh`` zero, a GRU's ``b_h`` aside; ``flattened`` is as for
    ``load_torch_state_dict``. Make tensors of the arrays, which are copies, for PyTorch's own
    ``load_state_dict``: ``{name: torch.from_numpy(a) for name, a in
    torch_state_dict(model).items()}``.

    Raises RuntimeError while a lazy parameter has no value yet; ValueError where ``flattened`` has
    to be given.

    >>> from minidl import layers
    >>> {name: a.shape for name, a in torch_state_dict(layers.MLP([5, 1], in_features=3)).items()}
    {'0.weight': (5, 3), '0.bias': (5,), '2.weight': (1, 5), '2.bias': (1,)}
    """
    state: Arrays = {}
    ours = torch_modules.ours(model)
    images = torch_modules.Images(model, ours, flattened or {})
    if images.unknown:
        raise ValueError(f"torch_state_dict: {'; '.join(images.unknown)}")
    for module in ours:
        place = module.place
        if module.direction:
            place = place[:-1]
        name = ".".join(map(str, place))
        suffix = ""
        if module.direction == "second":
            suffix = "_reverse"
        tensors = _to_torch(module.layer)
        for key in _keys_by_features(module.layer, tensors):
            array = tensors[key].T
            rows = len(array)
            try:
                channels = images.channels(module, rows)
            except ValueError as error:
                raise ValueError(f"torch_state_dict: {module.name}: {error}") from None
            places = rows // channels
            tensors[key] = _reordered(array, places).T
        for key, value in tensors.items():
            state[_join(name, key + suffix)] = np.ascontiguousarray(value)
    return state


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


# ---- what their tensors are here -----------------------------------------------------------------


def _array(value: Any) -> Array:
    """The array of a tensor, wherever it lies; of anything else, NumPy's."""
    if isinstance(value, Variable):
        return host(value.data)  # type: ignore[no-any-return]  # NumPy's
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):  # NumPy has none
            value = value.float()
        return np.asarray(value.numpy())
    return np.asarray(value)


def _keys_by_features(layer: Layer, arrays: Arrays) -> list[str]:
    """Which of a layer's arrays have a row for each feature of its input."""
    if isinstance(layer, Scaled):
        return list(arrays)
    if isinstance(layer, Linear):
        return ["w" if "w" in arrays else "weight"]
    return []


def _reordered(a: Array, first: int) -> Array:
    """An array whose rows go along two axes, ``first`` the length of one, with the other first."""
    if first == 1:
        return a
    rows = len(a)
    if rows % first:
        raise ValueError(f"{rows} rows are not those of {first} channels")
    grid = a.reshape(first, rows // first, *a.shape[1:])
    return grid.swapaxes(0, 1).reshape(a.shape)


def _swap_gates(a: Array) -> Array:
    """The last axis's four blocks, one a gate, in the other order."""
    blocks = np.split(a, 4, axis=-1)
    return np.concatenate([blocks[i] for i in _GATES], axis=-1)


def _from_torch(layer: Layer, tensors: Tensors) -> Arrays:
    """Our parameters of one layer from the tensors of one module."""
    values = {name: _array(value) for name, value in tensors.items()}
    renamed = _renamed(layer)
    if renamed:
        values.pop("num_batches_tracked", None)
        if values.keys() != set(renamed.values()):
            raise ValueError(
                f"{layer!r} wants {', '.join(renamed.values())}, got {_listed(values)}"
            )
        return {name: values[their_name] for name, their_name in renamed.items()}
    if isinstance(layer, MultiHeadAttention):
        return torch_attention.from_torch(layer, values)
    if not isinstance(layer, Weighted):
        return values  # a layer of the user's: names and shapes as they are
    if layer._weights == ("w",):
        return _products_from_torch(layer, values)
    return _recurrent_from_torch(layer, values)


def _products_from_torch(layer: Weighted, values: Arrays) -> Arrays:
    """(out, in, kernel..) becomes (kernel.., in, out)."""
    needed = {"weight"}
    if layer.b is not None:
        needed.add("bias")
    _check(layer, values, needed)
    w = values["weight"]
    kernel = range(2, w.ndim)
    ours = {"w": w.transpose(*kernel, 1, 0)}
    if layer.b is not None:
        ours["b"] = values["bias"]
    return ours


def _recurrent_from_torch(layer: Weighted, values: Arrays) -> Arrays:
    _check(layer, values, {"weight_ih", "weight_hh"}, {"bias_ih", "bias_hh"})
    rows, hidden = values["weight_hh"].shape
    if rows != layer._gates * hidden:
        unknown = f"cell with weight_hh {(rows, hidden)}"
        gates = rows // max(hidden, 1)
        cell = _CELLS.get(gates, unknown)
        kind = type(layer).__name__
        raise ValueError(f"{layer!r} wants the weights of an {kind}, got those of: {cell}")
    of_input = values.get("bias_ih", np.zeros(rows))
    of_state = values.get("bias_hh", np.zeros(rows))
    ours = {
        "w_x": values["weight_ih"].T,
        "w_h": values["weight_hh"].T,
        "b": of_input + of_state,
    }
    if isinstance(layer, LSTM):
        return {name: _swap_gates(value) for name, value in ours.items()}
    if isinstance(layer, GRU):
        n = 2 * hidden
        ours["b"][n:] = of_input[n:]
        ours["b_h"] = of_state[n:]
    return ours


def _check(
    layer: Weighted,
    values: Arrays,
    needed: set[str],
    optional: AbstractSet[str] = frozenset(),
) -> None:
    """Raise ValueError unless the tensors have these names, and the weights as many axes as ours."""
    fits = needed <= values.keys() <= needed | optional
    axes = len(next(iter(layer._lazy_shapes.values())))
    for name, value in values.items():
        if name.startswith("weight") and value.ndim != axes:
            fits = False
    if not fits:
        raise ValueError(f"{layer!r} wants {', '.join(sorted(needed))}, got {_listed(values)}")


def _listed(values: Arrays) -> str:
    texts = [f"{name} {value.shape}" for name, value in values.items()]
    return ", ".join(texts) or "nothing"


def _renamed(layer: Layer) -> Mapping[str, str]:
    """Our names of a layer's arrays and PyTorch's, if nothing but these differs."""
    for kind, names in _RENAMED.items():
        if isinstance(layer, kind):
            return names
    return {}


def _out_first(a: Array) -> Array:
    """(kernel.., in, out) as (out, in, kernel..)."""
    kernel = range(a.ndim - 2)
    axes = range(a.ndim)
    turned = axes[:-3:-1]
    return a.transpose(*turned, *kernel)


def _to_torch(layer: Layer) -> Arrays:
    """The tensors of one module from our parameters of one layer, as copies."""
    values = {
        name: host(value.data).copy()
        for name, owner, value in walk(layer).entries
        if owner is layer and isinstance(value, Parameter)
    }
    for name in layer.buffers:
        values[name] = host(getattr(layer, name)).copy()
    renamed = _renamed(layer)
    if renamed:
        return {renamed[name]: value for name, value in values.items()}
    if isinstance(layer, MultiHeadAttention):
        return torch_attention.to_torch(values)
    if not isinstance(layer, Weighted):
        return values
    if layer._weights == ("w",):
        names = {"w": "weight", "b": "bias"}
        return {names[name]: _out_first(value) for name, value in values.items()}
    if isinstance(layer, LSTM):
        values = {name: _swap_gates(value) for name, value in values.items()}
    of_state = np.zeros_like(values["b"])
    if isinstance(layer, GRU):
        of_state[2 * layer.out_features :] = values["b_h"]
    return {
        "weight_ih_l0": values["w_x"].T,
        "weight_hh_l0": values["w_h"].T,
        "bias_ih_l0": values["b"],
        "bias_hh_l0": of_state,
    }
