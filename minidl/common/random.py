"""minidl's own random generator: what initial weights, dropout and shuffling draw from by default.

NumPy's global state is never read or changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from minidl.common.checks import count

# Made at first use: numpy.random is a third of NumPy's import time.
_generator: np.random.Generator | None = None
_seeded = False


def seed(value: int) -> None:
    """Start the default generator again from an integer of at least 0: what follows repeats.

    A process that is forked goes on from the seed's state, so that it repeats, too: workers that
    shall differ each call ``seed`` with a number of their own. Without a seed, every forked
    process draws numbers of its own.

    Raises TypeError for what is no int, ValueError for a negative one.

    >>> seed(0)
    >>> round(generator().random(), 6)
    0.636962
    """
    global _generator, _seeded
    _generator = np.random.default_rng(count("seed", value, least=0))
    _seeded = True


def generator() -> np.random.Generator:
    """The generator that is drawn from where none is given."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


def _renew() -> None:
    """Forget, in a forked process, a generator that nobody seeded: the parent goes on with it."""
    global _generator
    if not _seeded:
        _generator = None


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)

# Generators, and the state each was in at its first draw. In quotes: see _generator.
Draws: TypeAlias = "dict[np.random.Generator, Any]"
_noted: ContextVar[Draws | None] = ContextVar("minidl_draws", default=None)


def source(rng: np.random.Generator | None) -> np.random.Generator:
    """The generator to draw from now: the given one or minidl's own."""
    rng = rng or generator()
    draws = _noted.get()
    if draws is not None and rng not in draws:
        draws[rng] = rng.bit_generator.state
    return rng


@contextmanager
def noting_draws() -> Iterator[Draws]:
    """Inside, what is drawn from a ``source`` is noted, so that it can be repeated."""
    outer = _noted.get()
    draws: Draws = {}
    token = _noted.set(draws)
    try:
        yield draws
    finally:
        _noted.reset(token)
        if outer is not None:
            outer.update({rng: state for rng, state in draws.items() if rng not in outer})


@contextmanager
def repeating_draws(draws: Draws) -> Iterator[None]:
    """Inside, the noted generators give the same numbers as then; afterwards they go on."""
    now = {rng: rng.bit_generator.state for rng in draws}
    try:
        for rng, state in draws.items():
            rng.bit_generator.state = state
        yield
    finally:
        for rng, state in now.items():
            rng.bit_generator.state = state


@contextmanager
def undone_by_errors() -> Iterator[Any]:
    """Inside, draw as ever; after an error minidl's generator is in the state it had, as given."""
    rng = generator()
    state = rng.bit_generator.state
    try:
        yield state
    except BaseException:
        rng.bit_generator.state = state
        raise


def restoring() -> AbstractContextManager[None]:
    """Inside, draw as ever; afterwards minidl's generator is where it was before."""
    rng = generator()
    return repeating_draws({rng: rng.bit_generator.state})
