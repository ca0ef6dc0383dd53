"""Flattening and rebuilding nested tuples, lists and dicts of arrays: arguments, results, state.

What a program does with the arrays is in recording.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.modes import Mode
from minidl.autograd.variable import Variable
from minidl.compiler.guards import form


def key_of(mode: Mode, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any]) -> Any:
    """What a program depends on of mode and arguments; their arrays are added to ``leaves``."""
    places = [key(x, leaves) for x in args]  # first: leaves are in this order
    return (
        mode.recording,
        mode.testing,
        *places,
        *[(name, key(x, leaves)) for name, x in kwargs.items()],
    )


class NotForPrograms(Exception):
    """Arguments of a kind that is left to eager code."""


def key(x: Any, leaves: list[Any]) -> Any:
    """The form of an argument; arrays and Variables in it are added to ``leaves``."""
    kind = type(x)
    if kind is np.ndarray:
        leaves.append(x)
        return x.shape, x.dtype
    if isinstance(x, Variable):
        if type(x._raw) is not np.ndarray and not isinstance(x._raw, np.generic):
            raise NotForPrograms
        leaves.append(x)
        return x._raw.shape, x._raw.dtype, x._node is not None
    if isinstance(x, np.ndarray) or (
        hasattr(x, "__array_function__") and not isinstance(x, np.generic)
    ):
        raise NotForPrograms  # a subclass, or another library's
    if isinstance(x, np.floating):
        leaves.append(x)
        return x.dtype
    if isinstance(x, (list, tuple)):
        return kind, tuple([key(part, leaves) for part in x])
    if kind is dict:
        return kind, tuple([(k, key(part, leaves)) for k, part in x.items()])
    if kind in (float, complex):
        return kind, repr(x)  # -0.0 is not 0.0, and nan is nan
    if kind in (int, bool, str, bytes, type(None)) or isinstance(x, np.generic):
        return kind, x
    return kind, id(x)  # the guard keeps it alive


def objects_in(args: Any) -> list[Any]:
    """What there is in arguments besides arrays: a program depends on their attributes too."""
    if isinstance(args, (list, tuple)) or type(args) is dict:
        return [
            x for part in (args.values() if type(args) is dict else args) for x in objects_in(part)
        ]
    return [] if isinstance(args, (np.ndarray, np.generic, Variable)) else [args]


def put(x: Any, rest: Any) -> Any:
    """The argument with the next of ``rest`` in place of each array in it."""
    if isinstance(x, (np.ndarray, Variable, np.floating)):
        return next(rest)
    if isinstance(x, (list, tuple)):
        return made_like(x, [put(part, rest) for part in x])
    return {k: put(part, rest) for k, part in x.items()} if type(x) is dict else x


def mapped(state: Any, change: Callable[[Any], Any]) -> Any:
    """A nest of tuples and lists with each array and Variable in it changed."""
    if isinstance(state, (list, tuple)):
        return made_like(state, [mapped(part, change) for part in state])
    if isinstance(state, dict):
        return {k: mapped(part, change) for k, part in state.items()}
    return change(state) if isinstance(state, (np.ndarray, Variable)) else state


def parts(values: Any) -> list[Any]:
    """Arrays and Variables in nested tuples and lists, in order."""
    if isinstance(values, (list, tuple, dict)):
        return [
            part
            for value in (values.values() if isinstance(values, dict) else values)
            for part in parts(value)
        ]
    return [values] if isinstance(values, (np.ndarray, Variable)) else []


def made_like(nest: Any, parts: list[Any]) -> Any:
    """A list or tuple of the same type, a namedtuple too, with other parts."""
    return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)


def form_of(state: Any) -> Any:
    """What programs depend on of carried state: the forms of arrays, and all else itself."""
    if isinstance(state, (list, tuple)):
        return tuple(map(form_of, state))
    if isinstance(state, dict):
        return tuple((k, form_of(part)) for k, part in state.items())
    if isinstance(state, (np.ndarray, Variable)):
        return form(state)
    return type(state), repr(state) if isinstance(
        state, (int, float, str, type(None), np.generic)
    ) else id(state)


def taken_apart(result: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The results in a nest of tuples, lists and dicts, and how to build the same of others."""
    if isinstance(result, (tuple, list)):
        apart = [taken_apart(part) for part in result]
        sizes = [len(found) for found, _ in apart]

        def build(new: list[Any]) -> Any:
            ends = np.cumsum([0, *sizes]).tolist()
            return made_like(
                result, [make(new[a:b]) for (_, make), a, b in zip(apart, ends, ends[1:])]
            )

        return [x for found, _ in apart for x in found], build
    if isinstance(result, dict):
        found, make = taken_apart(list(result.values()))
        return found, lambda new: dict(zip(result, make(new)))
    if isinstance(result, (Variable, np.ndarray)):
        return [result], lambda new: new[0]
    return [], lambda new: result
