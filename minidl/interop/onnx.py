"""Export to ONNX: what a model computes for an example, written as a file that other runtimes run.

The recording is autograd's, which function is which operator is said here. Needs the extra ``minidl[onnx]``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Variable, engine, test_mode
from minidl.autograd.node import Leaf, Output
from minidl.common import random
from minidl.layers.layer import Layer

__all__ = ["export"]

Array = npt.NDArray[Any]
OPSET, IR = (
    20,
    9,
)  # the first with Gelu, and what goes with it: runtimes since the end of 2023 read them


def export(model: Layer, path: str | os.PathLike[str], example_input: Any) -> Path:
    """Write what the model computes as an ONNX file, for onnxruntime and others; return the file's path.

    The model is run on the example as for evaluation (without dropout, from zero recurrent states) and what it does is
    recorded, whatever its ``forward`` looks like: linear and recurrent layers, activations, arithmetic, indexing,
    reshaping, reductions. Axes of the input but the last may have another length later, the batch above all, where
    the model computes the same for another length; this is tried, not assumed. The input is named ``input``, of the
    model's dtype, the outputs ``output``, or ``output0``, ``output1``.. The model is not changed.

    Args:
        model: a layer whose parameters all have data.
        path: of the file, ending in ``.onnx``.
        example_input: floating, of a shape the model takes; sequences as (batch, time, in).

    Raises ImportError without the package onnx; TypeError for a model that is no layer; ValueError if the path has
    another ending, a parameter is still lazy, a function has no ONNX form here, or what is computed depends on the
    input's values in a way that was not recorded, such as ``if x.sum() > 0``.

    >>> from minidl import layers
    >>> model = layers.Sequential(layers.LSTM(3, 16), layers.Linear(16, 1))
    >>> export(model, "model.onnx", np.ones((8, 20, 3)))  # doctest: +SKIP
    PosixPath('model.onnx')
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'minidl.onnx.export needs the package onnx: pip install "minidl[onnx]"'
        ) from error
    if not isinstance(model, Layer):
        raise TypeError(f"onnx.export: want a layer of minidl, got {type(model).__name__}")
    target = Path(path)
    if target.suffix != ".onnx":
        raise ValueError(f"onnx.export: want a path that ends in .onnx, got {str(path)!r}")
    if lazy := [name for name, p in model.named_parameters() if p.lazy]:
        raise ValueError(
            f"onnx.export: {', '.join(lazy)} have no data yet: train the model, or call it once"
        )
    params = model.parameters()
    x = np.asarray(example_input.data if isinstance(example_input, Variable) else example_input)
    if x.dtype.kind != "f" or x.size == 0:
        raise ValueError(
            f"onnx.export: want a floating example that is not empty, got {x.dtype} {x.shape}"
        )
    x = x.astype(params[0].dtype) if params else x

    program = _Program(model, x)
    other = np.random.default_rng(0).normal(size=x.shape).astype(x.dtype)
    if not all(program.same(_Program(model, probe)) for probe in (other, -other, -x)):
        raise ValueError(
            "onnx.export: the model computes something else for other values of the input of this shape: "
            "comparisons, and branches on values, are not recorded"
        )
    shape: list[int | str] = list(x.shape)
    outputs: list[list[int | str]] = [list(s) for s in program.shapes]
    names = ["batch", "time"] if x.ndim == 3 else ["batch", *(f"axis{i}" for i in range(1, x.ndim))]
    for axis, name in enumerate(names[: x.ndim - 1]):
        longer = np.concatenate([other, other.take([0], axis)], axis)
        try:
            changed = _Program(model, longer)
        except (ValueError, TypeError, IndexError):
            continue  # it takes this length only
        if program.same(changed):
            shape[axis] = name
            for known, now in zip(outputs, changed.shapes):
                known[:] = [a if a == b or isinstance(a, str) else name for a, b in zip(known, now)]

    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [
            helper.make_node(op, ins, outs, **attributes)
            for op, ins, outs, attributes in program.nodes
        ],
        type(model).__name__,
        [helper.make_tensor_value_info("input", kind(x.dtype), shape)],
        [
            helper.make_tensor_value_info(n, kind(d), s)
            for n, d, s in zip(program.outputs, program.dtypes, outputs)
        ],
        [
            onnx.numpy_helper.from_array(np.array(a, order="C"), name)
            for name, a in program.constants.items()
        ],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(graph, producer_name="minidl", ir_version=IR, opset_imports=opsets)
    onnx.checker.check_model(made, full_check=True)
    unfinished = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        unfinished.write_bytes(made.SerializeToString())
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


