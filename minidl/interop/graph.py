"""Pictures of computation graphs: what was recorded behind a result, as DOT text or a drawn file.

Recording lives in minidl.autograd.function; nothing here computes or changes a graph.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.autograd import engine
from minidl.autograd.node import Application, Leaf, Node, Output
from minidl.autograd.variable import Variable
from minidl.common.arrays import host
from minidl.layers.layer import Layer

__all__ = ["dot", "render"]

_HEADER = """\
  graph [fontname="Helvetica", fontsize=13, labelloc=t, nodesep=0.3, ranksep=0.35, ordering=in]
  node [fontname="Helvetica", fontsize=11, height=0.3, margin="0.14,0.06"]
  node [shape=box, style="rounded,filled"]
  edge [fontname="Helvetica", fontsize=9, color="#64748b", fontcolor="#64748b", arrowsize=0.6]
"""
_LEAF = 'fillcolor="#dbeafe", color="#3b82f6"'
_FUNCTION = 'fillcolor="#fef3c7", color="#d97706"'
_RESULT = 'fillcolor="#dcfce7", color="#16a34a"'
_CONSTANT = 'fillcolor="#f1f5f9", color="#cbd5e1", fontcolor="#475569"'
_ENDED = 'style="rounded,dashed", color="#94a3b8", fontcolor="#475569"'
_FEW = 8  # so many numbers are shown one by one, of more their range
_LARGEST = 100  # functions in a picture that a notebook shows by itself


def dot(
    *results: Variable,
    model: Layer | Mapping[str, Variable] | None = None,
    values: bool = False,
    gradients: bool = False,
) -> str:
    """The computation graph behind recorded results, as text in Graphviz's DOT language.

    Blue: the Variables it starts from; grey: constants; amber: the functions applied, with the
    shape and dtype they gave; green: the results; dashed: where it was cut or freed, or a Variable
    with a newer value. Equal programs give equal text.

    Args:
        results: Variables with a graph; gradients too, if computed with ``create_graph=True``.
        model: whose parameters are shown by their dotted names, such as ``layers.0.w``; or a dict
            of names and Variables. Without it a Variable is shown by its own name.
        values: show the numbers, or their range where there are many.
        gradients: show those that Variables hold in ``.grad``.

    Raises:
        TypeError: a result is not a Variable.
        ValueError: a result has no graph (any more).

    >>> print(dot(Variable(2.0, name="x") * 3))
    digraph {
    ...
      c0 [label="3", fillcolor="#f1f5f9", color="#cbd5e1", fontcolor="#475569"]
      f0 [label="multiply\\n() float64", fillcolor="#fef3c7", color="#d97706"]
      x0 -> f0
      c0 -> f0
      f0 -> y0
    }
    """
    roots = [_check(result, i) for i, result in enumerate(results)]
    return _Picture(results, roots, _names_of(model), values, gradients).text()


def render(
    *results: Variable,
    path: str | Path = "graph.svg",
    model: Layer | Mapping[str, Variable] | None = None,
    values: bool = False,
    gradients: bool = False,
) -> Path:
    """Draw the computation graph that ``dot`` describes into a file; return its path.

    Args:
        results, model, values, gradients: as for ``dot``.
        path: its ending is a format of Graphviz: ``.svg``, ``.png``, ``.pdf``.., or ``.dot`` for
            the text alone.

    Raises:
        RuntimeError: Graphviz is not installed, or it failed, as on an ending that it does not
        know.
        TypeError, ValueError: as ``dot``.

    >>> import tempfile
    >>> render(Variable([1.0, 2.0]).sum(), path=tempfile.gettempdir() + "/sum.dot").name
    'sum.dot'
    """
    path = Path(path)
    picture = dot(*results, model=model, values=values, gradients=gradients).encode()
    if path.suffix != ".dot":
        picture = _draw(picture, path)
    path.write_bytes(picture)
    return path


def _draw(text: bytes, path: Path) -> bytes:
    """What Graphviz makes of a text, in the format that the path's ending names."""
    command = ["dot", f"-T{path.suffix[1:].lower()}"]
    try:
        done = subprocess.run(command, input=text, capture_output=True)
    except FileNotFoundError:
        raise RuntimeError(
            f"graph.render: install Graphviz (https://graphviz.org) to draw {path.name}, or write "
            "the text with a path ending in .dot"
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"graph.render: Graphviz failed: {said}")
    return done.stdout


