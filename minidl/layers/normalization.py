"""Normalization: features of mean 0 and deviation 1, by what the layer saw of the data beforehand.

What is normalized by each batch, and trained, is in batch_norm.py and layer_norm.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import normalize_axis_tuple

from minidl import functions as F
from minidl.common.arrays import as_array, host, to_kind_of
from minidl.common.hints import refuse_unexpected
from minidl.layers.layer import Layer

Array = npt.NDArray[Any]


class Normalization(Layer):
    """Gives every feature mean 0 and standard deviation 1, as learned from data by ``adapt``.

    ``y = (x - mean) / std``, for floating x ``(.., features)``; y is of the shape and dtype of x.
    ``mean`` and ``std`` (features) are buffers: they are not trained, and travel with the model.
    As the first layer of a ``Sequential`` it scales inputs; ``inverse`` gives the units of the data
    back.

    Args:
        axis: where the features are, each with a mean and a deviation of its own: an int, or
            several; None for one mean and one deviation of all numbers.

    Raises RuntimeError for a call before ``adapt``, ValueError for another number of features,
    TypeError for what is not floating.

    >>> layer = Normalization().adapt([[1.0, 50.0], [3.0, 50.0]])
    >>> layer.mean, layer.std
    (array([ 2., 50.]), array([1., 1.]))
    >>> layer(np.array([4.0, 50.0])), layer.inverse(np.array([2.0, 0.0]))
    (array([2., 0.]), array([ 4., 50.]))
    """

    buffers: ClassVar[Sequence[str]] = ("mean", "std")
    mean: Array | None
    std: Array | None

    @refuse_unexpected
    def __init__(self, axis: int | Sequence[int] | None = -1) -> None:
        self.axis = _check_axis(axis)
        self.mean = None
        self.std = None

    def adapt(self, x: Any) -> Self:
        """Learn mean and standard deviation of each feature, from an array or a DataFrame.

        It replaces what was learned before, and returns the layer. The deviation is that of the
        population, ``sqrt(mean((x - mean)**2))``; that of a feature that is constant is 1, so that
        the feature becomes 0. Data with one axis are numbers of a single feature. Both are computed
        in float64, and kept in it unless the data are float32 or float16.

        Raises ValueError for data without samples, without the axis, or with NaN or infinities;
        TypeError for what is no array of numbers.
        """
        who = "Normalization.adapt"
        data = _samples(x, who)
        kept = () if data.ndim == 1 else self._kept_axes(data, who)
        mean, std = _moments(data, kept)
        if not np.isfinite(std).all():
            raise ValueError(f"{who}: the deviation is beyond the range of float64")
        shape = _buffer_shape(data, kept)
        dtype: npt.DTypeLike = np.float64
        if data.dtype in (np.float16, np.float32):
            dtype = np.float32
        self.mean = to_kind_of(mean.reshape(shape).astype(dtype), x)
        self.std = to_kind_of(std.reshape(shape).astype(dtype), x)
        return self

    def forward(self, x: Any) -> Any:
        x, mean, std, dtype = self._prepare(x)
        return self._as_floating((x - mean) / std, dtype)

    def inverse(self, y: Any) -> Any:
        """What was normalized to ``y``: ``y * std + mean``, of an array or a Variable.

        Raises what a call raises.
        """
        y, mean, std, dtype = self._prepare(y)
        return self._as_floating(y * std + mean, dtype)

    def _prepare(self, x: Any) -> tuple[Any, Any, Any, np.dtype[Any]]:
        """The input, mean and deviation in one dtype, and the input's own."""
        if self.mean is None or self.std is None:
            raise RuntimeError(f"{self!r} knows no data yet: call adapt(x) first")
        x = as_array(x, self)
        x = self._as_floating(x, x.dtype)
        if self.mean.ndim:
            kept = self._kept_axes(x, repr(self))
            got = _buffer_shape(x, kept)
            if got != self.mean.shape:
                want = f"features {self.mean.shape}, as adapted to"
                raise ValueError(f"{self!r}: want {want}, got {got} in input {x.shape}")
        dtype = x.dtype
        wide = np.result_type(dtype, np.float32)
        mean = self.mean
        std = self.std
        if mean.dtype != wide:  # by functions, not methods, which a compiled function does not see
            mean = F.astype(mean, wide)
            std = F.astype(std, wide)
        return self._as_floating(x, wide), mean, std, dtype

    def _kept_axes(self, x: Any, who: str) -> tuple[int, ...]:
        """The axes of the features, counted from the first."""
        if self.axis is None:
            return ()
        try:
            return normalize_axis_tuple(self.axis, x.ndim)
        except ValueError as error:
            raise ValueError(f"{who}: axis={self.axis} of data {x.shape}: {error}") from None

    def __repr__(self) -> str:
        return "Normalization()" if self.axis == -1 else f"Normalization(axis={self.axis})"


def _check_axis(axis: Any) -> int | tuple[int, ...] | None:
    if axis is None or type(axis) is int:
        return axis
    several = isinstance(axis, tuple | list) and len(axis) > 0
    if several and all(type(i) is int for i in axis):
        return tuple(axis)
    raise TypeError(f"Normalization: axis: want an int, a tuple of ints or None, got {axis!r}")


def _samples(x: Any, who: str) -> Array:
    """Data as an array of NumPy's; ValueError if there are none, or some are not finite."""
    data = np.asarray(host(as_array(x, who)))
    if data.ndim == 0 or data.size == 0:
        raise ValueError(f"{who}: want samples (.., features), got {data.shape}")
    if data.dtype.kind not in "fiub":
        raise TypeError(f"{who}: want real numbers, got {data.dtype}")
    finite = np.isfinite(data)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise ValueError(f"{who}: want finite data, got {data[place]} at {place}")
    return data


def _buffer_shape(x: Any, kept: tuple[int, ...]) -> tuple[int, ...]:
    """Of mean and deviation: the lengths of the features' axes, and 1 for axes after or between."""
    first = min(kept, default=x.ndim)
    lengths = [1] * (x.ndim - first)
    for axis in kept:
        lengths[axis - first] = x.shape[axis]
    return tuple(lengths)


def _moments(x: Array, kept: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and deviation, computed in float64; of what is constant exactly itself, and 1."""
    x = x.astype(np.float64)
    others = tuple([axis for axis in range(x.ndim) if axis not in kept])
    least = x.min(others)
    constant = least == x.max(others)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(constant, least, x.mean(others))
        std = np.where(constant, 1, x.std(others))
    std[std == 0] = 1  # of what differs by too little to be squared
    return mean, std
