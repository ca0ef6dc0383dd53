"""The check of a number that a user gives to an optimizer, a hook or a schedule.

What the number means is said where it is used.
"""

import math
from typing import Any

import numpy as np


def number(what: str, value: Any, *, above: float = -math.inf, least: float = 0, below: float = math.inf) -> float:
    """The value as a float, if it is a finite number with ``value > above, value >= least, value < below``."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{what} must be a number, got {value!r}")
    if not (above < value < below and value >= least and math.isfinite(value)):
        bounds = f"above {above:g}" if above >= least else f"at least {least:g}"
        bounds += f" and below {below:g}" if below < math.inf else ""
        raise ValueError(f"{what} must be a finite number {bounds}, got {value}")
    return float(value)


def count(what: str, value: Any) -> int:
    """The value as an int, if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, got {value}")
    return int(value)
