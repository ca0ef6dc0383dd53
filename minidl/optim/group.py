"""Groups: parameters that took the same steps share one array of values and one per state.

Which parameters take a step is decided in optimizer.py; the steps themselves are in sgd.py, adam.py..
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.common.arrays import kind_of, to_kind_of, zeros

Array = npt.NDArray[Any]
Member = tuple[
    Variable, Sequence[Any]
]  # a parameter and its state: arrays, or numbers to fill with

# Measured in float32: a model of millions of parameters gains up to a third when all passes of an
# algorithm run over a block that stays in the cache, one of 100,000 nothing. Small gradients are
# copied together, which saves calls; a larger one is read where it lies, which saves the copy.
BLOCK, SMALL = 2**17, 2**15


class Block(NamedTuple):
    """A part of a group's buffers, and of the gradient it is updated with."""

    source: int  # 0 for the gathered small gradients, then one for each large parameter
    cut: slice
    scratch: Array
    values: Array
    state: list[Array]


class Group:
    """Parameters of one dtype and kind of array that took part in the same ``t`` steps.

    They are views of one buffer. Steps are computed, and their state is kept, in float32 for
    parameters of float16.
    """

    def __init__(self, members: Iterable[Member], t: int = 0) -> None:
        members = sorted(members, key=lambda member: member[0].size > SMALL)
        self.t = t
        self.params = [p for p, _ in members]
        like = self.params[0]
        wide = wide_dtype(like.dtype)
        total = sum(p.size for p in self.params)
        buffers = [zeros((total,), like.dtype, like)]
        buffers += [zeros((total,), wide, like) for _ in members[0][1]]
        self.views, *self.state = (split(buffer, self.params) for buffer in buffers)
        for k, (p, state) in enumerate(members):
            for views, value in zip((self.views, *self.state), (p._raw, *state)):
                views[k][...] = value if isinstance(value, float) else to_kind_of(value, like)
            p._raw = self.views[k]  # the same values, so graphs over them stay valid

        small = [p for p in self.params if p.size <= SMALL]
        self._gathered = zeros((sum(p.size for p in small),), wide, like)
        self._places = split(self._gathered, small)
        # Caches, and calls that cost, are the CPU's: other devices take all at once.
        block = min(BLOCK, total) if kind_of(like) is np.ndarray else total
        self._wide = None if wide == like.dtype else zeros((block,), wide, like)
        sizes = [self._gathered.size, *(p.size for p in self.params[len(small) :])]
        self._blocks = make_blocks(sizes, max(block, 1), zeros((block,), wide, like), buffers)

    def members(self) -> list[Member]:
        """The parameters that still have the shape and dtype of their state, and that state."""
        return [
            (p, [views[k] for views in self.state])
            for k, (p, view) in enumerate(zip(self.params, self.views))
            if (p.shape, p.dtype) == (view.shape, view.dtype)
        ]

    def of(self, part: list[Member]) -> list[Group]:
        """This group if the members are all of its own, where they were; else groups of these."""
        pairs = zip(self.params, self.views)
        if len(part) == len(self.params) and all(kind_of(p) is kind_of(view) for p, view in pairs):
            return [self]
        return grouped((p, self.t, state) for p, state in part)

    def take(self) -> bool:
        """Take in values that others gave to parameters.

        False if one has another shape, dtype or kind now.
        """
        for p, view in zip(self.params, self.views):
            if p._raw is not view:
                if (p.shape, p.dtype, kind_of(p)) != (view.shape, view.dtype, kind_of(view)):
                    return False
                view[...] = p._raw
                p._raw = view
        return True

    def step(self, apply: Callable[..., None], lr: float, gradients: Sequence[Any]) -> None:
        """Apply one step of an algorithm, block by block.

        The gradients, in the order of ``params``, are only read.
        """
        self.t += 1
        for place, g in zip(self._places, gradients):
            place[...] = g
        flat = [self._gathered, *[g.reshape(-1) for g in gradients[len(self._places) :]]]
        for source, cut, scratch, values, state in self._blocks:
            if self._wide is None:
                apply(lr, self.t, values, flat[source][cut], scratch, *state)
            else:
                p = self._wide[: values.size]
                p[...] = values
                apply(lr, self.t, p, flat[source][cut].astype(p.dtype), scratch, *state)
                values[...] = p
        for p in self.params:
            p._stamp()

    def __reduce__(self) -> tuple[Any, ...]:
        # Plain copies of the views would be no views of one buffer.
        return Group, (self.members(), self.t)


def make_blocks(
    sizes: Sequence[int], most: int, scratch: Array, buffers: Sequence[Array]
) -> list[Block]:
    """The blocks of buffers that hold sources of these sizes, one after the other."""
    blocks = []
    start = 0
    for source, size in enumerate(sizes):
        for i in range(0, size, most):
            cut = slice(i, min(i + most, size))
            values, *state = (buffer[start + cut.start : start + cut.stop] for buffer in buffers)
            blocks.append(Block(source, cut, scratch[: values.size], values, state))
        start += size
    return blocks


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What to compute and to keep state in: float32 for float16, which ends at 65504; else itself."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def grouped(members: Iterable[tuple[Variable, int, Sequence[Any]]]) -> list[Group]:
    """Groups of (parameter, its number of steps, its state), alike in dtype, kind and steps."""
    together: dict[Any, list[Member]] = {}
    for p, t, state in members:
        together.setdefault((p.dtype, kind_of(p), t), []).append((p, state))
    return [Group(alike, t) for (*_, t), alike in together.items()]


def split(flat: Array, like: Sequence[Any]) -> list[Array]:
    """Views of a flat array, one after the other, with the shapes of ``like``."""
    ends = accumulate(a.size for a in like)
    return [flat[end - a.size : end].reshape(a.shape) for a, end in zip(like, ends)]
