"""Errors of a call: of the kind that the function raised, with the function's name in front.

What is wrong is said where it is noticed: in the functions, or by NumPy.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_OBJECTS = np.dtype(object)

# A subclass stands before its base. Others may take other arguments, and stay as they are.
_KINDS = (
    np.exceptions.AxisError,
    np.linalg.LinAlgError,
    IndexError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)


def explained(name: str, arity: int | None, args: Sequence[Any], error: Exception) -> Exception:
    """The error of a forward, with what it was given."""
    got = ", ".join(map(_form, args))
    are_arrays = all(getattr(a, "dtype", _OBJECTS) != _OBJECTS for a in args[:arity])
    if isinstance(error, AttributeError | KeyError) and not are_arrays:
        return TypeError(f"{name}: want arrays of numbers (got {got})")
    return with_name(name, error, f" (got {got})")


def _form(value: Any) -> str:
    """A value in an error: of an array the dtype and the shape."""
    return f"{value.dtype} {value.shape}" if hasattr(value, "dtype") else repr(value)[:40]


def with_name(name: str, error: Exception, got: str = "") -> Exception:
    """The error, but that it begins with the name of the function, and says what it ``got``."""
    if not got and str(error).startswith((f"{name}:", f"{name}(")):
        return error
    for kind in _KINDS:
        if isinstance(error, kind):
            return kind(f"{name}: {error}{got}")
    error.add_note(f"in {name}{got}")
    return error
