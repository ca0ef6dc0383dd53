"""Checkpoints: what they hold, which are kept, what is refused; that runs resume exactly is tests/reliability's."""

import itertools
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Trainer, callbacks, layers, optim
from minidl import functions as F
from minidl.checkpoints import file as checkpoint
from minidl.checkpoints import snapshot
from minidl.optim import hooks, schedules

X = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
T = X[:, :1]
RNG = np.random.default_rng(0)


def trainer(*given: callbacks.Callback, model: Any = None, optimizer: Any = None) -> Trainer:
    model = (
        layers.Sequential(layers.Linear(4), layers.Dropout(0.5), layers.Linear(1))
        if model is None
        else model
    )
    return Trainer(
        model, optimizer or optim.Adam(model, lr=0.01), F.mean_squared_error, callbacks=given
    )


def weights(of: Trainer) -> list[Any]:
    return [p.data.copy() for p in of.optimizer.params]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(p, q) for p, q in itertools.zip_longest(a, b))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.npz"


def test_save_and_load(path: Path) -> None:
    first, second = trainer(), trainer()
    history = first.fit(X, T, epochs=2, batch_size=4, verbose=0)
    first.save(path)
    second.load(path)
    assert same(weights(first), weights(second)) and second.history == history
    assert second.optimizer.state_dict().keys() == first.optimizer.state_dict().keys()
    assert np.array_equal(first.predict(X), second.predict(X))
    assert minidl.load(path)["model.parameters.layers.0.w"].shape == (3, 4)  # NumPy reads it, too


def test_more_epochs_after_a_finished_fit(path: Path) -> None:
    minidl.seed(3)
    whole = trainer()
    whole.fit(X, T, epochs=4, batch_size=4, verbose=0)
    minidl.seed(3)
    first, second = trainer(), trainer()
    del second
    first.fit(X, T, epochs=2, batch_size=4, verbose=0)
    first.save(path)
    second = trainer()
    history = second.fit(X, T, epochs=4, batch_size=4, verbose=0, resume=path)
    assert same(weights(whole), weights(second)) and len(history.rows) == 4 and second.steps == 12
    again = trainer()
    again.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)  # nothing is left to do
    assert same(weights(first), weights(again)) and again.history == first.history


