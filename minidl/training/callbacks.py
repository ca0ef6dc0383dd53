"""Callbacks: what is done at the events of a fit: EarlyStopping, Checkpoint, Logger, your own.

When the events happen is decided in `loop.py`; what is shown meanwhile lives in `progress.py`. The
callbacks that change the rate or average the weights are in `plateau.py` and `averaging.py`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.common.callers import warn_user
from minidl.common.checks import count, flag, number

if TYPE_CHECKING:
    from minidl.checkpoints.parts import ModelPart
    from minidl.training.trainer import Trainer

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "Logger"]


class Callback:
    """The events of a fit, each of which does nothing until a subclass says what.

    Epochs and batches are counted from 0. ``logs`` holds means over the epoch so far: ``loss`` and
    the metrics; at an epoch's end it is the row of the history, ``lr`` and validation included, and
    what is written into it is recorded. ``self.trainer`` is the Trainer, from ``on_train_begin``
    on; ``self.trainer.stop = True`` ends the fit after the update in progress.

    A callback with a state of its own saves it with ``state_dict()``; a resumed fit restores it
    with ``load_state_dict(state)``, after ``on_train_begin``. A fit that goes on within an epoch
    does not call ``on_epoch_begin`` again.

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

    def on_validation_begin(self) -> None:
        """Before an epoch's validation."""

    def on_validation_end(self) -> None:
        """After an epoch's validation, also when an error ended it."""

    def on_interrupt(self) -> None:
        """When a signal or a limit ends a fit: the time for ``self.trainer.save(path)``."""

    def resume_files(self) -> list[Path]:
        """The files that ``fit(.., resume="auto")`` may go on from, the newest first."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing by default.

        Numbers, text, arrays, and lists, tuples and dicts of these.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""
        raise NotImplementedError(
            f"{type(self).__name__} has a state_dict() and no load_state_dict(state)"
        )


class Best:
    """The best figure so far of one name: the least, or for ``mode="max"`` the largest.

    Another is better if it is so by more than ``least``, and by more than a part ``relative`` of
    the best.
    """

    def __init__(
        self,
        where: str,
        name: str,
        mode: str | None,
        least: float = 0.0,
        relative: float = 0.0,
    ) -> None:
        mode = "min" if mode is None and name in ("loss", "val_loss") else mode
        if mode not in ("min", "max"):
            raise ValueError(
                f"{where}: mode: want 'min' or 'max', whichever is better for {name!r}, "
                f"got {mode!r}"
            )
        self.where = where
        self.name = name
        self.least = least
        self.sign = -1.0 if mode == "max" else 1.0
        self.part = 1 - self.sign * relative
        self.value = math.inf
        self.told = False  # of nan

    def improves(self, logs: Mapping[str, float]) -> bool:
        """Whether an epoch's figure is better than the best; it is noted then."""
        if self.name not in logs:
            raise ValueError(
                f"{self.where}: {self.name!r} was not measured; there is {', '.join(logs)}"
            )
        value = self.sign * logs[self.name]
        if math.isnan(value) and not self.told:
            self.told = True
            warn_user(
                f"{self.where}: {self.name} is nan, which counts as no better than any figure",
            )
        better = value < self.value * self.part - self.least
        if better:
            self.value = value
        return better

    def load(self, value: Any) -> None:
        """Take up the best figure of a checkpoint."""
        if not isinstance(value, int | float):
            raise ValueError(f"{self.where}: best: want a number, got {value!r}")
        self.value = value


