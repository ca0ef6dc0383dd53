"""An LSTM forecasts next year's sunspots from the years before, and beats "as many as this year".

Trains on 1700 to 1939, forecasts one step ahead on the years after that, and draws both.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, datasets, layers, optim
from minidl import functions as F


def rmse(forecast, truth):
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


def draw(history, years, spots, target_years, forecast, test, title, file):
    """The series with the forecasts of the held-out years, and the learning curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    wide, narrow = figure.subplots(1, 2, width_ratios=[2.6, 1])
    wide.plot(years, spots, color="0.6", linewidth=1, label="sunspots, yearly mean")
    for part, color, label in (
        (~test, "steelblue", "forecast, training years"),
        (test, "crimson", "forecast, years never seen"),
    ):
        wide.plot(target_years[part], forecast[part], linewidth=1.2, color=color, label=label)
    wide.axvspan(target_years[test][0], years[-1], color="crimson", alpha=0.06)
    wide.set(xlim=(1850, years[-1]), ylim=(0, 235), xlabel="year", ylabel="sunspots", title=title)
    wide.legend(loc="upper left", fontsize="small")
    epochs = range(1, len(history["loss"]) + 1)
    narrow.semilogy(epochs, history["loss"], label="training")
    narrow.semilogy(epochs, history["val_loss"], label="held out")
    narrow.set(xlabel="epoch", title="mean squared error (scaled)")
    narrow.legend()
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument(
        "--history", type=int, default=24, help="years that a forecast is made from"
    )
    parser.add_argument("--first-test-year", type=int, default=1940)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="fewer epochs, for tests")
    parser.add_argument("--distributed", action="store_true", help="run it by mpiexec -n 4 python")
    options = parser.parse_args()

    minidl.seed(options.seed)
    years, spots = datasets.sunspots()
    x, t = datasets.windows(spots, options.history)
    target_years = years[options.history :]
    test = target_years >= options.first_test_year

    scaled = layers.Normalization().adapt(x[~test])  # it travels with the model, into its files
    lstm = layers.LSTM(options.hidden, return_sequences=False)
    model = layers.Sequential(scaled, lstm, layers.Linear(1))
    epochs = 40 if options.short else options.epochs
    rate = optim.schedules.cosine(0.01, steps=epochs * (sum(~test) // 32 + 1))
    optimizer = optim.Adam(model, lr=rate, hooks=[optim.hooks.ClipGrad(1.0)])
    trainer = Trainer(
        model,
        optimizer,
        F.mean_squared_error,
        distributed=options.distributed,
        scale_targets=True,
    )
    history = trainer.fit(x[~test], t[~test], epochs=epochs, validation=(x[test], t[test]))

    if not trainer.ranks.first:
        return
    forecast, truth = trainer.predict(x)[:, 0], t[:, 0]
    ours = rmse(forecast[test], truth[test])
    persistence = rmse(x[test, -1, 0], truth[test])
    title = f"One step ahead: error {ours:.1f}, of persistence {persistence:.1f}"
    print(f"{test.sum()} held-out years. {title}")
    file = Path("out/lstm_sunspots.png")
    file.parent.mkdir(exist_ok=True)
    draw(history, years, spots, target_years, forecast, test, title, file)
    assert ours < 0.85 * persistence, "the LSTM should beat persistence by a clear margin"


if __name__ == "__main__":
    main()
