"""Targets that are scaled for training: learned once, from what is trained on; undone for the user."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import DataLoader, Trainer, callbacks, layers, optim
from minidl import functions as F

X = np.random.default_rng(0).standard_normal((40, 3))
T = 1000 + 50 * (X @ [[1.0, 0.5], [2.0, -1.0], [0.0, 3.0]])


def trainer(scale: bool = True, features: int = 2, **more: Any) -> Trainer:
    model = layers.Linear(3, features, dtype=np.float64, rng=np.random.default_rng(1))
    return Trainer(
        model, optim.SGD(model, lr=0.1), F.mean_squared_error, scale_targets=scale, **more
    )


def weights(of: Trainer) -> Any:
    return np.concatenate([p.data.ravel() for p in of.optimizer.params])


@pytest.mark.parametrize("targets", [T, T[:, :1]])
def test_it_is_training_on_scaled_targets_by_hand(targets: Any) -> None:
    def mae(y: Any, t: Any) -> float:
        return float(np.abs(y - t).mean())

    features = targets.shape[1]
    ours, theirs = trainer(features=features, metrics=[mae]), trainer(False, features)
    mean, std = targets[:30].mean(0), targets[:30].std(0)
    scaled = (targets - mean) / std
    settings: Any = {"epochs": 3, "batch_size": 8, "shuffle": False, "verbose": 0}
    a = ours.fit(X, targets, validation=0.25, **settings)
    b = theirs.fit(X[:30], scaled[:30], validation=(X[30:], scaled[30:]), **settings)
    assert np.allclose(weights(ours), weights(theirs), rtol=1e-12)
    for name in ("loss", "val_loss"):  # of the scaled targets
        assert np.allclose(a[name], b[name], rtol=1e-12)
    predicted = ours.model(X).data * std + mean
    assert np.allclose(ours.predict(X), predicted, rtol=1e-12)
    assert a["val_mae"][-1] == pytest.approx(np.abs(predicted - targets)[30:].mean())
    found = ours.evaluate(X, targets)
    assert found["mae"] == pytest.approx(np.abs(predicted - targets).mean())
    assert found["loss"] == pytest.approx(np.mean((ours.model(X).data - scaled) ** 2))


def test_one_axis_of_targets_is_one_feature() -> None:
    def loss(y: Any, t: Any) -> Any:
        return F.mean_squared_error(y[:, 0], t)

    of = trainer(features=1)
    of.loss = loss
    t = T[:, 0]
    history = of.fit(X, t, epochs=80, verbose=0)
    assert history["loss"][-1] < 0.01 and np.abs(of.predict(X)[:, 0] - t).max() < 20


def test_compiled_and_float32() -> None:
    x, t = X.astype(np.float32), T.astype(np.float32)
    found = []
    for compile in (False, True):
        model = layers.Linear(3, 2, rng=np.random.default_rng(1))
        of = Trainer(
            model,
            optim.SGD(model, lr=0.1),
            F.mean_squared_error,
            compile=compile,
            scale_targets=True,
        )
        of.fit(x, t, epochs=3, shuffle=False, verbose=0)
        assert of.predict(x).dtype == np.float32 and model.w.dtype == np.float32
        found.append(of.predict(x))
    assert np.allclose(*found, rtol=1e-6)


def test_it_is_learned_once() -> None:
    of = trainer()
    of.fit(X, T, epochs=1, verbose=0)
    scaling = of.scaling
    assert scaling is not None
    np.testing.assert_allclose(scaling.mean, T.mean(0))
    of.fit(X, 2 * T, epochs=1, verbose=0)
    assert of.scaling is scaling
    np.testing.assert_allclose(of.scaling.mean, T.mean(0))


def test_a_dry_run_learns_nothing_that_stays() -> None:
    of = trainer()
    of.fit(X, T, epochs=1, fast_dev_run=True, verbose=0)
    assert of.scaling is None
    assert of.find_lr(X, T, steps=5).losses[0] < 100  # of scaled targets
    assert of.scaling is None
    of.fit(X, 2 * T, epochs=1, verbose=0)
    assert of.scaling is not None
    np.testing.assert_allclose(of.scaling.mean, 2 * T.mean(0))


@pytest.mark.parametrize("steps", [1, 5, 10, 12])
def test_it_is_resumed_exactly(steps: int, tmp_path: Path) -> None:
    def run(data: Any = T, **more: Any) -> Trainer:
        of = trainer(callbacks=[callbacks.Checkpoint(tmp_path / "run.npz", every=1)])
        of.fit(DataLoader(X, data, batch_size=8, seed=1), epochs=3, verbose=0, **more)
        return of

    whole = run()
    run(max_steps=steps)
    again = run(resume="auto")
    assert np.array_equal(weights(whole), weights(again)) and whole.history == again.history
    assert np.array_equal(whole.predict(X), again.predict(X))
    loaded = trainer()
    loaded.load(tmp_path / "run.npz")
    assert np.array_equal(loaded.predict(X), again.predict(X))
    with pytest.raises(ValueError, match="whether targets are scaled: got True, want False"):
        trainer(False).load(tmp_path / "run.npz")
    run(max_steps=steps)
    with pytest.warns(UserWarning, match="data: other values"):
        other = run(3 * T, resume="auto")  # what was learned first goes on
    assert other.scaling is not None and whole.scaling is not None
    assert np.array_equal(other.scaling.mean, whole.scaling.mean)


def test_a_loss_of_ones_own_sees_scaled_targets() -> None:
    class Own(Trainer):
        def loss_of(self, batch: Any) -> Any:
            x, t = batch
            assert np.abs(t).max() < 10
            y = self.model(x)
            return F.mean_squared_error(y, t), y

    model = layers.Linear(3, 2, dtype=np.float64)
    of = Own(model, optim.SGD(model), F.mean_squared_error, scale_targets=True)
    of.fit(X, T, epochs=1, verbose=0)
    assert 500 < of.predict(X).mean() < 1500


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.arange(40), "fit: scale_targets: want an array of floating targets, got int"),
        (T > 0, "fit: scale_targets: want an array of floating targets, got bool"),
        ((T, T), "fit: scale_targets: want an array of floating targets, got tuple"),
        ({"a": T}, "fit: scale_targets: want an array of floating targets, got dict"),
    ],
)
def test_other_targets(targets: Any, message: str) -> None:
    of = trainer()
    with pytest.raises(TypeError, match=message):
        of.fit(X, targets, epochs=1, verbose=0)
    with pytest.raises(
        TypeError, match=r"want arrays or a minidl\.DataLoader, to learn from all, got a list"
    ):
        of.fit([(X, T)], epochs=1, verbose=0)
    with pytest.raises(ValueError, match="nan"):
        of.fit(X, np.where(T > 1000, np.nan, T), epochs=1, verbose=0)
    for call in (lambda: of.predict(X), lambda: of.evaluate(X, T), lambda: of.train_step(X, T)):
        with pytest.raises(RuntimeError, match="scale_targets: what scales is learned by a fit"):
            call()
