"""Warnings that point to the user's line. What is warned of is said where it is seen."""

from __future__ import annotations

import os.path
import sys
import warnings
from types import FrameType

_HOME = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, naming the nearest caller that is no file of minidl as the place.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     warn_user("look here")
    >>> str(seen[0].message), seen[0].filename.startswith("<doctest")
    ('look here', True)
    """
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HOME):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
