"""Flatten: all axes of a sample as one, such as an image's for a Linear."""

from __future__ import annotations

import math
from typing import Any

from minidl import functions as F
from minidl.common.arrays import as_array
from minidl.layers.layer import Layer


class Flatten(Layer):
    """Makes one axis of all but the first: ``(batch, ..)`` to ``(batch, features)``.

    Raises ValueError for input without a batch axis, TypeError for what is no numbers.

    >>> import numpy as np
    >>> Flatten()(np.ones((32, 8, 8, 3))).shape
    (32, 192)
    """

    def forward(self, x: Any) -> Any:
        x = as_array(x, self)
        if x.ndim == 0:
            raise ValueError(f"{self!r}: want input (batch, ..), got ()")
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{self!r}: want real numbers, got {x.dtype}")
        return F.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
