"""Callbacks: their order and arguments, stopping, and stopping early."""

import csv
import json
from typing import Any

import numpy as np
import pytest

from minidl import Trainer, Variable, callbacks, layers, optim
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
    first, second, last = [
        e[2] for e in record.events if isinstance(e, tuple) and isinstance(e[0], int)
    ]
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
    history = trainer(record).fit(
        X, T, epochs=9, batch_size=2, accumulate=2, validation=(X, T), verbose=0
    )
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


# ---- early stopping ------------------------------------------------------------------------------------


class Score(callbacks.Callback):
    """Feeds figures, and notes the weights of each epoch."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.weights = scores, []  # type: tuple[float, ...], list[Any]

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs["score"] = self.scores[epoch]
        self.weights.append(self.trainer.model.w.data.copy())


@pytest.mark.parametrize(
    ("scores", "settings", "epochs", "best"),
    [
        ((3, 2, 1, 1, 1), {"mode": "min", "patience": 2}, 5, 2),
        ((3, 2, 2.5, 2.5, 1), {"mode": "min", "patience": 2}, 4, 1),
        ((1, 2, 3, 2, 2), {"mode": "max", "patience": 2}, 5, 2),
        ((3, 2.9, 2.8, 2.7, 2.6), {"mode": "min", "patience": 2, "min_delta": 0.5}, 3, 0),
        pytest.param(
            (float("nan"), 2, float("nan"), 3, 1),
            {"mode": "min", "patience": 2},
            4,
            1,
            marks=pytest.mark.filterwarnings("ignore:EarlyStopping. score is nan"),
        ),
        ((float("inf"), 2, 1, 0, -1), {"mode": "min", "patience": 2}, 5, 4),
    ],
)
def test_early_stopping_brings_back_the_best(
    scores: Any, settings: Any, epochs: int, best: int
) -> None:
    score, early = Score(*scores), callbacks.EarlyStopping("score", **settings)
    learner = trainer(score, early)
    history = learner.fit(X, T, epochs=5, verbose=0)
    assert len(history.rows) == epochs and early.best_epoch == best
    assert np.array_equal(learner.model.w.data, score.weights[best])
    again = callbacks.EarlyStopping("score", **settings, restore_best=False)
    score = Score(*scores)
    other = trainer(score, again)
    other.fit(X, T, epochs=5, verbose=0)
    assert np.array_equal(other.model.w.data, score.weights[-1])


def test_early_stopping_restores_when_a_fit_fails() -> None:
    class Fail(callbacks.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            if epoch == 2:
                raise ZeroDivisionError

    score = Score(1, 2, 3)
    learner = trainer(score, callbacks.EarlyStopping("score", mode="min"), Fail())
    with pytest.raises(ZeroDivisionError):
        learner.fit(X, T, epochs=3, verbose=0)
    assert np.array_equal(learner.model.w.data, score.weights[0])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"monitor": "val_accuracy"},
            ValueError,
            "want 'min' or 'max', whichever is better for 'val_accuracy', got None",
        ),
        ({"patience": 0}, ValueError, "patience must be at least 1"),
        ({"min_delta": -1}, ValueError, "min_delta"),
        ({"mode": "best"}, ValueError, "mode: want .*got 'best'"),
    ],
)
def test_bad_settings(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        callbacks.EarlyStopping(**settings)


def test_a_figure_that_nobody_measures() -> None:
    with pytest.raises(
        ValueError, match="EarlyStopping: 'val_loss' was not measured; there is loss, lr"
    ):
        trainer(callbacks.EarlyStopping()).fit(X, T, epochs=1, verbose=0)


# ---- logs ----------------------------------------------------------------------------------------------


def test_a_log_as_csv(tmp_path: Any) -> None:
    path = tmp_path / "log.csv"

    class Late(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            if epoch == 1:
                logs["late, it is"] = float("nan")
            assert len(path.read_text().splitlines()) == (
                epoch and epoch + 1
            )  # each is on the disk at once

    learner = trainer(Late(), callbacks.Logger(path))
    for _ in range(2):  # the second fit begins anew
        history = learner.fit(X, T, epochs=3, batch_size=5, validation=(X, T), verbose=0)
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == [
            "epoch",
            "updates",
            "seconds",
            "loss",
            "val_loss",
            "lr",
            "late, it is",
        ]
        assert [row["epoch"] for row in rows] == ["1", "2", "3"] and [
            row["updates"] for row in rows
        ] == ["2", "4", "6"]
        assert [float(row["loss"]) for row in rows] == history["loss"]
        assert [row["late, it is"] for row in rows] == ["", "nan", ""]


def test_a_log_as_json_lines(tmp_path: Any) -> None:
    path = tmp_path / "log.jsonl"
    learner = trainer(Score(1, float("inf")), callbacks.Logger(path))
    history = learner.fit(X, T, epochs=2, verbose=0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["loss"] for row in rows] == history["loss"] and [row["score"] for row in rows] == [
        1,
        None,
    ]
    with pytest.raises(ValueError, match=r"Logger: want a path that ends in \.csv or \.jsonl"):
        callbacks.Logger("log.txt")


def test_a_figure_that_is_nan_is_told_once() -> None:
    early = callbacks.EarlyStopping("score", mode="min", patience=3)
    learner = trainer(Score(*[float("nan")] * 5), early)
    with pytest.warns(UserWarning, match="EarlyStopping: score is nan") as told:
        history = learner.fit(X, T, epochs=5, verbose=0)
    assert len(told) == 1 and len(history.rows) == 3 and early.best_epoch == -1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("text", "want a number, got 'text'"),
        (None, "want a number, got None"),
        ([1.0], r"want a number, got \[1.0\]"),
        (np.ones(2), "want a number, got array"),
        (lambda t: 0.1, r"the rate is optimizer\.current_lr"),
    ],
)
def test_logs_hold_numbers(value: Any, words: str) -> None:
    class Writes(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            logs["note"] = value

    with pytest.raises(TypeError, match=rf"Writes: logs\['note'\]: .*{words}"):
        trainer(Writes()).fit(X, T, epochs=1, verbose=0)


@pytest.mark.parametrize("value", [3, np.float32(3), np.array(3.0), Variable(3.0), np.int64(3)])
def test_numbers_in_logs_become_floats(value: Any) -> None:
    class Writes(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            logs["note"] = value

    history = trainer(Writes()).fit(X, T, epochs=1, verbose=0)
    assert history["note"] == [3.0] and type(history["note"][0]) is float
    assert '"note": [3.0]' in history.to_json()


def test_a_method_that_no_event_calls_is_told():
    class Keras(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            raise AssertionError("never called")

    model = layers.Linear(1, 1)
    with pytest.warns(UserWarning, match=r"Keras\.on_train_batch_end is no event of a fit"):
        Trainer(model, optim.SGD(model), F.mean_squared_error, callbacks=Keras())
