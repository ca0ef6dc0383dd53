"""Stand-ins: what a function gets for its plain arrays while it is recorded.

NumPy computes with an ndarray without a word to anybody; with a stand-in it asks. What is noted
then is in recorder.py.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import functions as _functions  # noqa: F401  # which fill the registry
from minidl.autograd import operators
from minidl.autograd.function import Function
from minidl.autograd.modes import MODE, look
from minidl.autograd.protocols import REGISTRY, ours_for
from minidl.autograd.variable import Variable
from minidl.common.pytree import flatten
from minidl.compiler.names import is_known
from minidl.compiler.program import Value
from minidl.compiler.scalars import Number

STATIC = {"itemsize", "nbytes"}  # attributes of arrays that a form decides


# NumPy's functions that differ from ours in last bits, or make an array of a number.
_UNLIKE = (np.dot, np.copy)


class StandIn(Variable):
    """Stands for an array or a number of NumPy's, and computes as that does.

    Functions of it are noted; what reads its values ends the recording.
    """

    __slots__ = ("value",)
    value: Value

    @property  # type: ignore[misc]  # so that isinstance() says what it says of the array
    def __class__(self) -> type:
        return type(self._raw)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        look(self, "np.asarray")
        return np.array(self._raw, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        out = _target(settings, method)
        if out is not None:
            return _into(out, ufunc, inputs, settings)
        if "out" not in settings and method == "__call__" and ours_for(ufunc) is not None:
            return super().__array_ufunc__(ufunc, method, *inputs, **settings)
        return _note(getattr(ufunc, method), inputs, settings)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if _target(kwargs, "__call__") is not None:
            return _into(kwargs["out"], function, args, kwargs)
        ours = REGISTRY.get(function)
        if ours is None or (not isinstance(ours, Function) and _is_alone(args, kwargs)):
            return _note(function, args, kwargs)
        if function in _UNLIKE and are_plain(args):
            return _note(function, args, kwargs)
        return super().__array_function__(function, types, args, kwargs)

    def __setitem__(self, index: Any, value: Any) -> None:
        tracer: Any = MODE.get().tracer
        if hasattr(tracer, "write_item"):
            tracer.write_item(self, index, value)
        else:
            self._raw[unwrap(index)] = unwrap(value)

    def __contains__(self, x: Any) -> bool:
        look(self, "whether something is in the values")
        return unwrap(x) in self._raw

    def __repr__(self) -> str:
        look(self, "repr()")
        return repr(self._raw)

    def __str__(self) -> str:
        look(self, "str()")
        return str(self._raw)

    def __format__(self, spec: str) -> str:
        look(self, "a format")
        return format(self._raw, spec)

    def __hash__(self) -> int:
        if isinstance(self._raw, np.ndarray):
            raise TypeError("unhashable type: 'numpy.ndarray'")
        look(self, "hash()")
        return hash(self._raw)

    def __reduce__(self) -> Any:
        look(self, "a copy")
        return self._raw.__reduce__()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or not hasattr(self._raw, name):
                raise AttributeError(f"{type(self._raw).__name__!r} has no attribute {name!r}")
            if name not in STATIC:
                look(self, f".{name}")
            return getattr(self._raw, name)

    @property  # type: ignore[misc]  # an array's cannot be assigned
    def data(self) -> Any:
        """The array's own ``.data``."""
        look(self, ".data")
        return self._raw.data

    def item(self, *index: Any) -> Any:
        """The one element, or that at a place."""
        look(self, "item()")
        return self._raw.item(*index)

    def __index__(self) -> int:
        look(self, "an index")
        return operator.index(self._raw)


def _target(settings: dict[str, Any], method: str) -> StandIn | None:
    """The stand-in that NumPy is to write a result into, if that is all of it."""
    out = settings.get("out")
    out = out[0] if type(out) is tuple and len(out) == 1 else out
    hidden = "where" in settings or method != "__call__" or MODE.get().tracer is None
    return None if hidden or type(out) is not StandIn else out


def _into(out: StandIn, function: Any, args: Any, settings: Any) -> StandIn:
    rest = {name: value for name, value in settings.items() if name != "out"}
    tracer: Any = MODE.get().tracer
    how = f"{function.__name__}(.., out=)"
    return tracer.write(out, function(*args, **rest), how)  # type: ignore[no-any-return]  # out


