"""Arrays that are not NumPy's, such as CuPy's: the few things that NumPy's two protocols do not reach.

Experimental, and untried on a GPU: it has run with an array class of the tests only.

Creation, adding at indices, and moves from one kind to another. Everything else simply calls NumPy's functions and
methods, which find an array's own by themselves; nothing here is needed where all arrays are NumPy's.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from minidl.common.extras import install


def array_of(x: Any) -> Any:
    """The array of a Variable; anything else as it is."""
    return x._raw if hasattr(type(x), "cleargrad") else x


def foreign(x: Any) -> bool:
    """Whether ``x``, an array or a Variable, is of another library's arrays, which speak NumPy's protocols."""
    x = array_of(x)
    return (
        type(x) is not np.ndarray
        and hasattr(x, "__array_function__")
        and not isinstance(x, np.ndarray)
    )


def kind(x: Any) -> type:
    """What arrays have to have in common to be computed with together."""
    return type(array_of(x)) if foreign(x) else np.ndarray


def asarray(value: Any, like: Any, dtype: Any = None) -> Any:
    """An array, number or list as an array of the kind of ``like``, moved there if need be.

    >>> asarray([1.0, 2.0], like=np.zeros(3))
    array([1., 2.])
    """
    value, like = array_of(value), array_of(like)
    if not foreign(like):
        return np.asarray(host(value), dtype)
    if type(value) is type(like):
        return value
    value = np.asarray(host(value), dtype)
    try:
        return np.asarray(value, like=like)
    except Exception:  # it may take no array of NumPy's even here
        return np.asarray(value.tolist(), value.dtype, like=like).reshape(value.shape)


def unadorned(x: Any) -> Any:
    """An ndarray of a subclass (a matrix, a memmap) as a plain one; TypeError for one that is masked."""
    if hasattr(x, "mask"):
        raise TypeError(
            "got a masked array, whose mask would be lost: fill it, or say x.data for its values"
        )
    return x.view(np.ndarray)


def beside(value: Any, others: Iterable[Any], data: bool) -> Any:
    """A list or tuple as an array of the kind that is among the others; what is no data (a shape, axes) as a copy."""
    like = next(filter(foreign, others), None)
    if data:
        return np.asarray(value) if like is None else asarray(value, like)
    return list(value) if like is None else tuple(value)


def zeros(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """Zeros of the kind of ``like``."""
    return (
        np.zeros_like(array_of(like), dtype, shape=shape)
        if foreign(like)
        else np.zeros(shape, dtype)
    )


def host(x: Any) -> Any:
    """Another library's array, or that of a Variable, as NumPy's; anything else as it is."""
    if not foreign(x):
        return x
    x = array_of(x)
    return x.get() if hasattr(x, "get") else np.array(x.tolist(), x.dtype).reshape(x.shape)


def add_at(z: Any, index: tuple[Any, ...], g: Any) -> None:
    """``z[index] += g``, in which an element that is picked more than once gets all of its shares."""
    try:
        np.add.at(z, index, g)
    except Exception:  # the methods of ufuncs are what a library leaves out first
        if not foreign(z):
            raise
        places = asarray(np.arange(z.size).reshape(z.shape), z)[index].reshape(-1)
        z[...] = z + np.bincount(places, g.reshape(-1), z.size).reshape(z.shape).astype(z.dtype)


def home(device: Any) -> Any:
    """An array that stands for all that live where it does: of "cpu", "cuda" (by CuPy), or the array given."""
    if not isinstance(device, str):
        return device
    if device not in ("cpu", "cuda"):
        raise ValueError(f"want 'cpu', 'cuda' or an array, got {device!r}")
    try:
        return np.empty(0) if device == "cpu" else import_module("cupy").empty(0)
    except ImportError as error:
        raise ImportError(f"arrays on a GPU are CuPy's: {install('cupy')}") from error
