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
from minidl.functions import convolution, elementwise, indexing, pooling, shape
from minidl.functions.windows import Windows

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
        self.x = args[0]
        self.shape = np.shape(node.args[0])

    def add(self, operator: str, *inputs: Any, **options: Any) -> Any:
        """Note an operation, give its output's name; constants get the dtype of the output."""
        options.setdefault("like", self.dtype)
        return self.recording.add(operator, *inputs, **options)

    def move(self, operator: str, *numbers: Any, x: Any = None, **options: Any) -> Any:
        """Note an operation on the first argument, or ``x``; axes, shapes and indices are int64."""
        integers = [np.asarray(n, np.int64) for n in numbers]
        if x is None:
            x = self.x
        return self.recording.add(operator, x, *integers, **options)

    def argument(self, place: int, name: str, default: Any) -> Any:
        """An argument that is no array, wherever it was given."""
        if len(self.values) > place:
            return self.values[place]
        return self.settings.get(name, default)

    def promoted(self, *args: Any) -> list[Any]:
        """The first arguments in the dtype of the output: ONNX promotes nothing."""
        promoted = list(args or self.args)
        for i, (a, value) in enumerate(zip(promoted, self.values)):
            if isinstance(a, str) and value.dtype != self.dtype:
                promoted[i] = self.cast(a)
        return promoted

    def cast(self, name: str) -> Any:
        from onnx.helper import np_dtype_to_tensor_dtype

        return self.add("Cast", name, to=np_dtype_to_tensor_dtype(self.dtype))


# A rule gives the name of the output, or of each of several; None if there is no ONNX form.
Rule: TypeAlias = Callable[[Call], Any]


def elementwise_rule(operator: str, arity: int) -> Rule:
    def rule(call: Call) -> Any:
        args = call.args[:arity]
        return call.add(operator, *call.promoted(*args))

    return rule


def where(call: Call) -> Any:
    """Of a condition that is constant; comparisons are not recorded."""
    condition, *args = call.args
    if isinstance(condition, str):
        return None
    chosen = call.recording.constant(condition, bool)
    for i, value in enumerate(call.values[1:]):
        name = args[i]
        if isinstance(name, str) and value.dtype != call.dtype:
            args[i] = call.cast(name)
    return call.add("Where", chosen, *args)


def along_axis(operator: str) -> Rule:
    def rule(call: Call) -> Any:
        axis = call.argument(1, "axis", -1)
        if not isinstance(axis, int | np.integer):
            return None
        return call.add(operator, call.x, axis=int(axis))

    return rule


def reduction(operator: str) -> Rule:
    def rule(call: Call) -> Any:
        if len(call.args) > 2:
            return None
        axis = call.argument(1, "axis", None)
        if axis is None:
            axis = range(len(call.shape))
        keepdims = call.settings.get("keepdims", False)
        return call.move(operator, np.atleast_1d(axis), keepdims=int(keepdims))

    return rule


def leaky_relu(call: Call) -> Any:
    slope = call.argument(1, "slope", 0.01)
    if np.ndim(slope):
        return None
    return call.add("LeakyRelu", call.x, alpha=float(slope))


def elu(call: Call) -> Any:
    alpha = call.argument(1, "alpha", 1.0)
    if np.ndim(alpha):
        return None
    return call.add("Elu", call.x, alpha=float(alpha))


def silu(call: Call) -> Any:
    gate = call.add("Sigmoid", call.x)
    return call.add("Mul", call.x, gate)


def log_sigmoid(call: Call) -> Any:
    opposite = call.add("Neg", call.x)
    loss = call.add("Softplus", opposite)
    return call.add("Neg", loss)


def gelu(call: Call) -> Any:
    approximate = "tanh" if call.argument(1, "approximate", False) else "none"
    return call.add("Gelu", call.x, approximate=approximate)


def clip(call: Call) -> Any:
    """Operator by operator, as bounds may be arrays; the upper one wins, as NumPy has it."""
    x, *bounds = call.promoted()
    for operator, bound in zip(("Max", "Min"), bounds):
        if bound is not None:
            x = call.add(operator, x, bound)
    return x


def linear(call: Call) -> Any:
    x, w, *rest = call.promoted()
    biases = [b for b in rest if b is not None]
    if biases and len(call.shape) == 2:
        return call.add("Gemm", x, w, *biases)
    y = call.add("MatMul", x, w)
    for b in biases:
        y = call.add("Add", y, b)
    return y


# ---- shapes ------------------------------------------------------------------------------------


