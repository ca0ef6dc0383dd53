"""Meta-learning (MAML, Finn et al. 2017): find weights from which one gradient step learns a new sine.

The inner step is differentiated too: a gradient through a gradient. Every task has its copy of the weights,
along a leading axis, so that one batched product serves them all.
"""

import argparse
from pathlib import Path

import numpy as np

from minidl import functions as F
from minidl import gradients, layers, optim

GRID = np.linspace(-5, 5, 200)[:, None]


def tasks(rng, count, shots=10):
    """Two samples (x, y) of sines of random amplitude and phase; x and y are (count, shots, 1)."""
    amplitude = rng.uniform(0.1, 5.0, (count, 1, 1))
    phase = rng.uniform(0, np.pi, (count, 1, 1))
    x = rng.uniform(-5, 5, (2, count, shots, 1))
    return zip(x, amplitude * np.sin(x - phase))


def predict(weights, x):
    for i in range(0, len(weights) - 2, 2):
        x = F.relu(x @ weights[i] + weights[i + 1])
    return x @ weights[-2] + weights[-1]


def task_losses(weights, x, y):
    return ((predict(weights, x) - y) ** 2).mean((1, 2))


def adapted(weights, x, y, rate, steps=1):
    """Weights of every task after gradient steps on its few points; differentiable."""
    fast = [w + np.zeros((len(x), 1, 1)) for w in weights]  # a copy for each task
    for _ in range(steps):
        slopes = gradients(task_losses(fast, x, y).sum(), fast, create_graph=True)
        fast = [w - rate * g for w, g in zip(fast, slopes, strict=True)]
    return fast


def pretrained(iterations, rate, through_the_step):
    """Train weights on many tasks: for what they become after a step (MAML), or plainly for themselves."""
    rng = np.random.default_rng(0)
    weights = layers.MLP([40, 40, 1], in_features=1, dtype=float, rng=rng).parameters()
    adam = optim.Adam(weights, lr=1e-3)
    for _ in range(iterations):
        few, many = tasks(rng, 25)
        adam.cleargrads()
        fast = adapted(weights, *few, rate) if through_the_step else weights
        task_losses(fast, *many).mean().backward(retain_graph=False)
        adam.update()
    return weights


def draw(errors, curves, points, file):
    """How the error on new sines falls, and what becomes of one of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, color in (("plain start", "gray"), ("MAML", "crimson")):
        left.plot(errors[name], "o-", color=color, label=name)
        for curve, style, when in zip(curves[name], ":-", ("before", "after one step")):
            right.plot(GRID, curve, style, color=color, label=f"{name}, {when}")
    right.plot(*points, "k^", label="the ten points it sees")
    left.set(xlabel="gradient steps on ten points", ylabel="error on 200 new sines")
    right.set(title="One new sine", xlabel="x")
    left.legend()
    right.legend(fontsize="x-small")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--short", action="store_true", help="few iterations, for tests")
    options = parser.parse_args()
    iterations = 300 if options.short else options.iterations

    few, many = tasks(np.random.default_rng(99), 200)
    errors, curves = {}, {}
    for name in ("plain start", "MAML"):
        weights = pretrained(iterations, options.rate, through_the_step=name == "MAML")
        starts = [adapted(weights, *few, options.rate, steps) for steps in range(6)]
        errors[name] = [task_losses(fast, *many).mean().item() for fast in starts]
        curves[name] = [predict([w[:1] for w in fast], GRID).data[0] for fast in starts[:2]]
        print(f"{name}: error on 200 new sines after 0..5 steps", np.round(errors[name], 3))
    draw(errors, curves, [few[0][0], few[1][0]], Path("out/maml.png"))


if __name__ == "__main__":
    main()
