"""minidl's own random generator: what initial weights, dropout and shuffling draw from by default.

NumPy's global state is never read or changed.
"""

from __future__ import annotations

import numpy as np

from minidl.common.checks import count

_generator: np.random.Generator | None = (
    None  # made at first use: numpy.random is a third of NumPy's import time
)


def seed(value: int) -> None:
    """Start the default generator anew from a non-negative integer, so that what follows repeats
    exactly.

    Raises TypeError for what is no int, ValueError for a negative one.

    >>> seed(0)
    >>> round(generator().random(), 6)
    0.636962
    """
    global _generator
    _generator = np.random.default_rng(count("seed", value, least=0))


def generator() -> np.random.Generator:
    """The generator that is drawn from where none is given."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator
