"""An MLP learns the 1,797 handwritten digits that come with minidl: 97% and more on digits it never saw.

Shows the trainer with a progress bar, draws the learning curves and the digits it gets wrong.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, datasets, layers, optim
from minidl import functions as F


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few epochs, for tests")
    parser.add_argument(
        "--distributed", action="store_true", help="for mpiexec -n 4 python -m mpi4py .."
    )
    options = parser.parse_args()

    minidl.seed(options.seed)
    epochs = 10 if options.short else options.epochs
    (x, t), (xt, tt) = datasets.digits()
    model = layers.MLP([options.hidden, 64, 10])
    optimizer = optim.AdamW(
        model, lr=optim.schedules.cosine(options.rate, steps=epochs * (len(x) // 32 + 1))
    )
    trainer = Trainer(
        model,
        optimizer,
        F.cross_entropy,
        metrics={"accuracy": F.accuracy},
        distributed=options.distributed,
    )
    if trainer.ranks.first:
        print(model.summary(x[:1]))
    history = trainer.fit(x, t, epochs=epochs, validation=(xt, tt))

    result = trainer.evaluate(xt, tt)
    assert result["accuracy"] >= 0.97
    if not trainer.ranks.first:
        return
    print(f"test loss {result['loss']:.4f}, test accuracy {result['accuracy']:.4f}")
    Path("out").mkdir(exist_ok=True)
    draw(history, xt, tt, trainer.predict(xt), Path("out/mlp_digits.png"))


def draw(history, x, t, logits, file):
    """Learning curves, and sixteen digits: the wrong ones first, then the least certain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    curves, wrong = figure.subfigures(1, 2, width_ratios=[1.5, 1])
    epochs = range(1, len(history["loss"]) + 1)
    for axes, name in zip(curves.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, history[name], label="training")
        axes.plot(epochs, history[f"val_{name}"], label="test")
        axes.set(xlabel="epoch", title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    guess, certainty = logits.argmax(1), F.softmax(logits).max(1)
    first = np.lexsort((certainty, guess == t))[:16]
    for axes, i in zip(wrong.subplots(4, 4).flat, first, strict=True):
        axes.imshow(x[i].reshape(8, 8), cmap="gray_r")
        axes.set_title(
            f"{t[i]} as {guess[i]}", color="black" if guess[i] == t[i] else "crimson", fontsize=9
        )
        axes.axis("off")
    wrong.suptitle(f"The hardest of {len(t)} test digits ({(guess != t).sum()} wrong)")
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
