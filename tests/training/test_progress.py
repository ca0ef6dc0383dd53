"""Progress: lines in a log, a bar on a terminal, silence on request, and who decides."""

import io
import re
import subprocess
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from minidl import Trainer, layers, optim
from minidl import functions as F
from minidl.training import progress as module

X = np.random.default_rng(0).standard_normal((10, 3))
T = X[:, :1]


def fit(**keywords: object) -> None:
    model = layers.Linear(3, 1, dtype=np.float64, rng=np.random.default_rng(0))
    error = {"error": lambda y, t: abs(y - t).mean()}
    Trainer(model, optim.SGD(model, lr=0.1), F.mean_squared_error, error).fit(
        X, T, batch_size=4, epochs=10, **keywords
    )


def test_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in ({}, {"verbose": "auto"}, {"verbose": 2}):
        fit(validation=(X, T), **verbose)
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert err == "" and len(lines) == 10
        f = r"[\d.e-]+"
        pattern = (
            rf"epoch  1/10  loss {f}  error {f}  val_loss {f}  val_error {f}  lr 0.1  \d+\.\d\d s"
        )
        pattern += r"  [\d,]+ it/s  0:0\d left"
        assert re.fullmatch(pattern, lines[0])
        assert lines[9].startswith("epoch 10/10  loss ") and lines[9].endswith(" it/s")


def test_figures_keep_their_width() -> None:
    logs = {
        "loss": 2.0,
        "error": 0.0,
        "mae": 0.00012345,
        "big": 1e7,
        "bad": float("nan"),
        "lr": 0.001,
    }
    assert (
        module.format_figures(logs)
        == "loss 2.0000  error 0.0000  mae 1.234e-04  big 1.000e+07  bad nan  lr 0.001"
    )


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    fit(verbose=0)
    fit(verbose=False)
    assert capsys.readouterr() == ("", "")


def test_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    fit(verbose=1)
    out, err = capsys.readouterr()
    assert out == "" and err.count("epoch ") > 40  # shown at every batch
    rows = [line for line in err.replace("\r", "\n").splitlines() if "3/3" in line]
    assert rows[-1].startswith("epoch 10/10 |") and "it/s" in rows[-1]
    assert "loss " in rows[-1] and "error " in rows[-1]


LOGS = {
    "loss": 1.70231,
    "accuracy": 0.61131,
    "val_loss": 0.96471,
    "val_accuracy": 0.87191,
    "lr": 0.001,
}
MORE = LOGS | {"a_longer_name": 0.5, "val_a_longer_name": 0.25}
FULL = "loss 1.7023, accuracy 0.6113, val_loss 0.9647, val_accuracy 0.8719"
PAIRS = "loss 1.702 val 0.965, accuracy 0.611 val 0.872, lr 0.001"


@pytest.mark.parametrize(
    ("width", "logs", "line"),
    [
        (140, LOGS, f"epoch 1/4 |#####     | 3/6, {FULL}, lr 0.001, 50 it/s, 0:07 left"),
        (120, LOGS, f"epoch 1/4 |#####     | 3/6, {FULL}, lr 0.001, 50 it/s"),
        (112, LOGS, f"epoch 1/4 |#####     | {FULL}, lr 0.001, 50 it/s"),
        (100, LOGS, f"epoch 1/4 |#####     | {PAIRS}, 50/s"),
        (80, LOGS, f"epoch 1/4 {PAIRS}, 50/s"),
        (70, LOGS, f"epoch 1/4 {PAIRS}"),
        (98, MORE, f"epoch 1/4 {PAIRS}, a_longer_name 0.500 val 0.250"),
    ],
)
def test_a_bar_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, logs: dict[str, float], line: str
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "columns", lambda: width)
    monkeypatch.setattr(module.Bar, "speed", lambda self: "50 it/s")
    monkeypatch.setattr(module.Bar, "to_go", lambda self, done: "0:07 left")
    bar = module.Bar(4, 6)
    bar.trainer = types.SimpleNamespace(_run=None)  # type: ignore[assignment]
    bar.on_epoch_begin(0)
    bar._show(3, logs)
    assert len(line) < width
    assert terminal.getvalue().split("\r")[-1].rstrip().replace("█", "#") == line
    bar.on_train_end()


