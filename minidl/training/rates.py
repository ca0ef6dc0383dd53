"""The learning-rate finder: losses over a growing rate, the rate it suggests, and their picture.

The step itself is `Trainer.train_step`'s.
"""

from __future__ import annotations

import math
import os
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.common import random
from minidl.common.checks import count, number
from minidl.common.extras import install
from minidl.common.memory import keep_freed_memory
from minidl.common.threads import threads_for
from minidl.data.loader import DataLoader
from minidl.training import inputs, snapshot
from minidl.training.states import States
from minidl.training.threads import largest_product

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer

WORSE = 4.0  # a loss that is so many times the least, and above the first, ends the search


class Rates:
    """What ``Trainer.find_lr`` measured: ``losses`` at ``rates``, one a batch; ``smooth``, the mean of neighbours.

    >>> found = Rates([0.01 * 2**k for k in range(8)], [4.0, 3.9, 3.0, 2.0, 1.2, 1.1, 1.5, 9.0])
    >>> found.suggestion
    0.04
    """

    def __init__(self, rates: list[float], losses: list[float]) -> None:
        self.rates, self.losses = rates, losses
        width = min(5, 1 + len(losses) // 20)  # of few there is nothing to smooth
        window = width - abs(
            np.arange(1 - width, width)
        )  # a triangle around each, as a mean of the past would lag
        weights = np.convolve(np.ones(len(losses)), window)[width - 1 : len(losses) + width - 1]
        self.smooth = (
            np.convolve(losses, window)[width - 1 : len(losses) + width - 1] / weights
        ).tolist()

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls steepest over the logarithm of the rate, before its least."""
        least = int(np.argmin(self.smooth))
        if least < 2:
            raise ValueError(
                "find_lr: the loss never fell; take a smaller start, more steps, or look at the plot"
            )
        slopes = np.gradient(np.array(self.smooth[: least + 1]), np.log(self.rates[: least + 1]))
        return self.rates[int(np.argmin(slopes))]

    def __repr__(self) -> str:
        return f"Rates({len(self.rates)} from {self.rates[0]:.3g} to {self.rates[-1]:.3g})"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the losses over the rate, and the suggestion; a matplotlib ``Figure``, written to ``path`` if given.

        Raises ImportError without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(f"Rates.plot draws with matplotlib: {install('plot')}") from error

        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="#b9cfe6", linewidth=1.2, label="a batch")
        axes.plot(
            self.rates, self.smooth, color="#2a6fbb", linewidth=1.8, label="mean of neighbours"
        )
        top, bottom = self.smooth[0], min(self.losses)
        axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.3 * (top - bottom) or None)
        if int(np.argmin(self.smooth)) >= 2:
            at = self.suggestion
            axes.axvline(
                at, color="#d9741a", linewidth=1.4, linestyle="--", label=f"steepest: {at:.2g}"
            )
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_title("Loss", loc="left", fontweight="bold")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6")
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def find_rates(
    trainer: Trainer,
    data: Any,
    t: Any,
    start: float,
    end: float,
    steps: int,
    batch_size: int | None,
) -> Rates:
    """Train so many steps with a rate that grows by a factor each; then put everything back as it was."""
    drawn = random.generator().bit_generator.state
    loader = copy(inputs.loader("find_lr", data, t, batch_size))
    steps, start = count("find_lr: steps", steps), number("find_lr: start", start, positive=True)
    end, states = number("find_lr: end", end, positive=True), States(trainer.model)
    if not start < end or steps < 3:
        raise ValueError(
            f"find_lr: got start={start}, end={end}, steps={steps}, wanted start < end and 3 steps"
        )
    states.check(loader, "find_lr")
    keep_freed_memory()
    product = largest_product(trainer.model, trainer.optimizer, loader.batch_size)
    with threads_for(product or 0), snapshot.restoring(trainer, states, loader, drawn):
        return _found(
            trainer,
            states,
            loader,
            [start * (end / start) ** (i / (steps - 1)) for i in range(steps)],
        )


def _found(trainer: Trainer, states: States, loader: DataLoader, rates: list[float]) -> Rates:
    """The losses at the rates, until one is far worse than the least."""
    optimizer, schedule = trainer.optimizer, trainer.optimizer.lr
    losses: list[float] = []
    try:
        while len(losses) < len(rates):
            states.reset()
            for (x, t), rate in zip(loader, rates[len(losses) :]):
                optimizer.lr = rate
                try:
                    with np.errstate(all="ignore"):  # where it diverges is what is to be found
                        loss = trainer.train_step(x, t)
                except FloatingPointError:
                    loss = math.inf
                if losses and not loss < max(WORSE * min(losses), losses[0]):
                    return Rates(rates[: len(losses)], losses)
                losses.append(loss)
    finally:
        optimizer.lr = schedule
    return Rates(rates, losses)
