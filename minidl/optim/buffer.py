"""Buffers: parameters that took the same steps share one array of values and one per state.

Which parameters take a step is decided in optimizer.py; the steps themselves are in sgd.py,
adam.py..
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.common.arrays import kind_of, to_kind_of, zeros

Array = npt.NDArray[Any]

# Measured in float32: a model of millions of parameters gains up to a third when all passes of an
# algorithm run over a block that stays in the cache, one of 100,000 nothing. Small gradients are
# copied together, which saves calls; a larger one is read where it lies, which saves the copy.
BLOCK = 2**17
SMALL = 2**15


class Member(NamedTuple):
    """A parameter, the number of its group, the steps that it took, and its state."""

    p: Variable
    group: int
    t: int
    state: Sequence[Any]  # arrays, or floats to fill them with


class Block(NamedTuple):
    """A part of a buffer, and of the gradient it is updated with."""

    source: int  # 0 for the gathered small gradients, then one for each large parameter
    cut: slice | None  # None for all of it
    values: Array
    state: list[Array]
    out: Array  # for intermediate results


class Buffer:
    """Parameters of one group, dtype and kind of array that took part in the same ``t`` steps.

    They are views of one array. Steps are computed, and their state is kept, in float32 for
    parameters of float16.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        members = sorted(members, key=_is_large)  # small ones lie together
        first = members[0]
        self.group = first.group
        self.t = first.t
        self.params = [member.p for member in members]
        like = first.p
        wide = wide_dtype(like.dtype)
        total = sum(p.size for p in self.params)
        values = zeros((total,), like.dtype, like)
        states = [zeros((total,), wide, like) for _ in first.state]
        self.views = split(values, self.params)
        self.state = [split(array, self.params) for array in states]
        for k, member in enumerate(members):
            p = member.p
            self.views[k][...] = p._raw
            p._raw = self.views[k]  # the same values, so graphs over them stay valid
            for views, start in zip(self.state, member.state):
                if not isinstance(start, float):
                    start = to_kind_of(start, like)
                views[k][...] = start
        self._make_blocks(values, states)

    def _make_blocks(self, values: Array, states: list[Array]) -> None:
        """Divide the buffer, and make room for what a step needs besides."""
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
        scratch = zeros((most,), wide, like)
        self._wide: Array | None = None
        if wide != like.dtype:
            self._wide = zeros((most,), wide, like)
        sizes = [together, *(p.size for p in large)]
        self._blocks = make_blocks(sizes, max(most, 1), values, states, scratch)

    def members(self) -> list[Member]:
        """The parameters that still have the shape and dtype of their state, and that state."""
        members: list[Member] = []
        for k, p in enumerate(self.params):
            if _same_form(p, self.views[k]):
                state = [views[k] for views in self.state]
                members.append(Member(p, self.group, self.t, state))
        return members

    def adopt_values(self) -> bool:
        """Copy the values that others gave to parameters into the buffer.

        False if one has another shape, dtype or kind now.
        """
        for p, view in zip(self.params, self.views):
            if p._raw is not view:
                if not _same_form(p, view) or kind_of(p) is not kind_of(view):
                    return False
                view[...] = p._raw
                p._raw = view
        return True

    def step(
        self, apply: Callable[..., None], settings: Mapping[str, Any], gradients: Sequence[Any]
    ) -> None:
        """Apply one step of an algorithm, block by block.

        The gradients, in the order of ``params``, are only read.
        """
        self.t += 1
        for place, g in zip(self._places, gradients):
            place[...] = g
        sources = [self._gathered]
        if len(gradients) > len(self._places):
            sources += [g.reshape(-1) for g in gradients[len(self._places) :]]
        for source, cut, values, state, out in self._blocks:
            g = sources[source] if cut is None else sources[source][cut]
            if self._wide is None:
                apply(values, g, out, *state, t=self.t, **settings)
                continue
            wide = self._wide[: values.size]
            wide[...] = values
            apply(wide, g.astype(wide.dtype), out, *state, t=self.t, **settings)
            values[...] = wide


