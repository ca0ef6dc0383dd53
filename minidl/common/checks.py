"""Checks of what a user gives: numbers, and states of other objects.

What a number or a state means is said where it is used.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np


def number(what: str, value: Any, *, positive: bool = False, below: float = math.inf) -> float:
    """The value as a float, if it is finite, at least 0 (or ``positive``) and ``below`` a bound."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, got {value!r}")
    x = float(value)
    if not 0 <= x < below or (positive and x == 0):
        raise ValueError(f"{what} must be in {'(' if positive else '['}0, {below:g}), got {value}")
    return x


def count(what: str, value: Any, least: int = 1) -> int:
    """The value as an int, if it is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{what} must be an int, got {value!r}")
    n = int(value)
    if n < least:
        raise ValueError(f"{what} must be at least {least}, got {value}")
    return n


def differences(got: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    """A text for each key whose values differ, or that one of the two lacks.

    >>> differences({"a": 1, "b": 2}, {"a": 1, "c": 3})
    ['b: got 2, want none', 'c: got none, want 3']
    """
    texts = []
    for key in sorted({*got, *want}):
        a = got.get(key, "none")
        b = want.get(key, "none")
        if a != b:
            texts.append(f"{key}: got {a}, want {b}")
    return texts


def positive(what: str, value: Any) -> float:
    """A number above 0."""
    return number(what, value, positive=True)


def fraction(what: str, value: Any) -> float:
    """A number in [0, 1)."""
    return number(what, value, below=1)


def fractions(what: str, value: Any) -> tuple[float, float]:
    """Two numbers in [0, 1), in a tuple or list.

    >>> fractions("betas", [0.9, 0.999])
    (0.9, 0.999)
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{what} must be two numbers, got {value!r}")
    first, second = value
    return fraction(f"{what}[0]", first), fraction(f"{what}[1]", second)


def flag(what: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what}: want True or False, got {value!r}")
    return bool(value)


def has_state(value: Any) -> bool:
    """Whether an object saves and loads its state by itself."""
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
