"""compile: a function recorded at its first call and replayed as straight-line NumPy later.

Here is which of a function's programs serves for a call, and what happens when none does.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary, ref

from minidl.autograd.modes import Mode, current
from minidl.common import memory, random
from minidl.common.callers import warn_user
from minidl.common.html import block, card
from minidl.compiler.checks import check
from minidl.compiler.forms import NotForPrograms, arrays_in, numbers_in
from minidl.compiler.observed import Call
from minidl.compiler.places import Entry
from minidl.compiler.reach import LAZY
from minidl.compiler.recording import MISS, Recording
from minidl.compiler.rolling import UNEVEN
from minidl.compiler.scalars import Varying
from minidl.compiler.specialization import Specialization

Check: TypeAlias = Literal["sparse", "always", "never", "raise"]
CHECKS = ("sparse", "always", "never", "raise")
Backend: TypeAlias = Literal["numpy", "c"]
BACKENDS = ("numpy", "c")
PROGRAMS = 16  # of one function that are kept
CALLS = 8  # that each program serves, or making them costs more than they save


class WeakMethod:
    """A method of an object that it does not keep alive."""

    _reached = ("__self__", "function")

    def __init__(self, function: Any, instance: Any) -> None:
        self.function = function
        self._instance = ref(instance)
        self.__name__ = getattr(function, "__name__", "method")

    @property
    def __self__(self) -> Any:
        return self._instance()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self._instance(), *args, **kwargs)


class Compiled:
    """A function that is recorded for each form of its arguments; made by ``compile``."""

    _reached = ("function",)  # what another program that calls it depends on

    def __init__(
        self, function: Callable[..., Any], check: Check = "sparse", backend: Backend = "numpy"
    ) -> None:
        memory.start()
        self.function = function
        self.check = check
        self.backend = backend
        self.programs: list[Specialization] = []
        self.last: Specialization | None = None
        self.why: str | None = None  # it goes on eagerly
        self._tries = 0
        self._varying = Varying(allowed=backend == "numpy")
        self._entries = set[Entry]()  # entries of containers that calls were seen to write
        self._unrolls = False  # scans are noted turn by turn
        self._made = 0
        self._calls = 0
        self._missed = 0  # calls that no program served
        self._changing = False  # it was said that it is given something new nearly always
        self._methods: WeakKeyDictionary[Any, Compiled] = WeakKeyDictionary()
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = current()
        self._calls += 1
        if self.why is not None or mode.tracer is not None or mode.anomaly:
            return self.function(*args, **kwargs)
        last = self.last
        if last is not None and last.left and (last.mode is mode or _alike(last.mode, mode)):
            inputs = last.inputs(args, kwargs)
            if inputs is not MISS:
                last.left -= 1
                result = last.run(inputs)
                return self.function(*args, **kwargs) if result is MISS else result
        if mode.transforming is not None:
            return self.function(*args, **kwargs)
        return self._call(args, kwargs, mode)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], mode: Mode) -> Any:
        """A call that is not as the last one was."""
        try:
            leaves = arrays_in([*args, *kwargs.values()])
        except NotForPrograms:
            return self.function(*args, **kwargs)
        call = Call(self.function, args, kwargs, leaves, mode)
        for spec in self.programs:
            result = self._run(spec, call) if _alike(spec.mode, mode) else MISS
            if result is not MISS:
                return result
        self._missed += 1
        if self._made >= PROGRAMS and self._calls - self._missed < CALLS * self._made:
            self._say_changing()
            return call.eagerly()
        return self._record(call)

    def _say_changing(self) -> None:
        if not self._changing:
            self._changing = True
            self._warn(
                f"{self._made} programs were made in {self._calls} calls, as what it depends on keeps "
                "changing: where that is new, it goes on eagerly"
            )

    def _run(self, spec: Specialization, call: Call) -> Any:
        if not spec.left or self.check in ("always", "raise"):
            return self._checked(spec, call)
        inputs = spec.inputs(call.args, call.kwargs)
        if inputs is MISS:
            return MISS
        spec.left -= 1
        self.last = spec
        result = spec.run(inputs)
        return call.eagerly() if result is MISS else result

    def _checked(self, spec: Specialization, call: Call) -> Any:
        result, difference = check(spec, call)
        if result is MISS:
            return MISS
        spec.left = next(spec.gaps)
        self.last = spec if self.check == "sparse" else None
        if difference is not None:
            self._give_up(
                f"{difference} differs between the program and the function, perhaps since call "
                f"{spec.agreed + 1} of the program: it depends on something that cannot be seen, or "
                "does more than compute"
            )
        spec.agreed += spec.left + 1
        return result

    def _record(self, call: Call) -> Any:
        numbers = numbers_in([*call.args, *call.kwargs.values()])
        varying = self._varying.meet(numbers)
        constant = self._varying.constant
        recording = Recording(call, self._entries, self._unrolls, varying, constant)
        if recording.why is None:
            self._keep(recording)
        elif not recording.silent and self._varying.give_up(varying, recording.number_places):
            pass  # the next call is recorded with constants
        elif recording.why == UNEVEN:
            self._unrolls = True
        elif recording.why != LAZY:
            self._tries += 1
            if recording.why == "":  # arrays of another library, which need no word
                self.why = "the arrays are not NumPy's"
            elif not recording.silent or self._tries > 1:
                self._give_up(recording.why)
        return recording.result

    def _keep(self, recording: Recording) -> None:
        self._made += 1
        self._tries = 0
        spec = Specialization(recording, self.backend)
        recording.recorder.forget()
        spec.left = 10**9 if self.check == "never" else 0
        self.programs = [*self.programs, spec][-PROGRAMS:]

    def _give_up(self, why: str) -> None:
        self.programs = []
        self.last = None
        self.why = why
        self._warn(f"{why}; it goes on eagerly")

    def _warn(self, why: str) -> None:
        function = getattr(self.function, "func", self.function)  # that of a partial
        name = getattr(function, "__name__", "a compiled function")
        if self.check == "raise":
            raise RuntimeError(f"{name}: {why}")
        warn_user(f"{name}: {why}")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The method of an object, with programs of its own that end with it."""
        if instance is None:
            return self
        try:
            method = self._methods.get(instance)
            if method is None:
                method = Compiled(WeakMethod(self.function, instance), self.check, self.backend)
                self._methods[instance] = method
        except TypeError:  # it cannot be hashed, or referred to weakly
            return types.MethodType(self, instance)
        return method

    def __reduce__(self) -> Any:
        return Compiled, (self.function, self.check, self.backend)

    def __repr__(self) -> str:
        count = len(self.programs)
        state = (
            f"{count} program{'s' if count != 1 else ''}" if self.why is None else "runs eagerly"
        )
        return f"<compiled {self.function!r}: {state}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: how it runs, and each program when its line is clicked."""
        body = block(self.status())
        for i, spec in enumerate(self.programs):
            text = block(str(spec.program))
            body += f"<details><summary>the steps of program {i}</summary>{text}</details>"
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return card(f"compiled {name}", "", body)

    def status(self) -> str:
        """How it runs: each program and its printer, or that it runs eagerly and why."""
        if self.why is not None:
            return f"eager: {self.why}"
        lines = [
            f"program {i}: {spec.printer}, {spec.summary}" for i, spec in enumerate(self.programs)
        ]
        if self._changing:
            lines.append("eager: where it is given something new, as it is nearly always")
        return "\n".join(lines) or "not called yet"

    def program(self, *args: Any, **kwargs: Any) -> Any:
        """The program for these arguments, to print; the function runs once if there is none.

        Raises RuntimeError if the function runs eagerly.
        """
        mode = current()
        leaves = arrays_in([*args, *kwargs.values()])
        for spec in self.programs:
            if _alike(spec.mode, mode) and spec.inputs(args, kwargs) is not MISS:
                return spec.program
        with random.restoring():  # looking uses up no random numbers
            self._record(Call(self.function, args, kwargs, leaves, mode))
            if not self.programs and self._unrolls:  # it is to be noted anew
                self._record(Call(self.function, args, kwargs, leaves, mode))
        if not self.programs:
            raise RuntimeError(f"no program: {self.why or 'call it once first'}")
        return self.programs[-1].program


