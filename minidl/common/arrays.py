"""What an array is, here: NumPy's, one of another library that speaks NumPy's protocols, or one
made of a value.

``as_array`` alone decides it, and all that users give goes through it. The rest is what NumPy's
protocols do not reach for arrays of other libraries, such as CuPy's. That part is experimental, and
untried on a GPU: it has run with an array class of the tests only.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from minidl.common.extras import install


class BaseVariable:
    """The base of Variable: lets code that must not know of graphs tell Variables from arrays."""

    __slots__ = ()
    _raw: Any  # its array, or a NumPy scalar
    _node: Any  # its place in a graph; None for a constant


FLOATS = frozenset({np.float64, np.float32, np.float16, np.longdouble})
# What is computed with as it is. A Python number keeps its type: it takes the dtype of what is
# beside it.
READY = FLOATS | {
    *(np.ndarray, float, int, bool, np.bool_),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
}


def as_array(value: Any, who: object = "") -> Any:
    """The value as an array; what is an array, a NumPy scalar or a Variable is returned as it is.

    Taken by position and without a copy where possible: lists of numbers and of arrays, Python
    numbers, memoryviews, and any object that NumPy makes an array of (a pandas Series, a tensor in
    the CPU's memory). Arrays of a library that speaks both protocols of NumPy stay what they are.

    Raises TypeError for what has no real numbers, or more than numbers: a mask, a unit, a graph.
    ``who`` wants the array, and stands at the beginning of the error.

    >>> as_array([1.0, 2.0])
    array([1., 2.])
    """
    kind = type(value)
    if kind is np.ndarray or isinstance(value, (np.generic, BaseVariable)):
        return value
    if kind is float:
        return np.asarray(value)
    try:
        if isinstance(value, np.ndarray):
            return _as_base_array(value)
        return value if is_foreign(value) else _converted(value)
    except (TypeError, ValueError) as error:
        if who == "":
            raise
        raise type(error)(f"{who}: {error}") from None


def as_operand(value: Any) -> Any:
    """As ``as_array``, but a Python number, and None for no array, stay what they are."""
    if value is None or type(value) in READY:
        return value
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return int(value) if isinstance(value, int) else float(value)  # an enum, say
    return as_array(value)


def _as_base_array(x: Any) -> Any:
    """An instance of a subclass (a matrix, a memmap) as a plain ndarray of the same memory."""
    if hasattr(x, "mask"):
        hint = "fill it, or write x.data for its values"
        raise TypeError(f"got a masked array, whose mask would be lost: {hint}")
    if type(x).__array_ufunc__ is not np.ndarray.__array_ufunc__:
        name = _kind_name(x)
        raise TypeError(f"got a {name}, which is more than its numbers: write np.asarray(x)")
    return x.view(np.ndarray)


def _converted(value: Any) -> Any:
    """An array of what is none yet."""
    refuse_masked_parts(value)
    try:
        speaks_only_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
        array = np.from_dlpack(value) if speaks_only_dlpack else np.asarray(value)
    except ValueError as error:
        raise ValueError(f"want an array or a list of rows of one length: {error}") from None
    except (TypeError, RuntimeError, BufferError) as error:
        hint = "; write x.float()" if "bfloat16" in str(getattr(value, "dtype", "")) else ""
        raise TypeError(f"got a {_kind_name(value)} that is no array: {error}{hint}") from None
    if array.dtype.kind in "fiub":
        return array
    raise TypeError(f"want real numbers, got {_described(value, array.dtype)}")


def _described(value: Any, dtype: np.dtype[Any]) -> str:
    text = f"dtype {dtype} of {_kind_name(value)}"
    if dtype.kind == "O" and hasattr(value, "to_numpy"):  # of a frame or a column
        return f"{text}; write x.to_numpy(float), of numbers only"
    if not hasattr(value, "dtype"):
        return f"{'text, ' if dtype.kind in 'US' else ''}{text} {value!r:.40}"
    if dtype.kind == "O" and hasattr(value, "toarray"):  # of a sparse matrix
        return f"{text}; write x.toarray()"
    return text


def _kind_name(value: Any) -> str:
    kind = type(value)
    top = kind.__module__.partition(".")[0]
    return kind.__name__ if top in ("builtins", "__main__") else f"{top}.{kind.__name__}"


def refuse_masked_parts(value: Any) -> None:
    """Look for masked arrays in a list, which NumPy would take without their masks."""
    if isinstance(value, list | tuple) and value and type(value[0]) not in READY:
        for part in value:
            if isinstance(part, np.ndarray):
                _as_base_array(part)
            refuse_masked_parts(part)


def is_array_like(value: Any) -> bool:
    """Whether a value offers an array, rather than being a setting such as an axis or a name."""
    kind = type(value)
    offers = ("__array__", "__array_interface__", "__dlpack__")
    return isinstance(value, memoryview) or any(hasattr(kind, name) for name in offers)


def array_of(x: Any) -> Any:
    """The array of a Variable; anything else as it is."""
    return x._raw if isinstance(x, BaseVariable) else x


def is_foreign(x: Any) -> bool:
    """Whether an array, or a Variable's, is of another library that speaks NumPy's protocols."""
    kind = type(array_of(x))
    if kind is np.ndarray or issubclass(kind, np.ndarray):
        return False
    return hasattr(kind, "__array_function__") and hasattr(kind, "__array_ufunc__")


def kind_of(x: Any) -> type:
    """What arrays have to have in common to be computed with together."""
    return type(array_of(x)) if is_foreign(x) else np.ndarray


def to_kind_of(value: Any, like: Any, dtype: Any = None) -> Any:
    """The value as an array of the library that ``like`` is of, moved there if need be.

    >>> to_kind_of([1.0, 2.0], like=np.zeros(3))
    array([1., 2.])
    """
    value = array_of(value)
    like = array_of(like)
    if type(value) is type(like) and is_foreign(like):
        return value
    array = np.asarray(host(value), dtype)
    if not is_foreign(like):
        return array
    try:
        return np.asarray(array, like=like)
    except Exception:  # it may take no array of NumPy's even here
        return np.asarray(array.tolist(), array.dtype, like=like).reshape(array.shape)


def zeros(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """Zeros of the library that ``like`` is of."""
    if is_foreign(like):
        return np.zeros_like(array_of(like), dtype, shape=shape)
    return np.zeros(shape, dtype)


def host(x: Any) -> Any:
    """Another library's array, or that of a Variable, as NumPy's; anything else as it is."""
    x = array_of(x)
    if not is_foreign(x):
        return x
    return x.get() if hasattr(x, "get") else np.array(x.tolist(), x.dtype).reshape(x.shape)


def add_at(z: Any, index: tuple[Any, ...], g: Any) -> None:
    """``z[index] += g``, where an element that is picked more than once gets all of its shares."""
    rows = len(index) == 1 and type(index[0]) is type(z) is np.ndarray and z.flags.c_contiguous
    if rows and z.ndim > 1:  # as numbers, one by one: up to seven times as fast
        width = math.prod(z.shape[1:])
        places = index[0].astype(np.intp)[..., None] * width + np.arange(width)
        np.add.at(z.reshape(-1), places.reshape(-1), g.reshape(-1))
        return
    try:
        np.add.at(z, index, g)
    except Exception:  # the methods of ufuncs are what a library leaves out first
        if not is_foreign(z):
            raise
        places = to_kind_of(np.arange(z.size).reshape(z.shape), z)[index].reshape(-1)
        z[...] = z + np.bincount(places, g.reshape(-1), z.size).reshape(z.shape).astype(z.dtype)


def home(device: Any) -> Any:
    """An array that stands for all that live where it does.

    Of "cpu", "cuda" (by CuPy), or the array given.
    """
    if not isinstance(device, str):
        return device
    if device not in ("cpu", "cuda"):
        raise ValueError(f"want 'cpu', 'cuda' or an array, got {device!r}")
    try:
        return np.empty(0) if device == "cpu" else import_module("cupy").empty(0)
    except ImportError as error:
        raise ImportError(f"arrays on a GPU are CuPy's: {install('cupy')}") from error


@lru_cache(64)
def _ones(n: int, dtype: np.dtype[Any]) -> Any:
    return np.ones(n, dtype)


ROWS_AT_ONCE = 1024


def sum_rows(g: Any) -> Any:
    """The sum of a matrix over its rows, by products with ones: half of the time of ``g.sum(0)``.

    By blocks, as a product adds one row after the other, and its error grows with their number.
    """
    rows = g.shape[0]
    if rows <= ROWS_AT_ONCE:
        return np.dot(_ones(rows, g.dtype), g)
    blocks = [sum_rows(g[start : start + ROWS_AT_ONCE]) for start in range(0, rows, ROWS_AT_ONCE)]
    return sum_rows(np.stack(blocks))
