"""An LSTM forecasts next year's sunspots from the years before, and beats "as many as this year".

Trains on 1700 to 1939, forecasts one step ahead on the years after that, and draws both.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, datasets, layers, optim
from minidl import functions as F

SCALE = 200.0  # sunspots a year, roughly their largest number


def rmse(forecast, truth):
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


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
    parser.add_argument(
        "--distributed", action="store_true", help="for mpiexec -n 4 python -m mpi4py .."
    )
    options = parser.parse_args()

    minidl.seed(options.seed)
    years, spots = datasets.sunspots()
    x, t = datasets.windows((spots / SCALE).astype(np.float32), options.history)
    target_years = years[options.history :]
    test = target_years >= options.first_test_year

    model = layers.Sequential(layers.LSTM(options.hidden, return_sequences=False), layers.Linear(1))
    epochs = 40 if options.short else options.epochs
    steps = epochs * (sum(~test) // 32 + 1)
    optimizer = optim.Adam(
        model, lr=optim.schedules.cosine(0.01, steps), hooks=[optim.hooks.ClipGrad(1.0)]
    )
    trainer = Trainer(model, optimizer, F.mean_squared_error, distributed=options.distributed)
    history = trainer.fit(x[~test], t[~test], epochs=epochs, validation=(x[test], t[test]))

    if not trainer.ranks.first:
        return
    forecast, truth = trainer.predict(x)[:, 0] * SCALE, t[:, 0] * SCALE
    persistence = x[:, -1, 0] * SCALE
    ours, theirs = rmse(forecast[test], truth[test]), rmse(persistence[test], truth[test])
    print(
        f"the {test.sum()} held-out years: error of the LSTM {ours:.1f}, of persistence {theirs:.1f}"
    )
    Path("out").mkdir(exist_ok=True)
    draw(
        history,
        years,
        spots,
        target_years,
        forecast,
        test,
        (ours, theirs),
        Path("out/lstm_sunspots.png"),
    )
    assert ours < 0.85 * theirs, "the LSTM should beat persistence by a clear margin"


def draw(history, years, spots, target_years, forecast, test, errors, file):
    """The series with the forecasts of the held-out years, and the learning curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    wide, narrow = figure.subplots(1, 2, width_ratios=[2.6, 1])
    wide.plot(years, spots, color="0.6", linewidth=1, label="sunspots, yearly mean")
    wide.plot(
        target_years[~test],
        forecast[~test],
        color="steelblue",
        linewidth=0.8,
        label="forecast, training years",
    )
    wide.plot(
        target_years[test], forecast[test], color="crimson", label="forecast, years never seen"
    )
    wide.axvspan(target_years[test][0], years[-1], color="crimson", alpha=0.06)
    wide.set(
        xlim=(1850, years[-1]),
        ylim=(0, 235),
        xlabel="year",
        ylabel="sunspots",
        title=f"One step ahead: error {errors[0]:.1f}, of persistence {errors[1]:.1f}",
    )
    wide.legend(loc="upper left", fontsize="small")
    narrow.semilogy(history["loss"], label="training")
    narrow.semilogy(history["val_loss"], label="held out")
    narrow.set(xlabel="epoch", title="mean squared error (scaled)")
    narrow.legend()
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