def reshape(call: Call) -> Any:
    """First axes that stay are written as 0, the next one as -1: they may be longer later."""
    lengths = list(call.output.shape)
    for i, n in enumerate(lengths):
        if call.shape[i : i + 1] != (n,):
            lengths[i] = -1
            break
        lengths[i] = 0
    return call.move("Reshape", lengths)


def ravel(call: Call) -> Any:
    return call.move("Reshape", [-1])


def new_or_squeezed_axes(operator: str) -> Rule:
    def rule(call: Call) -> Any:
        axis = call.argument(1, "axis", None)
        if axis is None:
            axis = [i for i, n in enumerate(call.shape) if n == 1]
        return call.move(operator, np.atleast_1d(axis))

    return rule


def swapaxes(call: Call) -> Any:
    order = np.arange(len(call.shape))
    axes = list(call.values[1:3])
    order[axes] = order[axes[::-1]]
    return call.move("Transpose", perm=order.tolist())


def transpose(call: Call) -> Any:
    order = np.arange(len(call.shape))
    axes = call.argument(1, "axes", None)
    if axes is None:
        axes = order[::-1]
    order = order[list(axes)]
    return call.move("Transpose", perm=order.tolist())


def concatenate(call: Call) -> Any:
    axis = call.settings.get("axis", 0)
    return call.add("Concat", *call.promoted(), axis=int(axis))


def split(call: Call) -> Any:
    axis = int(call.argument(2, "axis", 0))
    lengths = [y.shape[axis] for y in call.output]
    if len(lengths) == 1:
        return [call.x]
    return call.move("Split", lengths, outputs=len(lengths), axis=axis)


def getitem(call: Call) -> Any:
    """Slices of all axes at once, then, from the last on, integers that pick one, and new axes."""
    x = call.x
    if call.args[1:] and all(map(_is_array_of_integers, call.args[1:])):
        return _gather(call)
    if not all(map(_is_basic, call.values[1:])):
        raise ValueError(
            "onnx.export: indices other than integers, slices, None and ..., or constant arrays of "
            "integers for the first axes, have no ONNX form here"
        )
    index = _without_ellipsis(call.values[1:], len(call.shape))
    per_axis = [i for i in index if i is not None]
    axes = [axis for axis, i in enumerate(per_axis) if _is_cut(i)]
    if axes:
        bounds = [_bounds(per_axis[axis]) for axis in axes]
        starts, stops, steps = zip(*bounds)
        x = call.move("Slice", starts, stops, axes, steps, x=x)
    for axis, i in reversed([*enumerate(per_axis)]):
        if not isinstance(i, slice):
            x = call.move("Gather", i, x=x, axis=axis)
    left = [i for i in index if i is None or isinstance(i, slice)]
    new = [place for place, i in enumerate(left) if i is None]
    if new:
        x = call.move("Unsqueeze", new, x=x)
    return x


def embedding(call: Call) -> Any:
    w, indices = call.args
    if not isinstance(indices, str):
        indices = call.recording.constant(indices, np.int64)
    return call.add("Gather", w, indices, axis=0)


def _is_array_of_integers(i: Any) -> bool:
    return isinstance(i, np.ndarray) and i.dtype.kind in "iu" and i.ndim > 0


def _gather(call: Call) -> Any:
    """What stands at places of the first axes, which arrays of NumPy's count from either end."""
    places = [i % n for i, n in zip(call.args[1:], call.shape)]
    return call.move("GatherND", np.stack(np.broadcast_arrays(*places), axis=-1))


def _is_basic(i: Any) -> bool:
    if isinstance(i, bool):
        return False
    kinds = int | np.integer | slice
    return i is None or i is ... or isinstance(i, kinds)


def _without_ellipsis(index: Sequence[Any], ndim: int) -> list[Any]:
    """The index with slices for the axes that it leaves out."""
    named = [i for i in index if i is not None and i is not ...]
    rest = [slice(None)] * (ndim - len(named))
    full: list[Any] = []
    for i in index:
        if i is ...:
            full += rest
        else:
            full.append(i)
    if not any(i is ... for i in index):
        full += rest
    return full


def _is_cut(i: Any) -> bool:
    return isinstance(i, slice) and _bounds(i) != (0, LARGE, 1)


def _bounds(i: slice) -> tuple[int, int, int]:
    """Start, stop and step; ends that were left out are very large numbers."""
    step = 1 if i.step is None else int(i.step)
    ends = [0, LARGE]
    if step < 0:
        ends = [LARGE, -LARGE]
    for k, end in enumerate((i.start, i.stop)):
        if end is not None:
            ends[k] = int(end)
    return ends[0], ends[1], step


# ---- windows -----------------------------------------------------------------------------------


