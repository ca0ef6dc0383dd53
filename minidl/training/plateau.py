"""ReduceOnPlateau: a smaller rate when a figure gets no better.

Rates that depend on the update alone are schedules, in `optim/schedules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.common.checks import count, number
from minidl.optim.group import text_of
from minidl.training.callbacks import Best, Callback

THRESHOLD = 1e-4  # the part of the best figure by which another has to be better
LEAST = 1e-8  # a rate that would change by no more than this stays


class ReduceOnPlateau(Callback):
    """Multiply the optimizer's rate, and with it those of its groups, when a figure stays.

    It does so after more than ``patience`` epochs in a row without an improvement, by a part of
    0.0001 at least, as PyTorch's ``ReduceLROnPlateau`` by default; then it counts anew.

    Args:
        monitor: the figure's name in the history.
        factor: what the rate is multiplied by, between 0 and 1.
        patience: how many epochs in a row may be no better than the best.
        min_lr: the optimizer's rate does not fall below it.
        mode: whether the least ("min") or the largest ("max") is best; not needed for losses.

    Raises ValueError for bad settings, as a fit begins for rates that are schedules, and at the end
    of an epoch in which nothing of that name was measured.

    >>> ReduceOnPlateau("val_accuracy", factor=0.5, mode="max").patience
    10
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float = 0.0,
        mode: str | None = None,
    ) -> None:
        self.monitor = monitor
        self.factor = number("ReduceOnPlateau: factor", factor, positive=True, below=1)
        self.patience = count("ReduceOnPlateau: patience", patience, least=0)
        self.min_lr = number("ReduceOnPlateau: min_lr", min_lr)
        self.mode = mode
        self._begin()

    def _begin(self) -> None:
        self.best = Best("ReduceOnPlateau", self.monitor, self.mode, relative=THRESHOLD)
        self.waited = 0

    def on_train_begin(self) -> None:
        self._begin()
        optimizer = self.trainer.optimizer
        groups = getattr(optimizer, "groups", ())  # which an optimizer of the user's may not have
        for rate in [optimizer.lr, *(group.settings.get("lr") for group in groups)]:
            if callable(rate):
                raise ValueError(
                    "ReduceOnPlateau: want an optimizer whose rates are numbers, got the schedule "
                    f"{text_of(rate)}, which decides by itself"
                )

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.waited += 1
        if self.best.improves(logs):
            self.waited = 0
        if self.waited > self.patience:
            self.waited = 0
            self._reduce()

    def _reduce(self) -> None:
        optimizer = self.trainer.optimizer
        old = optimizer.current_lr
        new = max(old * self.factor, self.min_lr)
        if old - new > LEAST:
            optimizer.lr = new

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.value, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        waited = count("ReduceOnPlateau: waited", state["waited"], least=0)
        self.best.load(state["best"])
        self.waited = waited
