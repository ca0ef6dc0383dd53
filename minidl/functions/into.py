"""Forwards written into an array that is given, ``out``: what compiled programs call.

Each gives the same bits as the function that names it as its Operation. Nothing here is checked:
a program is of one form.
"""

from typing import Any

import numpy as np

# What the operator ** does for these exponents.
_FAST_POWERS: dict[float, np.ufunc] = {
    2: np.square,
    0.5: np.sqrt,
    -1: np.reciprocal,
    1: np.positive,
}


def power_into(out: Any, x: Any, p: Any) -> None:
    """``x ** p``."""
    if type(p) not in (int, float):
        np.copyto(out, x**p)
    elif p in _FAST_POWERS:
        _FAST_POWERS[p](x, out)
    else:
        np.power(x, p, out)


def relu_into(out: Any, x: Any) -> None:
    """``relu(x)``."""
    np.maximum(x, 0, out=out)


def sigmoid_into(out: Any, x: Any) -> None:
    """``sigmoid(x)``."""
    np.negative(x, out)
    with np.errstate(over="ignore"):
        np.exp(out, out)
        np.add(out, 1, out)
        np.divide(1, out, out)


def matmul_into(out: Any, a: Any, b: Any) -> None:
    """``a @ b``."""
    if a.ndim < 3 and b.ndim < 3:
        np.dot(a, b, out)
    else:
        np.matmul(a, b, out)


def linear_into(out: Any, x: Any, w: Any, b: Any = None) -> None:
    """``x @ w + b``."""
    if x.ndim < 3:
        np.dot(x, w, out)
    else:
        rows = out.size // out.shape[-1]
        np.dot(x.reshape(rows, x.shape[-1]), w, out.reshape(rows, out.shape[-1]))
    if b is not None:
        np.add(out, b, out)


def sum_into(out: Any, a: Any, axis: Any = None, *, keepdims: bool = False) -> None:
    """The sum over axes; of float16 in float32."""
    if a.dtype == np.float16:
        np.copyto(out, a.sum(axis, np.float32, keepdims=keepdims))
    else:
        np.add.reduce(a, axis, None, out, keepdims)  # type: ignore[call-overload]  # it takes both


def concatenate_into(out: Any, *arrays: Any, axis: int = 0) -> None:
    """The arrays one after the other."""
    np.concatenate(arrays, axis, out)
