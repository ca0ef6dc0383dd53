"""compile: a function recorded at its first call and replayed as straight-line NumPy later.

What a program is made of and how it runs is in recording.py; here is which of a function's programs
serves for a call.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from functools import update_wrapper
from operator import is_
from typing import Any

from minidl.autograd.modes import Mode, current
from minidl.common import memory, random
from minidl.common.callers import warn_user
from minidl.compiler.guards import form
from minidl.compiler.nests import NotForPrograms, key_of, objects_in, put
from minidl.compiler.program import Program
from minidl.compiler.recording import Recording
from minidl.compiler.tracer import NotNumPy

PROGRAMS = 16  # of one function, before it goes on eagerly


class Compiled:
    """A function that is recorded for each form of its arguments; made by ``compile``."""

    looked_at = ("function",)  # what another program that calls this one depends on

    def __init__(self, function: Callable[..., Any]) -> None:
        memory.start()
        self.function = function
        self.recordings: dict[Any, list[Recording]] = {}
        self.eager, self.failed = False, 0
        self.last: Recording | None = None
        self._lock = threading.RLock()
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = current()
        if self.eager or mode.tracer is not None or mode.anomaly or mode.transforming is not None:
            return self.function(*args, **kwargs)
        last = self.last
        if (
            last is not None
            and not kwargs
            and last.mode is mode
            and last.fits(args)
            and last.serves()
        ):
            return last.run(args)
        leaves: list[Any] = []
        try:
            key = key_of(mode, args, kwargs, leaves)
        except NotForPrograms:
            return self.function(*args, **kwargs)
        for recording in self.recordings.get(key, ()):
            if recording.serves():
                flat = not kwargs and len(leaves) == len(args) and all(map(is_, leaves, args))
                self.last = recording if flat else None
                recording.mode, recording.argument_forms = (
                    mode,
                    [(type(a), *form(a)) for a in leaves],
                )
                return recording.run(leaves)
        found = self._record(key, args, kwargs, leaves, mode)
        return self.function(*args, **kwargs) if found is None else found.run(leaves)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        return Compiled, (self.function,)

    def __repr__(self) -> str:
        count = sum(map(len, self.recordings.values()))
        state = "runs eagerly" if self.eager else f"{count} program{'s' if count != 1 else ''}"
        return f"<compiled {self.function!r}: {state}>"

    def _record(
        self, key: Any, args: Any, kwargs: Any, leaves: list[Any], mode: Mode
    ) -> Recording | None:
        with self._lock:
            if sum(map(len, self.recordings.values())) >= PROGRAMS:
                self._give_up(
                    f"{PROGRAMS} programs were made, as what it is called with keeps changing"
                )
                return None

            def rebuild(new: list[Any]) -> tuple[Any, Any]:
                rest = iter(new)
                return tuple(put(a, rest) for a in args), {
                    k: put(a, rest) for k, a in kwargs.items()
                }

            bits = random.generator().bit_generator
            before = bits.state
            try:
                found = Recording(
                    self.function, leaves, objects_in([*args, *kwargs.values()]), rebuild, mode
                )
            except NotForPrograms as error:
                bits.state = before
                self.failed += 1  # the first time it may be what is made at first use
                if self.failed > 1:
                    self._give_up(str(error))
                return None
            except NotNumPy:
                self.eager = True
                return None
            found.look()
            self.recordings.setdefault(key, []).append(found)
            return found

    def _give_up(self, why: str) -> None:
        self.eager = True
        name = getattr(self.function, "__name__", "a compiled function")
        warn_user(f"{name}: {why}; it goes on eagerly")

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments, to print; the function runs once if there is none."""
        leaves: list[Any] = []
        mode = current()
        key = key_of(mode, args, kwargs, leaves)
        for recording in self.recordings.get(key, ()):
            if recording.serves():
                return recording.program
        with random.restoring():  # looking uses up no random numbers
            found = self._record(key, args, kwargs, leaves, mode)
        if found is None:
            raise RuntimeError("no program: this function runs eagerly by now")
        found.first_draws = None
        return found.program


def compile(function: Callable[..., Any]) -> Compiled:
    """Record what a function computes at its first call; replay it as straight-line NumPy later.

    Experimental: it is for functions that compute from their arguments and parameters and do
    nothing else. Other effects (counters, writes, random generators of one's own) happen when
    recorded only; docs/compile.md lists them.

    It is called like ``function``; results have ``backward()``, gradients land where they land
    eagerly. There is a program for each shape and dtype of the arguments, each value of those that
    are no arrays, and each mode. Parameters, and arrays the function closes over, are read at every
    call. What plain NumPy computes of closed-over arrays inside it is not seen, and stays what it
    was when recorded.

    A function of arrays that are not NumPy's runs eagerly.

    Raises RuntimeError where the function reads the value of something recorded (``float(v)``, ``if
    v > 0``, ``.data`` and the like).

    >>> import numpy as np
    >>> f = compile(lambda x: (x * x).sum())
    >>> f(np.arange(3.0)), f(np.ones(3))
    (np.float64(5.0), np.float64(3.0))
    """
    if not callable(function):
        raise TypeError(f"compile: want a function, got {function!r}")
    if getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x2A0:
        raise TypeError(
            "compile: a generator or coroutine runs after the call; compile what it calls"
        )
    return Compiled(function)
