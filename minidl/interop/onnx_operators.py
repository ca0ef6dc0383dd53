"""Which of minidl's functions is which operator of ONNX: a table of rules by Function object.

Recording a model and writing the file is in onnx.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd.function import Function, identity
from minidl.autograd.node import Application
from minidl.functions import elementwise, indexing, recurrent, shape

if TYPE_CHECKING:
    from minidl.interop.onnx import Recording

Array = npt.NDArray[Any]
# A rule gets the recording, the application, and its arguments: names of what was computed, or
# constants. It gives the name of the output (or of each), None if there is no ONNX form.
Rule: TypeAlias = "Callable[[Recording, Application, list[Any]], Any]"
# Settings that rules look at; an application with any other is refused.
SETTINGS = {"axis", "keepdims", "return_sequences"}
LARGE = 2**63 - 1


def _argument(node: Application, place: int, name: str, default: Any) -> Any:
    """An argument that is no array, wherever it was given."""
    return node.args[place] if len(node.args) > place else node.settings.get(name, default)


def _cast(r: Recording, name: str, dtype: Any) -> str:
    import onnx

    to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return str(r.add("Cast", name, to=to))


def _promoted(r: Recording, node: Application, args: Sequence[Any]) -> list[Any]:
    """Arguments in the dtype of the output: ONNX promotes nothing."""
    dtype = node.output.dtype
    return [
        _cast(r, a, dtype) if isinstance(a, str) and value.dtype != dtype else a
        for a, value in zip(args, node.args)
    ]


def _elementwise(operator: str, arity: int) -> Rule:
    def rule(r: Recording, node: Application, args: list[Any]) -> Any:
        return r.add(operator, *_promoted(r, node, args[:arity]), like=node.output.dtype)

    return rule


def _along_axis(operator: str) -> Rule:
    def rule(r: Recording, node: Application, args: list[Any]) -> Any:
        axis = _argument(node, 1, "axis", -1)
        if not isinstance(axis, int | np.integer):
            return None
        return r.add(operator, args[0], axis=int(axis))

    return rule


def _reduction(operator: str) -> Rule:
    def rule(r: Recording, node: Application, args: list[Any]) -> Any:
        if len(args) > 2:
            return None
        axis = _argument(node, 1, "axis", None)
        axes = range(node.args[0].ndim) if axis is None else np.atleast_1d(axis)
        keepdims = int(node.settings.get("keepdims", False))
        return r.add(
            operator, args[0], np.array([int(a) for a in axes], np.int64), keepdims=keepdims
        )

    return rule


def _axes(operator: str) -> Rule:
    def rule(r: Recording, node: Application, args: list[Any]) -> Any:
        axis = _argument(node, 1, "axis", None)
        if axis is None:
            axis = [i for i, n in enumerate(node.args[0].shape) if n == 1]
        return r.add(operator, args[0], np.atleast_1d(np.asarray(axis, np.int64)))

    return rule


def _leaky_relu(r: Recording, node: Application, args: list[Any]) -> Any:
    slope = _argument(node, 1, "slope", 0.01)
    if np.ndim(slope):
        return None
    return r.add("LeakyRelu", args[0], alpha=float(slope))


def _gelu(r: Recording, node: Application, args: list[Any]) -> Any:
    approximate = "tanh" if _argument(node, 1, "approximate", False) else "none"
    return r.add("Gelu", args[0], approximate=approximate)


def _clip(r: Recording, node: Application, args: list[Any]) -> Any:
    """Operator by operator, as bounds may be arrays; the upper one wins, as NumPy has it."""
    args = _promoted(r, node, args)
    x, low, high = [*args, None, None][:3]
    if low is not None:
        x = r.add("Max", x, low, like=node.output.dtype)
    if high is not None:
        x = r.add("Min", x, high, like=node.output.dtype)
    return x


def _linear(r: Recording, node: Application, args: list[Any]) -> Any:
    x, w, b = [*_promoted(r, node, args), None][:3]
    if b is None:
        return r.add("MatMul", x, w, like=node.output.dtype)
    if node.args[0].ndim == 2:
        return r.add("Gemm", x, w, b, like=node.output.dtype)
    product = r.add("MatMul", x, w, like=node.output.dtype)
    return r.add("Add", product, b, like=node.output.dtype)


# ---- shapes --------------------------------------------------------------------------------------


def _reshape(r: Recording, node: Application, args: list[Any]) -> Any:
    """First axes that stay are written as 0, the next one as -1: they may be longer later."""
    before = node.args[0].shape
    after = node.output.shape
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    lengths = [0] * same + [-1, *after[same + 1 :]]
    return r.add("Reshape", args[0], np.array(lengths[: len(after)], np.int64))


def _ravel(r: Recording, node: Application, args: list[Any]) -> Any:
    return r.add("Reshape", args[0], np.array([-1], np.int64))


def _swapaxes(r: Recording, node: Application, args: list[Any]) -> Any:
    order = list(range(node.args[0].ndim))
    i, j = node.args[1:3]
    order[i], order[j] = order[j], order[i]
    return r.add("Transpose", args[0], perm=order)


def _transpose(r: Recording, node: Application, args: list[Any]) -> Any:
    n = node.args[0].ndim
    axes = _argument(node, 1, "axes", None)
    order = range(n)[::-1] if axes is None else [int(a) % n for a in np.atleast_1d(axes)]
    return r.add("Transpose", args[0], perm=list(order))


def _concatenate(r: Recording, node: Application, args: list[Any]) -> Any:
    axis = int(node.settings.get("axis", 0))
    return r.add("Concat", *_promoted(r, node, args), axis=axis, like=node.output.dtype)


def _split(r: Recording, node: Application, args: list[Any]) -> Any:
    axis = int(_argument(node, 2, "axis", 0))
    lengths = np.array([y.shape[axis] for y in node.output], np.int64)
    names = r.add("Split", args[0], lengths, outputs=len(lengths), axis=axis)
    return names if len(lengths) > 1 else [names]


def _astype(r: Recording, node: Application, args: list[Any]) -> Any:
    return _cast(r, args[0], node.output.dtype)


def _getitem(r: Recording, node: Application, args: list[Any]) -> Any:
    """Slices of all axes at once, then, from the last on, integers that pick one, and new axes."""
    x = args[0]
    index = list(node.args[1:])
    if not all(_is_basic(i) for i in index):
        raise ValueError(
            "onnx.export: indices other than integers, slices, None and ... have no ONNX form here"
        )
    index = _without_ellipsis(index, node.args[0].ndim)
    per_axis = [i for i in index if i is not None]
    cuts = [(*_bounds(i), axis) for axis, i in enumerate(per_axis) if _cuts(i)]
    if cuts:
        first, last, step, axes = (np.array(column, np.int64) for column in zip(*cuts))
        x = r.add("Slice", x, first, last, axes, step)
    for axis, i in reversed([*enumerate(per_axis)]):
        if not isinstance(i, slice):
            x = r.add("Gather", x, np.array(i, np.int64), axis=axis)
    remaining = [i for i in index if i is None or isinstance(i, slice)]
    new = [place for place, i in enumerate(remaining) if i is None]
    return r.add("Unsqueeze", x, np.array(new, np.int64)) if new else x


def _is_basic(i: Any) -> bool:
    return (
        i is None or i is ... or (isinstance(i, int | np.integer | slice) and type(i) is not bool)
    )


def _without_ellipsis(index: list[Any], ndim: int) -> list[Any]:
    """The index with slices for the axes that it leaves out."""
    named = sum(i is not None and i is not ... for i in index)
    at = next((k for k, i in enumerate(index) if i is ...), len(index))
    return [*index[:at], *[slice(None)] * (ndim - named), *index[at + 1 :]]


def _cuts(i: Any) -> bool:
    return isinstance(i, slice) and _bounds(i) != (0, LARGE, 1)


def _bounds(i: slice) -> tuple[int, int, int]:
    """Start, stop and step as ONNX wants them, the ends left out as very large numbers."""
    step = 1 if i.step is None else int(i.step)
    start = (0 if step > 0 else LARGE) if i.start is None else int(i.start)
    stop = (LARGE if step > 0 else -LARGE) if i.stop is None else int(i.stop)
    return start, stop, step


# ---- recurrent networks --------------------------------------------------------------------------


def _recurrent(operator: str, gates: Sequence[int], states: int) -> Rule:
    """ONNX puts time first and a direction before weights; ``gates``: its gates' places in ours."""

    def theirs(a: Array) -> Array:
        parts = np.split(a, len(gates), axis=-1)
        return np.concatenate([parts[i] for i in gates], axis=-1).T[None]

    def rule(r: Recording, node: Application, args: list[Any]) -> Any:
        if any(isinstance(a, str) and a not in r.constants for a in args[1:]):
            return None  # a first state or weights that are computed
        starts = node.args[1 : 1 + states]
        w_x, w_h, b = node.args[1 + states :]
        bias = np.concatenate([theirs(b), np.zeros_like(b)[None]], axis=-1)
        inputs = [r.add("Transpose", args[0], perm=[1, 0, 2]), theirs(w_x), theirs(w_h), bias]
        if any(start.any() for start in starts):
            inputs += ["", *[start[None] for start in starts]]
        hidden = w_h.shape[0]
        ys = r.add(
            operator, *inputs, outputs=1 + states, like=node.args[0].dtype, hidden_size=hidden
        )
        if node.settings.get("return_sequences", True):
            sequence = r.add("Squeeze", ys[0], np.array([1], np.int64))
            h = r.add("Transpose", sequence, perm=[1, 0, 2])
        else:
            h = r.add("Squeeze", ys[1], np.array([0], np.int64))
        return [h, r.add("Squeeze", ys[2], np.array([0], np.int64))] if states == 2 else h

    return rule