def test_saved_in_the_middle_of_a_window(path: Path) -> None:
    """What a callback asks for within accumulated batches is written with their update."""

    class Save(callbacks.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if batch == 0:
                self.trainer.save(path)
                assert not path.exists()
            if batch == 2:
                assert path.exists()

    minidl.seed(0)
    whole = trainer(Save())
    whole.fit(X, T, epochs=1, batch_size=3, accumulate=2, verbose=0)
    minidl.seed(9)
    resumed = trainer()
    resumed.fit(X, T, epochs=1, batch_size=3, accumulate=2, verbose=0, resume=path)
    assert same(weights(whole), weights(resumed)) and resumed.history == whole.history


def test_which_are_kept(path: Path) -> None:
    keeper = callbacks.Checkpoint(path, every=2, keep=3, best="loss")
    of = trainer(keeper)
    of.fit(X, T, epochs=3, batch_size=3, verbose=0)  # 12 updates
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ["run.1.npz", "run.2.npz", "run.best.npz", "run.npz"]
    steps = []
    for version in keeper.versions():
        other = trainer()
        other.load(version)
        steps.append(other.optimizer.t)
    assert steps == [12, 10, 8]
    other.load(keeper.best_path)
    best = int(np.argmin(of.history["loss"]))
    assert len(other.history.rows) == best + 1


def test_every_epoch_and_the_best_of_a_figure_to_be_large(path: Path) -> None:
    class Feed(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            logs["score"] = [1.0, 3.0, 2.0][epoch]

    keeper = callbacks.Checkpoint(path, best="score", mode="max")
    trainer(Feed(), keeper).fit(X, T, epochs=3, verbose=0)
    other = trainer(callbacks.Checkpoint(path, best="score", mode="max"))
    other.load(keeper.best_path)
    assert other.history["score"] == [1.0, 3.0]
    other.load(path)
    assert other.history["score"] == [1.0, 3.0, 2.0]


def test_auto_takes_the_newest_that_is_whole(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(callbacks.Checkpoint(path, keep=2)).fit(X, T, epochs=3, batch_size=5, verbose=0)
    path.write_bytes(path.read_bytes()[:-100])
    of = trainer(callbacks.Checkpoint(path, keep=2))
    assert len(of.fit(X, T, epochs=3, batch_size=5, verbose=0, resume="auto").rows) == 3
    assert "run.npz is no checkpoint" in capsys.readouterr().err
    for version in callbacks.Checkpoint(path, keep=2).versions():
        version.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"run\.npz is no checkpoint.*run\.1\.npz is no checkpoint"
    ):
        of.fit(X, T, epochs=3, batch_size=5, verbose=0, resume="auto")
    fresh = trainer(callbacks.Checkpoint(path.with_name("other.npz")))
    assert len(fresh.fit(X, T, epochs=1, verbose=0, resume="auto").rows) == 1


class Counting(layers.Layer):
    """Keeps state of every kind that a checkpoint takes along."""

    def __init__(self) -> None:
        self.inner, self.seen, self.total = layers.Linear(3, 1), 0, np.zeros(3)
        self.rngs = [np.random.default_rng(1), np.random.default_rng(2)]
        self.scale = np.float64(2.0)

    def forward(self, x: Any) -> Any:
        self.seen += 1
        self.total += np.asarray(x).sum(0)
        return self.inner(x) * self.rngs[self.seen % 2].random()


def test_what_layers_losses_hooks_and_schedules_keep(path: Path) -> None:
    class Schedule:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, t: int) -> float:
            return 0.1 / (1 + self.calls)

        def state_dict(self) -> dict[str, Any]:
            return {"calls": self.calls}

        def load_state_dict(self, state: Any) -> None:
            self.calls = state["calls"]

    class Noise:
        def __init__(self) -> None:
            self.rng = np.random.default_rng(5)

        def __call__(self, gradients: optim.StepGradients) -> None:
            gradients.flat += self.rng.standard_normal(gradients.flat.shape)

    def make() -> Trainer:
        model, rng = Counting(), np.random.default_rng(6)
        of = trainer(model=model, optimizer=optim.SGD(model, lr=Schedule(), hooks=[Noise()]))
        of.loss = lambda y, t: F.mean_squared_error(y, t) * rng.random()
        return of

    first = make()
    first.fit(X, T, epochs=1, batch_size=4, verbose=0)
    first.optimizer.lr.calls = 3  # type: ignore[union-attr]
    first.model.inner.freeze()
    first.model.inner.w.requires_grad = True
    first.save(path)
    second = make()
    total = second.model.total
    second.load(path)
    assert (
        second.model.seen == 3
        and second.model.total is total
        and np.array_equal(total, first.model.total)
    )
    assert second.model.scale.dtype == np.float64 and isinstance(second.model.scale, np.float64)
    assert [p.requires_grad for p in second.model.parameters()] == [True, False]
    assert second.optimizer.lr.calls == 3  # type: ignore[union-attr]
    ours, theirs = ([*of.model.rngs, of.optimizer.hooks[0].rng] for of in (first, second))
    for a, b in zip(ours, theirs):
        assert a.random() == b.random()
    assert first.loss(T + 1, T) == second.loss(T + 1, T)
    assert minidl.random.generator().random() is not None


@pytest.mark.parametrize(
    ("make", "keywords", "message"),
    [
        (lambda: trainer(model=layers.Linear(3, 1)), {}, "parameters or layers are others"),
        (
            lambda: trainer(
                model=layers.Sequential(layers.Linear(5), layers.Dropout(0.5), layers.Linear(1))
            ),
            {},
            "load_state_dict of Sequential",
        ),
        (
            lambda: with_optimizer(lambda m: optim.SGD(m, lr=0.01)),
            {},
            "the optimizer: got Adam, want SGD",
        ),
        (lambda: with_optimizer(lambda m: optim.Adam(m, lr=0.01, betas=(0.5, 0.9))), {}, "betas"),
        (
            lambda: with_optimizer(lambda m: optim.Adam(m, lr=schedules.constant(0.01))),
            {},
            "the rate is a schedule",
        ),
        (
            lambda: trainer(
                model=layers.Sequential(
                    layers.Linear(4), layers.Dropout(0.5, RNG), layers.Linear(1)
                )
            ),
            {},
            "the random generators",
        ),
        (lambda: trainer(), {"batch_size": 5}, "batch_size: got 4, want 5"),
        (lambda: trainer(), {"shuffle": False}, "shuffle: got True, want False"),
        (lambda: trainer(), {"accumulate": 2}, "trained with accumulate=1"),
        (lambda: trainer(), {"data": X[:9]}, "size: got 10, want 9"),
    ],
)
def test_another_trainer(path: Path, make: Any, keywords: Any, message: str) -> None:
    of = trainer()
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    other = make()
    other.fit(X, T, epochs=1, verbose=0)
    before, state, drawn = (
        weights(other),
        other.optimizer.state_dict(),
        minidl.random.generator().bit_generator.state,
    )
    history = other.history
    settings = {"batch_size": 4} | keywords
    x = settings.pop("data", X)
    with pytest.raises(
        ValueError, match=f"fit: resume: .*run.npz: it is of another trainer: .*{message}"
    ):
        other.fit(
            DataLoader(x, T[: len(x)], batch_size=4, seed=0) if len(x) < 10 else x,
            **({} if len(x) < 10 else {"t": T} | settings),
            epochs=2,
            verbose=0,
            resume=path,
        )
    assert same(before, weights(other)) and other.history is history
    assert all(
        np.array_equal(state[name], value) for name, value in other.optimizer.state_dict().items()
    )
    if len(x) == 10 and settings.get("shuffle", True):  # a loader of arrays draws its seed
        minidl.random.generator().bit_generator.state = drawn


def with_optimizer(make: Any) -> Trainer:
    model = layers.Sequential(layers.Linear(4), layers.Dropout(0.5), layers.Linear(1))
    return trainer(model=model, optimizer=make(model))


def test_another_schedule(path: Path) -> None:
    def make(lr: float) -> Trainer:
        return with_optimizer(lambda m: optim.SGD(m, lr=schedules.cosine(lr, 100)))

    make(0.1).fit(X, T, epochs=1, verbose=0)
    of = make(0.1)
    of.fit(X, T, epochs=1, verbose=0)
    of.save(path)
    with pytest.raises(
        ValueError, match=r"the schedule\'s rate for update 1: got 0\.0999.*, want 0\.1999"
    ):
        make(0.2).load(path)


def test_bad_arguments(path: Path) -> None:
    of = trainer()
    for call in (of.save, of.load, lambda p: of.fit(X, T, epochs=1, resume=p)):
        with pytest.raises(ValueError, match=r"want a path that ends in \.npz"):
            call("run.pt")
    with pytest.raises(FileNotFoundError, match=r"Trainer\.load: there is no file"):
        of.load(path)
    with pytest.raises(FileNotFoundError, match="fit: resume: there is no file"):
        of.fit(X, T, epochs=1, resume=path)
    with pytest.raises(ValueError, match='"auto" goes on from what'):
        of.fit(X, T, epochs=1, resume="auto")
    with pytest.raises(RuntimeError, match="no data yet"):
        of.save(path)
    with pytest.raises(ValueError, match="better for 'val_accuracy', got None"):
        callbacks.Checkpoint(path, best="val_accuracy")
    with pytest.raises(FileNotFoundError, match=r"Checkpoint: there is no folder .*none"):
        trainer(callbacks.Checkpoint(path.parent / "none" / "run.npz")).fit(
            X, T, epochs=1, verbose=0
        )
    with pytest.raises(ValueError, match=r"every: want .*got 'day'"):
        callbacks.Checkpoint(path, every="day")
    with pytest.raises(ValueError, match="'val_loss' was not measured; there is loss, lr"):
        trainer(callbacks.Checkpoint(path, best="val_loss")).fit(X, T, epochs=1, verbose=0)


def test_states_that_cannot_be_written(path: Path) -> None:
    class Odd(callbacks.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"model": [object()]}

    of = trainer(Odd())
    of.fit(X, T, epochs=1, verbose=0)
    with pytest.raises(
        TypeError, match=r"callbacks\.0\.state\.model\.0 is a object, want numbers, text"
    ):
        of.save(path)
    assert not path.exists()


def test_a_folder_in_the_way_and_a_disk_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = trainer()
    of.fit(X, T, epochs=1, verbose=0)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=r"run\.npz is a folder"):
        of.save(path)
    path.rmdir()
    of.save(path)
    content = path.read_bytes()

    def fails(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(
        OSError, match=r"Trainer\.save: .*run\.npz was not written, .*: No space left"
    ) as caught:
        trainer(callbacks.Checkpoint(path)).fit(X, T, epochs=1, verbose=0)
    assert caught.value.errno == 28
    assert path.read_bytes() == content and [p.name for p in path.parent.iterdir()] == ["run.npz"]


def test_hooks_without_state_are_left_alone(path: Path) -> None:
    clip = hooks.ClipGrad(1.0)
    of = with_optimizer(lambda m: optim.Adam(m, hooks=[clip]))
    of.fit(X, T, epochs=1, verbose=0)
    of.save(path)
    of.load(path)
    assert of.optimizer.hooks == [clip] and clip.max_norm == 1.0


# ---- other settings ------------------------------------------------------------------------------------


class Scaled(layers.Layer):
    def __init__(self, rate: float = 0.5, activation: Any = F.relu, scale: float = 2.0) -> None:
        self.inner, self.dropout = layers.Linear(3, 1), layers.Dropout(rate)
        self.activation, self.scale = activation, scale

    def forward(self, x: Any) -> Any:
        return self.dropout(self.activation(self.inner(x))) * self.scale


def of_settings(
    given: Any = (), loss: Any = F.mean_squared_error, optimizer: Any = None, **layer: Any
) -> Trainer:
    model = Scaled(**layer)
    make = optimizer or (lambda m: optim.Adam(m, lr=0.01, hooks=[hooks.ClipGrad(1.0)]))
    return Trainer(model, make(model), loss, callbacks=given)


def weighted(alpha: float) -> Any:
    return lambda y, t: alpha * F.mean_squared_error(y, t)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"rate": 0.25}, r"model\.dropout\.rate: 0\.25 here, 0\.5 when it was saved"),
        ({}, {"activation": F.tanh}, r"model\.activation: tanh here, relu when"),
        ({}, {"scale": 3.0}, r"model\.scale: 3\.0 here, 2\.0 when"),
        ({}, {"loss": F.huber}, "loss: huber here, mean_squared_error when"),
        ({"loss": weighted(1.0)}, {"loss": weighted(2.0)}, r"loss\.alpha: 2\.0 here, 1\.0 when"),
        (
            {"loss": lambda y, t: F.mean_squared_error(y, t)},
            {"loss": lambda y, t: F.huber(y, t)},
            "loss: another function of the name",
        ),
        *[
            ({"optimizer": lambda m, a=a: a(m)}, {"optimizer": lambda m, b=b: b(m)}, message)
            for a, b, message in [
                (
                    lambda m: optim.Momentum(m, momentum=0.9),
                    lambda m: optim.Momentum(m, momentum=0.5),
                    r"optimizer\.momentum: 0\.5 here, 0\.9 when",
                ),
                (
                    lambda m: optim.Momentum(m),
                    lambda m: optim.Momentum(m, nesterov=True),
                    r"optimizer\.nesterov: True here, False when",
                ),
                (optim.Adam, lambda m: optim.Adam(m, eps=1e-3), r"optimizer\.eps: 0\.001 here"),
                (
                    optim.AdamW,
                    lambda m: optim.AdamW(m, weight_decay=0.5),
                    r"optimizer\.weight_decay: 0\.5 here, 0\.01 when",
                ),
                (
                    lambda m: optim.SGD(m, lr=0.1),
                    lambda m: optim.SGD(m, lr=0.2),
                    r"optimizer\.lr: 0\.2 here, 0\.1 when",
                ),
                (
                    lambda m: optim.SGD(m, hooks=[hooks.ClipGrad(1.0)]),
                    lambda m: optim.SGD(m, hooks=[hooks.ClipGrad(2.0)]),
                    r"hooks\.0\.max_norm: 2\.0 here, 1\.0 when",
                ),
                (
                    optim.SGD,
                    lambda m: optim.SGD(m, hooks=[hooks.WeightDecay(0.1)]),
                    r"hooks\.0: WeightDecay here, nothing when",
                ),
                (
                    lambda m: optim.SGD(m, hooks=[hooks.ClipGrad(1.0), hooks.WeightDecay(0.1)]),
                    lambda m: optim.SGD(m, hooks=[hooks.WeightDecay(0.1), hooks.ClipGrad(1.0)]),
                    r"hooks\.0: WeightDecay here, ClipGrad when",
                ),
                (
                    lambda m: optim.SGD(m, lr=schedules.step(0.1, every=100)),
                    lambda m: optim.SGD(m, lr=schedules.step(0.1, every=200)),
                    r"schedule\.every: 200 here, 100 when",
                ),
            ]
        ],
        (
            {"loss": partial(F.huber, delta=1.0)},
            {"loss": partial(F.huber, delta=2.0)},
            r"loss\.keywords: \{'delta': 2\.0\} here, \{'delta': 1\.0\} when",
        ),
        ({}, {"given": [callbacks.EarlyStopping("loss")]}, "callbacks: EarlyStopping is new"),
        (
            {"given": [callbacks.EarlyStopping("loss", patience=3)]},
            {"given": [callbacks.EarlyStopping("loss", patience=4)]},
            r"callbacks\.EarlyStopping\.patience: 4 here, 3 when",
        ),
    ],
)
def test_other_settings_are_told(path: Path, first: Any, second: Any, message: str) -> None:
    """By one warning, which can be made an error; then nothing is changed."""
    of = of_settings(**first)
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    same_again = of_settings(**first)
    same_again.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)  # without a warning
    other = of_settings(**second)
    with pytest.raises(UserWarning, match=message):
        other.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)
    assert other.model.inner.w.lazy is False and other.optimizer.t == 0
    with pytest.warns(UserWarning, match=message) as told:
        history = other.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)
    assert len(told) == 1 and len(history.rows) == 2
    assert told[0].filename == __file__  # the user's line


