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
# Settings that rules look at; an application with any other is refused.
SETTINGS = {"axis", "keepdims", "return_sequences"}
LARGE = 2**63 - 1  # an end of a slice that is beyond any array


class Call:
    """An application to be written in ONNX, as rules see it.

    ``args`` are names of what was computed before, or constants; ``values`` are the arrays in their
    places, ``output`` is what came out.
    """

    def __init__(self, recording: Recording, node: Application, args: Sequence[Any]) -> None:
        self.recording = recording
        self.args = args
        self.values = node.args
        self.output = node.output
        self.settings = node.settings
        self.dtype = getattr(node.output, "dtype", None)

    def add(self, operator: str, *inputs: Any, **options: Any) -> Any:
        """Note an operation, give its output's name; constants get the dtype of the output."""
        options.setdefault("like", self.dtype)
        return self.recording.add(operator, *inputs, **options)

    def argument(self, place: int, name: str, default: Any) -> Any:
        """An argument that is no array, wherever it was given."""
        if len(self.values) > place:
            return self.values[place]
        return self.settings.get(name, default)

    def promoted(self, *args: Any) -> list[Any]:
        """The first arguments in the dtype of the output: ONNX promotes nothing."""
        return [
            self.cast(a) if isinstance(a, str) and value.dtype != self.dtype else a
            for a, value in zip(args or self.args, self.values)
        ]

    def cast(self, name: str) -> Any:
        from onnx.helper import np_dtype_to_tensor_dtype

        return self.add("Cast", name, to=np_dtype_to_tensor_dtype(self.dtype))


# A rule gives the name of the output, or of each of several; None if there is no ONNX form.
Rule: TypeAlias = Callable[[Call], Any]


def integers(values: Any) -> Array:
    """Axes, shapes and indices are int64 in ONNX."""
    return np.asarray(values, np.int64)


def elementwise_rule(operator: str, arity: int) -> Rule:
    return lambda call: call.add(operator, *call.promoted(*call.args[:arity]))


def along_axis(operator: str) -> Rule:
    def rule(call: Call) -> Any:
        axis = call.argument(1, "axis", -1)
        if not isinstance(axis, int | np.integer):
            return None
        return call.add(operator, call.args[0], axis=int(axis))

    return rule


def reduction(operator: str) -> Rule:
    def rule(call: Call) -> Any:
        if len(call.args) > 2:
            return None
        axis = call.argument(1, "axis", None)
        if axis is None:
            axis = range(call.values[0].ndim)
        keepdims = int(call.settings.get("keepdims", False))
        axes = np.atleast_1d(integers(axis))
        return call.add(operator, call.args[0], axes, like=np.int64, keepdims=keepdims)

    return rule


def leaky_relu(call: Call) -> Any:
    slope = call.argument(1, "slope", 0.01)
    return None if np.ndim(slope) else call.add("LeakyRelu", call.args[0], alpha=float(slope))


def gelu(call: Call) -> Any:
    approximate = "tanh" if call.argument(1, "approximate", False) else "none"
    return call.add("Gelu", call.args[0], approximate=approximate)


def clip(call: Call) -> Any:
    """Operator by operator, as bounds may be arrays; the upper one wins, as NumPy has it."""
    x, low, high = [*call.promoted(), None, None][:3]
    if low is not None:
        x = call.add("Max", x, low)
    if high is not None:
        x = call.add("Min", x, high)
    return x


def linear(call: Call) -> Any:
    x, w, b = [*call.promoted(), None][:3]
    if b is None:
        return call.add("MatMul", x, w)
    if call.values[0].ndim == 2:
        return call.add("Gemm", x, w, b)
    return call.add("Add", call.add("MatMul", x, w), b)


# ---- shapes ------------------------------------------------------------------------------------


def reshape(call: Call) -> Any:
    """First axes that stay are written as 0, the next one as -1: they may be longer later."""
    before = call.values[0].shape
    after = call.output.shape
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    lengths = [0] * same + [-1, *after[same + 1 :]]
    return call.add("Reshape", call.args[0], integers(lengths[: len(after)]), like=np.int64)


