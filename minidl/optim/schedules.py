"""Schedules: functions that make a rate of the number of updates so far.

An optimizer calls one at every update.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidl.common.checks import count, number

__all__ = ["Schedule", "constant", "cosine", "step", "warmup"]

Schedule = Callable[[int], float]


def constant(lr: float) -> Schedule:
    """Always the same rate.

    >>> constant(0.1)(1000)
    0.1
    """
    lr = number("constant: lr", lr)

    def rate(t: int) -> float:
        return lr

    return rate


def step(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr * factor ** (t // every)``: the rate multiplied by a factor every so many updates.

    >>> rate = step(1.0, every=10, factor=0.5)
    >>> rate(9), rate(10), rate(20)
    (1.0, 0.5, 0.25)
    """
    lr = number("step: lr", lr)
    every = count("step: every", every)
    factor = number("step: factor", factor, positive=True)

    def rate(t: int) -> float:
        return lr * factor ** (t // every)

    return rate


def cosine(lr: float, steps: int, final: float = 0.0) -> Schedule:
    """``final + (lr - final) (1 + cos(pi t / steps)) / 2`` up to ``t = steps``, then ``final``.

    Source: I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, 2017.

    >>> rate = cosine(1.0, steps=100)
    >>> rate(0), round(rate(50), 6), rate(100), rate(1000)
    (1.0, 0.5, 0.0, 0.0)
    """
    lr = number("cosine: lr", lr)
    steps = count("cosine: steps", steps)
    final = number("cosine: final", final)

    def rate(t: int) -> float:
        part = min(t / steps, 1)
        return final + (lr - final) * (1 + math.cos(math.pi * part)) / 2

    return rate


def warmup(steps: int, after: float | Schedule) -> Schedule:
    """``after``'s first rate times ``(t + 1) / steps`` for ``steps`` updates, then ``after``.

    ``after``, a rate or a schedule, counts from its own step 0.

    >>> rate = warmup(4, cosine(1.0, steps=10))
    >>> [rate(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    steps = count("warmup: steps", steps)
    later = after if callable(after) else constant(after)

    def rate(t: int) -> float:
        if t < steps:
            return later(0) * (t + 1) / steps
        return later(t - steps)

    return rate


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

    def __getattr__(name: str) -> Any:
        """Raise AttributeError for a name that is not there, saying what to write instead."""
        from minidl.common import hints, words

        raise hints.missing(__name__, name, words.SCHEDULES)
