"""Pictures of computation graphs: what was recorded behind a result, as DOT text or a drawn file.

Recording lives in minidl.autograd.function; nothing here computes or changes a graph.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minidl.autograd import engine
from minidl.autograd.node import Application, Leaf, Node, Output
from minidl.autograd.variable import Variable
from minidl.common.arrays import host
from minidl.layers.layer import Layer

__all__ = ["dot", "render"]

Named: TypeAlias = Layer | Mapping[str, Variable]  # what has names for Variables

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
_ESCAPES = {"\\": "\\\\", '"': '\\"', "&": "&amp;", "\n": "\\n"}
_FEW = 8  # so many numbers are shown one by one, of more their range
_LARGEST = 100  # functions in a picture that a notebook shows by itself


def dot(
    *results: Variable,
    model: Named | None = None,
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
    model: Named | None = None,
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
    if node is None or not node.inputs:
        return ""
    functions, _ = engine.reach([node])
    if len(functions) > _LARGEST:
        return ""
    try:
        svg = _draw(dot(result).encode(), Path("graph.svg")).decode()
    except (OSError, RuntimeError):
        return ""
    picture = svg[svg.find("<svg") :]
    return picture.replace('fill="white"', 'fill="none"', 1)  # the page's own background


class Arrow(NamedTuple):
    """What flows from where to where; ``source`` is a node, or the key of a constant."""

    source: Any
    value: Any
    target: str


class Constant(NamedTuple):
    key: str
    value: Any
    title: str


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
        self.functions: list[Any] = []
        for node in reversed(applications):
            # An Output is drawn as an arrow, unless it was cut from its application.
            if type(node) is not Output or not node.inputs:
                self.functions.append(node)
        self.titles = names | self._own_names(names)
        self.keys: dict[Any, str] = {}
        for i, node in enumerate(self.leaves):
            self.keys[node] = f"x{i}"
        for i, node in enumerate(self.functions):
            self.keys[node] = f"f{i}"
        self.constants: list[Constant] = []
        self.keys_of_arrays: dict[int, str] = {}  # by id: the graph keeps them alive
        self.arrows: list[Arrow] = []
        for node in self.functions:
            self.arrows += self._arguments(node)
        for i, result in enumerate(results):
            self.arrows.append(Arrow(roots[i], result._raw, f"y{i}"))
        self.flows = {arrow.source: arrow.value for arrow in self.arrows}

    def text(self) -> str:
        lines = ["digraph {\n", _HEADER]
        for i, result in enumerate(self.results):
            lines.append(self._result(f"y{i}", result))
        lines += map(self._leaf, self.leaves)
        lines += map(self._constant, self.constants)
        lines += map(self._function, self.functions)
        lines += map(self._arrow, self.arrows)
        return "".join([*lines, "}\n"])

    def _own_names(self, names: Mapping[int, str]) -> dict[int, str]:
        """Names of leaves that the model does not name; numbered where several have the same."""
        owners: dict[int, str] = {}
        unnamed = [leaf for leaf in self.leaves if id(leaf) not in names]
        for leaf in unnamed:
            owners[id(leaf.owner())] = _owner_name(leaf)
        count = Counter(owners.values())
        seen: Counter[str] = Counter()
        for owner, name in owners.items():
            if name and count[name] > 1:
                seen[name] += 1
                owners[owner] = f"{name} #{seen[name]}"
        titles = {id(leaf): owners[id(leaf.owner())] for leaf in unnamed}
        return {key: title for key, title in titles.items() if title}

    def _arguments(self, node: Any) -> Iterator[Arrow]:
        """The arrows into a function, in the order of its arguments."""
        if not node.inputs or type(node) is Output:
            return
        key = self.keys[node]
        for place, value in enumerate(node.args):
            source = node.inputs[place]
            if source is None and _is_shown(node, place, value):
                source = self._key_of_constant(node, value)
            if source is not None:
                yield Arrow(source, value, key)

    def _key_of_constant(self, node: Application, value: Any) -> str:
        """One box for an array, however often it is used; one for each use of a number."""
        key = f"c{len(self.constants)}"
        if np.ndim(value) == 0:
            self.constants.append(Constant(key, value, f"{value:.6g}"))
            return key
        if id(value) not in self.keys_of_arrays:
            self.keys_of_arrays[id(value)] = key
            title = self._title_of_constant(node, value)
            self.constants.append(Constant(key, value, title))
        return self.keys_of_arrays[id(value)]

    def _title_of_constant(self, node: Application, value: Any) -> str:
        if id(value) in self.titles:
            return self.titles[id(value)]
        for leaf in node.constants:
            owner = leaf.owner()
            if owner is not None and owner._raw is value and owner.name:
                return str(owner.name)
        return "constant"

    def _result(self, key: str, result: Variable) -> str:
        facts = self._facts(result._raw, result)
        return _box(key, [result.name or key, *facts], _RESULT)

    def _leaf(self, leaf: Leaf) -> str:
        key = self.keys[leaf]
        value = self.flows[leaf]
        title = self.titles.get(id(leaf), key)
        if leaf.stale:
            return _box(key, [title, *self._facts(value), "older value"], _ENDED)
        return _box(key, [title, *self._facts(value, leaf.owner())], _LEAF)

    def _constant(self, constant: Constant) -> str:
        facts = self._facts(constant.value) if np.ndim(constant.value) else []
        return _box(constant.key, [constant.title, *facts], _CONSTANT)

    def _function(self, node: Any) -> str:
        key = self.keys[node]
        title = node.name
        owner_name = _owner_name(node)
        if owner_name and node not in self.roots:
            title = f"{owner_name} = {title}"
        if not node.inputs:
            end = "freed" if node.inputs is None else "cut"
            return _box(key, [title, end], _ENDED)
        facts = self._facts(node.output, _owner(node))
        return _box(key, [title, *facts], _FUNCTION)

    def _arrow(self, arrow: Arrow) -> str:
        source = arrow.source
        if type(source) is Output and source.inputs:  # one of several outputs of its application
            key = self.keys[source.inputs[0]]
            label = f'label=" [{source.index}] {_form(arrow.value)}"'
            return f"  {key} -> {arrow.target} [{label}]\n"
        key = self.keys.get(source, source)  # a constant's key stands for itself
        return f"  {key} -> {arrow.target}\n"

    def _facts(self, value: Any, owner: Variable | None = None) -> list[str]:
        """Form, and on request the numbers of a value and of the gradient its Variable holds."""
        facts = [_form(value)]
        if self.values and type(value) is not tuple:
            facts.append(_numbers(value))
        if self.gradients and owner is not None and owner.grad is not None:
            facts.append(f"grad {_numbers(owner.grad._raw)}")
        return facts


def _names_of(model: Named | None) -> dict[int, str]:
    """A model's names by the id of leaf and of array: a frozen parameter has no leaf."""
    if model is None:
        return {}
    items = model.items() if isinstance(model, Mapping) else model.named_parameters()
    names = {}
    for name, variable in items:
        if not variable.lazy:
            names[id(variable._raw)] = name
            if variable._node is not None:
                names[id(variable._node)] = name
    return names


