"""The buffer plan of a program: which values share memory; and the code around the steps.

How one step is written is in emit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.compiler import blocks
from minidl.compiler.emit import (
    Names,
    as_expression,
    as_floats,
    into,
    is_elementwise,
    new_array,
    views,
)
from minidl.compiler.program import Program, Step, Value, values_in
from minidl.functions.activation import sigmoid
from minidl.functions.masks import masked


class Code:
    """Runs a program by ``forward(inputs, arena)`` and ``backward(inputs, arena, kept, seeds)``.

    ``arena()`` makes the buffers of one run. The forward gives (outputs, what else the backward
    needs), the backward the gradients. Outputs and gradients are new arrays each time; everything
    else is written to the arena.
    """

    def __init__(self, program: Program) -> None:
        program.name_values()
        self.program, self.floats = program, as_floats(program)
        self.names = Names(self.floats)
        self.errors = {"over": "ignore"} if any(s.applies(sigmoid) for s in program.steps) else {}
        self._plan()
        self.forward, self.backward = self._made()
        if self.floats:  # where Python raises, NumPy has infinities
            by_floats = self.forward, self.backward
            self.names, self.floats = Names(), False
            self.forward, self.backward = map(_or_else, by_floats, self._made())
        self.nbytes = sum(self.sizes)

    def _made(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        self.source = self._source()
        namespace = dict(self.names.all)
        exec(compile(self.source, "<minidl program>", "exec"), namespace)
        return namespace["forward"], namespace["backward"]

    # ---- the plan --------------------------------------------------------------------------------

    def _plan(self) -> None:
        program = self.program
        steps, end = program.steps, len(program.steps)
        self.root: dict[Value, set[Value]] = {}  # the values whose memory a value may be
        last: dict[Value, int] = {}
        for i, step in enumerate(steps):
            operands = set(values_in(step.operands))
            mine = (
                set().union(*(self.root.get(v, {v}) for v in operands))
                if self._shares(step)
                else set()
            )
            for v in step.outs:
                self.root[v] = {v} | mine
            for v in operands:
                for r in self.root.get(v, {v}):
                    last[r] = i
        for v in self._visible():
            for r in self.root.get(v, {v}):
                last[r] = end
        self.visible = {v for v in self._visible() if v.kind == "step"}
        self.groups = blocks.groups(program, self.visible)
        inside = {v for group in self.groups.values() for v in group.inner}
        self.place: dict[Value, int] = {}
        self.sizes: list[int] = []
        self.views: dict[Value, Step] = {}
        free: list[int] = []
        waiting: list[
            int
        ] = []  # what is free once the group is through: its steps take turns on each block
        grouped = {i: group for group in self.groups.values() for i in group.range}
        for i, step in enumerate(steps):
            if waiting and i not in grouped:
                free, waiting = free + waiting, []
            dying = [
                v
                for v in set(values_in(step.operands))
                for v in self.root.get(v, {v})
                if last.get(v) == i
            ]
            dying = [v for v in dict.fromkeys(dying) if v in self.place]
            out = step.outs[0]
            if (
                len(step.outs) == 1
                and out not in self.visible
                and out not in inside
                and into(step, self.names)
            ):
                own = [
                    v
                    for v in dying
                    if v.shape == out.shape and v.dtype == out.dtype and v in step.operands
                ]
                if own and is_elementwise(step) and not step.applies(masked) and i not in grouped:
                    self.place[out] = self.place[own[0]]
                    dying.remove(own[0])
                else:
                    self.place[out] = self._take(free, out.nbytes)
            (waiting if i in grouped else free).extend(self.place[v] for v in dying)
        # Views of buffers are made with them, once.
        known = dict(zip(self.place, self.arena()))
        for step in steps:
            x, *rest = step.operands or (None,)
            if step.is_view and x in known and not any(isinstance(part, Value) for part in rest):
                found = views(step, known[x])
                if all(np.may_share_memory(v, known[x]) for v in found) and self.visible.isdisjoint(
                    step.outs
                ):
                    known.update(zip(step.outs, found))
                    self.views.update(dict.fromkeys(step.outs, step))

    def _visible(self) -> list[Value]:
        return [
            v for root in (*self.program.outputs, *self.program.gradients) for v in values_in(root)
        ]

    def _take(self, free: list[int], nbytes: int) -> int:
        fitting = [k for k in free if nbytes <= self.sizes[k] <= 2 * nbytes + 4096]
        if fitting:
            best = min(fitting, key=self.sizes.__getitem__)
            free.remove(best)
            return best
        self.sizes.append(nbytes)
        return len(self.sizes) - 1

    def _shares(self, step: Step) -> bool:
        """Whether a result may be (part of) the memory of an operand."""
        return step.is_view or (into(step, self.names) is None and not step.function.fresh)

    def arena(self) -> tuple[Any, ...]:
        """New buffers for one run."""
        flat = [np.empty(max(n, 1), np.uint8) for n in self.sizes]
        known = {
            v: flat[k][: v.nbytes].view(v.dtype).reshape(v.shape) for v, k in self.place.items()
        }
        for step in dict.fromkeys(self.views.values()):
            known.update(zip(step.outs, views(step, known[step.operands[0]])))
        return (
            *known.values(),
            *[a for group in self.groups.values() for a in group.temporaries()],
        )

    # ---- the code --------------------------------------------------------------------------------

    def _source(self) -> str:
        program = self.program
        k = program.backward_at
        forward, backward = self._lines(0, k), self._lines(k, len(program.steps))
        before = [v for step in program.steps[:k] for v in step.outs]
        later = {v for step in program.steps[k:] for v in values_in(step.operands)}
        later |= {v for root in program.gradients for v in values_in(root)}
        kept = [v for v in before if v in later and v not in self.place and v not in self.views]
        outputs, gradients = (
            ", ".join(self._given(v, roots[:i]) for i, v in enumerate(roots))
            for roots in (program.outputs, program.gradients)
        )
        arena = [v.name for v in (*self.place, *self.views)]
        arena += [t for group in self.groups.values() for t in group.names]
        unpack = [
            _unpacked(program.inputs, "inputs"),
            *([f"{', '.join(arena)}, = arena"] if arena else []),
        ]
        if self.floats:
            unpack += [f"{v} = float({v})" for v in program.inputs]
        seeds = [_unpacked(program.seeds, "seeds")]
        if self.floats:
            seeds += [f"{v} = float({v})" for v in program.seeds]
        lines = [
            "def forward(inputs, arena):",
            *unpack,
            *forward,
            f"return ({outputs},), ({''.join(f'{v}, ' for v in kept)})"
            if outputs
            else "return (), ()",
            "def backward(inputs, arena, kept, seeds):",
            *unpack,
            _unpacked(kept, "kept"),
            *seeds,
            *backward,
            f"return ({gradients},)" if gradients else "return ()",
        ]
        heads = ("def forward", "def backward")
        return "\n".join(
            line if line.startswith(heads) else f"    {line}" for line in lines if line
        )

    def _given(self, root: Any, before: Sequence[Any]) -> str:
        """A result as the caller gets it: memory of its own."""
        if root is None:
            return "None"
        if not isinstance(root, Value) or root.shape == ():
            number = self.names(root)
            if self.floats:
                return f"{self.names(np.float64)}({number})"
            return (
                f"{number}[()]" if isinstance(root, Value) else number
            )  # out of the buffer, if it lies in one
        if root in before or root.kind == "input" or self.root.get(root, {root}) != {root}:
            return f"{root}.copy()"
        return f"{root}"

    def _lines(self, start: int, stop: int) -> list[str]:
        lines: list[str] = []
        i = start
        while i < stop:
            step = self.program.steps[i]
            if i in self.groups:
                lines += self.groups[i].lines(self.names, self.visible)
                i = self.groups[i].range.stop
                continue
            if step.outs and step.outs[0] in self.views:
                i += 1
                continue
            write = into(step, self.names) if len(step.outs) == 1 else None
            if write is not None and (step.out in self.place or step.out in self.visible):
                if step.out in self.visible:
                    lines.append(new_array(step.out, self.names))
                lines += write(step.out.name)
            else:
                target = f"{step.out}" if type(step.out) is not tuple else f"{_target(step)}"
                lines.append(f"{target} = {as_expression(step, self.names)}")
            i += 1
        return lines


def _or_else(fast: Callable[..., Any], exact: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        try:
            return fast(*args)
        except ArithmeticError:
            return exact(*args)

    return run


def _target(step: Step) -> str:
    """What the results of a step with several are assigned to, as its call nests them."""
    if step.function.saves and not step.derivative:
        *outs, saved = step.out
        several = len(outs) > 1
        return f"({''.join(f'{v}, ' for v in outs)}), {saved}" if several else f"{outs[0]}, {saved}"
    return f"{''.join(f'{v}, ' for v in step.out)}" or "_"


def _unpacked(values: Sequence[Value], of: str) -> str:
    return f"{''.join(f'{v}, ' for v in values)} = {of}" if values else ""
