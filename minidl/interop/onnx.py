"""Export to ONNX: what a model computes for an example, written as a file that other runtimes run.

Which function is which operator is said in onnx_operators.py. Needs the package onnx (extra
``onnx``).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from weakref import ref

import numpy as np
import numpy.typing as npt

from minidl.autograd import Variable, engine
from minidl.autograd.modes import Switch
from minidl.autograd.node import Application, Leaf, Node, Output
from minidl.common import random
from minidl.common.arrays import array_of, as_array
from minidl.common.extras import install
from minidl.files import atomic
from minidl.interop.onnx_operators import RULES, SETTINGS, Call
from minidl.layers.layer import Layer

__all__ = ["export"]

Array = npt.NDArray[Any]
Lengths: TypeAlias = list[int | str]  # of a shape; text for those that stay open
# The first opset with Gelu, and the file version of its time: runtimes read them since 2023.
OPSET = 20
IR_VERSION = 9
# How far the file's numbers may be from the model's, relative to the largest: rounding, no more.
TOLERANCE = {"float16": 3e-2, "float32": 1e-3, "float64": 1e-6}


def export(model: Layer, path: str | os.PathLike[str], example_input: Any) -> Path:
    """Write what the model computes as an ONNX file, for onnxruntime and others; return its path.

    The model is run on the example as for evaluation (without dropout, from zero recurrent states)
    and what it does is recorded, whatever its ``forward`` looks like: linear and recurrent layers,
    activations, arithmetic, indexing, reshaping, reductions. Axes of the input, of floating input all
    but the last, may have another length later, the batch above all, where the model computes the
    same for another length; this is tried, not assumed. Then the file is run by onnx's own reference implementation,
    and its numbers are compared with the model's. The input is named ``input``, of the model's
    dtype, or ``input0``, ``input1``.., the outputs ``output``, or ``output0``, ``output1``.. The
    model is not changed.

    Args:
        model: a layer whose parameters all have data.
        path: of the file, ending in ``.onnx``.
        example_input: floating, of a shape the model takes; sequences as (batch, time, in).
            Integers, such as an Embedding takes, become int64 and should be several. A tuple of
            arrays is several inputs, ``model(*inputs)``, whose first axes are one batch.

    Raises ImportError without the package onnx; TypeError for a model that is no layer; ValueError
    if the path has another ending, a parameter is still lazy, a function has no ONNX form here, or
    what is computed depends on the input's values in a way that was not recorded, such as ``if
    x.sum() > 0``.

    >>> from minidl import layers
    >>> model = layers.Sequential(layers.LSTM(3, 16), layers.Linear(16, 1))
    >>> export(model, "model.onnx", np.ones((8, 20, 3)))  # doctest: +SKIP
    PosixPath('model.onnx')
    """
    onnx = _import_onnx()
    target = atomic.check_suffix(path, "onnx.export", ".onnx")
    xs = _check_arguments(model, example_input)
    recording = Recording(model, xs)
    rng = np.random.default_rng(0)
    noise, *more = zip(*[_other_inputs(x, rng) for x in xs])
    others = [Recording(model, probe) for probe in (noise, *more)]
    if not all(map(recording.same, others)):
        raise ValueError(
            "onnx.export: the model computes something else for other values of the input of this "
            "shape: comparisons, and branches on values, are not recorded"
        )
    longer = _longer(model, recording, noise)
    proto = _assemble(onnx, type(model).__name__, recording, longer)
    onnx.checker.check_model(proto, full_check=True)
    _compare(onnx, proto, [recording, others[0], *[axis.recording for axis in longer.values()]])
    content = proto.SerializeToString()
    atomic.write(
        target,
        "onnx.export",
        lambda file: file.write(content),
        check=lambda path: path.read_bytes() == content,
    )
    return target


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.reference
    except ImportError as error:
        raise ImportError(
            f"minidl.onnx.export needs the package onnx: {install('onnx')}"
        ) from error
    return onnx


def _check_arguments(model: Any, example_input: Any) -> list[Array]:
    """The examples as arrays, those that are floating of the model's dtype."""
    if not isinstance(model, Layer):
        raise TypeError(f"onnx.export: want a layer of minidl, got {type(model).__name__}")
    lazy = [name for name, p in model.named_parameters() if p.lazy]
    if lazy:
        raise ValueError(
            f"onnx.export: {', '.join(lazy)} have no data yet: train the model, or call it once"
        )
    params = model.parameters()
    examples = example_input if isinstance(example_input, tuple) else (example_input,)
    xs = []
    for example in examples:
        x = np.asarray(as_array(array_of(example), "onnx.export"))
        if x.dtype.kind not in "fiu" or x.size == 0:
            want = "an example that is not empty, floating or of integers, or a tuple of them"
            raise ValueError(f"onnx.export: want {want}, got {x.dtype} {x.shape}")
        if x.dtype.kind != "f":
            x = x.astype(np.int64)
        elif params:
            x = x.astype(params[0].dtype)
        xs.append(x)
    if not xs:
        raise ValueError("onnx.export: want an example, got ()")
    return xs


