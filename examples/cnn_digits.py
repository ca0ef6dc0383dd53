"""A small convolutional net learns the handwritten digits that come with minidl: 98.5% and more on digits it never saw.

Two convolutions with a pooling between them: 9,930 parameters, and a few seconds.
Draws the kernels it learned, what they see in one digit, and the digits that are hardest for it.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, datasets, layers, optim
from minidl import functions as F


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few epochs, for tests")
    options = parser.parse_args()

    minidl.seed(options.seed)
    epochs = 12 if options.short else options.epochs
    (x, t), (xt, tt) = datasets.digits()
    x, xt = (images.reshape(-1, 8, 8, 1) for images in (x, xt))  # features, here one grey, are last
    model = layers.Sequential(
        layers.Conv2d(16, kernel=3, padding="same"),
        F.relu,
        layers.MaxPool2d(2),
        layers.Conv2d(32, kernel=3, padding="same"),
        F.relu,
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Linear(10),
    )
    print(model.summary(x[:1]))
    rate = optim.schedules.one_cycle(options.rate, steps=epochs * -(-len(x) // 32))
    trainer = Trainer(
        model, optim.AdamW(model, lr=rate), F.cross_entropy, metrics={"accuracy": F.accuracy}
    )
    trainer.fit(x, t, epochs=epochs, validation=(xt, tt))

    result = trainer.evaluate(xt, tt)
    print(f"test loss {result['loss']:.4f}, test accuracy {result['accuracy']:.4f}")
    assert result["accuracy"] >= 0.985
    Path("out").mkdir(exist_ok=True)
    draw(model, xt, tt, trainer.predict(xt), Path("out/cnn_digits.png"))


def draw(model, x, t, logits, file):
    """The 16 kernels, the maps of the surest digit before pooling, and the twelve hardest digits."""
    from matplotlib.figure import Figure

    guess, certainty = logits.argmax(1), F.softmax(logits).max(1)
    order = np.lexsort((certainty, guess == t))  # the wrong ones first, then the least certain
    seen = x[order[-1:]]
    with minidl.no_grad():
        maps = F.relu(model[0](seen)).data[0]
    kernels = model[0].w.data[:, :, 0]
    most = abs(kernels).max()

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    parts = figure.subfigures(1, 3)
    for k, axes in enumerate(parts[0].subplots(4, 4).flat):
        axes.imshow(kernels[..., k], cmap="RdBu", vmin=-most, vmax=most)
    for k, axes in enumerate(parts[1].subplots(4, 4).flat):
        axes.imshow(maps[..., k], cmap="viridis")
    for i, axes in zip(order, parts[2].subplots(3, 4).flat):
        axes.imshow(x[i, ..., 0], cmap="gray_r")
        color = "black" if guess[i] == t[i] else "crimson"
        axes.set_title(f"{t[i]} as {guess[i]}", color=color, fontsize=9)
    parts[0].suptitle("Kernels of the first layer")
    parts[1].suptitle(f"What they see in a {t[order[-1]]}")
    parts[2].suptitle(f"The hardest of {len(t)} test digits ({(guess != t).sum()} wrong)")
    for axes in figure.get_axes():
        axes.axis("off")
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
