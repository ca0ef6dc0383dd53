"""The flat buffers: parameters with a common history, their values and their state, each in one array.

How a step changes them is the algorithm's (sgd.py, adam.py, ..); who takes part, the optimizer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable

Array = npt.NDArray[Any]
Member = tuple[Variable, Sequence[Any]]  # a parameter and its state: one array (or number, to fill with) per name

# Measured in float32: a model of millions of parameters gains up to a third when all passes of an algorithm run over
# a block that stays in cache, one of 100,000 nothing. Small gradients are copied together, which saves calls;
# a larger one is read where it lies, which saves the copy.
BLOCK, SMALL = 2**17, 2**15


class Group:
    """Parameters of one dtype that took part in the same ``t`` steps; they become views of one buffer."""

    def __init__(self, members: Sequence[Member], t: int = 0) -> None:
        members = sorted(members, key=lambda member: member[0].size > SMALL)  # small ones lie together
        self.t = t
        self.params = [p for p, _ in members]
        self.shapes = [p.shape for p in self.params]
        dtype, ends = self.params[0].dtype, np.cumsum([p.size for p in self.params]).tolist()
        spans = [slice(end - p.size, end) for p, end in zip(self.params, ends)]
        buffers = [np.empty(ends[-1], dtype) for _ in range(1 + len(members[0][1]))]
        columns = [[b[span].reshape(shape) for span, shape in zip(spans, self.shapes)] for b in buffers]
        for k, (p, state) in enumerate(members):
            for column, value in zip(columns, (p._raw, *state)):
                column[k][...] = value
            p._raw = columns[0][k]  # the same values, so graphs over them stay valid
        self.views, self.state = columns[0], columns[1:]
        self._plan(buffers, spans)

    def _plan(self, buffers: list[Array], spans: list[slice]) -> None:
        """Cut the buffers into blocks: runs of whole small parameters, and pieces of large ones."""
        scratch = np.empty(min(BLOCK, buffers[0].size), buffers[0].dtype)
        self._runs: list[tuple[list[tuple[int, Array]], list[Array]]] = []
        self._pieces: list[tuple[int, slice, list[Array]]] = []
        start = 0
        for k, span in enumerate(spans):
            if span.stop - span.start > SMALL:
                for i in range(span.start, span.stop, BLOCK):
                    j = min(i + BLOCK, span.stop)
                    arrays = [scratch[: j - i], *(b[i:j] for b in buffers)]
                    self._pieces.append((k, slice(i - span.start, j - span.start), arrays))
                continue
            if not self._runs or span.stop - start > BLOCK:
                self._runs.append(([], []))
                start = span.start
            parts, arrays = self._runs[-1]
            parts.append((k, scratch[span.start - start : span.stop - start].reshape(self.shapes[k])))
            arrays[:] = [scratch[: span.stop - start], *(b[start : span.stop] for b in buffers)]

    def take(self) -> bool:
        """Take in values that others gave to parameters; False if one has another shape or dtype now."""
        for p, view in zip(self.params, self.views):
            value = p._raw
            if value is not view:
                if value.shape != view.shape or value.dtype != view.dtype:
                    return False
                view[...] = value
                p._raw = view
        return True

    def fits(self, k: int) -> bool:
        """Whether parameter k still has the shape and dtype of its state."""
        p, view = self.params[k], self.views[k]
        return p.shape == view.shape and p.dtype == view.dtype

    def state_of(self, k: int) -> list[Array]:
        """The state of parameter k, one view per name."""
        return [column[k] for column in self.state]

    def part(self, which: Sequence[int]) -> Group:
        """A group of only these parameters, with a copy of their state; this group itself if that is all."""
        if len(which) == len(self.params):
            return self
        return Group([(self.params[k], self.state_of(k)) for k in which], self.t)

    def gradients(self) -> list[Any]:
        """The gradients, in the order of ``params``; for reading only."""
        found: list[Any] = [p._grad._raw for p in self.params]  # type: ignore[union-attr]  # all have one
        # A view, which the user gave, may be of a parameter, whose values change before it is read.
        return [g if g.base is None else g.copy() for g in found]

    def step(self, apply: Callable[..., None], lr: float, gradients: Sequence[Any]) -> None:
        """Apply one step of an algorithm, block by block."""
        self.t = t = self.t + 1
        for parts, (scratch, values, *state) in self._runs:
            for k, place in parts:
                place[...] = gradients[k]
            apply(lr, t, values, scratch, scratch, *state)
        if self._pieces:
            flat = [g.reshape(-1) for g in gradients]
            for k, cut, (scratch, values, *state) in self._pieces:
                apply(lr, t, values, flat[k][cut], scratch, *state)
        for p in self.params:
            p._stamp()

    def __reduce__(self) -> tuple[Any, ...]:
        # A plain copy of the views would no longer be views of a common buffer.
        return Group, ([(p, self.state_of(k)) for k, p in enumerate(self.params)], self.t)
