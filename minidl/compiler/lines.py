"""How one step is written in Python: into an array that is there, or as an expression.

Which array that is, is planned in plan.py; the code around the steps is in printer.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import identity
from minidl.compiler.passes import is_transpose
from minidl.compiler.program import Operand, Program, Step, Value, values_in
from minidl.compiler.recorder import constant

_INFIX = {operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/"}
_PREFIX = {operator.neg: "-", operator.pos: ""}


class Names:
    """The namespace of the code: constants and functions get a name each.

    ``floats``: float64 numbers are Python's own, on which arithmetic is several times faster.
    """

    def __init__(self, floats: bool = False) -> None:
        self.floats = floats
        self.all: dict[str, Any] = {}
        self._of: dict[int, str] = {}

    def __call__(self, thing: Operand) -> str:
        if isinstance(thing, Value):
            return thing.name
        if type(thing) is tuple and any(values_in(thing)):
            return f"({listed(map(self, thing))})"
        if self.floats and type(thing) is np.float64:
            thing = float(thing)
        return repr(thing) if _is_written_out(thing) else self.name(thing)

    def name(self, thing: Any) -> str:
        """The name of an object of the namespace."""
        if id(thing) not in self._of:
            base = getattr(thing, "__name__", "k").strip("_")
            name = f"{base if base.isidentifier() else 'k'}_{len(self.all)}"
            self._of[id(thing)] = name
            self.all[name] = thing
        return self._of[id(thing)]


def listed(parts: Iterable[str]) -> str:
    """What stands in a tuple, be it of one."""
    return "".join([f"{part}, " for part in parts])


def _is_written_out(thing: Any) -> bool:
    """Whether a constant stands in the text as it is."""
    kind = type(thing)
    if kind is float:
        return bool(np.isfinite(thing))
    return thing is None or kind in (int, bool, str)


def _settings_of(step: Step, names: Names) -> list[str]:
    return [f"{name}={names(value)}" for name, value in step.settings.items()]


Arg = Callable[[Operand], str]


def can_write(step: Step) -> bool:
    """Whether a step can write its result into an array that is given."""
    out = step.single
    if step.derivative or out is None or out.shape == () or out.size == 0:
        return False
    operation = step.function.operation
    if operation.ufunc is not None:
        return not step.settings and out.dtype.kind in "fbiu"
    if operation.into is None or not out.floating:
        return False
    dtypes = [v.dtype for v in values_in(step.operands)]
    if not dtypes or dtypes[0] != out.dtype:
        return False
    return all(dtype in (out.dtype, np.bool_) for dtype in dtypes)


def write(step: Step, names: Names, out: str, arg: Arg | None = None) -> str:
    """The line that writes a step into ``out``; ``arg`` gives the names of operands here."""
    operation = step.function.operation
    operands = list(map(arg or names, step.operands))
    if operation.ufunc is None:
        given = [out, *operands, *_settings_of(step, names)]
        return f"{names.name(operation.into)}({', '.join(given)})"
    # NumPy deprecates out= by place for these two.
    by_name = "out=" if operation.ufunc in (np.maximum, np.minimum) else ""
    given = [*operands, by_name + out]
    return f"{names.name(operation.ufunc)}({', '.join(given)})"


def new_array(v: Value, names: Names) -> str:
    """The line that makes the array of a value that is given away."""
    empty = names.name(np.empty)
    dtype = names.name(v.dtype)
    turned = "" if v.axes is None else f".transpose({v.turn})"
    return f"{v} = {empty}({v.lengths!r}, {dtype}){turned}"


def expression(step: Step, names: Names) -> str:
    """A call that makes its own result; of numbers an operator."""
    operands = list(map(names, step.operands))
    short = _short(step, operands)
    if short is not None:
        return short
    given = [*operands, *_settings_of(step, names)]
    return f"{names.name(step.call)}({', '.join(given)})"


def _short(step: Step, operands: list[str]) -> str | None:
    """The step with operators, if it has some."""
    if step.derivative or step.settings or not operands:
        return None
    x = operands[0]
    if is_transpose(step) and step.operands[1:] in ((), (None,)):
        return f"{x}.T"
    if step.single is None or step.single.shape != ():
        return None
    forward = step.function.forward
    if forward in _INFIX:
        parts = [f"({part})" if part[0] == "-" else part for part in operands]
        return f" {_INFIX[forward]} ".join(parts)
    if forward in _PREFIX:
        return f"{_PREFIX[forward]}{x}"
    if step.function is F.power and not isinstance(step.operands[1], Value):
        return f"{x} ** {operands[1]}"
    return x if step.function in (identity, constant) else None


def as_floats(program: Program) -> bool:
    """Whether all but effects at the end is arithmetic of float64 numbers.

    Python's own are much faster.
    """
    if any(v.shape != () or v.dtype != np.float64 for v in program.values):
        return False
    effects = [step.is_effect for step in program.steps]
    arithmetic = program.steps[: effects.count(False)]  # as effects come last
    return effects == sorted(effects) and all(map(_is_arithmetic, arithmetic))


def _is_arithmetic(step: Step) -> bool:
    if step.derivative or step.settings:
        return False
    if step.function is F.power:
        return isinstance(step.operands[1], int)
    function = step.function
    if function in (identity, constant):
        return True
    return function.forward in _INFIX or function.forward in _PREFIX