def test_load_tells_other_settings_too(path: Path) -> None:
    of = of_settings()
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    of_settings().load(path)  # without a warning
    other = of_settings(loss=F.huber, activation=F.tanh, scale=3.0)
    with pytest.warns(UserWarning, match="not all is as it was") as told:
        other.load(path)
    message = str(told[0].message)
    assert message.startswith(f"Trainer.load: {path}: not all is as it was when it was saved: ")
    assert "loss: huber here, mean_squared_error when" in message
    assert "model.activation: tanh here, relu when" in message
    assert message.endswith("That stays as it is given here") and "scale" not in message
    assert other.optimizer.t == of.optimizer.t and other.model.scale == 2.0
    assert other.loss is F.huber and other.model.activation is F.tanh


@pytest.mark.parametrize("plain", [True, False])
def test_state_is_looked_for_only_where_it_may_be(monkeypatch: Any, plain: bool) -> None:
    """A walk a fit where somebody's code runs, none where it does not."""
    walks: list[Any] = []
    usual = snapshot.find_carriers
    monkeypatch.setattr(snapshot, "find_carriers", lambda of: walks.append(of) or usual(of))
    model = layers.MLP([4, 1], activation=F.relu if plain else lambda x: F.relu(x))
    of = Trainer(model, optim.Adam(model), F.mean_squared_error)
    of.fit(X, T, epochs=2, verbose=0)
    assert len(walks) == (0 if plain else 1)


