"""Schedules: functions that make a rate of the number of updates so far.

An optimizer calls one at every update.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from minidl.common.checks import count, number
from minidl.common.hints import refuse_unknown

__all__ = ["Schedule", "constant", "cosine", "one_cycle", "step", "warmup"]

Schedule = Callable[[int], float]

# PyTorch's defaults for one cycle: the part of it that rises, and how far below the peak it begins
# and, below that, ends.
RISE = 0.3
BEGIN = 25.0
END = 1e4


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
        return blend(lr, final, min(t / steps, 1))

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

    rate.peak = nominal(later)  # type: ignore[attr-defined]  # functions take attributes
    return rate


def one_cycle(lr: float, steps: int) -> Schedule:
    """From ``lr / 25`` up to ``lr`` in three tenths of the steps, then down to ``lr / 250,000``.

    Both in the form of a cosine, as PyTorch's ``OneCycleLR`` by default (the rate only: it cycles
    the momentum too). After its last step the rate stays as it is, where PyTorch's raises.

    Source: L. Smith and N. Topin, Super-convergence, 2018.

    >>> rate = one_cycle(1.0, steps=10)
    >>> [round(rate(t), 6) for t in (0, 2, 9, 100)]
    [0.04, 1.0, 4e-06, 4e-06]
    """
    lr = number("one_cycle: lr", lr)
    steps = count("one_cycle: steps", steps)
    top = RISE * steps - 1
    last = steps - 1

    def rate(t: int) -> float:
        if t <= top:
            return blend(lr / BEGIN, lr, t / top)
        return blend(lr, lr / BEGIN / END, (min(t, last) - top) / (last - top))

    rate.peak = lr  # type: ignore[attr-defined]  # functions take attributes
    return rate


def blend(start: float, end: float, part: float) -> float:
    """From ``start`` to ``end`` on half a cosine, at a part between 0 and 1 of the way."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def nominal(lr: float | Schedule) -> float:
    """What a rate is called by: a schedule's peak, if it has one (warmup), else its first."""
    if not callable(lr):
        return lr
    peak = getattr(lr, "peak", None)
    return lr(0) if peak is None else peak


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
