"""What rules of functions with pieces share: masks, the slope of a sigmoid, and float16 in wide
steps.

The functions themselves are in elementwise.py and activation.py.
"""

import math
from typing import Any

import numpy as np

from minidl.autograd.function import Function, differentiable
from minidl.autograd.operation import Operation


def floating(x: Any) -> Any:
    """``x``, if of integers or bools as floats.

    The negative of an unsigned number, or of -128, is none.
    """
    kind = x.dtype.kind if hasattr(x, "dtype") else "i"
    if kind == "f":
        return x
    if kind not in "iub":
        raise TypeError(f"want real numbers, got {x.dtype}")
    return x + 0.0


def widened(x: Any) -> Any:
    """``x`` in floats, those of 16 bits in 32, for what would leave their range or digits on the
    way.
    """
    x = floating(x)
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float16 else x


def narrowed(y: Any, x: Any) -> Any:
    """The result ``y`` in float16 if the argument ``x`` was: ``widened`` undone."""
    return y.astype(np.float16) if getattr(x, "dtype", None) == np.float16 else y


_BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def _masked(x: Any, mask: Any) -> Any:
    """``x`` where the mask holds, else 0.

    By bits: np.where takes ten times as long for a mask without a pattern.
    """
    if not type(x) is type(mask) is np.ndarray or x.shape != mask.shape or x.itemsize not in _BITS:
        return np.where(mask, x, 0)
    bits = mask.astype(bool, copy=False).astype(_BITS[x.itemsize])
    bits *= x.view(bits.dtype)  # by 1 or 0: exact for what the bits mean, infinities too
    return bits.view(x.dtype)


def _masked_into(out: Any, x: Any, mask: Any) -> None:
    if x.shape != mask.shape or mask.dtype != bool:
        np.copyto(out, np.where(mask, x, 0))
        return
    bits = _BITS[x.itemsize]
    np.multiply(x.view(bits), mask, out.view(bits))


def _sigmoid_slope(x: Any, y: Any, scale: int) -> Any:
    """The slope, with its digits at both ends.

    From y it takes a third of the time, but where y is nearly 1 the difference from 1 has lost its
    digits.
    """
    if type(x) is not np.ndarray or x.ndim == 0:
        return _slope_of_x(x, scale)
    slope = y * y
    _slope_of_square(slope, x, y, scale)
    return slope


def _sigmoid_slope_into(slope: Any, x: Any, y: Any, scale: int) -> None:
    np.multiply(y, y, slope)
    _slope_of_square(slope, x, y, scale)


def _slope_of_square(slope: Any, x: Any, y: Any, scale: int) -> None:
    """Make the slope of what is the square of ``y``."""
    np.subtract(1 if scale == 2 else y, slope, slope)
    # The least by its place, which NumPy finds in a quarter of the time of min; NaN is the least.
    if slope.size and not slope.flat[slope.argmin()] >= _ROUNDED:
        ends = np.nonzero(slope < _ROUNDED)
        slope[ends] = _slope_of_x(x[ends], scale)


def _slope_of_x(x: Any, scale: int) -> Any:
    size = np.minimum(np.absolute(x), 2.0**14)  # twice of which is still in the range of float16
    e = np.exp(-scale * size)
    return scale * scale * e / np.square(1 + e)


def _where_positive(g: Any, x: Any) -> Any:
    result = _masked(g, x > 0)
    if type(x) is np.ndarray and x.size and x.flat[x.argmax()] >= -math.inf:  # NaN is the greatest
        return result
    return np.where(x == x, result, x)


def _where_positive_into(out: Any, g: Any, x: Any) -> None:
    _masked_into(out, g, x > 0)
    if x.size and not x.flat[x.argmax()] >= -math.inf:
        np.copyto(out, x, where=x != x)


_ROUNDED = 2.0**-11

# fmt: off
_recorded_slope: Function = differentiable(_sigmoid_slope,
    lambda g, slope, x, y, scale: g * slope * (y if scale == 2 else np.tanh(0.5 * x)) * -scale,
    None, name="sigmoid_slope", fresh=True,
    operation=Operation(into=_sigmoid_slope_into, kind="map"))
_recorded_where_positive: Function = differentiable(_where_positive,
    lambda g, y, h, x: where_positive(g, x), None, name="where_positive", fresh=True,
    operation=Operation(into=_where_positive_into, kind="map"))
# fmt: on


# On arrays these two, which stand in the backward pass of nearly every model, go without the
# recorder's microsecond.
def sigmoid_slope(x: Any, y: Any, scale: int) -> Any:
    """The slope of ``y = sigmoid(x)``, or for ``scale=2`` of ``y = tanh(x)``."""
    if type(x) is np.ndarray:
        return _sigmoid_slope(x, y, scale)
    return _recorded_slope(x, y, scale)


def where_positive(g: Any, x: Any) -> Any:
    """``g`` where x > 0, else 0; NaN where x is."""
    if type(g) is type(x) is np.ndarray:
        return _where_positive(g, x)
    return _recorded_where_positive(g, x)


# fmt: off
masked: Function = differentiable(_masked, lambda g, y, x, mask: masked(g, mask), None,
                                  operation=Operation(into=_masked_into, kind="map"))
# fmt: on


def unless_nan(y: Any, gx: Any) -> Any:
    """``gx``, but NaN where the value ``y`` is."""
    return np.where(y == y, gx, y)
