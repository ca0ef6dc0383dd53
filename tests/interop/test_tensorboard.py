"""What callbacks.TensorBoard writes, read by TensorBoard's own reader: figures, histograms, resumed runs, errors."""

import sys

import numpy as np
import pytest

import minidl
from minidl import Trainer, callbacks, layers, optim
from minidl import functions as F

X = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
T = X**2


@pytest.fixture
def board():
    pytest.importorskip("tensorboardX")
    return callbacks.TensorBoard


def read(folder):
    """All that TensorBoard would show of a folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={}).Reload()


def points(folder, tag):
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def trainer(*given, model=None):
    model = model or layers.MLP([4, 1], in_features=1, rng=np.random.default_rng(0))
    return Trainer(
        model,
        optim.Adam(model, lr=0.01),
        F.mean_squared_error,
        metrics={"error": F.mean_absolute_error},
        callbacks=list(given),
    )


def fit(t, epochs=3, **settings):
    return t.fit(X, T, epochs=epochs, batch_size=4, verbose=0, **settings)


def test_figures_stand_over_updates(board, tmp_path):
    history = fit(trainer(board(tmp_path / "run")), validation=(X, T))
    tags = {
        "loss/training": "loss",
        "loss/validation": "val_loss",
        "error/training": "error",
        "error/validation": "val_error",
        "lr": "lr",
    }
    assert set(read(tmp_path / "run").Tags()["scalars"]) == set(tags)
    for tag, name in tags.items():
        steps, values = zip(*points(tmp_path / "run", tag))
        assert steps == (3, 6, 9)
        np.testing.assert_allclose(values, history[name], rtol=1e-6)


def test_histograms_on_request(board, tmp_path):
    fit(trainer(board(tmp_path / "plain")))
    assert read(tmp_path / "plain").Tags()["histograms"] == []
    t = trainer(board(tmp_path / "all", histograms=True, gradients=True))
    fit(t, epochs=2)
    shown = read(tmp_path / "all")
    names = [name for name, _ in t.model.named_parameters()]
    wanted = {f"{what}/{name}" for what in ("parameters", "gradients") for name in names}
    assert set(shown.Tags()["histograms"]) == wanted
    last = shown.Histograms("parameters/layers.0.w")[-1]
    w = t.model.layers[0].w.data
    assert (last.step, last.histogram_value.num) == (6, w.size)
    assert last.histogram_value.max == pytest.approx(w.max())
    gradient = shown.Histograms("gradients/layers.0.b")[-1].histogram_value
    assert gradient.sum == pytest.approx(t.model.layers[0].b.grad.data.sum(), rel=1e-5)


def test_a_model_that_is_a_function_and_what_is_not_finite(board, tmp_path):
    layer = layers.Linear(1, 1)
    t = Trainer(
        lambda x: layer(x),
        optim.SGD(layer),
        F.mean_squared_error,
        callbacks=[board(tmp_path, histograms=True)],
    )
    fit(t, epochs=1)
    assert set(read(tmp_path).Tags()["histograms"]) == {"parameters/0", "parameters/1"}
    callback = board(tmp_path / "nan")
    callback._writer = callback._open()
    for x in (np.array([1.0, np.nan, np.inf, 3.0]), np.full(2, np.nan), np.ones((0, 2))):
        callback._write_histogram(f"x{x.size}", layers.Linear(1, 1).w.detach() * 0 + x, 0)
    callback.on_train_end()
    shown = read(tmp_path / "nan")
    assert shown.Tags()["histograms"] == ["x4"]
    assert shown.Histograms("x4")[0].histogram_value.num == 2


@pytest.mark.parametrize("stopped", [{"epochs": 4, "max_steps": 5}, {"epochs": 4, "max_steps": 6}])
def test_a_resumed_run_shows_no_step_twice(board, tmp_path, stopped):
    """One that ended in an epoch, or between two, and went on a while before it was resumed from a file."""
    minidl.seed(0)
    whole = fit(trainer(), epochs=4)
    minidl.seed(0)
    file = tmp_path / "run.npz"
    fit(trainer(board(tmp_path / "board"), callbacks.Checkpoint(file)), **stopped)
    before = file.read_bytes()
    fit(trainer(board(tmp_path / "board"), callbacks.Checkpoint(file)), epochs=3, resume=file)
    file.write_bytes(before)  # as if that one had been killed
    fit(trainer(board(tmp_path / "board"), callbacks.Checkpoint(file)), epochs=4, resume=file)
    steps, values = zip(*points(tmp_path / "board", "loss/training"))
    assert steps == (3, 6, 9, 12)
    np.testing.assert_allclose(values, whole["loss"], rtol=1e-6)


def test_a_new_fit_hides_the_one_before_and_removes_nothing(board, tmp_path):
    t = trainer(board(tmp_path))
    fit(t, epochs=5)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    history = fit(t, epochs=2)
    assert [step for step, _ in points(tmp_path, "loss/training")] == [3, 6]
    np.testing.assert_allclose(
        [v for _, v in points(tmp_path, "loss/training")], history["loss"], rtol=1e-6
    )
    assert all(file.read_bytes() == content for file, content in before.items())
    assert len(list(tmp_path.iterdir())) == 2


def test_only_the_process_that_writes_does(board, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_writes", False)  # as in the second of several ranks
    fit(trainer(board(tmp_path / "none")), epochs=1)
    assert not (tmp_path / "none").exists()


def test_an_error_closes_the_file(board, tmp_path):
    class Fail(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                raise RuntimeError("enough")

    callback = board(tmp_path)
    with pytest.raises(RuntimeError, match="enough"):
        fit(trainer(callback, Fail()))
    assert callback._writer is None
    assert [step for step, _ in points(tmp_path, "loss/training")] == [3, 6]


def test_bad_settings(board, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="TensorBoard: want a folder, got the file"):
        board(file)
    with pytest.raises(TypeError, match="TensorBoard: histograms: want True or False"):
        board(tmp_path, histograms="all")


def test_two_in_one_folder_are_refused(board, tmp_path):
    with pytest.raises(ValueError, match="TensorBoard: two callbacks would write to"):
        fit(trainer(board(tmp_path), board(tmp_path, histograms=True)))


def test_without_tensorboardx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"tensorboardX is not installed; .*'\.\[tensorboard\]'"):
        callbacks.TensorBoard(tmp_path)