def notebook_drawing(result: Variable) -> str:
    """SVG of a result's graph for a notebook; "" if it is large, or cannot be drawn."""
    node = result._node
    if node is None or not node.inputs or len(engine.reach([node])[0]) > _LARGEST:
        return ""
    try:
        svg = _draw(dot(result).encode(), Path("graph.svg")).decode()
    except (OSError, RuntimeError):
        return ""
    picture = svg[svg.find("<svg") :]
    return picture.replace('fill="white"', 'fill="none"', 1)  # the page's own background


class _Picture:
    """Boxes and arrows. Leaves are called x0.., constants c0.., functions f0.., results y0.."""

    def __init__(
        self,
        results: Sequence[Variable],
        roots: list[Node],
        names: dict[int, str],
        values: bool,
        gradients: bool,
    ) -> None:
        self.results = results
        self.roots = roots
        self.values = values
        self.gradients = gradients
        applications, leaves = engine.reach(dict.fromkeys(roots))
        self.leaves = leaves[::-1]  # oldest first
        # An Output is drawn as an arrow, unless it was cut from its application.
        self.functions: list[Any] = [
            node for node in applications[::-1] if type(node) is not Output or not node.inputs
        ]
        self.titles = names | self._own_names(names)
        self.keys: dict[Any, str] = {leaf: f"x{i}" for i, leaf in enumerate(self.leaves)}
        self.keys |= {node: f"f{i}" for i, node in enumerate(self.functions)}
        self.constants: list[tuple[str, Any, str]] = []  # key, value, title
        self.keys_of_arrays: dict[int, str] = {}  # by id: the graph keeps them alive
        self.arrows: list[tuple[Any, Any, str]] = []  # from, what flows, to
        for node in self.functions:
            self.arrows += self._arguments(node)
        for i, (root, result) in enumerate(zip(roots, results)):
            self.arrows.append((root, result._raw, f"y{i}"))

    def text(self) -> str:
        shapes = {source: value for source, value, _ in self.arrows}
        lines = [self._result(i, result) for i, result in enumerate(self.results)]
        lines += [self._leaf(leaf, shapes[leaf]) for leaf in self.leaves]
        lines += [self._constant(*constant) for constant in self.constants]
        lines += [self._function(node) for node in self.functions]
        lines += [self._arrow(*arrow) for arrow in self.arrows]
        return f"digraph {{\n{_HEADER}{''.join(lines)}}}\n"

    def _own_names(self, names: Mapping[int, str]) -> dict[int, str]:
        """Names of leaves that the model does not name; numbered where several have the same."""
        unnamed = [leaf for leaf in self.leaves if id(leaf) not in names and _owner_name(leaf)]
        owners = {id(leaf.owner()): _owner_name(leaf) for leaf in unnamed}
        count = Counter(owners.values())
        seen: Counter[str] = Counter()
        for owner, name in owners.items():
            if count[name] > 1:
                seen[name] += 1
                owners[owner] = f"{name} #{seen[name]}"
        return {id(leaf): owners[id(leaf.owner())] for leaf in unnamed}

    def _arguments(self, node: Any) -> Iterator[tuple[Any, Any, str]]:
        """The arrows into a function, in the order of its arguments."""
        if not node.inputs or type(node) is Output:
            return
        for place, (parent, value) in enumerate(zip(node.inputs, node.args)):
            if parent is not None:
                yield parent, value, self.keys[node]
            elif _is_shown(node, place, value):
                yield self._key_of_constant(node, value), value, self.keys[node]

    def _key_of_constant(self, node: Application, value: Any) -> str:
        """One box for an array, however often it is used; one for each use of a number."""
        key = f"c{len(self.constants)}"
        if np.ndim(value) == 0:
            self.constants.append((key, value, f"{value:.6g}"))
            return key
        if id(value) not in self.keys_of_arrays:
            self.keys_of_arrays[id(value)] = key
            self.constants.append((key, value, self._title_of_constant(node, value)))
        return self.keys_of_arrays[id(value)]

    def _title_of_constant(self, node: Application, value: Any) -> str:
        if id(value) in self.titles:
            return self.titles[id(value)]
        for leaf in node.constants:
            owner = leaf.owner()
            if owner is not None and owner._raw is value and owner.name:
                return str(owner.name)
        return "constant"

    def _result(self, i: int, result: Variable) -> str:
        return _box(f"y{i}", [result.name or f"y{i}", *self._facts(result._raw, result)], _RESULT)

    def _leaf(self, leaf: Leaf, value: Any) -> str:
        key = self.keys[leaf]
        facts = self._facts(value, None if leaf.stale else leaf.owner())
        if leaf.stale:
            facts.append("older value")
        return _box(key, [self.titles.get(id(leaf), key), *facts], _ENDED if leaf.stale else _LEAF)

    def _constant(self, key: str, value: Any, title: str) -> str:
        return _box(key, [title, *(self._facts(value) if np.ndim(value) else [])], _CONSTANT)

    def _function(self, node: Any) -> str:
        owner_name = "" if node in self.roots else _owner_name(node)
        title = f"{owner_name} = {node.name}" if owner_name else node.name
        if not node.inputs:
            return _box(self.keys[node], [title, "freed" if node.inputs is None else "cut"], _ENDED)
        owner = node.owner() if node.owner is not None else None
        return _box(self.keys[node], [title, *self._facts(node.output, owner)], _FUNCTION)

    def _arrow(self, source: Any, value: Any, target: str) -> str:
        if type(source) is Output and source.inputs:  # one of several outputs of its application
            label = f'label=" [{source.index}] {_form(value)}"'
            return f"  {self.keys[source.inputs[0]]} -> {target} [{label}]\n"
        return f"  {self.keys.get(source, source)} -> {target}\n"

    def _facts(self, value: Any, owner: Variable | None = None) -> list[str]:
        """Form, and on request the numbers of a value and of the gradient its Variable holds."""
        facts = [_form(value)]
        if self.values and type(value) is not tuple:
            facts.append(_numbers(value))
        if self.gradients and owner is not None and owner.grad is not None:
            facts.append(f"grad {_numbers(owner.grad._raw)}")
        return facts


