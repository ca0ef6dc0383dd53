"""Numbers in C: exactly those that NumPy has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def literal(number: Any, dtype: Any) -> str:
    """A number of a dtype in C, exactly; what has a sign in parentheses."""
    dtype = np.dtype(dtype)
    value = np.asarray(number).astype(dtype)[()]
    if dtype.kind == "b":
        return str(int(value))
    if dtype.kind in "iu":
        if dtype == np.int64 and value == np.iinfo(np.int64).min:
            return "(-9223372036854775807 - 1)"
        text = f"{value}u" if dtype.kind == "u" else f"{value}"
        return f"({text})" if value < 0 else text
    if not math.isfinite(value):
        text = "NAN" if value != value else "INFINITY"
        return "(-INFINITY)" if value < 0 else text
    text = decimal(float(value), dtype)
    return f"({text})" if text.startswith("-") else text


def decimal(number: float, dtype: Any) -> str:
    """A finite number of a dtype in so many digits that it is read as the same."""
    text = f"{number:.9g}" if dtype == np.float32 else repr(number)
    if "." not in text and "e" not in text:
        text += ".0"
    return f"{text}f" if dtype == np.float32 else text
