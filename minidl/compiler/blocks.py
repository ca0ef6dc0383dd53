"""Elementwise steps on large arrays, done block by block: what is between them stays in the cache.

Blocks may be shared out among threads: NumPy lets others run while it computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minidl.common.threads import elementwise_threads
from minidl.compiler.lines import Names, can_write, listed, new_array, write
from minidl.compiler.program import Operand, Program, Step, Value, last_uses, made_by

BLOCK = 2**16  # elements: a handful of blocks of float32 fit into the caches in use
LARGE = 2**17  # elements of a run worth its loop
_pool: ThreadPoolExecutor | None = None

Block = Callable[..., None]  # of a slice, and temporary arrays


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


def in_blocks(block: Block, size: int, temporaries: tuple[Any, ...]) -> None:
    """Run ``block(part, *temporaries)`` for each part of ``size`` elements."""
    starts = range(0, size, BLOCK)
    threads = elementwise_threads()
    if threads == 1 or len(starts) < 2 * threads:
        _run(block, starts, size, temporaries)
        return
    share = -(-len(starts) // threads)
    mine = starts[:share]
    pool = _workers(threads - 1)
    others = []
    for k in range(share, len(starts), share):
        own = tuple(map(np.empty_like, temporaries))
        others.append(pool.submit(_run, block, starts[k : k + share], size, own))
    _run(block, mine, size, temporaries)
    for other in others:
        other.result()


def _run(block: Block, starts: range, size: int, temporaries: tuple[Any, ...]) -> None:
    for start in starts:
        length = min(BLOCK, size - start)
        if length < BLOCK:
            temporaries = tuple([t[:length] for t in temporaries])
        block(slice(start, start + length), *temporaries)


class Group:
    """Consecutive steps of a program that are done together, block by block.

    ``inner`` are results that only they use: these live in temporary blocks.
    """

    def __init__(self, steps: list[Step], start: int, inner: set[Value]) -> None:
        self.steps = steps
        self.inner = inner
        self.range = range(start, start + len(steps))
        self.dtypes: list[Any] = []  # of the temporaries
        self._temporary_of: dict[Value, int] = {}
        self._share_temporaries()
        self.names = [f"t{start}_{k}" for k in range(len(self.dtypes))]

    def _share_temporaries(self) -> None:
        last = last_uses(self.steps)
        free: list[int] = []
        for i, step in enumerate(self.steps):
            dying = [v for v in step.reads if last[v] == i and v in self._temporary_of]
            freed = [self._temporary_of[v] for v in dying]
            out = step.outs[0]
            if step.may_work_in_place:
                free += freed
            if out in self.inner:
                self._temporary_of[out] = self._take(free, out.dtype)
            if not step.may_work_in_place:
                free += freed

    def _take(self, free: list[int], dtype: Any) -> int:
        for k in free:
            if self.dtypes[k] == dtype:
                free.remove(k)
                return k
        self.dtypes.append(dtype)
        return len(self.dtypes) - 1

    def temporaries(self) -> list[Any]:
        """New arrays of one block each."""
        return [np.empty(BLOCK, dtype) for dtype in self.dtypes]

    def lines(self, names: Names, visible: set[Value]) -> list[str]:
        """The code: a function of one block, and its run over all of them."""
        name = f"block{self.range.start}"
        results = made_by(self.steps)
        arrays = self._whole_arrays()
        head = []
        for v in arrays:
            if v in visible and v in results:
                head.append(new_array(v, names))
            head.append(f"{v}f = {v}.reshape(-1)")

        def arg(x: Operand) -> str:
            return self._argument(x, names)

        body = [f"{v}_ = {v}f[s]" for v in arrays]
        body += [write(step, names, arg(step.outs[0]), arg) for step in self.steps]
        size = results[0].size
        return [
            *head,
            f"def {name}({', '.join(['s', *self.names])}):",
            *[f"    {line}" for line in body],
            f"{names.name(in_blocks)}({name}, {size}, ({listed(self.names)}))",
        ]

    def _whole_arrays(self) -> list[Value]:
        """What lies in arrays, of which a block is a part."""
        used = [v for step in self.steps for v in (*step.reads, *step.outs)]
        return [v for v in dict.fromkeys(used) if v not in self.inner and v.shape != ()]

    def _argument(self, x: Operand, names: Names) -> str:
        """An operand as the function of a block calls it."""
        if not isinstance(x, Value) or x.shape == ():
            return names(x)
        if x in self._temporary_of:
            return self.names[self._temporary_of[x]]
        return f"{x}_"


def groups(program: Program, visible: set[Value]) -> dict[int, Group]:
    """The runs worth doing in blocks, by the index of their first step."""
    users: dict[Value, set[int]] = {}
    for i, step in enumerate(program.steps):
        for v in step.reads:
            users.setdefault(v, set()).add(i)
    found: dict[int, Group] = {}
    for places in _runs(program):
        steps = program.steps[places.start : places.stop]
        made = set(made_by(steps)) - visible
        inner = {v for v in made if users.get(v, set()).issubset(places)}
        found[places.start] = Group(steps, places.start, inner)
    return found


def _runs(program: Program) -> Iterator[range]:
    """The places of consecutive steps on large arrays of one shape, in the forward or backward."""
    start = 0
    ends = (0, program.backward_at, len(program.steps))
    for i in range(1, len(program.steps) + 1):
        if i not in ends and _fits(program.steps[i], program.steps[start]):
            continue
        if i - start > 1:
            yield range(start, i)
        start = i


def _fits(step: Step, first: Step) -> bool:
    if not (_is_large(step) and _is_large(first)):
        return False
    return bool(step.outs[0].shape == first.outs[0].shape)


def _is_large(step: Step) -> bool:
    if not (step.is_map and can_write(step)):
        return False
    out = step.outs[0]
    if out.size < LARGE or out.axes:
        return False
    return all(v.shape in ((), out.shape) for v in step.reads)