def _other_inputs(x: Array, rng: np.random.Generator) -> list[Array]:
    """Inputs of the same shape and other values; integers are those of the example."""
    if x.dtype.kind == "f":
        noise = rng.normal(size=x.shape).astype(x.dtype)
        return [noise, -noise, -x]
    values = np.unique(x)
    return [rng.choice(values, x.shape) for _ in range(3)]


def _as_input(x: Array) -> Variable:
    """A Variable with a node, though integers are not differentiated."""
    start = Variable(x, requires_grad=False)
    start._node = Leaf(ref(start))
    return start


class Operation(NamedTuple):
    """A node of ONNX: an operator, the names of its inputs and outputs, and its attributes."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class Recording:
    """What a model computes for an input, as operations of ONNX and constants, and its results."""

    def __init__(self, model: Layer, xs: Sequence[Array]) -> None:
        self.xs = xs
        self.inputs = _numbered("input", len(xs))
        self.operations: list[Operation] = []
        self.constants: dict[str, Array] = {}
        self.names: dict[Node, Any] = {}  # of nodes; for several outputs a list
        model = copy.deepcopy(model)
        model.unfreeze()
        model.reset_state()
        starts = list(map(_as_input, xs))
        with random.restoring(), Switch(recording=True, testing=True):
            results = _run(model, starts)
            self._record(model, starts, results)
        self.results = [y.data for y in results]
        self._prune()

    def same(self, other: Recording) -> bool:
        """Whether both compute the same from their inputs."""
        if self.operations != other.operations:
            return False
        if self.constants.keys() != other.constants.keys():
            return False
        for name, a in self.constants.items():
            b = other.constants[name]
            if a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=True):
                return False
        return True

    # ---- for the rules of onnx_operators.py ------------------------------------------------------

    def add(
        self, operator: str, *inputs: Any, outputs: int = 1, like: Any = None, **attributes: Any
    ) -> Any:
        """Note an operation, give the name of its output, or of each of several.

        Inputs are names, or arrays and numbers, which become constants of the dtype ``like``.
        """
        names = [i if isinstance(i, str) else self.constant(i, like) for i in inputs]
        base = f"{operator.lower()}_{len(self.operations)}"
        outs = [base]
        if outputs > 1:
            outs = [f"{base}_{k}" for k in range(outputs)]
        outs = list(map(self._unused, outs))
        self.operations.append(Operation(operator, names, outs, attributes))
        return outs[0] if outputs == 1 else outs

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a new constant."""
        name = self._unused(f"constant_{len(self.constants)}")
        self.constants[name] = np.asarray(value, dtype)
        return name

    # ---- the recording ---------------------------------------------------------------------------

    def _record(self, model: Layer, starts: list[Variable], results: list[Variable]) -> None:
        self.outputs = _numbered("output", len(results))
        self.used_names = {*self.inputs, *self.outputs}
        for name, p in model.named_parameters():
            own = self._unused(name)  # a parameter may be called "input"
            self.constants[own] = np.asarray(p.data)
            if p._node is not None:
                self.names[p._node] = own
        roots = [y._node for y in results if y._node is not None]
        for start, name in zip(starts, self.inputs):
            assert start._node is not None  # see _as_input
            self.names[start._node] = name
        self._emit_behind(roots)
        for output, root in zip(self.outputs, roots):
            name = self.names[root]
            self.operations.append(Operation("Identity", [name], [output], {}))

    def _emit_behind(self, roots: Iterable[Node]) -> None:
        """Note the operations of all applications behind some nodes that are not noted yet."""
        for node in reversed(engine.reach(dict.fromkeys(roots))[0]):  # oldest first
            if node in self.names:
                continue
            if type(node) is Output:
                application = node.inputs[0]  # type: ignore[index]  # of a graph that is whole
                self.names[node] = self.names[application][node.index]  # type: ignore[index]
            else:
                self.names[node] = self._emit(node)

    def _emit(self, node: Application) -> Any:
        """The operations of one application; the name of its output, or of each of its outputs."""
        function = node.function
        parents = node.inputs or ()
        args = [self._name(p, a) for p, a in zip(parents, node.args, strict=True)]
        rule = RULES.get(function)  # by the Function object: a user's may have the same name
        if rule is not None and node.settings.keys() <= SETTINGS:
            names = rule(Call(self, node, args))
            if names is not None:
                return names
        if function.equals is not None:
            return self._compose(node, args)
        raise ValueError(f"onnx.export: {_refusal(node)}")

    def _name(self, parent: Node | None, arg: Any) -> Any:
        """What stands for an argument: the name of what was computed, else the argument itself."""
        if parent is None:
            return arg
        if parent not in self.names:  # a Variable that is no parameter of the model
            self.names[parent] = self.constant(arg)
        return self.names[parent]

    def _compose(self, node: Application, args: Sequence[Any]) -> Any:
        """The operations of the plain composition that a fused function is equal to."""
        function = node.function
        copies = list(node.args)
        for i, parent in enumerate(node.inputs or ()):
            if parent is not None:
                leaf = _as_input(copies[i])
                copies[i] = leaf
                assert leaf._node is not None  # see _as_input
                self.names[leaf._node] = args[i]
        y = function.equals(*copies, **node.settings)  # type: ignore[misc]  # asked before
        several = isinstance(y, tuple)
        roots = [part._node for part in (y if several else (y,))]
        if any(root is None for root in roots):
            raise ValueError(f"onnx.export: {_refusal(node)}")
        self._emit_behind(roots)
        names = [self.names[root] for root in roots]
        return names if several else names[0]

    def _unused(self, name: str) -> str:
        while name in self.used_names:
            name += "_"
        self.used_names.add(name)
        return name

    def _prune(self) -> None:
        """Drop what nothing uses: parameters that stand in another form, outputs nobody wants."""
        used = set(self.outputs)
        needed = []
        for operation in reversed(self.operations):
            if not used.isdisjoint(operation.outputs):
                used.update(operation.inputs)
                needed.append(operation)
        for name in self.inputs:
            if name not in used:
                its = (
                    "its input" if name == "input" else f"{name}, or not in a way that is recorded"
                )
                raise ValueError(f"onnx.export: what the model returned does not depend on {its}")
        self.operations = needed[::-1]
        for name in self.constants.keys() - used:
            del self.constants[name]