def test_a_resumed_fit_looks_for_state_once(path: Path, monkeypatch: Any) -> None:
    of_settings([callbacks.Checkpoint(path)]).fit(X, T, epochs=1, batch_size=4, verbose=0)
    again = of_settings([callbacks.Checkpoint(path)])
    walks: list[Any] = []
    usual = snapshot.find_carriers
    monkeypatch.setattr(snapshot, "find_carriers", lambda of: walks.append(of) or usual(of))
    again.fit(X, T, epochs=1, batch_size=4, verbose=0, resume="auto")  # nothing is left to do
    assert len(walks) == 1


def test_a_rate_that_is_given_anew_is_used_and_told(path: Path) -> None:
    of = with_optimizer(lambda m: optim.SGD(m, lr=0.1))
    of.fit(X, T, epochs=1, verbose=0)
    of.save(path)
    other = with_optimizer(lambda m: optim.SGD(m, lr=0.025))
    with pytest.warns(UserWarning, match=r"optimizer\.lr: 0\.025 here, 0\.1 when"):
        history = other.fit(X, T, epochs=2, verbose=0, resume=path)
    assert history["lr"] == [0.1, 0.025]


def test_a_rate_that_training_changed_goes_on(path: Path) -> None:
    class Halve(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.trainer.optimizer.lr *= 0.5  # type: ignore[operator]

    def make() -> Trainer:
        of = with_optimizer(lambda m: optim.SGD(m, lr=0.1))
        of.callbacks.append(Halve())
        return of

    of = make()
    of.fit(X, T, epochs=1, verbose=0)
    of.save(path)
    history = make().fit(X, T, epochs=2, verbose=0, resume=path)
    assert history["lr"] == [0.1, 0.05]
    assert of.fit(X, T, epochs=2, verbose=0, resume=path)["lr"] == [0.1, 0.05]  # the same trainer


def test_other_data_is_told(path: Path) -> None:
    of = trainer()
    of.fit(X, T, epochs=1, verbose=0)
    of.save(path)
    with pytest.warns(UserWarning, match="data: other values of the same shape"):
        trainer().fit(X + 1, T, epochs=2, verbose=0, resume=path)


def test_callbacks_are_matched_by_what_they_are(path: Path) -> None:
    def make(*monitors: str) -> Trainer:
        given = [callbacks.EarlyStopping(m, patience=50, mode="min") for m in monitors]
        of = trainer(*given)
        of.metrics = {"m": lambda y, t: 100 + F.mean_squared_error(y, t).item()}
        return of

    of = make("loss", "m")
    of.fit(X, T, epochs=2, verbose=0)
    of.save(path)
    other = make("m", "loss")
    other.fit(X, T, epochs=2, verbose=0, resume=path)  # nothing is left to do
    assert [c.best.value for c in other.callbacks] == [c.best.value for c in of.callbacks[::-1]]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"state of a callback EarlyStopping .*'loss'.* several"):
        make("m", "val_loss", "lr").fit(X, T, epochs=2, verbose=0, resume=path)


