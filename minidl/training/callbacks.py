"""Callbacks: what a user wants done at the events of `Trainer.fit`, and stopping early, which is one.

When the events happen is decided in `trainer.py`; what is shown meanwhile lives in `progress.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class Callback:
    """The events of a fit, each of which does nothing until a subclass says what.

    Epochs and batches are counted from 0. ``logs`` holds means over the epoch so far: ``loss`` and the metrics; at an
    epoch's end it is the row of the history, ``lr`` and validation included, and what is written into it is recorded.
    ``self.trainer`` is the Trainer, from ``on_train_begin`` on; ``self.trainer.stop = True`` ends the fit after the
    update in progress.

    >>> class Log(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(epoch, logs["loss"] < 1)
    >>> Log().on_epoch_end(0, {"loss": 0.5})
    0 True
    """

    trainer: Trainer

    def on_train_begin(self) -> None:
        """Before the first epoch of a fit."""

    def on_train_end(self) -> None:
        """When a fit is over, also when an error or an interrupt ended it."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before an epoch's first batch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """After an epoch and its validation."""

    def on_batch_begin(self, batch: int) -> None:
        """Before a batch's forward."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """After a batch, and the update if one was due."""


class EarlyStopping(Callback):
    """Stop when a figure of the history has not improved for some epochs; ``best`` and ``best_epoch`` say how it was.

    Args:
        monitor: the figure's name, such as ``val_loss`` or ``val_accuracy``.
        patience: stop after so many epochs in a row without improvement.
        min_delta: what counts as an improvement: better than the best so far by more than this.
        mode: ``"min"`` if less is better, ``"max"`` if more is.
        restore_best: give the model the weights of its best epoch when the fit ends.

    Raises ValueError for another mode, a patience below 1, or, at the end of an epoch, a figure that is not measured.

    >>> stopping = EarlyStopping("val_accuracy", patience=3, mode="max")
    >>> stopping.best, stopping.best_epoch
    (-inf, None)
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, mode: str = "min",
        restore_best: bool = False,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping: got mode={mode!r}, wanted 'min' or 'max'")
        if not patience >= 1:
            raise ValueError(f"EarlyStopping: got patience={patience!r}, wanted at least 1 epoch")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode, self.restore_best = mode, restore_best
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Start anew: a second fit knows nothing of the first."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self._waited = 0
        self._weights: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compare, and stop the trainer when patience is at its end."""
        if self.monitor not in logs:
            there = f"there is {', '.join(logs)}; figures named val_.. need validation=.."
            raise ValueError(f"EarlyStopping: {self.monitor!r} is not measured, {there}")
        value = logs[self.monitor]
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:  # never true for nan
            self.best, self.best_epoch, self._waited = value, epoch, 0
            self._weights = self.trainer.model.state_dict() if self.restore_best else None
        else:
            self._waited += 1
            self.trainer.stop |= self._waited >= self.patience

    def on_train_end(self) -> None:
        """Bring back the best weights if asked to."""
        if self._weights is not None:
            self.trainer.model.load_state_dict(self._weights)
            self._weights = None
