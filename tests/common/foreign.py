"""An array class that is not NumPy's, as strict as CuPy's or stricter: what gets past it gets past a GPU.

It speaks NumPy's two protocols and has the methods that CuPy's arrays have. Any conversion that nobody asked for
raises, as does NumPy's array beside one of these. The tests of it, and of minidl on it, are in test_foreign.py.
"""

from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

_NUMBERS = (bool, int, float, np.generic)
_INDICES = (int, np.integer, bool, np.bool_, slice, type(None), type(...))
_CREATION = (np.asarray, np.array)  # what like= reaches, with NumPy's memory among the arguments
used: set[str] = set()  # the functions of NumPy that were asked for, by name


class Array(NDArrayOperatorsMixin):
    """An array in memory that only ``tolist``, ``item`` and, for the tests, ``inner`` bring to NumPy."""

    __slots__ = ("__values",)
    __hash__ = None  # type: ignore[assignment]  # as CuPy's, which == compares element by element

    def __init__(self) -> None:
        raise TypeError("say np.asarray(.., like=array), or foreign(..) in a test")

    # ---- the two protocols --------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        outs = settings.pop("out", ())
        for x in (*inputs, *outs, *settings.values()):
            if isinstance(x, np.ndarray):
                raise TypeError(
                    f"np.{ufunc.__name__}: NumPy's array {x.shape} beside another library's"
                )
            if not isinstance(x, (Array, *_NUMBERS)):
                return NotImplemented
        used.add(ufunc.__name__)
        if outs:
            settings["out"] = tuple(map(_values, outs))
            ufunc(*map(_values, inputs), **settings)
            return outs[0]
        return _wrapped(ufunc(*map(_values, inputs), **settings))

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        if not all(issubclass(t, (Array, np.ndarray)) for t in types):
            return NotImplemented
        used.add(function.__name__)
        if function in _CREATION:
            return _wrapped(np.array(*args, **settings))
        return _wrapped(function(*_unwrapped(args), **_unwrapped(settings)))

    # ---- what nobody may ask for ---------------------------------------------------------------------------------

    def _refuse(self, *args: Any, **settings: Any) -> NoReturn:
        raise TypeError("implicit conversion of another library's array")

    __array__ = __float__ = __int__ = __index__ = __complex__ = __buffer__ = __dlpack__ = _refuse

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("the truth of an array of more or less than one element")
        return bool(_values(self).item())

    # ---- what CuPy's arrays have ---------------------------------------------------------------------------------

    shape = property(lambda self: _values(self).shape)
    dtype = property(lambda self: _values(self).dtype)
    ndim = property(lambda self: _values(self).ndim)
    size = property(lambda self: _values(self).size)
    itemsize = property(lambda self: _values(self).itemsize)
    nbytes = property(lambda self: _values(self).nbytes)
    T = property(lambda self: _wrapped(_values(self).T))

    def item(self) -> Any:
        return _values(self).item()

    def tolist(self) -> Any:
        return _values(self).tolist()

    def __len__(self) -> int:
        return len(_values(self))

    def __iter__(self) -> Any:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(_values(self)[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, (Array, *_NUMBERS)):
            raise TypeError(f"assignment of {type(value).__name__} into another library's array")
        _values(self)[_index(index)] = _values(value)

    def __repr__(self) -> str:
        return f"foreign({_values(self)!r})"


def _method(name: str) -> Any:
    def method(self: Any, *args: Any, **settings: Any) -> Any:
        if {"initial", "where", "casting"} & settings.keys():
            raise TypeError(f"{name}: CuPy's has no such keyword: {', '.join(settings)}")
        return _wrapped(getattr(_values(self), name)(*_unwrapped(args), **_unwrapped(settings)))

    return method


for _name in (
    "sum",
    "mean",
    "var",
    "max",
    "min",
    "argmax",
    "argmin",
    "argsort",
    "all",
    "any",
    "reshape",
    "astype",
    "copy",
    "swapaxes",
    "transpose",
    "squeeze",
    "ravel",
    "flatten",
    "take",
    "clip",
    "dot",
    "nonzero",
    "round",
    "cumsum",
):
    setattr(Array, _name, _method(_name))


def foreign(values: Any) -> Any:
    """An Array of a copy of these values."""
    return _wrapped(np.array(values))


def inner(x: Array) -> Any:
    """A copy of the values, for a test to look at."""
    assert type(x) is Array
    return _values(x).copy()


def _values(x: Any) -> Any:
    return x._Array__values if isinstance(x, Array) else x


def _wrapped(values: Any) -> Any:
    """Arrays and scalars of NumPy as Arrays: a result without axes is one too."""
    if isinstance(values, (tuple, list)):
        return type(values)(map(_wrapped, values))
    if not isinstance(values, (np.ndarray, np.generic)):
        return values
    new = object.__new__(Array)
    new._Array__values = np.asarray(values)  # type: ignore[attr-defined]  # a slot
    return new


def _unwrapped(args: Any) -> Any:
    if isinstance(args, np.ndarray):
        raise TypeError(f"NumPy's array {args.shape} beside another library's")
    if isinstance(args, dict):
        return {name: _unwrapped(value) for name, value in args.items()}
    return type(args)(map(_unwrapped, args)) if isinstance(args, (tuple, list)) else _values(args)


def _index(index: Any) -> Any:
    for i in index if isinstance(index, tuple) else (index,):
        if not isinstance(i, (Array, *_INDICES)):
            raise IndexError(f"{type(i).__name__} as an index of another library's array")
    return _unwrapped(index)
