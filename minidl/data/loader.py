"""The DataLoader: arrays cut into batches, in order or shuffled.

What is trained on the batches lives in `training`; the arrays to try it with live in `datasets.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.common import random
from minidl.common.arrays import as_array, refuse_masked_parts, to_kind_of


class DataLoader:
    """Iterate over batches of equally long arrays, each batch a tuple with one array per argument.

    An epoch is one `for` loop over the loader. Shuffled, every epoch draws a new permutation from the loader's own
    generator and a batch is a copy; in order, a batch is a view, so do not write into it. ``state_dict()`` says how far
    the latest epoch is; after ``load_state_dict`` of it, the next loop goes through the rest of that epoch.

    Args:
        arrays: arrays or lists with the same number of samples along axis 0, of any dtype but object.
        batch_size: samples in a batch; the last one of an epoch may have fewer.
        shuffle, drop_last: whether every epoch has an order of its own, and leaves an incomplete last batch out.
        seed: of the generator that shuffles; None draws one from minidl's generator (`minidl.seed`).
        shard: (rank, size), to give only the rank's part of each batch, of ``samples(i)``; where that is none, one
            sample all the same, to be weighted by zero. All ranks need the same seed.

    Raises TypeError for a Variable, objects, and numbers that are no ints; ValueError for lengths that differ or are 0,
    numbers out of range, and drop_last where there is no complete batch.

    >>> loader = DataLoader(np.arange(10.0).reshape(5, 2), np.arange(5), batch_size=2, shuffle=False)
    >>> [(x.shape, t.tolist()) for x, t in loader]
    [((2, 2), [0, 1]), ((2, 2), [2, 3]), ((1, 2), [4])]
    """

    def __init__(
        self,
        *arrays: npt.ArrayLike,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if not arrays:
            raise ValueError(
                "DataLoader: got no arrays, wanted at least one, as in DataLoader(x, t)"
            )
        self.arrays = tuple(
            _as_samples(array, f"DataLoader: array {i}") for i, array in enumerate(arrays)
        )
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1 or lengths[0] == 0:
            what = "no samples" if 0 in lengths else "different numbers of samples"
            raise ValueError(
                f"DataLoader: got {what}: arrays of lengths {lengths}, wanted one length of at least 1"
            )
        self.size, self.batch_size = lengths[0], _integer("batch_size", batch_size, least=1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        rank, ranks = (_integer(f"shard[{i}]", value, least=i) for i, value in enumerate(shard))
        if rank >= ranks:
            raise ValueError(
                f"DataLoader: got shard={shard}, wanted (rank, size) with a rank from 0 to size - 1"
            )
        self.shard = rank, ranks
        if not len(self):
            got = f"got {self.size} samples and batch_size={self.batch_size}"
            raise ValueError(
                f"DataLoader: {got}, wanted a complete batch, as drop_last=True leaves others out"
            )
        if (
            seed is None
        ):  # a loader in order draws nothing: adding one leaves the program's later numbers as they were
            seed = int(random.generator().integers(2**63)) if self.shuffle else 0
        self._generator = np.random.default_rng(_integer("seed", seed, least=0))
        self._before = (
            self._generator.bit_generator.state
        )  # the generator's, as the latest epoch's order was drawn
        self._given: int | None = None  # batches of it so far, None when it is over
        self._epoch, self._resumes = (
            0,
            False,
        )  # its number, and whether the next loop goes on with it

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        complete, rest = divmod(self.size, self.batch_size)
        return complete + (rest > 0 and not self.drop_last)

    def samples(self, batch: int) -> int:
        """How many samples of a batch, counted from 0 in each epoch, are this shard's.

        >>> [[DataLoader(range(7), batch_size=4, shard=(rank, 2)).samples(i) for i in (0, 1)] for rank in (0, 1)]
        [[2, 1], [2, 2]]
        """
        start, end = self._part(batch)
        return end - start

    def _part(self, batch: int) -> tuple[int, int]:
        start, (rank, ranks) = batch * self.batch_size, self.shard
        length = min(self.batch_size, self.size - start)
        return start + length * rank // ranks, start + length * (rank + 1) // ranks

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Start an epoch; its order is drawn now, not at the first batch, so that one left early counts as one."""
        first = self._given if self._resumes else None
        if first is not None:
            now = self._generator.bit_generator.state
            self._generator.bit_generator.state = self._before
            order = self._order()
            self._generator.bit_generator.state = now
        else:
            first, self._before = 0, self._generator.bit_generator.state
            order = self._order()
        self._given, self._resumes, self._epoch = first, False, self._epoch + 1
        return self._batches(order, first, self._epoch)

    def in_order(self) -> DataLoader:
        """A loader of the same batches without shuffling, beside which the orders to come of this one stay."""
        twin = copy.copy(self)
        twin.shuffle = twin._resumes = False
        return twin

    def __copy__(self) -> DataLoader:
        """A loader of the same arrays at the same place, with a generator of its own."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), _generator=copy.deepcopy(self._generator))
        return twin

    def _order(self) -> npt.NDArray[Any] | None:
        return self._generator.permutation(self.size) if self.shuffle else None

    def _batches(
        self, order: npt.NDArray[Any] | None, first: int, epoch: int
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        for i in range(first, len(self)):
            start, end = self._part(i)
            part = slice(start, max(end, start + 1))
            if epoch == self._epoch:  # no other epoch has begun since
                self._given = i + 1
            yield tuple(
                [
                    array[part if order is None else to_kind_of(order[part], array)]
                    for array in self.arrays
                ]
            )
        if epoch == self._epoch:
            self._given = None

    def state_dict(self) -> dict[str, Any]:
        """The settings, the generator's states, and ``given``: batches of the latest epoch so far, None at its end."""
        settings = {
            name: getattr(self, name) for name in ("size", "batch_size", "shuffle", "drop_last")
        }
        states = {"generator": self._generator.bit_generator.state, "before": self._before}
        return (
            settings
            | states
            | {"given": self._given, "arrays": [[a.dtype.str, *a.shape[1:]] for a in self.arrays]}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave; ValueError, and nothing is changed, if data or settings differ.

        >>> loader, twin = DataLoader(range(6), batch_size=2, seed=1), DataLoader(range(6), batch_size=2, seed=2)
        >>> batches = iter(loader)
        >>> first = next(batches)
        >>> twin.load_state_dict(loader.state_dict())
        >>> [x.tolist() for (x,) in batches] == [x.tolist() for (x,) in twin]
        True
        """
        own = self.state_dict()
        if not isinstance(state, Mapping):
            raise TypeError(f"DataLoader.load_state_dict: want a dict, got {type(state).__name__}")
        settings = ("size", "batch_size", "shuffle", "drop_last", "arrays")
        if wrong := [
            name
            for name in own
            if name not in state or (name in settings and state[name] != own[name])
        ]:
            differ = ", ".join(
                f"{name}: got {state.get(name, 'none')}, want {own[name]}" for name in wrong
            )
            raise ValueError(
                f"DataLoader.load_state_dict: the data or settings are others: {differ}"
            )
        given = None if state["given"] is None else _integer("given", state["given"], least=0)
        if given is not None and given > len(self):
            raise ValueError(
                f"DataLoader.load_state_dict: got given={given}, of {len(self)} batches"
            )
        bits = np.random.default_rng(0).bit_generator
        try:
            bits.state = state["before"]
            self._generator.bit_generator.state = state["generator"]
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"DataLoader.load_state_dict: got no state of a generator: {error}"
            ) from error
        self._before, self._given, self._resumes = bits.state, given, given is not None

    def __repr__(self) -> str:
        settings = [
            f"{name}={getattr(self, name)}" for name in ("batch_size", "shuffle", "drop_last")
        ]
        return f"DataLoader({self.size} samples, {', '.join(settings)})"


def _as_samples(array: Any, name: str) -> Any:
    if isinstance(array, Variable):
        raise TypeError(
            f"{name} is a Variable, wanted a plain array: batches are constants; pass its .data"
        )
    try:
        if isinstance(array, list):  # it may be of text, which as_array refuses
            refuse_masked_parts(array)
            result: Any = np.asarray(array)
        else:
            result = as_array(array, name)
    except ValueError as error:  # NumPy's message for a ragged list does not say which it was
        raise ValueError(f"{name} is no array: {error}") from error
    if result.dtype == object:
        raise TypeError(f"{name} has dtype object, wanted numbers: got a {type(array).__name__}")
    if result.ndim == 0:
        raise ValueError(
            f"{name} has no axis of samples: got a {type(array).__name__}, wanted an array"
        )
    return result


def _integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool | np.bool) or not hasattr(value, "__index__"):
        raise TypeError(f"DataLoader: got {name}={value!r}, wanted an int of at least {least}")
    if value < least:
        raise ValueError(f"DataLoader: got {name}={value!r}, wanted at least {least}")
    return int(value)
