"""A neural ODE learns the law of motion behind a pendulum's noisy swings (Chen et al. 2018).

The velocity is a small network of the place; Runge-Kutta steps carry the place along, by F.scan, and the
gradient goes back through all of them. It is trained on short stretches and then runs the whole way.
"""

import argparse
from pathlib import Path

import numpy as np

from minidl import functions as F
from minidl import layers, no_grad, optim


def true_velocity(y):
    """A pendulum with friction: angle and speed."""
    return np.stack([y[..., 1], -np.sin(y[..., 0]) - 0.15 * y[..., 1]], axis=-1)


def trajectory(velocity, start, steps, dt):
    """Places after each Runge-Kutta step from the start: (steps, batch, 2)."""

    def step(y, _):
        a = velocity(y)
        b = velocity(y + dt / 2 * a)
        c = velocity(y + dt / 2 * b)
        d = velocity(y + dt * c)
        y = y + dt / 6 * (a + 2 * b + 2 * c + d)
        return y, y

    return F.scan(step, start, np.arange(steps))[1]


def train(velocity, data, dt, iterations, stretch, rng):
    adam = optim.Adam(velocity, lr=optim.schedules.cosine(1e-2, iterations))
    losses = []
    for i in range(iterations):
        starts = rng.integers(0, len(data) - stretch, 32)
        targets = data[starts + np.arange(1, stretch + 1)[:, None]]
        adam.cleargrads()
        loss = abs(trajectory(velocity, data[starts], stretch, dt) - targets).mean()
        loss.backward(retain_graph=False)
        adam.update()
        losses.append(loss.item())
        if i % max(1, iterations // 5) == 0:
            print(f"iteration {i:4d}  loss {loss.item():.4f}")
    return losses


def draw(data, learned, velocity, losses, file):
    """The swings, learned and measured, in the learned field of velocities; and the loss."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    grid = np.stack(np.meshgrid(*[np.linspace(-2.7, 2.7, 18)] * 2), -1).reshape(-1, 2)
    arrows = velocity(grid).data
    arrows = arrows / np.linalg.norm(arrows, axis=1, keepdims=True)
    left.quiver(*grid.T, *arrows.T, color="0.75", width=0.003)
    left.plot(*data.T, ".", color="0.4", markersize=3, label="measured")
    left.plot(*learned.T, color="crimson", label="learned, from the start on")
    left.set(
        aspect="equal", xlabel="angle", ylabel="speed", title="Velocities, and the way they lead"
    )
    left.legend(fontsize="small", loc="upper right")
    right.semilogy(losses, color="darkorange", linewidth=0.7)
    right.set(xlabel="iteration", title="mean absolute error over a stretch")
    right.grid(alpha=0.3)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--stretch", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few iterations, for tests")
    options = parser.parse_args()
    rng, dt, start = np.random.default_rng(options.seed), 0.1, np.array([[2.5, 0.0]])
    true = trajectory(true_velocity, start, 300, dt)[:, 0]
    data = np.concatenate([start, true]) + 0.03 * rng.standard_normal((301, 2))
    velocity = layers.MLP([32, 2], activation=np.tanh, in_features=2, dtype=np.float64, rng=rng)
    iterations = 20 if options.short else options.iterations
    losses = train(velocity, data, dt, iterations, options.stretch, rng)
    with no_grad():
        learned = trajectory(velocity, start, 300, dt).data[:, 0]
        print(f"mean distance of the whole way: {np.abs(learned - true).mean():.4f}")
        draw(data, learned, velocity, losses, Path("out/neural_ode.png"))


if __name__ == "__main__":
    main()
