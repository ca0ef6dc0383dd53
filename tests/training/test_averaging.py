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
    trainer.save(tmp_path / "first.npz")
    trainer.load(tmp_path / "first.npz")
