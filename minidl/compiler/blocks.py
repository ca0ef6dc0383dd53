"""Elementwise steps on large arrays, done block by block: what is between them stays in the cache.

Blocks may be shared out among threads: NumPy lets others run while it computes. Single steps are in
emit.py.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minidl.common.threads import elementwise_threads
from minidl.compiler.emit import Names, elementwise, is_elementwise, new_array
from minidl.compiler.program import Program, Step, Value, values_in
from minidl.functions.masks import masked
from minidl.functions.reduction import sum

BLOCK = 2**14  # elements: a handful of float32 blocks fit into the smallest caches in use
LARGE = 2**16  # elements of a run worth its loop
_pool: ThreadPoolExecutor | None = None


def _workers(n: int) -> ThreadPoolExecutor:
    """A pool of so many threads; one of another size ends when no run uses it any more."""
    global _pool
    pool = _pool
    if pool is None or pool._max_workers != n:
        pool = _pool = ThreadPoolExecutor(n, thread_name_prefix="minidl")
    return pool


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # its threads stay behind in the parent
    os.register_at_fork(after_in_child=_forget_pool)


def in_blocks(block: Any, size: int, temporaries: tuple[Any, ...]) -> list[Any]:
    """Run ``block(part, *temporaries)`` for each part of ``size`` elements; return the results."""
    parts = [slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]
    threads = elementwise_threads()
    if threads == 1 or len(parts) < 2 * threads:
        return [_run(block, part, temporaries) for part in parts]
    pool = _workers(threads - 1)
    share = -(-len(parts) // threads)

    def some(k: int) -> list[Any]:
        mine = temporaries if k == 0 else tuple(np.empty_like(t) for t in temporaries)
        return [_run(block, part, mine) for part in parts[k * share : (k + 1) * share]]

    others = [pool.submit(some, k) for k in range(1, threads)]
    return some(0) + [result for other in others for result in other.result()]


def _run(block: Any, part: slice, temporaries: tuple[Any, ...]) -> Any:
    length = part.stop - part.start
    return block(part, *(temporaries if length == BLOCK else [t[:length] for t in temporaries]))


class Group:
    """Consecutive steps of a program that are done together, block by block."""

    def __init__(
        self, steps: list[Step], start: int, inner: set[Value], total: Step | None
    ) -> None:
        self.steps, self.inner, self.total = steps, inner, total
        self.range = range(start, start + len(steps) + (total is not None))
        self.temps: list[Any] = []  # dtypes
        self.temp_of: dict[Value, int] = {}
        last = {v: i for i, step in enumerate(steps) for v in values_in(step.operands)}
        if total is not None:
            last.update({v: len(steps) for v in values_in(total.operands)})
        free: list[int] = []
        for i, step in enumerate(steps):
            dying = [
                v
                for v in dict.fromkeys(values_in(step.operands))
                if last[v] == i and v in self.temp_of
            ]
            ready = [self.temp_of[v] for v in dying] if not step.applies(masked) else []
            if step.out in inner:
                fitting = [k for k in (*ready, *free) if self.temps[k] == step.out.dtype]
                if not fitting:
                    self.temps.append(step.out.dtype)
                    fitting = [len(self.temps) - 1]
                self.temp_of[step.out] = fitting[0]
                free = [k for k in free if k != fitting[0]]
            free += [k for k in {self.temp_of[v] for v in dying} if k != self.temp_of.get(step.out)]
        self.names = [f"t{start}_{k}" for k in range(len(self.temps))]

    def temporaries(self) -> list[Any]:
        """New arrays of one block each."""
        return [np.empty(BLOCK, dtype) for dtype in self.temps]

    def lines(self, names: Names, visible: set[Value]) -> list[str]:
        """The code: a function of one block, and its run over all of them."""
        size = self.steps[0].out.size
        whole: dict[Value, str] = {}
        outside = dict.fromkeys(
            v
            for step in self.steps
            for v in (*values_in(step.operands), step.out)
            if v not in self.inner and v.shape != ()
        )
        head = [new_array(step.out, names) for step in self.steps if step.out in visible]
        for v in outside:
            whole[v] = f"{v}f"
            head.append(f"{v}f = {v}.reshape(-1)")

        def here(x: Any) -> str:
            if isinstance(x, Value) and x in self.temp_of:
                return self.names[self.temp_of[x]]
            return f"{whole[x]}[s]" if isinstance(x, Value) and x in whole else names(x)

        body = []
        loaded: dict[Value, str] = {}

        def arg(x: Any) -> str:
            if isinstance(x, Value) and x in whole:
                if x not in loaded:
                    loaded[x] = f"{x}p"
                    body.append(f"    {x}p = {here(x)}")
                return loaded[x]
            return here(x)

        for step in self.steps:
            for x in values_in(step.operands):
                arg(x)
            body += [f"    {line}" for line in elementwise(step, names, arg, arg(step.out))]
        name = f"block{self.range.start}"
        if self.total is not None:
            body.append(f"    return {names(np.add.reduce)}({arg(self.total.operands[0])})")
        temps = f"({''.join(f'{t}, ' for t in self.names)})"
        run = f"{names(in_blocks)}({name}, {size}, {temps})"
        if self.total is not None:
            dtype = names(self.total.out.dtype.type)
            run = f"{self.total.out} = {dtype}({names(np.sum)}({run}, dtype={names(np.float64)}))"
        return [*head, f"def {name}({', '.join(['s', *self.names])}):", *body, run]


def groups(program: Program, visible: set[Value]) -> dict[int, Group]:
    """The runs worth doing in blocks, by the index of their first step."""
    uses: dict[Value, list[int]] = {}
    for i, step in enumerate(program.steps):
        for v in values_in(step.operands):
            uses.setdefault(v, []).append(i)
    found: dict[int, Group] = {}
    i = 0
    while i < len(program.steps):
        stop = i
        limit = program.backward_at if i < program.backward_at else len(program.steps)
        while stop < limit and _fits(program.steps[stop], program.steps[i].outs[0]):
            stop += 1
        run = program.steps[i:stop]
        if len(run) > 1:
            total = (
                program.steps[stop]
                if stop < limit and _is_total(program.steps[stop], run)
                else None
            )
            inside = range(i, stop + (total is not None))
            inner = {
                step.out
                for step in run
                if step.out not in visible and all(k in inside for k in uses.get(step.out, []))
            }
            found[i] = Group(run, i, inner, total)
            stop = inside.stop
        i = max(stop, i + 1)
    return found


def _fits(step: Step, like: Value) -> bool:
    return (
        is_elementwise(step)
        and step.out.shape == like.shape
        and step.out.size >= LARGE
        and all(v.shape in ((), like.shape) for v in values_in(step.operands))
    )


def _is_total(step: Step, run: list[Step]) -> bool:
    axis = step.operands[1] if len(step.operands) > 1 else None
    whole = (
        step.applies(sum) and axis is None and step.out.shape == () and step.out.dtype.kind == "f"
    )
    return whole and any(step.operands[0] is s.out for s in run)
