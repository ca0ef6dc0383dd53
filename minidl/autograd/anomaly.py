"""What detect_anomaly() does: checks of values as they are made, and of arrays until they are used again.

The switch itself lives in modes.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.autograd.node import Application

if TYPE_CHECKING:
    from minidl.autograd.function import Function

_PACKAGE = __file__.rpartition("autograd")[0]


class TracedApplication(Application):
    """An application recorded under detect_anomaly(); ``trace`` says where and with which arrays."""

    __slots__ = ("trace",)


class Trace:
    """Where an application was recorded, and fingerprints of its arrays."""

    def __init__(self, node: Application) -> None:
        self.place = users_line()
        self.prints = [_fingerprint(a) for a in (*node.args, node.output)]

    def __str__(self) -> str:
        return self.place

    def check_arrays(self, node: Application) -> None:
        """Raise RuntimeError if an array changed since."""
        for i, (a, old) in enumerate(zip((*node.args, node.output), self.prints, strict=True)):
            if _fingerprint(a) != old:
                what = f"argument {i}" if i < len(node.args) else "the output"
                changed = "was changed in place between forward and backward; the gradient would mix old and new values"
                raise RuntimeError(f"{what} of {node.name}, applied at {self.place}, {changed}")

    def check_gradient(self, node: Application, i: int, g: Any) -> None:
        """Raise FloatingPointError at a non-finite gradient."""
        if not np.isfinite(getattr(g, "_raw", g)).all():
            raise FloatingPointError(
                f"derivative of {node.name} for argument {i}, applied at {self.place}: not finite"
            )


def check_value(function: Function, args: Sequence[Any], y: Any) -> None:
    """Raise FloatingPointError at a non-finite result, unless a constant like -inf was put in on purpose."""
    if any(isinstance(a, float) and not np.isfinite(a) for a in args):
        return
    for o in y if type(y) is tuple else (y,):
        if o.dtype.kind == "f" and not np.isfinite(o).all():
            raise FloatingPointError(f"{function.name} gave a non-finite value at {users_line()}")


def users_line() -> str:
    """File and line of the innermost caller outside minidl and NumPy."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        inside = frame.f_code.co_filename.startswith(_PACKAGE) or "numpy" in frame.f_globals.get(
            "__name__", ""
        )
        if not inside:
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _fingerprint(a: Any) -> int:
    return hash(a.tobytes()) if hasattr(a, "tobytes") else 0