# ---- checkpoints with the right hash and no sense in them ----------------------------------------------


def spoil(path: Path, change: Any) -> None:
    tree = checkpoint.read(path, "test")
    change(tree)
    checkpoint.save(tree, path)


def put(*keys: Any) -> Any:
    *way, last, value = keys

    def change(tree: Any) -> None:
        for key in way:
            tree = tree[key]
        tree[last] = value

    return change


VALUES = ("model", "values")
HOSTILE = [
    *[
        put(*VALUES, f"model.{name}", value)
        for name in ("layers", "__dict__", "__class__", "forward", "parameters", "sublayers", "a b")
        for value in (0, np.zeros(2), [], "x")
    ],
    put(*VALUES, "model.layers.0", 3),
    put(*VALUES, "model.layers.0.w", np.zeros((3, 4), np.float32)),
    put(*VALUES, "model.layers.1.rate", "x"),
    put(*VALUES, "model.layers.0.in_features", 7),
    put(*VALUES, "nowhere", 7),
    put("model", "values", []),
    put("model", "layers", 1, "LSTM"),
    put("model", "layers", []),
    put("model", "trained", [1, 1, 1, 1]),
    put("model", "trained", [True]),
    put("model", "others", [np.zeros(3)]),
    put("model", "parameters", {}),
    put("model", "parameters", "layers.0.w", None),
    *[put("run", name, -3) for name in ("epoch", "batches", "updates")],
    *[put("run", name, 10**18) for name in ("epoch", "batches", "updates")],
    *[put("run", name, 0.5) for name in ("epoch", "batches", "updates")],
    *[put("run", name, "x") for name in ("epoch", "batches", "updates", "rate", "window")],
    put("run", "epoch", True),
    put("run", "rate", float("nan")),
    put("run", "rate", -1.0),
    put("run", "means", "samples", -1),
    put("run", "means", "sums", {"loss": "x"}),
    put("run", "loader", "given", 10**6),
    put("run", "loader", {}),
    put("optimizer", "rate", "value", float("nan")),
    put("optimizer", "rate", "value", -1.0),
    put("optimizer", "rate", "value", "x"),
    put("optimizer", "state", "t", -1),
    put("optimizer", "state", "t", 1.5),
    put("optimizer", "state", "t", np.array([1])),
    put("optimizer", "state", "0.t", -2),
    put("optimizer", "state", "0.m", np.zeros(2)),
    put("optimizer", "state", {}),
    put("history", [3]),
    put("history", ["x"]),
    put("history", [{"loss": "x"}]),
    put("history", [{"loss": [1.0]}]),
    put("history", []),
    put("history", {}),
    put("callbacks", 0, "type", "Logger"),
    put("callbacks", 0, "state", "best", "x"),
    put("callbacks", 0, "state", "waited", -1.5),
    put("callbacks", 0, "state", {}),
    put("callbacks", 0, "state", "weights", {"parameters": {}}),
    put("generators", {}),
    put("generators", "minidl", {"bit_generator": "PCG64"}),
    put("generators", "minidl", "state", {"state": -1, "inc": 1}),
    put("generators", "minidl", "state", None),
    put("objects", {"x": 3}),
    put("objects", 3),
    put("settings", 3),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_no_sense_in_it(path: Path, change: Any) -> None:
    def make() -> Trainer:
        return trainer(callbacks.EarlyStopping("loss", patience=9))

    of = make()
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    spoil(path, change)
    other = make()
    other.fit(X, T, epochs=1, batch_size=4, verbose=0)
    minidl.seed(5)
    before = snapshot.capture(other)
    with pytest.raises(ValueError, match=r"fit: resume: .*run\.npz: it is of another trainer"):
        other.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)
    minidl.seed(5)  # the loader has drawn its seed
    assert repr(snapshot.capture(other)) == repr(before)
    assert vars(other.model).keys() == vars(make().model).keys()


