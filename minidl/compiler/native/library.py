"""Libraries made from C: compiled once, kept in the cache, loaded.

Which compiler makes them is said in toolchain.py, what is in them by whoever wrote the source.
"""

from __future__ import annotations

import ctypes
import sys

from minidl.compiler.native import cache, processor, toolchain


def load(source: str) -> ctypes.CDLL:
    """The shared library of a C source, compiled unless the cache has it.

    The same source gives the same library, which is mapped once. Nothing is kept here, so any
    thread may call it, and a process that was forked. Functions called through it release the
    GIL.

    Raises:
        CompilerError: there is no compiler that works, or it refuses the source.
    """
    compiler = toolchain.find()
    version = sys.modules["minidl"].__version__
    key = cache.key_of(source, compiler, processor.describe(), version)
    path = cache.entry(key, toolchain.SUFFIX, lambda path: compiler.build(source, path))
    return toolchain.load(path)
