"""What elementwise functions that are no single ufunc of NumPy's are in C."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import identity
from minidl.compiler.native.arrays import Array, NotInC, new_array
from minidl.compiler.native.expressions import AT_LEAST, AT_MOST, UFUNCS, Expression, call
from minidl.compiler.native.lowering import Lowering, lowers
from minidl.compiler.program import Step
from minidl.compiler.recorder import constant
from minidl.functions import activation, elementwise, masks


@lowers(identity, constant)
def _same(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x: Array = operands[0]
    return x


@lowers(elementwise._to_floating, elementwise._to_other)
def _astype(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x = operands[0]
    if x.dtype == step.out.dtype:
        return low.copy(x)
    if step.out.dtype.kind == "b":
        return low.text("{0} != 0", [x], step.out.shape, step.out.dtype)
    return low.map(Expression("{0}"), [x], step.out)


@lowers(F.relu)
def _relu(low: Lowering, step: Step, operands: list[Any]) -> Array:
    return low.map(AT_LEAST, [operands[0], 0], step.out)


@lowers(F.sigmoid)
def _sigmoid(low: Lowering, step: Step, operands: list[Any]) -> Array:
    return low.map(call("sigmoid"), operands, step.out)


@lowers(elementwise._where)
def _where(low: Lowering, step: Step, operands: list[Any]) -> Array:
    condition, x, y = operands
    if isinstance(condition, Array) and condition.dtype.kind != "b":
        condition = low.text("{0} != 0", [condition], condition.shape, np.dtype(bool))
    return low.map(Expression("{0} ? {1} : {2}"), [condition, x, y], step.out)


@lowers(masks.masked)
def _masked(low: Lowering, step: Step, operands: list[Any]) -> Array:
    return low.map(Expression("{1} ? {0} : 0"), operands, step.out)


@lowers(masks._recorded_where_positive)
def _where_positive(low: Lowering, step: Step, operands: list[Any]) -> Array:
    return low.map(Expression("{1} > 0 ? {0} : {1} != {1} ? {1} : 0"), operands, step.out)


@lowers(activation.mask_fill)
def _mask_fill(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, mask, value = operands
    return low.map(Expression("{1} ? {2} : {0}"), [x, mask, _number(value)], step.out)


@lowers(elementwise._clip)
def _clip(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, least, most = operands
    if least is not None:
        x = low.map(_extreme(np.maximum, least), [x, least], step.out)
    return x if most is None else low.map(_extreme(np.minimum, most), [x, most], step.out)


@lowers(F.maximum, F.minimum)
def _larger(low: Lowering, step: Step, operands: list[Any]) -> Array:
    a, b = operands
    a, b = (b, a) if isinstance(b, Array) else (a, b)
    return low.map(_extreme(step.function.forward, b), [a, b], step.out)


def _extreme(ufunc: np.ufunc, limit: Any) -> Expression:
    """The larger or smaller of two, of which the second may be a number."""
    if isinstance(limit, Array | np.ndarray) or limit != limit:
        return UFUNCS[ufunc]
    return AT_LEAST if ufunc is np.maximum else AT_MOST


_POWERS = {
    0: "1",
    1: "{0}",
    2: "{0} * {0}",
    3: "{0} * {0} * {0}",
    4: "({0} * {0}) * ({0} * {0})",
    -1: "1 / {0}",
    -2: "1 / ({0} * {0})",
}


@lowers(F.power)
def _power(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, p = operands
    if not isinstance(p, Array) and _number(p) in _POWERS:
        return low.map(Expression(_POWERS[_number(p)]), [x], step.out)
    if not isinstance(p, Array) and _number(p) == 0.5:
        return low.map(UFUNCS[np.sqrt], [x], step.out)
    return low.map(call("power", 2), [x, p], step.out)


def _number(x: Any) -> Any:
    """A number of Python's."""
    if isinstance(x, Array):
        raise NotInC("a setting that is computed")
    return x.item() if isinstance(x, np.ndarray | np.generic) else x


@lowers(F.erf, F.erfc)
def _error_function(low: Lowering, step: Step, operands: list[Any]) -> Array:
    return low.map(call("erf" if step.function is F.erf else "erfc"), operands, step.out)


@lowers(F.invert)
def _invert(low: Lowering, step: Step, operands: list[Any]) -> Array:
    text = "{0} == 0" if step.out.dtype.kind == "b" else "-1 - {0}"
    return low.map(Expression(text, "bits"), operands, step.out)


@lowers(F.zeros_like, F.ones_like)
def _filled(low: Lowering, step: Step, operands: list[Any]) -> Array:
    number = 1 if step.function is F.ones_like else 0
    return low.fill(new_array(step.out.shape, step.out.dtype), number)
