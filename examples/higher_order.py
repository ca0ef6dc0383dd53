"""Derivatives of sine and tanh to order 4, each the gradient of the one before, and their graphs.

Plots them over their closed forms and writes the computation graphs as DOT text (pictures with Graphviz).
"""

import argparse
import shutil
from pathlib import Path

import numpy as np

from minidl import Variable, gradients, graph

ORDERS = 4
CLOSED = {
    "sin": [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin],
    "tanh": [
        np.tanh,
        lambda x: 1 - np.tanh(x) ** 2,
        lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        lambda x: (6 * np.tanh(x) ** 2 - 2) * (1 - np.tanh(x) ** 2),
        lambda x: (16 * np.tanh(x) - 24 * np.tanh(x) ** 3) * (1 - np.tanh(x) ** 2),
    ],
}


def derivatives(f, points):
    """f and its derivatives at many points: a sum's gradient is elementwise, and has a gradient itself."""
    x = points if isinstance(points, Variable) else Variable(points)
    results = [f(x)]
    for _ in range(ORDERS):
        results += gradients(results[-1], [x], create_graph=True)
    return results


def draw_graphs(name, f, folder):
    """The graphs behind the derivatives at one point: they grow with every order."""
    x = Variable(1.0, name="x")
    for order, y in enumerate(derivatives(f, x)):
        y.name = f"{name}, derivative {order}" if order else f"{name}(x)"
        text = graph.dot(y)
        file = folder / f"{name}_{order}.dot"
        file.write_text(text, encoding="utf-8")
        drawn = ""
        if shutil.which("dot"):
            drawn = f", drawn in {graph.render(y, path=file.with_suffix('.svg'))}"
        print(f"{name}, order {order}: a graph of {text.count('->')} edges in {file}{drawn}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument(
        "--short", action="store_true", help="accepted for tests; it is short anyway"
    )
    options = parser.parse_args()
    from matplotlib.figure import Figure

    folder = Path("out")
    folder.mkdir(exist_ok=True)
    points = np.linspace(-5, 5, options.points)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, closed) in zip(figure.subplots(1, 2), CLOSED.items(), strict=True):
        f = getattr(np, name)
        for order, (y, formula) in enumerate(zip(derivatives(f, points), closed, strict=True)):
            error = abs(y.data - formula(points)).max()
            print(
                f"{name}, derivative {order}: largest difference from the closed form {error:.1e}"
            )
            assert error < 1e-12
            axes.plot(points, y.data, label=f"order {order}", linewidth=2 if order == 0 else 1.3)
        axes.set(title=f"{name} and its derivatives", xlabel="x")
        axes.legend(loc="lower right", fontsize="small")
        axes.grid(alpha=0.3)
        draw_graphs(name, f, folder)
    figure.savefig(folder / "higher_order.png", dpi=120)
    print(f"wrote {folder / 'higher_order.png'}")


if __name__ == "__main__":
    main()
