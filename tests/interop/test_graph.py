"""minidl.graph: the text of a picture, its stability, its escapes, its errors, and Graphviz's view of it.

What is recorded is tested in tests/autograd.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl import Parameter, Variable, graph, layers, no_grad
from minidl import functions as F

ROOT = Path(__file__).parents[2]
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def boxes(text: str) -> dict[str, str]:
    """Name in the text -> label, as it is quoted there."""
    return dict(re.findall(r'^  (\w+) \[label="((?:[^"\\]|\\.)*)"', text, re.M))


def arrows(text: str) -> list[str]:
    return re.findall(r"^  (\w+ -> \w+)", text, re.M)


def second_derivative() -> Variable:
    x = Variable(0.5, name="x")
    y = np.tanh(x)
    y.backward(create_graph=True)
    g = x.grad
    assert g is not None
    x.cleargrad()
    g.backward(create_graph=True)
    assert x.grad is not None
    return x.grad


def with_split() -> Variable:
    a, b = np.split(Variable(np.arange(4.0), name="v") ** 2, 2)
    return (a - b).sum()


# ---- what is drawn -------------------------------------------------------------------------------------


def test_functions_leaves_and_results() -> None:
    x, w = Variable(np.ones((5, 3)), name="x"), Parameter(np.ones((3, 4), np.float32))
    text = graph.dot(np.tanh(x @ w))
    assert boxes(text) == {
        "x0": r"x\n(5, 3) float64",
        "x1": r"x1\n(3, 4) float32",
        "f0": r"matmul\n(5, 4) float64",
        "f1": r"tanh\n(5, 4) float64",
        "y0": r"y0\n(5, 4) float64",
    }
    assert arrows(text) == ["x0 -> f0", "x1 -> f0", "f0 -> f1", "f1 -> y0"]


def test_a_shared_leaf_is_drawn_once_and_every_use_is_an_arrow() -> None:
    x = Variable(2.0)
    text = graph.dot(x * x + np.sin(x))
    assert [name for name in boxes(text) if name[0] == "x"] == ["x0"]
    assert sorted(a for a in arrows(text) if a.startswith("x0")) == [
        "x0 -> f0",
        "x0 -> f0",
        "x0 -> f1",
    ]


def test_arguments_come_in_their_order() -> None:
    a, b = Variable(1.0, name="a"), Variable(2.0, name="b")
    text = graph.dot(np.exp(b) - a)
    assert arrows(text) == ["x0 -> f0", "f0 -> f1", "x1 -> f1", "f1 -> y0"]
    assert boxes(text)["x0"].startswith("b")


def test_several_results_share_what_lies_behind_them() -> None:
    x = Variable(1.0)
    h = np.exp(x)
    a, b = h + 1, h * 2
    b.name = "twice"
    text = graph.dot(a, b, h)
    assert [label for name, label in boxes(text).items() if name[0] == "y"] == [
        r"y0\n() float64",
        r"twice\n() float64",
        r"y2\n() float64",
    ]
    assert sum(label.startswith("exp") for label in boxes(text).values()) == 1
    assert boxes(graph.dot(a, a)) == {**boxes(graph.dot(a)), "y1": r"y1\n() float64"}


def test_a_named_result_on_the_way_is_shown() -> None:
    h = np.exp(Variable(1.0))
    h.name = "h"
    assert boxes(graph.dot(h * 2))["f0"] == r"h = exp\n() float64"


def test_a_leaf_alone() -> None:
    text = graph.dot(Variable([1.0], name="w"))
    assert arrows(text) == ["x0 -> y0"] and boxes(text)["x0"] == r"w\n(1,) float64"


def test_gradient_of_a_gradient() -> None:
    text = graph.dot(second_derivative())
    assert sum(label.startswith("multiply") for label in boxes(text).values()) >= 3
    assert [name for name in boxes(text) if name[0] == "x"] == ["x0"]
    # tanh's argument is in its derivative and in that one's
    assert len([a for a in arrows(text) if a.startswith("x0 ")]) >= 2


def test_outputs_of_a_split_are_labelled_arrows_from_one_box() -> None:
    text = graph.dot(with_split())
    assert [name for name, label in boxes(text).items() if label.startswith("split")] == ["f1"]
    assert boxes(text)["f1"] == r"split\n2 outputs"
    assert re.findall(r'f1 -> f2 \[label=" (\[\d\]) \(2,\) float64"\]', text) == ["[0]", "[1]"]


def test_gradient_through_a_split() -> None:
    x = Variable(np.arange(4.0), name="x")
    a, b = np.split(np.exp(x), 2)
    (a * b).sum().backward(create_graph=True)
    assert x.grad is not None
    text = graph.dot(x.grad)
    assert sum(label.startswith("split") for label in boxes(text).values()) == 1
    assert sum(label.startswith("concatenate") for label in boxes(text).values()) == 1


def test_one_output_of_several_as_a_result() -> None:
    part = np.split(Variable(np.arange(4.0)), 2)[1]
    text = graph.dot(part)
    assert re.search(r'f0 -> y0 \[label=" \[1\] \(2,\) float64"\]', text)


# ---- names, constants, numbers ----------------------------------------------------------------------------


def two_layers() -> tuple[layers.Sequential, Variable]:
    model = layers.Sequential(layers.Linear(3, 4), F.relu, layers.Linear(4, 2))
    loss = F.cross_entropy(model(np.ones((5, 3), np.float32)), np.zeros(5, int))
    return model, loss


def titles(text: str) -> list[str]:
    return sorted(label.split(r"\n")[0] for label in boxes(text).values())


def test_parameters_by_their_dotted_names() -> None:
    model, loss = two_layers()
    text = graph.dot(loss, model=model)
    assert titles(text) == sorted(
        ["layers.0.b", "layers.0.w", "layers.2.b", "layers.2.w", "constant", "constant"]
        + ["linear", "relu", "linear", "cross_entropy", "y0"]
    )
    assert titles(graph.dot(loss, model=dict(model.named_parameters()))) == titles(text)


def test_equal_names_are_told_apart_without_a_model() -> None:
    _, loss = two_layers()
    shown = titles(graph.dot(loss))
    assert {"w #1", "w #2", "b #1", "b #2"} <= {*shown} and not {"w", "b"} & {*shown}


def test_frozen_and_tied_parameters() -> None:
    model = layers.Sequential(layers.Linear(3, 3), layers.Linear(3, 3))
    model[1].w = model[0].w
    model[0].freeze()
    model[1].unfreeze()  # the weights that both have, too
    text = graph.dot(model(Variable(np.ones((1, 3), np.float32))), model=model)
    assert titles(text).count("layers.0.w") == 1
    assert re.search(r'  c\d \[label="layers\.0\.b', text)  # frozen: a constant


def test_constants() -> None:
    x, scale = Variable(np.ones(3), name="x"), np.arange(3.0)
    fixed = Variable(np.zeros(3), requires_grad=False, name="fixed")
    text = graph.dot((x * scale + scale * 2.5 - fixed) ** 2)
    assert titles(text) == sorted(
        ["x", "constant", "constant", "fixed", "2", "multiply", "add", "subtract", "power", "y0"]
    )  # scale * 2.5 was computed before
    text = graph.dot((x * scale + x * scale).reshape(3, 1).sum(axis=0))
    assert titles(text).count("constant") == 1  # one array, one box
    assert len([a for a in arrows(text) if a.startswith("c0 ")]) == 2
    assert not {"0", "1", "3"} & {*titles(text)}  # axes and shapes are not computed with


def test_values_and_gradients() -> None:
    x = Variable(np.array([1.0, -2.0]), name="x")
    many = Variable(np.arange(100.0), name="many")
    y = (x * 2.0).sum() + many.sum()
    assert "grad" not in graph.dot(y, values=True, gradients=True)
    y.backward()
    shown = boxes(graph.dot(y, values=True, gradients=True))
    assert shown["x0"] == r"x\n(2,) float64\n[ 1., -2.]\ngrad [2., 2.]"
    assert shown["x1"] == r"many\n(100,) float64\n0 .. 99, mean 49.5\ngrad 1 .. 1, mean 1"
    assert shown["y0"] == r"y0\n() float64\n4948."
    assert boxes(graph.dot(y))["x0"] == r"x\n(2,) float64"
    mask = np.arange(100) < 30
    assert "30 of 100 true" in graph.dot(np.where(mask, many, 0.0), values=True)
    assert "[]" in graph.dot(Variable(np.zeros(0)) * 2.0, values=True)


# ---- graphs that are not whole ---------------------------------------------------------------------------


def test_where_the_graph_was_cut() -> None:
    h = np.exp(Variable(1.0))
    y = np.sin(h)
    h.unchain()
    text = graph.dot(y)
    assert boxes(text)["f0"] == r"exp\ncut" and arrows(text) == ["f0 -> f1", "f1 -> y0"]
    assert re.search(r"f0 \[.*dashed", text)


def test_outputs_behind_a_cut() -> None:
    a, b = np.split(np.exp(Variable(np.arange(4.0))), 2)
    y, z = a * 2, b * 3
    a.unchain_backward()
    assert (
        r"split[0]\ncut" in boxes(graph.dot(y)).values()
        or r"output[0]\ncut" in boxes(graph.dot(y)).values()
    )
    assert any(label.endswith(r"\ncut") for label in boxes(graph.dot(z)).values())


def test_where_the_graph_was_freed() -> None:
    h = np.exp(Variable(1.0))
    y, z = h * 2, h * 3
    y.backward(retain_graph=False)
    assert boxes(graph.dot(z))["f0"] == r"exp\nfreed"
    with pytest.raises(ValueError, match=r"result 1 .* freed .*retain_graph=False"):
        graph.dot(z, y)


def test_a_leaf_whose_owner_is_gone_keeps_its_shape() -> None:
    assert boxes(graph.dot(np.exp(Variable(np.ones(3), name="lost"))))["x0"] == r"x0\n(3,) float64"


def test_a_leaf_with_a_newer_value_is_told_from_it() -> None:
    x = Variable(1.0, name="x")
    y = x * 2
    x.data = 3.0
    text = graph.dot(y + x)
    assert sorted(label for name, label in boxes(text).items() if name[0] == "x") == [
        r"x\n() float64",
        r"x\n() float64\nolder value",
    ]


def test_drawing_changes_nothing() -> None:
    x = Variable(3.0)
    y = x * x
    graph.dot(y)
    y.backward()
    assert x.grad is not None and float(x.grad) == 6.0


# ---- escapes and stability -------------------------------------------------------------------------------

NAMES = [
    'say "x"',
    "back\\slash\\",
    "\\N \\l",
    "two\nlines",
    "<b>bold</b>",
    "a|b{c}",
    "R&amp;D &#65;",
    "größe 大きさ ∂x",
    "tab\tbell\a",
    "]; x -> y",
    "\ud800",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted(name: str) -> None:
    text = graph.dot(Variable(1.0, name=name))
    assert all(
        line.count("[label=") == 1 and line.endswith("]")
        for line in text.splitlines()
        if " [label" in line
    )
    assert text.encode("utf-8") and len(boxes(text)) == 2


@needs_graphviz
@pytest.mark.parametrize("name", NAMES)
def test_graphviz_shows_names_as_they_are(name: str, tmp_path: Path) -> None:
    import xml.etree.ElementTree as tree

    x = Variable(1.0, name=name)
    svg = graph.render(np.exp(x), path=tmp_path / "g.svg").read_bytes()
    shown = [
        part.text or "" for part in tree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    wanted = [
        re.sub(r"[\t\a\ud800]", lambda c: f"\\x{ord(c[0]):02x}", line) for line in name.split("\n")
    ]
    assert set(wanted) <= {line.replace("\xa0", " ") for line in shown}


PROGRAM = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
import gc, numpy as np
from minidl import Variable
for _ in range({waste}): np.exp(Variable(1.0))
from test_graph import graph, second_derivative, with_split
sys.stdout.buffer.write(graph.dot(second_derivative(), with_split()).encode())
"""


