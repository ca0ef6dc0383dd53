"""The table of a layer's parts: as text for ``Layer.summary()``, as HTML for notebooks.

The walk over the parts is in tree.py.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from minidl.autograd import Parameter, no_grad, test_mode
from minidl.common import random
from minidl.common.html import card, table
from minidl.layers.tree import Tree, walk
from minidl.layers.values import buffers_of

if TYPE_CHECKING:
    from minidl.layers.layer import Layer


class Row(NamedTuple):
    """A row of the table; its values are texts."""

    name: str
    layer: str
    output: str
    parameters: str


def text_table(model: Layer, inputs: tuple[Any, ...]) -> str:
    """The layers in a model, and the shapes of what they give for some inputs, as text."""
    outputs: dict[int, str] = {}
    if inputs:
        model = _run_copy(model, inputs, outputs)
    rows, total = _rows(model, outputs)
    rows.insert(0, Row("name", "layer", "output" if inputs else "", "parameters"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    head, *lines = [_line(row, widths) for row in rows]
    rule = "-" * max(map(len, [head, *lines]))
    return "\n".join([head, rule, *lines, rule, total])


def html_table(model: Layer) -> str:
    """The layers in a model as HTML."""
    (first, *rows), total = _rows(model, {})
    cells = [(row.name, row.layer, row.parameters) for row in rows]
    body = table(("name", "layer", "parameters"), cells) if cells else ""
    return card(first.layer, total, body)


def nested_repr(layer: Tree, parts: list[tuple[str, Any]]) -> str:
    """The layer's type, and under it a line or more for each part."""
    name = type(layer).__name__
    if not parts:
        return f"{name}()"
    lines = [f"{name}("]
    for key, part in parts:
        line = f"{key}: {_part(part)}"
        lines.append(line.replace("\n", "\n  "))
    return "\n  ".join(lines) + "\n)"


def _part(part: Any) -> str:
    if isinstance(part, Parameter):
        return "Parameter (no data yet)" if part.lazy else f"Parameter {part.shape}"
    if isinstance(part, Tree):
        return repr(part)
    return str(getattr(part, "__name__", repr(part)))


def _run_copy(model: Layer, inputs: tuple[Any, ...], outputs: dict[int, str]) -> Layer:
    """A copy of the model, run on the inputs; output shapes are noted by the layers' ids."""
    model = copy.deepcopy(model)
    model.reset_state()  # which may be of another batch size
    for layer in model.sublayers():
        _watch(layer, outputs)
    with no_grad(), test_mode(), random.restoring():
        model(*inputs)
    return model


def _watch(layer: Layer, outputs: dict[int, str]) -> None:
    """Let the layer note the shape of its output under its id."""
    forward = layer.forward

    def watched(*inputs: Any, **settings: Any) -> Any:
        y = forward(*inputs, **settings)
        parts = y if isinstance(y, tuple | list) else [y]
        outputs[id(layer)] = ", ".join(str(getattr(part, "shape", "?")) for part in parts)
        return y

    layer.forward = watched  # type: ignore[method-assign]  # of this one layer, which is a copy


def _rows(model: Layer, outputs: dict[int, str]) -> tuple[list[Row], str]:
    """A row for each layer, and a line about all parameters."""
    entries = walk(model).entries
    parameters = [(owner, part) for _, owner, part in entries if isinstance(part, Parameter)]
    rows = []
    for name, _, layer in entries:
        if isinstance(layer, Tree):
            label = repr(layer)
            if "\n" in label:
                label = type(layer).__name__
            output = outputs.get(id(layer), "")
            own = [p for owner, p in parameters if owner is layer]
            rows.append(Row(name, label, output, _count(own)))
    return rows, _total(model)


def _total(model: Layer) -> str:
    """A line about all parameters and buffers."""
    parameters = model.parameters()
    known = [p for p in parameters if not p.lazy]
    total = sum(p.size for p in known)
    trained = sum(p.size for p in known if p.requires_grad)
    line = f"{total:,} parameters, {trained:,} of them trained"
    buffers = [buffer.data for buffer in buffers_of(model).values() if not buffer.lazy]
    if buffers:
        numbers = sum(array.size for array in buffers)
        line += f"; {numbers:,} numbers in buffers"
    if len(known) < len(parameters):
        line += "; ? is learned at first use"
    return line


def _count(parameters: list[Parameter]) -> str:
    if not parameters:
        return ""
    if any(p.lazy for p in parameters):
        return "?"
    return f"{sum(p.size for p in parameters):,}"


def _line(row: Row, widths: list[int]) -> str:
    """A row as a line of text; a column without any text is left out."""
    *left, right = row
    *left_widths, right_width = widths
    cells = [text.ljust(n) for text, n in zip(left, left_widths) if n]
    cells.append(right.rjust(right_width))
    return "  ".join(cells).rstrip()
