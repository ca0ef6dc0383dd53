"""Arrays that are not NumPy's, CuPy's above all: the few things that NumPy's two protocols do not reach.

Creation, adding at indices, and moves from one kind to another. Everything else simply calls NumPy's functions and
methods, which find an array's own by themselves; nothing here is needed where all arrays are NumPy's.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np


def foreign(x: Any) -> bool:
    """Whether ``x``, an array or a Variable, is of another library's arrays, which speak NumPy's protocols."""
    x = getattr(x, "_raw", x)
    return type(x) is not np.ndarray and hasattr(x, "__array_function__") and not isinstance(x, np.ndarray)


def kind(x: Any) -> type:
    """What arrays have to have in common to be computed with together."""
    x = getattr(x, "_raw", x)
    return type(x) if foreign(x) else np.ndarray


def asarray(value: Any, like: Any, dtype: Any = None) -> Any:
    """An array, number or list as an array of the kind of ``like``, moved there if need be.

    >>> asarray([1.0, 2.0], like=np.zeros(3))
    array([1., 2.])
    """
    like = getattr(like, "_raw", like)
    if foreign(like) and type(value) is not type(like):
        return np.asarray(host(value), dtype, like=like)
    return value if foreign(like) else np.asarray(host(value), dtype)


def beside(value: Any, others: Iterable[Any], data: bool) -> Any:
    """A list or tuple as an array of the kind that is among the others; what is a shape, no data, is a tuple there."""
    like = next(filter(foreign, others), None)
    return np.asarray(value) if like is None else asarray(value, like) if data else tuple(value)


def zeros(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """Zeros of the kind of ``like``."""
    like = getattr(like, "_raw", like)
    return np.zeros_like(like, dtype, shape=shape) if foreign(like) else np.zeros(shape, dtype)


def host(x: Any) -> Any:
    """Another library's array as NumPy's; anything else as it is."""
    if not foreign(x):
        return x
    x = getattr(x, "_raw", x)
    return x.get() if hasattr(x, "get") else np.array(x.tolist(), x.dtype).reshape(x.shape)


def add_at(z: Any, index: tuple[Any, ...], g: Any) -> None:
    """``z[index] += g``, in which an element that is picked more than once gets all of its shares."""
    try:
        np.add.at(z, index, g)
    except TypeError:  # the methods of ufuncs are what a library leaves out first
        if not foreign(z):
            raise
        places = asarray(np.arange(z.size).reshape(z.shape), z)[index].reshape(-1)
        z += np.bincount(places, g.reshape(-1), z.size).reshape(z.shape).astype(z.dtype)


def home(device: Any) -> Any:
    """An array that stands for all that live where it does: of "cpu", "cuda" (by CuPy), or the array given."""
    if not isinstance(device, str):
        return device
    if device not in ("cpu", "cuda"):
        raise ValueError(f"want 'cpu', 'cuda' or an array, got {device!r}")
    try:
        return np.empty(0) if device == "cpu" else import_module("cupy").empty(0)
    except ImportError as error:
        raise ImportError("arrays on a GPU are CuPy's: pip install 'minidl[cupy]'") from error