class Buffers:
    """The buffers of all parameters that took a step, and which of them take the next one."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self.all = grouped(members)
        # Of the last step: its groups, its parameters, their buffers, and where in the second each
        # buffer's are.
        self._groups: Mapping[Variable, int] = {}
        self._ready: list[Variable] = []
        self._active: list[Buffer] = []
        self._orders: list[list[int]] = []

    def members(self) -> list[Member]:
        """Every parameter that took a step, with its state."""
        members: list[Member] = []
        for buffer in self.all:
            members += buffer.members()
        return members

    def prepare(self, ready: list[Variable], groups: Mapping[Variable, int], states: int) -> None:
        """Have those that take a step in buffers without others; new ones begin from zero."""
        unchanged = groups is self._groups and same(ready, self._ready)
        if unchanged and all(map(Buffer.adopt_values, self._active)):
            self._ready = ready  # which is quicker to compare with itself
            return
        members = [m._replace(group=groups.get(m.p, m.group)) for m in self.members()]
        known = {m.p for m in members}
        zero = [0.0] * states
        members += [Member(p, groups[p], 0, zero) for p in ready if p not in known]
        active = set(ready)
        self._active = grouped((m for m in members if m.p in active), self.all)
        self.all = self._active + grouped((m for m in members if m.p not in active), self.all)
        self._groups = groups
        self._ready = ready
        place = {p: i for i, p in enumerate(ready)}
        self._orders = [[place[p] for p in buffer.params] for buffer in self._active]

    def step(
        self,
        apply: Callable[..., None],
        settings: Sequence[Mapping[str, Any]],
        gradients: list[Any],
    ) -> None:
        """Let those that are prepared take a step, each with its group's settings."""
        for buffer, order in zip(self._active, self._orders):
            buffer.step(apply, settings[buffer.group], [gradients[i] for i in order])

    def __reduce__(self) -> tuple[Any, ...]:
        # Plain copies of the views would be no views of one buffer.
        return Buffers, (self.members(),)


def _is_large(member: Member) -> bool:
    return member.p.size > SMALL


def _same_form(p: Variable, view: Array) -> bool:
    return p.shape == view.shape and p.dtype == view.dtype


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return a is b or (len(a) == len(b) and all(map(is_, a, b)))  # == would be recorded


def make_blocks(
    sizes: Sequence[int], most: int, values: Array, states: Sequence[Array], scratch: Array
) -> list[Block]:
    """The blocks of buffers that hold sources of these sizes, one after the other."""
    blocks = []
    start = 0
    for source, size in enumerate(sizes):
        for i in range(0, size, most):
            end = min(i + most, size)
            part = slice(start + i, start + end)
            state = [array[part] for array in states]
            cut = None if end - i == size else slice(i, end)
            blocks.append(Block(source, cut, values[part], state, scratch[: end - i]))
        start += size
    return blocks


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What to compute and keep state in: float32 for float16, which ends at 65504; else itself."""
    if dtype == np.float16:
        return np.dtype(np.float32)
    return dtype


def grouped(members: Iterable[Member], old: Iterable[Buffer] = ()) -> list[Buffer]:
    """Buffers of members alike in group, steps, dtype and kind of array.

    An ``old`` one that has the same members is taken instead, so that parameters that take turns
    are copied only once.
    """
    together: dict[Any, list[Member]] = {}
    for member in members:
        p = member.p
        key = member.group, member.t, p.dtype, kind_of(p)
        together.setdefault(key, []).append(member)
    old_by_params = {tuple(buffer.params): buffer for buffer in old}
    buffers: list[Buffer] = []
    for part in together.values():
        buffer = old_by_params.get(tuple(m.p for m in part))
        fits = buffer is not None and buffer.group == part[0].group and buffer.adopt_values()
        buffers.append(buffer if buffer is not None and fits else Buffer(part))
    return buffers


def split(flat: Array, like: Sequence[Any]) -> list[Array]:
    """Views of a flat array, one after the other, with the shapes of ``like``."""
    views = []
    start = 0
    for a in like:
        end = start + a.size
        views.append(flat[start:end].reshape(a.shape))
        start = end
    return views
