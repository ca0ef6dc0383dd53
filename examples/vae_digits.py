"""A variational autoencoder puts digits on a plane, and draws digits from any place of it.

The encoder has two outputs, the mean and the log-variance of a normal distribution for each digit;
``loss_of``, overridden, is the evidence bound of them. Source: D. Kingma and M. Welling,
Auto-encoding variational Bayes, 2014.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, datasets, layers, optim
from minidl import functions as F


class VAE(layers.Layer):
    """Gives logits of the pixels, the mean and the log-variance of the code of each image."""

    def __init__(self, pixels=64, hidden=128, code=2):
        self.body = layers.MLP([hidden, hidden // 2], in_features=pixels)
        self.mean = layers.Linear(hidden // 2, code)
        self.log_variance = layers.Linear(hidden // 2, code)
        self.decoder = layers.MLP([hidden // 2, hidden, pixels], in_features=code)

    def encode(self, x):
        h = F.relu(self.body(x))
        return self.mean(h), self.log_variance(h)

    def forward(self, x):
        mean, log_variance = self.encode(x)
        noise = minidl.random.generator().standard_normal(mean.shape, dtype=np.float32)
        return self.decoder(mean + np.exp(log_variance / 2) * noise), mean, log_variance


class Bound(Trainer):
    """Trains on images alone; the loss is minus the evidence lower bound of an image, in nats."""

    def loss_of(self, batch):
        x = batch[0]
        logits, mean, log_variance = self.model(x)
        pixels = self.loss(logits, x, reduction="sum")
        gain = (np.exp(log_variance) + mean**2 - 1 - log_variance).sum() / 2
        return (pixels + gain) / len(x), None


def draw(model, x, t, history, file, side=13):
    """The means of digits never seen, the digits that the plane holds, and the way down."""
    from matplotlib.figure import Figure

    with minidl.no_grad():
        mean, _ = model.encode(x)
        steps = np.linspace(-2.2, 2.2, side, dtype=np.float32)
        plane = np.stack(np.meshgrid(steps, steps[::-1]), axis=-1)
        digits = F.sigmoid(model.decoder(plane)).data.reshape(side, side, 8, 8)
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    points = left.scatter(*mean.data.T, c=t, cmap="tab10", s=14, vmin=-0.5, vmax=9.5)
    figure.colorbar(points, ax=left, ticks=range(10))
    left.set(title=f"Where {len(x)} digits never seen lie", aspect="equal")
    digits = np.pad(digits, ((0, 0), (0, 0), (1, 1), (1, 1)))
    image = digits.swapaxes(1, 2).reshape(10 * side, 10 * side)
    middle.imshow(image, cmap="gray_r", extent=(-2.2, 2.2, -2.2, 2.2))
    middle.set(title="What the decoder draws from there")
    for name, label in (("loss", "training"), ("val_loss", "never seen")):
        right.plot(range(1, len(history[name]) + 1), history[name], label=label)
    right.set(xlabel="epoch", title="minus the evidence bound, nats")
    right.legend()
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=110)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few epochs, for tests")
    options = parser.parse_args()
    minidl.seed(options.seed)
    epochs = 10 if options.short else options.epochs
    (x, _), (x_test, t_test) = datasets.digits()
    model = VAE()
    rate = optim.schedules.cosine(3e-3, steps=epochs * (len(x) // 32 + 1))
    trainer = Bound(model, optim.Adam(model, lr=rate), F.binary_cross_entropy_with_logits)
    history = trainer.fit(x, epochs=epochs, validation=x_test)
    assert history["val_loss"][-1] < history["val_loss"][0] - 1
    draw(model, x_test, t_test, history, Path("out/vae_digits.png"))


if __name__ == "__main__":
    main()
