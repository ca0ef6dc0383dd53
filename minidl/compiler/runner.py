"""Runs a program: its buffers, its forward, and its backward as the rule of a Function.

When it serves, and what it reads and gives, is in specialization.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from minidl.autograd.function import Function, identity
from minidl.autograd.variable import Variable, box
from minidl.compiler.printer import Code
from minidl.compiler.program import Program, Value, axes_in_memory, made_by, read_by
from minidl.compiler.recording import Recording
from minidl.compiler.tape import gradients_again, play

POOL = 4  # arenas that are kept


class Arena:
    """The buffers of one run, and what else its backward needs; they go back to the pool."""

    __slots__ = ("buffers", "kept", "pool")

    def __init__(self, buffers: Any, kept: Any, pool: list[Any]) -> None:
        self.buffers = buffers
        self.kept = kept
        self.pool = pool

    def __del__(self) -> None:
        if self.buffers is not None and len(self.pool) < POOL:
            self.pool.append(self.buffers)


class Runner:
    """What a program does with the values of its inputs. Nothing here knows where these are from."""

    def __init__(self, program: Program, recording: Recording, code: Code) -> None:
        self.inputs = program.inputs
        self.code = code  # of which printer it may be
        self.pool: list[Any] = []
        self.real = recording.real
        self.seeded = [self.real.index(v) for v in recording.floating]
        self.reached = recording.reached
        self.wanted = [i for i, want in enumerate(recording.differentiable) if want]
        self.tape = recording.tape
        self.differentiated = recording.recorder.differentiated
        maps = [step for step in program.backward_steps if step.is_map]
        turned = any(v.axes for v in (*read_by(maps), *made_by(maps)))
        self.orders = [v.axes for v in program.seeds] if turned else None

    def function(self) -> Function:
        """The program as a differentiable Function."""
        function = Function(self.forward, (), self._joint, "compiled")
        function.saves = True
        function.owned = True
        function.equals = self._again
        return function

    def _buffers(self) -> Any:
        try:
            return self.pool.pop()
        except IndexError:
            return self.code.arena()

    def run(self, inputs: Any) -> Any:
        """The outputs of a program without a backward."""
        buffers = self._buffers()
        outputs, _ = self.code.forward(inputs, buffers)
        if len(self.pool) < POOL:
            self.pool.append(buffers)
        return outputs

    def forward(self, *inputs: Any) -> Any:
        buffers = self._buffers()
        outputs, kept = self.code.forward(inputs, buffers)
        arena = Arena(buffers, kept, self.pool)
        return (outputs if len(outputs) != 1 else outputs[0]), arena

    # ---- the backward ----------------------------------------------------------------------------

    def _joint(self, g: Any, y: Any, saved: Arena, wanted: list[bool], *inputs: Any) -> list[Any]:
        """The gradients of the inputs: the rule of the program as a Function."""
        gs = g if type(g) is list else [g]
        buffers = saved.buffers
        if buffers is None or not self._in_order(gs):  # after a first backward they are gone
            return gradients_again(self._again, inputs, wanted, gs)
        saved.buffers = None
        if len(self.real) > 1 and any(part is None for part in gs):
            return self._of_some(gs, y, buffers, saved.kept, wanted, inputs)
        seeds = [gs[i] for i in self.seeded]
        found = self.code.backward(inputs, buffers, saved.kept, seeds)
        if len(self.pool) < POOL:
            self.pool.append(buffers)
        return self._by_input(found)

    def _in_order(self, gs: list[Any]) -> bool:
        """Whether gradients lie in memory as when the program was made, where sums depend on it."""
        if self.orders is None:
            return True
        for i, axes in zip(self.seeded, self.orders):
            g = gs[i]
            if isinstance(g, np.ndarray) and (0 in g.strides or axes_in_memory(g) != axes):
                return False
        return True

    def _of_some(
        self, gs: list[Any], y: Any, buffers: Any, kept: Any, wanted: list[bool], inputs: Any
    ) -> list[Any]:
        """The gradients where some results were not used: their seeds are zeros."""
        used = [g is not None for g in gs]
        seeds = [gs[i] if used[i] else np.zeros_like(y[i])[()] for i in self.seeded]
        with np.errstate(all="ignore"):
            found = self.code.backward(inputs, buffers, kept, seeds)
        if not all(gx is None or np.isfinite(gx).all() for gx in found):
            # 0 * inf is nan: a zero seed does not silence an infinite derivative.
            return gradients_again(self._again, inputs, wanted, gs)
        reached: set[Value] = set()
        for v in compress(self.real, used):
            reached |= self.reached.get(v, set())
        pairs = zip(self.inputs, self._by_input(found), strict=True)
        return [gx if v in reached else None for v, gx in pairs]

    def _by_input(self, found: Sequence[Any]) -> list[Any]:
        """One gradient for each input, None for those that are not differentiated."""
        gradients = [None] * len(self.inputs)
        for i, gx in zip(self.wanted, found):
            gradients[i] = gx
        return gradients

    def _again(self, *inputs: Any) -> Any:
        """The same computation, application by application."""
        known: dict[Value, Any] = dict(zip(self.inputs, inputs))
        play(self.tape, known, self.differentiated)
        ys = tuple([_as_variable(known[v]) for v in self.real])
        return ys if len(ys) != 1 else ys[0]


def _as_variable(y: Any) -> Variable:
    """A result; of an array one without a graph."""
    return y if isinstance(y, Variable) else identity(box(y, None))
