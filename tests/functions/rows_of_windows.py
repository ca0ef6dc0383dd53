"""Rows of what slides over arrays: convolution and pooling, beside loops that say what they are.

The catalogue's other rows, and what a row is, are in catalogue.py.
"""

import itertools
from typing import Any

import numpy as np

from minidl import functions as F
from tests.functions.catalogue import normal, row


def each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,) * axes


def direct_conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The convolution, by a loop over all places of the output."""
    axes = w.ndim - 2
    lengths, kernel = x.shape[1:-1], w.shape[:axes]
    strides, dilations = each(stride, axes), each(dilation, axes)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    if padding == "same":
        counts = [-(-n // s) for n, s in zip(lengths, strides)]
        added = [max((c - 1) * s + r - n, 0) for c, s, r, n in zip(counts, strides, reach, lengths)]
        pads = [(n // 2, n - n // 2) for n in added]
    else:
        pads = [(n, n) for n in each(0 if padding == "valid" else padding, axes)]
        added = [2 * n for n, _ in pads]
        counts = [(n + a - r) // s + 1 for n, a, r, s in zip(lengths, added, reach, strides)]
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    y = np.zeros((len(x), *counts, w.shape[-1]))
    inside, outside = w.shape[-2], w.shape[-1] // groups
    for place in itertools.product(*map(range, counts)):
        window = tuple(
            slice(i * s, i * s + r, d) for i, s, r, d in zip(place, strides, reach, dilations)
        )
        for g in range(groups):
            seen = x[(slice(None), *window, slice(g * inside, (g + 1) * inside))]
            out = slice(g * outside, (g + 1) * outside)
            y[(slice(None), *place, out)] = np.tensordot(seen, w[..., out], axes + 1)
    return y if b is None else y + b


def direct_pool(reduce: Any, fill: float) -> Any:
    """A pooling function, by a loop over all windows."""

    def pool(x: Any, size: Any, stride: Any = None, padding: Any = 0) -> Any:
        axes = x.ndim - 2
        sizes, pads = each(size, axes), each(padding, axes)
        strides = sizes if stride is None else each(stride, axes)
        x = np.pad(x, [(0, 0), *[(n, n) for n in pads], (0, 0)], constant_values=fill)
        counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:], sizes, strides)]
        y = np.zeros((len(x), *counts, x.shape[-1]))
        for place in itertools.product(*map(range, counts)):
            window = tuple(slice(i * s, i * s + k) for i, s, k in zip(place, strides, sizes))
            y[(slice(None), *place)] = reduce(x[(slice(None), *window)], tuple(range(1, axes + 1)))
        return y

    return pool


CONVOLUTIONS = [
    ((2, 6, 3), (3, 3, 2), {}),
    ((2, 4, 5, 2), (3, 2, 2, 3), {"padding": "same"}),
    ((1, 7, 5, 4), (3, 3, 2, 4), {"stride": 2, "padding": 1, "groups": 2}),
    ((2, 6, 1), (2, 1, 2), {"padding": "same", "dilation": 2}),
    ((2, 7, 2), (3, 2, 1), {"stride": 3}),
    ((2, 7, 2), (3, 2, 1), {"stride": 2, "padding": "same"}),
    ((2, 7, 2), (3, 2, 2), {"stride": 2, "padding": 2, "dilation": 2}),
    ((2, 5, 2), (1, 2, 2), {"padding": 1}),
    ((2, 5, 3), (3, 1, 3), {"groups": 3}),
    ((0, 5, 2), (3, 2, 2), {}),
    ((1, 5, 4, 2), (2, 3, 2, 1), {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 1)}),
    ((1, 4, 4, 1), (2, 2, 1, 2), {"dilation": (2, 1)}),
    ((0, 4, 4, 1), (2, 2, 1, 2), {"stride": 2}),
]
for i, (x, w, settings) in enumerate(CONVOLUTIONS):
    arrays = normal(*x), normal(*w), normal(w[-1])
    row(F.conv, *arrays, like=direct_conv, foreign=False, brief=i > 3, **settings)
row(F.conv, normal(2, 4, 2), normal(2, 2, 2), like=direct_conv, foreign=False, brief=True)
POOLS = [
    ((2, 6, 3), (2,)),
    ((2, 5, 7, 2), (3, 2, 1)),
    ((2, 4, 6, 2), ((2, 3),)),
    ((2, 7, 1), (2, 3)),
    ((1, 7, 2), (3, 1, 1)),
    ((0, 4, 2), (2,)),
    ((1, 4, 4, 2), (2, (1, 2), (0, 1))),
]
for i, (shape, args) in enumerate(POOLS):
    for pool, reduce, fill in ((F.max_pool, np.max, -np.inf), (F.avg_pool, np.mean, 0.0)):
        like = direct_pool(reduce, fill)
        row(pool, normal(*shape), *args, like=like, foreign=False, brief=i > 1)
