"""Groups: parameters that took the same steps share one array of values and one per state.

Which parameters take a step is decided in optimizer.py; the steps themselves are in sgd.py,
adam.py..
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.common.arrays import kind_of, to_kind_of, zeros

Array = npt.NDArray[Any]
State = Sequence[Any]  # of a parameter: arrays, or floats to fill them with
Member = tuple[Variable, State]

# Measured in float32: a model of millions of parameters gains up to a third when all passes of an
# algorithm run over a block that stays in the cache, one of 100,000 nothing. Small gradients are
# copied together, which saves calls; a larger one is read where it lies, which saves the copy.
BLOCK = 2**17
SMALL = 2**15


class Block(NamedTuple):
    """A part of a group's buffers, and of the gradient it is updated with."""

    source: int  # 0 for the gathered small gradients, then one for each large parameter
    cut: slice
    values: Array
    state: list[Array]


class Group:
    """Parameters of one dtype and kind of array that took part in the same ``t`` steps.

    They are views of one buffer. Steps are computed, and their state is kept, in float32 for
    parameters of float16.
    """

    def __init__(self, members: Iterable[Member], t: int = 0) -> None:
        members = sorted(members, key=_is_large)  # small ones lie together
        self.t = t
        self.params = [p for p, _ in members]
        like = self.params[0]
        wide = wide_dtype(like.dtype)
        total = sum(p.size for p in self.params)
        values = zeros((total,), like.dtype, like)
        states = [zeros((total,), wide, like) for _ in members[0][1]]
        self.views = split(values, self.params)
        self.state = [split(buffer, self.params) for buffer in states]
        for k, (p, state) in enumerate(members):
            self.views[k][...] = p._raw
            p._raw = self.views[k]  # the same values, so graphs over them stay valid
            for views, start in zip(self.state, state):
                if not isinstance(start, float):
                    start = to_kind_of(start, like)
                views[k][...] = start
        self._make_blocks(values, states)

    def _make_blocks(self, values: Array, states: list[Array]) -> None:
        """Divide the buffers, and make room for what a step needs besides."""
        like = self.params[0]
        wide = wide_dtype(like.dtype)
        small = [p for p in self.params if p.size <= SMALL]
        large = self.params[len(small) :]
        together = sum(p.size for p in small)
        self._gathered = zeros((together,), wide, like)
        self._places = split(self._gathered, small)
        most = values.size
        if kind_of(like) is np.ndarray:  # caches, and calls that cost, are the CPU's
            most = min(BLOCK, most)
        self._scratch = zeros((most,), wide, like)
        self._wide: Array | None = None
        if wide != like.dtype:
            self._wide = zeros((most,), wide, like)
        sizes = [together, *(p.size for p in large)]
        self._blocks = make_blocks(sizes, max(most, 1), values, states)

    def members(self) -> list[Member]:
        """The parameters that still have the shape and dtype of their state, and that state."""
        members: list[Member] = []
        for k, p in enumerate(self.params):
            if _same_form(p, self.views[k]):
                state = [views[k] for views in self.state]
                members.append((p, state))
        return members

    def of(self, part: list[Member]) -> list[Group]:
        """This group if the members are all of its own, where they were; else groups of these."""
        whole = len(part) == len(self.params)
        if whole and all(map(_fits, self.params, self.views)):
            return [self]
        return grouped((p, self.t, state) for p, state in part)

    def take(self) -> bool:
        """Take in values that others gave to parameters.

        False if one has another shape, dtype or kind now.
        """
        for p, view in zip(self.params, self.views):
            if p._raw is not view:
                if not _fits(p, view):
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
        large = gradients[len(self._places) :]
        sources = [self._gathered, *[g.reshape(-1) for g in large]]
        for source, cut, values, state in self._blocks:
            g = sources[source][cut]
            out = self._scratch[: values.size]
            if self._wide is None:
                apply(lr, self.t, values, g, out, *state)
                continue
            wide = self._wide[: values.size]
            wide[...] = values
            apply(lr, self.t, wide, g.astype(wide.dtype), out, *state)
            values[...] = wide
        for p in self.params:
            p._stamp()

    def __reduce__(self) -> tuple[Any, ...]:
        # Plain copies of the views would be no views of one buffer.
        return Group, (self.members(), self.t)


def _is_large(member: Member) -> bool:
    return member[0].size > SMALL


def _fits(p: Variable, view: Array) -> bool:
    return _same_form(p, view) and kind_of(p) is kind_of(view)


def _same_form(p: Variable, view: Array) -> bool:
    return p.shape == view.shape and p.dtype == view.dtype


def make_blocks(
    sizes: Sequence[int], most: int, values: Array, states: Sequence[Array]
) -> list[Block]:
    """The blocks of buffers that hold sources of these sizes, one after the other."""
    blocks = []
    start = 0
    for source, size in enumerate(sizes):
        for i in range(0, size, most):
            end = min(i + most, size)
            part = slice(start + i, start + end)
            state = [buffer[part] for buffer in states]
            blocks.append(Block(source, slice(i, end), values[part], state))
        start += size
    return blocks


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What to compute and keep state in: float32 for float16, which ends at 65504; else itself."""
    if dtype == np.float16:
        return np.dtype(np.float32)
    return dtype


def grouped(members: Iterable[tuple[Variable, int, State]]) -> list[Group]:
    """Groups of (parameter, its number of steps, its state), alike in dtype, kind and steps."""
    together: dict[Any, list[Member]] = {}
    for p, t, state in members:
        key = t, p.dtype, kind_of(p)
        together.setdefault(key, []).append((p, state))
    return [Group(alike, key[0]) for key, alike in together.items()]


def split(flat: Array, like: Sequence[Any]) -> list[Array]:
    """Views of a flat array, one after the other, with the shapes of ``like``."""
    views = []
    start = 0
    for a in like:
        end = start + a.size
        views.append(flat[start:end].reshape(a.shape))
        start = end
    return views