class EarlyStopping(Callback):
    """End a fit when a figure gets no better, and bring back the weights of the best epoch.

    Args:
        monitor: the figure's name in the history.
        patience: how many epochs in a row may be no better than the best.
        min_delta: by how much a figure has to be better to count.
        mode: whether the least ("min") or the largest ("max") is best; not needed for losses.
        restore_best: whether, at the end of the fit, however it ends, parameters and what layers
            keep become those of the best epoch; ``best_epoch``, from 0, says which.

    Raises ValueError for bad settings, and at the end of an epoch in which nothing of that name was
    measured.

    >>> EarlyStopping("val_accuracy", patience=3, mode="max").patience
    3
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.mode = mode
        self.restore_best = flag("EarlyStopping: restore_best", restore_best)
        self.patience = count("EarlyStopping: patience", patience)
        self.min_delta = number("EarlyStopping: min_delta", min_delta)
        self.on_train_begin()

    def on_train_begin(self) -> None:
        self.best = Best("EarlyStopping", self.monitor, self.mode, self.min_delta)
        self.best_epoch = -1
        self.waited = 0
        self.weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if self.best.improves(logs):
            self.best_epoch = epoch
            self.waited = 0
            if self.restore_best:
                self.weights = self._model().state_dict()
        else:
            self.waited += 1
            self.trainer.stop |= self.waited >= self.patience

    def on_train_end(self) -> None:
        if self.weights is not None:
            self._model().load_state_dict(self.weights)

    def _model(self) -> ModelPart:
        from minidl.checkpoints.parts import model_part

        return model_part(self.trainer)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best.value,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "weights": self.weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best_epoch = count("EarlyStopping: best_epoch", state["best_epoch"], least=-1)
        waited = count("EarlyStopping: waited", state["waited"], least=0)
        if state["weights"] is not None:
            self._model().check(state["weights"])
        self.best.load(state["best"])
        self.weights = state["weights"]
        self.best_epoch = best_epoch
        self.waited = waited
        self.trainer.stop |= waited >= self.patience


class Checkpoint(Callback):
    """Write checkpoints (``Trainer.save``) during a fit, and when a signal or limit ends it.

    A file takes the place of the one before only when it is on the disk and was read back and found
    whole. Go on with ``fit(.., resume="auto")``.

    Args:
        path: an ``.npz`` file, in a folder that exists; the newest checkpoint.
        every: "epoch", or after how many updates one is written.
        keep: how many there are, the older ones as ``name.1.npz``, ``name.2.npz``..
        best: the name of a figure; the checkpoint of its best epoch is kept as ``name.best.npz``
            besides.
        mode: whether the least ("min") or the largest ("max") is best; not needed for losses.

    Raises ValueError or TypeError for bad settings.

    >>> [file.name for file in Checkpoint("model.npz", every=100, keep=3).versions()]
    ['model.npz', 'model.1.npz', 'model.2.npz']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int | str = "epoch",
        keep: int = 1,
        best: str | None = None,
        mode: str | None = None,
    ) -> None:
        from minidl.files.atomic import check_suffix

        self.path = check_suffix(path, "Checkpoint", ".npz")
        self.keep = count("Checkpoint: keep", keep)
        if every != "epoch" and isinstance(every, str):
            raise ValueError(
                f"Checkpoint: every: want 'epoch' or a number of updates, got {every!r}"
            )
        self.every = None if isinstance(every, str) else count("Checkpoint: every", every)
        self.best_path = self.path.with_suffix(".best.npz")
        self.monitor = best
        self.mode = mode
        self.written = 0
        self.best = None if best is None else Best("Checkpoint", best, mode)

    def versions(self) -> list[Path]:
        """The files, newest first, whether or not they are there yet."""
        return [self.path, *(self.path.with_suffix(f".{i}.npz") for i in range(1, self.keep))]

    def _files(self) -> list[Path]:
        return [*self.versions(), self.best_path]

    def resume_files(self) -> list[Path]:
        return self.versions()

    def on_interrupt(self) -> None:
        self.request()

    def request(self) -> None:
        """Have a checkpoint written as soon as the state is whole."""
        self.written = self.trainer.steps
        self.trainer.save(self.path, before_replace=self._rotate)

    def on_train_begin(self) -> None:
        from minidl.files.atomic import check_writable

        for path in self._files():  # said now, not after an epoch
            check_writable(path, "Checkpoint")
        for other in self.trainer.callbacks:
            if isinstance(other, Checkpoint) and other.path != self.path:
                shared = set(self._files()).intersection(other._files())
                if shared:
                    raise ValueError(f"Checkpoint: two callbacks would write {shared.pop()}")
        self.written = self.trainer.steps
        if self.monitor is not None:
            self.best = Best("Checkpoint", self.monitor, self.mode)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        steps = self.trainer.steps
        if self.every is not None and steps % self.every == 0 and steps != self.written:
            self.request()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if self.best is not None and self.best.improves(logs):
            self.trainer.save(self.best_path)
        if self.every is None and self.trainer.steps != self.written:
            self.request()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.best is None else {"best": self.best.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.best is not None:
            self.best.load(state["best"])

    def _rotate(self) -> None:
        """Give every older checkpoint the next name; the newest stays until the new one comes."""
        from minidl.files.atomic import duplicate

        newest, *older = self.versions()
        for old, new in reversed(list(pairwise(older))):
            with suppress(FileNotFoundError):
                os.replace(old, new)
        if older:
            with suppress(FileNotFoundError):
                duplicate(newest, older[0])


class Logger(Callback):
    """Write the figures of every epoch to a file, ``.csv`` or ``.jsonl``.

    They are ``epoch`` from 1, ``updates``, ``seconds`` of the epoch, and the row of the history.

    A fit replaces the file; a resumed one goes on after the epochs of its history. A figure that
    is not finite is "nan" or "inf" in the one, null in the other. Raises ValueError for another
    suffix.

    >>> Logger("run.csv").path.name
    'run.csv'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from minidl.files.atomic import check_suffix

        self.path = check_suffix(path, "Logger", ".csv", ".jsonl")
        self.rows: list[dict[str, float]] = []

    def on_train_begin(self) -> None:
        from minidl.files.atomic import check_writable

        self.rows = []
        self.columns = list[str]()
        self.since = time.perf_counter()
        if self.trainer._writes:
            check_writable(self.path, "Logger").write_text("", encoding="utf-8")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        now = time.perf_counter()
        self.rows.append(
            {"epoch": epoch + 1, "updates": self.trainer.steps, "seconds": now - self.since} | logs
        )
        self.since = now
        if self.trainer._writes:
            self._write(self.rows[-1:])

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows = [dict(row) for row in state["rows"]]
        if self.trainer._writes:
            self._write(self.rows)

    def _write(self, rows: list[dict[str, float]]) -> None:
        """Add rows to the file; write all of them again if one has other columns."""
        mode = "a"
        columns = list(dict.fromkeys([*self.columns, *(name for row in rows for name in row)]))
        if self.path.suffix == ".csv" and columns != self.columns:
            mode = "w"
            rows = self.rows
            self.columns = columns
        with open(self.path, mode, encoding="utf-8", newline="") as file:
            file.write("".join(f"{line}\n" for line in self._lines(rows, mode == "w")))

    def _lines(self, rows: list[dict[str, float]], head: bool) -> list[str]:
        if self.path.suffix == ".jsonl":
            return [
                json.dumps({n: v if math.isfinite(v) else None for n, v in row.items()})
                for row in rows
            ]
        import csv
        import io

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns] if head else [])
        writer.writerows([row.get(name, "") for name in self.columns] for row in rows)
        return text.getvalue().splitlines()


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
