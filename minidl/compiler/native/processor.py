"""The processor that programs are compiled for, in words that change when its instructions do.

The flags that make the compiler use these instructions are in toolchain.py.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

# The lines of /proc/cpuinfo that stay the same from one start of the machine to the next.
_LASTING = {
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),  # ARM
    *("cpu", "revision", "isa", "uarch"),  # POWER, RISC-V
}


def describe() -> str:
    """Architecture, model and features, as far as the system says them.

    >>> describe() == describe() != ""
    True
    """
    return f"{sys.platform} {platform.machine()} {_model()}"


def _model() -> str:
    if sys.platform == "darwin":
        return _sysctl(b"machdep.cpu.brand_string")
    try:
        return _first_core("/proc/cpuinfo")
    except OSError:
        return os.environ.get("PROCESSOR_IDENTIFIER", "")  # Windows


def _first_core(path: str) -> str:
    """What the file says of the first core; that of hundreds would take long to read."""
    lasting = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if not line.strip():
                break
            if name.strip() in _LASTING:
                lasting.append(value.strip())
    return "; ".join(lasting)


def _sysctl(name: bytes) -> str:
    libc = ctypes.CDLL(None)
    text = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t(len(text))
    libc.sysctlbyname(name, text, ctypes.byref(size), None, ctypes.c_size_t(0))
    return text.value.decode(errors="replace")
