"""Callbacks: their order and arguments, stopping, and stopping early."""

from typing import Any

import numpy as np
import pytest

from minidl import Trainer, callbacks, layers, optim
from minidl import functions as F

X = np.random.default_rng(0).standard_normal((10, 3))
T = X[:, :1]


class Record(callbacks.Callback):
    """Notes every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_train_begin(self) -> None:
        self.events.append(("train", self.trainer.history.rows == []))

    def on_train_end(self) -> None:
        self.events.append("end")

    def on_epoch_begin(self, epoch: int) -> None:
        self.events.append(("epoch", epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.events.append(("epoch end", epoch, sorted(logs)))
        assert self.trainer.history.rows[-1] is logs

    def on_batch_begin(self, batch: int) -> None:
        self.events.append(batch)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.events.append((batch, sorted(logs), self.trainer.model.w.data.ravel().copy()))


def trainer(*given: callbacks.Callback) -> Trainer:
    model = layers.Linear(3, 1, dtype=np.float64)
    return Trainer(model, optim.SGD(model, lr=0.1), F.mean_squared_error, callbacks=given)


def test_order_and_arguments() -> None:
    record = Record()
    trainer(record).fit(X, T, epochs=2, batch_size=6, validation=(X, T), verbose=0)
    plain = [e[:2] if isinstance(e, tuple) and isinstance(e[0], int) else e for e in record.events]
    epoch = [0, (0, ["loss"]), 1, (1, ["loss"])]
    names = ["loss", "lr", "val_loss"]
    assert plain == [
        ("train", True),
        *(("epoch", 0), *epoch, ("epoch end", 0, names)),
        *(("epoch", 1), *epoch, ("epoch end", 1, names)),
        "end",
    ]


def test_a_batch_that_completes_a_window_ends_after_its_update() -> None:
    record = Record()
    trainer(record).fit(X, T, epochs=1, batch_size=4, accumulate=2, verbose=0)
    first, second, last = [e[2] for e in record.events if isinstance(e, tuple) and isinstance(e[0], int)]
    assert not np.array_equal(first, second) and not np.array_equal(second, last)


def test_the_end_is_told_when_a_fit_fails() -> None:
    record = Record()
    with pytest.raises(ValueError):
        trainer(record).fit(X, T[:, :0], epochs=1, verbose=0)
    assert record.events[-1] == "end"


class StopAt(Record):
    """Stops at an event."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self.event = event

    def on_epoch_begin(self, epoch: int) -> None:
        super().on_epoch_begin(epoch)
        self.trainer.stop |= self.event == "epoch begin" and epoch == 1

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        super().on_batch_end(batch, logs)
        self.trainer.stop |= self.event == "batch end"


def test_stop() -> None:
    assert len(trainer(StopAt("epoch begin")).fit(X, T, epochs=9, verbose=0).rows) == 1
    record = StopAt("batch end")
    history = trainer(record).fit(X, T, epochs=9, batch_size=2, accumulate=2, validation=(X, T), verbose=0)
    assert len(history.rows) == 1 and "val_loss" in history  # the row is whole
    assert [e for e in record.events if isinstance(e, int)] == [0, 1]  # and so is the update
    again = trainer(record)
    record.event = "never"
    assert len(again.fit(X, T, epochs=2, verbose=0).rows) == 2


class Feed(callbacks.Callback):
    """Writes a figure of its own into the logs."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs["fed"] = float(epoch)


def test_what_a_callback_writes_is_recorded() -> None:
    assert trainer(Feed()).fit(X, T, epochs=3, verbose=0)["fed"] == [0.0, 1.0, 2.0]
