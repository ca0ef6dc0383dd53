"""Passes: each makes a program shorter or simpler and changes no bit of what it computes.

The order they run in is at the end; what a step becomes in NumPy is in printer.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from minidl import functions as F
from minidl.autograd.function import identity
from minidl.compiler.program import Operand, Program, Step, Value, replace, values_in
from minidl.compiler.recorder import constant
from minidl.functions import elementwise

Pass: TypeAlias = Callable[[Program], Program]
# It gives the step itself, or what replaces its result, or a tuple that replaces its results.
Rewrite: TypeAlias = Callable[[Step], Any]

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


def _rewrite(program: Program, rewrite: Rewrite) -> Program:
    """The program with each step as it is, or with something else in place of its results."""
    by: dict[Value, Operand] = {}
    steps: list[Step] = []
    backward_at = 0
    for i, step in enumerate(program.steps):
        if i == program.backward_at:
            backward_at = len(steps)
        step.operands = tuple([replace(x, by) for x in step.operands])
        other = rewrite(step)
        if other is step:
            steps.append(step)
        elif len(step.outs) == 1:
            by[step.outs[0]] = other
        else:
            by.update(zip(step.outs, other, strict=True))
    program.backward_at = backward_at if program.backward_steps else len(steps)
    program.steps = steps
    program.outputs = [replace(x, by) for x in program.outputs]
    program.gradients = [replace(x, by) for x in program.gradients]
    return program


def without_dead_code(program: Program) -> Program:
    """Leave out the steps whose results nobody uses."""
    used = set(program.results)
    alive: list[int] = []
    for i in reversed(range(len(program.steps))):
        step = program.steps[i]
        if step.is_effect or not used.isdisjoint(step.outs):
            used.update(values_in(step.operands))
            alive.append(i)
    program.backward_at = sum(i < program.backward_at for i in alive)
    program.steps = [program.steps[i] for i in reversed(alive)]
    return program


def without_duplicates(program: Program) -> Program:
    """Compute equal steps once."""
    first: dict[Any, Step] = {}

    def rewrite(step: Step) -> Any:
        if step.derivative or step.is_effect:
            return step
        settings = tuple([(name, _key(value)) for name, value in step.settings.items()])
        key = (step.function, _key(step.operands), settings)
        same = first.setdefault(key, step)
        if same is step:
            return step
        return same.outs if len(same.outs) > 1 else same.outs[0]

    return _rewrite(program, rewrite)


def _key(operand: Operand) -> Any:
    """What is equal for operands that are the same; -0.0 is not 0.0, nor 1.0 the integer."""
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
        if step.is_effect or step.single is None or any(values_in(step.operands)):
            return step
        if step.single.shape != ():
            return step
        result = step.call(*step.operands, **step.settings)
        return result if isinstance(result, np.generic) else step

    return _rewrite(program, rewrite)


def without_broadcasts(program: Program) -> Program:
    """Leave broadcasting to the next elementwise function, if its other operand has full shape."""
    broadcast = {
        v: s.operands[0] for s in program.steps for v in s.outs if s.applies(F.broadcast_to)
    }

    def narrow(x: Operand, other: Operand, out: Value) -> Operand:
        is_full = isinstance(other, Value) and other.shape == out.shape
        return broadcast.get(x, x) if is_full and isinstance(x, Value) else x

    def rewrite(step: Step) -> Any:
        out = step.single
        if out is not None and step.applies(F.add, F.subtract, F.multiply, F.divide):
            a, b = step.operands
            a = narrow(a, b, out)
            step.operands = (a, narrow(b, a, out))
        return step

    return _rewrite(program, rewrite)


def tidied(program: Program) -> Program:
    """Leave out what changes no bit: factors of one, double negations, moves that move nothing."""
    maker: dict[Value, Step] = {}
    writes = any(step.is_effect for step in program.steps)

    def rewrite(step: Step) -> Any:
        maker.update(dict.fromkeys(step.outs, step))
        out = step.single
        if out is None or not any(values_in(step.operands)):
            return step
        x = step.operands[0]
        before = maker.get(x) if isinstance(x, Value) else None
        if before is not None and _undo_each_other(before, step):
            other = before.operands[0]
        else:
            other = _unchanged_operand(step)
        if not out.same_form(other):
            return step
        may_change = writes and not step.is_view and not lasts(other)
        return step if may_change else other

    def lasts(x: Value) -> bool:
        """Whether a value is none that an update may write over, as arrays of parameters are."""
        if x.shape == ():
            return True
        return x in maker and maker[x].fresh

    return _rewrite(program, rewrite)


def _unchanged_operand(step: Step) -> Operand:
    """The operand that a step gives, if its form stays; else None."""
    x, *rest = step.operands
    if step.applies(*_MOVES):
        return x
    if step.applies(F.multiply, F.divide, F.power) and _is_one(rest[0]):
        return x
    return rest[0] if step.applies(F.multiply) and _is_one(x) else None


def _is_one(x: Operand) -> bool:
    return not isinstance(x, Value | np.ndarray) and bool(x == 1)


def _undo_each_other(before: Step, step: Step) -> bool:
    if step.applies(F.negative):
        return before.applies(F.negative)
    return is_transpose(step) and is_transpose(before)


def is_transpose(step: Step) -> bool:
    """Whether a step turns a matrix."""
    out = step.single
    if out is None or len(out.shape) != 2:
        return False
    rest = step.operands[1:]
    if step.applies(F.transpose):
        return rest in ((), (None,))
    return step.applies(F.swapaxes) and rest in ((-1, -2), (0, 1))


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
    """The program after all passes, of steps of its own: a second backward needs those as noted."""
    program.steps = list(map(copy.copy, program.steps))
    for change in PASSES:
        program = change(program)
    return program