def ravel(call: Call) -> Any:
    return call.add("Reshape", call.args[0], integers([-1]), like=np.int64)


def new_or_squeezed_axes(operator: str) -> Rule:
    def rule(call: Call) -> Any:
        axis = call.argument(1, "axis", None)
        if axis is None:
            axis = [i for i, n in enumerate(call.values[0].shape) if n == 1]
        return call.add(operator, call.args[0], np.atleast_1d(integers(axis)), like=np.int64)

    return rule


def swapaxes(call: Call) -> Any:
    order = list(range(call.values[0].ndim))
    i, j = call.values[1:3]
    order[i], order[j] = order[j], order[i]
    return call.add("Transpose", call.args[0], perm=order)


def transpose(call: Call) -> Any:
    n = call.values[0].ndim
    axes = call.argument(1, "axes", None)
    if axes is None:
        axes = range(n)[::-1]
    return call.add("Transpose", call.args[0], perm=[int(a) % n for a in np.atleast_1d(axes)])


def concatenate(call: Call) -> Any:
    return call.add("Concat", *call.promoted(), axis=int(call.settings.get("axis", 0)))


def split(call: Call) -> Any:
    axis = int(call.argument(2, "axis", 0))
    lengths = integers([y.shape[axis] for y in call.output])
    names = call.add("Split", call.args[0], lengths, outputs=len(lengths), axis=axis)
    return names if len(lengths) > 1 else [names]


def getitem(call: Call) -> Any:
    """Slices of all axes at once, then, from the last on, integers that pick one, and new axes."""
    x = call.args[0]
    if not all(map(_is_basic, call.values[1:])):
        raise ValueError(
            "onnx.export: indices other than integers, slices, None and ... have no ONNX form here"
        )
    index = _without_ellipsis(call.values[1:], call.values[0].ndim)
    per_axis = [i for i in index if i is not None]
    cuts = [(*_bounds(i), axis) for axis, i in enumerate(per_axis) if _is_cut(i)]
    if cuts:
        first, last, step, axes = map(integers, zip(*cuts))
        x = call.add("Slice", x, first, last, axes, step, like=np.int64)
    for axis, i in reversed([*enumerate(per_axis)]):
        if not isinstance(i, slice):
            x = call.add("Gather", x, i, axis=axis, like=np.int64)
    remaining = [i for i in index if i is None or isinstance(i, slice)]
    new = [place for place, i in enumerate(remaining) if i is None]
    return call.add("Unsqueeze", x, integers(new), like=np.int64) if new else x


def _is_basic(i: Any) -> bool:
    if isinstance(i, bool):
        return False
    return i is None or i is ... or isinstance(i, int | np.integer | slice)


def _without_ellipsis(index: Sequence[Any], ndim: int) -> list[Any]:
    """The index with slices for the axes that it leaves out."""
    named = sum(i is not None and i is not ... for i in index)
    at = next((k for k, i in enumerate(index) if i is ...), len(index))
    return [*index[:at], *[slice(None)] * (ndim - named), *index[at + 1 :]]


def _is_cut(i: Any) -> bool:
    return isinstance(i, slice) and _bounds(i) != (0, LARGE, 1)


def _bounds(i: slice) -> tuple[int, int, int]:
    """Start, stop and step; ends that were left out are very large numbers."""
    step = 1 if i.step is None else int(i.step)
    start, stop = (0, LARGE) if step > 0 else (LARGE, -LARGE)
    if i.start is not None:
        start = int(i.start)
    if i.stop is not None:
        stop = int(i.stop)
    return start, stop, step


# ---- recurrent networks ------------------------------------------------------------------------


