"""Conv1d and Conv2d: what each window shows, times one kernel, plus a bias.

The formula is in functions/convolution.py, pooling in pool.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common.arrays import as_array
from minidl.common.checks import count
from minidl.common.hints import refuse_unexpected
from minidl.functions.windows import check_padding, per_axis, windows_over
from minidl.layers.initializers import Initializer, normal_over_sqrt_in
from minidl.layers.values import Shape
from minidl.layers.weighted import Weighted

Lengths = int | Sequence[int]


class Conv(Weighted):
    """What Conv1d and Conv2d share: all but the number of axes."""

    _axes: ClassVar[tuple[str, ...]]  # along which the kernel slides
    w: Parameter

    @refuse_unexpected
    def __init__(
        self,
        *features: int,
        in_features: int | None = None,
        out_features: int | None = None,
        kernel: Lengths | None = None,
        stride: Lengths = 1,
        padding: str | Lengths = "valid",
        dilation: Lengths = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        name = type(self).__name__
        axes = len(self._axes)
        if kernel is None:
            given = ", ".join(map(repr, features[:2]))
            raise TypeError(f"{name}: want a kernel by its name: {name}({given}, kernel=3)")
        self.kernel = per_axis(f"{name}: kernel", kernel, axes)
        self.stride = per_axis(f"{name}: stride", stride, axes)
        self.dilation = per_axis(f"{name}: dilation", dilation, axes)
        self.padding: str | tuple[int, ...] = "same"
        if not isinstance(padding, str) or padding != "same":
            self.padding = check_padding(padding, axes, f"{name}: padding")
        self.groups = count(f"{name}: groups", groups)
        self._init_parameters(features, in_features, out_features, dtype, rng, bias, init)
        if self.out_features % self.groups:
            raise ValueError(f"{self!r}: groups do not divide the {self.out_features} features out")

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        return {"w": (*self.kernel, None, self.out_features)}

    def _rows_of(self, in_features: int) -> int:
        if in_features % self.groups:
            raise ValueError(f"{self!r}: groups do not divide the {in_features} features in")
        return in_features // self.groups

    def _features_of(self, weight: Any) -> int:
        return weight.shape[-2] * self.groups  # type: ignore[no-any-return]  # an int

    def forward(self, x: Any) -> Any:
        x = as_array(x, self)
        if x.ndim != len(self._axes) + 2:
            self._refuse(x, "; write x[..., None]" if x.ndim == len(self._axes) + 1 else "")
        known = self.in_features
        if known not in (None, x.shape[-1]):
            last = (0, *range(2, x.ndim), 1)
            self._refuse(x, f"; write x.transpose{last}" if x.shape[1] == known else "")
        x = self._as_input(x, self.w)
        how = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return F.conv(x, self.w, self.b, groups=self.groups, **how)

    def _check_first(self, shape: tuple[int, ...]) -> None:
        try:
            windows_over(shape[1:-1], self.kernel, self.stride, self.padding, self.dilation)
        except ValueError as error:
            raise ValueError(f"{self!r}: {error}") from None

    def _refuse(self, x: Any, hint: str) -> NoReturn:
        shape = f"(batch, {', '.join(self._axes)}, {self.in_features or 'in'})"
        raise ValueError(f"{self!r}: want input {shape}, got {x.shape}{hint}")

    def __repr__(self) -> str:
        sizes = super().__repr__()[:-1]
        options = ("kernel", self.kernel), ("stride", self.stride), ("padding", self.padding)
        more = ("dilation", self.dilation), ("groups", (self.groups,))
        plain = {"stride": {1}, "padding": {0}, "dilation": {1}, "groups": {1}}
        texts = [
            f"{name}={setting_text(value)}"
            for name, value in (*options, *more)
            if set(value) != plain.get(name)
        ]
        return f"{sizes}, {', '.join(texts)})"


def setting_text(value: str | tuple[int, ...]) -> str:
    """A setting as it may be given: one number, if that is all."""
    several = isinstance(value, str) or len(set(value)) > 1
    return repr(value if several else value[0])


class Conv1d(Conv):
    """A convolution along one axis: each output sees a window of ``kernel`` steps.

    ``y = conv(x, w) + b``, with ``w`` (kernel, in / groups, out) drawn as N(0, 1)/sqrt(kernel in /
    groups) and ``b`` (out) zero. Shapes: ``(batch, time, in)`` to ``(batch, steps, out)``; steps is
    ``(time + 2 padding - dilation (kernel - 1) - 1) // stride + 1``.

    Args:
        features: ``out``, or ``in, out``; with ``out`` alone the layer learns ``in`` at first use.
        in_features, out_features: the same by keyword.
        kernel: length of the window.
        stride, padding, dilation, groups: as for ``functions.conv``.
        bias, dtype, rng, init: as for ``Linear``.

    Raises, besides what ``Linear`` raises, ValueError for another number of axes, a kernel larger
    than the padded input, and groups that do not divide the features.

    >>> conv = Conv1d(8, kernel=3, padding="same")
    >>> conv(np.ones((32, 20, 2))).shape, conv
    ((32, 20, 8), Conv1d(2→8, kernel=3, padding='same'))
    """

    _axes = ("time",)


class Conv2d(Conv):
    """A convolution of images, features (channels) last: each output sees a window of the image.

    ``y = conv(x, w) + b``, with ``w`` (kernel, kernel, in / groups, out) drawn as N(0,
    1)/sqrt(kernel kernel in / groups) and ``b`` (out) zero. Shapes: ``(batch, height, width, in)``
    to ``(batch, rows, columns, out)``; along each axis as ``Conv1d``.

    Args and raises as ``Conv1d``; ``kernel``, ``stride``, ``padding`` and ``dilation`` are one int,
    or a tuple of two: (along the height, along the width).

    Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989.

    >>> conv = Conv2d(3, 16, kernel=5, stride=2)
    >>> conv(np.ones((10, 28, 28, 3))).shape, conv
    ((10, 12, 12, 16), Conv2d(3→16, kernel=5, stride=2))
    """

    _axes = ("height", "width")
