"""Normalization by statistics of the batch itself: of each row (layer_norm), of each feature
(batch_norm).

Running statistics belong to layers/batch_norm.py; softmax and its kin are in activation.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import sum_rows
from minidl.functions.masks import narrowed, widened

# fmt: off
__all__ = [
    "batch_norm", "layer_norm",
]
# fmt: on


def _check(x: Any, w: Any, b: Any) -> None:
    """Raise ValueError unless scale and shift have one number for each feature."""
    if x.ndim == 0 or not w.shape == b.shape == x.shape[-1:]:
        raise ValueError("want x (.., features), w (features) and b (features)")


def _rows(x: Any) -> Any:
    """All axes but the last as one."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _composed(axis: Any) -> Any:
    """The plain composition: ``(x - mean) / sqrt(var + eps) * w + b``."""

    def normalize(x: Any, w: Any, b: Any, *, eps: float = 1e-5, moments: Any = None) -> Any:
        over = tuple(range(x.ndim - 1)) if axis is None else axis
        wide = widened(x)
        centred = wide - wide.mean(over, keepdims=True)
        var = (centred * centred).mean(over, keepdims=True)
        return narrowed(centred / np.sqrt(var + eps) * w + b, x)

    return normalize
