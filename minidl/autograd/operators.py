"""Operators and methods of Variable: one table from their names to NumPy's functions.

``x + y`` is ``np.add``, ``x.sum()`` is ``np.sum``. What these compute is in minidl.functions; as
soon as a function is registered for one of NumPy's (by ``implements``), it is bound here.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.autograd.node import Func, Inputs, Leaf, Settings
from minidl.autograd.protocols import no_rule
from minidl.common.hints import check_keywords

if TYPE_CHECKING:
    from minidl.autograd.variable import Variable

_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "divmod": np.divmod,
    "matmul": np.matmul,
    "pow": np.power,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
_COMPARISONS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
_UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}
_METHODS = (
    "all any argmax argmin argpartition argsort choose clip conjugate copy cumprod cumsum diagonal "
    "dot max mean min nonzero prod ravel repeat round searchsorted squeeze std sum swapaxes take trace var"
)

# name -> (NumPy's function, how the arguments come)
TABLE: dict[str, tuple[Any, str]] = {
    **{f"__{name}__": (f, "binary") for name, f in (_BINARY | _COMPARISONS).items()},
    **{f"__r{name}__": (f, "reflected") for name, f in _BINARY.items()},
    **{f"__i{name}__": (f, "in place") for name, f in _BINARY.items() if name != "divmod"},
    **{f"__{name}__": (f, "unary") for name, f in _UNARY.items()},
    **{name: (getattr(np, name), "method") for name in _METHODS.split()},
    "conj": (np.conjugate, "method"),
    "flatten": (np.ravel, "method"),
    "__round__": (np.round, "method"),
    "reshape": (np.reshape, "starred"),
    "transpose": (np.transpose, "starred"),
    "T": (np.transpose, "property"),
    "mT": (np.matrix_transpose, "property"),
    "real": (np.real, "property"),
    "imag": (np.imag, "property"),
    "__getitem__": ("getitem", "index"),
    "astype": ("astype", "method"),  # by name: NumPy has no function for these two
    "compress": ("compress", "method"),  # the array comes first, and in np.compress the condition
}


# NumPy's function -> the names that stand for it, and how their arguments come
NAMES: dict[Any, list[tuple[str, str]]] = {}
for _name, (_original, _form) in TABLE.items():
    NAMES.setdefault(_original, []).append((_name, _form))


def call(function: Any, inputs: Inputs, settings: Settings) -> Any:
    """Call a function that is composed of others. A recorded one goes to ``record`` directly."""
    return function(*inputs, **settings)


def method(form: str, function: Any, apply: Func) -> Any:
    """The method of Variable for a function, which ``apply(function, inputs, settings)`` runs."""
    if form in ("binary", "index"):
        return lambda self, other: apply(function, (self, other), {})
    if form == "reflected":
        return lambda self, other: apply(function, (other, self), {})
    if form == "in place":
        return lambda self, other: apply(function, (_not_a_leaf(function, self), other), {})
    if form == "unary":
        return lambda self: apply(function, (self,), {})
    if form == "property":
        words = f"NumPy's ``{function.__name__}``."
        return property(lambda self: apply(function, (self,), {}), doc=words)
    return _starred(function) if form == "starred" else _method(function)


def _method(function: Any) -> Any:
    def method(self: Any, *args: Any, **settings: Any) -> Any:
        try:
            return function(self, *args, **settings)
        except TypeError:
            if settings:  # it may be one of them, and then the right word is known
                takes = tuple(inspect.signature(function).parameters)[1:]
                check_keywords(function.__name__, settings, takes)
            raise

    return method


def _starred(function: Any) -> Any:
    """A method that takes a shape as one tuple, or as numbers one by one."""

    plain = _method(function)

    def method(self: Any, *shape: Any, **settings: Any) -> Any:
        if len(shape) > 1 or (shape and isinstance(shape[0], int | np.integer)):
            shape = (shape,)
        return plain(self, *shape, **settings) if settings else function(self, *shape)

    return method


def _not_a_leaf(function: Any, x: Variable) -> Variable:
    """``loss += term`` makes a new result and rebinds the name.

    A leaf that is trained must not go that way.
    """
    if type(x._node) is Leaf:
        hint = "to update it write `x.data -= ...`, to compute with it `x = x - ...`"
        name = function.__name__
        raise TypeError(f"in-place {name} on a leaf that requires a gradient: {hint}")
    return x


def _unregistered(original: Any) -> Any:
    def refuse(*operands: Any) -> Any:
        raise TypeError(no_rule(original))

    return refuse


class OperatorsMixin:
    """The operators and methods of the table, declared for type checkers and readers."""

    __slots__ = ()

    if TYPE_CHECKING:
        T: Variable

        def _unary(self) -> Variable: ...
        def _binary(self, other: Any) -> Variable: ...
        def _reduction(self, axis: Any = None, *, keepdims: bool = False) -> Variable: ...
        def _along(self, axis: Any = None) -> Variable: ...
        def _shaped(self, *shape: Any) -> Variable: ...

        __neg__ = __pos__ = __abs__ = __invert__ = _unary
        __add__ = __sub__ = __mul__ = __truediv__ = __matmul__ = __pow__ = _binary
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rmatmul__ = __rpow__ = _binary
        __and__ = __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = _binary
        __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = _binary
        __eq__ = __ne__ = _binary  # type: ignore[assignment]  # elementwise, as in NumPy
        __getitem__ = dot = _binary
        sum = mean = max = min = prod = _reduction
        all = any = argmax = argmin = squeeze = cumsum = cumprod = _along
        flatten = ravel = copy = _unary
        reshape = transpose = _shaped

        def var(self, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Variable: ...
        def argsort(self, axis: Any = -1) -> Variable: ...
        def nonzero(self) -> tuple[Variable, ...]: ...
        def swapaxes(self, axis1: int, axis2: int) -> Variable: ...
        def clip(
            self, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
        ) -> Variable: ...
        def round(self, decimals: int = 0) -> Variable: ...
        def __divmod__(self, other: Any) -> tuple[Variable, Variable]: ...
        def take(self, indices: Any, axis: int | None = None) -> Variable: ...
        def astype(self, dtype: Any) -> Variable: ...

        std = var


# Until a function is registered, an operator says so; Python's own words would be "unsupported
# operand".
for _name, (_original, _form) in TABLE.items():
    if _form in ("binary", "reflected", "in place", "unary"):
        setattr(OperatorsMixin, _name, _unregistered(_original))
