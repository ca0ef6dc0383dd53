"""Trainer(compile=True): whole trainings are those of eager code, to the last bit, and are compiled.

What a compiled function does otherwise is in tests/compiler.
"""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Parameter, Trainer, Variable, callbacks, layers, optim
from minidl import functions as F
from minidl.common import random
from minidl.common.pytree import flatten
from minidl.compiler.native import toolchain
from minidl.optim import hooks
from tests.distributed.ranks import World

DRAW = np.random.default_rng(0)
ROWS = DRAW.standard_normal((70, 6)).astype(np.float32)
SEQUENCES = DRAW.standard_normal((64, 5, 2)).astype(np.float32)
IMAGES = DRAW.standard_normal((64, 6, 6, 1)).astype(np.float32)
LABELS = DRAW.integers(0, 3, 70)
WEIGHT = DRAW.uniform(0.5, 2, 70).astype(np.float32)
FIT: dict[str, Any] = {"epochs": 3, "batch_size": 16, "verbose": 0}


def accuracy(y: Any, t: Any) -> Any:
    return (y.argmax(1) == t).mean()


def state_of(trainer: Trainer) -> list[Any]:
    """All that a training leaves, as bytes."""
    found: list[Any] = [list(trainer.history.rows), str(random.generator().bit_generator.state)]
    for p in trainer.model.parameters():
        found += [p.data.tobytes(), None if p.grad is None else p.grad.data.tobytes()]
    for layer in trainer.model.sublayers():
        for name in (*layer.carried, *layer.buffers):
            kept = flatten(getattr(layer, name))[0]
            found += [x.data.tobytes() if isinstance(x, Variable) else str(x) for x in kept]
    state = trainer.optimizer.state_dict()
    return [*found, {name: np.asarray(value).tobytes() for name, value in state.items()}]


def side_by_side(train: Callable[[bool], Trainer], compiled: bool = True) -> Trainer:
    """Both ways; the compiled one's trainer."""
    states = []
    for compile in (False, True):
        minidl.seed(0)
        trainer = train(compile)
        states.append(state_of(trainer))
    assert states[1] == states[0]
    assert ("eager" not in trainer._program.status()) is compiled
    return trainer


def recurrent(kind: Any, **settings: Any) -> Any:
    return layers.Sequential(kind(6, return_sequences=False, **settings), layers.Linear(3))


MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "mlp": (lambda: layers.MLP([8, 3]), ROWS),
    "dropout": (
        lambda: layers.Sequential(layers.Linear(8), F.relu, layers.Dropout(0.5), layers.Linear(3)),
        ROWS,
    ),
    "normalized": (
        lambda: layers.Sequential(layers.Linear(8), layers.LayerNorm(), F.tanh, layers.Linear(3)),
        ROWS,
    ),
    "rnn": (lambda: recurrent(layers.RNN), SEQUENCES),
    "lstm": (lambda: recurrent(layers.LSTM), SEQUENCES),
    "gru": (lambda: recurrent(layers.GRU), SEQUENCES),
    "stateful": (lambda: recurrent(layers.LSTM, stateful=True), SEQUENCES),
    "conv": (
        lambda: layers.Sequential(
            layers.Conv2d(4, kernel=3),
            F.relu,
            layers.MaxPool2d(2),
            layers.Flatten(),
            layers.Linear(3),
        ),
        IMAGES,
    ),
    "attention": (
        lambda: layers.Sequential(
            layers.Linear(8), layers.TransformerBlock(2), lambda y: y.mean(1), layers.Linear(3)
        ),
        SEQUENCES,
    ),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda m: optim.SGD(m, lr=0.1),
    "momentum, decaying": lambda m: optim.Momentum(m, lr=0.05, hooks=[hooks.WeightDecay(0.01)]),
    "adam, clipped": lambda m: optim.Adam(m, hooks=[hooks.ClipGrad(0.1)]),
    "adamw, scheduled": lambda m: optim.AdamW(m, lr=lambda t: 0.01 / (1 + t)),
}
SETTINGS: dict[str, tuple[dict[str, Any], bool]] = {  # of fit, and whether there are metrics
    "plain": ({}, False),
    "measured": ({}, True),
    "accumulated": ({"accumulate": 3}, True),
    "weighted": ({"weight": WEIGHT}, False),
    "weighted, accumulated": ({"weight": WEIGHT, "accumulate": 2}, True),
}


CHOICES = {("mlp", optimizer, setting) for optimizer in OPTIMIZERS for setting in SETTINGS}
CHOICES |= {
    (model, [*OPTIMIZERS][(i + j) % len(OPTIMIZERS)], setting)
    for i, model in enumerate(MODELS)
    for j, setting in enumerate(SETTINGS)
}


