"""What the trainer is given, checked and made into batches; and means over samples.

Cutting and shuffling itself is the DataLoader's; what is done with a batch lives in `trainer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np

from minidl.data.loader import DataLoader

Metric = Callable[[Any, Any], Any]


def as_loader(
    where: str, data: Any, t: Any, batch_size: int | None, shuffle: bool | None = None, unsaid: bool = False
) -> DataLoader:
    """The loader itself, or one of the arrays, where ``shuffle`` is ``unsaid`` if nobody gave it."""
    if isinstance(data, DataLoader):
        given = {"t": t, "batch_size": batch_size, "shuffle": shuffle}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise ValueError(f"{where}: got a DataLoader and {', '.join(extra)}; the loader has its own")
        if len(data.arrays) != 2:
            raise ValueError(f"{where}: got a DataLoader of {len(data.arrays)} arrays, wanted two: DataLoader(x, t)")
        return data
    if t is None:
        raise TypeError(f"{where}: got x without t, wanted {where}(x, t, ..) or a DataLoader of both")
    shapes = [np.shape(array) for array in (data, t)]
    if all(shapes) and shapes[0][0] != shapes[1][0]:
        raise ValueError(f"{where}: x has {shapes[0][0]} samples and t has {shapes[1][0]}, of shapes {shapes}")
    if (0,) in (shapes[0][:1], shapes[1][:1]):
        raise ValueError(f"{where}: got no samples: x has shape {shapes[0]}, t {shapes[1]}")
    shuffle = unsaid if shuffle is None else shuffle
    return DataLoader(data, t, batch_size=32 if batch_size is None else batch_size, shuffle=shuffle)


def as_validation(where: str, validation: Any, batch_size: int) -> DataLoader:
    """The validation data as a loader in order, from a loader or a pair of arrays."""
    if isinstance(validation, DataLoader):
        return in_order(as_loader(where, validation, None, None))
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        kind = type(validation).__name__
        raise TypeError(f"{where}: got a {kind}, wanted a pair (x, t), a DataLoader or a fraction as in 0.1")
    x, t = validation
    return as_loader(where, x, t, batch_size)


def held_out(data: Any, t: Any, fraction: float) -> tuple[Any, Any, tuple[Any, Any]]:
    """Training samples, their targets, and the last fraction of both as a pair."""
    if isinstance(data, DataLoader):
        raise ValueError("fit: a fraction as validation needs data as arrays; give a pair or a DataLoader instead")
    if not 0 < fraction < 1:
        raise ValueError(f"fit: got validation={fraction!r}, wanted a fraction between 0 and 1")
    n = len(as_loader("fit", data, t, None).arrays[0])
    kept = n - round(n * fraction)
    if not 0 < kept < n:
        raise ValueError(f"fit: validation={fraction!r} of {n} samples leaves one of the two parts empty")
    x, target = np.asarray(data), np.asarray(t)
    return x[:kept], target[:kept], (x[kept:], target[kept:])


def in_order(loader: DataLoader) -> DataLoader:
    """The loader, or if it shuffles a copy that does not, so that the original's orders stay as they are."""
    if loader.shuffle:
        loader = copy(loader)
        loader.shuffle = False
    return loader


def named(metrics: Mapping[str, Metric] | Iterable[Metric] | None) -> dict[str, Metric]:
    """The metrics by name."""
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        pairs = [(getattr(m, "__name__", None) or getattr(m, "name", None) or "", m) for m in metrics]
    result: dict[str, Metric] = {}
    for name, metric in pairs:
        if not callable(metric):
            raise TypeError(f"Trainer: the metric {name or metric!r} cannot be called")
        if not name:
            raise ValueError(f"Trainer: the metric {metric!r} has no name; give a dict of names and functions")
        if name in result or name in ("loss", "lr") or name.startswith("val_"):
            raise ValueError(f"Trainer: a metric cannot be called {name!r}, which is taken; give a dict of names")
        result[name] = metric
    return result


class Means:
    """Means over all samples so far of figures that are means over a batch each."""

    def __init__(self) -> None:
        self.samples = 0
        self.sums: dict[str, float] = {}

    def add(self, samples: int, figures: dict[str, float]) -> None:
        """Add the figures of a batch of so many samples."""
        self.samples += samples
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + samples * value

    def result(self) -> dict[str, float]:
        """The means by name."""
        return {name: total / self.samples for name, total in self.sums.items()}
