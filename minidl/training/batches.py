"""Batches: what a trainer is given as data, as (inputs, targets, weight), and what each counts.

How arrays are cut into batches is in `data`; what is done with a batch, in `loop.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any

import numpy as np

from minidl.common.arrays import host
from minidl.common.checks import has_state
from minidl.common.pytree import flatten, is_numbers, map_leaves, unflatten
from minidl.data.loader import DataLoader, as_samples

Batch = tuple[Any, ...]  # inputs, targets and weight, of which a loss_of may want less
NAMES = ("inputs", "targets", "weight")
WANTED = "(inputs, targets) or (inputs, targets, weight)"


class Batches:
    """The batches of a DataLoader, or of any other iterable; ``least`` is what a batch must have.

    ``once`` says that they can be gone through only once, ``resumable`` that an epoch can be gone
    on with in the middle, as the iterable has a state.
    """

    def __init__(self, where: str, source: Any, least: int) -> None:
        self.where = where
        self.source = source
        self.least = least
        self.once = isinstance(source, Iterator)
        self.resumable = has_state(source)
        size = getattr(source, "batch_size", None)
        self.batch_size: int = size if isinstance(size, int) else 32
        if isinstance(source, DataLoader):
            self._check(source)

    def _check(self, loader: DataLoader) -> None:
        if not self.least <= len(loader.arrays) <= len(NAMES):
            raise ValueError(
                f"{self.where}: want a DataLoader of {WANTED}, got one of {len(loader.arrays)}"
            )
        if len(loader.arrays) == len(NAMES) and not check_weight(self.where, loader.arrays[-1]):
            raise ValueError(f"{self.where}: weight: want some above 0, got 0 only")

    @property
    def number(self) -> int | None:
        """How many batches there are, None if the iterable does not say."""
        try:
            return len(self.source)
        except (TypeError, NotImplementedError):
            return None

    def read(self, first: int = 0) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch, or what is left of it after so many, each with what it counts:
        its samples, or the sum of their weights.
        """
        source = self.source
        is_checked = type(source) is DataLoader
        is_shared = isinstance(source, DataLoader) and source.shard != (0, 1)
        for i, batch in enumerate(source, first):
            if not is_checked:
                batch = as_batch(f"{self.where}: batch {i + 1}", batch, self.least)
            if is_shared and not source.samples(i):  # this rank has no part of it
                yield batch, 0
            else:
                yield batch, count_of(batch)

    def first(self) -> Batch:
        """A batch, which takes nothing away from the next epoch."""
        source = self.source.in_order() if isinstance(self.source, DataLoader) else self.source
        return next(iter(Batches(self.where, source, self.least).read()))[0]

    def twin(self, what: str) -> Batches:
        """The same batches, of which reading some takes nothing away from these."""
        if self.once:
            raise ValueError(f"{self.where}: {what} wants data that can be gone through again")
        source = copy(self.source) if isinstance(self.source, DataLoader) else self.source
        return Batches(self.where, source, self.least)


def check_epochs(epochs: int, *data: Batches | None) -> None:
    """Raise ValueError if data are to be gone through more often than they can be."""
    for batches in filter(None, data):
        if batches.once and epochs > 1:
            raise ValueError(
                f"{batches.where}: a {type(batches.source).__name__} can be gone through once, and "
                f"{epochs} epochs want data that can be iterated again, such as a list of batches"
            )


def count_of(batch: Batch) -> float:
    """How much a batch counts in means: its number of samples, or the sum of their weights."""
    if len(batch) == len(NAMES):
        return float(np.sum(host(batch[-1])))
    return len(first_array(batch[0]))


def first_array(tree: Any) -> Any:
    """One of the arrays in a tuple or dict."""
    if type(tree) is np.ndarray:
        return tree
    return flatten(tree)[0][0]


def as_batch(where: str, value: Any, least: int = 2) -> Batch:
    """What an iterable gave, as a tuple of arrays, or of tuples and dicts of arrays."""
    if not isinstance(value, tuple | list) or not least <= len(value) <= len(NAMES):
        got = f"{len(value)} parts" if isinstance(value, tuple | list) else type(value).__name__
        wanted = WANTED if least > 1 else f"(inputs,), {WANTED}"
        raise TypeError(f"{where}: want {wanted}, got {got}")
    batch, _ = as_samples(where, [_as_tuple(part) for part in value], NAMES)
    if len(batch) == len(NAMES):
        check_weight(where, batch[-1])
    return batch


def _as_tuple(part: Any) -> Any:
    """A list of tensors as a tuple: PyTorch's DataLoader makes such a list of a tuple."""
    return tuple(part) if isinstance(part, list) and any(map(_is_tensor, part)) else part


def _is_tensor(value: Any) -> bool:
    """Whether a value is an array of another library, of one axis at least."""
    return not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__") and value.ndim > 0


def check_weight(where: str, weight: Any) -> float:
    """The sum of samples' weights; ValueError for what is negative or not finite."""
    if not isinstance(weight, tuple | dict):
        weight = np.asarray(host(weight))
        if weight.dtype.kind in "fiub" and np.isfinite(weight).all() and weight.min() >= 0:
            return float(weight.sum())
    raise ValueError(f"{where}: weight: want finite numbers of at least 0, got {weight!r:.60}")


