"""Layers without parameters that shrink sequences and images by pooling.

What they compute is in functions/pooling.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidl import functions as F
from minidl.common.arrays import as_array
from minidl.common.hints import refuse_unexpected
from minidl.functions.windows import check_padding, per_axis
from minidl.layers.conv import setting_text
from minidl.layers.layer import Layer


class Pool(Layer):
    """What the pooling layers share: all but the function and the number of axes."""

    _axes: ClassVar[tuple[str, ...]]  # along which the windows slide
    _pool: ClassVar[Any]

    @refuse_unexpected
    def __init__(
        self,
        size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        name = type(self).__name__
        axes = len(self._axes)
        self.size = per_axis(f"{name}: size", size, axes)
        self.stride = self.size if stride is None else per_axis(f"{name}: stride", stride, axes)
        self.padding = check_padding(padding, axes, f"{name}: padding")
        if any(2 * pad > n for pad, n in zip(self.padding, self.size)):
            raise ValueError(f"{name}: want padding of at most half of the size, got {padding}")

    def forward(self, x: Any) -> Any:
        x = as_array(x, self)
        if x.ndim != len(self._axes) + 2:
            shape = f"(batch, {', '.join(self._axes)}, features)"
            raise ValueError(f"{self!r}: want input {shape}, got {x.shape}")
        return type(self)._pool(x, self.size, self.stride, self.padding)

    def __repr__(self) -> str:
        texts = [setting_text(self.size)]
        if self.stride != self.size:
            texts.append(f"stride={setting_text(self.stride)}")
        if any(self.padding):
            texts.append(f"padding={setting_text(self.padding)}")
        return f"{type(self).__name__}({', '.join(texts)})"


class MaxPool1d(Pool):
    """The largest of each window of a sequence, feature by feature: ``functions.max_pool``.

    Shapes: ``(batch, time, features)`` to ``(batch, windows, features)``.

    Args:
        size: of a window.
        stride: steps between windows; default the size.
        padding: places added on both sides, which are never the largest.

    Raises ValueError for sizes below 1, padding beyond half of the size, input with another number
    of axes or smaller than a window; TypeError for input that is not floating.

    >>> MaxPool1d(2)([[[1.0], [3.0], [2.0], [0.0]]])[0, :, 0]
    array([3., 2.])
    """

    _axes = ("time",)
    _pool = F.max_pool


class MaxPool2d(Pool):
    """The largest of each window of an image, feature by feature: ``functions.max_pool``.

    Shapes: ``(batch, height, width, features)`` to ``(batch, rows, columns, features)``. Args and
    raises as ``MaxPool1d``; numbers may be tuples of two.
    """

    _axes = ("height", "width")
    _pool = F.max_pool


class AvgPool1d(Pool):
    """The mean of each window of a sequence, feature by feature: ``functions.avg_pool``.

    Shapes, args and raises as ``MaxPool1d``; padding counts, as zeros.

    >>> AvgPool1d(2)([[[1.0], [3.0], [2.0], [0.0]]])[0, :, 0]
    array([2., 1.])
    """

    _axes = ("time",)
    _pool = F.avg_pool


class AvgPool2d(Pool):
    """The mean of each window of an image, feature by feature: ``functions.avg_pool``.

    Shapes, args and raises as ``MaxPool2d``; padding counts, as zeros.
    """

    _axes = ("height", "width")
    _pool = F.avg_pool


class GlobalAvgPool(Layer):
    """The mean of each feature over all of a sequence or an image.

    Shapes: ``(batch, .., features)`` to ``(batch, features)``. Raises ValueError for fewer than
    three axes, TypeError for input that is not floating.

    >>> import numpy as np
    >>> GlobalAvgPool()(np.ones((10, 7, 7, 32))).shape
    (10, 32)
    """

    def forward(self, x: Any) -> Any:
        x = as_array(x, self)
        if x.ndim < 3 or 0 in x.shape[1:-1]:
            raise ValueError(f"{self!r}: want input (batch, .., features), got {x.shape}")
        x = self._as_floating(x, x.dtype)
        return x.mean(tuple(range(1, x.ndim - 1)))
