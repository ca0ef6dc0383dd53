"""The memory that arrays come from: freed blocks are kept for the next step. Nothing is allocated here.

What a graph holds, and when it lets go of it, is in node.py and engine.py.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_SAID = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory(most: int) -> bool:
    """Let the C library keep up to ``most`` bytes of freed memory for later arrays; whether it could be told.

    glibc hands large blocks back to the system as soon as they are freed, and each new one then costs a page fault for
    every 4 KB of it: in a training step on arrays of megabytes that is most of the time. The setting holds for the
    whole process. Only glibc has it, and who has set it by the environment keeps their own.

    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.

    >>> keep_freed_memory(2**27) in (True, False)
    True
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SAID):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return (
        mallopt is not None
        and mallopt(_M_TRIM_THRESHOLD, most) == mallopt(_M_MMAP_THRESHOLD, most) == 1
    )


if os.environ.get("MINIDL_KEEP_MEMORY") != "0":
    keep_freed_memory(2**27)