def test_a_checkpoint_serves_inference(path: Path) -> None:
    of = trainer()
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    model = trainer().model
    model.load(path)
    assert np.array_equal(of.predict(X), Trainer(model, optim.SGD(model), F.huber).predict(X))
    again = trainer().model
    again.load_state_dict(minidl.load(path))
    assert all(map(np.array_equal, again.state_dict().values(), model.state_dict().values()))


def test_weights_alone(path: Path) -> None:
    first, other = layers.MLP([4, 1], in_features=3), layers.MLP([4, 1])
    first.save(path)
    other.load(path)
    assert all(map(np.array_equal, first.state_dict().values(), other.state_dict().values()))
    longer = layers.Sequential(layers.Linear(3, 2), layers.Linear(2, 1))
    before = longer.state_dict()
    with pytest.raises(ValueError, match=r"nothing was changed; .*layers\.0\.w: want .*\(3, 2\)"):
        longer.load(path)
    assert all(map(np.array_equal, before.values(), longer.state_dict().values()))
    one = layers.Sequential(layers.Linear(3, 4), np.tanh, layers.Linear(4, 1))
    with pytest.raises(ValueError, match=r"missing: layers\.2\.w.*unknown: layers\.1\.w"):
        one.load(path)
    one.load(path, strict=False)
    assert np.array_equal(one[0].w.data, first[0].w.data)
    with pytest.raises(ValueError, match=r"such as weights, which model\.load\(path\) takes"):
        trainer().load(path)


