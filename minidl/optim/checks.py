"""The check of a number that a user gives to an optimizer, a hook or a schedule.

What the number means is said where it is used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(
    what: str, value: Any, *, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> float:
    """The value as a float, if it is a finite number with ``value > above, value >= least, value < below``."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{what} must be a number, got {value!r}")
    if not (math.isfinite(value) and value > above and value >= least and value < below):
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"at least {least:g}"] * (least > -math.inf)
        bounds += [f"below {below:g}"] * (below < math.inf)
        raise ValueError(f"{what} must be a finite number {' and '.join(bounds)}, got {value}")
    return float(value)


def count(what: str, value: Any) -> int:
    """The value as an int, if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, got {value}")
    return int(value)
