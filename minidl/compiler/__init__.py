"""Compiled functions: a call is recorded, becomes a list of operations, and is printed as NumPy.

The public name is ``minidl.compile``; nothing below this folder knows of it. Which files there are, in
the order in which to read them, is at the end of docs/compile_internals.md, which follows one function
through all of them.
"""

from minidl.compiler.api import Compiled, compile
from minidl.compiler.program import Program

__all__ = ["Compiled", "Program", "compile"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