def _numbered(name: str, count: int) -> list[str]:
    """The name, or of several each with its number."""
    return [name] if count == 1 else [f"{name}{i}" for i in range(count)]


def _run(model: Layer, starts: list[Variable]) -> list[Variable]:
    """The Variables that the model returns, each with a graph."""
    result = model(*starts)
    if any(getattr(layer, "steps", 0) for layer in model.sublayers()):
        raise ValueError(
            "onnx.export: a recurrent layer was given one step, (batch, in), and carries its state "
            "to the next call, which ONNX cannot: give it sequences, (batch, time, in)"
        )
    results = list(result) if isinstance(result, tuple | list) else [result]
    for y in results:
        if getattr(y, "_node", None) is None:
            raise ValueError(
                "onnx.export: what the model returned was not computed from its input by functions "
                f"with derivatives, but is {type(y).__name__}"
            )
    return results


def _refusal(node: Application) -> str:
    """Why an application cannot be exported."""
    name = node.function.name
    known = {function.name for function in RULES}
    if node.function in RULES:
        settings = ", ".join(f"{k}={v!r}" for k, v in node.settings.items())
        return f"{name} with such arguments ({settings}) has no ONNX form here"
    if name in known:
        return (
            f"{name} has no ONNX form here: it is not minidl's function of that name, but one of "
            "your own; compose it of minidl's functions, or give differentiable their composition "
            "as equals="
        )
    return f"{name} has no ONNX form here; there are {', '.join(sorted(known))}"


