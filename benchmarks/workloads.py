"""The workloads: data and initial weights as NumPy arrays, the same for every peer, and how results are compared.

How a peer computes a step is in peers/; how steps are timed is in worker.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Data = SimpleNamespace
Step = Callable[[], Any]
Probe = list[list[float]]  # of one step: a few numbers of each of its results
Batches = list[tuple[Array, ...]]
BATCHES = (
    4  # of a workload, which its steps take in turns: arrays of their own, never the same twice
)


@dataclass(frozen=True)
class Workload:
    """A workload; ``data()`` draws everything anew, so that a peer may change it."""

    name: str
    title: str
    make: Callable[[np.random.Generator], Data]
    checks: int = 10  # steps whose results are compared before anything is timed
    rtol: float = (
        1e-4  # of that comparison: 1e-4 where a workload is float32, 1e-9 where it is float64
    )

    def data(self) -> Data:
        return self.make(np.random.default_rng(0))


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def of_batches(batches: Batches, **rest: Any) -> Data:
    """Data with ``batches`` (x, t), whose first one is ``x`` and ``t``, where its form is asked."""
    return Data(batches=batches, x=batches[0][0], t=batches[0][-1], **rest)


def turns(d: Data, *convert: Callable[[Array], Any]) -> Iterator[tuple[Any, ...]]:
    """The batches in turn, without end; each part converted, once, by the function for it."""
    if convert:
        return cycle([tuple(f(a) for f, a in zip(convert, batch)) for batch in d.batches])
    return cycle(d.batches)


def on_turns(f: Callable[..., Any], d: Data, *convert: Callable[[Array], Any]) -> Step:
    """A function of a batch as a step, with turns of its own."""
    batches = turns(d, *convert)
    return lambda: f(*next(batches))


def linear(rng: np.random.Generator, sizes: Sequence[int]) -> list[Array]:
    """Weights and biases in turn: w (in, out), b (out)."""
    pairs = [
        (normal(rng, n, m, scale=n**-0.5), normal(rng, m, scale=0.1)) for n, m in pairwise(sizes)
    ]
    return [a for pair in pairs for a in pair]


def lstm(rng: np.random.Generator, n: int, h: int, out: int) -> list[Array]:
    """w_x (in, 4H), w_h (H, 4H), b (4H), gates in the order f, i, o, u; then a linear layer's w and b."""
    first = [
        normal(rng, n, 4 * h, scale=n**-0.5),
        normal(rng, h, 4 * h, scale=h**-0.5),
        normal(rng, 4 * h, scale=0.1),
    ]
    return [*first, *linear(rng, (h, out))]


def gru(rng: np.random.Generator, n: int, h: int, out: int) -> list[Array]:
    """w_x (in, 3H), w_h (H, 3H), b (3H), gates in the order r, z, n, and b_h (H); then a linear layer's w and b."""
    first = [
        normal(rng, n, 3 * h, scale=n**-0.5),
        normal(rng, h, 3 * h, scale=h**-0.5),
        normal(rng, 3 * h, scale=0.1),
        normal(rng, h, scale=0.1),
    ]
    return [*first, *linear(rng, (h, out))]


