"""Compiled functions: recorded once, replayed as straight-line NumPy.

The public name is ``minidl.compile``; nothing below this folder knows of it.
"""

from minidl.compiler.api import Compiled, compile
from minidl.compiler.program import Program

__all__ = ["Compiled", "Program", "compile"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
