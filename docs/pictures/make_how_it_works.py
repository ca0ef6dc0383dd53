"""Draw the figures of docs/how_it_works.md: graphs by minidl.graph, the rest from the page's own code.

Run ``python docs/pictures/make_how_it_works.py`` after changing the page's snippets; it needs
Graphviz and matplotlib.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minidl import Variable, gradients, graph

HERE = Path(__file__).parent
PAGE = HERE.parent / "how_it_works.md"
BLUE, RED, GREY = "#3b82f6", "#dc2626", "#94a3b8"

CYCLE = """digraph {
  graph [fontname=Helvetica, rankdir=LR, ranksep=0.5]
  node [fontname=Helvetica, fontsize=11, shape=box, style="rounded,filled", fillcolor="#dbeafe"]
  edge [fontname=Helvetica, fontsize=9, color="#64748b", arrowsize=0.6]
  subgraph cluster_a { label="a cycle"; color="#cbd5e1"
    x [label="x"]; g [label="its gradient"]; a [label="cos", fillcolor="#fef3c7"]
    x -> g [label=".grad"]; g -> a [label="creator"]; a -> x [label="inputs", color="#dc2626"] }
  subgraph cluster_b { label="none"; color="#cbd5e1"
    x2 [label="x"]; g2 [label="its gradient"]; a2 [label="cos", fillcolor="#fef3c7"]
    leaf [label="Leaf", fillcolor="#dcfce7"]
    x2 -> g2 [label=".grad"]; g2 -> a2 [label="node"]; a2 -> leaf [label="inputs"]
    x2 -> leaf [label="node"]; leaf -> x2 [label="weakly", style=dotted] }
}"""


def draw_graphs() -> None:
    """A product's tanh with its gradients (step 1), and a sine with two derivatives (step 4);
    and who refers to whom (step 6)."""
    x, w = Variable(0.5, name="x"), Variable(2.0, name="w")
    product = x * w  # held, so that its gradient is shown
    y = np.tanh(product)
    y.backward(retain_grad=True)
    y.name = "y"
    graph.render(y, path=HERE / "how_record.svg", values=True, gradients=True)
    x = Variable(1.0, name="x")
    results = [np.sin(x)]
    for _ in range(2):
        results += gradients(results[-1], [x], create_graph=True)
    for order, result in enumerate(results):
        result.name = "sin(x)" + "'" * order
        graph.render(result, path=HERE / f"how_sine_{order}.svg")
    target = HERE / "how_cycle.svg"
    subprocess.run(["dot", "-Tsvg", "-o", target], input=CYCLE, text=True, check=True)


def run_page() -> dict[str, Any]:
    """The names that the page's snippets leave, run in order, without the exercises."""
    names: dict[str, Any] = {}
    text = PAGE.read_text(encoding="utf-8").partition("## Exercises")[0]
    for source in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(source, names)
    return names


def draw_paths(file: Path) -> None:
    """Step 2: how often a rule is called, path by path and application by application."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    doublings = np.arange(1, 21)
    axes.semilogy(doublings, 2.0**doublings - 1, "o-", color=RED, label="every path on its own")
    axes.semilogy(doublings, doublings, "o-", color=BLUE, label="newest application first")
    axes.set(xlabel="doublings", ylabel="calls of the rule", xticks=[1, 5, 10, 15, 20])
    axes.legend()
    figure.savefig(file, dpi=110)


def grid(axes: Axes, values: np.ndarray[Any, Any], place: tuple[float, float], color: str) -> None:
    """An array as a table of squares, its upper left corner at a place."""
    for (row, column), value in np.ndenumerate(values):
        corner = place[0] + column, place[1] - row
        axes.add_artist(_square(corner, color))
        axes.text(corner[0] + 0.5, corner[1] - 0.5, f"{value:g}", ha="center", va="center")


def _square(corner: tuple[float, float], color: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((corner[0], corner[1] - 1), 1, 1, facecolor=color, edgecolor="white", lw=2)


def draw_broadcasting(file: Path) -> None:
    """Step 3: a bias is stretched on the way forward, and its gradient summed on the way back."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    bias, g = np.array([[0.5, -1.0]]), np.ones((3, 2))
    grid(axes, bias, (0, 2), "#dbeafe")
    grid(axes, np.repeat(bias, 3, axis=0), (4, 3), "#dbeafe")
    grid(axes, g, (8, 3), "#fee2e2")
    grid(axes, g.sum(0, keepdims=True), (12, 2), "#fee2e2")
    titles = {1: "b (2,)", 5: "stretched (3, 2)", 9: "its gradient (3, 2)", 13: "that of b (2,)"}
    for middle, title in titles.items():
        axes.text(middle, 3.3, title, ha="center", weight="bold")
    for start, words in ((2.1, "forward"), (10.1, "back: sum")):
        axes.annotate(
            "", (start + 1.8, 1.5), (start, 1.5), arrowprops={"arrowstyle": "->", "lw": 1.5}
        )
        axes.text(start + 0.9, 1.7, words, ha="center", fontsize=9)
    axes.set(xlim=(-0.2, 14.2), ylim=(-0.2, 4), aspect="equal")
    axes.axis("off")
    figure.savefig(file, dpi=110)


def draw_training(names: dict[str, Any], file: Path) -> None:
    """Step 9: what the page's own core has learned."""
    x, first, second = names["x"], names["first"], names["second"]
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(names["losses"], color=BLUE)
    left.set(xlabel="update", title="loss")
    right.plot(x, names["t"], color=GREY, linewidth=4, label="sine")
    right.plot(x, second(np.tanh(first(x))).data, color=RED, label="learned by the core")
    right.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    draw_graphs()
    draw_paths(HERE / "how_paths.png")
    draw_broadcasting(HERE / "how_broadcasting.png")
    draw_training(run_page(), HERE / "how_training.png")


if __name__ == "__main__":
    main()
