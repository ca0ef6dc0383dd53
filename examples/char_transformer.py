"""A small GPT learns to write like Alice in Wonderland, character by character, and beats a bigram model.

The text, alice.txt, is the first two chapters of the book (Lewis Carroll, 1865; public domain), not
checked word for word against an edition. The last tenth is held out. Prints what the model writes,
and draws the loss beside the bigrams'.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Trainer, layers, optim
from minidl import functions as F


class GPT(layers.Layer):
    """Next-character scores (batch, time, count) from characters (batch, time)."""

    def __init__(self, count, width, heads, depth, dropout):
        self.embed = layers.Embedding(count, width)
        self.places = layers.PositionalEncoding()
        block = layers.TransformerBlock
        self.blocks = [block(heads, dropout=dropout, causal=True) for _ in range(depth)]
        self.norm = layers.LayerNorm()
        self.head = layers.Linear(count)

    def forward(self, x):
        x = self.places(self.embed(x))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def windows(codes, length, stride):
    """Pieces of a text, and the same one character later."""
    starts = np.arange(0, len(codes) - length, stride)[:, None]
    places = starts + np.arange(length)
    return codes[places], codes[places + 1]


def bigram_loss(train, test, count):
    """Of the frequencies of pairs in ``train``, one added to each, on ``test``."""
    pairs = np.ones((count, count))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    log_p = np.log(pairs / pairs.sum(1, keepdims=True))
    return float(F.negative_log_likelihood(log_p[test[:-1]], test[1:]))


def write(model, start, count, context, rng, temperature=0.8):
    """Go on from a list of characters, each drawn by the scores that the ones before it give."""
    text = list(start)
    with minidl.test_mode(), minidl.no_grad():
        while len(text) < count:
            scores = model(np.array([text[-context:]]))[0, -1].data / temperature
            text.append(rng.choice(scores.size, p=F.softmax(scores.astype(float))))
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few epochs, for tests")
    options = parser.parse_args()

    minidl.seed(options.seed)
    text = Path(__file__).with_name("alice.txt").read_text(encoding="utf-8")
    letters, codes = np.unique(list(text), return_inverse=True)
    end = len(codes) * 9 // 10
    train, test = codes[:end], codes[end:]
    bigram = bigram_loss(train, test, letters.size)

    model = GPT(letters.size, width=64, heads=4, depth=1 if options.short else 2, dropout=0.2)
    epochs = 6 if options.short else options.epochs
    x, t = windows(train, options.context, stride=16)
    rate = optim.schedules.cosine(3e-3, steps=epochs * (len(x) // 32 + 1))
    optimizer = optim.AdamW(model, lr=rate, weight_decay=0.1)
    trainer = Trainer(model, optimizer, F.cross_entropy)
    held_out = windows(test, options.context, stride=options.context)
    history = trainer.fit(x, t, epochs=epochs, validation=held_out)
    best = min(history["val_loss"])
    print(f"held-out loss {best:.3f}, of a bigram model {bigram:.3f}")
    sample = write(model, codes[:12], 400, options.context, np.random.default_rng(options.seed))
    print("".join(letters[sample]))
    figure = history.plot()
    figure.axes[0].axhline(bigram, color="0.5", linestyle=":", label="bigrams on the held-out part")
    figure.axes[0].legend()
    file = Path("out/char_transformer.png")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")
    assert best < bigram, "the model should do better than the frequencies of pairs"


if __name__ == "__main__":
    main()
