"""PositionalEncoding: tells a network that sees all steps at once which step is which.

A trained one is an Embedding of the places.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minidl.common.arrays import as_array, to_kind_of
from minidl.layers.layer import Layer


class PositionalEncoding(Layer):
    """Adds to each step sines and cosines of its place, of wavelengths from 2 pi to 10000 times 2
    pi.

    ``y[.., t, 2i] = x[.., t, 2i] + sin(t / 10000^(2i / features))``, and the cosine at ``2i + 1``.
    Shapes: ``(.., time, features)`` to the same, in the dtype of x. No parameters.

    Raises ValueError for input without a time axis, TypeError for what is not floating.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> PositionalEncoding()(np.zeros((2, 4))).round(2)
    array([[0.  , 1.  , 0.  , 1.  ],
           [0.84, 0.54, 0.01, 1.  ]])
    """

    def forward(self, x: Any) -> Any:
        x = as_array(x, self)
        x = self._as_floating(x, x.dtype)
        if x.ndim < 2:
            raise ValueError(f"{self!r}: want input (.., time, features), got {x.shape}")
        return x + to_kind_of(_sinusoids(*x.shape[-2:], x.dtype), x)

    def __repr__(self) -> str:
        return "PositionalEncoding()"


@lru_cache(16)
def _sinusoids(time: int, features: int, dtype: np.dtype[Any]) -> Any:
    pairs = np.arange(features) // 2
    angles = np.arange(time)[:, None] / 10000.0 ** (2 * pairs / features)
    angles[:, 1::2] += np.pi / 2  # a cosine
    table = np.sin(angles).astype(dtype)
    table.flags.writeable = False
    return table
