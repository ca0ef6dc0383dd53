"""Pictures of computation graphs: what was recorded behind a result, as DOT text or a rendered file.

Recording lives in minidl.autograd.function; nothing here computes or changes a graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minidl.autograd import engine
from minidl.autograd.node import Application, Leaf, Node, Output
from minidl.autograd.variable import Variable

_HEADER = """\
  graph [fontname="Helvetica", fontsize=13, labelloc=t, nodesep=0.3, ranksep=0.35, ordering=in]
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled", height=0.3, margin="0.14,0.06"]
  edge [fontname="Helvetica", fontsize=9, color="#64748b", fontcolor="#64748b", arrowsize=0.6]
"""
_LEAF = 'fillcolor="#dbeafe", color="#3b82f6"'
_FUNCTION = 'fillcolor="#fef3c7", color="#d97706"'
_RESULT = 'fillcolor="#dcfce7", color="#16a34a"'
_CONSTANT = 'fillcolor="#f1f5f9", color="#94a3b8", fontcolor="#475569"'
_ENDED = 'style="rounded,dashed", color="#94a3b8", fontcolor="#475569"'


def dot(*results: Variable, name: str | None = None, constants: bool = False, direction: str = "TB") -> str:
    """The computation graph behind one or more recorded results, as text in Graphviz's DOT language.

    Blue: the Variables it starts from; amber: the functions applied, with the shape and dtype they gave;
    green: the results; dashed: a place where the graph was cut or freed, or a Variable that has a newer
    value by now. Equal programs give equal text.

    Args:
        results: Variables with a graph; gradients too, if computed with ``create_graph=True``.
        name: a title.
        constants: also draw the arguments that are not differentiated.
        direction: of the arrows: "TB" (from top to bottom), "LR", "BT" or "RL".

    Raises:
        TypeError: a result is not a Variable.
        ValueError: a result has no graph (any more), or there is none, or the direction is unknown.

    >>> x = Variable(2.0, name="x")
    >>> print(dot(x * x, name="square"))
    digraph "square" {
    ...
      label="square"
      f0 [label="multiply\\n() float64", fillcolor="#fef3c7", color="#d97706"]
      x0 [label="x\\n() float64", fillcolor="#dbeafe", color="#3b82f6"]
      x0 -> f0
      x0 -> f0
      y0 [label="y\\n() float64", fillcolor="#dcfce7", color="#16a34a"]
      f0 -> y0
    }
    """
    if direction not in ("TB", "LR", "BT", "RL"):
        raise ValueError(f"graph.dot: want direction 'TB', 'LR', 'BT' or 'RL', got {direction!r}")
    roots = [_checked(result, i) for i, result in enumerate(results)]
    if not roots:
        raise ValueError("graph.dot: want at least one result")
    picture = _Picture(roots, constants)
    for i, (result, root) in enumerate(zip(results, roots, strict=True)):
        picture.result(result, root, f"y{i}" if len(results) > 1 else "y", f"y{i}")
    title = "" if name is None else f"  label={_quoted(name)}\n"
    turn = "" if direction == "TB" else f"  rankdir={direction}\n"
    body = "".join(f"  {line}\n" for line in picture.lines)
    return f"digraph {_quoted(name or 'graph')} {{\n{_HEADER}{turn}{title}{body}}}\n"


def render(*results: Variable, path: str | Path = "graph.svg", **options: Any) -> Path:
    """Draw the computation graph behind the results into a file, and return the file's path.

    Args:
        results: as for ``dot``.
        path: its ending says what is written: ``.svg``, ``.png`` or ``.pdf``, drawn by Graphviz; ``.dot``
            or ``.gv``, the text, for which Graphviz is not needed.
        options: ``name``, ``constants`` and ``direction``, as for ``dot``.

    Raises:
        RuntimeError: Graphviz is wanted, but not installed, or it failed.
        ValueError: the path has another ending.
        TypeError, ValueError: as ``dot``.

    >>> import tempfile
    >>> x = Variable([1.0, 2.0], name="x")
    >>> render((x * x).sum(), path=tempfile.gettempdir() + "/squares.dot").name
    'squares.dot'
    """
    import shutil  # here, as minidl is imported far more often than it draws
    import subprocess

    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("svg", "png", "pdf", "dot", "gv"):
        raise ValueError(f"graph.render: want a path ending in .svg, .png, .pdf, .dot or .gv, got {str(path)!r}")
    text = dot(*results, **options)
    if kind in ("dot", "gv"):
        path.write_text(text, encoding="utf-8")
        return path
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError(
            f"graph.render: drawing {path.name} needs the program `dot` of Graphviz; install Graphviz "
            "(https://graphviz.org), or write the text with a path ending in .dot"
        )
    done = subprocess.run([program, f"-T{kind}"], input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"graph.render: Graphviz failed: {done.stderr.decode(errors='replace').strip()}")
    path.write_bytes(done.stdout)
    return path


class _Picture:
    """The lines of one picture. Applications are numbered in the order they were recorded."""

    def __init__(self, roots: list[Node], constants: bool) -> None:
        self.lines: list[str] = []
        self.names: dict[Any, str] = {}  # a node -> its name in the text
        self.count = {"f": 0, "x": 0, "c": 0}
        self.roots = set(roots)
        recorded, _ = engine.reach(dict.fromkeys(roots), check=False)
        for node in reversed(recorded):  # oldest first: every input comes before what uses it
            if type(node) is not Output or not node.inputs:  # an Output is drawn as the arrow from its application
                self.application(node, constants)

    def application(self, node: Application | Output, constants: bool) -> None:
        """The box of one application, its arrows, and the leaves it is the first to use."""
        me = self.names[node] = self.number("f")
        owner = node.owner() if node.owner is not None and node not in self.roots else None
        title = f"{owner.name} = {node.name}" if owner is not None and owner.name else node.name
        if not node.inputs or isinstance(node, Output):
            self.box(me, f"{title}\n{'freed' if node.inputs is None else 'cut'}", _ENDED)
            return
        many = type(node.output) is tuple
        self.box(me, f"{title}\n{f'{len(node.output)} outputs' if many else _form(node.output)}", _FUNCTION)
        for i, arg in enumerate(node.args):
            parent = node.inputs[i] if i < len(node.inputs) else None
            if parent is not None:
                self.arrow(parent, arg, me)
            elif constants and arg is not None:
                constant = self.number("c")
                self.box(constant, _value(arg), _CONSTANT)
                self.lines.append(f"{constant} -> {me}")

    def arrow(self, source: Node, value: Any, target: str) -> None:
        """An arrow from a node, which had that value, to something drawn."""
        note = ""
        if type(source) is Leaf:
            self.leaf(source, value)
        elif type(source) is Output and source.inputs:
            note = f" [label={_quoted(f' [{source.index}] {_form(value)}')}]"
            source = source.inputs[0]  # type: ignore[assignment]  # its application, never None
        self.lines.append(f"{self.names[source]} -> {target}{note}")

    def leaf(self, leaf: Leaf, value: Any) -> None:
        """The box of a leaf, once."""
        if leaf in self.names:
            return
        me = self.names[leaf] = self.number("x")
        owner = leaf.owner()
        title = owner.name if owner is not None and owner.name else me
        older = "\nolder value" if leaf.stale else ""
        self.box(me, f"{title}\n{_form(value)}{older}", _ENDED if older else _LEAF)

    def result(self, result: Variable, node: Node, title: str, me: str) -> None:
        """The box of a result and the arrow to it."""
        if type(node) is Leaf:
            self.leaf(node, result)  # before its arrow, as everywhere
        self.box(me, f"{result.name or title}\n{_form(result)}", _RESULT)
        self.arrow(node, result, me)

    def number(self, letter: str) -> str:
        """The next name with that letter."""
        self.count[letter] += 1
        return f"{letter}{self.count[letter] - 1}"

    def box(self, me: str, label: str, look: str) -> None:
        """One box."""
        self.lines.append(f"{me} [label={_quoted(label)}, {look}]")


def _checked(result: Any, i: int) -> Node:
    """The node of a result, which must have a graph."""
    if not isinstance(result, Variable):
        raise TypeError(f"graph.dot: result {i} is not a Variable but {type(result).__name__}")
    node = result._node
    if node is None:
        raise ValueError(
            f"graph.dot: result {i} of shape {result.shape} has no graph: nothing it was computed from requires a "
            "gradient, it was computed inside no_grad(), it was detached or unchained, or it is a gradient "
            "computed without create_graph=True"
        )
    if type(node) is not Leaf and node.inputs is None:
        raise ValueError(
            f"graph.dot: the graph of result {i} was freed by a backward with retain_graph=False; draw it before"
        )
    return node


def _form(value: Any) -> str:
    """Shape and dtype."""
    return f"{value.shape} {value.dtype}"


def _value(a: Any) -> str:
    """A constant argument in a few characters, the same in every process (so no addresses)."""
    if hasattr(a, "shape"):
        return _value(a.item()) if a.ndim == 0 else _form(a)
    if isinstance(a, (tuple, list)):
        return f"({', '.join(map(_value, a))})"
    if isinstance(a, slice):
        parts = (a.start, a.stop) if a.step is None else (a.start, a.stop, a.step)
        return ":".join("" if part is None else _value(part) for part in parts)
    if isinstance(a, float):
        return f"{a:.6g}"
    return repr(a) if a is None or isinstance(a, (bool, int, str)) else type(a).__name__


def _quoted(text: str) -> str:
    """Text as a quoted string of DOT: what Graphviz would take for an escape or an entity is shown as it is."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;").replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else f"\\\\x{ord(c):02x}" for c in text) + '"'
