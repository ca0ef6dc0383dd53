"""An encoder reads dates in words ("the 3rd of march 1987"), a decoder writes them: 1987-03-03.

Texts are made on the spot, in eight forms, and padded: `lengths` says where each ends. The state in
which the encoder ends begins the decoder, which at each character looks back at what was read by
attention. Dates that are tested are never trained on.
"""

import argparse
from datetime import date, timedelta
from pathlib import Path

import numpy as np

import minidl
from minidl import functions as F
from minidl import layers, optim

IN = " abcdefghijklmnopqrstuvwxyz0123456789,./"  # the space is also what texts are padded with
OUT = "0123456789-^"  # ^ stands before the first character
FORMS = (
    "the {0.day}{1} of {2} {0.year}", "{2} {0.day}{1}, {0.year}", "{0.day} {2} {0.year}",
    "{0.day}. {3}. {0.year}", "{3} {0.day}, {0.year}", "{4}, {2} {0.day}{1}, {0.year}",
    "{4} the {0.day}{1} of {3} {0.year}", "{0.month}/{0.day}/{0.year}",
)  # fmt: skip
DAYS = [date(1900, 1, 1) + timedelta(days) for days in range(200 * 365)]


def in_words(day, form):
    special = {1: "st", 2: "nd", 3: "rd"} if day.day not in (11, 12, 13) else {}
    month, weekday = day.strftime("%B").lower(), day.strftime("%A").lower()
    return form.format(day, special.get(day.day % 10, "th"), month, month[:3], weekday)


def encode(texts, characters):
    """Characters as integers (batch, time), padded with 0, and the lengths (batch,)."""
    lengths = np.array([len(text) for text in texts])
    padded = [text.ljust(lengths.max(), characters[0]) for text in texts]
    return np.array([[characters.index(c) for c in text] for text in padded]), lengths


class Translator(layers.Layer):
    def __init__(self, hidden):
        self.read, self.encoder = layers.Embedding(len(IN), 32), layers.GRU(hidden)
        self.write, self.decoder = layers.Embedding(len(OUT), 32), layers.GRU(hidden)
        self.out = layers.Linear(len(OUT))

    def encode(self, text, lengths):
        """What was read at each character, which of that is no padding, and the last state."""
        encoded, state = self.encoder.with_state(self.read(text), lengths=lengths)
        mask = np.arange(text.shape[1]) < lengths[:, None]
        return encoded, mask[:, None], state

    def decode(self, previous, encoded, mask, state):
        """Scores of each next character from those before it (batch, time), and the last state."""
        h, state = self.decoder.with_state(self.write(previous), state)
        seen = F.attention(h, encoded, encoded, mask)
        return self.out(np.concatenate([h, seen], axis=-1)), state

    def translate(self, texts):
        """Character by character, each time the likeliest."""
        with minidl.no_grad():
            encoded, mask, state = self.encode(*encode(texts, IN))
            found = [np.full((len(texts), 1), OUT.index("^"))]
            for _ in range(10):
                scores, state = self.decode(found[-1], encoded, mask, state)
                found.append(scores.data.argmax(axis=-1))
        return ["".join(OUT[i] for i in row) for row in np.concatenate(found[1:], axis=1)]


def draw(losses, lines, file):
    """How the loss fell, and what was read and written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.6])
    left.semilogy(losses)
    left.set(xlabel="update", title="loss")
    right.text(0, 1, "\n".join(lines), family="monospace", va="top")
    right.axis("off")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer updates, for tests")
    updates = 360 if parser.parse_args().short else 800
    minidl.seed(0)
    minidl.set_num_threads(1)
    rng = np.random.default_rng(0)
    test, train = np.split(rng.permutation(DAYS), [1000])
    model = Translator(hidden=64)
    optimizer = optim.Adam(model, optim.schedules.one_cycle(0.008, updates))
    losses = []
    for update in range(updates):
        days = rng.choice(train, 64)
        encoded = model.encode(*encode([in_words(d, rng.choice(FORMS)) for d in days], IN))
        t, _ = encode([f"^{day}" for day in days], OUT)
        optimizer.cleargrads()
        loss = F.cross_entropy(model.decode(t[:, :-1], *encoded)[0], t[:, 1:])
        loss.backward()
        optimizer.update()
        losses.append(loss.item())
        if update % 40 == 39:
            print(f"{update + 1} updates, loss {loss.item():.4f}")
    texts = [in_words(day, FORMS[i % len(FORMS)]) for i, day in enumerate(test)]
    translated = model.translate(texts)
    lines = [f"{text:32} {found}" for text, found in zip(texts[:12], translated)]
    print("\n".join(lines))
    draw(losses, lines, Path("out/seq2seq_dates.png"))
    exact = np.mean([found == str(day) for day, found in zip(test, translated)])
    print(f"{exact:.3f} of {len(test)} dates never seen are exact")
    assert exact > 0.98, "it should translate nearly all dates"


if __name__ == "__main__":
    main()
