"""Training recurrent models: carried states, truncation against the loop by hand, and mistakes caught up front."""

from typing import Any

import numpy as np
import pytest

from minidl import DataLoader, Trainer, layers, optim
from minidl import functions as F

Array = Any


def model(stateful: bool, kind: Any = layers.LSTM) -> layers.Layer:
    rng = np.random.default_rng(0)
    return layers.Sequential(
        kind(1, 8, stateful=stateful, dtype=np.float64, rng=rng),
        layers.Linear(8, 1, dtype=np.float64, rng=rng),
    )


def recurrent(net: Any) -> Any:
    return next(layer for layer in net.sublayers() if hasattr(layer, "stateful"))


def curve(n: int) -> tuple[Array, Array]:
    y = np.sin(np.arange(n + 1) / 5)[:, None]
    return y[:-1], y[1:]


def trainer(net: Any) -> Trainer:
    return Trainer(net, optim.SGD(net, lr=0.05), F.mean_squared_error)


def weights(net: Any) -> list[Array]:
    return [p.data.copy() for p in net.parameters()]


def equal(a: list[Array], b: list[Array]) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", [layers.LSTM, layers.RNN, layers.GRU])
@pytest.mark.parametrize(
    "truncate", [1, 4, 30]
)  # 10 batches: whole windows, an incomplete last one, one too long
def test_truncation_is_the_loop_written_by_hand(kind: Any, truncate: int) -> None:
    x, t = curve(100)
    ours, theirs = model(True, kind), model(True, kind)
    history = trainer(ours).fit(
        x, t, epochs=3, batch_size=10, shuffle=False, truncate=truncate, verbose=0
    )
    optimizer, losses = optim.SGD(theirs, lr=0.05), []
    for _ in range(3):
        theirs.reset_state()
        values, window = [], None
        for i in range(10):
            loss = F.mean_squared_error(theirs(x[10 * i : 10 * i + 10]), t[10 * i : 10 * i + 10])
            values.append(loss.item())
            window = loss if window is None else window + loss
            if (i + 1) % truncate == 0 or i == 9:
                optimizer.cleargrads()
                window.backward()
                window.unchain_backward()
                optimizer.update()
                window = None
        losses.append(np.mean(values))
    assert equal(weights(ours), weights(theirs))
    assert np.allclose(history["loss"], losses, rtol=0, atol=1e-15)


def test_one_step_at_a_time_without_truncation_carries_the_state_but_not_the_graph() -> None:
    x, t = curve(100)
    ours, theirs = model(True), model(True)
    trainer(ours).fit(x, t, epochs=2, batch_size=10, shuffle=False, verbose=0)
    trainer(theirs).fit(x, t, epochs=2, batch_size=10, shuffle=False, truncate=1, verbose=0)
    assert equal(weights(ours), weights(theirs))
    fresh = model(True)
    step = trainer(fresh)
    first = step.train_step(x[:10], t[:10])
    assert recurrent(fresh).steps == 1 and step.train_step(x[:10], t[:10]) < first
    assert recurrent(fresh).steps == 2


def test_whole_sequences_need_no_state() -> None:
    x, t = np.random.default_rng(0).standard_normal((24, 7, 1)), np.zeros((24, 7, 1))
    for stateful in (False, True):
        history = trainer(model(stateful)).fit(
            x, t, epochs=5, batch_size=8, shuffle=stateful is False, verbose=0
        )
        assert history["loss"][-1] < history["loss"][0]


def test_one_step_input_to_a_layer_that_forgets() -> None:
    x, t = curve(20)
    net = model(False)
    before = weights(net)
    with pytest.raises(
        ValueError, match=r"LSTM took x of shape \(20, 1\) for one step.*stateful=True"
    ):
        trainer(net).fit(x, t, epochs=1, verbose=0)
    for call in (
        trainer(net).train_step,
        trainer(net).evaluate,
        lambda x, t: trainer(net).predict(x),
    ):
        with pytest.raises(ValueError, match="for one step"):
            call(x, t)
    assert equal(before, weights(net))


def test_a_loop_of_ones_own_over_steps_is_no_mistake() -> None:
    class Loop(layers.Layer):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.cell, self.out = layers.LSTM(1, 4, rng=rng), layers.Linear(4, 1, rng=rng)

        def forward(self, x: Any) -> Any:
            for i in range(x.shape[1]):
                h = self.cell(x[:, i : i + 1])
            return self.out(h)

    net = Loop()
    x = np.random.default_rng(0).standard_normal((12, 5))
    history = trainer(net).fit(x, x[:, :1], epochs=3, batch_size=4, verbose=0)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"batch_size": 10}, "shuffle=False"),
        ({"batch_size": 10, "truncate": 3}, "shuffle=False"),
        ({"batch_size": 32, "shuffle": False}, "last batch would have 4 samples instead of 32"),
        (
            {"batch_size": 10, "shuffle": False, "validation": curve(25)},
            "fit: validation: .* 5 samples instead of 10",
        ),
    ],
)
def test_data_a_carried_state_cannot_follow(keywords: Any, message: str) -> None:
    net = model(True)
    before = weights(net)
    with pytest.raises(ValueError, match=message):
        trainer(net).fit(*curve(100), epochs=1, verbose=0, **keywords)
    assert equal(before, weights(net))


def test_unequal_batches_elsewhere() -> None:
    x, t = curve(25)
    learner = trainer(model(True))
    for call in (
        lambda: learner.evaluate(x, t, batch_size=10),
        lambda: learner.predict(x, batch_size=10),
    ):
        with pytest.raises(ValueError, match="5 samples instead of 10"):
            call()
    loader = DataLoader(x, t, batch_size=10, shuffle=False, drop_last=True)
    assert learner.fit(loader, epochs=1, validation=loader, verbose=0)["loss"]
    assert learner.predict(x, batch_size=100).shape == (25, 1)  # one batch follows nothing


def test_evaluation_starts_from_nothing_and_brings_the_state_back() -> None:
    x, t = curve(40)
    net = model(True)
    learner = trainer(net)
    learner.train_step(x[:10], t[:10])
    layer = recurrent(net)
    state, steps = layer.state, layer.steps
    first = learner.evaluate(x, t, batch_size=10)
    assert layer.state is state and layer.steps == steps
    assert learner.evaluate(x, t, batch_size=10) == first
    predicted = learner.predict(x, batch_size=10)
    assert np.mean((predicted - t) ** 2) == pytest.approx(first["loss"], abs=1e-14)
    by_hand = model(True)
    by_hand.load_state_dict(net.state_dict())
    assert np.allclose(
        predicted,
        np.concatenate([by_hand(x[i : i + 10]).data for i in range(0, 40, 10)]),
        atol=1e-15,
    )
    assert layer.state is state and layer.steps == steps
    with pytest.raises(ValueError):
        learner.evaluate(x, t[:, :0], batch_size=10)  # targets of another shape
    assert layer.state is state and layer.steps == steps


def test_validation_does_not_disturb_training() -> None:
    x, t = curve(40)
    ours, theirs = model(True), model(True)
    trainer(ours).fit(x, t, epochs=2, batch_size=10, shuffle=False, validation=(x, t), verbose=0)
    trainer(theirs).fit(x, t, epochs=2, batch_size=10, shuffle=False, verbose=0)
    assert equal(weights(ours), weights(theirs))
