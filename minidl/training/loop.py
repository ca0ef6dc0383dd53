"""The loop of a fit: epochs, windows of batches that make an update, callbacks.

What a fit is given is checked in `trainer.py`; how far it is, and what ends it, is in `run.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from minidl.data.loader import DataLoader
from minidl.training import faults, inputs
from minidl.training.callbacks import Callback
from minidl.training.history import check_row
from minidl.training.run import Run
from minidl.training.runner import ModelRunner

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer

Batch = tuple[Any, ...]  # x and t


class FitLoop:
    """One fit of a trainer, from wherever its run is.

    ``internal`` are the callbacks that are not the user's: they come first, and are told of an
    epoch that a resumed fit goes on with, which the user's have heard of before.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: Run,
        runner: ModelRunner,
        internal: list[Callback],
        validation: DataLoader | None,
    ) -> None:
        self.trainer = trainer
        self.run = run
        self.runner = runner
        self.internal = internal
        self.callbacks = [*internal, *trainer.callbacks]
        self.validation = validation
        self.ranks = trainer.ranks
        self.batch = 0  # the one in progress, for what is said of an error

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
            self.run_epochs()
        finally:
            for callback in begun:
                callback.on_train_end()

    def run_epochs(self) -> None:
        """Train epoch by epoch until the run or the trainer says stop."""
        run = self.run
        trainer = self.trainer
        while run.epoch < run.epochs and not trainer.stop:
            for callback in self.callbacks if run.fresh else self.internal:
                callback.on_epoch_begin(run.epoch)
            if self.ranks.any(trainer.stop):
                break
            self.train_epoch()
            row = self.measure()
            if run.interrupted is not None:
                if run.cut is None:  # it came during validation
                    self.break_off()
                trainer.history.rows.append(row)
                break
            trainer.history.rows.append(row)
            self.end_epoch(row)

    def train_epoch(self) -> None:
        """Learn from every batch left once, with an update per window of them."""
        run = self.run
        if run.fresh:
            self.runner.reset()
            run.rate = float(self.trainer.optimizer.current_lr)
        batches = iter(run.loader)
        while window := list(islice(batches, run.window)):
            try:
                self.train_window(window)
            except Exception as error:
                place = f"epoch {run.epoch + 1} of {run.epochs}"
                error.add_note(f"fit: {place}, batch {self.batch + 1} of {len(run.loader)}")
                raise
            over = self.ranks.ends(self.trainer, run)
            if over and (run.batches < len(run.loader) or run.interrupted is not None):
                self.break_off()
                break
            self.trainer.write_requested()

    def train_window(self, window: Sequence[Batch]) -> None:
        """Make one update from some batches, whose losses are summed, or averaged over samples."""
        run = self.run
        optimizer = self.trainer.optimizer
        first = run.batches
        sizes = [run.loader.samples(first + i) for i in range(len(window))]
        samples = sum(sizes)
        total: Any = 0.0
        optimizer.cleargrads()
        for i, (x, t) in enumerate(window):
            self.batch = first + i
            for callback in self.callbacks:
                callback.on_batch_begin(self.batch)
            loss, prediction = self.trainer.forward(x, t, self.runner)
            figures = inputs.measure_batch(self.trainer.metrics, loss, prediction.data, t)
            run.means.add(sizes[i], figures)
            last = i == len(window) - 1
            if not run.summed:
                self.runner.backward(loss, None if sizes[i] == samples else sizes[i] / samples)
            else:
                total = total + loss
                if last:
                    self.runner.backward(total)
            if last:
                faults.check_gradients(self.trainer, self.runner, x, t)
                self.ranks.update(self.trainer, run, samples)
                run.count(len(window))
            logs = run.means.now()
            for callback in self.callbacks:
                callback.on_batch_end(self.batch, logs)

    def measure(self) -> dict[str, float]:
        """The epoch's row of the history: means over its samples, those of validation, the rate."""
        run = self.run
        row = self.run.means.now()
        if self.validation is not None and run.interrupted is None:
            row |= self.validate(self.validation)
        row["lr"] = run.rate
        if run.distributed:
            self.ranks.agree(self.trainer, run)
        return row

    def validate(self, validation: DataLoader) -> dict[str, float]:
        """The means over validation data, named so; the callbacks hear of its begin and end."""
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                begun.append(callback)
                callback.on_validation_begin()
            means = self.trainer.measure("evaluate", validation, self.run)
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
        self.trainer.write_requested()
        self.ranks.agree(self.trainer, run)
        if run.interrupted is not None:
            self.interrupt()

    def break_off(self) -> None:
        """Note the state within an epoch that goes on only when it is resumed."""
        from minidl.checkpoints.snapshot import callback_states

        history = [dict(row) for row in self.trainer.history.rows]
        self.run.cut = {"callbacks": callback_states(self.trainer), "history": history}
        self.interrupt()

    def interrupt(self) -> None:
        """Let the callbacks save a run that ends here, and say so if a signal ended it."""
        run = self.run
        trainer = self.trainer
        before = len(trainer.requests)
        for callback in self.callbacks:
            callback.on_interrupt()
        if run.interrupted is not None:
            if len(trainer.requests) == before and run.path is not None:
                trainer.requests.append((run.path, None))
            if self.ranks.first:
                files = ", ".join(str(path) for path, _ in trainer.requests)
                files = files or "nothing, as there is no Checkpoint"
                epoch = min(run.epoch + 1, run.epochs)
                print(
                    f"fit: {run.interrupted}: ends after {run.updates} updates, "
                    f"in epoch {epoch} of {run.epochs}; saved: {files}",
                    file=sys.stderr,
                )
        trainer.write_requested()
