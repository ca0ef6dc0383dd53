"""What elementwise functions are in C: the text of each, by the ufunc or the Function itself.

How texts become loops is in c_printer.py; mathematical functions are printed by mathfunctions.py.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np


class Expression(NamedTuple):
    """The C of one elementwise function: ``{0}``, ``{1}`` are operands, ``#`` is f32 or f64, ``~`` f or nothing.

    ``kind``: "same", operands have the dtype of the result; "compare", they have their common one,
    the result is a bool; "floats", as "same", but there is no form for integers; "bits", as "same",
    for bools, too.
    """

    text: str
    kind: str = "same"


def call(name: str, arguments: int = 1) -> Expression:
    """A call of a function of mathfunctions.py."""
    operands = ", ".join([f"{{{i}}}" for i in range(arguments)])
    return Expression(f"{name}_#({operands})", "floats")


# Where one is NaN the result is NaN. Beside a number that is none, one comparison does: then compilers
# make vectors of long loops, too, which for "or" they do not always.
_LARGER = "!({0} <= {1}) && {1} == {1} ? {0} : {1}"
_SMALLER = "!({0} >= {1}) && {1} == {1} ? {0} : {1}"
AT_LEAST = Expression("!({0} <= {1}) ? {0} : {1}")
AT_MOST = Expression("!({0} >= {1}) ? {0} : {1}")

# fmt: off
UFUNCS: dict[np.ufunc, Expression] = {
    np.add:           Expression("{0} + {1}"),
    np.subtract:      Expression("{0} - {1}"),
    np.multiply:      Expression("{0} * {1}"),
    np.divide:        Expression("{0} / {1}", "floats"),
    np.negative:      Expression("-{0}"),
    np.positive:      Expression("{0}"),
    np.conjugate:     Expression("{0}"),
    np.square:        Expression("{0} * {0}"),
    np.reciprocal:    Expression("1 / {0}", "floats"),
    np.maximum:       Expression(_LARGER),
    np.minimum:       Expression(_SMALLER),
    np.fmax:          Expression("{0} > {1} || {1} != {1} ? {0} : {1}"),
    np.fmin:          Expression("{0} < {1} || {1} != {1} ? {0} : {1}"),
    np.sign:          Expression("{0} > 0 ? 1 : {0} < 0 ? -1 : {0}"),
    np.absolute:      Expression("{0} < 0 ? -{0} : {0} == 0 ? 0 : {0}"),
    np.fabs:          Expression("{0} < 0 ? -{0} : {0} == 0 ? 0 : {0}", "floats"),
    np.heaviside:     Expression("{0} != {0} ? {0} : {0} < 0 ? 0 : {0} > 0 ? 1 : {1}", "floats"),
    np.equal:         Expression("{0} == {1}", "compare"),
    np.not_equal:     Expression("{0} != {1}", "compare"),
    np.less:          Expression("{0} < {1}", "compare"),
    np.less_equal:    Expression("{0} <= {1}", "compare"),
    np.greater:       Expression("{0} > {1}", "compare"),
    np.greater_equal: Expression("{0} >= {1}", "compare"),
    np.bitwise_and:   Expression("{0} & {1}", "bits"),
    np.bitwise_or:    Expression("{0} | {1}", "bits"),
    np.bitwise_xor:   Expression("{0} ^ {1}", "bits"),
    np.logical_and:   Expression("{0} != 0 && {1} != 0", "compare"),
    np.logical_or:    Expression("{0} != 0 || {1} != 0", "compare"),
    np.logical_xor:   Expression("({0} != 0) != ({1} != 0)", "compare"),
    np.bitwise_and:   Expression("{0} & {1}", "compare"),
    np.bitwise_or:    Expression("{0} | {1}", "compare"),
    np.bitwise_xor:   Expression("{0} ^ {1}", "compare"),
    np.logical_not:   Expression("{0} == 0", "compare"),
    np.isnan:         Expression("{0} != {0}", "compare"),
    np.isfinite:      Expression("{0} - {0} == 0", "compare"),
    np.isinf:         Expression("{0} == {0} && {0} - {0} != 0", "compare"),
    np.deg2rad:       Expression("{0} * 0.017453292519943295", "floats"),
    np.radians:       Expression("{0} * 0.017453292519943295", "floats"),
    np.rad2deg:       Expression("{0} * 57.29577951308232", "floats"),
    np.degrees:       Expression("{0} * 57.29577951308232", "floats"),
}
# fmt: on

_ABSOLUTE = UFUNCS[np.absolute].text
_OF_UNSIGNED = {_ABSOLUTE: "{0}", UFUNCS[np.sign].text: "{0} > 0"}  # which compilers want to hear
_GOING_ROUND = re.compile(r"-?\{0\}|\(?\{0\}( [-+*] [()]?\{[01]\}\)?)+")  # sums and products


def text_of(expression: Expression, dtype: np.dtype[Any]) -> str:
    """The C of an expression; of integers unsigned, as NumPy's go round and C's signed ones do not.

    >>> text_of(UFUNCS[np.add], np.dtype(np.int32))
    '(uint32_t){0} + (uint32_t){1}'
    """
    text = expression.text
    if dtype.kind not in "iu":
        return text
    if dtype.kind == "u" and text in _OF_UNSIGNED:
        text = _OF_UNSIGNED[text]
    elif text == _ABSOLUTE:
        text = "{0} < 0 ? -UNSIGNED{0} : UNSIGNED{0}"
    elif _GOING_ROUND.fullmatch(text):
        text = text.replace("{", "UNSIGNED{")
    return text.replace("UNSIGNED", f"({unsigned(dtype)})")


def unsigned(dtype: np.dtype[Any]) -> str:
    """The type in which integers of a dtype are added up."""
    return "uint64_t" if dtype.itemsize == 8 else "uint32_t"


_OF_ONE = [
    *(np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.cbrt, np.tanh),
    *(np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh),
    *(np.arcsinh, np.arccosh, np.arctanh),
]
_OF_TWO = [np.arctan2, np.hypot, np.fmod, np.logaddexp]
_OF_C = [np.sqrt, np.floor, np.ceil, np.rint, np.trunc]  # mostly one instruction
UFUNCS.update({ufunc: call(ufunc.__name__) for ufunc in _OF_ONE})
UFUNCS.update({ufunc: call(ufunc.__name__, 2) for ufunc in _OF_TWO})
UFUNCS.update({ufunc: Expression(f"{ufunc.__name__}~({{0}})", "floats") for ufunc in _OF_C})
UFUNCS[np.copysign] = Expression("copysign~({0}, {1})", "floats")
