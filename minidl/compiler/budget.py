"""Which calls are checked: often at first, then now and then, at random.

What a check is, is in checks.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

EARLY = (1, 2, 4, 8, 16, 32, 64, 128)  # calls between the first checks
BETWEEN = (300, 700)  # and between later ones: a check takes up to ten calls, so 2% of the time


def gaps() -> Iterator[int]:
    """How many calls there are between checks: the same for each program, and on each rank."""
    yield from EARLY
    generator = random.Random(0)
    while True:
        yield generator.randint(*BETWEEN)