def windowed(call: Call, operator: str, windows: Windows, *inputs: Any, **options: Any) -> Any:
    """An operator on windows; ONNX has the features before the axes along which they slide."""
    last = len(call.shape) - 1
    first_axes = range(1, last)
    last_axes = range(2, last + 1)
    x = call.move("Transpose", perm=[0, last, *first_axes])
    y = call.add(
        operator,
        x,
        *inputs,
        kernel_shape=windows.size,
        strides=windows.stride,
        pads=windows.before + windows.after,
        **options,
    )
    return call.move("Transpose", x=y, perm=[0, *last_axes, 1])


def conv(call: Call) -> Any:
    x, w, *rest = call.promoted(*call.args[:3])
    windows, groups = call.values[3:]
    order = [*range(call.values[1].ndim)]
    kernel = call.move("Transpose", x=w, perm=[*order[:-3:-1], *order[:-2]])
    biases = [b for b in rest if b is not None]
    call.x = x
    return windowed(
        call,
        "Conv",
        windows,
        kernel,
        *biases,
        group=groups,
        dilations=windows.dilation,
    )


def max_pool(call: Call) -> Any:
    """Padded before it, features last as here: onnx's own MaxPool fails at padded sequences."""
    windows = call.values[1]
    pads = np.array([0, *windows.before, 0, 0, *windows.after, 0])
    if pads.any():
        lowest = np.asarray(-np.inf, call.dtype)
        call.x = call.add("Pad", call.x, pads, lowest, like=None)
        nothing = (0,) * len(windows.size)
        windows = windows._replace(before=nothing, after=nothing)
    return windowed(call, "MaxPool", windows)


def avg_pool(call: Call) -> Any:
    return windowed(call, "AveragePool", call.values[1], count_include_pad=1)


# ---- recurrent networks ------------------------------------------------------------------------


def recurrent_rule(operator: str, gates: Sequence[int], states: int, **options: Any) -> Rule:
    """ONNX has time first and an axis of directions; ``gates`` are its gates' places in ours.

    A GRU has one weight more: the bias of what r gates, the last of its gates there.
    """
    weights = 4 if operator == "GRU" else 3

    def in_their_order(a: Array) -> Array:
        parts = np.split(a, len(gates), axis=-1)
        theirs = np.concatenate([parts[i] for i in gates], axis=-1)
        return theirs.T[None]

    def rule(call: Call) -> Any:
        names = {a for a in call.args[1:] if isinstance(a, str)}
        known = call.recording.constants.keys()
        if not names <= known:
            return None  # a first state or weights that are computed
        values = call.values
        starts = values[1 : 1 + states]
        if call.argument(1 + states + weights, "lengths", None) is not None:
            return None
        w_x, w_h, b, *more = values[1 + states :][:weights]
        hidden = w_h.shape[0]
        x = call.move("Transpose", perm=[1, 0, 2])
        bias = in_their_order(b)
        of_state = np.zeros_like(bias)
        for b_h in more:
            of_state[:, -hidden:] = b_h
        biases = np.concatenate([bias, of_state], axis=-1)
        weights_x = in_their_order(w_x)
        weights_h = in_their_order(w_h)
        inputs = [x, weights_x, weights_h, biases]
        if any(start.any() for start in starts):
            inputs.append("")  # the lengths
            inputs += [start[None] for start in starts]
        outputs = call.add(
            operator, *inputs, like=b.dtype, outputs=1 + states, hidden_size=hidden, **options
        )
        sequence, *last = outputs
        results = [call.move("Squeeze", [0], x=state) for state in last]
        if call.settings.get("return_sequences", True):
            squeezed = call.move("Squeeze", [1], x=sequence)
            results[0] = call.move("Transpose", x=squeezed, perm=[1, 0, 2])
        if states == 1:
            return results[0]
        return results

    return rule


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
    F.square: lambda call: call.add("Mul", call.x, call.x),
    F.leaky_relu: leaky_relu,
    F.elu: elu,
    F.silu: silu,
    F.mish: elementwise_rule("Mish", 1),
    F.softsign: elementwise_rule("Softsign", 1),
    F.log_sigmoid: log_sigmoid,
    F.gelu: gelu,
    elementwise._clip: clip,
    elementwise._where: where,
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
    F.embedding: embedding,
    shape._concatenate: concatenate,
    shape._split: split,
    elementwise._to_floating: lambda call: call.cast(call.x),
    convolution._conv: conv,
    pooling._max_pool: max_pool,
    pooling._mean: avg_pool,
    F.rnn: recurrent_rule("RNN", [0], 1),
    F.lstm: recurrent_rule("LSTM", [1, 2, 0, 3], 2),
    F.gru: recurrent_rule("GRU", [1, 0, 2], 1, linear_before_reset=1),
}
