"""The plan of a program's memory: which values share a buffer, and which are views of one.

The code that is printed for the plan is in printer.py.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from minidl.compiler import blocks
from minidl.compiler.lines import can_write
from minidl.compiler.program import Program, Step, Value, values_in


class Plan:
    """Buffers of one run of a program.

    ``place`` says which buffer a value lies in; ``views`` are made with the buffers, once;
    ``root`` are the values whose memory a value may be. What is handed out, and what a function
    makes itself, has no place.
    """

    def __init__(self, program: Program) -> None:
        self.steps = program.steps
        self.root: dict[Value, set[Value]] = {}
        self.visible = set(program.results) - {*program.inputs, *program.seeds}
        self.groups = blocks.groups(program, self.visible)
        self.place: dict[Value, int] = {}
        self.sizes: list[int] = []
        self.views: dict[Value, Step] = {}
        self._find_roots()
        self._share_buffers(self._last_uses(program))
        self._find_views()

    def roots_of(self, v: Value) -> set[Value]:
        """The values whose memory this one may be, itself among them."""
        return self.root.get(v, {v})

    def _roots(self, v: Value) -> list[Value]:
        return [v, *(self.roots_of(v) - {v})]

    def _find_roots(self) -> None:
        for step in self.steps:
            shares = step.is_view or not (can_write(step) or step.fresh)
            operands = list(values_in(step.operands)) if shares else []
            mine = {root for v in operands for root in self.roots_of(v)}
            for v in step.outs:
                self.root[v] = {v} | mine

    def _last_uses(self, program: Program) -> dict[Value, int]:
        """Where the memory of each value is read last."""
        last: dict[Value, int] = {}
        for i, step in enumerate(self.steps):
            for v in step.reads:
                last.update(dict.fromkeys(self.roots_of(v), i))
        for v in program.results:
            last.update(dict.fromkeys(self.roots_of(v), len(self.steps)))
        return last

    def _share_buffers(self, last: dict[Value, int]) -> None:
        free: list[int] = []
        waiting: list[int] = []  # free once a group is through: its steps take turns on each block
        grouped = {i for group in self.groups.values() for i in group.range}
        inner = {v for group in self.groups.values() for v in group.inner}
        for i, step in enumerate(self.steps):
            if i in self.groups or i not in grouped:
                free += waiting
                waiting = []
            roots = dict.fromkeys([r for v in step.reads for r in self._roots(v)])
            dying = [v for v in roots if v in self.place and last.get(v) == i]
            out = step.single
            if out is not None and not (out in inner or out in self.visible) and can_write(step):
                reusable = None if i in grouped else _in_place(step, dying)
                if reusable is not None:
                    dying.remove(reusable)
                    self.place[out] = self.place[reusable]
                else:
                    self.place[out] = self._take(free, out.nbytes)
            unused = waiting if i in grouped else free
            unused += [self.place[v] for v in dying]

    def _take(self, free: list[int], nbytes: int) -> int:
        fitting = [k for k in free if nbytes <= self.sizes[k] <= 2 * nbytes + 4096]
        if fitting:
            best = min(fitting, key=self.sizes.__getitem__)
            free.remove(best)
            return best
        self.sizes.append(nbytes)
        return len(self.sizes) - 1

    def _find_views(self) -> None:
        known = {v: x[0] for v, x in self._arrays(1, set()).items()}
        for step in self.steps:
            x, *rest = step.operands or (None,)
            if not step.is_view or x not in known or any(values_in(tuple(rest))):
                continue
            parts = _views(step, known[x])
            inside = all(np.may_share_memory(part, known[x]) for part in parts)
            if inside and self.visible.isdisjoint(step.outs):
                known.update(zip(step.outs, parts))
                self.views.update(dict.fromkeys(step.outs, step))

    def _arrays(self, count: int, own: AbstractSet[int]) -> dict[Value, list[Any]]:
        sizes = [(count if k in own else 1, max(n, 1)) for k, n in enumerate(self.sizes)]
        flat = [np.empty(size, np.uint8) for size in sizes]
        return {v: [*shaped(flat[k], v)] for v, k in self.place.items()}

    @property
    def names(self) -> list[str]:
        """The names of what ``arena`` makes, in its order."""
        temporaries = [t for group in self.groups.values() for t in group.names]
        return [v.name for v in (*self.place, *self.views)] + temporaries

    def arena(self) -> tuple[Any, ...]:
        """New buffers for one run."""
        return self.arenas(1, set())[0]

    def arenas(self, count: int, own: AbstractSet[int]) -> list[tuple[Any, ...]]:
        """New buffers for runs one after the other: those that are ``own`` are each run's."""
        known = self._arrays(count, own)
        for step in dict.fromkeys(self.views.values()):
            parts = [_views(step, x) for x in known[step.operands[0]]]
            known.update(zip(step.outs, map(list, zip(*parts))))
        temporaries = [[t] for group in self.groups.values() for t in group.temporaries()]
        columns = [x if len(x) == count else x * count for x in (*known.values(), *temporaries)]
        return [*zip(*columns)] or [()] * count


def shaped(flat: Any, v: Value) -> Any:
    """Rows of memory as arrays of the shape and order of a value."""
    rows = flat[:, : v.nbytes].view(v.dtype)
    if v.axes is None:
        return rows.reshape(-1, *v.shape)
    axes = [int(i) + 1 for i in np.argsort(v.axes)]
    return rows.reshape(-1, *[v.shape[i] for i in v.axes]).transpose(0, *axes)


def _in_place(step: Step, dying: list[Value]) -> Value | None:
    """An operand that nobody needs any more, whose memory can take the result."""
    out = step.outs[0]
    if not step.may_work_in_place:
        return None
    return next((v for v in dying if v in step.operands and out.same_form(v)), None)


def _views(step: Step, x: Any) -> tuple[Any, ...]:
    found = step.call(x, *step.operands[1:], **step.settings)
    return found if type(found) is tuple else (found,)
