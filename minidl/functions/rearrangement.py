"""Linear maps that move, repeat, drop or fill in elements: flip, roll, tile, diagonals, pad.

Functions that only change the shape live in shape.py, those that join arrays in joining.py.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minidl.autograd.composition import composition
from minidl.autograd.function import Function, differentiable
from minidl.autograd.modes import values_of
from minidl.common.hints import unexpected
from minidl.functions.indexing import put

# fmt: off
__all__ = [
    "delete", "diag", "diagflat", "diagonal", "flip", "fliplr", "flipud", "insert", "pad",
    "repeat", "resize", "roll", "rot90", "tile", "tril", "triu",
]
# fmt: on


def _rearranged_rule(g: Any, y: Any, a: Any, move: Callable[[Any], Any]) -> Any:
    """Every gradient goes back to where its element came from.

    That is found by moving the numbers of the places, from 1 on; what was filled in bears the
    number 0, whose gradients are dropped.
    """
    n = a.size + 1
    places = move(np.arange(1, n).reshape(a.shape))
    return put(g.reshape(-1), (n,), places.reshape(-1))[1:].reshape(a.shape)


# fmt: off
# ``move`` is a function of arrays that moves, repeats or drops elements, and fills in zeros.
rearranged: Function = differentiable(lambda a, move: move(a), _rearranged_rule, name="rearranged")
# fmt: on


def _mover(original: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy's that rearranges its first argument, differentiable, with all its
    arguments.
    """
    form = signature(original)

    def body(*args: Any, **settings: Any) -> Any:
        arguments = form.bind(*args, **settings).arguments
        a, *_ = arguments.values()
        how = f"np.{original.__name__}"
        rest = {name: values_of(value, how) for name, value in list(arguments.items())[1:]}
        return rearranged(a, lambda x: original(x, **rest))

    body.__name__ = original.__name__
    body.__signature__ = form  # type: ignore[attr-defined]  # what signature() gives then
    body.__doc__ = (
        f"NumPy's ``{original.__name__}``: each gradient goes back to where its element came from."
    )
    return composition(original)(body)


# fmt: off
delete   = _mover(np.delete)
diag     = _mover(np.diag)
diagflat = _mover(np.diagflat)
diagonal = _mover(np.diagonal)
repeat   = _mover(np.repeat)
resize   = _mover(np.resize)
roll     = _mover(np.roll)
rot90    = _mover(np.rot90)
tile     = _mover(np.tile)
tril     = _mover(np.tril)
triu     = _mover(np.triu)
# fmt: on


@composition(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """The elements in reverse order along axes, all for None: NumPy's ``flip``.

    >>> flip(np.array([1.0, 2.0, 3.0]))
    array([3., 2., 1.])
    """
    axes = range(m.ndim) if axis is None else normalize_axis_tuple(axis, m.ndim)
    return m[tuple(slice(None, None, -1 if i in axes else 1) for i in range(m.ndim))]


@composition(np.flipud)
def flipud(m: Any) -> Any:
    """The rows in reverse order: NumPy's ``flipud``.

    >>> flipud(np.array([[1.0], [2.0]]))
    array([[2.],
           [1.]])
    """
    return flip(m, 0)


@composition(np.fliplr)
def fliplr(m: Any) -> Any:
    """The columns in reverse order: NumPy's ``fliplr``.

    >>> fliplr(np.array([[1.0, 2.0]]))
    array([[2., 1.]])
    """
    return flip(m, 1)


@composition(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """Values put in before the given indices: NumPy's ``insert``. Both arrays have gradients.

    >>> insert(np.array([1.0, 2.0]), 1, 5.0)
    array([1., 5., 2.])
    """
    obj = values_of(obj, "np.insert")
    values = values if hasattr(values, "cleargrad") else np.asarray(values)
    values = values.astype(arr.dtype)
    spread = rearranged(arr, lambda x: np.insert(x, obj, 0, axis))
    return spread + rearranged(
        values, lambda x: np.insert(np.zeros(arr.shape, x.dtype), obj, x, axis)
    )


# ---- pad -----------------------------------------------------------------------------------------

_SETTINGS = {"constant_values", "end_values", "reflect_type", "stat_length"}
_BY_PLACE = ("edge", "reflect", "symmetric", "wrap")
_STATISTICS = {"maximum": np.max, "mean": np.mean, "median": np.median, "minimum": np.min}


@composition(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """Elements added around an array: NumPy's ``pad``, in all its modes but empty and functions.

    >>> pad(np.array([1.0, 2.0]), 1)
    array([0., 1., 2., 0.])
    """
    for keyword in kwargs.keys() - _SETTINGS:
        raise unexpected("pad", keyword, ("array", "pad_width", "mode", *sorted(_SETTINGS)))
    widths = _widths(pad_width, array.ndim)
    zeros = np.zeros(array.shape, array.dtype)
    if mode == "constant":
        padded = rearranged(array, lambda x: np.pad(x, widths))
        return padded + np.pad(zeros, widths, mode, **kwargs) if kwargs else padded
    if mode in _BY_PLACE and kwargs.get("reflect_type", "even") == "even":
        return rearranged(array, lambda x: np.pad(x, widths, mode, **kwargs))
    if mode in _STATISTICS and array.dtype.kind == "f":
        np.pad(zeros, widths, mode, **kwargs)  # refuses nonsense, and what no memory holds
        length = kwargs.get("stat_length")
        lengths = np.broadcast_to(array.size if length is None else length, widths.shape)
        for axis, width in enumerate(widths):
            array = _padded_by_statistic(array, axis, width, lengths[axis], _STATISTICS[mode])
        return array
    modes = ("constant", "linear_ramp", *_BY_PLACE, *_STATISTICS)
    if mode not in modes:
        raise ValueError(f"want a mode of {', '.join(modes)}, got {mode!r}")
    return _padded(array, widths, mode, kwargs)


def _padded_rule(g: Any, y: Any, x: Any, widths: Any, mode: Any, settings: Any) -> Any:
    """Along each axis padding is a matrix, that of the padded unit vectors; this is its transpose."""
    settings = {name: value for name, value in settings.items() if name != "end_values"}
    for axis in reversed(range(x.ndim)):
        unit = np.eye(x.shape[axis])
        matrix = np.pad(unit, (widths[axis], (0, 0)), mode, **settings).astype(g.dtype)
        g = (g.swapaxes(axis, -1) @ matrix).swapaxes(axis, -1)
    return g


# The rule is for linear_ramp and for odd reflections; integers, which have no derivative, come too.
_padded = differentiable(
    lambda x, widths, mode, settings: np.pad(x, widths, mode, **settings), _padded_rule, name="pad"
)


def _widths(pad_width: Any, ndim: int) -> Any:
    """Before and after each axis, of numbers or pairs; a dict has them by axis."""
    pad_width = values_of(pad_width, "np.pad")
    if not isinstance(pad_width, dict):
        return np.broadcast_to(pad_width, (ndim, 2))
    widths = np.zeros((ndim, 2), int)
    for axis, width in pad_width.items():
        widths[axis] = width
    return widths


def _padded_by_statistic(x: Any, axis: int, width: Any, lengths: Any, statistic: Any) -> Any:
    """Padded along one axis by a statistic of the elements at each end, at most that many of them."""
    n = x.shape[axis]
    first, last = lengths
    ends = (slice(None, first), slice(max(n - last, 0), None))
    before, after = (
        statistic(x[(slice(None),) * axis + (end,)], axis=axis, keepdims=True) for end in ends
    )
    left, right = width
    return np.concatenate([np.repeat(before, left, axis), x, np.repeat(after, right, axis)], axis)
