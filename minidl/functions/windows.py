"""Windows that slide over arrays (batch, lengths.., features): where they lie, and views of them.

What is computed of what they show is in convolution.py and pooling.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.common.arrays import array_of, is_foreign
from minidl.common.checks import count

Lengths = tuple[int, ...]  # one number for each of the axes along which windows slide


def check_kind(x: Any) -> None:
    """Raise TypeError for an array of another library: windows are views, by NumPy's strides."""
    if is_foreign(x):
        got = type(array_of(x))
        raise TypeError(f"want an array of NumPy's, got one of {got.__module__}.{got.__name__}")


def per_axis(what: str, value: Any, axes: int, least: int = 1) -> Lengths:
    """A number for all axes, or a tuple or list of one for each, as a tuple of ints.

    >>> per_axis("kernel", 3, 2), per_axis("stride", [1, 2], 2)
    ((3, 3), (1, 2))
    """
    several = isinstance(value, tuple | list)
    values = tuple(value) if several else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"{what}: want a number or {axes} of them, got {value!r}")
    return tuple([count(what, n, least) for n in values])


class Windows(NamedTuple):
    """Windows of one size at equal distances, a number for each axis; ``before`` and ``after`` are
    the places of padding.
    """

    size: Lengths
    stride: Lengths
    dilation: Lengths
    before: Lengths
    after: Lengths

    def whole(self, lengths: Sequence[int]) -> Lengths:
        """The lengths with padding."""
        return tuple([n + b + a for n, b, a in zip(lengths, self.before, self.after)])

    def counts(self, whole: Sequence[int]) -> Lengths:
        """How many windows fit along each axis, given the lengths with padding."""
        spans = map(span, self.size, self.dilation)
        return tuple([(n - covers) // s + 1 for n, covers, s in zip(whole, spans, self.stride)])

    def pad(self, x: Any, value: float = 0) -> Any:
        """The array with the value around it; the same array if there is no padding."""
        if not any(self.before + self.after):
            return x
        axes = len(self.size)
        lengths = x.shape[1 : 1 + axes]
        y = np.full((len(x), *self.whole(lengths), *x.shape[1 + axes :]), value, x.dtype)
        self.inside(y, lengths)[...] = x
        return y

    def reach(self) -> Windows:
        """The windows, at stride 1, of all that sees a place: as wide, with padding for the rest."""
        more = [covers - 1 for covers in map(span, self.size, self.dilation)]
        before = tuple([n - added for n, added in zip(more, self.before)])
        after = tuple([n - added for n, added in zip(more, self.after)])
        return self._replace(before=before, after=after)

    def inside(self, padded: Any, lengths: Sequence[int]) -> Any:
        """The view of a padded array without its padding."""
        index = [slice(before, before + n) for n, before in zip(lengths, self.before)]
        return padded[(slice(None), *index)]

    def view(self, padded: Any) -> Any:
        """What all windows show, without a copy: (batch, windows.., size.., features..)."""
        axes = len(self.size)
        counts = self.counts(padded.shape[1 : 1 + axes])
        first, *steps = padded.strides
        between = [step * stride for step, stride in zip(steps, self.stride)]
        within = [step * dilation for step, dilation in zip(steps, self.dilation)]
        shape = (padded.shape[0], *counts, *self.size, *padded.shape[1 + axes :])
        strides = (first, *between, *within, *steps[axes:])
        return as_strided(padded, shape, strides)

    def parts(self, padded: Any) -> list[Any]:
        """What all windows show at one place in them, for each place: (batch, windows..,
        features..).
        """
        view = self.view(padded)
        axes = len(self.size)
        every = (slice(None),) * (1 + axes)
        return [view[(*every, *place)] for place in product(*map(range, self.size))]

    def places(self, shape: Sequence[int]) -> tuple[Any, Any]:
        """Where things stand in a flat array of this shape, before it is padded.

        First, for each window and feature, what is at the window's first place (it may lie outside,
        in the padding); second, how much further each other place of a window is.
        """
        batch, *lengths, features = shape
        counts = self.counts(self.whole(lengths))
        starts = [
            np.arange(n) * stride - before
            for n, stride, before in zip(counts, self.stride, self.before)
        ]
        steps = [np.arange(n) * dilation for n, dilation in zip(self.size, self.dilation)]
        first = _flat(shape, [np.arange(batch), *starts, np.arange(features)])
        further = _flat(shape, [np.arange(1), *steps, np.arange(1)])
        return first, further.reshape(-1)


def span(size: int, dilation: int) -> int:
    """How many places a window covers, those that it leaves out included."""
    return (size - 1) * dilation + 1


def _flat(shape: Sequence[int], coordinates: Sequence[Any]) -> Any:
    """Places in a flat array of this shape, for all combinations of coordinates."""
    places = np.zeros((), np.intp)
    for n, along in zip(shape, coordinates):
        places = places[..., None] * n + along
    return places


def windows_over(
    lengths: Sequence[int], size: Lengths, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Windows:
    """Windows over an array of these lengths; ValueError if not even one fits.

    ``padding`` is "valid", for none; "same", for as many windows as the array is long, divided by
    the stride and rounded up; or how many places are added on both sides. What "same" adds is
    spread evenly, the odd one at the end.
    """
    axes = len(lengths)
    strides = per_axis("stride", stride, axes)
    dilations = per_axis("dilation", dilation, axes)
    spans = list(map(span, size, dilations))
    if isinstance(padding, str) and padding == "same":
        before, after = _same(lengths, spans, strides)
    else:
        before = after = check_padding(padding, axes)
    windows = Windows(size, strides, dilations, before, after)
    whole = windows.whole(lengths)
    if 0 in lengths or any(n < covers for n, covers in zip(whole, spans)):
        pads = [n - m for n, m in zip(whole, lengths)]
        padded = f" and {tuple(pads)} of padding" if any(pads) else ""
        want = f"at least one place, and {tuple(spans)} with padding, for a window"
        raise ValueError(f"want {want} of {size}, got {tuple(lengths)}{padded}")
    return windows


def _same(
    lengths: Sequence[int], spans: Sequence[int], strides: Lengths
) -> tuple[Lengths, Lengths]:
    """What is added before and after each axis for length / stride windows, rounded up."""
    before = []
    after = []
    for n, covers, stride in zip(lengths, spans, strides):
        windows = math.ceil(n / stride)
        total = max((windows - 1) * stride + covers - n, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return tuple(before), tuple(after)


def check_padding(padding: Any, axes: int, what: str = "padding") -> Lengths:
    """The padding on both sides as a tuple of ints; of "valid" zeros."""
    if isinstance(padding, str):
        if padding != "valid":
            raise ValueError(f"{what}: want 'valid', 'same' or numbers, got {padding!r}")
        padding = 0
    return per_axis(what, padding, axes, 0)