class _Program:
    """What a model computed for an input: nodes of ONNX, (operator, inputs, outputs, attributes), and constants."""

    def __init__(self, model: Layer, x: Array) -> None:
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, Array] = {}
        model, bits = copy.deepcopy(model), random.generator().bit_generator
        model.unfreeze()
        model.reset_state()
        start, before = Variable(x), bits.state
        try:
            with test_mode():
                result = model(start)
        finally:
            bits.state = before
        if any(getattr(layer, "steps", 0) for layer in model.sublayers()):
            raise ValueError(
                "onnx.export: a recurrent layer was given one step, (batch, in), and carries its state to "
                "the next call, which ONNX cannot: give it sequences, (batch, time, in)"
            )
        results = list(result) if isinstance(result, tuple | list) else [result]
        for y in results:
            if not isinstance(y, Variable) or y._node is None:
                raise ValueError(
                    "onnx.export: what the model returned was not computed from its input by functions "
                    f"with derivatives, but is {type(y).__name__}"
                )
        self.outputs = (
            ["output"] if len(results) == 1 else [f"output{i}" for i in range(len(results))]
        )
        self.shapes, self.dtypes = [y.shape for y in results], [y.dtype for y in results]
        self.names: dict[Any, Any] = {
            p._node: name for name, p in model.named_parameters() if p._node is not None
        }
        self.names[start._node] = "input"
        self.input = start._node
        applications, leaves = engine.reach(
            dict.fromkeys(y._node for y in results if y._node is not None)
        )
        if self.input not in leaves:
            raise ValueError("onnx.export: what the model returned does not depend on its input")
        for node in reversed(applications):  # oldest first
            if type(node) is Output:
                self.names[node] = self.names[node.inputs[0]][node.index]  # type: ignore[index]  # an application
            else:
                self.names[node] = self._emit(node)
        for name, y in zip(self.outputs, results):
            self.nodes.append(("Identity", [self.names[y._node]], [name], {}))
        self._prune()

    def same(self, other: _Program) -> bool:
        """Whether both compute the same from their inputs."""
        return (
            self.nodes == other.nodes
            and self.constants.keys() == other.constants.keys()
            and all(
                a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)
                for a, b in zip(self.constants.values(), other.constants.values())
            )
        )

    def add(
        self, op: str, *inputs: Any, outputs: int = 1, like: Any = None, **attributes: Any
    ) -> Any:
        """A node; inputs are names, or arrays and numbers, which become constants of the dtype of ``like``."""
        names = [self.constant(i, like) if not isinstance(i, str) else i for i in inputs]
        outs = [
            f"{op.lower()}_{len(self.nodes)}" + (f"_{k}" if outputs > 1 else "")
            for k in range(outputs)
        ]
        self.nodes.append((op, names, outs, attributes))
        return outs[0] if outputs == 1 else outs

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a constant; axes and shapes are int64."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def _emit(self, node: Any) -> Any:
        """The nodes of one application; the name of its output, or of each of its outputs."""
        rule = RULES.get(node.name)
        if rule is None:
            known = ", ".join(sorted(RULES))
            raise ValueError(f"onnx.export: {node.name} has no ONNX form here; there are {known}")
        args: list[Any] = []
        for arg, parent in zip(node.args, node.inputs, strict=True):
            if parent is None:
                args.append(arg)
                continue
            name = self.names.get(parent)
            if name is None:  # a leaf that is no parameter of the model
                name = self.names[parent] = self.constant(arg)
            elif type(parent) is Leaf and parent is not self.input:
                self.constants[name] = np.asarray(arg)
            args.append(name)
        return rule(self, node, args)

    def _prune(self) -> None:
        """Drop what nothing uses: parameters that stand in another form, outputs nobody asked for."""
        used, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if used & {*node[2]}:
                used |= {*node[1]}
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: a for name, a in self.constants.items() if name in used}


# ---- which function is which operator: rules get the program, the application, and names or constants --------------

