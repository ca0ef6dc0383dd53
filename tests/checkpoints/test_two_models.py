"""A Trainer with two models and two optimizers, by ``loss_of``: checkpoints, dry runs, resuming."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Trainer, callbacks, layers, no_grad, optim
from minidl import functions as F
from minidl.distributed.allreduce import checksum

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
ONE = np.ones((8, 1), np.float32)
cross_entropy = F.binary_cross_entropy_with_logits


class Gan(Trainer):
    """The Trainer's model draws samples, and learns from a second one, which tells them apart."""

    def __init__(self, lazy: bool, *calls: callbacks.Callback) -> None:
        minidl.seed(0)
        maker = layers.MLP([8, 3])
        self.judge = layers.Sequential(
            layers.Linear(6), layers.BatchNorm(), layers.Dropout(0.1), layers.Linear(1)
        )
        self.rng = np.random.default_rng(1)
        if not lazy:
            with no_grad():
                maker(np.zeros((2, 2), np.float32))
                self.judge(X)
        self.learner = optim.Adam(self.judge, lr=0.01)
        super().__init__(maker, optim.Adam(maker, lr=0.01), cross_entropy, callbacks=calls)

    def loss_of(self, batch: Any) -> Any:
        (x,) = batch
        drawn = self.model(self.rng.standard_normal((len(x), 2)).astype(np.float32))
        if drawn.requires_grad:
            self.learner.cleargrads()
            right = cross_entropy(self.judge(x), ONE)
            loss = right + cross_entropy(self.judge(drawn.detach()), 0 * ONE)
            loss.backward()
            self.learner.update()
        return cross_entropy(self.judge(drawn), ONE), None

    def learn(self, epochs: int, **more: Any) -> Any:
        return self.fit(X, epochs=epochs, batch_size=8, verbose=0, **more)

    def weights(self) -> Iterator[Any]:
        for model in (self.model, self.judge):
            yield from model.state_dict().values()


@pytest.mark.parametrize("lazy", [True, False])
def test_both_are_resumed(lazy: bool, tmp_path: Path) -> None:
    whole = Gan(lazy)
    history = whole.learn(4)
    for steps in (1, 4, 6, 11, 12):
        again = Gan(lazy, callbacks.Checkpoint(tmp_path / "run.npz", every=2))
        rows = again.learn(4, resume="auto", max_steps=steps)
    assert rows == history and again.learner.t == 12
    assert all(map(np.array_equal, again.weights(), whole.weights()))


@pytest.mark.parametrize("call", ["fast_dev_run", "find_lr", "refused"])
@pytest.mark.parametrize("lazy", [True, False])
def test_both_are_as_they_were(lazy: bool, call: str, tmp_path: Path) -> None:
    other = Gan(lazy=False)
    other.learn(1)
    other.learner = optim.SGD(other.judge)  # type: ignore[assignment]
    other.save(tmp_path / "run.npz")
    of = Gan(lazy)
    before = [] if lazy else list(of.weights())
    if call == "fast_dev_run":
        of.learn(2, fast_dev_run=True)
    elif call == "find_lr":
        of.find_lr(X, batch_size=8, steps=5)
    else:
        with pytest.raises(ValueError, match="of another trainer"):
            of.learn(2, resume=tmp_path / "run.npz")
    assert of.judge[0].w.lazy == of.model.layers[0].w.lazy == lazy
    if lazy:
        assert of.judge[1].mean is None
        with pytest.raises(RuntimeError, match="has no data yet"):
            of.judge[0].w.data
    else:
        assert all(map(np.array_equal, of.weights(), before))
    assert of.learn(2) == Gan(lazy).learn(2)


def test_a_layer_that_is_not_called_is_passed_over() -> None:
    class Spare(layers.Layer):
        def __init__(self) -> None:
            self.used = layers.Linear(1)
            self.spare = layers.Linear(2)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    model = Spare()
    average = callbacks.MovingAverage(0.9, evaluate=True)
    of = Trainer(model, optim.Adam(model), F.mean_squared_error, callbacks=[average])
    of.fit(X, X[:, :1], epochs=1, validation=(X, X[:, :1]), verbose=0)
    average.apply()
    assert model.spare.w.lazy and checksum(model.parameters())[1] == 3  # biases have data
