"""ReduceOnPlateau: when it reduces, by PyTorch's counting, which groups, and across a resume."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import Trainer, callbacks, layers, optim
from minidl import functions as F

X = np.random.default_rng(0).standard_normal((8, 3))
T = X[:, :1]


class Told(callbacks.Callback):
    """Says what the next epoch's figure is, in the place of one that was measured."""

    def __init__(self, figures: list[float]) -> None:
        self.figures = figures

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs["told"] = self.figures[epoch]


def fit(figures: list[float], lr: float = 1.0, **settings: Any) -> list[float]:
    """The rates after each epoch."""
    model = layers.Linear(3, 1, dtype=np.float64)
    optimizer = optim.SGD(model, lr=lr)
    rates: list[float] = []

    class Record(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            rates.append(optimizer.current_lr)

    reduce = callbacks.ReduceOnPlateau("told", **{"mode": "min"} | settings)
    both = [Told(figures), reduce, Record()]
    Trainer(model, optimizer, F.mean_squared_error, callbacks=both).fit(
        X * 0, T * 0, epochs=len(figures), verbose=0
    )
    return rates


def test_after_more_than_patience_epochs() -> None:
    figures = [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8]
    rates = fit(figures, factor=0.5, patience=1)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    assert fit([1.0] * 4, factor=0.5, patience=0) == [1, 0.5, 0.25, 0.125]
    assert fit([1.0] * 4, factor=0.5, patience=0, min_lr=0.3) == [1, 0.5, 0.3, 0.3]
    assert fit([1.0, 2.0, 3.0], factor=0.5, patience=0, mode="max") == [1, 1, 1]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("scale", [1.0, -1.0, 1e-4, 0.0])
def test_as_pytorch(mode: str, patience: int, scale: float) -> None:
    torch = pytest.importorskip("torch")
    draws = np.random.default_rng(patience).standard_normal(60) * 1e-3
    drift = np.linspace(1, 0.9 if mode == "min" else 1.1, 60)
    figures = (scale * (drift + draws)).round(4).tolist()
    figures[5:7] = [float("inf"), -float("inf") if patience == 3 else 1.0]
    rates = fit(figures, lr=0.1, factor=0.3, patience=patience, mode=mode, min_lr=1e-7)
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, mode, factor=0.3, patience=patience, min_lr=1e-7
    )
    want = []
    for figure in figures:
        schedule.step(figure)
        want.append(theirs.param_groups[0]["lr"])
    assert rates == want
    assert len(set(rates)) > 1


def test_nan_is_no_improvement() -> None:
    with pytest.warns(UserWarning, match="told is nan"):
        assert fit([1.0, float("nan"), float("nan")], factor=0.5, patience=1) == [1, 1, 0.5]


def test_all_groups_are_scaled() -> None:
    model = layers.Linear(3, 1, dtype=np.float64)
    optimizer = optim.SGD([{"params": model.w, "lr": 0.5}, {"params": model.b}], lr=1.0)
    reduce = callbacks.ReduceOnPlateau("told", factor=0.5, patience=0, mode="min")
    told = Told([1.0, 1.0])
    Trainer(model, optimizer, F.mean_squared_error, callbacks=[told, reduce]).fit(
        X, T, epochs=2, verbose=0
    )
    before = [p.data.copy() for p in (model.w, model.b)]
    model.w.grad = np.ones_like(model.w.data)
    model.b.grad = np.ones_like(model.b.data)
    optimizer.update()
    np.testing.assert_allclose(before[0] - model.w.data, 0.25)
    np.testing.assert_allclose(before[1] - model.b.data, 0.5)


def make(folder: Path) -> Trainer:
    model = layers.Linear(3, 1, rng=np.random.default_rng(1), dtype=np.float64)
    optimizer = optim.Momentum(
        [{"params": model.w, "momentum": 0.5}, {"params": model.b, "lr": 0.2}], lr=1.5
    )
    reduce = callbacks.ReduceOnPlateau("loss", factor=0.5, patience=1)
    average = callbacks.MovingAverage(decay=0.7)
    keeper = callbacks.Checkpoint(folder / "run.npz", every=1)
    return Trainer(model, optimizer, F.mean_squared_error, callbacks=[reduce, average, keeper])


@pytest.mark.parametrize("steps", range(1, 12, 2))
def test_a_resumed_fit_ends_bit_for_bit(steps: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole")
    settings: dict[str, Any] = {"epochs": 6, "batch_size": 4, "shuffle": False, "verbose": 0}
    history = whole.fit(X, T, **settings)
    assert len(set(history["lr"])) > 1  # it was reduced
    make(tmp_path).fit(X, T, **settings, max_steps=steps)
    again = make(tmp_path)
    assert again.fit(X, T, **settings, resume="auto").rows == history.rows
    for trainer in (whole, again):
        trainer.callbacks[1].apply()
    for p, q in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert np.array_equal(p.data, q.data)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"factor": 1.0}, ValueError, "factor"),
        ({"factor": 0}, ValueError, "factor"),
        ({"patience": -1}, ValueError, "patience"),
        ({"patience": 1.5}, TypeError, "patience"),
        ({"min_lr": -1}, ValueError, "min_lr"),
        ({"monitor": "accuracy"}, ValueError, "mode"),
        ({"mode": "least"}, ValueError, "mode"),
    ],
)
def test_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        callbacks.ReduceOnPlateau(**settings)


def test_schedules_are_refused() -> None:
    model = layers.Linear(3, 1, dtype=np.float64)
    cosine = optim.schedules.cosine(0.1, 5)
    groups = [{"params": model.w, "lr": cosine}, {"params": model.b}]
    for optimizer in (optim.SGD(model, lr=cosine), optim.SGD(groups)):
        trainer = Trainer(
            model, optimizer, F.mean_squared_error, callbacks=callbacks.ReduceOnPlateau("loss")
        )
        with pytest.raises(ValueError, match=r"ReduceOnPlateau: want .*numbers.* cosine"):
            trainer.fit(X, T, epochs=1, verbose=0)


def test_a_state_that_makes_no_sense() -> None:
    reduce = callbacks.ReduceOnPlateau()
    for bad in ({"best": "x", "waited": 0}, {"best": 1.0, "waited": -1}):
        with pytest.raises(ValueError):
            reduce.load_state_dict(bad)
    assert reduce.waited == 0


def test_best_only_falls() -> None:
    reduce = callbacks.ReduceOnPlateau("loss")
    values = []
    for loss in (3.0, 2.0, 2.5, 1.99995, 1.9):
        reduce.best.improves({"loss": loss})
        values.append(reduce.best.value)
    assert values == [3.0, 2.0, 2.0, 2.0, 1.9]
    assert all(a >= b for a, b in pairwise(values))
