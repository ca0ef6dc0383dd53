"""What a function reads and sets of an optimizer: its rate, the updates so far, other settings.

A program does the same, in the same order, on the optimizer itself. Updates are in updates.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from minidl.autograd.modes import MODE
from minidl.compiler.optimizers import Progress
from minidl.optim.optimizer import Optimizer


@cache
def _telling(kind: type[Optimizer]) -> type[Optimizer]:
    """A class of optimizers that do as those of ``kind``, and tell the recorder."""
    names = {"t", "lr", "current_lr", *kind.settings}

    class Telling(kind):  # type: ignore[valid-type, misc]  # the class of any optimizer
        def __getattribute__(self, name: str) -> Any:
            notes: Any = MODE.get().tracer if name in names else None
            if notes is None:
                return super().__getattribute__(name)
            return notes.read_setting(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            notes: Any = MODE.get().tracer if name in names else None
            if notes is None:
                super().__setattr__(name, value)
            else:
                notes.set_setting(self, name, value)

    Telling.__name__ = kind.__name__
    return Telling


@contextmanager
def telling(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Let optimizers tell what is read and set of them."""
    kinds: list[Any] = [type(optimizer) for optimizer in optimizers]
    for optimizer, kind in zip(optimizers, kinds):
        object.__setattr__(optimizer, "__class__", _telling(kind))
    try:
        yield
    finally:
        for optimizer, kind in zip(optimizers, kinds):
            object.__setattr__(optimizer, "__class__", kind)


def reading(optimizer: Optimizer, name: str) -> Callable[[], Any]:
    """The function that reads a setting at each call of a program."""
    return lambda: getattr(optimizer, name)


def setting(optimizer: Optimizer, name: str, progress: Progress) -> Callable[[Any], tuple[()]]:
    """The function that sets it."""

    def run(value: Any) -> tuple[()]:
        progress.wrote = True
        setattr(optimizer, name, value)
        return ()

    return run
