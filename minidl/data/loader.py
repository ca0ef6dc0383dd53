"""The DataLoader: arrays, or tuples and dicts of arrays, cut into batches, in order or shuffled.

What is trained on the batches lives in `training`; the arrays to try it with live in `datasets.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Variable
from minidl.common import random
from minidl.common.arrays import as_array, to_kind_of
from minidl.common.checks import count, differences
from minidl.common.hints import refuse_unexpected
from minidl.common.pytree import LEAF, describe, flatten, paths, unflatten

Array = npt.NDArray[Any]
Batch = tuple[Any, ...]
_CHANGING = ("generator", "before", "given")  # parts of a state, from batch to batch


class DataLoader:
    """Iterate over batches of equally long arrays, each batch a tuple with one part per argument.

    An epoch is one `for` loop over the loader. Shuffled, every epoch draws a new permutation from
    the loader's own generator and a batch is a copy; in order, a batch is a view, so do not write
    into it. ``state_dict()`` says how far the latest epoch is; after ``load_state_dict`` of it, the
    next loop goes through the rest of that epoch.

    Args:
        arrays: arrays, or lists of numbers or text, with the same number of samples along axis 0;
            or tuples or dicts of these, whose batches are such tuples or dicts. To be trained on,
            they are the inputs, the targets, and perhaps a weight for each sample. Series and
            tensors of other libraries are taken by position.
        batch_size: samples in a batch; the last one of an epoch may have fewer.
        shuffle: whether every epoch has an order of its own.
        drop_last: whether an incomplete last batch is left out.
        seed: of the generator that shuffles; None draws one from minidl's generator
            (`minidl.seed`).
        shard: (rank, size): yield only this rank's part of each batch, `samples(i)` samples; an
            empty part yields one sample, to be weighted by zero. All ranks need the same seed.

    Raises TypeError for Variables, for objects, and for settings of another type; ValueError for
    lengths that differ or are 0, settings out of range, and drop_last without a complete batch.

    >>> x = np.arange(10.0).reshape(5, 2)
    >>> loader = DataLoader(x, np.arange(5), batch_size=2, shuffle=False)
    >>> [(x.shape, t.tolist()) for x, t in loader]
    [((2, 2), [0, 1]), ((2, 2), [2, 3]), ((1, 2), [4])]
    >>> for batch in DataLoader({"a": [1, 2], "b": x[:2]}, shuffle=False):
    ...     print(batch)
    ({'a': array([1, 2]), 'b': array([[0., 1.],
           [2., 3.]])},)
    """

    @refuse_unexpected
    def __init__(
        self,
        *arrays: Any,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if not arrays:
            want = "want at least one array, as in DataLoader(x, t)"
            raise ValueError(f"DataLoader: {want}, got none")
        names = [f"array {i}" for i in range(len(arrays))]
        self.arrays, self.size = as_samples("DataLoader", arrays, names)
        self._leaves, self._structure = flatten(self.arrays)
        self._assemble: Callable[[list[Array]], Batch] = tuple
        if self._structure.parts.count(LEAF) < len(arrays):
            self._assemble = partial(unflatten, self._structure)
        self.batch_size = count("DataLoader: batch_size", batch_size)
        self.shuffle = _flag("DataLoader: shuffle", shuffle)
        self.drop_last = _flag("DataLoader: drop_last", drop_last)
        self.shard = _shard(shard)
        if not len(self):
            want = "want a complete batch with drop_last=True"
            got = f"got {self.size} samples and batch_size={self.batch_size}"
            raise ValueError(f"DataLoader: {want}, {got}")
        if seed is not None:
            seed = count("DataLoader: seed", seed, least=0)
        # In order nothing is drawn: the program's later numbers stay what they are without it.
        self._generator: np.random.Generator | None = None
        self._before: Mapping[str, Any] | None = None
        if self.shuffle:
            if seed is None:
                seed = int(random.generator().integers(2**63))
            self._generator = np.random.default_rng(seed)
            # Its state before the latest epoch's order was drawn.
            self._before = self._generator.bit_generator.state
        self._epoch = 0  # the number of the latest epoch
        self._given: int | None = None  # its batches so far, None when it is over
        self._resumes = False  # whether the next loop goes on with it

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        complete, rest = divmod(self.size, self.batch_size)
        if rest and not self.drop_last:
            return complete + 1
        return complete

    def samples(self, batch: int) -> int:
        """How many samples of a batch, counted from 0 in each epoch, are this shard's.

        >>> second = DataLoader(range(7), batch_size=4, shard=(1, 2))
        >>> second.samples(0), second.samples(1)
        (2, 2)
        """
        start, end = self._part(batch)
        return end - start

    def _part(self, batch: int) -> tuple[int, int]:
        """The first sample of a batch's part for this shard, and the one after its last."""
        start = batch * self.batch_size
        rank, ranks = self.shard
        length = min(self.batch_size, self.size - start)
        before = length * rank // ranks
        until = length * (rank + 1) // ranks
        return start + before, start + until

    def __iter__(self) -> Iterator[Batch]:
        """Start an epoch.

        The order is drawn here, not at the first batch, so that an abandoned epoch still consumes
        one draw.
        """
        order = self._order()
        if not self._resumes:
            self._given = 0
        self._resumes = False
        self._epoch += 1
        return self._batches(order, self._given or 0, self._epoch)

    def in_order(self) -> DataLoader:
        """A loader of the same batches without shuffling; it draws nothing from this one."""
        twin = copy.copy(self)
        twin.shuffle = False
        twin._generator = twin._before = None
        twin._resumes = False
        return twin

    def __copy__(self) -> DataLoader:
        """A loader of the same arrays at the same place, with a generator of its own."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._generator = copy.deepcopy(self._generator)
        return twin

    def _order(self) -> Array | None:
        """The order of the epoch that begins, or of the latest one if that is gone on with."""
        if self._generator is None:
            return None
        bits = self._generator.bit_generator
        now = bits.state
        if not self._resumes or self._before is None:
            self._before = now
            return self._generator.permutation(self.size)
        bits.state = self._before
        order = self._generator.permutation(self.size)
        bits.state = now
        return order

    def _batches(self, order: Array | None, first: int, epoch: int) -> Iterator[Batch]:
        orders = [None if order is None else to_kind_of(order, array) for array in self._leaves]
        for i in range(first, len(self)):
            start, end = self._part(i)
            end = max(end, start + 1)  # an empty part yields one sample
            if epoch == self._epoch:  # no other epoch has begun since
                self._given = i + 1
            part = slice(start, end)
            batch = []
            for array, own in zip(self._leaves, orders):
                rows = part if own is None else own[part]
                batch.append(array[rows])
            yield self._assemble(batch)
        if epoch == self._epoch:
            self._given = None

    def state_dict(self) -> dict[str, Any]:
        """The settings, the generator's states, and ``given``, the place in the latest epoch.

        That is how many batches were given out, None when the epoch is over.
        """
        generator = self._generator
        return {
            **self._form(),
            "generator": None if generator is None else generator.bit_generator.state,
            "before": self._before,
            "given": self._given,
        }

    def _form(self) -> dict[str, Any]:
        """The part of a state that stays: the settings, and dtype and shape of the samples."""
        return {
            "size": self.size,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "arrays": [[a.dtype.str, *a.shape[1:]] for a in self._leaves],  # as JSON has them
            "tree": describe(self._structure),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave.

        Raises ValueError, and changes nothing, if data or settings differ.

        >>> loader = DataLoader(range(6), batch_size=2, seed=1)
        >>> twin = DataLoader(range(6), batch_size=2, seed=2)
        >>> batches = iter(loader)
        >>> first = next(batches)
        >>> twin.load_state_dict(loader.state_dict())
        >>> [x.tolist() for (x,) in batches] == [x.tolist() for (x,) in twin]
        True
        """
        who = "DataLoader.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{who}: want a dict, got {type(state).__name__}")
        form = {name: value for name, value in state.items() if name not in _CHANGING}
        problems = differences(form, self._form())
        if problems:
            raise ValueError(f"{who}: other data or settings: {', '.join(problems)}")
        given = state.get("given")
        if given is not None:
            given = count(f"{who}: given", given, least=0)
            if given > len(self):
                raise ValueError(f"{who}: got given={given}, of {len(self)} batches")
        if self._generator is not None:
            bits = np.random.default_rng(0).bit_generator
            try:
                bits.state = state["before"]
                self._generator.bit_generator.state = state["generator"]
            except (TypeError, KeyError, ValueError) as error:
                raise ValueError(f"{who}: got no state of a generator: {error}") from error
            self._before = bits.state
        self._given = given
        self._resumes = given is not None

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.size} samples, batch_size={self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last})"
        )


