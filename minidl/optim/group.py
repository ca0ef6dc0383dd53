"""Flat buffers: parameters with a common history, values and state in one array each. The steps are in sgd.py, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.common.arrays import kind_of, to_kind_of, zeros

Array = npt.NDArray[Any]

# Measured in float32: a model of millions of parameters gains up to a third when all passes of an algorithm run over
# a block that stays in cache, one of 100,000 nothing. Small gradients are copied together, which saves calls;
# a larger one is read where it lies, which saves the copy.
BLOCK, SMALL = 2**17, 2**15


class Group:
    """Parameters of one dtype and kind of array that took part in the same ``t`` steps, as views of one buffer.

    Steps are computed, and their state is kept, in float32 for parameters of float16.
    ``members`` are (parameter, state) pairs, the state an array, or a number to fill one with, for each slot.
    """

    def __init__(self, members: Sequence[tuple[Variable, Sequence[Any]]], t: int = 0) -> None:
        members = sorted(
            members, key=lambda member: member[0].size > SMALL
        )  # small ones lie together
        self.t, self.params = t, [p for p, _ in members]
        like, dtype, total = self.params[0], self.params[0].dtype, sum(p.size for p in self.params)
        wide = wide_dtype(dtype)
        block = (
            BLOCK if kind_of(like) is np.ndarray else max(total, 1)
        )  # caches, and calls that cost, are the CPU's
        buffers = [zeros((total,), dtype, like)]
        buffers += [zeros((total,), wide, like) for _ in members[0][1]]
        self.views, *self.state = (split(buffer, self.params) for buffer in buffers)
        for k, (p, state) in enumerate(members):
            for views, value in zip((self.views, *self.state), (p._raw, *state)):
                views[k][...] = value if isinstance(value, float) else to_kind_of(value, like)
            p._raw = self.views[k]  # the same values, so graphs over them stay valid

        small = [p for p in self.params if p.size <= SMALL]
        self._gathered = zeros((sum(p.size for p in small),), wide, like)
        self._places = split(self._gathered, small)
        self._blocks: list[
            tuple[int, slice, Array, Array, list[Array]]
        ] = []  # as step() takes them apart
        scratch, start = zeros((min(block, total),), wide, like), 0
        self._wide = None if wide == dtype else zeros((min(block, total),), wide, like)
        for source, size in enumerate(
            [self._gathered.size, *(p.size for p in self.params[len(small) :])]
        ):
            for i in range(0, size, block):
                cut = slice(i, min(i + block, size))
                values, *slots = (buffer[start : start + size][cut] for buffer in buffers)
                self._blocks.append((source, cut, scratch[: values.size], values, slots))
            start += size

    def members(self) -> list[tuple[Variable, list[Array]]]:
        """The parameters that still have the shape and dtype of their state, and that state."""
        fit = [
            (p.shape, p.dtype) == (view.shape, view.dtype)
            for p, view in zip(self.params, self.views)
        ]
        return [(p, [s[k] for s in self.state]) for k, p in enumerate(self.params) if fit[k]]

    def of(self, part: list[tuple[Variable, list[Array]]]) -> list[Group]:
        """This group if the members are all of its own, where they were; else groups of these."""
        if len(part) == len(self.params) and all(
            kind_of(p) is kind_of(view) for p, view in zip(self.params, self.views)
        ):
            return [self]
        return grouped((p, self.t, state) for p, state in part)

    def take(self) -> bool:
        """Take in values that others gave to parameters; False if one has another shape, dtype or kind now."""
        for p, view in zip(self.params, self.views):
            if p._raw is not view:
                if (p.shape, p.dtype, kind_of(p)) != (view.shape, view.dtype, kind_of(view)):
                    return False
                view[...] = p._raw
                p._raw = view
        return True

    def step(self, apply: Callable[..., None], lr: float, gradients: Sequence[Any]) -> None:
        """Apply one step of an algorithm, block by block; gradients, in the order of ``params``, are only read."""
        self.t += 1
        for place, g in zip(self._places, gradients):
            place[...] = g
        flat = [self._gathered, *[g.reshape(-1) for g in gradients[len(self._places) :]]]
        for source, cut, scratch, values, state in self._blocks:
            if self._wide is None:
                apply(lr, self.t, values, flat[source][cut], scratch, *state)
                continue
            p = self._wide[: values.size]
            p[...] = values
            apply(lr, self.t, p, flat[source][cut].astype(p.dtype), scratch, *state)
            values[...] = p
        for p in self.params:
            p._stamp()

    def __reduce__(self) -> tuple[Any, ...]:
        return Group, (
            self.members(),
            self.t,
        )  # plain copies of the views would be no views of one buffer


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What to compute and to keep state in: float32 for float16, which ends at 65504 and loses 1e-8; else itself."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def grouped(members: Iterable[tuple[Variable, int, Sequence[Any]]]) -> list[Group]:
    """Groups of (parameter, its number of steps, its state), one for each dtype, kind of array and number."""
    together: dict[Any, list[Any]] = {}
    for p, t, state in members:
        together.setdefault((p.dtype, kind_of(p), t), []).append((p, state))
    return [Group(found, t) for (*_, t), found in together.items()]


def split(flat: Array, like: Sequence[Any]) -> list[Array]:
    """Views of a flat array, one after the other, with the shapes of ``like``."""
    ends = accumulate(a.size for a in like)
    return [flat[end - a.size : end].reshape(a.shape) for a, end in zip(like, ends)]