def test_two_checkpoints_with_a_file_in_common(path: Path) -> None:
    given = [callbacks.Checkpoint(path, keep=2), callbacks.Checkpoint(path.with_name("run.1.npz"))]
    with pytest.raises(ValueError, match=r"two callbacks would write .*run\.1\.npz"):
        trainer(*given).fit(X, T, epochs=1, verbose=0)


# ---- files ---------------------------------------------------------------------------------------------


def fit(path: Path, epochs: int = 3, **settings: Any) -> callbacks.Checkpoint:
    keeper = callbacks.Checkpoint(path, **settings)
    trainer(keeper).fit(X, T, epochs=epochs, batch_size=5, verbose=0)
    return keeper


def updates(path: Path) -> int:
    return int(checkpoint.read(path, "test")["run"]["updates"])


def test_a_link_leads_to_the_newest_and_the_others_are_files(path: Path) -> None:
    place = path.parent / "elsewhere"
    place.mkdir()
    path.symlink_to(place / "real.npz")  # which is not there yet
    keeper = fit(path, keep=3)
    assert path.is_symlink() and (place / "real.npz").is_file()
    assert [updates(version) for version in keeper.versions()] == [6, 4, 2]
    assert len({version.stat().st_ino for version in keeper.versions()}) == 3


def test_a_hard_link_keeps_what_it_was(path: Path) -> None:
    fit(path, epochs=1)
    twin = path.with_name("twin.npz")
    twin.hardlink_to(path)
    fit(path, epochs=2)
    assert updates(twin) == 2 and updates(path) == 4


