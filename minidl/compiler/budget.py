"""Which calls are checked: often at first, then now and then, at random.

What a check is, is in checks.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

EARLY = (1, 3, 12, 48, 192)  # calls between the first checks
BETWEEN = (600, 1000)  # and between later ones: a check takes as long as 2 to 13 of most steps


def gaps() -> Iterator[int]:
    """How many calls there are between checks: the same for each program, whatever a clock says.

    So ranks that compute together check together.
    """
    yield from EARLY
    generator = random.Random(0)
    while True:
        yield generator.randint(*BETWEEN)
