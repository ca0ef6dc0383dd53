"""An LSTM learns a noisy sine step by step, with carried state, and is then let loose on a cosine.

30 consecutive points are a batch; the losses of up to 30 batches are summed before each update, then the
graph of the carried state is cut: truncated backpropagation through time.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import DataLoader, Trainer, datasets, layers, optim
from minidl import functions as F


class Forecaster(layers.Layer):
    """The next value of a series from this one and the carried state."""

    def __init__(self, hidden):
        self.lstm = layers.LSTM(hidden, stateful=True)
        self.head = layers.Linear(1)

    def forward(self, x):
        return self.head(self.lstm(x))


def step_by_step(model, series, seen):
    """Forecasts along a series: from its true values up to ``seen``, from there on from its own forecasts."""
    model.reset_state()
    forecasts = []
    with minidl.no_grad(), minidl.test_mode():
        for i in range(len(series)):
            value = series[i] if i < seen else forecasts[-1]
            forecasts.append(model(np.array([[value]], np.float32)).item())
    model.reset_state()
    return np.array(forecasts)


def draw(history, values, cosine, forecasts, free, file):
    """What it was trained on, how the loss fell, and what it makes of the cosine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(range(1, len(history["loss"]) + 1), history["loss"])
    left.set(xlabel="epoch", title="mean squared error on the noisy sine")
    left.grid(alpha=0.3)
    right.plot(values, ".", color="0.8", markersize=2, label="trained on: noisy sine")
    right.plot(cosine, color="0.4", label="cosine")
    steps = np.arange(1, len(cosine))
    right.plot(steps, forecasts, color="crimson", label="forecast, one step ahead")
    free_label = "running free from 500 on"
    right.plot(steps[500:], free[500:], ":", color="steelblue", label=free_label)
    right.set(xlabel="step", title="A cosine it never saw")
    right.legend(fontsize="small")
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--truncate", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few epochs, for tests")
    options = parser.parse_args()
    epochs = 10 if options.short else options.epochs

    minidl.seed(options.seed)
    _, values = datasets.sine(n=1000, noise=0.05, seed=options.seed)
    x, t = values[:-1, None], values[1:, None]
    loader = DataLoader(x, t, batch_size=30, shuffle=False, drop_last=True)
    model = Forecaster(options.hidden)
    trainer = Trainer(model, optim.SGD(model, lr=options.rate), F.mean_squared_error)
    history = trainer.fit(loader, epochs=epochs, truncate=options.truncate)
    losses = history["loss"]
    print(f"loss of the first epoch {losses[0]:.4f}, of the last {losses[-1]:.4f}")

    _, cosine = datasets.sine(n=1000, noise=0.0, cosine=True)
    forecasts = step_by_step(model, cosine[:-1], seen=len(cosine))
    free = step_by_step(model, cosine[:-1], seen=500)
    error = np.sqrt(np.mean((forecasts - cosine[1:]) ** 2))
    print(f"on a cosine it never saw, one step ahead: root mean squared error {error:.4f}")
    Path("out").mkdir(exist_ok=True)
    draw(history, values, cosine, forecasts, free, Path("out/lstm_sine.png"))


if __name__ == "__main__":
    main()
