"""Attention's weights: PyTorch keeps those of queries, keys and values as one.

Which module is which layer is found in torch_modules.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.layers.attention import MultiHeadAttention

Arrays = dict[str, npt.NDArray[Any]]


def from_torch(layer: MultiHeadAttention, tensors: Arrays) -> Arrays:
    """Our weights and biases from the tensors of an ``nn.MultiheadAttention``."""
    needed = ["in_proj_weight", "out_proj.weight"]
    if layer.b_q is not None:
        needed += ["in_proj_bias", "out_proj.bias"]
    features = tensors[needed[0]].shape[-1] if needed[0] in tensors else 0
    if tensors.keys() != set(needed) or len(tensors[needed[0]]) != 3 * features:
        got = ", ".join(f"{name} {value.shape}" for name, value in tensors.items())
        raise ValueError(f"{layer!r} wants {', '.join(needed)}, got {got or 'nothing'}")
    q, k, v = np.split(tensors["in_proj_weight"], 3)
    ours = {"w_q": q.T, "w_k": k.T, "w_v": v.T, "w_o": tensors["out_proj.weight"].T}
    if layer.b_q is not None:
        ours["b_q"], ours["b_k"], ours["b_v"] = np.split(tensors["in_proj_bias"], 3)
        ours["b_o"] = tensors["out_proj.bias"]
    return ours


def to_torch(values: Arrays) -> Arrays:
    """The tensors of an ``nn.MultiheadAttention`` from our weights and biases."""
    theirs = {
        "in_proj_weight": np.concatenate([values[name].T for name in ("w_q", "w_k", "w_v")]),
        "out_proj.weight": values["w_o"].T,
    }
    if "b_q" in values:
        biases = [values[name] for name in ("b_q", "b_k", "b_v")]
        theirs["in_proj_bias"] = np.concatenate(biases)
        theirs["out_proj.bias"] = values["b_o"]
    return theirs
