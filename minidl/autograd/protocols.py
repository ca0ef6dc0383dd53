"""NumPy's two protocols for Variables, the registry they look in, and the table of bound methods.

Recording lives in function.py, which fills the registry; the rules live in minidl.functions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.common.arrays import unadorned

REGISTRY: dict[Any, Callable[..., Any]] = {}  # NumPy's function -> ours
FINDERS: list[Callable[[Any], Any]] = []  # asked for ufuncs of other libraries: ours, or None

# What a Variable's operators and methods are: name -> (NumPy's function, how its arguments come).
_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "matmul": np.matmul,
    "pow": np.power,
    "mod": np.remainder,
    "floordiv": np.floor_divide,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
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
    "sum",
    "mean",
    "var",
    "max",
    "min",
    "argmax",
    "argmin",
    "all",
    "any",
    "swapaxes",
    "squeeze",
    "clip",
    "round",
    "take",
    "dot",
    "ravel",
)
METHODS: dict[str, tuple[Any, str]] = {
    **{f"__{name}__": (f, "binary") for name, f in (_BINARY | _COMPARISONS).items()},
    **{f"__r{name}__": (f, "reflected") for name, f in _BINARY.items()},
    **{f"__i{name}__": (f, "in place") for name, f in _BINARY.items()},
    **{f"__{name}__": (f, "unary") for name, f in _UNARY.items()},
    **{name: (getattr(np, name), "method") for name in _METHODS},
    "flatten": (np.ravel, "method"),
    "__divmod__": (np.divmod, "method"),
    "reshape": (np.reshape, "starred"),
    "transpose": (np.transpose, "starred"),
    "T": (np.transpose, "property"),
    "__getitem__": ("getitem", "method"),
    "astype": ("astype", "method"),  # by name: NumPy has no function for these
}


def as_array(value: Any) -> Any:
    """A list or a number as an array; what is an array or a Variable stays as it is."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray):
        return unadorned(value)
    if hasattr(value, "dtype"):
        return value
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"want an array or a list of rows of one length: {error}") from None


def array_ufunc(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], settings: dict[str, Any]
) -> Any:
    """What NumPy calls for ``ufunc(.., variable, ..)``."""
    if "out" in settings:
        return _into_array(ufunc, method, inputs, settings)
    function = REGISTRY.get(ufunc) or next(filter(None, (find(ufunc) for find in FINDERS)), None)
    if method == "__call__" and not settings and function is not None:
        return function(*inputs)
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if method != "__call__" or function is None:
        raise TypeError(_no_rule(name))
    raise TypeError(
        f"np.{name} of a Variable: keyword {next(iter(settings))!r} has no derivative rule"
    )


def _into_array(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], settings: dict[str, Any]
) -> Any:
    """``array += constant`` and ``out=array``: plain arithmetic, if nothing that is differentiated gets lost."""
    for x in settings["out"]:
        if type(x) is not np.ndarray and hasattr(x, "cleargrad"):
            raise TypeError(f"np.{ufunc.__name__}: out= must be an array; say variable.data")
    plain = []
    for x in inputs:
        if type(x) is not np.ndarray and hasattr(x, "cleargrad"):
            if x._node is not None:
                raise TypeError(
                    f"np.{ufunc.__name__} into an array (out= or an in-place operator) would leave the graph: a "
                    f"Variable of shape {x.shape} requires a gradient; say variable.data if that is meant"
                )
            x = x._raw
        plain.append(x)
    return getattr(ufunc, method)(*plain, **settings)


def array_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What NumPy calls for ``np.function(.., variable, ..)``."""
    ours = REGISTRY.get(function)
    if ours is None:
        raise TypeError(_no_rule(function.__name__))
    return ours(*args, **kwargs)


def _no_rule(name: str) -> str:
    return (
        f"np.{name} has no rule for Variables: compose it of minidl.functions, define it with "
        "minidl.differentiable, or say variable.data if no gradient is needed"
    )