def _is_shown(node: Application, place: int, value: Any) -> bool:
    """Arrays, and the numbers that are computed with; axes, shapes and flags are not."""
    if np.ndim(value) > 0:
        return hasattr(value, "dtype")
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    arity = node.function.arity
    return arity is not None and place < arity


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


def _owner(node: Any) -> Variable | None:
    """The Variable it belongs to, if that is still there."""
    return None if node.owner is None else node.owner()


def _owner_name(node: Any) -> str:
    owner = _owner(node)
    return "" if owner is None else owner.name or ""


def _form(value: Any) -> str:
    if type(value) is tuple:
        return f"{len(value)} outputs"
    return f"{value.shape} {value.dtype}"


def _numbers(value: Any) -> str:
    a = np.asarray(host(value))
    if a.size <= _FEW:
        return np.array2string(a, precision=4, separator=", ")
    if a.dtype.kind == "b":
        return f"{np.count_nonzero(a)} of {a.size} true"
    low = f"{a.min():.4g}"
    high = f"{a.max():.4g}"
    return f"{low} .. {high}, mean {a.mean():.4g}"


def _box(key: str, lines: list[str], look: str) -> str:
    """The line of a box; what Graphviz would take for an escape or an entity is shown as it is."""
    label = "\n".join(lines)
    for character, escaped in _ESCAPES.items():
        label = label.replace(character, escaped)
    for character in set(label):
        if not character.isprintable():
            label = label.replace(character, f"\\\\x{ord(character):02x}")
    return f'  {key} [label="{label}", {look}]\n'