def _note(function: Any, args: Any, settings: Any) -> Any:
    tracer: Any = MODE.get().tracer
    if hasattr(tracer, "call"):
        return tracer.call(function, args, settings)
    return function(*unwrap(args), **unwrap(settings))  # the recording is over


def unwrap(x: Any) -> Any:
    """Arrays and numbers in place of stand-ins, those in tuples, lists and dicts too."""
    kind = type(x)
    if kind is StandIn or kind is Number:
        return x._raw
    if kind is tuple or kind is list:
        return kind([unwrap(part) for part in x])
    if kind is dict:
        return {key: unwrap(part) for key, part in x.items()}
    return x


def raw_of(x: Any) -> Any:
    """The array or number of a Variable, or of what stands for one; anything else as it is."""
    return getattr(x, "_raw", x)


def is_among(x: Any, things: Iterable[Any]) -> bool:
    """Whether an object is one of some; ``in`` would ask whether it equals one."""
    return any(x is thing for thing in things)


def same_elements(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays hold the same; nan is nan."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def stand_in(raw: Any, value: Value) -> StandIn:
    """A stand-in for an array or a number of NumPy's."""
    out = StandIn.__new__(StandIn)
    out._raw = raw
    out._node = out._leaf = out._grad = out.name = None
    out.value = value
    return out


def _is_alone(args: Any, settings: Any) -> bool:
    """Whether no more than one argument is a Variable or a stand-in."""
    leaves = flatten((args, settings))[0]
    return sum(isinstance(x, Variable) for x in leaves) <= 1


def are_plain(args: Any) -> bool:
    """Whether eagerly the arguments are arrays, and no Variable among them."""
    return all(type(x) is StandIn or not isinstance(x, Variable) for x in args)


def _of_arrays(name: str) -> Any:
    """A method as arrays have it, where minidl composes it of others, or orders memory otherwise."""
    ours = getattr(Variable, name)

    def method(self: StandIn, *args: Any, **settings: Any) -> Any:
        if isinstance(self._raw, np.ndarray) and _is_alone((self, *args), settings):
            return _note(getattr(np.ndarray, name), (self, *args), settings)
        return ours(self, *args, **settings)

    return method


def _in_place(name: str, function: Any) -> Any:
    """``x += y``: of an array a new value in the same memory, of a number a new number."""
    plain = getattr(Variable, f"__{name[3:]}")

    def in_place(self: StandIn, other: Any) -> Any:
        tracer: Any = MODE.get().tracer
        new = plain(self, other)
        if new is NotImplemented or not isinstance(self._raw, np.ndarray) or tracer is None:
            return new
        if type(new) is not StandIn and new._node is not None:
            getattr(operator, name)(self._raw, other)  # refused: it would leave the graph
        return tracer.write(self, tracer.as_plain(new), f"in-place {function.__name__}")

    return in_place


def _conversion(kind: Any, how: str) -> Any:
    """``float(x)``, which reads one element; of more, the array's own error."""

    def convert(self: StandIn) -> Any:
        if self._raw.size == 1:
            look(self, how)
        return kind(self._raw)

    return convert


for _kind, _said in ((float, "float()"), (int, "int()"), (complex, "complex()")):
    setattr(StandIn, f"__{_kind.__name__}__", _conversion(_kind, _said))
StandIn.__bool__ = _conversion(bool, "the truth")  # type: ignore[method-assign]  # as above


def _hidden(name: str) -> property:
    """What Variables have and arrays have not: it is there for minidl, not for the user's code."""
    ours = getattr(Variable, name)

    def get(self: StandIn) -> Any:
        if not is_known(sys._getframe(1).f_globals.get("__name__")):
            raise AttributeError(f"{type(self._raw).__name__!r} object has no attribute {name!r}")
        return ours.__get__(self)

    return property(get)


for _name in dir(Variable):
    if _name[0] != "_" and _name != "name" and not hasattr(np.ndarray, _name):
        setattr(StandIn, _name, _hidden(_name))

for _name, (_function, _how) in operators.TABLE.items():
    if _how == "in place":
        setattr(StandIn, _name, _in_place(_name, _function))
    elif _how in ("method", "starred") and hasattr(np.ndarray, _name):
        _composed = not isinstance(REGISTRY.get(_function), Function)
        if _composed or _name in ("copy", "flatten"):
            setattr(StandIn, _name, _of_arrays(_name))
