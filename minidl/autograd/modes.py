"""The modes a thread or task runs in: recording, testing, anomaly detection, inside a transform.

Only the switches live here; what each mode changes lives where it acts (recorder, dropout, engine).
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Mode(NamedTuple):
    """The flags, and ``outer``: the mode that a ``with`` block goes back to."""

    recording: bool = True
    testing: bool = False
    anomaly: bool = False
    transforming: bool = False
    replaying: bool = (
        False  # the function was called before: states and counters are as they should be
    )
    watcher: Any = None  # is given every application of a function instead of the recorder, and gives its result
    outer: Any = None  # a Mode or None


_TRAINING = Mode()
MODE: ContextVar[Mode] = ContextVar("minidl_mode", default=_TRAINING)


def check_mode(where: str, create_graph: bool) -> None:
    """Raise RuntimeError if gradients asked for so would silently lack a graph, or be 0 to a transform around them."""
    mode = MODE.get()
    if mode.watcher is not None and where == "backward":
        raise RuntimeError(
            "backward inside a compiled function: use minidl.grad there, or call backward outside"
        )
    if create_graph and not mode.recording:
        raise RuntimeError(f"{where}: create_graph=True inside no_grad() could not record anything")
    if mode.transforming and not create_graph:
        raise RuntimeError(
            f"{where} inside a transform needs create_graph=True: else its gradients are constants"
        )


def look(x: Any, how: str) -> None:
    """Refuse to have a Variable's value read while a watcher records what is computed."""
    watcher = MODE.get().watcher
    if watcher is not None:
        watcher.refuse(x, how)


class Switch:
    """A context manager and decorator that changes flags of the mode.

    The way back is linked from the mode itself, so one switch may be nested in itself and shared between
    threads and tasks.
    """

    __slots__ = ("_changes",)

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __enter__(self) -> None:
        mode = MODE.get()
        MODE.set(mode._replace(outer=mode, **self._changes))

    def __exit__(self, *exc: object) -> None:
        MODE.set(MODE.get().outer)

    def __call__(self, function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is a generator, which runs after the call: use a with block in it"
            )
        wrapper: Callable[..., Any]
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)
        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return functools.update_wrapper(wrapper, function)  # type: ignore[return-value]  # same signature as F


def no_grad() -> Switch:
    """Record nothing inside: results are constants. A context manager and decorator, per thread and task.

    >>> from minidl import Variable
    >>> with no_grad():
    ...     print((Variable(2.0) * 3).requires_grad)
    False
    """
    return Switch(recording=False)


def test_mode() -> Switch:
    """Evaluate inside: dropout passes its input on. A context manager and decorator, per thread and task.

    >>> import minidl, numpy as np
    >>> with test_mode():
    ...     print(minidl.functions.dropout(np.ones(3), 0.5))
    [1. 1. 1.]
    """
    return Switch(testing=True)


def detect_anomaly() -> Switch:
    """Stop at the first non-finite value, and at arrays changed in place between forward and backward.

    The error names the function and the line of the caller's code that applied it. Slow: for finding a
    fault, not for training.

    Raises:
        FloatingPointError: a function or a derivative gave NaN or infinity.
        RuntimeError: an array that a recorded application needs was changed since.

    >>> import minidl, numpy as np
    >>> with detect_anomaly(), np.errstate(divide="ignore"):
    ...     np.log(minidl.Variable(0.0))
    Traceback (most recent call last):
    FloatingPointError: log gave a non-finite value at <doctest minidl.autograd.modes.detect_anomaly[1]>:2
    """
    return Switch(anomaly=True)


test_mode.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name
