"""The modes a thread or task runs in: recording, testing, anomaly detection, inside a transform.

Only the switches live here; what each mode changes lives where it acts (recorder, dropout, engine).
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from weakref import ReferenceType, ref

from minidl.common.arrays import BaseVariable

if TYPE_CHECKING:
    from minidl.autograd.function import Function
    from minidl.autograd.node import Application, Inputs, Node, Settings
    from minidl.autograd.variable import Variable

F = TypeVar("F", bound=Callable[..., Any])


class Tracer(Protocol):
    """What handles function calls instead of ``record``.

    The compiler, while it writes a program.
    """

    deriving: bool  # whether it notes a backward that eagerly is one of arrays

    def joined(
        self, node: Application, g: Any, wanted: Sequence[bool], pending: dict[Node, Any]
    ) -> Sequence[Any]:
        """The gradients that a joint rule gives, while ``deriving``; ``pending``: those on the way."""

    def scan(self, step: Callable[..., Any], state: list[Any], xs: list[Any]) -> Any:
        """What watches a scan's turns, and may give one step in place of them (see loops.py)."""

    def apply(self, function: Function, inputs: Inputs, settings: Settings) -> Any:
        """Apply a function, as ``record`` does."""

    def add_gradient(self, walk: Any, parent: Node, gx: Any, node: Application, g: Any) -> None:
        """Add a gradient to what a node has received, while ``deriving``."""

    def gradients(self, pairs: Any, xs: Sequence[Variable], since: int) -> list[Any]:
        """What ``gradients_for`` gives, without a graph: eagerly arrays."""

    def variable(self, x: Variable) -> Variable:
        """A constant Variable of what eagerly is an array."""

    def boxed(self, node: Application) -> tuple[Sequence[Any], Any] | None:
        """Arguments and output of an application, for rules to be recorded; None if unknown."""

    def box(self, raw: Any, node: Node | None) -> Variable:
        """A Variable of a gradient."""

    def leaf(self, value: Any) -> Variable:
        """A transform's own copy of an argument that requires no gradient."""

    def number(self, value: Any) -> Variable:
        """A constant of the program."""

    def data(self, x: Variable) -> Any:
        """What stands for ``x.data``."""

    def assign(self, x: Variable, value: Any) -> None:
        """``x.data = value``."""

    def grad(self, x: Variable) -> Variable | None:
        """``x.grad``."""

    def detached(self, x: Variable) -> Variable:
        """A constant with the value of ``x``."""

    def is_plain(self, x: Variable) -> bool:
        """Whether eagerly ``x`` would be an array."""

    def as_plain(self, x: Variable) -> Any:
        """A transform's result, which eagerly would be an array."""

    def backward(self, y: Variable, seed: Variable, plain: bool, free: bool) -> None:
        """``y.backward(seed)``; ``plain`` if nothing else is asked for."""

    def clear(self, params: list[Variable]) -> None:
        """Note that gradients are forgotten."""

    def update(self, optimizer: Any) -> None:
        """``optimizer.update()``."""

    def demand(self, check: Callable[..., None], xs: Sequence[Variable]) -> None:
        """Call a check that raises, now and at each call of the program."""

    def refuse(self, x: Any, how: str) -> None:
        """The value of something recorded is read: no program can do that."""


@dataclass(slots=True, eq=False)
class Mode:
    """The flags, and the ``with`` blocks that they come from, outermost first."""

    recording: bool = True
    testing: bool = False
    anomaly: bool = False
    transforming: list[str] | None = None  # inside a transform: how values were read out of it
    tracer: Tracer | None = None
    blocks: tuple[_Block, ...] = ()
    in_generator: bool = False  # whether one of the blocks stands in a generator: see ``effective``


class _Block:
    """One ``with`` block that is being run.

    ``frame`` is that of the generator it stands in, if any: between two items the generator sleeps,
    and the block must not act on those who consume the items.
    """

    __slots__ = ("frame", "guard", "outer", "switch")

    def __init__(self, switch: Switch, frame: FrameType | None) -> None:
        self.switch = switch
        self.outer = MODE.get()
        self.frame = frame
        self.guard: ReferenceType[Any] | None = None

    @property
    def asleep(self) -> bool:
        return self.frame is not None and self.frame.f_back is None

    def leave(self, _: object = None) -> None:
        """Take the block, and no other, out of the current mode."""
        blocks = MODE.get().blocks
        if self in blocks:
            rest = tuple([block for block in blocks if block is not self])
            MODE.set(self.outer if rest == self.outer.blocks else _mode_of(rest))
        self.guard = None  # last: until here an interrupt would leave the rest to it


_TRAINING = Mode()
MODE: ContextVar[Mode] = ContextVar("minidl_mode", default=_TRAINING)


def _mode_of(blocks: tuple[_Block, ...]) -> Mode:
    changes: dict[str, Any] = {}
    in_generator = False
    for block in blocks:
        changes |= block.switch._changes
        in_generator = in_generator or block.frame is not None
    return Mode(**changes, blocks=blocks, in_generator=in_generator)


def effective(mode: Mode) -> Mode:
    """The mode without what blocks in generators set that are asleep now."""
    awake = tuple([block for block in mode.blocks if not block.asleep])
    return mode if len(awake) == len(mode.blocks) else _mode_of(awake)


def current() -> Mode:
    """The mode here and now."""
    mode = MODE.get()
    return effective(mode) if mode.in_generator else mode


def check_mode(where: str, create_graph: bool) -> None:
    """Raise RuntimeError where gradients would silently have no graph.

    Also where an enclosing transform would take them for constants.
    """
    mode = current()
    if create_graph and not mode.recording:
        raise RuntimeError(f"{where}: create_graph=True inside no_grad() could not record anything")
    if mode.transforming is not None and not create_graph:
        raise RuntimeError(
            f"{where} inside a transform needs create_graph=True: else its gradients are constants"
        )


