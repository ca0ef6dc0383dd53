"""Callbacks: what a user wants done at the events of `Trainer.fit`.

When the events happen is decided in `trainer.py`; what is shown meanwhile lives in `progress.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
