"""Functions composed of functions that have rules: how they are registered, named in errors, and
checked.

Functions with a rule of their own are made in function.py.
"""

import sys
from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from typing import Any

import numpy as np

from minidl.autograd.errors import with_name
from minidl.autograd.function import implements
from minidl.autograd.node import Func
from minidl.common.arrays import as_array
from minidl.common.hints import check_keywords


def real(value: Any) -> Any:
    """A list, number, array or Variable as an array or a Variable of real numbers."""
    value = as_array(value)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"want real numbers, got {value.dtype}")
    return value


def numpys(name: str) -> list[Any]:
    """NumPy's function of that name, if its version has it."""
    return [getattr(np, name)] if hasattr(np, name) else []


@cache  # asked at the first call with keywords: at import it would be the dearest thing of all
def _parameters(body: Func) -> tuple[tuple[str, ...], bool]:
    """The names of a function's parameters, and whether it takes any keyword."""
    parameters = signature(body).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return tuple(parameters), open_ended


def composition(*replaces: Func | str, arrays: int | None = 1) -> Callable[[Func], Func]:
    """Let a function written with functions that have rules stand for NumPy's ``replaces``.

    It is differentiable because they are. Its first ``arrays`` arguments (all by place for None)
    reach it as arrays or Variables of real numbers; keywords that it does not take are refused with
    a hint, and errors carry its name.
    """

    def decorate(body: Func) -> Func:
        name = body.__name__.lstrip("_")
        most = sys.maxsize if arrays is None else arrays

        @wraps(body)
        def function(*args: Any, **settings: Any) -> Any:
            takes, open_ended = _parameters(body) if settings else ((), True)
            if not open_ended:
                check_keywords(name, settings, takes)
            try:
                for keyword in sorted(settings.keys() & takes[: arrays or 0]):
                    settings[keyword] = real(settings[keyword])
                y = body(*map(real, args[:most]), *args[most:], **settings)
            except AttributeError as error:
                raise TypeError(f"{name}: {error}") from error
            except Exception as error:
                named = with_name(name, error)
                if named is error:
                    raise
                raise named from error
            return y[()] if type(y) is np.ndarray and y.ndim == 0 else y

        function.__name__ = function.__qualname__ = name
        for original in replaces:
            implements(original)(function)
        return function

    return decorate