Rule = Callable[[_Program, Any, list[Any]], Any]


def _plain(op: str, arity: int) -> Rule:
    return lambda p, node, args: p.add(op, *args[:arity], like=node.output.dtype)


def _setting(node: Any, place: int, name: str, default: Any) -> Any:
    """An argument that is no array, wherever it was given."""
    return node.args[place] if len(node.args) > place else node.settings.get(name, default)


def _along(op: str) -> Rule:
    return lambda p, node, args: p.add(op, args[0], axis=int(_setting(node, 1, "axis", -1)))


def _reduced(op: str) -> Rule:
    def rule(p: _Program, node: Any, args: list[Any]) -> Any:
        axis = _setting(node, 1, "axis", None)
        axes = range(node.args[0].ndim) if axis is None else np.atleast_1d(axis)
        return p.add(
            op,
            args[0],
            np.array([int(a) for a in axes]),
            keepdims=int(node.settings.get("keepdims", False)),
        )

    return rule


def _linear(p: _Program, node: Any, args: list[Any]) -> Any:
    x, w, b = [*args, None][:3]
    if b is None:
        return p.add("MatMul", x, w)
    return (
        p.add("Gemm", x, w, b) if node.args[0].ndim == 2 else p.add("Add", p.add("MatMul", x, w), b)
    )


def _reshape(p: _Program, node: Any, args: list[Any]) -> Any:
    """The first axes that stay are written as 0, the next one as -1: they may have another length later."""
    before, after = node.args[0].shape, node.output.shape
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return p.add(
        "Reshape",
        args[0],
        np.array([0] * same + [-1, *after[same + 1 :]][: len(after) - same], np.int64),
    )


def _swapped(p: _Program, node: Any, args: list[Any]) -> Any:
    order = list(range(node.args[0].ndim))
    i, j = node.args[1:3]
    order[i], order[j] = order[j], order[i]
    return p.add("Transpose", args[0], perm=order)


def _transposed(p: _Program, node: Any, args: list[Any]) -> Any:
    n, axes = node.args[0].ndim, _setting(node, 1, "axes", None)
    return p.add(
        "Transpose", args[0], perm=[int(a) % n for a in (range(n)[::-1] if axes is None else axes)]
    )


def _axes(op: str) -> Rule:
    def rule(p: _Program, node: Any, args: list[Any]) -> Any:
        axis = _setting(node, 1, "axis", None)
        if axis is None:
            axis = [i for i, n in enumerate(node.args[0].shape) if n == 1]
        return p.add(op, args[0], np.atleast_1d(np.asarray(axis, np.int64)))

    return rule


def _getitem(p: _Program, node: Any, args: list[Any]) -> Any:
    """Slices of all axes at once, then, from the last axis on, integers that pick one, and new axes."""
    index, x = list(node.args[1:]), args[0]
    if not all(i is None or i is ... or isinstance(i, int | np.integer | slice) for i in index):
        raise ValueError(
            "onnx.export: indices other than integers, slices, None and ... have no ONNX form here"
        )
    taken = sum(i is not None and i is not ... for i in index)
    at = next((k for k, i in enumerate(index) if i is ...), len(index))
    index[at : at + 1] = [slice(None)] * (node.args[0].ndim - taken)
    large, cuts, picks, new, axis, place = 2**63 - 1, [], [], [], 0, 0
    for i in index:
        if i is None:
            new.append(place)
        elif isinstance(i, slice):
            step = 1 if i.step is None else int(i.step)
            first = (0 if step > 0 else large) if i.start is None else int(i.start)
            last = (large if step > 0 else -large) if i.stop is None else int(i.stop)
            if (first, last, step) != (0, large, 1):
                cuts.append((first, last, axis, step))
            axis += 1
        else:
            picks.append((axis, int(i)))
            axis += 1
        place += i is None or isinstance(i, slice)
    if cuts:
        x = p.add("Slice", x, *[np.array(column, np.int64) for column in zip(*cuts)])
    for axis, i in reversed(picks):
        x = p.add("Gather", x, np.array(i, np.int64), axis=axis)
    return p.add("Unsqueeze", x, np.array(new, np.int64)) if new else x


