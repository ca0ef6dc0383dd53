"""The memory that arrays come from: freed blocks are kept for the next step.

Nothing is allocated here. What a graph holds, and when it lets go of it, is in node.py and engine.py.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD = -1  # from glibc's malloc.h, as the next
_M_MMAP_THRESHOLD = -3
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_kept = 0  # what the C library was told last
started = False  # whether the user asked, or training or compiling has begun


def keep_freed_memory(most: int = 2**27) -> bool:
    """Let the C library keep up to ``most`` bytes of freed memory; return whether it does.

    glibc hands large blocks back to the system as soon as they are freed, and each new one then
    costs a page fault for every 4 KB of it: in a training step on arrays of megabytes that is most
    of the time. minidl calls this itself when the first gradient is computed or the first function
    compiled, unless it was called before. The setting holds for the whole process. Only glibc has
    it, and who has set it by the environment keeps their own; ``MINIDL_KEEP_MEMORY=0`` in the
    environment turns it off.

    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.

    >>> keep_freed_memory() in (True, False)
    True
    """
    global _kept, started
    started = True
    if most == _kept:
        return True
    if os.environ.get("MINIDL_KEEP_MEMORY") == "0" or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in _SET_BY_USER):
        return False
    if mallopt(_M_TRIM_THRESHOLD, most) != 1 or mallopt(_M_MMAP_THRESHOLD, most) != 1:
        return False
    _kept = most
    return True


def start() -> None:
    """Keep freed memory from now on, if nothing was said about it so far."""
    if not started:
        keep_freed_memory()
