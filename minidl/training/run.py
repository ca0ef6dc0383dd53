"""Run: how far a fit is, and what ends it; running means; signals caught meanwhile.

What is done at each point is in `loop.py`.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from minidl.common import checks
from minidl.data.loader import DataLoader
from minidl.training.batches import Batches

# What says where a run is; it is saved and put back.
PLACE = ("epoch", "batches", "updates", "rate", "exhausted")


class RunningMeans:
    """Means over all samples so far of figures that are means over a batch each.

    ``samples`` is their number, or the sum of their weights.
    """

    def __init__(self) -> None:
        self.samples: float = 0
        self.sums: dict[str, float] = {}

    def add(self, samples: float, figures: dict[str, float]) -> None:
        """Add the figures of a batch that counts so much."""
        self.samples += samples
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + (samples * value if samples else 0.0)

    def now(self) -> dict[str, float]:
        """The means by name; of no samples nan."""
        samples = self.samples or math.nan
        return {name: total / samples for name, total in self.sums.items()}


@dataclass(eq=False)
class Run:
    """How far a fit is: its ``epoch``, from 0, the ``batches`` done of it, ``updates`` in all.

    ``window`` batches make an update, their losses ``summed`` or averaged. ``signalled`` is the
    signal that came, ``interrupted`` the one that ends the run; between ranks, these have yet to
    agree. ``cut`` holds the callbacks' states and the history of an epoch that was broken off,
    ``rate`` that of the epoch's first update, and ``path`` is what it was resumed from. The epoch's
    data are ``exhausted`` when looking for another batch of a window has found that there is none.
    """

    data: Batches
    epochs: int
    window: int
    summed: bool
    max_steps: int | None = None
    max_time: float | None = None
    path: Path | None = None
    distributed: bool = False
    epoch: int = 0
    batches: int = 0
    updates: int = 0
    rate: float = 0.0
    exhausted: bool = False
    means: RunningMeans = field(default_factory=RunningMeans)
    signalled: str | None = None
    interrupted: str | None = None
    cut: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.ends = math.inf
        if self.max_steps is not None:
            checks.count("fit: max_steps", self.max_steps)
        if self.max_time is not None:
            self.ends = time.monotonic() + checks.number("fit: max_time", self.max_time)

    @property
    def fresh(self) -> bool:
        """Whether its epoch is still to begin."""
        return self.batches == 0

    @property
    def can_be_saved(self) -> bool:
        """Whether the data can be gone on with from here."""
        return self.fresh or self.data.resumable

    @property
    def finished(self) -> bool:
        """Whether the updates allowed are used up."""
        return self.max_steps is not None and self.updates >= self.max_steps

    @property
    def over(self) -> bool:
        """Whether the updates or the time allowed are used up, or a signal came."""
        return self.finished or self.interrupted is not None or time.monotonic() >= self.ends

    def note_update(self, batches: int) -> None:
        """Note an update with so many batches."""
        self.updates += 1
        self.batches += batches

    def next_epoch(self) -> None:
        """Note that an epoch is over."""
        self.epoch += 1
        self.batches = 0
        self.exhausted = False
        self.means = RunningMeans()

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and the data's state if they have one."""
        state = {name: getattr(self, name) for name in ("window", "summed", *PLACE)}
        state["means"] = {"samples": self.means.samples, "sums": dict(self.means.sums)}
        state["loader"] = self.data.source.state_dict() if self.data.resumable else None
        return state

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from there; ValueError if that cannot be, as the data or settings differ."""
        if state is None:  # it was saved before any fit
            return
        check_place(state)
        if isinstance(self.data.source, DataLoader) and not state["exhausted"]:
            given = state["loader"]["given"] or 0
            if given != state["batches"]:
                raise ValueError(f"run: {state['batches']} batches, but the loader gave {given}")
        if (state["window"], state["summed"]) != (self.window, self.summed):
            name = "truncate" if state["summed"] else "accumulate"
            raise ValueError(
                f"it was trained with {name}={state['window']}, and has to be trained on so"
            )
        if (state["loader"] is not None) != self.data.resumable:
            raise ValueError("the data here and there are of two kinds: one has no state_dict()")
        if self.data.resumable:
            self.data.source.load_state_dict(state["loader"])
        elif state["batches"]:
            raise ValueError(
                "it was saved within an epoch of data without a state_dict(); Trainer.load takes it"
            )
        for name in PLACE:
            setattr(self, name, state[name])
        self.means = RunningMeans()
        self.means.samples = state["means"]["samples"]
        self.means.sums = dict(state["means"]["sums"])


def check_place(state: Mapping[str, Any]) -> None:
    """Raise ValueError for a place in a run that cannot be."""
    for name in ("epoch", "batches", "updates"):
        checks.count(f"run: {name}", state[name], least=0)
        if state[name] >= 2**53:
            raise ValueError(f"run: {name} is {state[name]}")
    means = state["means"]
    checks.number("run: samples", means["samples"])
    checks.number("run: rate", state["rate"])
    if not all(isinstance(value, Real) for value in means["sums"].values()):
        raise ValueError(f"run: means: want numbers, got {means['sums']}")
    if not isinstance(state["exhausted"], bool):
        raise ValueError(f"run: exhausted: want True or False, got {state['exhausted']!r}")


@contextmanager
def signals(run: Run) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run after the batch in progress; a second Ctrl-C raises.

    Only in the main thread, where Python tells of signals, and only where nobody else handles them.
    """

    def handle(number: int, frame: Any) -> None:
        if number == signal.SIGINT and run.signalled is not None:
            raise KeyboardInterrupt
        run.signalled = signal.Signals(number).name
        if not run.distributed:
            run.interrupted = run.signalled

    usual: dict[int, Callable[..., Any] | int] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    handled: list[int] = []
    if threading.current_thread() is threading.main_thread():
        handled = [
            number for number, default in usual.items() if signal.getsignal(number) == default
        ]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, usual[number])
