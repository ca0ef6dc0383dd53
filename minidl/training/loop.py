"""The loop of a fit: epochs, windows of batches that make an update, callbacks.

What a fit is given is checked in `trainer.py`, what a batch is, in `batches.py`; how far the fit
is, and what ends it, is in `run.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.training.batches import Batch, Batches
from minidl.training.callbacks import Callback
from minidl.training.history import check_row
from minidl.training.run import Run
from minidl.training.runner import ModelRunner, backward

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


@dataclass(eq=False)
class FitLoop:
    """One fit of a trainer, from wherever its run is.

    ``internal`` are the callbacks that are not the user's: they come first, and are told of an
    epoch that a resumed fit goes on with, which the user's have heard of before. ``batch`` is the
    number of the one in progress, for what is said of an error.
    """

    trainer: Trainer
    run: Run
    runner: ModelRunner
    internal: list[Callback]
    validation: Batches | None
    batch: int = 0

    def __post_init__(self) -> None:
        self.callbacks = [*self.internal, *self.trainer.callbacks]
        self.ranks = self.trainer.ranks

    def start(self, resume: Callable[[], None]) -> None:
        """Go through the epochs left; ``resume`` is called after ``on_train_begin``.

        It puts back what a checkpoint holds, as a callback may have drawn random numbers, or
        changed the model.
        """
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.trainer = self.trainer
                begun.append(callback)
                callback.on_train_begin()
            resume()
            while self.run.epoch < self.run.epochs and not self.trainer.stop:
                self.run_epoch()
        finally:
            for callback in begun:
                callback.on_train_end()

    def run_epoch(self) -> None:
        """Train through the data once, measure, and tell the callbacks."""
        run = self.run
        trainer = self.trainer
        for callback in self.callbacks if run.fresh else self.internal:
            callback.on_epoch_begin(run.epoch)
        trainer.stop = self.ranks.any(trainer.stop)
        if trainer.stop:
            return
        self.train_epoch()
        row = self.measure()
        if run.interrupted is not None and run.cut is None:  # the signal came during validation
            self.break_off()
        trainer.history.rows.append(row)
        if run.interrupted is None:
            self.end_epoch(row)

    def train_epoch(self) -> None:
        """Learn from every batch left once, with an update per window of them."""
        run = self.run
        if run.fresh:
            self.runner.reset()
            run.rate = float(self.trainer.optimizer.current_lr)
        batches = run.data.read(first=run.batches)
        while not run.exhausted and (window := list(islice(batches, run.window))):
            run.exhausted = len(window) < run.window
            try:
                self.train_window(window)
            except Exception as error:
                of_all = "" if run.data.number is None else f" of {run.data.number}"
                place = f"epoch {run.epoch + 1} of {run.epochs}, batch {self.batch + 1}{of_all}"
                error.add_note(f"fit: {place}")
                raise
            over = self.ranks.ends(self.trainer, run)
            if over and (run.interrupted is not None or self.has_more(batches)):
                self.break_off()
                return
            self.trainer._write_requested()
        run.exhausted = True
        if not run.means.samples:
            raise ValueError(
                f"fit: the data gave no batch in epoch {run.epoch + 1}, or weights of 0 only; an "
                "iterator is used up by one epoch: give a list, or an object whose iter() begins "
                "anew"
            )

    def has_more(self, batches: Iterator[Any]) -> bool:
        """Whether the epoch has, or may have, batches left.

        One is taken to see, but only where nobody could go on with it later.
        """
        run = self.run
        if run.exhausted:
            return False
        if run.data.number is not None:
            return run.batches < run.data.number
        return run.data.once or run.data.resumable or next(batches, None) is not None

    def train_window(self, window: Sequence[tuple[Batch, float]]) -> None:
        """Make one update from some batches, whose losses are summed, or averaged over samples."""
        run = self.run
        trainer = self.trainer
        first = run.batches
        samples = sum(weight for _, weight in window)
        summed = run.summed and len(window) > 1
        losses: list[Any] = []
        if summed:
            trainer.optimizer.cleargrads()
        for i, (batch, weight) in enumerate(window):
            self.batch = first + i
            for callback in self.callbacks:
                callback.on_batch_begin(self.batch)
            last = i == len(window) - 1
            until = "loss" if summed else trainer._until(last)
            share = None if summed or weight == samples else np.float64(weight / samples)
            fresh = i == 0 and not summed
            loss, prediction = trainer._learn(batch, self.runner, until, fresh, share)
            run.means.add(weight, trainer._figures(loss, prediction, batch))
            losses.append(loss)
            if last:
                if summed:
                    backward(sum(losses), self.runner.stateful)
                    self.runner.cut_states()
                if until != "update":
                    trainer._update(batch, self.runner, samples, run)
                run.note_update(len(window))
            logs = run.means.now()
            for callback in self.callbacks:
                callback.on_batch_end(self.batch, logs)

    def measure(self) -> dict[str, float]:
        """The epoch's row of the history: means over its samples, those of validation, the rate."""
        run = self.run
        row = run.means.now()
        if self.validation is not None and run.interrupted is None:
            row |= self.validate(self.validation)
        row["lr"] = run.rate
        if run.distributed:
            self.ranks.agree(self.trainer, run)
        return row

    def validate(self, validation: Batches) -> dict[str, float]:
        """The means over validation data, named so; the callbacks hear of its begin and end."""
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                begun.append(callback)
                callback.on_validation_begin()
            means = self.trainer._measure(validation, self.run)
        except Exception as error:
            error.add_note(f"fit: validation after epoch {self.run.epoch + 1}")
            raise
        finally:
            for callback in reversed(begun):
                callback.on_validation_end()
        return {f"val_{name}": value for name, value in means.items()}

    def end_epoch(self, row: dict[str, float]) -> None:
        """Tell the callbacks of an epoch that is over, and write what they ask for."""
        run = self.run
        for callback in self.callbacks:
            callback.on_epoch_end(run.epoch, row)
            check_row(row, type(callback).__name__)
        if run.cut is None:
            run.next_epoch()
        self.trainer._write_requested()
        self.ranks.agree(self.trainer, run)
        if run.interrupted is not None:
            self.interrupt()

    def break_off(self) -> None:
        """Note the state within an epoch that goes on only when it is resumed."""
        from minidl.checkpoints.snapshot import callback_states

        history = [dict(row) for row in self.trainer.history.rows]
        self.run.cut = {"callbacks": callback_states(self.trainer), "history": history}
        self.trainer.stop = True
        self.interrupt()

    def interrupt(self) -> None:
        """Let the callbacks save a run that ends here, and say so if a signal ended it."""
        run = self.run
        trainer = self.trainer
        before = len(trainer._requests)
        for callback in self.callbacks:
            callback.on_interrupt()
        if run.interrupted is not None:
            if len(trainer._requests) == before and run.path is not None:
                trainer._requests.append((run.path, None))
            if self.ranks.first:
                epoch = min(run.epoch + 1, run.epochs)
                print(
                    f"fit: {run.interrupted}: ends after {run.updates} updates, "
                    f"in epoch {epoch} of {run.epochs}; saved: {self._files()}",
                    file=sys.stderr,
                )
        trainer._write_requested()
        if not run.can_be_saved:  # a whole epoch's file is worth more than one of a part
            trainer._requests = []

    def _files(self) -> str:
        """What is written now, or why nothing is."""
        if not self.run.can_be_saved:
            return "nothing, as the data have no state_dict() and this is no end of an epoch"
        files = ", ".join(str(path) for path, _ in self.trainer._requests)
        return files or "nothing, as there is no Checkpoint"
