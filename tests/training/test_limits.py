"""What ends a fit: updates, time, signals, a dry run; what is then saved, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Trainer, callbacks, layers, optim
from minidl import functions as F

X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
T = X[:, :1]
ROOT = Path(__file__).parents[2]


def trainer(*given: callbacks.Callback, **keywords: Any) -> Trainer:
    model = layers.Sequential(layers.Linear(4), layers.Dropout(0.5), layers.Linear(1))
    return Trainer(
        model, optim.Adam(model, lr=0.01), F.mean_squared_error, callbacks=given, **keywords
    )


def weights(of: Trainer) -> list[Any]:
    return [p.data.copy() for p in of.optimizer.params]


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b))


class At(callbacks.Callback):
    """Does something once, at the end of a batch."""

    def __init__(self, batch: int, do: Any) -> None:
        self.left, self.do = batch, do

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            self.do()


@pytest.mark.parametrize(
    ("steps", "accumulate", "rows"), [(1, 1, 1), (3, 1, 1), (4, 1, 2), (5, 1, 2), (3, 2, 2)]
)
def test_max_steps(steps: int, accumulate: int, rows: int) -> None:
    of = trainer()
    history = of.fit(
        X,
        T,
        epochs=9,
        batch_size=4,
        max_steps=steps,
        accumulate=accumulate,
        validation=(X, T),
        verbose=0,
    )
    assert (
        of.steps == of.optimizer.t == steps and len(history.rows) == rows and "val_loss" in history
    )


@pytest.mark.parametrize("steps", range(1, 9))
def test_max_steps_and_then_more_is_the_whole_run(steps: int, tmp_path: Path) -> None:
    def run(**keywords: Any) -> Trainer:
        of = trainer(
            callbacks.Checkpoint(tmp_path / "run.npz"),
            callbacks.EarlyStopping("val_loss", patience=9),
        )
        of.fit(X, T, epochs=3, batch_size=4, verbose=0, validation=(X, T), **keywords)
        return of

    minidl.seed(1)
    whole = run()
    minidl.seed(1)
    run(max_steps=steps)
    minidl.seed(2)
    resumed = run(resume="auto")
    assert (
        same(weights(whole), weights(resumed))
        and resumed.history == whole.history
        and resumed.steps == 9
    )


def test_max_time() -> None:
    of = trainer(At(2, lambda: time.sleep(0.3)))
    of.fit(X, T, epochs=9, batch_size=4, max_time=0.25, verbose=0)
    assert of.steps == 2
    of = trainer()
    of.fit(X, T, epochs=1, max_time=100, verbose=0)
    assert of.steps == 1


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_steps", 0, ValueError),
        ("max_steps", 1.5, TypeError),
        ("max_time", -1, ValueError),
        ("max_time", "1 h", TypeError),
    ],
)
def test_bad_limits(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"fit: {name}"):
        trainer().fit(X, T, epochs=1, **{name: value})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_signal_ends_the_batch_saves_and_returns(
    number: signal.Signals, at: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: callbacks.Callback, **keywords: Any) -> Trainer:
        of = trainer(
            callbacks.Checkpoint(tmp_path / "run.npz"),
            callbacks.Logger(tmp_path / "log.jsonl"),
            *more,
        )
        of.fit(X, T, epochs=3, batch_size=4, verbose=0, validation=(X, T), **keywords)
        return of

    minidl.seed(1)
    whole = run()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    minidl.seed(1)
    of = run(At(at, lambda: os.kill(os.getpid(), number)))
    assert of.steps == at and of.interrupted == number.name
    assert len(of.history.rows) == 1 + (at > 3)
    assert f"{number.name}: ends after {at} updates" in capsys.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    minidl.seed(2)
    resumed = run(resume="auto")
    assert same(weights(whole), weights(resumed)) and resumed.history == whole.history
    assert resumed.interrupted is None and (tmp_path / "log.jsonl").read_text().count("\n") == 3


def test_a_signal_during_validation(tmp_path: Path) -> None:
    seen: list[int] = []

    def metric(y: Any, t: Any) -> float:
        seen.append(len(y))
        if len(seen) == 4:  # the first batch of the validation
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    def run(*more: callbacks.Callback, **keywords: Any) -> Trainer:
        of = trainer(callbacks.Checkpoint(tmp_path / "run.npz"), *more, metrics={"m": metric})
        of.fit(X, T, epochs=2, batch_size=4, verbose=0, validation=(X, T), **keywords)
        return of

    minidl.seed(1)
    assert run().interrupted == "SIGTERM" and len(seen) == 4
    resumed = run(resume="auto")
    minidl.seed(1)
    whole = run()
    assert same(weights(whole), weights(resumed)) and resumed.history == whole.history


def test_a_signal_without_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = trainer(At(2, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert len(of.fit(X, T, epochs=9, batch_size=4, verbose=0).rows) == 1
    assert "nothing, as there is no Checkpoint" in capsys.readouterr().err
    of.save(tmp_path / "run.npz")  # within the epoch
    again = trainer(At(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    again.fit(X, T, epochs=9, batch_size=4, verbose=0, resume=tmp_path / "run.npz")
    assert again.steps == 3
    last = trainer()
    last.load(tmp_path / "run.npz")  # the file that it resumed from was written again
    assert last.optimizer.t == 3


def test_a_second_interrupt_raises_at_once() -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        trainer(At(1, twice)).fit(X, T, epochs=9, batch_size=4, verbose=0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_of_others_and_other_threads_are_left_alone() -> None:
    caught: list[int] = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        of = trainer(At(1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        of.fit(X, T, epochs=2, batch_size=4, verbose=0)
    finally:
        signal.signal(signal.SIGTERM, old)
    assert caught == [signal.SIGTERM] and of.steps == 6
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(trainer().fit(X, T, epochs=1, verbose=0)))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_a_process_that_gets_sigterm_ends_in_order(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy as np; from tests.training.test_limits import *\n"
        "of = trainer(callbacks.Checkpoint(sys.argv[1]), At(5, lambda: print('go', flush=True)))\n"
        "of.fit(X, T, epochs=10**6, batch_size=4, verbose=0); print(of.interrupted, len(of.history.rows) > 0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run.npz")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "SIGTERM True\n" and "saved: " in err
    trainer().load(tmp_path / "run.npz")


@pytest.mark.parametrize("lazy", [True, False])
def test_a_dry_run_tries_all_and_changes_nothing(lazy: bool, tmp_path: Path) -> None:
    events: list[str] = []

    class Watch(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            assert self.trainer.dry_run and "val_loss" in logs
            events.append("epoch")

    def make() -> tuple[Trainer, DataLoader]:
        minidl.seed(5)
        files = callbacks.Checkpoint(tmp_path / "run.npz"), callbacks.Logger(tmp_path / "log.csv")
        of = trainer(Watch(), *files, callbacks.EarlyStopping())
        if not lazy:
            of.model(X)
        return of, DataLoader(X, T, batch_size=2)

    results = []
    for dry in (True, False):
        of, loader = make()
        if dry:
            state = {} if lazy else of.model.state_dict()
            history = of.fit(loader, epochs=9, validation=(X, T), fast_dev_run=True, verbose=0)
            assert (
                len(history.rows) == 1
                and events == ["epoch"]
                and of.optimizer.t == 0
                and of.steps == 0
            )
            assert list(tmp_path.iterdir()) == []
            if lazy:
                assert of.model.layers[0].w.lazy
            else:
                assert same(list(state.values()), weights(of))
        del of.callbacks[:3]
        of.fit(loader, epochs=2, validation=(X, T), verbose=0)
        results.append((weights(of), of.history, minidl.random.generator().random()))
    assert same(results[0][0], results[1][0]) and results[0][1:] == results[1][1:]


class Keeper(callbacks.Callback):
    """A user's own way to keep checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path, self.interrupts = path, 0

    def resume_files(self) -> list[Path]:
        return [self.path]

    def on_interrupt(self) -> None:
        self.interrupts += 1
        self.trainer.save(self.path)


def test_a_callback_of_ones_own_saves_and_is_resumed_from(tmp_path: Path) -> None:
    def run(*given: callbacks.Callback, **keywords: Any) -> Trainer:
        minidl.seed(1)
        of = trainer(*given)
        of.fit(X, T, epochs=3, batch_size=4, verbose=0, **keywords)
        return of

    whole, keeper = run(), Keeper(tmp_path / "own.npz")
    run(keeper, max_steps=4, resume="auto")
    assert keeper.interrupts == 1 and keeper.path.exists()
    again = run(Keeper(keeper.path), resume="auto")
    assert same(weights(again), weights(whole))
    assert again.history.rows == whole.history.rows