def _names_of(model: Layer | Mapping[str, Variable] | None) -> dict[int, str]:
    """A model's names by the id of leaf and of array: a frozen parameter has no leaf."""
    if model is None:
        return {}
    items = model.items() if isinstance(model, Mapping) else model.named_parameters()
    names = {}
    for name, variable in items:
        if not getattr(variable, "lazy", False):
            names[id(variable._raw)] = name
            if variable._node is not None:
                names[id(variable._node)] = name
    return names


def _is_shown(node: Application, place: int, value: Any) -> bool:
    """Arrays, and the numbers that are computed with; axes, shapes and flags are not."""
    if hasattr(value, "dtype") and np.ndim(value) > 0:
        return True
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return is_number and node.function.arity is not None and place < node.function.arity


def _check(result: Any, i: int) -> Node:
    """The node of a result, which must have a graph."""
    if not isinstance(result, Variable):
        raise TypeError(f"graph.dot: result {i} is not a Variable but {type(result).__name__}")
    if result._node is None or result._node.inputs is None:
        raise ValueError(
            f"graph.dot: result {i} of shape {result.shape} has no graph: it needs no gradient, "
            "was cut off or freed (no_grad, detach, unchain, retain_graph=False), or lacks "
            "create_graph=True"
        )
    return result._node


def _owner_name(node: Any) -> str:
    """The name of the Variable it belongs to, if there is one."""
    owner = node.owner() if node.owner is not None else None
    return str(owner.name) if owner is not None and owner.name else ""


def _form(value: Any) -> str:
    return f"{len(value)} outputs" if type(value) is tuple else f"{value.shape} {value.dtype}"


def _numbers(value: Any) -> str:
    a = np.asarray(host(value))
    if a.size <= _FEW:
        return np.array2string(a, precision=4, separator=", ")
    if a.dtype.kind == "b":
        return f"{np.count_nonzero(a)} of {a.size} true"
    return f"{a.min():.4g} .. {a.max():.4g}, mean {a.mean():.4g}"


def _box(key: str, lines: list[str], look: str) -> str:
    """The line of a box; what Graphviz would take for an escape or an entity is shown as it is."""
    label = "\n".join(lines).replace("\\", "\\\\").replace('"', '\\"')
    label = label.replace("&", "&amp;").replace("\n", "\\n")
    label = "".join(c if c.isprintable() else f"\\\\x{ord(c):02x}" for c in label)
    return f'  {key} [label="{label}", {look}]\n'
