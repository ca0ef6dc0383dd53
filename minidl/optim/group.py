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

# All passes of an algorithm run over a block that stays in cache. Small gradients are copied together, which
# saves calls; a larger one is read where it lies.
BLOCK, SMALL = 2**17, 2**15


class Group:
    """Parameters of one dtype that took part in the same ``t`` steps; they become views of one buffer."""

    def __init__(self, members: Sequence[Member], t: int = 0) -> None:
        members = sorted(members, key=lambda member: member[0].size > SMALL)  # small ones lie together
        self.t = t
        self.params = [p for p, _ in members]
        dtype, ends = self.params[0].dtype, np.cumsum([p.size for p in self.params]).tolist()
        self.spans = [slice(end - p.size, end) for p, end in zip(self.params, ends, strict=True)]
        self.buffers = [np.empty(ends[-1], dtype) for _ in range(1 + len(members[0][1]))]
        columns = [
            [b[span].reshape(p.shape) for span, p in zip(self.spans, self.params, strict=True)] for b in self.buffers
        ]
        for k, (p, state) in enumerate(members):
            for column, value in zip(columns, (p._raw, *state), strict=True):
                column[k][...] = value
            p._raw = columns[0][k]  # the same values, so graphs over them stay valid
        self.views, self.state = columns[0], columns[1:]
        self._scratch = np.empty(min(BLOCK + SMALL, ends[-1]), dtype)
        self._runs: list[list[int]] = []  # small parameters whose blocks are done together
        for k, span in enumerate(self.spans):
            if span.stop - span.start <= SMALL:
                if not self._runs or span.stop - self.spans[self._runs[-1][0]].start > BLOCK:
                    self._runs.append([])
                self._runs[-1].append(k)
        self._large = range(sum(map(len, self._runs)), len(self.params))

    def take(self) -> bool:
        """Take in values that others gave to parameters; False if one has another shape or dtype now."""
        for p, view in zip(self.params, self.views, strict=True):
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

    def step(self, apply: Callable[..., None], lr: float, gradients: Sequence[Any]) -> None:
        """Apply one step of an algorithm, block by block."""
        self.t = t = self.t + 1
        for run in self._runs:
            start, stop = self.spans[run[0]].start, self.spans[run[-1]].stop
            g = self._scratch[: stop - start]
            for k in run:
                span = self.spans[k]
                g[span.start - start : span.stop - start] = gradients[k].reshape(-1)
            apply(lr, t, self.buffers[0][start:stop], g, g, *(b[start:stop] for b in self.buffers[1:]))
        for k in self._large:
            start, stop, g = self.spans[k].start, self.spans[k].stop, gradients[k].reshape(-1)
            for i in range(start, stop, BLOCK):
                j = min(i + BLOCK, stop)
                out = self._scratch[: j - i]
                apply(lr, t, self.buffers[0][i:j], g[i - start : j - start], out, *(b[i:j] for b in self.buffers[1:]))
        for p in self.params:
            p._stamp()

    def __reduce__(self) -> tuple[Any, ...]:
        # A plain copy of the views would no longer be views of a common buffer.
        return Group, ([(p, self.state_of(k)) for k, p in enumerate(self.params)], self.t)
