"""Gradient descent by hand: the Rosenbrock function down its curved valley, and Matyas' derivatives.

No layers and no optimizer: only Variables, backward, and an update of ``.data``.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl
from minidl import Variable


def rosenbrock(x0, x1):
    return 100 * (x1 - x0**2) ** 2 + (x0 - 1) ** 2


def matyas(x, y):
    return 0.26 * (x**2 + y**2) - 0.48 * x * y


def descend(iterations, rate, every):
    """Follow the gradient from (0, 2); print and return the way."""
    x0, x1 = Variable(0.0), Variable(2.0)
    path = []
    for i in range(iterations):
        path.append((x0.item(), x1.item()))
        if i % every == 0:
            print(x0.item(), x1.item())
        x0.cleargrad()
        x1.cleargrad()
        rosenbrock(x0, x1).backward()
        x0.data -= rate * x0.grad
        x1.data -= rate * x1.grad
    print(x0.item(), x1.item())
    return np.array([*path, (x0.item(), x1.item())])


def draw(path, file):
    """The way down, on the logarithm of the function."""
    from matplotlib.figure import Figure

    x, y = np.meshgrid(np.linspace(-0.5, 1.5, 300), np.linspace(-0.5, 2.2, 300))
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    filled = axes.contourf(x, y, np.log10(rosenbrock(x, y) + 1e-6), 30, cmap="viridis")
    figure.colorbar(filled, label="log10 of the Rosenbrock function")
    axes.plot(path[:, 0], path[:, 1], color="white", linewidth=2)
    axes.plot(*path[0], "o", color="white", label="start (0, 2)")
    axes.plot(1, 1, "*", color="orange", markersize=14, label="minimum (1, 1)")
    axes.plot(
        *path[-1], "s", color="red", markersize=5, label=f"after {len(path) - 1:,} iterations"
    )
    axes.set(xlabel="x0", ylabel="x1", title="Gradient descent, rate 0.001")
    axes.legend(loc="lower left")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--short", action="store_true", help="fewer iterations, for tests")
    options = parser.parse_args()
    iterations = 1_000 if options.short else options.iterations

    gx, gy = minidl.grad(matyas, (0, 1))(1.0, 1.0)
    print(f"Matyas at (1, 1): the partial derivatives are {gx} and {gy}")
    file = Path("out/gradient_descent.png")
    every = max(1, iterations // 10)
    print(
        f"Rosenbrock from (0, 2), every {every:,}th of {iterations:,} iterations (drawn in {file}):"
    )
    draw(descend(iterations, options.rate, every), file)


if __name__ == "__main__":
    main()
