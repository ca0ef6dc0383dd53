"""A decaying oscillation is fitted to noisy points by SciPy, with exact derivatives.

least_squares takes the Jacobian of the residuals, trust-exact the Hessian of their sum of squares. The
inverse of the Hessian at the minimum gives the error bars, and those of the curve.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares, minimize

from minidl import grad, hessian, jacobian

NAMES = ["amplitude", "decay", "frequency", "phase", "offset"]
TRUE = np.array([2.0, 0.35, 3.0, 0.5, 0.7])
START = np.array([1.0, 0.1, 2.8, 0.0, 0.0])


def model(p, x):
    amplitude, decay, frequency, phase, offset = p
    return amplitude * np.exp(-decay * x) * np.cos(frequency * x + phase) + offset


def measured(count, noise, seed):
    x = np.linspace(0, 6, count)
    return x, model(TRUE, x) + noise * np.random.default_rng(seed).standard_normal(count)


def fit(x, y):
    """The parameters and their covariance: by Gauss-Newton first, then by Newton's method."""

    def residuals(p):
        return model(p, x) - y

    def cost(p):
        return 0.5 * (residuals(p) ** 2).sum()

    first = least_squares(residuals, START, jac=jacobian(residuals))
    newton = minimize(
        cost, START, jac=grad(cost), hess=hessian(cost), method="trust-exact", tol=1e-10
    )
    print(f"least_squares: {first.nfev} calls, cost {first.cost:.12f}")
    print(f"trust-exact:   {newton.nfev} calls, cost {newton.fun:.12f}")
    variance = 2 * newton.fun / (len(x) - len(START))
    return newton.x, variance * np.linalg.inv(hessian(cost)(newton.x))


def draw(x, y, p, covariance, file):
    """The fit with its band of two standard errors, and the parameters with theirs."""
    from matplotlib.figure import Figure

    fine = np.linspace(0, 7, 300)
    slopes = jacobian(lambda p: model(p, fine))(p)
    band = 2 * np.sqrt(np.einsum("ni,ij,nj->n", slopes, covariance, slopes))
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    left.plot(x, y, ".", color="0.4", label="measured")
    left.plot(fine, model(TRUE, fine), "--", color="0.6", label="true")
    left.plot(fine, model(p, fine), color="crimson", label="fitted")
    left.fill_between(
        fine, model(p, fine) - band, model(p, fine) + band, color="crimson", alpha=0.2
    )
    left.set(xlabel="time", title="Fit, and its band of two standard errors")
    left.legend()
    errors = np.sqrt(np.diag(covariance))
    places = np.arange(len(NAMES))[::-1]
    right.errorbar((p - TRUE) / errors, places, xerr=1, fmt="o", color="crimson", capsize=3)
    right.axvline(0, color="0.6", linestyle="--")
    right.set(yticks=places, yticklabels=NAMES, xlabel="(fitted - true) / standard error")
    right.set(title="Parameters")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--noise", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--short", action="store_true", help="accepted for tests; it is short anyway"
    )
    options = parser.parse_args()
    x, y = measured(options.count, options.noise, options.seed)
    p, covariance = fit(x, y)
    for name, value, error, true in zip(NAMES, p, np.sqrt(np.diag(covariance)), TRUE, strict=True):
        print(f"{name:>9} = {value:6.3f} ± {error:.3f}   (true {true})")
    draw(x, y, p, covariance, Path("out/fit_curve.png"))


if __name__ == "__main__":
    main()
