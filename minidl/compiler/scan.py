"""A scan in a program: one step that stands for a loop, whose body is a program of its own.

How a loop is found to be one, and what its body's backward is, is in turns.py.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl import functions as F
from minidl.autograd.function import Function
from minidl.autograd.operation import Operation
from minidl.autograd.variable import Variable
from minidl.compiler.passes import optimized
from minidl.compiler.printer import Code
from minidl.compiler.program import Operand, Program, Step, Value, replace, values_in
from minidl.compiler.tape import gradients_again, play

POOL = 2  # runs whose buffers are kept


class Sizes(NamedTuple):
    """How many of a body's inputs are captured from outside, state, and slices."""

    captured: int
    state: int
    xs: int

    def split(self, operands: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Operands by what they are."""
        end = self.captured + self.state
        return operands[: self.captured], operands[self.captured : end], operands[end:]


class Body(NamedTuple):
    """What one turn of a loop computes: ``inputs`` are what it captures, the state, the slices.

    ``state`` and ``ys`` are what it gives, ``tape`` and ``differentiated`` the same by whole
    applications, to make them again eagerly.
    """

    inputs: list[Value]
    state: list[Value]
    ys: list[Value]
    steps: list[Step]
    tape: list[Step]
    differentiated: set[Step]

    @property
    def outputs(self) -> list[Value]:
        """State and outputs, each Value once."""
        return list(dict.fromkeys([*self.state, *self.ys]))


class Loop:
    """``count`` turns of a body: what a scan step runs.

    Its operands are those of the body, but for the slices: an array or tuple of ``count`` of them
    each. It gives the last state and the stacked outputs.
    """

    def __init__(self, body: Body, sizes: Sizes, count: int) -> None:
        self.body = body
        self.sizes = sizes
        self.count = count
        self.backwards: dict[Any, Backward] = {}
        self._plain: Sweep | None = None

    @property
    def sweep(self) -> Sweep:
        """How the turns are run: as the first backward that was derived needs it."""
        for backward in self.backwards.values():
            return backward.sweep
        if self._plain is None:
            body = self.body
            copied, _ = clone(Program(body.inputs, [*body.outputs], body.steps))
            program = optimized(copied)
            self._plain = Sweep(self, [program] * self.count, [[]] * self.count)
        return self._plain

    def forward(self, *operands: Any) -> tuple[tuple[Any, ...], Any]:
        """The last state and the outputs; and what the backward needs."""
        return self.sweep.forward(operands)

    def again(self, *operands: Any) -> tuple[Any, ...]:
        """The same application by application, with a graph."""
        captured, state, xs = self.sizes.split(operands)
        body = self.body
        slices = [F.unstack(x) if isinstance(x, Variable) else x for x in xs]
        rows: list[Any] = []
        for row in zip(*slices, strict=True):
            known = dict(zip(body.inputs, (*captured, *state, *row), strict=True))
            play(body.tape, known, body.differentiated)
            state = [known[v] for v in body.state]
            rows.append([known[v] for v in body.ys])
        return (*state, *map(np.stack, zip(*rows, strict=True)))

    def joint(self, g: Any, y: Any, saved: Any, wanted: list[bool], *operands: Any) -> list[Any]:
        """The gradients of the operands, of the turns one by one."""
        return gradients_again(self.again, operands, wanted, g)

    def function(self) -> Function:
        """The loop as a Function: what a step applies."""
        function = Function(self.forward, (), self.joint, "scan")
        function.operation = Operation(kind="scan")
        function.saves = function.owned = function.fresh = True
        function.equals = self.again
        return function


class Run:
    """What a run of a loop leaves for its backward: for each turn its inputs, and what it kept.

    ``arenas``, the buffers, go back when they are not needed any more; then there are none.
    """

    __slots__ = ("arenas", "inputs", "kept", "sweep")

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.inputs: list[Any] = []
        self.kept: list[Any] = []
        self.arenas: Any = sweep.arenas()

    def backward(self, t: int, seeds: list[Any]) -> Any:
        """The gradients of turn t."""
        backward = self.sweep.codes[t].backward
        return backward(self.inputs[t], self.arenas[t], self.kept[t], seeds)

    def give_back(self) -> None:
        """Let another run have the buffers."""
        arenas = self.arenas
        self.arenas = None
        if arenas is not None and len(self.sweep.pool) < POOL:
            self.sweep.pool.append(arenas)

    __del__ = give_back


class Sweep:
    """The programs of a loop's turns, as NumPy code with buffers.

    ``constants`` are the last inputs of each.
    """

    def __init__(
        self, loop: Loop, programs: Sequence[Program], constants: Sequence[list[Any]]
    ) -> None:
        self.sizes = loop.sizes
        self.programs = programs
        self.constants = constants
        code_of = {program: Code(program) for program in dict.fromkeys(programs)}
        self.codes = [code_of[program] for program in programs]
        outputs = loop.body.outputs
        self._state = list(map(outputs.index, loop.body.state))
        self._ys = list(map(outputs.index, loop.body.ys))
        self.pool: list[list[Any]] = []

    def arenas(self) -> list[Any]:
        """The buffers of all turns: those that a backward reads are each turn's own."""
        try:
            return self.pool.pop()
        except IndexError:
            arenas = {code: code.plan.arenas(n) for code, n in Counter(self.codes).items()}
            return [arenas[code].pop() for code in self.codes]

    def forward(self, operands: Sequence[Any]) -> tuple[tuple[Any, ...], Run]:
        """The last state and the stacked outputs, and the run."""
        captured, state, xs = self.sizes.split(operands)
        run = Run(self)
        ys: list[Any] = []
        turns = zip(self.codes, run.arenas, self.constants, *xs, strict=True)
        for code, arena, constants, *row in turns:
            inputs = (*captured, *state, *row, *constants)
            outputs, kept = code.forward(inputs, arena)
            run.inputs.append(inputs)
            run.kept.append(kept)
            state = [outputs[i] for i in self._state]
            ys.append([outputs[i] for i in self._ys])
        return (*state, *map(np.stack, zip(*ys))), run


class Variant(NamedTuple):
    """The backward of one turn, for gradients of certain parts of the state.

    The seeds of ``program`` are gradients of those parts (``carried``), of the outputs ``rows``,
    what the state before (``begun``) and captured values (``summed``) have received already. Its
    gradients are of state, slices and ``summed``, those of the state ``as_begun`` as they were
    given. Its last inputs are ``constants``.
    """

    program: Program
    constants: list[Any]
    carried: list[int]
    rows: list[int]
    begun: list[int]
    summed: list[int]
    as_begun: list[int]


class Backward:
    """A loop's backward: last turn first, gradients of captured values summed up on the way.

    ``early`` are outputs that are parts of the state as well, by the part: the gradient of such a
    part begins with what the output gives it.
    """

    def __init__(
        self, loop: Loop, variants: list[Variant], early: dict[int, int], layouts: dict[int, Value]
    ) -> None:
        self.sizes = loop.sizes
        self.state = loop.body.state
        self.variants = variants
        self.early = early
        self.layouts = layouts
        programs = [variant.program for variant in variants]
        self.sweep = Sweep(loop, programs, [variant.constants for variant in variants])

    def __call__(self, gs: Any, held: Any, saved: Any, *operands: Any) -> tuple[Any, ...]:
        """Gradients of captured values (None where none arrives), of the state, of slices.

        ``gs`` are the gradients of the last state and the outputs, ``held`` what captured values
        and the first state have received before.
        """
        captured, state, xs = self.sizes
        _, _, slices = self.sizes.split(operands)
        run = self._run_of(saved, operands)
        sums = {c: nothing(v) if held[c] is None else held[c] for c, v in self.layouts.items()}
        carried = list(gs[:state])
        g_ys = gs[state:]
        rows: list[Any] = []
        for t in reversed(range(len(self.variants))):
            variant = self.variants[t]
            seeds = [carried[j] for j in variant.carried]
            seeds += [g_ys[k][t] for k in variant.rows]
            seeds += [self._begin(j, t, g_ys, held) for j in variant.begun]
            seeds += [sums[c] for c in variant.summed]
            found = run.backward(t, seeds)
            carried = list(found[:state])
            rows.append(found[state : state + xs])
            sums.update(zip(variant.summed, found[state + xs :], strict=True))
        run.give_back()
        for j in variant.as_begun:
            if held[captured + j] is None:  # it has received nothing at all
                carried[j] = None
        columns = zip(*reversed(rows))
        return (*map(sums.get, range(captured)), *carried, *map(_stacked, columns, slices))

    def _run_of(self, saved: Any, operands: Sequence[Any]) -> Run:
        """The run of the forward; another one if that was made for another backward, or used up."""
        run: Run | None = saved[0] if saved else None
        if run is not None and run.sweep is self.sweep and run.arenas is not None:
            return run
        return self.sweep.forward(operands)[1]

    def _begin(self, j: int, t: int, g_ys: Any, held: Any) -> Any:
        """What a part of the state before turn t has received from elsewhere."""
        if t and j in self.early:
            return g_ys[self.early[j]][t - 1]
        first = None if t else held[self.sizes.captured + j]
        return nothing(self.state[j]) if first is None else first


def _stacked(gradients: Sequence[Any], slices: Any) -> Any:
    """The gradient of stacked slices."""
    if all(g is None for g in gradients):
        return None
    pairs = zip(gradients, slices, strict=True)
    return np.stack([np.zeros_like(x) if g is None else g for g, x in pairs])


def nothing(v: Value) -> Any:
    """What a sum begins with that is to keep every bit: -0.0 + x is x, be it 0.0 or -0.0."""
    return v.array_in(np.full(v.size, -0.0, v.dtype))


# ---- copies --------------------------------------------------------------------------------------


def clone(program: Program) -> tuple[Program, dict[Value, Operand]]:
    """A copy of a program, which passes and names may change, and the copies of its Values."""
    by: dict[Value, Operand] = {v: copy.copy(v) for v in program.values}
    steps = [clone_step(step, by) for step in program.steps]
    new = Program([by[v] for v in program.inputs], [], steps)
    new.outputs = [replace(x, by) for x in program.outputs]
    new.seeds = [by[v] for v in program.seeds]
    new.gradients = [replace(x, by) for x in program.gradients]
    new.backward_at = program.backward_at
    return new, by


def clone_step(step: Step, by: dict[Value, Operand]) -> Step:
    """A copy of a step, of other Values."""
    new = copy.copy(step)
    new.operands = replace(step.operands, by)
    new.out = replace(step.out, by)
    new.outs = tuple(values_in(new.out))
    return new


class ScanStep(Step):
    """The step of a loop, or of its backward: then ``call`` is a part of that.

    ``places``: of which operands of the loop it gives the gradients.
    """

    __slots__ = ("backward", "loop", "places")

    def __init__(
        self,
        loop: Loop,
        function: Function,
        operands: tuple[Operand, ...],
        out: Any,
        call: Any = None,
        backward: Backward | None = None,
    ) -> None:
        super().__init__(function, operands, {}, out, call)
        self.loop = loop
        self.backward = backward
        self.places: list[int] = []

    def __repr__(self) -> str:
        sweep = self.loop.sweep if self.backward is None else self.backward.sweep
        lines = [f"{super().__repr__()}; {self.loop.count} times:"]
        # the turns in the middle are the usual ones
        lines += sweep.programs[len(sweep.programs) // 2].half(self.derivative)
        return "\n    ".join(lines)
