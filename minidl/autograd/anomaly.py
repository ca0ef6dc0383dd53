"""What detect_anomaly() does: checks of values as they are made, and of arrays until they are used
again.

The switch itself lives in modes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.common.arrays import array_of
from minidl.common.callers import users_line

if TYPE_CHECKING:
    from minidl.autograd.function import Function
    from minidl.autograd.node import Application


class Trace:
    """Where an application was recorded, and fingerprints of its arrays.

    Raises FloatingPointError at a result that is not finite, unless an infinity was given.
    """

    def __init__(self, function: Function, args: Sequence[Any], y: Any) -> None:
        self.place = users_line()
        for output in y if type(y) is tuple else (y,):
            what = _fault(args, output)
            if what:
                raise FloatingPointError(f"{function.name} {what} at {self.place}")
        self.prints = [_fingerprint(a) for a in (*args, y)]

    def __str__(self) -> str:
        return self.place

    def check_arrays(self, node: Application) -> None:
        """Raise RuntimeError if an array changed since."""
        arrays = [*node.args, node.output]
        for i, (array, old) in enumerate(zip(arrays, self.prints, strict=True)):
            if _fingerprint(array) != old:
                what = f"argument {i}" if i < len(node.args) else "the output"
                raise RuntimeError(
                    f"{what} of {node.name}, applied at {self.place}, was changed in place between "
                    "forward and backward; the gradient would mix old and new values"
                )

    def check_gradient(self, node: Application, i: int, incoming: Any, g: Any) -> None:
        """Raise FloatingPointError at a gradient that is not finite, unless infinities went in."""
        what = _fault((incoming, node.output, *node.args), g)
        if what:
            raise FloatingPointError(
                f"the derivative of {node.name} for argument {i}, applied at {self.place}, {what}"
            )


def _fault(sources: Sequence[Any], result: Any) -> str:
    """What is wrong with a result that was computed from the sources, or nothing."""
    if _any(np.isnan, result):
        return "was given a NaN" if _any(np.isnan, sources) else "gave a NaN"
    if _any(np.isinf, result) and not _any(np.isinf, sources):
        return "gave an infinity"
    return ""


def _any(test: Callable[[Any], Any], value: Any) -> bool:
    """Whether a value has a number of that kind; what is not floating has none."""
    if isinstance(value, list | tuple):  # the gradients of several outputs, None for an unused one
        return any(_any(test, part) for part in value)
    value = array_of(value)
    dtype = getattr(value, "dtype", None)
    if not isinstance(value, float) and getattr(dtype, "kind", "") != "f":
        return False
    return bool(test(value).any())


def _fingerprint(a: Any) -> int:
    return hash(a.tobytes()) if hasattr(a, "tobytes") else 0