def labelled(rng: np.random.Generator, batch: int, *shape: int) -> Batches:
    """Inputs, and labels 0 .. 9 in turn. Rows are equal in groups of 32, so that each comes with every label: training
    settles at log 10, and does not drive gradients into denormal numbers, which would slow down whoever trains longer.
    """
    rows = [normal(rng, -(-batch // 32), *shape) for _ in range(BATCHES)]
    return [(np.repeat(a, 32, axis=0)[:batch].copy(), np.arange(batch) % 10) for a in rows]


def classifier(rng: np.random.Generator, sizes: Sequence[int], batch: int) -> Data:
    """An MLP that is trained to classify."""
    return of_batches(labelled(rng, batch, sizes[0]), weights=linear(rng, sizes), lr=1e-3)


def curve(rng: np.random.Generator) -> Data:
    xs = [rng.random((100, 1)) for _ in range(BATCHES)]
    ts = [np.sin(2 * np.pi * x) + rng.random((100, 1)) for x in xs]
    batches = [(x.astype(np.float32), t.astype(np.float32)) for x, t in zip(xs, ts)]
    return of_batches(batches, weights=linear(rng, (1, 10, 1)), lr=0.2)


def series(rng: np.random.Generator) -> Data:
    starts = [6 * rng.random((32, 1)) for _ in range(BATCHES)]
    waves = [np.sin(np.arange(31) / 3 + a)[:, :, None].astype(np.float32) for a in starts]
    batches: Batches = [(x[:, :-1].copy(), x[:, 1:].copy()) for x in waves]
    return of_batches(batches, weights=lstm(rng, 1, 100, 1), lr=0.05)


def sequences(rng: np.random.Generator) -> Data:
    return of_batches(labelled(rng, 64, 100, 32), weights=lstm(rng, 32, 256, 10), lr=1e-3)


def thin(rng: np.random.Generator) -> Data:
    """A long series each, and a number to tell of it."""
    batches: Batches = [(normal(rng, 1, 1000, 1), normal(rng, 1, 1)) for _ in range(BATCHES)]
    return of_batches(batches, weights=lstm(rng, 1, 32, 1), lr=1e-3)


def gated(rng: np.random.Generator) -> Data:
    return of_batches(labelled(rng, 32, 50, 8), weights=gru(rng, 8, 64, 10), lr=1e-3)


def images(rng: np.random.Generator) -> Data:
    """Kernels (3, 3, in, out) and biases of two convolutions, then a linear layer's w and b."""
    weights = []
    for n, m in ((1, 16), (16, 32)):
        weights += [normal(rng, 3, 3, n, m, scale=(9 * n) ** -0.5), normal(rng, m, scale=0.1)]
    weights += linear(rng, (4 * 4 * 32, 10))
    return of_batches(labelled(rng, 64, 8, 8, 1), weights=weights, lr=1e-3)


def tokens(rng: np.random.Generator) -> Data:
    """A transformer block of width 64 between an embedding and a head of 64 tokens.

    Weights in the order of minidl's block: norm, w_q w_k w_v w_o, their biases, norm, MLP.
    """
    width, norm = 64, [np.ones(64, np.float32), np.zeros(64, np.float32)]
    square = [normal(rng, width, width, scale=width**-0.5) for _ in range(4)]
    biases = [normal(rng, width, scale=0.1) for _ in range(4)]
    block = [*norm, *square, *biases, *norm, *linear(rng, (width, 256, width))]
    codes = [rng.integers(0, 64, size=(16, 33)) for _ in range(BATCHES)]
    batches: Batches = [(a[:, :-1].copy(), a[:, 1:].copy()) for a in codes]
    weights = [normal(rng, 64, width), *block, *linear(rng, (width, 64))]
    return of_batches(batches, weights=weights, lr=1e-3, heads=4)


def hvp(rng: np.random.Generator) -> Data:
    data = classifier(rng, (64, 128, 10), 64)
    data.vectors = [normal(rng, *w.shape) for w in data.weights]
    return data


def million(rng: np.random.Generator) -> Data:
    """x, w and b of each."""
    return of_batches([tuple(normal(rng, 1_000_000) for _ in "xwb") for _ in range(3)])


def rows(rng: np.random.Generator) -> Data:
    """One row each, to predict of."""
    batches: Batches = [(normal(rng, 1, 64),) for _ in range(BATCHES)]
    return of_batches(batches, weights=linear(rng, (64, 128, 10)))


def orbits(rng: np.random.Generator) -> Data:
    """Where points are at first, and where they are to be after ``steps`` steps of ``dt``."""
    batches: Batches = [(normal(rng, 16, 2), normal(rng, 16, 2)) for _ in range(BATCHES)]
    return of_batches(batches, weights=linear(rng, (2, 32, 2)), steps=200, dt=0.05)


WORKLOADS = {
    w.name: w
    for w in [
        Workload(
            "W1",
            "Rosenbrock, float64 scalars, gradient descent",
            lambda rng: Data(start=(0.0, 2.0), lr=1e-3),
            checks=100,
            rtol=1e-9,
        ),
        Workload("W2", "MLP 1-10-1 sigmoid, 100 rows, MSE, SGD", curve, checks=50),
        Workload(
            "W3",
            "MLP 64-128-10 ReLU, batch 64, cross-entropy, Adam",
            lambda rng: classifier(rng, (64, 128, 10), 64),
            checks=20,
        ),
        Workload(
            "W4",
            "MLP 784-512-512-10 ReLU, batch 128, cross-entropy, AdamW",
            lambda rng: classifier(rng, (784, 512, 512, 10), 128),
        ),
        Workload("W5", "LSTM hidden 100 + Linear on each of 30 steps, batch 32, MSE, SGD", series),
        Workload(
            "W6", "LSTM hidden 256, 100 steps, batch 64, cross-entropy, Adam", sequences, checks=3
        ),
        Workload("W7", "Hessian-vector product of a tanh MLP 64-128-10, batch 64", hvp, checks=1),
        Workload(
            "W8",
            "10 Newton steps on x^4 - 2x^2, second derivative by double backward",
            lambda rng: Data(start=2.0, steps=10),
            checks=1,
            rtol=1e-9,
        ),
        Workload(
            "W9",
            "sum(tanh(x*w+b)*sigmoid(x) + exp(-x*x)), a million elements, three gradients",
            million,
            checks=1,
        ),
        Workload(
            "W10", "LSTM hidden 32, batch 1, 1,000 steps, the last to Linear 1, MSE, Adam", thin
        ),
        Workload(
            "W11", "prediction of one row by an MLP 64-128-10 ReLU, a NumPy row in and out", rows
        ),
        Workload("W11T", "the same by Trainer.predict, where there is one", rows),
        Workload(
            "W12",
            "conv net 3x3x16, max pool, 3x3x32, dense 10, 8x8 images, batch 64, cross-entropy, Adam",
            images,
        ),
        Workload(
            "W13",
            "GRU hidden 64, 50 steps, batch 32, the last to Linear 10, cross-entropy, Adam",
            gated,
        ),
        Workload(
            "W14",
            "causal transformer block 64 wide, 4 heads, GELU 256, 32 of 64 tokens, batch 16, AdamW",
            tokens,
        ),
        Workload(
            "W15",
            "200 Runge-Kutta steps of y' = MLP 2-32-2 tanh, 16 points, gradients of a squared error",
            orbits,
        ),
    ]
}


def probe(result: Any) -> Probe:
    """What a step gave, as numbers: of each large array its norm and 16 of its elements."""
    found = []
    for value in result if isinstance(result, tuple | list) else [result]:
        a = np.asarray(
            value.detach() if hasattr(value, "detach") else value, dtype=np.float64
        ).reshape(-1)
        norm = [float(np.sqrt(a @ a))] if a.size > 16 else []
        found.append(norm + a[:: -(-a.size // 16)].tolist())
    return found


def deviation(got: list[Probe], want: list[Probe]) -> float:
    """The largest difference of two trajectories, relative to the largest number of the result it is in."""
    try:
        pairs = [
            (np.array(g), np.array(w))
            for a, b in zip(got, want, strict=True)
            for g, w in zip(a, b, strict=True)
        ]
        # NumPy's max: Python's may pass over a nan
        worst = float(np.max([np.max(np.abs(g - w)) / np.max(np.abs(w)) for g, w in pairs]))
    except ValueError:  # another number of steps, results or elements
        return float("inf")
    return worst if np.isfinite(worst) else float("inf")