def test_what_does_not_fit_is_whole_at_the_end_of_the_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "columns", lambda: 40)
    fit(verbose=1, validation=(X, T))
    last = capsys.readouterr().err.split("\r")[-1]
    assert re.fullmatch(r"epoch 10/10 loss \S+ val \S+, error \S+ val \S+, lr 0.1\s*", last)


def test_the_width_of_a_terminal_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("COLUMNS", "123")
    assert module.columns() == 123


def test_a_bar_that_is_interrupted_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    model = layers.Linear(3, 1, dtype=np.float64, rng=np.random.default_rng(0))
    with pytest.raises(ZeroDivisionError):
        Trainer(model, optim.SGD(model, lr=0.1), lambda y, t: 1 / 0).fit(X, T, epochs=1, verbose=1)
    assert capsys.readouterr().err.endswith("\n")


def test_who_is_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind() -> str:
        return type(module.progress_callbacks("auto", 1, 1)[0]).__name__

    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    assert kind() == "Bar"
    monkeypatch.setattr(sys, "stderr", None)  # a program without a console
    assert kind() == "Lines"
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=shell))
    assert kind() == "Bar"
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert kind() == "Lines"


def notebook(monkeypatch: pytest.MonkeyPatch, widgets: bool) -> None:
    """Let this look like a notebook, in Colab, say, whose shell is made from Jupyter's."""
    shell = type("Shell", (type("ZMQInteractiveShell", (), {}),), {})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=shell))
    monkeypatch.setattr(module, "find_spec", lambda name: name if widgets else None)
    monkeypatch.delenv("COLUMNS", raising=False)


def test_a_notebook_without_widgets_shows_a_bar_of_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no warning that ipywidgets is missing, which would be an error here."""
    notebook(monkeypatch, widgets=False)
    fit()
    out, err = capsys.readouterr()
    assert out == "" and "epoch 10/10 |" in err
    assert max(map(len, err.replace("\r", "\n").splitlines())) <= 80


class Widget:
    """What tqdm.notebook has, without Jupyter."""

    made: ClassVar[list["Widget"]] = []

    def __init__(self, total: int | None, **settings: object) -> None:
        parts = [types.SimpleNamespace(layout=None) for _ in range(3)]
        self.container = types.SimpleNamespace(children=parts)
        self.settings = settings
        self.texts = [""]
        self.made.append(self)

    @property
    def desc(self) -> str:
        return self.texts[-1]

    def set_description_str(self, text: str, refresh: bool = True) -> None:
        self.texts.append(text)

    def close(self) -> None:
        self.closed = True


def test_a_notebook_with_widgets_shows_widgets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook(monkeypatch, widgets=True)
    monkeypatch.setattr(module, "EVERY", 0.0)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", types.SimpleNamespace(tqdm=Widget))
    monkeypatch.setattr(Widget, "made", [])
    fit(validation=(X, T))
    assert capsys.readouterr() == ("", "") and len(Widget.made) == 10
    bar = Widget.made[-1]
    assert bar.closed and bar.settings["dynamic_ncols"] is True
    assert [part.layout for part in bar.container.children] == [None, {"width": "8em"}, None]
    assert bar.bar_format == "epoch 10/10 |{bar}| {desc}"
    assert re.fullmatch(r"loss \S+ val \S+, error \S+ val \S+, lr 0.1, [\d,]+/s", bar.texts[-1])


def test_import_is_light() -> None:
    code = "import sys, minidl; print([m for m in ('tqdm', 'matplotlib') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "[]\n"
    )
