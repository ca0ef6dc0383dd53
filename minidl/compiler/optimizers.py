"""Optimizers in a program: an update as a step, and what there is to compare and put back of one.

How an update is noted is in updates.py, what a check is in checks.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from sys import getrefcount
from typing import Any

from minidl.autograd.variable import Variable, box
from minidl.compiler.names import is_known
from minidl.optim.optimizer import Optimizer


class Progress:
    """Whether a call of a program has changed something already: then an error is an error."""

    def __init__(self) -> None:
        self.wrote = False


class Update:
    """``optimizer.update()`` with gradients that the program computed.

    ``given`` are the parameters that these are of; those that are ``cleared`` have none.
    """

    __name__ = "update"

    def __init__(
        self,
        optimizer: Optimizer,
        given: Sequence[Variable],
        cleared: Sequence[Variable],
        progress: Progress,
    ) -> None:
        self.optimizer = optimizer
        self.given = given
        self.cleared = cleared
        self.progress = progress
        self.ready = [*given]
        known = len(given) + len(cleared) == len(optimizer.params)
        self._short = known and bool(given)

    def __call__(self, *gradients: Any) -> tuple[()]:
        for p in self.cleared:
            p._grad = None
        for p, g in zip(self.given, gradients):
            p._grad = box(g)
        optimizer = self.optimizer
        self.progress.wrote = True
        if self._short and not optimizer.hooks:
            settings = optimizer._settings_of_groups()
            self.stamp()
            optimizer._step(self.ready, [*gradients], settings)
        else:
            optimizer.update()
        return ()

    def stamp(self) -> None:
        """Let graphs over the parameters know that these are others now."""
        for p in self.ready:
            if getrefcount(p._node) > 2 or p._leaf is not None:  # it is in a graph
                p._stamp()


def is_watched(optimizer: Optimizer) -> bool:
    """Whether whatever gives other parameters changes an attribute that programs watch."""
    models = [type(x) for x in optimizer.sources if not isinstance(x, Variable)]
    lookups = [getattr(model, "parameters", None) for model in models]
    return all(is_known(getattr(lookup, "__module__", None)) for lookup in lookups)


def attributes_of(optimizer: Optimizer) -> Iterator[tuple[Any, str]]:
    """Objects with the names of attributes that an update assigns."""
    buffers = optimizer._buffers
    for name in ("t", "_lr", "_settings", "_buffers", *optimizer.settings):
        yield optimizer, name
    for name in vars(buffers):
        yield buffers, name
    for buffer in buffers.all:
        yield buffer, "t"
    for hook in optimizer.hooks:
        for name in getattr(hook, "__dict__", ()):
            yield hook, name


def arrays_of(optimizer: Optimizer) -> Iterator[Any]:
    """The arrays that an update writes into."""
    for buffer in optimizer._buffers.all:
        yield from buffer.views
        for state in buffer.state:
            yield from state


def state_of(optimizer: Optimizer) -> Iterator[Any]:
    """What ``state_dict`` gives, without copies."""
    yield optimizer.t
    yield optimizer.lr
    for name in optimizer.settings:
        yield getattr(optimizer, name)
    members = {m.p: m for m in optimizer._buffers.members()}
    for p in optimizer.params:
        if p in members:
            yield members[p].t
            yield from members[p].state
