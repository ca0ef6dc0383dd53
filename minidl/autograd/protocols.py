"""NumPy's two protocols for Variables, and the registry they look in.

Recording lives in function.py, which fills the registry; operators and methods in operators.py.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.modes import look
from minidl.autograd.node import Func, Inputs, Settings
from minidl.common.arrays import BaseVariable, array_of, as_array
from minidl.common.callers import library_function

REGISTRY: dict[Any, Func] = {}  # NumPy's function -> ours
FINDERS: list[Callable[[Any], Any]] = []  # asked for ufuncs of other libraries: ours, or None


def array_ufunc(ufunc: np.ufunc, method: str, inputs: Inputs, settings: Settings) -> Any:
    """What NumPy calls for ``ufunc(.., variable, ..)``."""
    if "out" in settings:
        return _into_array(ufunc, method, inputs, settings)
    if method != "__call__":
        return _ufunc_method(ufunc, method, inputs, settings)
    function = ours_for(ufunc)
    if function is None:
        raise TypeError(no_rule(ufunc))
    if settings and settings.keys() != {"axis"}:  # which NumPy's products take
        name = next(iter(settings))
        raise TypeError(
            f"{full_name(ufunc)} of a Variable: keyword {name!r} has no derivative rule"
        )
    return function(*inputs, **settings)


def ours_for(ufunc: np.ufunc) -> Any:
    """The function of minidl that stands for a ufunc of NumPy or of another library, or None."""
    ours = REGISTRY.get(ufunc)
    if ours is None:
        ours = next(filter(None, (find(ufunc) for find in FINDERS)), None)
    return ours


def _ufunc_method(ufunc: np.ufunc, method: str, inputs: Inputs, settings: Settings) -> Any:
    """``np.maximum.accumulate(variable)`` and the like, which are registered by name.

    ``outer`` for all.
    """
    outer = ours_for(ufunc)
    if method == "outer" and not settings and outer is not None:
        a, b = map(as_array, inputs)
        return outer(a.reshape(a.shape + (1,) * b.ndim), b)
    function = REGISTRY.get(f"{ufunc.__name__}.{method}")
    if function is None:
        raise TypeError(no_rule(ufunc, method))
    return function(*inputs, **settings)


def _into_array(ufunc: np.ufunc, method: str, inputs: Inputs, settings: Settings) -> Any:
    """``array += constant`` and ``out=array``.

    Plain arithmetic, if nothing that is differentiated gets lost.
    """
    for out in settings["out"]:
        if isinstance(out, BaseVariable):
            raise TypeError(f"{full_name(ufunc)}: out= must be an array; write variable.data")
    for x in inputs:
        look(x, "writing into an array (out= or an in-place operator)")
        if isinstance(x, BaseVariable) and x._node is not None:
            raise TypeError(
                f"{full_name(ufunc)} into an array (out= or an in-place operator) would leave "
                f"the graph: a Variable of shape {x._raw.shape} requires a gradient; "
                "write `a = a + x`, or x.data for its value"
            )
    plain = map(array_of, inputs)
    return getattr(ufunc, method)(*plain, **settings)


def would_leave(shape: tuple[int, ...], stay: str) -> str:
    """What to say when the array of a Variable that requires a gradient is asked for.

    ``stay``: what to do.
    """
    from minidl.common.words import INSTEAD  # only for errors, as below

    function = library_function() or "np.asarray(variable)"
    name = function.rpartition(".")[2]
    if name in getattr(sys.modules.get("minidl.functions"), "__all__", ()):
        stay = f"minidl.functions.{name} is differentiable"
    stay = INSTEAD.get(function, stay)
    return (
        f"{function} would leave the graph: the Variable of shape {shape} requires a gradient; "
        f"for its values alone write x.data; {stay}"
    )


def array_function(function: Any, args: Inputs, kwargs: Settings) -> Any:
    """What NumPy calls for ``np.function(.., variable, ..)``."""
    ours = REGISTRY.get(function)
    if ours is None:
        raise TypeError(no_rule(function))
    return ours(*args, **kwargs)


def full_name(function: Any) -> str:
    """The name of NumPy's or SciPy's function as users write it, such as ``np.linalg.solve``."""
    name: str = function.__name__
    if getattr(np, name, None) is function:
        return f"np.{name}"
    module = getattr(function, "__module__", None)
    if module is None or isinstance(function, np.ufunc):  # which does not know where it is from
        module = ""
        for home in ("scipy.special", "numpy.linalg"):
            if getattr(sys.modules.get(home), name, None) is function:
                module = home
    return f"{module}.{name}".replace("numpy.", "np.", 1).lstrip(".")


def no_rule(function: Any, method: str = "__call__") -> str:
    """What to do about a function that has no rule for Variables."""
    from minidl.common.words import INSTEAD

    name = full_name(function)
    hint = (
        "compose it of minidl.functions, define it with minidl.differentiable, or give it "
        "variable.data if no gradient is needed"
    )
    if name.startswith("np.fft."):
        hint = "it gives complex numbers, which minidl does not have"
    elif method != "__call__":
        name = f"{name}.{method}"
        hint = "write it with the functions of minidl"
    elif hasattr(sys.modules.get("minidl.functions"), function.__name__):
        hint = f"minidl.functions.{function.__name__} is differentiable"
    return f"{name} has no rule for Variables: {INSTEAD.get(name, hint)}"