def test_without_links_the_older_ones_are_copies(path: Path, monkeypatch: Any) -> None:
    def fails(*names: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", fails)
    keeper = fit(path, keep=2)
    assert [updates(version) for version in keeper.versions()] == [6, 4]
    assert sorted(p.name for p in path.parent.iterdir()) == ["run.1.npz", "run.npz"]


def test_auto_takes_the_newest_of_all_checkpoints(path: Path) -> None:
    other = path.with_name("other.npz")
    given = [callbacks.Checkpoint(other, every=4), callbacks.Checkpoint(path, every=1)]
    trainer(*given).fit(X, T, epochs=3, batch_size=5, verbose=0)
    assert (updates(other), updates(path)) == (4, 6)
    for order in (given, given[::-1]):
        of = trainer(*order)
        of.fit(X, T, epochs=3, batch_size=5, verbose=0, resume="auto")
        assert of.steps == 6 and of._run is not None and of._run.path == path


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_no_regular_file(path: Path, make: Any, capsys: Any) -> None:
    make(path)
    for call in (lambda: fit(path), lambda: minidl.load(path), lambda: trainer().load(path)):
        with pytest.raises(OSError, match=r"is a folder|no regular"):
            call()
    with pytest.raises(OSError, match=r"is a folder|no regular"):
        trainer().fit(X, T, epochs=1, verbose=0, resume=path)
    of = trainer()
    of.fit(X, T, epochs=1, verbose=0)
    with pytest.raises(OSError, match=r"is a folder|no regular"):
        of.save(path)
    with pytest.raises(OSError, match=r"is a folder|no regular"):
        minidl.save(of.model, path)


def test_a_circle_of_links(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(OSError, match=r"run\.npz"):
        fit(path)


def test_names(path: Path, monkeypatch: Any) -> None:
    for name in ("a\nb.npz", "ü é.npz", "a.b.npz", ".hidden.npz", "x" * 240 + ".npz"):
        keeper = fit(path.with_name(name), keep=2)
        assert [updates(version) for version in keeper.versions()] == [6, 4]
    with pytest.raises(OSError, match=r"Checkpoint: .*cannot be written: File name too long"):
        fit(path.with_name("x" * 251 + ".npz"))
    monkeypatch.setenv("HOME", str(path.parent))
    fit(Path("~/home.npz"))
    assert updates(path.with_name("home.npz")) == 6
    assert minidl.load("~/home.npz").keys()


def test_a_file_that_is_replaced_while_it_is_read(path: Path, monkeypatch: Any) -> None:
    minidl.save({"a": np.zeros(1000)}, path)
    usual = np.lib.format.read_magic

    def replace(member: Any) -> Any:
        monkeypatch.setattr(np.lib.format, "read_magic", usual)
        minidl.save({"b": np.ones(3)}, path)
        return usual(member)

    monkeypatch.setattr(np.lib.format, "read_magic", replace)
    assert minidl.load(path).keys() == {"a"}
    assert minidl.load(path).keys() == {"b"}


def test_layers_frozen_anew_stay_frozen_and_are_told(path: Path) -> None:
    of = of_settings()
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    other = of_settings()
    other.model(X)
    other.model.inner.b.requires_grad = False
    with pytest.warns(UserWarning, match=r"frozen: inner\.b here, nothing when"):
        other.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)
    assert not other.model.inner.b.requires_grad
    np.testing.assert_array_equal(other.model.inner.b.data, of.model.inner.b.data)


@pytest.mark.parametrize("make", [dict, list])
def test_what_a_run_fills_is_its_state_and_no_setting(path: Path, make: Any) -> None:
    class Loss:
        def __init__(self, scale: Any) -> None:
            self.seen = make()
            self.scale = scale

        def __call__(self, y: Any, t: Any) -> Any:
            self.seen = [*self.seen, 1] if make is list else {**self.seen, str(len(self.seen)): 1}
            return F.mean_squared_error(y, t) * self.scale[0]

    of = of_settings(loss=Loss([1.0]))
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    of.save(path)
    again = of_settings(loss=Loss([1.0]))
    again.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)  # without a warning
    assert len(again.loss.seen) == 2 * len(of.loss.seen)
    other = of_settings(loss=Loss([2.0]))
    with pytest.warns(UserWarning, match=r"loss\.scale: \[2\.0\] here, \[1\.0\] when"):
        other.fit(X, T, epochs=2, batch_size=4, verbose=0, resume=path)
    assert other.loss.scale == [2.0] and len(other.loss.seen) == 2 * len(of.loss.seen)
