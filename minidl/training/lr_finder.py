"""The learning-rate finder: losses over a growing rate, the rate it suggests, and their picture.

The step itself is `Trainer.train_step`'s.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.common import random
from minidl.common.checks import count, number
from minidl.common.threads import threads_for
from minidl.training.batches import Batch, Batches, read_batches
from minidl.training.plots import BLUE, ORANGE, PALE_BLUE, finish_axes, new_figure, save_figure
from minidl.training.runner import ModelRunner
from minidl.training.threads import largest_product

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer

WORSE = 4.0  # a loss that is so many times the least, and above the first, ends the search


class LRCurve:
    """What ``Trainer.find_lr`` measured: ``losses`` at ``rates``; ``smooth``, means of neighbours.

    ``suggestion`` is the rate at which ``smooth`` falls steepest over the logarithm of the rate,
    before its least; None if it never fell: then take a smaller start or more steps, and look at
    the plot.

    >>> curve = LRCurve([0.01 * 2**k for k in range(8)], [4.0, 3.9, 3.0, 2.0, 1.2, 1.1, 1.5, 9.0])
    >>> curve.suggestion
    0.04
    """

    def __init__(self, rates: list[float], losses: list[float]) -> None:
        self.rates = rates
        self.losses = losses
        width = min(5, 1 + len(losses) // 20)  # of few there is nothing to smooth
        # A triangle around each loss: a mean of those before it would lag.
        window = width - abs(np.arange(1 - width, width))
        inner = slice(width - 1, len(losses) + width - 1)
        weights = np.convolve(np.ones(len(losses)), window)[inner]
        self.smooth: list[float] = (np.convolve(losses, window)[inner] / weights).tolist()
        self.suggestion = self._steepest()

    def _steepest(self) -> float | None:
        least = int(np.argmin(self.smooth))
        if least < 2:
            return None
        slopes = np.gradient(np.array(self.smooth[: least + 1]), np.log(self.rates[: least + 1]))
        return self.rates[int(np.argmin(slopes))]

    def __repr__(self) -> str:
        rates = f"{len(self.rates)} rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}"
        return f"LRCurve({rates}, suggestion={self.suggestion})"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the losses over the rate, and the suggestion: a matplotlib ``Figure``.

        It is saved to ``path`` if there is one.

        Raises ImportError without matplotlib.
        """
        figure = new_figure("LRCurve.plot", 6.4, 4.2)
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color=PALE_BLUE, linewidth=1.2, label="a batch")
        axes.plot(self.rates, self.smooth, color=BLUE, linewidth=1.8, label="mean of neighbours")
        top = self.smooth[0]
        bottom = min(self.losses)
        if top > bottom:  # the losses that diverge would leave no room for the others
            axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.3 * (top - bottom))
        if self.suggestion is not None:
            label = f"steepest: {self.suggestion:.2g}"
            axes.axvline(self.suggestion, color=ORANGE, linewidth=1.4, linestyle="--", label=label)
        axes.set_xscale("log")
        finish_axes(axes, "loss", "learning rate")
        return save_figure(figure, path)


def find_lr(
    trainer: Trainer,
    arrays: Sequence[Any],
    settings: Mapping[str, Any],
    start: float,
    end: float,
    steps: int,
) -> LRCurve:
    """Train some steps, each with a larger rate; then put everything back as it was."""
    from minidl.checkpoints.snapshot import restoring

    drawn = random.generator().bit_generator.state
    data = read_batches("find_lr", *arrays, **settings).twin("it")
    steps = count("find_lr: steps", steps)
    start = number("find_lr: start", start, positive=True)
    end = number("find_lr: end", end, positive=True)
    if not start < end or steps < 3:
        raise ValueError(
            f"find_lr: want start < end and at least 3 steps, got start={start}, end={end}, "
            f"steps={steps}"
        )
    runner = ModelRunner(trainer.model)
    runner.check(data)
    rates = [start * (end / start) ** (i / (steps - 1)) for i in range(steps)]
    product = largest_product(trainer.model, trainer.optimizer, data.batch_size)
    with threads_for(product or 0), restoring(trainer, drawn):
        trainer.scaling = trainer._learn_scaling(data)
        losses = measure_losses(trainer, runner, data, rates)
    return LRCurve(rates[: len(losses)], losses)


def measure_losses(
    trainer: Trainer, runner: ModelRunner, data: Batches, rates: list[float]
) -> list[float]:
    """The losses at the rates, until one is far worse than the least."""
    optimizer = trainer.optimizer
    schedule = trainer.optimizer.lr
    losses: list[float] = []
    try:
        while len(losses) < len(rates):
            runner.reset()
            left = rates[len(losses) :]
            for rate, (batch, _) in zip(left, data.read()):
                optimizer.lr = rate
                loss = _loss_or_infinity(trainer, batch)
                if losses and not loss < max(WORSE * min(losses), losses[0]):
                    return losses
                losses.append(loss)
            if len(losses) + len(left) == len(rates):
                raise ValueError("find_lr: the data gave no batch")
    finally:
        optimizer.lr = schedule
    return losses


def _loss_or_infinity(trainer: Trainer, batch: Batch) -> float:
    """The loss of a step, infinity where it diverges, which is what is to be found."""
    try:
        with np.errstate(all="ignore"):
            return trainer.train_step(*batch)
    except FloatingPointError:
        return math.inf
