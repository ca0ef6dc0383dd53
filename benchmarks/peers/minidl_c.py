"""The workloads in minidl with minidl.compile(.., backend="c"): those of minidl_compiled.py, by another printer.

Without a C compiler every workload is reported as broken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import minidl
from benchmarks.peers import minidl_compiled as numpy
from benchmarks.peers.minidl_compiled import VERSION

__all__ = ["VERSION"]


def in_c(function: Callable[..., Any]) -> Any:
    return minidl.compile(function, backend="c")


globals().update(
    {
        name: partial(step, program=in_c)
        for name, step in vars(numpy).items()
        if name[0] == "w" and name[1:].isdigit()
    }
)
