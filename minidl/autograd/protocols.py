"""NumPy's two protocols for Variables, the registry they look in, and the table of bound methods.

Recording lives in function.py, which fills the registry; the rules live in minidl.functions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

REGISTRY: dict[Any, Callable[..., Any]] = {}  # NumPy's function -> ours

# What a Variable's operators and methods are: name -> (NumPy's function, how its arguments come).
METHODS: dict[str, tuple[Any, str]] = {
    "__add__": (np.add, "binary"), "__radd__": (np.add, "reflected"),
    "__sub__": (np.subtract, "binary"), "__rsub__": (np.subtract, "reflected"),
    "__mul__": (np.multiply, "binary"), "__rmul__": (np.multiply, "reflected"),
    "__truediv__": (np.divide, "binary"), "__rtruediv__": (np.divide, "reflected"),
    "__matmul__": (np.matmul, "binary"), "__rmatmul__": (np.matmul, "reflected"),
    "__pow__": (np.power, "binary"), "__rpow__": (np.power, "reflected"),
    "__neg__": (np.negative, "unary"), "__pos__": (np.positive, "unary"), "__abs__": (np.absolute, "unary"),
    "__lt__": (np.less, "binary"), "__le__": (np.less_equal, "binary"),
    "__gt__": (np.greater, "binary"), "__ge__": (np.greater_equal, "binary"),
    "__eq__": (np.equal, "binary"), "__ne__": (np.not_equal, "binary"),
    "__and__": (np.bitwise_and, "binary"), "__or__": (np.bitwise_or, "binary"),
    "__xor__": (np.bitwise_xor, "binary"), "__invert__": (np.invert, "unary"),
    "__rand__": (np.bitwise_and, "reflected"), "__ror__": (np.bitwise_or, "reflected"),
    "__rxor__": (np.bitwise_xor, "reflected"),
    "__iadd__": (np.add, "in place"), "__isub__": (np.subtract, "in place"), "__imul__": (np.multiply, "in place"),
    "__itruediv__": (np.divide, "in place"), "__ipow__": (np.power, "in place"), "__imatmul__": (np.matmul, "in place"),
    "sum": (np.sum, "method"), "mean": (np.mean, "method"), "var": (np.var, "method"),
    "max": (np.max, "method"), "min": (np.min, "method"),
    "argmax": (np.argmax, "method"), "argmin": (np.argmin, "method"),
    "all": (np.all, "method"), "any": (np.any, "method"),
    "swapaxes": (np.swapaxes, "method"), "squeeze": (np.squeeze, "method"),
    "clip": (np.clip, "method"), "take": (np.take, "method"), "flatten": (np.ravel, "method"),
    "dot": (np.dot, "method"),
    "__getitem__": ("getitem", "method"), "astype": ("astype", "method"),  # by name: NumPy has no function for these
    "reshape": (np.reshape, "starred"), "transpose": (np.transpose, "starred"), "T": (np.transpose, "property"),
}


def as_array(value: Any) -> Any:
    """A list or a number as an array; what is an array or a Variable stays as it is."""
    return value if hasattr(value, "dtype") else np.asarray(value)


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """What NumPy calls for ``ufunc(.., variable, ..)``."""
    function = REGISTRY.get(ufunc)
    if method == "__call__" and not settings and function is not None:
        return function(*inputs)
    if "out" in settings:
        return _into_array(ufunc, method, inputs, settings)
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    if method != "__call__" or function is None:
        raise TypeError(_no_rule(name))
    raise TypeError(f"np.{name} of a Variable: keyword {next(iter(settings))!r} has no derivative rule")


def _into_array(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """``array += constant`` and ``out=array``: plain arithmetic, if nothing that is differentiated gets lost."""
    for x in (*inputs, *settings["out"]):
        if getattr(x, "requires_grad", False):
            raise TypeError(
                f"np.{ufunc.__name__} into an array (out= or an in-place operator) would leave the graph: a "
                f"Variable of shape {x.shape} requires a gradient; say variable.data if that is meant"
            )
        if any(x is o and hasattr(x, "cleargrad") for o in settings["out"]):
            raise TypeError(f"np.{ufunc.__name__}: out= must be an array; say variable.data")
    plain = [x.data if hasattr(x, "cleargrad") else x for x in inputs]
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
