"""Pictures of computation graphs: what was recorded behind a result, as DOT text or a rendered file.

Recording lives in minidl.autograd.function; nothing here computes or changes a graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidl.autograd import engine
from minidl.autograd.display import DisplayMixin
from minidl.autograd.node import Node, Output
from minidl.autograd.variable import Variable

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = """\
  graph [fontname="Helvetica", fontsize=13, labelloc=t, nodesep=0.3, ranksep=0.35, ordering=in]
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled", height=0.3, margin="0.14,0.06"]
  edge [fontname="Helvetica", fontsize=9, color="#64748b", fontcolor="#64748b", arrowsize=0.6]
"""
_LEAF = 'fillcolor="#dbeafe", color="#3b82f6"'
_FUNCTION = 'fillcolor="#fef3c7", color="#d97706"'
_RESULT = 'fillcolor="#dcfce7", color="#16a34a"'
_ENDED = 'style="rounded,dashed", color="#94a3b8", fontcolor="#475569"'


def dot(*results: Variable) -> str:
    """The computation graph behind recorded results, as text in Graphviz's DOT language.

    Blue: the Variables it starts from; amber: the functions applied, with the shape and dtype they gave; green: the
    results; dashed: where it was cut or freed, or a Variable with a newer value. Equal programs give equal text.

    Args:
        results: Variables with a graph; gradients too, if computed with ``create_graph=True``.

    Raises:
        TypeError: a result is not a Variable.
        ValueError: a result has no graph (any more).

    >>> print(dot(Variable(2.0, name="x") * 3))
    digraph {
    ...
      f0 [label="multiply\\n() float64", fillcolor="#fef3c7", color="#d97706"]
      x0 -> f0
      f0 -> y0
    }
    """
    roots = [_checked(result, i) for i, result in enumerate(results)]
    recorded, leaves = (nodes[::-1] for nodes in engine.reach(dict.fromkeys(roots)))  # oldest first
    functions: list[Any] = [
        node for node in recorded if type(node) is not Output or not node.inputs
    ]
    names: dict[Any, str] = {leaf: f"x{i}" for i, leaf in enumerate(leaves)}
    names |= {node: f"f{i}" for i, node in enumerate(functions)}
    arrows = [
        (parent, arg, names[node])
        for node in functions
        if node.inputs
        for parent, arg in zip(node.inputs, node.args)
        if parent is not None
    ]
    arrows += [(root, result, f"y{i}") for i, (root, result) in enumerate(zip(roots, results))]
    values = {
        source: value for source, value, _ in arrows
    }  # a leaf's Variable may be gone, or have a newer one

    lines = [
        _box(f"y{i}", result.name or f"y{i}", _form(result), _RESULT)
        for i, result in enumerate(results)
    ]
    for leaf in leaves:
        note, look = ("\nolder value", _ENDED) if leaf.stale else ("", _LEAF)
        lines.append(
            _box(names[leaf], _owner(leaf) or names[leaf], _form(values[leaf]) + note, look)
        )
    for node in functions:
        ended = "freed" if node.inputs is None else "cut"
        form, look = (_form(node.output), _FUNCTION) if node.inputs else (ended, _ENDED)
        known_as = "" if node in roots else _owner(node)
        lines.append(
            _box(names[node], f"{known_as} = {node.name}" if known_as else node.name, form, look)
        )
    for source, value, target in arrows:
        if (
            type(source) is Output and source.inputs
        ):  # one of several outputs is an arrow from its application
            target += f' [label=" [{source.index}] {_form(value)}"]'
            source = source.inputs[0]
        lines.append(f"  {names[source]} -> {target}\n")
    return f"digraph {{\n{_HEADER}{''.join(lines)}}}\n"


def render(*results: Variable, path: str | Path = "graph.svg") -> Path:
    """Draw the computation graph behind the results, which ``dot`` describes, into a file; return the file's path.

    Args:
        results: as for ``dot``.
        path: its ending is a format of Graphviz: ``.svg``, ``.png``, ``.pdf``.., or ``.dot`` for the text alone.

    Raises:
        RuntimeError: Graphviz is not installed, or it failed, as on an ending that it does not know.
        TypeError, ValueError: as ``dot``.

    >>> import tempfile
    >>> render(Variable([1.0, 2.0]).sum(), path=tempfile.gettempdir() + "/sum.dot").name
    'sum.dot'
    """
    import subprocess  # here, as minidl is imported far more often than it draws
    from pathlib import Path

    path, picture = Path(path), dot(*results).encode()
    if path.suffix != ".dot":
        try:
            done = subprocess.run(
                ["dot", f"-T{path.suffix[1:].lower()}"], input=picture, capture_output=True
            )
        except FileNotFoundError:
            raise RuntimeError(
                f"graph.render: install Graphviz (https://graphviz.org) to draw {path.name}, or write "
                "the text with a path ending in .dot"
            ) from None
        if done.returncode:
            raise RuntimeError(
                f"graph.render: Graphviz failed: {done.stderr.decode(errors='replace').strip()}"
            )
        picture = done.stdout
    path.write_bytes(picture)
    return path


def _drawing(result: Variable, largest: int = 100) -> str:
    """SVG of the graph behind a result for a notebook; nothing if it is too large to be read, or cannot be drawn."""
    import subprocess

    node = result._node
    if node is None or not node.inputs or len(engine.reach([node])[0]) > largest:
        return ""
    try:
        svg = subprocess.run(
            ["dot", "-Tsvg"], input=dot(result).encode(), capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    text = svg.decode()
    return text[text.find("<svg") :].replace(
        'fill="white"', 'fill="none"', 1
    )  # the page's own background


DisplayMixin.drawing = staticmethod(_drawing)


def _checked(result: Any, i: int) -> Node:
    """The node of a result, which must have a graph."""
    if not isinstance(result, Variable):
        raise TypeError(f"graph.dot: result {i} is not a Variable but {type(result).__name__}")
    if result._node is None or result._node.inputs is None:
        raise ValueError(
            f"graph.dot: result {i} of shape {result.shape} has no graph: it needs no gradient, was cut "
            "off or freed (no_grad, detach, unchain, retain_graph=False), or lacks create_graph=True"
        )
    return result._node


def _owner(node: Any) -> str:
    """The name of the Variable it belongs to, if there is one."""
    owner = node.owner() if node.owner is not None else None
    return (owner is not None and owner.name) or ""


def _form(value: Any) -> str:
    return f"{len(value)} outputs" if type(value) is tuple else f"{value.shape} {value.dtype}"


def _box(me: str, title: str, form: str, look: str) -> str:
    """The line of a box; what Graphviz would take for an escape or an entity is shown as it is."""
    label = (
        f"{title}\n{form}".replace("\\", "\\\\")
        .replace('"', '\\"')
        .replace("&", "&amp;")
        .replace("\n", "\\n")
    )
    label = "".join(c if c.isprintable() else f"\\\\x{ord(c):02x}" for c in label)
    return f'  {me} [label="{label}", {look}]\n'