def as_samples(
    where: str,
    trees: Sequence[Any],
    names: Sequence[str],
) -> tuple[Batch, int]:
    """The trees with arrays for leaves, all of one length, and that length.

    Errors name the tree, and the place in it.
    """
    samples = []
    lengths: list[int] = []
    for tree, name in zip(trees, names):
        place = f"{where}: {name}"
        leaves, structure = flatten(tree, _is_array)
        if not leaves:
            raise TypeError(f"{place}: want an array, got {tree!r}")
        arrays = list(map(_as_samples, leaves, paths(structure, place)))
        lengths += map(len, arrays)
        samples.append(unflatten(structure, arrays))
    size = lengths[0]
    if size == 0 or lengths.count(size) < len(lengths):
        want = "arrays of one length of at least 1"
        raise ValueError(f"{where}: want {want}, got lengths {lengths}")
    return tuple(samples), size


def _is_array(tree: Any) -> bool:
    """Whether a list, tuple or dict stands for one array: lists do, and tuples of numbers."""
    if not isinstance(tree, tuple):
        return isinstance(tree, list)
    return bool(tree) and all(map(_is_number, tree))


def _is_number(part: Any) -> bool:
    if isinstance(part, tuple | dict):
        return False
    return np.ndim(part) == 0


def _as_samples(value: Any, where: str) -> Any:
    """The value as an array of numbers or text with an axis of samples, by position."""
    if isinstance(value, list | tuple) and isinstance(next(iter(value), None), str):
        value = np.array(value)
    array = as_data(value, where, "fiubcUSmM")
    if array.ndim == 0:
        raise ValueError(f"{where}: want an axis of samples, got a {type(value).__name__}")
    return array


def as_data(value: Any, where: str, kinds: str) -> Any:
    """The value as an array of one of these kinds, by position; errors begin with ``where``."""
    if isinstance(value, Variable):
        want = "a plain array, as data are constants: pass its .data"
        raise TypeError(f"{where}: want {want}, got a Variable")
    array = as_array(value, where)
    if array.dtype.kind not in kinds:
        got = f"a {type(value).__name__} of {array.dtype}"
        raise TypeError(f"{where}: want numbers, got {got}")
    return array


def _flag(what: str, value: Any) -> bool:
    """The value, if it is True or False."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"{what} must be True or False, got {value!r}")
    return bool(value)


def _shard(shard: tuple[int, int]) -> tuple[int, int]:
    """(rank, size), if it is a rank of so many."""
    want = "want shard=(rank, size)"
    if not isinstance(shard, Sequence) or len(shard) != 2:
        raise TypeError(f"DataLoader: {want}, got {shard!r}")
    rank, size = shard
    count("DataLoader: shard[0]", rank, least=0)
    count("DataLoader: shard[1]", size)
    if rank >= size:
        raise ValueError(f"DataLoader: {want} with rank < size, got {shard}")
    return rank, size