# ---- the file ------------------------------------------------------------------------------------


class Longer(NamedTuple):
    """An axis that may have another length, (which input, which axis) of all that share it, and a
    recording with one more.
    """

    places: list[tuple[int, int]]
    recording: Recording


def _longer(model: Layer, recording: Recording, noise: Sequence[Array]) -> dict[str, Longer]:
    """The axes of the inputs that may be longer, by name."""
    found = {}
    for name, places in _axes(recording):
        xs = list(noise)
        for i, axis in places:
            xs[i] = np.concatenate([xs[i], xs[i].take([0], axis)], axis)
        try:
            other = Recording(model, xs)
        except (ValueError, TypeError, IndexError):
            continue  # it takes this length only
        if recording.same(other):
            found[name] = Longer(places, other)
    return found


def _axes(recording: Recording) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """The axes to be tried, by name: the batch, of all inputs; then each, but for features."""
    counts = [x.ndim - (x.dtype.kind == "f") for x in recording.xs]
    batch = [(i, 0) for i, count in enumerate(counts) if count]
    if batch:
        yield "batch", batch
    for i, (x, count) in enumerate(zip(recording.xs, counts)):
        owner = f"{recording.inputs[i]}_" if len(counts) > 1 else ""
        for axis in range(1, count):
            name = "time" if axis == 1 and x.ndim == 3 else f"axis{axis}"
            yield f"{owner}{name}", [(i, axis)]


def _assemble(onnx: Any, name: str, recording: Recording, longer: dict[str, Longer]) -> Any:
    """The model of ONNX, its open lengths called batch, time or axis1.."""
    helper = onnx.helper

    def tensor(name: str, array: Array, shape: Sequence[int | str]) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = []
    for operator, inputs, outputs, attributes in recording.operations:
        nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
    constants = []
    for constant, array in recording.constants.items():
        contiguous = np.array(array, order="C")
        constants.append(onnx.numpy_helper.from_array(contiguous, constant))
    input_shapes, output_shapes = _shapes(recording, longer)
    graph = helper.make_graph(
        nodes,
        name,
        list(map(tensor, recording.inputs, recording.xs, input_shapes)),
        list(map(tensor, recording.outputs, recording.results, output_shapes)),
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        graph, producer_name="minidl", ir_version=IR_VERSION, opset_imports=opsets
    )


def _shapes(recording: Recording, longer: dict[str, Longer]) -> tuple[list[Lengths], list[Lengths]]:
    """The shapes of inputs and outputs, with a name in place of each length that may be another."""
    inputs: list[Lengths] = [list(x.shape) for x in recording.xs]
    outputs: list[Lengths] = [list(y.shape) for y in recording.results]
    for name, (places, other) in longer.items():
        for place, axis in places:
            inputs[place][axis] = name
        for output, y in zip(outputs, other.results):
            for i, n in enumerate(y.shape):
                if isinstance(output[i], int) and output[i] != n:
                    output[i] = name
    return inputs, outputs


def _compare(onnx: Any, proto: Any, recordings: Iterable[Recording]) -> None:
    """Run the file by onnx's reference implementation; ValueError if it gives other numbers."""
    evaluator = onnx.reference.ReferenceEvaluator(proto)
    for recording in recordings:
        outputs = evaluator.run(None, dict(zip(recording.inputs, recording.xs)))
        for name, got, want in zip(recording.outputs, outputs, recording.results, strict=True):
            finite = np.absolute(want[np.isfinite(want)])
            atol = TOLERANCE[want.dtype.name] * finite.max(initial=0.0)
            same = got.shape == want.shape and got.dtype == want.dtype
            if not same or not np.allclose(got, want, rtol=0, atol=atol, equal_nan=True):
                shapes = ", ".join([str(x.shape) for x in recording.xs])
                raise ValueError(
                    f"onnx.export: run as ONNX, {name} is not what the model gives for an input of "
                    f"shape {shapes}; nothing was written"
                )
