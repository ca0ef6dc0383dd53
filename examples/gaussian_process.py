"""A Gaussian process learns how smooth, how large and how noisy a function is, and draws what it may be.

The logarithm of the marginal likelihood goes through a Cholesky decomposition; its gradient by the
hyperparameters, which all are logarithms, goes to SciPy's L-BFGS.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from minidl import functions as F
from minidl import value_and_grad

START = np.log([0.3, 1.0, 0.5])  # length, size, noise


def kernel(a, b, length, size):
    return size**2 * np.exp(-0.5 * ((a[:, None] - b) / length) ** 2)


def factor(p, x):
    """The triangle L of the covariance of noisy measurements, L L^T."""
    length, size, noise = np.exp(p)
    return np.linalg.cholesky(kernel(x, x, length, size) + (noise**2 + 1e-9) * np.eye(len(x)))


def minus_log_likelihood(p, x, y):
    L = factor(p, x)
    white = F.solve_triangular(L, y, lower=True)
    return 0.5 * white @ white + np.log(np.diag(L)).sum() + 0.5 * len(x) * np.log(2 * np.pi)


def learn(x, y):
    """Hyperparameters that make the measurements most likely."""
    path = [START]
    cost = value_and_grad(minus_log_likelihood)
    found = minimize(cost, START, (x, y), "L-BFGS-B", jac=True, callback=path.append)
    return found.x, [minus_log_likelihood(p, x, y) for p in path]


def posterior(p, x, y, grid):
    """Mean and covariance of the function on the grid, given the measurements."""
    length, size, _ = np.exp(p)
    L = factor(p, x)
    across = F.solve_triangular(L, kernel(x, grid, length, size), lower=True)
    mean = across.T @ F.solve_triangular(L, y, lower=True)
    return mean, kernel(grid, grid, length, size) - across.T @ across


def draw(x, y, p, values, grid, rng, file):
    """The posterior before and after learning, and the way down."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    first, second, last = figure.subplots(1, 3)
    for axes, q, title in ((first, START, "Guessed"), (second, p, "Learned")):
        mean, covariance = posterior(q, x, y, grid)
        deviation = 2 * np.sqrt(np.maximum(np.diag(covariance), 0))
        root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(grid)))
        samples = mean[:, None] + root @ rng.standard_normal((len(grid), 4))
        axes.fill_between(grid, mean - deviation, mean + deviation, color="steelblue", alpha=0.2)
        axes.plot(grid, samples, color="steelblue", linewidth=0.7)
        axes.plot(grid, mean, color="navy")
        axes.plot(x, y, "o", color="crimson", markersize=4)
        length, size, noise = np.exp(q)
        axes.set(title=f"{title}: length {length:.2f}, size {size:.2f}, noise {noise:.2f}")
    last.plot(values, "o-", color="darkorange", markersize=4)
    last.set(xlabel="step of L-BFGS", title="minus log marginal likelihood")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--short", action="store_true", help="accepted for tests; it is short anyway"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    x = np.sort(rng.uniform(-4, 4, options.count))
    y = np.sin(2 * x) + 0.3 * x + 0.15 * rng.standard_normal(options.count)
    p, values = learn(x, y)
    length, size, noise = np.exp(p)
    print(f"length {length:.3f}, size {size:.3f}, noise {noise:.3f}")
    print(f"minus log marginal likelihood {values[0]:.3f} -> {values[-1]:.3f}")
    draw(x, y, p, values, np.linspace(-5, 5, 200), rng, Path("out/gaussian_process.png"))


if __name__ == "__main__":
    main()
