"""Meta-learning (MAML, Finn et al. 2017): find weights from which one gradient step learns a new sine.

The inner step is differentiated too: a gradient through a gradient. Every task has its copy of the weights,
along a leading axis, so that one batched product serves them all.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from minidl import Parameter, gradients, optim
from minidl import functions as F

SIZES = [1, 40, 40, 1]


def tasks(rng, count, shots=10):
    """Sines of random amplitude and phase; returns a function that samples (x, y), each (count, shots, 1)."""
    amplitude, phase = rng.uniform(0.1, 5.0, (count, 1, 1)), rng.uniform(0, np.pi, (count, 1, 1))

    def sample():
        x = rng.uniform(-5, 5, (count, shots, 1))
        return x, amplitude * np.sin(x - phase)

    return sample


def new_weights(rng):
    drawn = [(rng.standard_normal((i, o)) / i**0.5, np.zeros((1, o))) for i, o in pairwise(SIZES)]
    return [Parameter(a) for pair in drawn for a in pair]


def predict(weights, x):
    for i in range(0, len(weights) - 2, 2):
        x = F.relu(x @ weights[i] + weights[i + 1])
    return x @ weights[-2] + weights[-1]


def task_losses(weights, x, y):
    return ((predict(weights, x) - y) ** 2).mean((1, 2))


def adapted(weights, x, y, rate, steps=1):
    """Weights of every task after gradient steps on its few points; differentiable."""
    fast = [np.broadcast_to(w, (len(x), *w.shape)) for w in weights]
    for _ in range(steps):
        slopes = gradients(task_losses(fast, x, y).sum(), fast, create_graph=True)
        fast = [w - rate * g for w, g in zip(fast, slopes, strict=True)]
    return fast


def pretrained(iterations, rate, through_the_step):
    """Train weights on many tasks: for what they become after a step (MAML), or plainly for themselves."""
    rng = np.random.default_rng(0)
    weights = new_weights(rng)
    adam = optim.Adam(weights, lr=1e-3)
    for _ in range(iterations):
        sample = tasks(rng, 25)
        adam.cleargrads()
        fast = adapted(weights, *sample(), rate) if through_the_step else weights
        task_losses(fast, *sample()).mean().backward(retain_graph=False)
        adam.update()
    return weights


def main():
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--short", action="store_true", help="few iterations, for tests")
    options = parser.parse_args()
    new_task = tasks(np.random.default_rng(99), 200)
    few, many = new_task(), new_task()
    grid = np.linspace(-5, 5, 200).reshape(1, -1, 1)
    left, right = (figure := Figure(figsize=(10, 4), layout="constrained")).subplots(1, 2)
    for name, through, color in (("plain start", False, "gray"), ("MAML", True, "crimson")):
        weights = pretrained(300 if options.short else options.iterations, options.rate, through)
        starts = [adapted(weights, *few, options.rate, steps) for steps in range(6)]
        errors = [float(task_losses(fast, *many).mean()) for fast in starts]
        print(
            f"{name:12s} error on 200 new sines after 0..5 steps: "
            + " ".join(f"{e:.3f}" for e in errors)
        )
        left.plot(errors, "o-", color=color, label=name)
        for fast, style, when in ((starts[0], ":", "before"), (starts[1], "-", "after one step")):
            curve = predict([w[:1] for w in fast], grid).data[0]
            right.plot(grid[0], curve, style, color=color, label=f"{name}, {when}")
    right.plot(few[0][0], few[1][0], "k^", label="the ten points it sees")
    left.set(
        xlabel="gradient steps on ten points",
        ylabel="error on 200 new sines",
        title="Learning a new sine",
    )
    right.set(title="One new sine", xlabel="x")
    left.legend()
    right.legend(fontsize="x-small")
    (file := Path("out/maml.png")).parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