def _recurrent(op: str, gates: Sequence[int], states: int) -> Rule:
    """ONNX puts time first and a direction before all weights; ``gates`` are its gates' places in ours."""

    def rule(p: _Program, node: Any, args: list[Any]) -> Any:
        starts, (w_x, w_h, b) = node.args[1 : 1 + states], node.args[1 + states :]
        if any(n is not None and type(n) is not Leaf for n in node.inputs[1:]):
            raise ValueError(
                f"onnx.export: {node.name} with computed weights or first state has no ONNX form here"
            )

        def theirs(a: Array) -> Array:
            return np.concatenate([np.split(a, len(gates), axis=-1)[i] for i in gates], axis=-1).T[
                None
            ]

        bias = np.concatenate([theirs(b), np.zeros_like(b)[None]], axis=-1)
        inputs: list[Any] = [
            p.add("Transpose", args[0], perm=[1, 0, 2]),
            theirs(w_x),
            theirs(w_h),
            bias,
        ]
        if any(start.any() for start in starts):
            inputs += ["", *[start[None] for start in starts]]
        ys = p.add(op, *inputs, outputs=1 + states, hidden_size=w_h.shape[0])
        if node.settings.get("return_sequences", True):
            h = p.add("Transpose", p.add("Squeeze", ys[0], np.array([1])), perm=[1, 0, 2])
        else:
            h = p.add("Squeeze", ys[1], np.array([0]))
        return [h, p.add("Squeeze", ys[2], np.array([0]))] if states == 2 else h

    return rule


def _cast(p: _Program, node: Any, args: list[Any]) -> Any:
    import onnx

    return p.add("Cast", args[0], to=onnx.helper.np_dtype_to_tensor_dtype(node.output.dtype))


def _clip(p: _Program, node: Any, args: list[Any]) -> Any:
    low, high = _setting(node, 1, "a_min", None), _setting(node, 2, "a_max", None)
    return p.add(
        "Clip",
        args[0],
        *["" if bound is None else bound for bound in (low, high)],
        like=node.output.dtype,
    )


RULES: dict[str, Rule] = {
    **{
        name: _plain(op, 1)
        for name, op in {
            "relu": "Relu",
            "tanh": "Tanh",
            "sigmoid": "Sigmoid",
            "softplus": "Softplus",
            "exp": "Exp",
            "log": "Log",
            "sqrt": "Sqrt",
            "sin": "Sin",
            "cos": "Cos",
            "tan": "Tan",
            "sinh": "Sinh",
            "cosh": "Cosh",
            "arctan": "Atan",
            "abs": "Abs",
            "negative": "Neg",
            "positive": "Identity",
            "identity": "Identity",
            "erf": "Erf",
        }.items()
    },
    **{
        name: _plain(op, 2)
        for name, op in {
            "add": "Add",
            "subtract": "Sub",
            "multiply": "Mul",
            "divide": "Div",
            "power": "Pow",
            "maximum": "Max",
            "minimum": "Min",
            "matmul": "MatMul",
        }.items()
    },
    "softmax": _along("Softmax"),
    "log_softmax": _along("LogSoftmax"),
    "leaky_relu": lambda p, node, args: p.add(
        "LeakyRelu", args[0], alpha=float(_setting(node, 1, "slope", 0.01))
    ),
    "gelu": lambda p, node, args: p.add(
        "Gelu", args[0], approximate="tanh" if _setting(node, 1, "approximate", False) else "none"
    ),
    "square": lambda p, node, args: p.add("Mul", args[0], args[0]),
    "sum": _reduced("ReduceSum"),
    "mean": _reduced("ReduceMean"),
    "max": _reduced("ReduceMax"),
    "min": _reduced("ReduceMin"),
    "linear": _linear,
    "reshape": _reshape,
    "swapaxes": _swapped,
    "astype": _cast,
    "ravel": lambda p, node, args: p.add("Reshape", args[0], np.array([-1], np.int64)),
    "transpose": _transposed,
    "expand_dims": _axes("Unsqueeze"),
    "squeeze": _axes("Squeeze"),
    "getitem": _getitem,
    "concatenate": lambda p, node, args: p.add(
        "Concat", *args, axis=int(node.settings.get("axis", 0))
    ),
    "clip": _clip,
    "rnn": _recurrent("RNN", [0], 1),
    "lstm": _recurrent("LSTM", [1, 2, 0, 3], 2),
}
