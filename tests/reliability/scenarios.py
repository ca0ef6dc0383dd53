"""Trainings that use every kind of state, for the tests of this folder: run whole, or killed and resumed.

`python -m tests.reliability.scenarios NAME FOLDER [KILL]` trains one, going on from FOLDER, and prints the hash of all
that it ended with; with KILL, the process kills itself after so many batches. The tests are in test_*.py beside it.
"""

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl import DataLoader, Trainer, callbacks, layers, optim
from minidl import functions as F
from minidl.optim import hooks, schedules

EPOCHS = 3


def data(n: int = 40, classes: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((n, 5)).astype(np.float32)
    return x, (x @ rng.standard_normal((5, classes))).argmax(1)


class Noisy(layers.Layer):
    """A layer with a generator, an array and a number of its own, all of which its output depends on."""

    def __init__(self) -> None:
        self.rng, self.mean, self.calls = np.random.default_rng(11), np.zeros(5, np.float32), 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * np.asarray(x).mean(0).astype(np.float32)
        return x - self.mean + self.rng.standard_normal(x.shape, dtype=np.float32) / self.calls


def net(*first: Any) -> layers.Layer:
    return layers.Sequential(
        *first, layers.Linear(16), np.tanh, layers.Dropout(0.3), layers.Linear(3)
    )


class Plateau(callbacks.Callback):
    """Halves the rate at every second epoch, and remembers how often."""

    def __init__(self) -> None:
        self.halved = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if epoch % 2 == 0:
            self.trainer.optimizer.lr *= 0.5  # type: ignore[operator]
            self.halved += 1
        logs["halved"] = float(self.halved)

    def state_dict(self) -> dict[str, Any]:
        return {"halved": self.halved}

    def load_state_dict(self, state: Any) -> None:
        self.halved = state["halved"]


Made = tuple[Trainer, Callable[..., Any]]


def made(
    model: Any, optimizer: Any, *given: callbacks.Callback, loader: Any = None, **keywords: Any
) -> Made:
    x, t = data()
    trainer = Trainer(model, optimizer, F.cross_entropy, metrics=[F.accuracy], callbacks=given)
    arrays = (loader,) if loader is not None else (x, t)
    settings = {"epochs": EPOCHS, "validation": (x[:12], t[:12]), "verbose": 0} | keywords
    if loader is None:
        settings |= {"batch_size": 9}
    return trainer, lambda **more: trainer.fit(*arrays, **settings | more)


def plain(kind: Callable[..., Any], **settings: Any) -> Callable[[], Made]:
    def make() -> Made:
        model = net()
        return made(model, kind(model, **settings))

    return make


def clipped() -> Made:
    model = net(Noisy())
    rate = schedules.warmup(3, schedules.cosine(0.05, steps=20))
    return made(
        model, optim.AdamW(model, lr=rate, hooks=[hooks.ClipGrad(0.5), hooks.WeightDecay(1e-3)])
    )


def accumulated() -> Made:
    model = net(layers.Dropout(0.1, np.random.default_rng(3)))
    loader = DataLoader(*data(), batch_size=7, seed=5)
    return made(
        model, optim.Momentum(model, lr=0.05, nesterov=True), Plateau(), loader=loader, accumulate=4
    )


def compiled() -> Made:
    model = net()
    trainer, _ = made(model, optim.Adam(model, lr=0.01, hooks=[hooks.ClipGrad(0.5)]))
    trainer = Trainer(model, trainer.optimizer, F.cross_entropy, compile=True)
    x, t = data()
    return trainer, lambda **more: trainer.fit(
        x, t, epochs=EPOCHS, batch_size=9, accumulate=2, verbose=0, **more
    )


def stopped() -> Made:
    model = net()
    early = callbacks.EarlyStopping("val_accuracy", patience=1, mode="max", min_delta=0.5)
    return made(model, optim.Adam(model, lr=0.01), early, epochs=6)


def stateful() -> Made:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((48, 3)).astype(np.float32)
    model = layers.Sequential(layers.LSTM(6, stateful=True), layers.Linear(1))
    trainer = Trainer(model, optim.Adam(model, lr=0.01), F.mean_squared_error)
    more = {"epochs": EPOCHS, "batch_size": 4, "shuffle": False, "truncate": 5, "verbose": 0}
    return trainer, lambda **given: trainer.fit(x, x[:, :1], **more | given)


def grouped() -> Made:
    model = net()
    groups = [
        {"params": model[0], "momentum": 0.5, "centered": True},
        {"params": model[3], "lr": 0.03},
    ]
    reduce = callbacks.ReduceOnPlateau("loss", factor=0.5, patience=0)
    average = callbacks.MovingAverage(0.9)
    more = {"accumulate": 2, "epochs": 5}
    return made(model, optim.RMSprop(groups, lr=0.05), reduce, average, **more)


def function() -> Made:
    w, rng = minidl.Parameter(np.zeros((5, 3), np.float32)), np.random.default_rng(4)
    return made(lambda x: x @ w + rng.standard_normal(3, dtype=np.float32), optim.SGD([w], lr=0.1))


class Two(layers.Layer):
    """Takes two inputs by name."""

    def __init__(self) -> None:
        self.first, self.drop, self.last = layers.Linear(8), layers.Dropout(0.2), layers.Linear(3)

    def forward(self, a: Any, b: Any) -> Any:
        return self.last(self.drop(np.tanh(self.first(a) + b)))


def trees() -> Made:
    x, t = data()
    model, w = Two(), np.linspace(0, 2, len(x))
    loader = DataLoader({"a": x, "b": x[:, :1]}, t, w, batch_size=7, seed=3)
    trainer = Trainer(model, optim.Adam(model, lr=0.01), F.cross_entropy)
    return trainer, lambda **more: trainer.fit(
        loader, epochs=EPOCHS, accumulate=2, verbose=0, **more
    )


class Penalized(Trainer):
    """Adds noise and a penalty in a loss of its own."""

    def loss_of(self, batch: Any) -> Any:
        x, t = batch
        y = self.model(x + 0.1 * minidl.random.generator().standard_normal(x.shape, np.float32))
        return F.mean_squared_error(y, t) + 1e-3 * np.abs(y).mean(), y


def scaled() -> Made:
    x, _ = data()
    model = layers.Sequential(layers.Linear(8), layers.BatchNorm(), np.tanh, layers.Linear(1))
    trainer = Penalized(
        model,
        optim.Adam(model, lr=0.01),
        F.mean_squared_error,
        {"error": lambda y, t: abs(y - t).mean()},
        scale_targets=True,
    )
    settings = {"epochs": EPOCHS, "batch_size": 9, "validation": 0.2, "verbose": 0}
    return trainer, lambda **more: trainer.fit(x, 100 + 9 * x[:, :1], **settings | more)


class Stream:
    """Batches in an order of every epoch's own, which knows where it is."""

    def __init__(self) -> None:
        self.rng, self.left = np.random.default_rng(int(minidl.random.generator().integers(9))), []

    def __iter__(self) -> Any:
        if not self.left:
            self.left = [*self.rng.permutation(5).tolist(), -1]
        x, t = data()
        while (i := self.left.pop(0)) >= 0:
            yield x[i::5], t[i::5]

    def state_dict(self) -> dict[str, Any]:
        return {"left": list(self.left), "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Any) -> None:
        self.left = list(state["left"])
        self.rng.bit_generator.state = state["rng"]


def stream() -> Made:
    model = net()
    trainer = Trainer(model, optim.Adam(model, lr=0.01), F.cross_entropy, metrics=[F.accuracy])
    batches = Stream()
    return trainer, lambda **more: trainer.fit(
        batches, epochs=EPOCHS, accumulate=2, verbose=0, **more
    )


SCENARIOS: dict[str, Callable[[], Made]] = {
    "SGD": plain(optim.SGD, lr=0.1),
    "Momentum": plain(optim.Momentum, lr=0.05),
    "Adam": plain(optim.Adam, lr=0.01),
    "AdamW": plain(optim.AdamW, lr=0.01),
    "schedule, clipping, own layer": clipped,
    "accumulate": accumulated,
    "compiled": compiled,
    "early stopping": stopped,
    "stateful LSTM": stateful,
    "groups, plateau, average": grouped,
    "function": function,
    "trees and weights": trees,
    "own loss, scaled targets": scaled,
    "a stream with a state": stream,
}


def fingerprint(trainer: Trainer) -> str:
    """The hash of weights, optimizer, history and the random numbers to come."""
    found = hashlib.sha256()
    for p in trainer.optimizer.params:
        found.update(p.data.tobytes())
    for name, value in trainer.optimizer.state_dict().items():
        found.update(name.encode() + np.asarray(value).tobytes())
    found.update(
        repr(
            [sorted((n, float(v)) for n, v in row.items()) for row in trainer.history.rows]
        ).encode()
    )
    for callback in trainer.callbacks:
        if isinstance(callback, callbacks.MovingAverage):
            with callback.applied():
                for p in trainer.optimizer.params:
                    found.update(p.data.tobytes())
    found.update(minidl.random.generator().random(4).tobytes())
    return found.hexdigest()


class Kill(callbacks.Callback):
    """Ends the process at once when so many batches are done and what is to be saved then is."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_batch_begin(self, batch: int) -> None:
        self.left -= 1
        if self.left == -1:
            os.kill(os.getpid(), signal.SIGKILL)


class Cut(Exception):
    """Ends a fit at once, as a kill would, within the process."""


class Break(callbacks.Callback):
    """Raises after so many batches; counts them."""

    def __init__(self, batches: int) -> None:
        self.batches, self.seen = batches, 0

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.seen += 1
        if self.seen > self.batches:
            raise Cut


def whole(name: str) -> tuple[str, int]:
    """The fingerprint of the unbroken run, and its number of batches."""
    minidl.seed(1)
    trainer, fit = SCENARIOS[name]()
    counter = Break(10**9)
    trainer.callbacks.append(counter)
    fit()
    return fingerprint(trainer), counter.seen


def broken(name: str, at: int, folder: Path, every: int | str) -> str | None:
    """The fingerprint of a run broken off in batch ``at`` and resumed; None if nothing was saved until then."""
    for attempt in (1, 2):
        minidl.seed(attempt)
        trainer, fit = SCENARIOS[name]()
        trainer.callbacks.append(callbacks.Checkpoint(folder / "run.npz", every=every))
        if attempt == 1:
            trainer.callbacks.append(Break(at))
            with suppress(Cut):
                fit(resume="auto")
            if not (folder / "run.npz").exists():
                return None
    fit(resume="auto")
    (folder / "run.npz").unlink()
    return fingerprint(trainer)


def run(name: str, folder: Path, seed: int, kill: int = 0, every: int | str = 1) -> str:
    """Train from wherever the folder's checkpoint is; the fingerprint of the end."""
    minidl.seed(seed)
    trainer, fit = SCENARIOS[name]()
    trainer.callbacks.append(callbacks.Checkpoint(folder / "run.npz", every=every, keep=2))
    trainer.callbacks += [Kill(kill)] if kill else []
    fit(resume="auto")
    return fingerprint(trainer)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    # A process that resumes has another seed, as all random numbers come from the checkpoint.
    seed = 99 if (folder / "run.npz").exists() else 1
    print(run(sys.argv[1], folder, seed, int(sys.argv[3]) if len(sys.argv) > 3 else 0))
