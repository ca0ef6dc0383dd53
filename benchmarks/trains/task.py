"""What the scripts have in common: the digits, the first weights, the order of the batches. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = Path(__file__).parent.parent.parent / "minidl" / "data" / "files" / "digits.npz"
WANTED = 0.97  # of the held-out digits
SIZES = (64, 128, 10)
BATCH = 32

_rng = np.random.default_rng(0)
with np.load(DIGITS) as _file:
    _order = _rng.permutation(len(_file["t"]))
    _x = _file["x"][_order].astype(np.float32) / 16
    _t = _file["t"][_order].astype(np.int64)
X, X_HELD_OUT = _x[360:], _x[:360]
T, T_HELD_OUT = _t[360:], _t[:360]
# [(weights, bias), ..] of the layers: weights are (inputs, outputs)
START = [
    (_rng.normal(0, (2 / n) ** 0.5, (n, m)).astype(np.float32), np.zeros(m, np.float32))
    for n, m in pairwise(SIZES)
]


def batches() -> Iterator[tuple[Any, Any]]:
    """The training digits in a new order, in batches."""
    order = _rng.permutation(len(X))
    for i in range(0, len(X) - BATCH + 1, BATCH):
        yield X[order[i : i + BATCH]], T[order[i : i + BATCH]]


def train(step: Callable[[Any, Any], Any], predict: Callable[[Any], Any]) -> None:
    """Epochs of steps until enough held-out digits are right; print how many it took."""
    for epoch in range(1, 101):
        for x, t in batches():
            step(x, t)
        accuracy = float((predict(X_HELD_OUT).argmax(axis=1) == T_HELD_OUT).mean())
        if accuracy >= WANTED:
            print(epoch, accuracy)
            return
    raise SystemExit(f"{accuracy} of the held-out digits after {epoch} epochs, want {WANTED}")