def look(x: Any, how: str) -> None:
    """Say that a Variable's value is read, while a tracer records what is computed."""
    tracer = MODE.get().tracer
    if tracer is not None:
        tracer.refuse(x, how)


def note_cleared(params: list[Variable]) -> None:
    """Say that gradients are forgotten, while a tracer records: whether there were any is all one."""
    tracer = MODE.get().tracer
    if tracer is not None:
        tracer.clear(params)


def demand(check: Callable[..., None], *xs: Variable) -> None:
    """Call a check with the arrays of Variables; it raises, before anything is written, or does no
    more than look. A compiled function calls it, too, and runs eagerly if it raises.
    """
    tracer = MODE.get().tracer
    if tracer is not None:
        tracer.demand(check, xs)
    else:
        check(*[x._raw for x in xs])


def values_of(x: Any, how: str) -> Any:
    """The array of a Variable, anything else as it is, for code that decides by the values.

    A tracer is told: the program would keep what they are now.
    """
    if not isinstance(x, BaseVariable):
        return x
    look(x, how)
    return x._raw


class _Exit:
    """``__exit__`` of a Switch: what a ``with`` statement holds on to as long as its block runs.

    An interrupt may hit the very first moment of any ``__exit__`` written in Python, which then has
    done nothing. So each block also ends when its statement has let go of this callable: a weak
    reference to it calls ``_Block.leave``.
    """

    def __get__(self, switch: Switch | None, owner: type[Switch]) -> Callable[..., None]:
        if switch is None:
            return _leave  # contextlib.ExitStack asks the class
        leaving = functools.partial(_leave, switch)
        switch._leaving = ref(leaving)  # __enter__, which is called next, makes a guard of it
        return leaving


def _leave(switch: Switch, *exc: object) -> None:
    own = [block for block in MODE.get().blocks if block.switch is switch]
    if len(own) > 1:
        frame = _sleeper(sys._getframe(1))
        own = [block for block in own if block.frame is frame] or own
    if own:  # else it was entered in another thread or task
        own[-1].leave()


class Switch:
    """A context manager and decorator that changes flags of the mode.

    Leaving takes away what this block changed and nothing else, in whatever order blocks are left.
    A switch may be nested in itself and shared between threads and tasks.
    """

    __slots__ = ("_changes", "_leaving")

    def __new__(cls, *nothing: Any, **changes: Any) -> Self:
        if nothing:
            name = cls.__name__
            raise TypeError(f"{name}: want no arguments; as a decorator it is `@{name}()`")
        return super().__new__(cls)

    def __init__(self, **changes: Any) -> None:
        self._changes = changes
        self._leaving: ReferenceType[Any] | None = None

    def __enter__(self) -> None:
        block = _Block(self, _sleeper(sys._getframe(1)))
        leaving = self._leaving() if self._leaving is not None else None
        if leaving is not None:
            block.guard = ref(leaving, block.leave)
        MODE.set(_mode_of((*block.outer.blocks, block)))

    if TYPE_CHECKING:

        def __exit__(self, *exc: object) -> None: ...
    else:
        __exit__ = _Exit()

    def __call__(self, function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            name = function.__name__
            why = "which runs after the call: use a with block in it"
            raise TypeError(f"{name} is a generator, {why}")
        wrapper: Callable[..., Any]
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)
        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        same: Any = functools.update_wrapper(wrapper, function)
        return same  # type: ignore[no-any-return]  # of the signature F


# These run the first part of a generator on behalf of those who come after: its modes are for them.
_OPENERS = ("contextlib", "_pytest.fixtures", "pytest_asyncio.plugin")
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def _sleeper(frame: FrameType | None) -> FrameType | None:
    """The frame of the generator that a ``with`` statement is in, if its mode sleeps with it."""
    while frame is not None and _module(frame) == "contextlib":  # an ExitStack in the generator
        frame = frame.f_back
    if frame is None or not frame.f_code.co_flags & _GENERATOR:
        return None
    caller: FrameType | None = frame
    while caller is not None and caller.f_code.co_flags & _GENERATOR:
        caller = caller.f_back
    return None if caller is not None and _module(caller) in _OPENERS else frame


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


class no_grad(Switch):
    """Record nothing inside: results are constants.

    A context manager and decorator, per thread and task.

    >>> from minidl import Variable
    >>> with no_grad():
    ...     print((Variable(2.0) * 3).requires_grad)
    False
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(recording=False)


class test_mode(Switch):  # a class, so that pytest does not take it for a test by its name
    """Evaluate inside: dropout passes its input on.

    A context manager and decorator, per thread and task.

    >>> import minidl, numpy as np
    >>> with test_mode():
    ...     print(minidl.functions.dropout(np.ones(3), 0.5))
    [1. 1. 1.]
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(testing=True)


class detect_anomaly(Switch):
    """Stop where NaN or infinity arises, and where an array was changed before the backward.

    The error names the function and the line of the caller's code that applied it. An infinity that
    a function was given passes: a mask may well be -inf. Slow: for finding a fault, not for
    training.

    Raises:
        FloatingPointError: a function or a derivative gave NaN, or infinity from finite numbers.
        RuntimeError: an array that a recorded application needs was changed since.

    >>> import minidl, numpy as np
    >>> with detect_anomaly(), np.errstate(divide="ignore"):
    ...     np.log(minidl.Variable(0.0))
    Traceback (most recent call last):
    FloatingPointError: log gave an infinity at <doctest minidl.autograd.modes.detect_anomaly[1]>:2
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(anomaly=True)
