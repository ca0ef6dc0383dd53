"""The user's line: the innermost caller outside minidl and the libraries beneath it, for messages.

Warnings that are about a line of the user's are given here, so that Python shows that line.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

_MINIDL = os.path.dirname(os.path.dirname(__file__)) + os.sep
_BENEATH = ("contextlib", "numpy", "scipy")
_NAMES = {"numpy": "np", "scipy": "scipy"}
# Parts of NumPy with names of their own.
_HOMES = ("linalg", "ma", "polynomial", "random", "testing")
_GRIDS = {"AxisConcatenator.__getitem__": "r_", "nd_grid.__getitem__": "mgrid"}


def users_line() -> str:
    """File and line of the innermost caller outside minidl, NumPy and SciPy."""
    frame = _users_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def warn_user(message: str) -> None:
    """Warn at the user's line; Python shows a warning once a line, unless told otherwise.

    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     warn_user("look here")
    >>> str(seen[0].message), seen[0].filename.startswith("<doctest")
    ('look here', True)
    """
    frame = _users_frame()
    warnings.warn_explicit(
        message,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
        source=None,
    )


def library_function() -> str | None:
    """The function of SciPy's or NumPy's that the user's line called, if it is written in Python:
    ``scipy.special.softmax``, ``np.full``.
    """
    frame: FrameType | None = sys._getframe(1)
    called = None
    while frame is not None and _is_library(frame):
        module, name = _function_of(frame)
        library, *parts = module.split(".")
        if library == "numpy" and parts[0] not in _HOMES:
            parts = []
        public = [part for part in parts if not part.startswith("_")]
        if library in _NAMES:
            called = ".".join([_NAMES[library], *public, _GRIDS.get(name, name)])
        frame = frame.f_back
    return called


def _function_of(frame: FrameType) -> tuple[str, str]:
    """Module and name of the function that runs there; of the one that it wraps, if it does."""
    wrapped = frame.f_locals.get("f")
    if frame.f_code.co_name == "wrapper" and callable(wrapped):  # SciPy's loop over a batch
        return wrapped.__module__, wrapped.__name__
    return frame.f_globals.get("__name__", ""), frame.f_code.co_qualname


def _users_frame() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_library(frame):
        frame = frame.f_back
    return frame


def _is_library(frame: FrameType) -> bool:
    if frame.f_code.co_filename.startswith(_MINIDL):
        return True
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _BENEATH
