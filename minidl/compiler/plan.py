"""The plan of a program's memory: which values share a buffer, and which are views of one.

The code that is printed for the plan is in printer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.compiler import blocks
from minidl.compiler.lines import can_write
from minidl.compiler.program import Program, Step, Value, values_in


class Plan:
    """Buffers of one run of a program.

    ``place`` says which buffer a value lies in, ``sizes`` how many bytes each has; ``views`` are
    made with the buffers, once, by these steps. What is handed out (``visible``), and what a
    function makes itself, has no place.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps = program.steps
        self.visible = set(program.results) - {*program.inputs, *program.seeds}
        self.groups = blocks.groups(program, self.visible)
        self.grouped = {i for group in self.groups.values() for i in group.range}
        self._inner = {v for group in self.groups.values() for v in group.inner}
        self.roots = _roots(program.steps)
        self.place: dict[Value, int] = {}
        self.sizes: list[int] = []
        self.views: dict[Value, Step] = {}
        self._share_buffers(self._last_uses(program))
        self._find_views()

    # ---- who shares ------------------------------------------------------------------------------

    def roots_of(self, v: Value) -> set[Value]:
        """The values whose memory this one may be, itself among them."""
        return self.roots.get(v, {v})

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
        """Give each result the buffer of one that nobody reads any more, or a new one.

        The steps of a group take turns on each block: what dies in it is free when it is through.
        """
        free: list[int] = []
        waiting: list[int] = []
        for i, step in enumerate(self.steps):
            in_group = i in self.grouped
            if not in_group or i in self.groups:  # the group before is through
                free += waiting
                waiting = []
            dying = [v for v in self._memory_read(step) if last.get(v) == i]
            if self._needs_buffer(step):
                out = step.outs[0]
                taken = None if in_group else _in_place(step, dying)
                if taken is not None:
                    dying.remove(taken)
                    self.place[out] = self.place[taken]
                else:
                    self.place[out] = self._take(free, out.nbytes)
            unused = waiting if in_group else free
            unused += [self.place[v] for v in dying]

    def _memory_read(self, step: Step) -> list[Value]:
        """The values with a buffer that a step reads, or reads a view of; operands come first."""
        read: dict[Value, None] = {}
        for v in step.reads:
            read[v] = None
            read.update(dict.fromkeys(self.roots_of(v)))
        return [v for v in read if v in self.place]

    def _needs_buffer(self, step: Step) -> bool:
        """Whether the result of a step is to lie in a buffer."""
        out = step.single
        if out is None or out in self.visible or out in self._inner:
            return False
        return can_write(step)

    def _take(self, free: list[int], nbytes: int) -> int:
        """A free buffer that is not much too large, or a new one."""
        fitting = [k for k in free if nbytes <= self.sizes[k] <= 2 * nbytes + 4096]
        if fitting:
            best = min(fitting, key=self.sizes.__getitem__)
            free.remove(best)
            return best
        self.sizes.append(nbytes)
        return len(self.sizes) - 1

    def _find_views(self) -> None:
        """Note the views that can be made with the buffers; some functions give a view or a copy."""
        known = self._arrays(self._buffers())
        for step in self.steps:
            if not (step.is_view and step.operands[0] in known):
                continue
            x, *rest = step.operands
            if any(values_in(tuple(rest))) or not self.visible.isdisjoint(step.outs):
                continue
            parts = _views(step, known[x])
            if all(np.may_share_memory(part, known[x]) for part in parts):
                known.update(zip(step.outs, parts))
                self.views.update(dict.fromkeys(step.outs, step))

    # ---- the memory ------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The names of what ``arena`` makes, in its order."""
        temporaries = [name for group in self.groups.values() for name in group.names]
        return [v.name for v in (*self.place, *self.views)] + temporaries

    def arena(self) -> tuple[Any, ...]:
        """New memory for one run: arrays in buffers, views of them, temporary blocks."""
        return self._arena(self._buffers(), self._temporaries())

    def arenas(self, count: int) -> list[tuple[Any, ...]]:
        """New memory for so many forwards, one after the other, and then their backwards.

        They share the buffers in which the forward leaves nothing to the backward.
        """
        saved = {root for v in self.program.saved for root in self.roots_of(v)}
        own = {k for v, k in self.place.items() if v in saved}
        shared = self._buffers()
        temporaries = self._temporaries()
        arenas = []
        for _ in range(count):
            buffers = [np.empty_like(x) if k in own else x for k, x in enumerate(shared)]
            arenas.append(self._arena(buffers, temporaries))
        return arenas

    def _buffers(self) -> list[Any]:
        return [np.empty(max(size, 1), np.uint8) for size in self.sizes]

    def _temporaries(self) -> list[Any]:
        return [block for group in self.groups.values() for block in group.temporaries()]

    def _arena(self, buffers: Sequence[Any], temporaries: Sequence[Any]) -> tuple[Any, ...]:
        known = self._arrays(buffers)
        for step in dict.fromkeys(self.views.values()):
            known.update(zip(step.outs, _views(step, known[step.operands[0]])))
        return (*known.values(), *temporaries)

    def _arrays(self, buffers: Sequence[Any]) -> dict[Value, Any]:
        """The arrays that lie in the buffers."""
        memory = {v: buffers[k][: v.nbytes].view(v.dtype) for v, k in self.place.items()}
        return {v: v.array_in(numbers) for v, numbers in memory.items()}


def _roots(steps: Sequence[Step]) -> dict[Value, set[Value]]:
    """The values whose memory each result may be: its own, and what it may be a view of."""
    roots: dict[Value, set[Value]] = {}
    for step in steps:
        shared: set[Value] = set()
        if step.is_view or not (can_write(step) or step.fresh):
            shared.update(*[roots.get(v, {v}) for v in step.reads])
        for v in step.outs:
            roots[v] = {v} | shared
    return roots


def _in_place(step: Step, dying: Sequence[Value]) -> Value | None:
    """An operand that nobody needs any more, whose memory can take the result."""
    if not step.may_work_in_place:
        return None
    out = step.outs[0]
    return next((v for v in dying if v in step.operands and out.same_form(v)), None)


def _views(step: Step, x: Any) -> tuple[Any, ...]:
    """What a step makes of the array that it views."""
    views = step.call(x, *step.operands[1:], **step.settings)
    return views if type(views) is tuple else (views,)