@pytest.mark.parametrize(("model", "optimizer", "setting"), sorted(CHOICES))
def test_whole_trainings(model: str, optimizer: str, setting: str) -> None:
    make, x = MODELS[model]
    given, measured = SETTINGS[setting]
    given = given | {"shuffle": model != "stateful"}
    if "weight" in given:
        given["weight"] = WEIGHT[: len(x)]

    def train(compile: bool) -> Trainer:
        net = make()
        trainer = Trainer(
            net,
            OPTIMIZERS[optimizer](net),
            F.cross_entropy,
            [accuracy] if measured else None,
            compile=compile,
        )
        trainer.fit(x, LABELS[: len(x)], **FIT, **given)
        return trainer

    side_by_side(train)


def mlp(compile: bool | str, optimizer: Any = optim.Adam, **settings: Any) -> Trainer:
    net = layers.Sequential(layers.Linear(8), F.tanh, layers.Dropout(0.2), layers.Linear(3))
    return Trainer(net, optimizer(net), F.cross_entropy, compile=compile, **settings)


@pytest.mark.parametrize("window", [1, 3, 4])
def test_consecutive_steps_in_time(window: int) -> None:
    """Where several losses are summed only the loss is a program; a last window may have one."""

    def train(compile: bool) -> Trainer:
        net = layers.Sequential(layers.LSTM(4, stateful=True), layers.Linear(1))
        trainer = Trainer(net, optim.Adam(net), F.mean_squared_error, compile=compile)
        steps = [(SEQUENCES[:8, i % 5], SEQUENCES[:8, i % 5, :1]) for i in range(16)]
        trainer.fit(steps, epochs=8, truncate=window, verbose=0)
        return trainer

    assert len(side_by_side(train)._program.programs) <= 4  # by what the states are, and the window


