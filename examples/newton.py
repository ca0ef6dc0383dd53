"""Newton's method on x^4 - 2 x^2: the second derivative is the gradient of the gradient.

``create_graph=True`` records the first backward, so that a second one can run through it.
"""

import argparse
from pathlib import Path

import numpy as np

from minidl import Variable


def f(x):
    return x**4 - 2 * x**2


def newton(start, steps):
    """Go to where the tangent parabola has its extremum, again and again; print and return the way."""
    x = Variable(start)
    way = [x.item()]
    for i in range(steps):
        print(f"{i:2d}  x = {x.item():.15f}  f(x) = {f(x).item():.15f}")
        x.cleargrad()
        f(x).backward(create_graph=True)
        slope = x.grad
        x.cleargrad()
        slope.backward()
        curvature = x.grad
        x.data -= slope.data / curvature.data
        way.append(x.item())
    print(f"{steps:2d}  x = {x.item():.15f}  f(x) = {f(x).item():.15f}")
    return np.array(way)


def draw(way, file):
    """The function, the steps on it, and how fast the error falls."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    x = np.linspace(-0.2, 2.1, 300)
    left.plot(x, f(x), color="steelblue")
    left.plot(way, f(way), "o-", color="darkorange", linewidth=1, markersize=4)
    left.set(xlabel="x", ylabel="x⁴ - 2x²", title=f"Newton's method from {way[0]:g}")
    right.semilogy(np.maximum(abs(way - 1), 1e-17), "o-", color="darkorange")
    right.set(xlabel="step", ylabel="|x - 1|", title="The number of right digits doubles")
    right.grid(alpha=0.3)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
    print(f"wrote {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--short", action="store_true", help="accepted for tests; it is short anyway"
    )
    options = parser.parse_args()
    draw(newton(options.start, options.steps), Path("out/newton.png"))


if __name__ == "__main__":
    main()
