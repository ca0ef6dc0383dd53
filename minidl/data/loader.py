"""The DataLoader: arrays cut into batches, in order or shuffled.

What is trained on the batches lives in `training`; the arrays to try it with live in `datasets.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl import random
from minidl.autograd.variable import Variable

Array = npt.NDArray[Any]


class DataLoader:
    """Iterate over batches of equally long arrays, each batch a tuple with one array per argument.

    An epoch is one `for` loop over the loader. Shuffled, every epoch draws a new permutation from the
    loader's own generator and a batch is a copy; in order, a batch is a view, so do not write into it.

    Args:
        arrays: one or more arrays or lists with the same number of samples along axis 0, of any dtype.
        batch_size: samples in a batch; the last one of an epoch may have fewer.
        shuffle: whether every epoch has an order of its own.
        drop_last: leave an incomplete last batch out.
        seed: of the generator that shuffles; None draws one from minidl's generator (`minidl.seed`).

    Attributes:
        batch_size, shuffle, drop_last: as given. size: the number of samples. arrays: as ndarrays.

    Raises:
        TypeError: an argument is a Variable or no array, or batch_size or seed is not an int.
        ValueError: no arrays, arrays of different lengths or empty, batch_size below 1, a negative seed, or
            drop_last where there is no complete batch at all.

    Example:
        >>> import numpy as np
        >>> from minidl.data import DataLoader
        >>> loader = DataLoader(np.arange(10.0).reshape(5, 2), np.arange(5), batch_size=2, shuffle=False)
        >>> len(loader), loader.size
        (3, 5)
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
    ) -> None:
        if not arrays:
            raise ValueError("DataLoader: got no arrays, wanted at least one, as in DataLoader(x, t)")
        self.arrays = tuple(_as_samples(array, position) for position, array in enumerate(arrays))
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1 or lengths[0] == 0:
            raise ValueError(f"DataLoader: got arrays of lengths {lengths}, wanted one length of at least 1")
        self.size = lengths[0]
        self.batch_size = _integer("batch_size", batch_size, least=1)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        if self.drop_last and self.size < self.batch_size:
            raise ValueError(
                f"DataLoader: got {self.size} samples and batch_size={self.batch_size}, wanted at least one "
                "complete batch, as drop_last=True leaves incomplete ones out"
            )
        if seed is None:
            # A loader that does not shuffle draws nothing, so that adding one (validation data, say) leaves
            # every later random number of the program as it was.
            seed = int(random.generator().integers(2**63)) if self.shuffle else 0
        self._generator = np.random.default_rng(_integer("seed", seed, least=0))

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        complete, rest = divmod(self.size, self.batch_size)
        return complete + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Start an epoch; its order is drawn now, not at the first batch."""
        # Whoever loops twice at once, or stops half-way, still consumes one permutation per epoch.
        return self._batches(self._generator.permutation(self.size) if self.shuffle else None)

    def _batches(self, order: Array | None) -> Iterator[tuple[Array, ...]]:
        for batch in range(len(self)):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            index = part if order is None else order[part]
            yield tuple(array[index] for array in self.arrays)

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.size} samples, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last})"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state, a dict that JSON can hold: it decides the epochs to come.

        Example:
            >>> from minidl.data import DataLoader
            >>> first, second = DataLoader(range(9), seed=0), DataLoader(range(9), seed=1)
            >>> second.load_state_dict(first.state_dict())
            >>> next(iter(first))[0].tolist() == next(iter(second))[0].tolist()
            True
        """
        return {"generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of another loader's `state_dict`; the next epoch is the one it would have had next.

        Raises:
            ValueError: the state is not one of `state_dict`; nothing is changed then.
        """
        bits = np.random.PCG64()
        try:
            if set(state) != {"generator"}:
                raise KeyError(sorted(state))
            bits.state = state["generator"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"DataLoader.load_state_dict: got {state!r}, wanted the dict that state_dict() returns"
            ) from error
        self._generator = np.random.Generator(bits)


def _as_samples(array: npt.ArrayLike, position: int) -> Array:
    """Return the argument as an ndarray with at least one axis."""
    name = f"DataLoader: array {position}"
    if isinstance(array, Variable):
        raise TypeError(f"{name} is a Variable, wanted a plain array: batches are constants; pass its .data")
    try:
        result = np.asarray(array)
    except ValueError as error:  # NumPy's message for a ragged list does not say which argument it was
        raise ValueError(f"{name} is no array: {error}") from error
    if result.dtype == object:
        raise TypeError(f"{name} has dtype object, wanted numbers: got a {type(array).__name__}")
    if result.ndim == 0:
        raise ValueError(f"{name} has no axis of samples: got a {type(array).__name__}, wanted an array")
    return result


def _integer(name: str, value: int, least: int) -> int:
    """Return the value as an int, refusing bools, floats and what is below `least`."""
    if isinstance(value, bool | np.bool) or not hasattr(value, "__index__"):
        raise TypeError(f"DataLoader: got {name}={value!r}, wanted an int of at least {least}")
    if operator.index(value) < least:
        raise ValueError(f"DataLoader: got {name}={value!r}, wanted at least {least}")
    return operator.index(value)