class Observer(callbacks.Callback):
    """Notes gradients, weights and updates after every batch."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        params = self.trainer.model.parameters()
        self.seen += [p.grad.data.tobytes() for p in params if p.grad is not None]
        self.seen += [p.data.tobytes() for p in params]
        self.seen.append((self.trainer.steps, dict(logs)))


@pytest.mark.parametrize("clipped", [False, True])
def test_callbacks_see_the_same(clipped: bool) -> None:
    seen = []

    def train(compile: bool) -> Trainer:
        observer = Observer()
        average = callbacks.MovingAverage(0.9, evaluate=True)
        trainer = mlp(compile, callbacks=[observer, average], metrics=[accuracy])
        if clipped:
            trainer.optimizer.hooks.append(hooks.ClipGrad(0.01))
        trainer.fit(ROWS, LABELS, **FIT, validation=0.2)
        seen.append(observer.seen)
        return trainer

    side_by_side(train)
    assert seen[0] == seen[1] and len(seen[0]) > 20


def test_hooks_that_draw_and_count() -> None:
    calls = []

    class Noise:
        def __init__(self) -> None:
            self.n = 0

        def __call__(self, gradients: Any) -> None:
            self.n += 1
            noise = random.generator().normal
            gradients.grads = [
                g + 0.01 * noise(size=g.shape).astype(g.dtype) for g in gradients.grads
            ]

    def train(compile: bool) -> Trainer:
        noise = Noise()
        trainer = mlp(compile, lambda net: optim.SGD(net, lr=0.1, hooks=[noise]))
        trainer.fit(ROWS, LABELS, **FIT)
        calls.append(noise.n)
        return trainer

    side_by_side(train)
    assert calls == [15, 15]


def test_groups_and_frozen_parameters() -> None:
    def train(compile: bool) -> Trainer:
        net = layers.MLP([8, 3], in_features=6)
        groups = [{"params": net[0], "lr": 0.02}, {"params": net[-1], "momentum": 0.5}]
        trainer = Trainer(net, optim.RMSprop(groups, lr=0.01), F.cross_entropy, compile=compile)
        trainer.fit(ROWS, LABELS, **FIT)
        net[0].w.requires_grad = False
        trainer.fit(ROWS, LABELS, **FIT)
        net[0].w.requires_grad = True
        trainer.optimizer.lr = 0.001
        trainer.fit(ROWS, LABELS, **FIT)
        return trainer

    side_by_side(train)


def test_parts_that_are_assigned() -> None:
    def train(compile: bool) -> Trainer:
        trainer = mlp(compile)
        trainer.fit(ROWS, LABELS, **FIT)
        trainer.loss = lambda y, t: F.cross_entropy(2 * y, t)
        trainer.metrics = [accuracy]
        trainer.fit(ROWS, LABELS, **FIT)
        trainer.optimizer = optim.SGD(trainer.model, lr=0.1)
        trainer.fit(ROWS, LABELS, **FIT)
        assert trainer.optimizer.t == 15
        trainer.model = layers.MLP([5, 3], in_features=6)
        trainer.optimizer = optim.SGD(trainer.model, lr=0.1)
        trainer.fit(ROWS, LABELS, **FIT)
        return trainer

    side_by_side(train)


def test_steps_one_by_one_and_the_rate_finder() -> None:
    def train(compile: bool) -> Trainer:
        trainer = mlp(compile)
        losses = [trainer.train_step(ROWS[i : i + 10], LABELS[i : i + 10]) for i in range(30)]
        curve = trainer.find_lr(ROWS, LABELS, steps=20)
        trainer.fit(ROWS, LABELS, **FIT)
        trainer.history.rows.append({"loss": sum(losses), "lr": sum(curve.losses)})
        return trainer

    side_by_side(train)


@pytest.mark.parametrize("at", [3, 7])
def test_a_resumed_run_is_the_unbroken_one(at: int, tmp_path: Path) -> None:
    def train(compile: bool, path: Path | None = None, **settings: Any) -> Trainer:
        given = [callbacks.Checkpoint(path)] if path else []
        trainer = mlp(compile, callbacks=given)
        trainer.fit(
            DataLoader(ROWS, LABELS, batch_size=16, seed=1), epochs=4, verbose=0, **settings
        )
        return trainer

    def broken(compile: bool) -> Trainer:
        path = tmp_path / f"{compile}.npz"
        train(compile, path, max_steps=at)
        minidl.seed(9)
        return train(compile, path, resume="auto")

    side_by_side(train)
    whole = state_of(side_by_side(train))
    minidl.seed(0)
    assert state_of(broken(True)) == whole


def test_a_signal_in_the_middle(tmp_path: Path) -> None:
    class Interrupt(callbacks.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if self.trainer.steps == 6:
                os.kill(os.getpid(), signal.SIGTERM)

    def train(compile: bool) -> Trainer:
        trainer = mlp(compile, callbacks=[Interrupt()])
        trainer.fit(ROWS, LABELS, **FIT)
        assert trainer.interrupted == "SIGTERM" and trainer.steps in (6, 7)
        return trainer

    side_by_side(train)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_train_what_eager_ranks_train(size: int) -> None:
    def program(comm: Any, compile: bool) -> tuple[list[Any], str]:
        net = layers.MLP([7, 3], in_features=6, rng=np.random.default_rng(3))
        optimizer = optim.Adam(net, hooks=[hooks.ClipGrad(0.3)])
        trainer = Trainer(
            net, optimizer, F.cross_entropy, [F.accuracy], compile=compile, distributed=comm
        )
        data = DataLoader(ROWS, LABELS, WEIGHT, batch_size=16, seed=5)
        trainer.fit(data, epochs=6, accumulate=2, verbose=0)
        found = [p.data.tobytes() for p in net.parameters()]
        return [*found, list(trainer.history.rows)], trainer._program and trainer._program.status()

    eager = World(size).run(lambda comm: program(comm, False))
    compiled = World(size).run(lambda comm: program(comm, True))
    assert [found for found, _ in compiled] == [found for found, _ in eager]
    assert all("eager" not in status for _, status in compiled)


# ---- what is not finite ----------------------------------------------------------------------------


class Root(layers.Layer):
    """Takes a square root, whose derivative at 0 is infinite."""

    def __init__(self) -> None:
        self.inner = layers.Linear(3, 1, dtype=np.float64)

    def forward(self, x: Any) -> Any:
        return np.sqrt(self.inner(x) ** 2)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_what_is_not_finite_is_found_before_anything_is_written(kind: str, accumulate: int) -> None:
    x = np.random.default_rng(0).standard_normal((60, 3))
    x[50] = np.inf if kind == "loss" else 0
    messages = []

    def train(compile: bool) -> Trainer:
        trainer = Trainer(net := Root(), optim.Adam(net), F.mean_squared_error, compile=compile)
        net.inner.b.requires_grad = False
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as caught:
            trainer.fit(
                x, x[:, :1], epochs=1, batch_size=4, shuffle=False, accumulate=accumulate, verbose=0
            )
        messages.append(str(caught.value))
        at = 14 if kind == "gradient" and accumulate == 2 else 13  # the end of the window
        assert f"batch {at} of 15" in str(caught.value.__notes__)
        return trainer

    side_by_side(train)
    assert messages[0] == messages[1] and f"the {kind}" in messages[0]


def test_a_bad_label_is_refused_as_it_is_eagerly() -> None:
    labels = LABELS.copy()
    labels[45] = 99

    def train(compile: bool) -> Trainer:
        trainer = mlp(compile)
        with pytest.raises(ValueError, match="label 99"):
            trainer.fit(ROWS, labels, **FIT, shuffle=False)
        return trainer

    side_by_side(train)


# ---- what cannot be compiled -----------------------------------------------------------------------

COUNT = 0


def counting(y: Any, t: Any) -> Any:
    global COUNT
    COUNT += 1
    return F.cross_entropy(y, t) * COUNT


MINE = np.random.default_rng(0)


def drawing(y: Any, t: Any) -> Any:
    return F.cross_entropy(y * MINE.uniform(0.5, 1.0), t)


def reading(y: Any, t: Any) -> Any:
    loss = F.cross_entropy(y, t)
    return loss * 2 if loss.item() > 1 else loss


@pytest.mark.parametrize("loss", [drawing, reading])
def test_hidden_dependencies_are_named_and_trained_eagerly(loss: Any) -> None:
    def train(compile: bool) -> Trainer:
        global MINE
        MINE = np.random.default_rng(0)
        net = layers.MLP([8, 3])
        trainer = Trainer(net, optim.Adam(net), loss, compile=compile)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.fit(ROWS, LABELS, **FIT)
        assert len(caught) == compile
        return trainer

    side_by_side(train, compiled=False)


def test_a_loss_that_counts_is_compiled() -> None:
    def train(compile: bool) -> Trainer:
        global COUNT
        COUNT = 0
        net = layers.MLP([8, 3])
        trainer = Trainer(net, optim.Adam(net), counting, compile=compile)
        trainer.fit(ROWS, LABELS, **FIT)
        assert trainer.optimizer.t == COUNT
        return trainer

    side_by_side(train)


def test_the_program_is_a_whole_cycle() -> None:
    trainer = mlp(True)
    trainer.fit(ROWS, LABELS, epochs=3, batch_size=35, verbose=0)
    program = str(trainer._program.programs[-1].program)
    assert "want_finite" in program and program.index("d_cross_entropy") < program.index("update")
    trainer.optimizer.hooks.append(hooks.ClipGrad(1.0))
    assert trainer._until(last=True) == "gradients"


def test_parameters_that_only_some_batches_use() -> None:
    class Branches(layers.Layer):
        def __init__(self) -> None:
            self.a = layers.Linear(6, 3)
            self.b = layers.Linear(6, 3)
            self.first = True

        def forward(self, x: Any) -> Any:
            return self.a(x) if self.first else self.b(x)

    class Alternate(callbacks.Callback):
        def on_batch_begin(self, batch: int) -> None:
            self.trainer.model.first = batch % 2 == 0

    def train(compile: bool) -> Trainer:
        net = Branches()
        trainer = Trainer(net, optim.Adam(net), F.cross_entropy, None, Alternate(), compile=compile)
        trainer.fit(ROWS, LABELS, **FIT | {"batch_size": 8}, accumulate=3)
        return trainer

    side_by_side(train)


def test_an_optimizer_with_an_update_of_its_own() -> None:
    class Counting(optim.SGD):
        def update(self) -> None:
            super().update()
            self.n = getattr(self, "n", 0) + 1

    def train(compile: bool) -> Trainer:
        trainer = mlp(compile, Counting)
        trainer.fit(ROWS, LABELS, **FIT)
        assert trainer.optimizer.n == 15
        return trainer

    side_by_side(train)


def test_late_parameters() -> None:
    """A layer that grows in the middle of a training."""

    class Growing(layers.Layer):
        def __init__(self) -> None:
            self.first = layers.Linear(6, 3)
            self.scale: Any = None

        def forward(self, x: Any) -> Any:
            y = self.first(x)
            return y if self.scale is None else y * self.scale

    def train(compile: bool) -> Trainer:
        net = Growing()
        trainer = Trainer(net, optim.Adam(net), F.cross_entropy, compile=compile)
        trainer.fit(ROWS, LABELS, **FIT)
        net.scale = Parameter(np.ones(3, np.float32))
        trainer.fit(ROWS, LABELS, **FIT)
        return trainer

    side_by_side(train)


def test_compiled_to_c() -> None:
    try:
        toolchain.find()
    except toolchain.CompilerError:
        with pytest.raises(toolchain.CompilerError):
            mlp("c")
        return
    trainer = mlp("c")
    assert 'compile="c"' in repr(trainer)
    trainer.fit(ROWS, LABELS, **FIT)
    assert trainer._program.backend == "c" and "eager" not in trainer._program.status()
