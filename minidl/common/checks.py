"""The checks of a number that a user gives. What the number means is said where it is used."""

import math
from numbers import Integral, Real
from typing import Any


def number(what: str, value: Any, *, positive: bool = False, below: float = math.inf) -> float:
    """The value as a float, if it is a finite number of at least 0, or ``positive``, and ``below``
    a bound.
    """
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
