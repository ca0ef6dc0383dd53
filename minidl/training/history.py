"""History: the figures of every epoch, as a table, as JSON and as a picture.

What is measured, and when, is decided in `loop.py`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minidl.common.arrays import array_of
from minidl.common.html import card, table
from minidl.training.plots import BLUE, ORANGE, finish_axes, new_figure, save_figure

NUMBERS = (int, float, np.number, np.bool, np.ndarray)


def check_row(row: dict[str, Any], who: str) -> None:
    """Make floats of an epoch's figures; TypeError, naming the callback, for what is none."""
    for name, value in row.items():
        if type(value) is float:
            continue
        want = f"{who}: logs[{name!r}]: want a number"
        if callable(value):
            hint = "the rate is optimizer.current_lr"
            raise TypeError(f"{want}, got the function {value!r}; {hint}")
        figure = array_of(value)
        if not isinstance(figure, NUMBERS) or np.ndim(figure):
            raise TypeError(f"{want}, got {value!r}")
        row[name] = float(figure)


class History(Mapping[str, list[float]]):
    """What was measured in training: ``history["loss"]`` is a list with one figure per epoch.

    A mapping from names to such lists, in the order of measuring: the loss, the metrics, both on
    validation data after ``val_``, ``lr`` (the rate of the epoch's first update). ``history.rows``
    is the list of one dict per epoch that it is made from, so ``len(history.rows)`` is the number
    of epochs.

    >>> history = History([{"loss": 2.0, "lr": 0.1}, {"loss": 1.0, "lr": 0.1}])
    >>> history["loss"], list(history), len(history.rows)
    ([2.0, 1.0], ['loss', 'lr'], 2)
    """

    def __init__(self, rows: list[dict[str, float]] | None = None) -> None:
        self.rows: list[dict[str, float]] = [] if rows is None else rows

    def __getitem__(self, name: str) -> list[float]:
        """The figures of that name, nan for an epoch without. KeyError for an unknown name."""
        if name not in list(self):
            raise KeyError(
                f"{name!r} was not measured; there is {', '.join(self) or 'nothing yet'}"
            )
        return [row.get(name, math.nan) for row in self.rows]

    def __iter__(self) -> Iterator[str]:
        return iter({name: None for row in self.rows for name in row})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        texts = [f"{len(self.rows)} epochs"]
        if self.rows:
            texts += [f"{name} {value:.4g}" for name, value in self.rows[-1].items()]
        return f"History({', '.join(texts)})"

    def _repr_html_(self) -> str:
        """The table that a notebook shows: a row for each epoch, of many the first and the last."""
        names = list(self)
        lines = []
        for i, row in enumerate(self.rows, 1):
            figures = [f"{row[name]:.4g}" if name in row else "" for name in names]
            lines.append([str(i), *figures])
        if len(lines) > 12:
            lines[1:-10] = [["…"] * (len(names) + 1)]
        body = table(["epoch", *names], lines, len(names)) if lines else ""
        return card("History", f"{len(self.rows)} epochs", body)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The lists by name as JSON text, also written to ``path``; null for what is not finite.

        >>> History([{"loss": 2.0}, {"loss": float("inf")}]).to_json()
        '{"loss": [2.0, null]}'
        """
        finite = {
            name: [v if math.isfinite(v) else None for v in values] for name, values in self.items()
        }
        text = json.dumps(finite, allow_nan=False)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "\n")
        return text

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the loss and every metric over the epochs, a panel each, validation beside training.

        Returns the matplotlib ``Figure``, which belongs to no window and no global state, and
        writes it to ``path``, in the format of its suffix (.png, .svg, .pdf). ImportError without
        matplotlib, ValueError without an epoch.

        >>> History([{"loss": 2.0}, {"loss": 1.0}]).plot().axes[0].get_title("left")
        'Loss'
        """
        if not self.rows:
            raise ValueError("History.plot: there is no epoch to draw; fit first")
        names = ["loss"]
        names += [name for name in self if name not in ("loss", "lr") and name[:4] != "val_"]
        columns = min(len(names), 3)
        rows = math.ceil(len(names) / columns)
        figure = new_figure("History.plot", 5.4 * columns, 3.8 * rows)
        for i, name in enumerate(names, 1):
            self._draw(figure.add_subplot(rows, columns, i), name)
        return save_figure(figure, path)

    def _draw(self, axes: Any, name: str) -> None:
        epochs = range(1, len(self.rows) + 1)
        look = {
            "linewidth": 1.8,
            "markersize": 3.5,
            "marker": "o" if len(epochs) <= 30 else None,
        }
        axes.plot(epochs, self[name], color=BLUE, label="training", **look)
        if f"val_{name}" in self:
            axes.plot(epochs, self[f"val_{name}"], color=ORANGE, label="validation", **look)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.margins(x=0.02)
        finish_axes(axes, name.replace("_", " "), "epoch")
