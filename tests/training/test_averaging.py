"""MovingAverage: its formula, when it is used, and that the weights come back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl import Trainer, callbacks, layers, optim
from minidl import functions as F

X = np.random.default_rng(0).standard_normal((10, 3))
T = X[:, :1]


class Record(callbacks.Callback):
    """Notes the weights after every update."""

    def __init__(self) -> None:
        self.weights: list[list[Any]] = []
        self.steps = 0

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if self.trainer.steps > self.steps:
            self.steps = self.trainer.steps
            self.weights.append([p.data.copy() for p in self.trainer.optimizer.params])


def fit(model: Any, *given: callbacks.Callback, **settings: Any) -> Trainer:
    trainer = Trainer(model, optim.Adam(model, lr=0.1), F.mean_squared_error, callbacks=given)
    trainer.fit(X, T, **{"epochs": 3, "batch_size": 4, "verbose": 0} | settings)
    return trainer


def averaged(weights: list[list[Any]], decay: float) -> list[Any]:
    average = weights[0]
    for after in weights[1:]:
        average = [decay * a + (1 - decay) * w for a, w in zip(average, after, strict=True)]
    return average


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_formula(decay: float, accumulate: int) -> None:
    record = Record()
    average = callbacks.MovingAverage(decay)
    model = layers.MLP([4, 1], dtype=np.float64)  # its sizes are learned in the first batch
    fit(model, record, average, accumulate=accumulate)
    assert len(record.weights) == (9 if accumulate == 1 else 6)
    before = [p.data.copy() for p in model.parameters()]
    with average.applied():
        for p, want in zip(model.parameters(), averaged(record.weights, decay), strict=True):
            np.testing.assert_allclose(p.data, want, rtol=1e-12)
    for p, want in zip(model.parameters(), before, strict=True):
        assert np.array_equal(p.data, want)
    average.apply()
    for p, want in zip(model.parameters(), averaged(record.weights, decay), strict=True):
        np.testing.assert_allclose(p.data, want, rtol=1e-12)


def test_as_pytorch() -> None:
    torch = pytest.importorskip("torch")
    record, average = Record(), callbacks.MovingAverage(0.9)
    model = layers.Linear(3, 1, dtype=np.float64)
    fit(model, record, average)
    net = torch.nn.Linear(3, 1, dtype=torch.float64)
    theirs = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    for w, b in record.weights:
        with torch.no_grad():
            net.weight[...] = torch.tensor(w.T)
            net.bias[...] = torch.tensor(b)
        theirs.update_parameters(net)
    average.apply()
    np.testing.assert_allclose(model.w.data.T, theirs.module.weight.detach().numpy(), rtol=1e-12)


def test_weights_come_back_after_an_error_and_training_goes_on_as_without() -> None:
    average = callbacks.MovingAverage(0.5)
    ends = []
    for given in ([], [average]):
        model = layers.Linear(3, 1, rng=np.random.default_rng(0), dtype=np.float64)
        trainer = fit(model, *given, shuffle=False)
        if given:
            with pytest.raises(KeyError), average.applied():
                raise KeyError
        trainer.train_step(X, T)
        ends.append(model.w.data.copy())
    assert np.array_equal(*ends)


def test_evaluation_with_the_average() -> None:
    average = callbacks.MovingAverage(0.5)
    trainer = fit(layers.Linear(3, 1, dtype=np.float64), average)
    plain = trainer.evaluate(X, T)["loss"], trainer.predict(X)
    with average.applied():
        inside = trainer.evaluate(X, T)["loss"], trainer.predict(X)
        with average.applied():
            assert trainer.evaluate(X, T)["loss"] == inside[0]
    assert trainer.evaluate(X, T)["loss"] == plain[0] != inside[0]
    assert np.array_equal(trainer.predict(X), plain[1])
    average.apply()
    assert trainer.evaluate(X, T)["loss"] == inside[0]


class Losses(callbacks.Callback):
    """Notes the loss of the average and of the weights after each epoch, and the weights."""

    def __init__(self, average: callbacks.MovingAverage) -> None:
        self.average = average
        self.averages: list[float] = []
        self.plain: list[float] = []
        self.events: list[str] = []

    def on_validation_begin(self) -> None:
        self.events.append("begin")

    def on_validation_end(self) -> None:
        self.events.append("end")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.plain.append(self.trainer.evaluate(X, T)["loss"])
        with self.average.applied():
            self.averages.append(self.trainer.evaluate(X, T)["loss"])


@pytest.mark.parametrize("evaluate", [False, True])
def test_validation_with_the_average_when_asked(evaluate: bool) -> None:
    average = callbacks.MovingAverage(0.8, evaluate=evaluate)
    losses = Losses(average)
    trainer = fit(layers.Linear(3, 1, dtype=np.float64), losses, average, validation=(X, T))
    want = losses.averages if evaluate else losses.plain
    assert trainer.history["val_loss"] == pytest.approx(want, rel=1e-12)
    assert abs(np.subtract(losses.averages, losses.plain)).max() > 1e-3
    assert losses.events == ["begin", "end"] * 3
    assert trainer.evaluate(X, T)["loss"] == losses.plain[-1]


def test_weights_come_back_when_a_validation_fails() -> None:
    average = callbacks.MovingAverage(0.5, evaluate=True)
    record = Record()
    losses = Losses(average)
    model = layers.Linear(3, 1, dtype=np.float64)
    optimizer = optim.Adam(model, lr=0.1)

    def metric(y: Any, t: Any) -> float:
        if len(y) == 3:  # in the validation only
            raise KeyError("broken")
        return 0.0

    trainer = Trainer(
        model,
        optimizer,
        F.mean_squared_error,
        metrics=[metric],
        callbacks=[record, losses, average],
    )
    with pytest.raises(KeyError, match="broken"):
        trainer.fit(X, T, epochs=1, batch_size=4, validation=(X[:7], T[:7]), verbose=0)
    assert losses.events == ["begin", "end"]
    assert np.array_equal(model.w.data, record.weights[-1][0])
    assert not np.array_equal(model.w.data, averaged(record.weights, 0.5)[0])


def test_batch_statistics_stay_as_they_are() -> None:
    average = callbacks.MovingAverage(0.5)
    model = layers.Sequential(layers.BatchNorm(3), layers.Linear(3, 1))
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error, callbacks=[average])
    trainer.fit(X.astype(np.float32), T.astype(np.float32), epochs=2, verbose=0)
    before = {name: a.copy() for name, a in model.state_dict().items() if ".mean" in name}
    average.apply()
    after = model.state_dict()
    assert before and all(np.array_equal(after[name], a) for name, a in before.items())


def test_another_fit_begins_another_average() -> None:
    average = callbacks.MovingAverage(0.999)
    model = layers.Linear(3, 1, dtype=np.float64)
    trainer = fit(model, average)
    record = Record()
    trainer.callbacks.append(record)
    trainer.fit(X, T, epochs=1, batch_size=4, verbose=0)
    average.apply()
    np.testing.assert_allclose(model.w.data, averaged(record.weights, 0.999)[0], rtol=1e-12)


def test_float16_is_averaged_in_float32() -> None:
    average = callbacks.MovingAverage(0.999)
    model = layers.Linear(3, 1, dtype=np.float16)
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error, callbacks=[average])
    trainer.fit(X.astype(np.float16), T.astype(np.float16), epochs=2, verbose=0)
    assert {a.dtype for a in average.state_dict()["averages"]} == {np.dtype(np.float32)}
    average.apply()
    assert model.w.dtype == np.float16


def test_evaluate_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="evaluate: want True or False, got 0"):
        callbacks.MovingAverage(0.9, 0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize("decay", [1.0, -0.1, "0.9", None])
def test_refused(decay: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="MovingAverage: decay"):
        callbacks.MovingAverage(decay)


def test_nothing_to_apply() -> None:
    average = callbacks.MovingAverage()
    with pytest.raises(RuntimeError, match="want a fit with an update before"):
        average.apply()
    with pytest.raises(RuntimeError, match="MovingAverage"), average.applied():
        pass


def test_a_checkpoint_before_any_fit(tmp_path: Path) -> None:
    average = callbacks.MovingAverage()
    model = layers.Linear(3, 1)
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error, callbacks=[average])
    before = model.w.data.copy()
    trainer.save(tmp_path / "first.npz")
    trainer.load(tmp_path / "first.npz")
    np.testing.assert_array_equal(model.w.data, before)
    with pytest.raises(RuntimeError, match="MovingAverage"):  # there is no average yet
        average.apply()