def recurrent_rule(operator: str, gates: Sequence[int], states: int) -> Rule:
    """ONNX has time first and an axis of directions; ``gates`` are its gates' places in ours."""

    def in_their_order(a: Array) -> Array:
        parts = np.split(a, len(gates), axis=-1)
        return np.concatenate([parts[i] for i in gates], axis=-1).T[None]

    def rule(call: Call) -> Any:
        constants = call.recording.constants
        if any(isinstance(a, str) and a not in constants for a in call.args[1:]):
            return None  # a first state or weights that are computed
        starts = call.values[1 : 1 + states]
        w_x, w_h, b = call.values[1 + states :]
        theirs = in_their_order(b)
        inputs: list[Any] = [call.add("Transpose", call.args[0], perm=[1, 0, 2])]
        inputs += [in_their_order(w_x), in_their_order(w_h)]
        inputs.append(np.concatenate([theirs, np.zeros_like(theirs)], axis=-1))
        if any(start.any() for start in starts):
            inputs += ["", *[start[None] for start in starts]]
        hidden = w_h.shape[0]
        names = call.add(operator, *inputs, outputs=1 + states, like=b.dtype, hidden_size=hidden)
        outputs = [_sequence(call, names[0]), *(_state(call, name) for name in names[2:])]
        if not call.settings.get("return_sequences", True):
            outputs[0] = _state(call, names[1])
        return outputs if states > 1 else outputs[0]

    return rule


def _sequence(call: Call, name: str) -> Any:
    squeezed = call.add("Squeeze", name, integers([1]), like=np.int64)
    return call.add("Transpose", squeezed, perm=[1, 0, 2])


def _state(call: Call, name: str) -> Any:
    return call.add("Squeeze", name, integers([0]), like=np.int64)


RULES: dict[Function, Rule] = {
    F.relu: elementwise_rule("Relu", 1),
    F.tanh: elementwise_rule("Tanh", 1),
    F.sigmoid: elementwise_rule("Sigmoid", 1),
    F.softplus: elementwise_rule("Softplus", 1),
    F.exp: elementwise_rule("Exp", 1),
    F.log: elementwise_rule("Log", 1),
    F.sqrt: elementwise_rule("Sqrt", 1),
    F.erf: elementwise_rule("Erf", 1),
    F.sin: elementwise_rule("Sin", 1),
    F.cos: elementwise_rule("Cos", 1),
    F.tan: elementwise_rule("Tan", 1),
    F.arctan: elementwise_rule("Atan", 1),
    F.sinh: elementwise_rule("Sinh", 1),
    F.cosh: elementwise_rule("Cosh", 1),
    F.abs: elementwise_rule("Abs", 1),
    F.negative: elementwise_rule("Neg", 1),
    F.positive: elementwise_rule("Identity", 1),
    identity: elementwise_rule("Identity", 1),
    F.add: elementwise_rule("Add", 2),
    F.subtract: elementwise_rule("Sub", 2),
    F.multiply: elementwise_rule("Mul", 2),
    F.divide: elementwise_rule("Div", 2),
    F.maximum: elementwise_rule("Max", 2),
    F.minimum: elementwise_rule("Min", 2),
    F.power: elementwise_rule("Pow", 2),
    F.matmul: elementwise_rule("MatMul", 2),
    F.square: lambda call: call.add("Mul", call.args[0], call.args[0]),
    F.leaky_relu: leaky_relu,
    F.gelu: gelu,
    elementwise._clip: clip,
    F.softmax: along_axis("Softmax"),
    F.log_softmax: along_axis("LogSoftmax"),
    F.sum: reduction("ReduceSum"),
    F.mean: reduction("ReduceMean"),
    F.max: reduction("ReduceMax"),
    F.min: reduction("ReduceMin"),
    F.linear: linear,
    F.reshape: reshape,
    F.ravel: ravel,
    F.swapaxes: swapaxes,
    F.transpose: transpose,
    F.expand_dims: new_or_squeezed_axes("Unsqueeze"),
    F.squeeze: new_or_squeezed_axes("Squeeze"),
    indexing._pick: getitem,
    shape._concatenate: concatenate,
    shape._split: split,
    elementwise._to_floating: lambda call: call.cast(call.args[0]),
    recurrent.rnn: recurrent_rule("RNN", [0], 1),
    recurrent.lstm: recurrent_rule("LSTM", [1, 2, 0, 3], 2),
}
