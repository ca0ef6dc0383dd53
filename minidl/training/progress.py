"""Progress: what a fit shows while it runs, a tqdm bar per epoch or a line per epoch.

Each is a callback; what is measured is decided in `trainer.py`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from minidl.training.callbacks import Callback

EVERY = (
    0.1  # seconds between two looks of a bar: composing it costs as much as a small model's step
)


def progress(verbose: int | str, epochs: int, batches: int) -> list[Callback]:
    """What shows the progress: nothing for 0, a bar for 1, lines for 2; "auto" looks who is reading."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(
            f"fit: got verbose={verbose!r}, wanted 'auto', 0 (silent), 1 (bar) or 2 (a line per epoch)"
        )
    if verbose == "auto":
        verbose = 1 if in_notebook() or getattr(sys.stderr, "isatty", bool)() else 2
    return (
        [Bar(epochs, batches)] if verbose == 1 else [Lines(epochs, batches)] if verbose == 2 else []
    )


def in_notebook() -> bool:
    """Whether this runs in a Jupyter notebook, where bars are widgets."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


def title(epoch: int, epochs: int) -> str:
    """The epoch as a reader counts it, in a width that stays: "epoch  3/10"."""
    return f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"


def figures(logs: dict[str, float], separator: str = "  ") -> str:
    """The figures in a width that stays, as in "loss 0.1234  accuracy 0.9700  lr 0.001"."""

    def form(name: str, value: float) -> str:
        return ".3g" if name == "lr" else ".4f" if 1e-3 <= abs(value) < 1e4 or value == 0 else ".3e"

    return separator.join(f"{name} {value:{form(name, value)}}" for name, value in logs.items())


def left(seconds: float) -> str:
    """A time to go as a reader says it: "0:07 left"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


class Clock(Callback):
    """What a fit of so many batches in so many epochs still takes, by what this call has done so far."""

    def __init__(self, epochs: int, batches: int) -> None:
        self.epochs, self.batches, self.first = epochs, batches, -1.0

    def on_epoch_begin(self, epoch: int) -> None:
        self.epoch, self.started, self.done = epoch, time.perf_counter(), 0
        if self.first < 0:
            done = self.trainer.run.batches if self.trainer.run else 0
            self.first, self.begun = epoch + done / self.batches, self.started

    def to_go(self, batches: int) -> str:
        """The time left after so many batches of an epoch; nothing at the end, or where it is not known."""
        at = self.epoch + batches / self.batches
        seconds = time.perf_counter() - self.begun
        return (
            left(seconds / (at - self.first) * (self.epochs - at))
            if self.first < at < self.epochs
            else ""
        )


class Lines(Clock):
    """A line on standard output at the end of every epoch, for logs."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.done += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        seconds = time.perf_counter() - self.started
        rate = f"{seconds:.2f} s  {self.done / max(seconds, 1e-9):,.0f} it/s"
        parts = [title(epoch, self.epochs), figures(logs), rate, self.to_go(self.batches)]
        print("  ".join(filter(None, parts)), flush=True)


class Bar(Clock):
    """A tqdm bar per epoch on standard error, which stays with the epoch's figures; a widget in a notebook."""

    bar: Any = None

    def on_epoch_begin(self, epoch: int) -> None:
        super().on_epoch_begin(epoch)
        from tqdm.auto import tqdm

        self.bar = tqdm(  # shown at every update, as on_batch_end decides when
            total=self.batches,
            desc=title(epoch, self.epochs),
            dynamic_ncols=True,
            mininterval=0,
            miniters=1,
            bar_format="{desc} |{bar:10}| {n_fmt}/{total_fmt} {elapsed}<{remaining} {rate_fmt}{postfix}",
        )
        self.shown = time.perf_counter()

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if time.perf_counter() - self.shown >= EVERY:
            self._show(batch + 1, logs)
            self.shown = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self._show(self.batches, logs)
        self.bar.close()

    def on_train_end(self) -> None:
        if self.bar is not None:  # an interrupted one stays as it is
            self.bar.close()

    def _show(self, done: int, logs: dict[str, float]) -> None:
        postfix = ", ".join(filter(None, [figures(logs, ", "), self.to_go(done)]))
        self.bar.set_postfix_str(postfix, refresh=False)
        self.bar.update(done - self.bar.n)