def _alike(a: Mode, b: Mode) -> bool:
    return (a.recording, a.testing, b.transforming) == (b.recording, b.testing, None)


def compile(
    function: Callable[..., Any], *, check: Check = "sparse", backend: Backend = "numpy"
) -> Any:
    """Record what a function computes at its first call; replay it as straight-line NumPy later.

    Args:
        function: of arrays, or a loss; a method, a model.
        check: how often the program is compared with the function: "sparse" (at the second call,
            then at random ones, 2% of the time), "always", "never", or "raise": always, with an
            error instead of a warning.
        backend: what programs are printed as: "numpy", the same bits as the function's, or "c",
            several times faster where arrays are small, equal to rounding; needs a C compiler.

    Raises CompilerError (a RuntimeError) for ``backend="c"`` if there is no C compiler that works.

    >>> import numpy as np
    >>> f = compile(lambda x: (x * x).sum())
    >>> f(np.arange(3.0)), f(np.ones(3))
    (np.float64(5.0), np.float64(3.0))
    """
    if not callable(function):
        raise TypeError(f"compile: want a function, got {function!r}")
    if check not in CHECKS:
        raise ValueError(f"compile: check: want one of {CHECKS}, got {check!r}")
    if backend not in BACKENDS:
        raise ValueError(f"compile: backend: want one of {BACKENDS}, got {backend!r}")
    if backend == "c":
        from minidl.compiler.native import toolchain

        toolchain.find()
    if getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x2A0:
        raise TypeError(
            "compile: a generator or coroutine runs after the call; compile what it calls"
        )
    compiled = Compiled(function, check, backend)
    return _as_model(function, compiled) if hasattr(function, "sublayers") else compiled


def _as_model(model: Any, compiled: Compiled) -> Any:
    """The same model, of its class and with its attributes, called as a program."""
    kind = type(model)

    class Model(kind):  # type: ignore[misc, valid-type]  # the class of any model
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return compiled(*args, **kwargs)

        def __reduce__(self) -> Any:
            return partial(compile, check=compiled.check, backend=compiled.backend), (model,)

        def status(self) -> str:
            """How it runs: as of a compiled function."""
            return compiled.status()

    Model.__name__ = kind.__name__
    Model.__qualname__ = kind.__qualname__
    Model.__module__ = kind.__module__
    new = object.__new__(Model)
    new.__dict__ = model.__dict__
    return new
