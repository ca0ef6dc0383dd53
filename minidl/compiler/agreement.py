"""Whether two results agree: in every bit, or as closely as rounding lets another order of sums.

What is compared, and when, is in checks.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.variable import Variable
from minidl.compiler.forms import NUMBERS, parts_of

Outcome: TypeAlias = dict[str, Any]  # what a call gave and left, by what it is called in a warning

# How far C may be from NumPy, to the largest of an array, by the bytes of its numbers.
BOUNDS = {4: 2e-4, 8: 1e-9}
# Of so many elements one may hang on a comparison of numbers that are nearly equal.
FEW = 100
# What rounding leaves of a difference of nearly equal numbers, in units of the last place of what
# the call was given: a loss and its gradients at the end of a training are such differences.
_CANCELLED = 64
_SMALL = 4096  # elements whose bytes are compared first


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same: forms, types, and every bit of every array, but those of NaN."""
    return _same(a, b, _equal)


def alike(a: Any, b: Any, least: float = 0.0, given: float = 0.0) -> bool:
    """Whether two results are the same but for rounding: by the largest of each array.

    Where that is below ``least``, by that; ``given`` as in ``more_than_rounding``.
    """
    return _same(a, b, lambda x, y: _close(x, y, least, given))


def bits_differ(program: Outcome, eager: Outcome, given: float) -> str | None:
    """The first of the things that a call gave and left that is not the same, or None.

    Whatever the largest number is that it was ``given``.
    """
    for what in {**eager, **program}:
        if not same(program.get(what), eager.get(what)):
            return what
    return None


def more_than_rounding(program: Outcome, eager: Outcome, given: float) -> str | None:
    """The first of the things that a call gave and left that differs by more than rounding.

    Nothing is measured more closely than ``given``, the largest number that the call was given, lets
    it be. Gradients, and states of optimizers, are measured by the largest of all of them: one that is 0
    but for rounding is anything beside itself. What such a one moved is left out: by Adam, a step
    of full length.
    """
    largest = {kind: _largest(eager, kind) for kind in (_GRADIENT, _OF_INPUT, _STATE)}
    for what in {**eager, **program}:
        value = eager.get(what)
        if what.startswith("random generator") and not same(program.get(what), value):
            return what
        kind = next((kind for kind in largest if what.startswith(kind)), "")
        if what.startswith(_VALUE):
            g = eager.get(_GRADIENT + what.removeprefix(_VALUE))
            if g is not None and _size(g) <= _tolerance(g, largest[_GRADIENT], given):
                continue
        if not alike(program.get(what), value, largest.get(kind, 0.0), given):
            return what
    return None


_VALUE = "the value of "
_GRADIENT = "the gradient of "
_OF_INPUT = "gradient "
_STATE = "the state of optimizer"


def _largest(outcome: Outcome, kind: str) -> float:
    return max([_size(x) for what, x in outcome.items() if what.startswith(kind)], default=0.0)


def size_of(inputs: Iterable[Any]) -> float:
    """The largest finite number among what a call is given."""
    return max([_size(getattr(x, "_raw", x)) for x in inputs], default=0.0)


def _tolerance(x: Any, largest: float, given: float) -> float:
    """How far a number of an array may be off."""
    if x.dtype.kind != "f":
        return 0.0
    return max(_bound(x) * largest, _CANCELLED * float(np.finfo(x.dtype).eps) * given)


def _size(x: Any) -> float:
    """The largest finite number of an array."""
    if not isinstance(x, np.ndarray | np.generic) or x.dtype.kind != "f":
        return 0.0
    return float(np.abs(np.where(np.isfinite(x), x, 0)).max(initial=0))


def _bound(x: Any) -> float:
    return BOUNDS.get(x.itemsize, 0.0)


def _same(a: Any, b: Any, arrays: Any) -> bool:
    """Whether two results have the same form, and all ``arrays`` in them agree."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Variable):
        if a.requires_grad != b.requires_grad:
            return False
        return _same(np.asarray(a._raw), np.asarray(b._raw), arrays)
    if isinstance(a, np.ndarray | np.generic):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(arrays(np.asarray(a), np.asarray(b)))
    mine = parts_of(a)
    its = parts_of(b)
    if mine is None or its is None:
        return a is b or (isinstance(a, NUMBERS) and repr(a) == repr(b))
    (kind, parts), (other_kind, others) = mine, its
    if kind != other_kind or len(parts) != len(others):
        return False
    return all(_same(x, y, arrays) for x, y in zip(parts, others))


def _equal(a: Any, b: Any) -> bool:
    if a.size < _SMALL and a.tobytes() == b.tobytes():
        return True
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    same_sign = np.signbit(a) == np.signbit(b)
    return bool((_nan_or_equal(a, b) & (same_sign | np.isnan(a))).all())


def _close(a: Any, b: Any, least: float, given: float) -> bool:
    if a.dtype.kind != "f":
        agree = a == b
    else:
        tolerance = _tolerance(a, max(_size(b), least), given)
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= tolerance
        agree = near | _nan_or_equal(a, b)
    return int(a.size - agree.sum()) <= int(a.size) // FEW


def _nan_or_equal(a: Any, b: Any) -> Any:
    return (a == b) | (np.isnan(a) & np.isnan(b))
