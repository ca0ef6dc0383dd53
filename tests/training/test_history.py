"""History: a mapping of figures by name, as JSON and as a picture."""

import json
import math
import sys
from pathlib import Path

import pytest

from minidl import History

ROWS = [
    {"loss": 1.0 / i, "accuracy": 1 - 1 / i, "lr": 0.1, "val_loss": 1.2 / i, "val_accuracy": 0.9}
    for i in range(1, 6)
]


def test_figures_by_name() -> None:
    history = History(ROWS)
    assert history["loss"] == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert (
        list(history) == ["loss", "accuracy", "lr", "val_loss", "val_accuracy"]
        and len(history) == 5
    )
    assert "val_loss" in history and "other" not in history and dict(history)["lr"] == [0.1] * 5
    assert history == History([dict(row) for row in ROWS]) and history.rows is ROWS
    with pytest.raises(KeyError, match="'other' was not measured; there is loss, accuracy"):
        history["other"]
    assert (
        repr(History(ROWS[:1]))
        == "History(1 epochs, loss 1, accuracy 0, lr 0.1, val_loss 1.2, val_accuracy 0.9)"
    )
    assert list(History()) == [] and repr(History()) == "History(0 epochs)"


def test_a_figure_that_an_epoch_lacks() -> None:
    history = History([{"loss": 1.0}, {"loss": 2.0, "extra": 3.0}])
    assert math.isnan(history["extra"][0]) and history["extra"][1] == 3.0


def test_json(tmp_path: Path) -> None:
    history = History([{"loss": 1.5, "val_loss": math.nan}, {"loss": 0.1, "val_loss": math.inf}])
    text = history.to_json(tmp_path / "history.json")
    assert json.loads(text) == {"loss": [1.5, 0.1], "val_loss": [None, None]}
    assert json.loads((tmp_path / "history.json").read_text()) == json.loads(text)
    assert json.loads(History(ROWS).to_json()) == dict(History(ROWS))


def test_plot(tmp_path: Path) -> None:
    pyplot_was_there = "matplotlib.pyplot" in sys.modules
    figure = History(ROWS).plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert pyplot_was_there or "matplotlib.pyplot" not in sys.modules  # no global state
    loss, accuracy = figure.axes
    assert loss.get_title("left") == "Loss" and accuracy.get_title("left") == "Accuracy"
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[1].get_ydata().tolist() == History(ROWS)["val_loss"]
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_plot_of_little_and_of_much(tmp_path: Path) -> None:
    assert len(History([{"loss": 1.0, "lr": 0.1}]).plot(tmp_path / "one.svg").axes) == 1
    many = History([{"loss": 1.0, "a": 0.5, "b_c": 0.2, "val_a": 0.1}] * 100).plot()
    assert [axes.get_title("left") for axes in many.axes] == ["Loss", "A", "B c"]
    assert [len(axes.lines) for axes in many.axes] == [1, 2, 1]
    with pytest.raises(ValueError, match="no epoch"):
        History().plot()


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[plot\]'"):
        History(ROWS).plot()


def test_what_a_notebook_shows() -> None:
    rows = [{"loss": 1 / (i + 1), "a<b": float("nan")} for i in range(30)]
    html = History(rows)._repr_html_()
    assert "30 epochs" in html and "a&lt;b" in html and html.count("<tr") == 13
    assert (
        all(f">{text}</td>" in html for text in ("1", "30", "0.03333", "nan", "…"))
        and ">2</td>" not in html
    )
    assert History([{"loss": 1.0}, {"late": 2.0}])._repr_html_().count("></td>") == 2
    assert "0 epochs" in History()._repr_html_()
