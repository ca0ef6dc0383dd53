"""Passes: each makes a program shorter or simpler and changes no bit of what it computes.

The order they run in is at the end; what a step becomes in NumPy is in emit.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import identity
from minidl.compiler.program import Program, Step, Value, replaced, values_in
from minidl.compiler.tracer import constant
from minidl.functions import elementwise

Pass = Callable[[Program], Program]
# Functions that give their first argument, if its shape and dtype are those of the result.
_MOVES = (
    F.reshape,
    F.broadcast_to,
    F.positive,
    elementwise._to_floating,
    elementwise._to_other,
    identity,
    constant,
)


def _rewritten(program: Program, rewrite: Callable[[Step], Any]) -> Program:
    """The program without some steps: ``rewrite`` gives what replaces a result, or the step."""
    by: dict[Value, Any] = {}
    steps: list[Step] = []
    backward_at = 0
    for i, step in enumerate(program.steps):
        if i == program.backward_at:
            backward_at = len(steps)
        step.operands = replaced(step.operands, by)
        found = rewrite(step)
        if found is step:
            steps.append(step)
        else:
            by.update(zip(step.outs, found if type(found) is tuple else (found,)))
    program.backward_at = backward_at if program.backward_at < len(program.steps) else len(steps)
    program.steps = steps
    program.outputs = list(replaced(tuple(program.outputs), by))
    program.gradients = list(replaced(tuple(program.gradients), by))
    return program


def without_dead_code(program: Program) -> Program:
    """Leave out the steps whose results nobody uses."""
    used = {v for root in (*program.outputs, *program.gradients) for v in values_in(root)}
    alive = []
    for i in reversed(range(len(program.steps))):
        step = program.steps[i]
        if any(v in used for v in step.outs):
            used.update(values_in(step.operands))
            alive.append(i)
    program.backward_at = sum(i < program.backward_at for i in alive)
    program.steps = [program.steps[i] for i in reversed(alive)]
    return program


def without_duplicates(program: Program) -> Program:
    """Compute equal steps once."""
    seen: dict[Any, Step] = {}

    def rewrite(step: Step) -> Any:
        settings = tuple((k, _key(v)) for k, v in step.settings.items())
        key = step.function, tuple(map(_key, step.operands)), settings
        if step.derivative:
            return step
        first = seen.setdefault(key, step)
        return first.out if first is not step else step

    return _rewritten(program, rewrite)


def _key(operand: Any) -> Any:
    if isinstance(operand, Value):
        return operand
    if type(operand) is tuple:
        return tuple(map(_key, operand))
    if isinstance(operand, np.ndarray) or callable(operand):
        return id(operand)
    return type(operand), repr(operand)


def with_constants_folded(program: Program) -> Program:
    """Compute steps of nothing but numbers now."""

    def rewrite(step: Step) -> Any:
        if (
            type(step.out) is tuple
            or any(True for _ in values_in(step.operands))
            or step.out.shape != ()
        ):
            return step
        result = step.call(*step.operands, **step.settings)
        return result if isinstance(result, np.generic) else step

    return _rewritten(program, rewrite)


def tidied(program: Program) -> Program:
    """Leave out what changes no bit: factors of one, double negations, moves that move nothing."""
    made: dict[Value, Step] = {}

    def rewrite(step: Step) -> Any:
        for v in step.outs:
            made[v] = step
        x, *rest = step.operands or (None,)
        out = step.out
        if not isinstance(x, Value) and not (rest and isinstance(rest[0], Value)):
            return step
        if step.applies(F.multiply):
            for one, other in ((x, rest[0]), (rest[0], x)):
                if not isinstance(one, (Value, np.ndarray)) and one == 1 and _same_form(other, out):
                    return other
        if (
            step.applies(F.divide, F.power)
            and not isinstance(rest[0], (Value, np.ndarray))
            and rest[0] == 1
        ):
            return x if _same_form(x, out) else step
        if step.applies(F.negative) and x in made and made[x].applies(F.negative):
            return made[x].operands[0]
        if step.applies(*_MOVES):
            return x if _same_form(x, out) else step
        if _turns(step) and x in made and _turns(made[x]):
            return made[x].operands[0]
        return step

    return _rewritten(program, rewrite)


def without_broadcasts(program: Program) -> Program:
    """Leave broadcasting to the next elementwise function, if its other operand has full shape."""
    made = {v: step for step in program.steps for v in step.outs}

    def rewrite(step: Step) -> Any:
        if step.applies(F.add, F.subtract, F.multiply, F.divide) and isinstance(step.out, Value):
            operands = list(step.operands)
            for i in (0, 1):
                v, other = operands[i], operands[1 - i]
                source = made.get(v) if isinstance(v, Value) else None
                full = isinstance(other, Value) and other.shape == step.out.shape
                if source is not None and source.applies(F.broadcast_to) and full:
                    operands[i] = source.operands[0]
            step.operands = tuple(operands)
        return step

    return _rewritten(program, rewrite)


def _turns(step: Step) -> bool:
    """Whether a step is the transpose of a matrix."""
    if not isinstance(step.out, Value) or step.out.shape is None or len(step.out.shape) != 2:
        return False
    rest = step.operands[1:]
    if step.applies(F.transpose):
        return rest in ((), (None,))
    return step.applies(F.swapaxes) and rest in ((-1, -2), (0, 1))


def _same_form(x: Any, out: Value) -> bool:
    return isinstance(x, Value) and x.shape == out.shape and x.dtype == out.dtype


PASSES: tuple[Pass, ...] = (
    without_dead_code,
    without_duplicates,
    with_constants_folded,
    without_broadcasts,
    tidied,
    without_duplicates,
    without_dead_code,
)


def optimized(program: Program) -> Program:
    """The program after all passes."""
    for step in PASSES:
        program = step(program)
    return program
