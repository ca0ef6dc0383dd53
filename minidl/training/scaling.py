"""Scaling of targets: what a Trainer with ``scale_targets`` learns of them before it trains.

The layer that scales is in `layers/normalization.py`; where it is used, in `trainer.py`.
"""

from __future__ import annotations

from minidl.data.loader import DataLoader
from minidl.layers.normalization import Normalization
from minidl.training.batches import Batches


def learn_scaling(data: Batches) -> Normalization:
    """A Normalization of the targets of all the data; TypeError where there is none."""
    who = f"{data.where}: scale_targets"
    if not isinstance(data.source, DataLoader):
        got = type(data.source).__name__
        raise TypeError(
            f"{who}: want arrays or a minidl.DataLoader, to learn from all, got a {got}"
        )
    targets = data.source.arrays[1] if len(data.source.arrays) > 1 else None
    dtype = getattr(targets, "dtype", None)
    if dtype is None or dtype.kind != "f":
        got = type(targets).__name__ if dtype is None else f"{dtype}"
        raise TypeError(f"{who}: want an array of floating targets, got {got}")
    return Normalization().adapt(targets)