def read_batches(
    where: str,
    data: Any,
    targets: Any = None,
    weight: Any = None,
    *,
    least: int = 2,
    in_order: bool = False,
    batch_size: int | None = None,
    shuffle: bool | None = None,
) -> Batches:
    """The batches of a DataLoader or another iterable; or of arrays, cut and shuffled as said."""
    if not gives_batches(data) or (targets is not None and not isinstance(data, DataLoader)):
        shuffle = not in_order if shuffle is None else shuffle
        arrays = _parts(where, data, targets, weight, least)
        return Batches(where, _make_loader(where, arrays, batch_size, shuffle), least)
    settings = {"t": targets, "weight": weight, "batch_size": batch_size, "shuffle": shuffle}
    if extra := [name for name, value in settings.items() if value is not None]:
        kind = type(data).__name__
        raise ValueError(f"{where}: got a {kind} and {', '.join(extra)}; the {kind} has its own")
    if in_order and isinstance(data, DataLoader):
        data = data.in_order()
    return Batches(where, data, least)


def _parts(where: str, data: Any, targets: Any, weight: Any, least: int) -> list[Any]:
    if targets is None and (least > 1 or weight is not None):
        raise TypeError(
            f"{where}: want a pair x, t, a DataLoader or another iterable of batches, "
            f"got x without t: a {type(data).__name__}"
        )
    return [data, *(part for part in (targets, weight) if part is not None)]


def _make_loader(
    where: str, arrays: Iterable[Any], batch_size: int | None, shuffle: bool
) -> DataLoader:
    """A DataLoader whose complaints come from where it was asked for."""
    try:
        size = 32 if batch_size is None else batch_size
        return DataLoader(*arrays, batch_size=size, shuffle=shuffle)
    except (TypeError, ValueError) as error:
        why = str(error).removeprefix("DataLoader: ")
        for i, name in enumerate(NAMES):
            why = why.replace(f"array {i}", name)
        raise type(error)(f"{where}: {why}") from error


def gives_batches(data: Any) -> bool:
    """Whether batches come from iterating over the data, which else are the samples themselves."""
    if type(data) is np.ndarray or isinstance(data, type):
        return False
    if isinstance(data, list):
        return bool(data) and isinstance(data[0], tuple | list) and not is_numbers(data)
    is_array = any(hasattr(data, name) for name in ("__array__", "__dlpack__", "dtype"))
    return hasattr(data, "__iter__") and not (is_array or isinstance(data, tuple | dict | str))


def read_fit_data(
    data: Any, targets: Any, weight: Any, validation: Any, settings: dict[str, Any]
) -> tuple[Batches, Batches | None]:
    """The batches to train on, and those to validate with if there are any."""
    if isinstance(validation, float):
        own, validation = split_validation((data, targets, weight), validation)
        data, targets, weight = (*own, None, None)[: len(NAMES)]
    batches = read_batches("fit", data, targets, weight, **settings)
    if validation is None:
        return batches, None
    return batches, read_validation(validation, batches.least, batches.batch_size)


def read_validation(data: Any, least: int, batch_size: int) -> Batches:
    """Validation data, a pair, a DataLoader or another iterable, in order."""
    where = "fit: validation"
    samples = isinstance(data, tuple) or (isinstance(data, list) and not gives_batches(data))
    if not samples:
        return read_batches(where, data, least=least, in_order=True)
    if not least <= len(data) <= len(NAMES):
        raise TypeError(f"{where}: want {WANTED}, got {len(data)} parts")
    return read_batches(where, *data, least=least, in_order=True, batch_size=batch_size)


def split_validation(parts: Iterable[Any], fraction: float) -> tuple[Batch, Batch]:
    """Training samples, their targets and weights; and the last fraction of each."""
    given = [part for part in parts if part is not None]
    if gives_batches(given[0]):
        raise ValueError(
            "fit: a fraction as validation needs data as arrays; give a pair or a DataLoader"
        )
    loader = _make_loader("fit", given, None, shuffle=False)
    held = round(loader.size * fraction)
    if not 0 < fraction < 1 or held in (0, loader.size):
        raise ValueError(
            "fit: validation: want a fraction that leaves both parts samples, "
            f"got {fraction!r} of {loader.size}"
        )
    own = map_leaves(lambda array: array[:-held], loader.arrays)
    return own, map_leaves(lambda array: array[-held:], loader.arrays)


def join_predictions(parts: list[Any], data: Batches) -> Any:
    """Predictions for batches as one: an array, or a tuple or dict of them."""
    if not parts:
        raise ValueError("predict: the data gave no batch")
    structure = flatten(parts[0])[1]
    leaves = [flatten(part)[0] for part in parts]
    joined = [np.concatenate(arrays) for arrays in zip(*leaves, strict=True)]
    loader = data.source
    sample = isinstance(loader, DataLoader) and first_array(loader.arrays).ndim == 1
    if sample and joined[0].size % loader.size:
        raise ValueError(f"the model gave an output of shape {np.shape(joined[0])}")
    return unflatten(structure, joined)


def explain_batch(error: Exception, data: Batches) -> None:
    """Add to the error of a prediction what it took for a batch."""
    if isinstance(data.source, DataLoader):
        shape = first_array(data.source.arrays).shape
        error.args = (
            f"{error}; predict took x of shape {shape} for a batch of {data.source.size} samples; "
            "of one sample make a batch: x[None]",
        )