# fmt: off
RULES: dict[Function, Rule] = {
    F.relu: _elementwise("Relu", 1),         F.tanh: _elementwise("Tanh", 1),
    F.sigmoid: _elementwise("Sigmoid", 1),   F.softplus: _elementwise("Softplus", 1),
    F.exp: _elementwise("Exp", 1),           F.log: _elementwise("Log", 1),
    F.sqrt: _elementwise("Sqrt", 1),         F.erf: _elementwise("Erf", 1),
    F.sin: _elementwise("Sin", 1),           F.cos: _elementwise("Cos", 1),
    F.tan: _elementwise("Tan", 1),           F.arctan: _elementwise("Atan", 1),
    F.sinh: _elementwise("Sinh", 1),         F.cosh: _elementwise("Cosh", 1),
    F.abs: _elementwise("Abs", 1),           F.negative: _elementwise("Neg", 1),
    F.positive: _elementwise("Identity", 1), identity: _elementwise("Identity", 1),
    F.add: _elementwise("Add", 2),           F.subtract: _elementwise("Sub", 2),
    F.multiply: _elementwise("Mul", 2),      F.divide: _elementwise("Div", 2),
    F.maximum: _elementwise("Max", 2),       F.minimum: _elementwise("Min", 2),
    F.power: _elementwise("Pow", 2),         F.matmul: _elementwise("MatMul", 2),
    F.square: lambda r, node, args: r.add("Mul", args[0], args[0]),
    F.leaky_relu: _leaky_relu,
    F.gelu: _gelu,
    elementwise._clip: _clip,
    F.softmax: _along_axis("Softmax"),
    F.log_softmax: _along_axis("LogSoftmax"),
    F.sum: _reduction("ReduceSum"),
    F.mean: _reduction("ReduceMean"),
    F.max: _reduction("ReduceMax"),
    F.min: _reduction("ReduceMin"),
    F.linear: _linear,
    F.reshape: _reshape,
    F.ravel: _ravel,
    F.swapaxes: _swapaxes,
    F.transpose: _transpose,
    F.expand_dims: _axes("Unsqueeze"),
    F.squeeze: _axes("Squeeze"),
    indexing._pick: _getitem,
    shape._concatenate: _concatenate,
    shape._split: _split,
    elementwise._to_floating: _astype,
    recurrent.rnn: _recurrent("RNN", [0], 1),
    recurrent.lstm: _recurrent("LSTM", [1, 2, 0, 3], 2),
}
# fmt: on
