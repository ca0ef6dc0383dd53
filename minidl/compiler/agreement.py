"""Whether two results agree: in every bit, or as closely as rounding lets another order of sums.

What is compared, and when, is in checks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.compiler.forms import NUMBERS, parts_of

# How far C may be from NumPy, to the largest of an array, by the bytes of its numbers.
BOUNDS = {4: 2e-4, 8: 1e-9}
# Of so many elements one may hang on a comparison of numbers that are nearly equal.
FEW = 100
_SMALL = 4096  # elements whose bytes are compared first


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same: forms, types, and every bit of every array, but those of NaN."""
    return _same(a, b, _equal)


def alike(a: Any, b: Any) -> bool:
    """Whether two results are the same but for rounding."""
    return _same(a, b, _close)


def _same(a: Any, b: Any, arrays: Any) -> bool:
    if isinstance(a, Variable) or isinstance(b, Variable):
        if type(a) is not type(b) or a.requires_grad != b.requires_grad:
            return False
        return _of_one_form(np.asarray(a._raw), np.asarray(b._raw), arrays)
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return _of_one_form(np.asarray(a), np.asarray(b), arrays)
    mine = parts_of(a)
    its = parts_of(b)
    if mine is None or its is None:
        return a is b or (isinstance(a, NUMBERS) and repr(a) == repr(b))
    if mine[0] != its[0] or len(mine[1]) != len(its[1]):
        return False
    return all(_same(x, y, arrays) for x, y in zip(mine[1], its[1]))


def _of_one_form(a: Any, b: Any, arrays: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(arrays(a, b))


def _equal(a: Any, b: Any) -> bool:
    if a.size < _SMALL and a.tobytes() == b.tobytes():
        return True
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    equal = (a == b) & (np.signbit(a) == np.signbit(b))
    return bool((equal | (np.isnan(a) & np.isnan(b))).all())


def _close(a: Any, b: Any) -> bool:
    if a.dtype.kind != "f":
        different = int((a != b).sum())
    else:
        finite = np.isfinite(a) & np.isfinite(b)
        largest = np.abs(b[finite]).max(initial=0)
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= BOUNDS.get(a.itemsize, 0) * largest
        different = int((~(near | (a == b) | (np.isnan(a) & np.isnan(b)))).sum())
    return different <= int(a.size) // FEW
