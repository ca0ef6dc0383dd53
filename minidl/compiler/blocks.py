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
from minidl.compiler.lines import Names, can_write, new_array, write
from minidl.compiler.program import Operand, Program, Step, Value, last_uses, values_in

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
    parts = [slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]
    threads = elementwise_threads()
    if threads == 1 or len(parts) < 2 * threads:
        _run(block, parts, temporaries)
        return
    share = -(-len(parts) // threads)
    shares = [parts[k : k + share] for k in range(0, len(parts), share)]
    pool = _workers(threads - 1)
    others = [
        pool.submit(_run, block, some, tuple(map(np.empty_like, temporaries)))
        for some in shares[1:]
    ]
    _run(block, shares[0], temporaries)
    for other in others:
        other.result()


def _run(block: Block, parts: list[slice], temporaries: tuple[Any, ...]) -> None:
    for part in parts:
        length = part.stop - part.start
        block(part, *(temporaries if length == BLOCK else [t[:length] for t in temporaries]))


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
            dying = [v for v in dict.fromkeys(values_in(step.operands)) if last[v] == i]
            freed = [self._temporary_of[v] for v in dying if v in self._temporary_of]
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
        used = [v for step in self.steps for v in (*values_in(step.operands), step.outs[0])]
        whole = [v for v in dict.fromkeys(used) if v not in self.inner and v.shape != ()]

        def arg(x: Operand) -> str:
            if isinstance(x, Value) and x in self._temporary_of:
                return self.names[self._temporary_of[x]]
            return f"{x}_" if isinstance(x, Value) and x.shape != () else names(x)

        head = [new_array(step.outs[0], names) for step in self.steps if step.outs[0] in visible]
        head += [f"{v}f = {v}.reshape(-1)" for v in whole]
        body = [f"    {v}_ = {v}f[s]" for v in whole]
        body += [f"    {write(step, names, arg(step.outs[0]), arg)}" for step in self.steps]
        name = f"block{self.range.start}"
        temporaries = "".join([f"{t}, " for t in self.names])
        run = f"{names.name(in_blocks)}({name}, {self.steps[0].outs[0].size}, ({temporaries}))"
        return [*head, f"def {name}({', '.join(['s', *self.names])}):", *body, run]


def groups(program: Program, visible: set[Value]) -> dict[int, Group]:
    """The runs worth doing in blocks, by the index of their first step."""
    users: dict[Value, set[int]] = {}
    for i, step in enumerate(program.steps):
        for v in values_in(step.operands):
            users.setdefault(v, set()).add(i)
    found: dict[int, Group] = {}
    for places in _runs(program):
        steps = [program.steps[i] for i in places]
        outs = {step.outs[0] for step in steps} - visible
        inner = {v for v in outs if users.get(v, set()) <= set(places)}
        found[places[0]] = Group(steps, places[0], inner)
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
    return all(_is_large(s) for s in (step, first)) and step.outs[0].shape == first.outs[0].shape


def _is_large(step: Step) -> bool:
    if not (step.is_map and can_write(step)) or step.outs[0].size < LARGE or step.outs[0].axes:
        return False
    return all(v.shape in ((), step.outs[0].shape) for v in values_in(step.operands))