def test_equal_programs_give_equal_text_in_other_processes() -> None:
    here = graph.dot(second_derivative(), with_split())
    assert here == graph.dot(second_derivative(), with_split())
    for seed, waste in (("1", 0), ("2", 17)):
        program = PROGRAM.format(root=str(ROOT), tests=str(ROOT / "tests" / "interop"), waste=waste)
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
        )
        assert done.stdout.decode() == here


def test_a_long_chain() -> None:
    y = Variable(0.0)
    for _ in range(100_000):
        y = y + 1.0
    assert graph.dot(y).count("\n  f") == 200_000  # a box and an arrow each


# ---- files -----------------------------------------------------------------------------------------------


@needs_graphviz
@pytest.mark.parametrize(
    ("ending", "magic"),
    [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")],
)
def test_rendered(ending: str, magic: bytes, tmp_path: Path) -> None:
    path = graph.render(second_derivative(), with_split(), path=tmp_path / f"g.{ending}")
    assert path == tmp_path / f"g.{ending}" and path.read_bytes().startswith(magic)


def test_text_needs_no_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    y = np.exp(Variable(1.0, name="größe"))
    path = graph.render(y, path=str(tmp_path / "g.dot"))
    assert path.read_text(encoding="utf-8") == graph.dot(y)


def test_without_graphviz_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"install Graphviz .*\.dot"):
        graph.render(np.exp(Variable(1.0)), path=tmp_path / "g.svg")
    assert not list(tmp_path.iterdir())


def test_a_failing_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no fonts >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeError, match="Graphviz failed: no fonts"):
        graph.render(np.exp(Variable(1.0)), path=tmp_path / "g.svg")


# ---- bad input -------------------------------------------------------------------------------------------


def test_errors() -> None:
    y = np.exp(Variable(1.0))
    with pytest.raises(TypeError, match=r"graph.dot: result 1 is not a Variable but ndarray"):
        graph.dot(y, np.ones(3))


@needs_graphviz
@pytest.mark.parametrize("name", ["graph.svgg", "graph"])
def test_an_ending_that_is_no_format(name: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"graph.render: Graphviz failed: .*(svg|-T)"):
        graph.render(np.exp(Variable(1.0)), path=tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_results_without_a_graph() -> None:
    x = Variable(np.ones(3))
    with no_grad():
        off = x * 2
    cut = x * 2
    cut.unchain()
    x.sum().backward()
    for result in (off, cut, x.detach(), F.argmax(x), x.grad):
        with pytest.raises(ValueError, match=r"result 0 of shape \S+ has no graph"):
            graph.dot(result)
