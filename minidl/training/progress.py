"""Progress: what a fit shows while it runs, a tqdm bar per epoch or a line per epoch.

Each is a callback; what is measured is decided in `trainer.py`.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from minidl.training.callbacks import Callback

# Seconds between two looks of a bar: composing it costs as much as a small model's step.
EVERY = 0.1
BAR = 10  # characters


def progress_callbacks(verbose: int | str, epochs: int, batches: int | None) -> list[Callback]:
    """What shows the progress: nothing (0), a bar (1), lines (2); "auto" looks who is reading."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(
            f"fit: verbose: want 'auto', 0 (silent), 1 (bar) or 2 (lines), got {verbose!r}"
        )
    if verbose == "auto":
        on_terminal = sys.stderr and sys.stderr.isatty()
        verbose = 1 if on_terminal or in_notebook() else 2
    if not verbose:
        return []
    kind = Bar if verbose == 1 else Lines
    return [kind(epochs, batches)]


def in_notebook() -> bool:
    """Whether this runs in a Jupyter notebook, or in Colab, whose shell is made from Jupyter's."""
    ipython = sys.modules.get("IPython")
    return "ZMQInteractiveShell" in str(type(ipython and ipython.get_ipython()).__mro__)


def title(epoch: int, epochs: int) -> str:
    """The epoch as a reader counts it, in a width that stays: "epoch  3/10"."""
    return f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"


def format_figures(logs: dict[str, float], separator: str = "  ") -> str:
    """The figures in a width that stays, as in "loss 0.1234  accuracy 0.9700  lr 0.001"."""
    return separator.join(f"{name} {format_figure(name, value)}" for name, value in logs.items())


def format_figure(name: str, value: float, digits: int = 4) -> str:
    """A figure in a width that stays: 0.1234, 1.234e-05, and a rate as it was given."""
    if name == "lr":
        return f"{value:.3g}"
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return f"{value:.{digits}f}"
    return f"{value:.3e}"


def format_pairs(logs: dict[str, float]) -> str:
    """The figures in less room: "loss 0.123 val 0.235, accuracy 0.970 val 0.960"."""
    parts: dict[str, str] = {}
    for name, value in logs.items():
        figure = format_figure(name, value, 3)
        trained = name.removeprefix("val_")
        if trained != name and trained in parts:
            parts[trained] += f" val {figure}"
        else:
            parts[name] = f"{name} {figure}"
    return ", ".join(parts.values())


def format_time_left(seconds: float) -> str:
    """A time to go as a reader says it: "0:07 left"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


class Clock(Callback):
    """How fast a fit is, and what it still takes, by what this call has done so far.

    How many ``batches`` an epoch has may be unknown.
    """

    def __init__(self, epochs: int, batches: int | None) -> None:
        self.epochs = epochs
        self.batches = batches
        self.first = -1.0

    def on_epoch_begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.started = time.perf_counter()
        self.done = 0
        if self.first < 0:
            done = self.trainer._run.batches if self.trainer._run else 0
            self.first = epoch + done / (self.batches or math.inf)
            self.begun = self.started

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.done += 1

    def speed(self) -> str:
        """The batches a second in this epoch."""
        rate = self.done / max(time.perf_counter() - self.started, 1e-9)
        return f"{rate:,.0f} it/s" if rate >= 10 else f"{rate:.2g} it/s"

    def to_go(self, part: float) -> str:
        """The time left after a part of an epoch; nothing at the end, or if not known."""
        at = self.epoch + part
        if not self.first < at < self.epochs:
            return ""
        seconds = time.perf_counter() - self.begun
        return format_time_left(seconds / (at - self.first) * (self.epochs - at))


class Lines(Clock):
    """A line on standard output at the end of every epoch, for logs."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        seconds = time.perf_counter() - self.started
        parts = [
            title(epoch, self.epochs),
            format_figures(logs),
            f"{seconds:.2f} s",
            self.speed(),
            self.to_go(1.0),
        ]
        print("  ".join(filter(None, parts)), flush=True)


class Bar(Clock):
    """A tqdm bar per epoch on standard error, which stays; a widget in a notebook with ipywidgets.

    What does not fit on the terminal's line is left out, the least needed first
    (``lines_by_length``).
    """

    bar: Any = None

    def on_epoch_begin(self, epoch: int) -> None:
        super().on_epoch_begin(epoch)
        self.widget = in_notebook() and find_spec("ipywidgets") is not None
        kind = "notebook" if self.widget else "std"
        self.bar = import_module(f"tqdm.{kind}").tqdm(
            total=self.batches,
            ncols=9999,
            dynamic_ncols=self.widget,
            bar_format=self._form(True),
        )
        if self.widget:  # a bar of all the room there is would push the figures into the next line
            self.bar.container.children[1].layout = {"width": "8em"}
        self.shown = time.perf_counter()

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        super().on_batch_end(batch, logs)
        if time.perf_counter() - self.shown >= EVERY:
            self._show(batch + 1, logs)
            self.shown = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self._write(self.batches or self.done, logs)
        self.bar.close()  # shows it; a line that is too long even so goes on in the next

    def on_train_end(self) -> None:
        if self.bar is not None:  # an interrupted one stays as it is
            self.bar.close()

    def _show(self, done: int, logs: dict[str, float]) -> None:
        room = self._write(done, logs)
        self.bar.set_description_str(self.bar.desc[:room])

    def _write(self, done: int, logs: dict[str, float]) -> int:
        """Put into the bar what fits beside the title; return how many characters do."""
        room = (100 if self.widget else columns()) - len(title(self.epoch, self.epochs)) - 2
        count = str(done)
        to_go = ""
        if self.batches is not None:
            count += f"/{self.batches}"
            to_go = self.to_go(done / self.batches)
        for with_bar, text in lines_by_length(logs, count, self.speed(), to_go):
            if len(text) + with_bar * (BAR + len("||")) <= room:
                break
        self.bar.bar_format = self._form(with_bar)
        self.bar.n = done
        self.bar.set_description_str(text, refresh=False)
        return room

    def _form(self, with_bar: bool) -> str:
        start = title(self.epoch, self.epochs)
        if not with_bar:
            return start + " {desc}"
        width = "" if self.widget else f":{BAR}"
        return f"{start} |{{bar{width}}}| {{desc}}"


def lines_by_length(
    logs: dict[str, float], count: str, speed: str, to_go: str
) -> list[tuple[bool, str]]:
    """What a line may say, the longest first, each with whether a bar stands before it.

    The time left goes first, then the number of batches, a digit, the bar, the speed. The loss, the
    metrics, their validation and the learning rate stay.
    """
    text = format_figures(logs, ", ")
    pairs = format_pairs(logs)
    short_speed = speed.replace(" it/s", "/s")
    choices = [
        (True, [count, text, speed, to_go]),
        (True, [count, text, speed]),
        (True, [text, speed]),
        (True, [pairs, short_speed]),
        (False, [pairs, short_speed]),
        (False, [pairs]),
    ]
    return [(with_bar, ", ".join(filter(None, parts))) for with_bar, parts in choices]


def columns() -> int:
    """The width of the terminal that standard error is, or else of any, or 80."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return shutil.get_terminal_size().columns
