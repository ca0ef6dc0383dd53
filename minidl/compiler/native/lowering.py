"""From primitive steps to operations on strided arrays: what each function is in C.

The rules are in rules_*.py, by the Function object itself, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.function import Function
from minidl.compiler.native.arrays import Array, Buffer, NotInC, Shape, constant_array, new_array
from minidl.compiler.native.expressions import UFUNCS, Expression, text_of
from minidl.compiler.native.loops import read_by, written_by
from minidl.compiler.native.operations import (
    Call,
    Map,
    Pick,
    Reduce,
    Scan,
    copy_of,
    is_row_major,
)
from minidl.compiler.native.scans import ScanStep
from minidl.compiler.native.stacking import without_copies
from minidl.compiler.program import Operand, Step, Value

Rule: TypeAlias = Callable[["Lowering", Step, list[Any]], Any]
RULES: dict[Function, Rule] = {}


def lowers(*functions: Function) -> Callable[[Rule], Rule]:
    """Let a rule say what some functions are in C.

    It gets the step's operands as Arrays, numbers and constants, and returns the result's Array, or
    a tuple of them.
    """

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, rule))
        return rule

    return register


def is_primitive(function: Function) -> bool:
    """Whether C has a form for a function."""
    return function in RULES or function.operation.ufunc in UFUNCS


class Lowering:
    """Operations of the steps that were lowered so far, and the Array of each Value."""

    def __init__(self, constants: dict[Value, Any], calls: bool) -> None:
        self.calls = calls  # whether NumPy may compute what C has no form for
        self.of: dict[Value, Array] = {}
        self.operations: list[Any] = []
        self.depth = 0  # in how many scans
        self.constants = constants
        self.origin = ""

    def lower(self, steps: Sequence[Step], origin: dict[Step, str]) -> None:
        """Add the operations of some steps."""
        for step in steps:
            before = len(self.operations)
            self.origin = origin.get(step, step.name)
            self._lower_step(step, origin)
            for operation in self.operations[before:]:
                operation.origin = operation.origin or self.origin

    def _lower_step(self, step: Step, origin: dict[Step, str]) -> None:
        if isinstance(step, ScanStep):
            self._scan(step, origin)
            return
        function = step.function
        operands = [self.operand(x) for x in step.operands]
        if not is_primitive(function):
            result: Any = self.call(step, operands)
            self._bind(step.out[0] if function.saves else step.out, result)
            return
        if function in RULES:
            result = RULES[function](self, step, operands)
        elif function.operation.ufunc in UFUNCS and not step.settings:
            result = self.map(UFUNCS[function.operation.ufunc], operands, step.out)
        else:
            raise NotInC(f"{function.name} with settings")
        self._bind(step.out, result)

    def _bind(self, out: Any, result: Any) -> None:
        if type(out) is tuple:
            for v, part in zip(out, result, strict=True):
                self._bind(v, part)
            return
        if result.shape != out.shape or result.dtype != out.dtype:
            got = f"{result.dtype} {result.shape}"
            raise NotInC(f"{self.origin} of this form: want {out.dtype} {out.shape}, got {got}")
        self.of[out] = result

    def call(self, step: Step, operands: list[Any]) -> Any:
        """Let NumPy compute a step, between two pieces of C."""
        if not self.calls or self.depth:
            raise NotInC(step.function.name)
        outs = [new_array(v.shape, v.dtype) for v in step.outs if v.shape is not None]
        self.operations.append(Call(outs, operands, step))
        several = type(step.out[0] if step.function.saves else step.out) is tuple
        return tuple(outs) if several else outs[0]

    def operand(self, x: Operand) -> Any:
        """The Array of a Value or a constant array; another operand as it is."""
        if type(x) is tuple:
            return tuple([self.operand(part) for part in x])
        if isinstance(x, Value):
            if x not in self.of:
                self.of[x] = constant_array(np.asarray(self.constants[x]))
            return self.of[x]
        return x

    # ---- what rules build with -------------------------------------------------------------------

    def map(self, expression: Expression, operands: Sequence[Any], like: Any) -> Array:
        """A new array of an elementwise expression, of the shape and dtype of ``like``."""
        arrays = [constant_array(x) if isinstance(x, np.ndarray) else x for x in operands]
        out = new_array(like.shape, like.dtype)
        cast = common_dtype(arrays) if expression.kind == "compare" else out.dtype
        if expression.kind == "floats" and out.dtype.kind != "f":
            raise NotInC(f"{self.origin} of {out.dtype}")
        if expression.kind == "same" and out.dtype.kind == "b" and expression.text != "{0}":
            raise NotInC(f"{self.origin} of bools")
        over = [x.broadcast(out.shape) if isinstance(x, Array) else x for x in arrays]
        text = text_of(expression, out.dtype)
        self.operations.append(Map(out.shape, out, over, text, cast))
        return out

    def text(self, text: str, operands: Sequence[Any], shape: Shape, dtype: Any) -> Array:
        """A new array of a text, whose operands keep their own dtypes."""
        out = new_array(shape, dtype)
        over = [x.broadcast(shape) if isinstance(x, Array) else x for x in operands]
        self.operations.append(Map(shape, out, over, text))
        return out

    def reduce(self, kind: str, x: Array, axes: Sequence[int], text: str = "{0}") -> Array:
        """``x`` reduced along axes, which are left out."""
        kept = [i for i in range(len(x.shape)) if i not in axes]
        out = new_array(tuple([x.shape[i] for i in kept]), x.dtype)
        strides = [0] * len(x.shape)
        for i, stride in zip(kept, out.strides, strict=True):
            strides[i] = stride
        over = out.view(x.shape, tuple(strides))
        self.operations.append(Reduce(kind, x.shape, over, [x], text))
        return out

    def contiguous(self, x: Array) -> Array:
        """The array, or a copy whose elements lie in a row."""
        return x if is_row_major(x) else self.copy(x)

    def copy(self, x: Array) -> Array:
        """A copy in memory of its own."""
        out = new_array(x.shape, x.dtype)
        self.operations.append(copy_of(x, out))
        return out

    def reshaped(self, x: Array, shape: Shape) -> Array:
        """The same elements, in order, in another shape."""
        found = x.at(x.places().reshape(shape))
        return self.contiguous(x).view(shape) if found is None else found

    def write(self, x: Array, out: Array) -> None:
        """Write the elements of an array into another."""
        self.operations.append(copy_of(x.broadcast(out.shape), out))

    def fill(self, out: Array, number: float) -> Array:
        """Write a number into all of an array."""
        self.operations.append(Map(out.shape, out, [number], "{0}", out.dtype))
        return out

    def moved(self, x: Array, move: Callable[[Any], Any]) -> Any:
        """What a function that only moves, repeats or drops elements, or fills in zeros, gives."""
        index = np.arange(x.size, dtype=np.int64).reshape(x.shape) + 1
        moved = move(index)
        if type(moved) in (tuple, list):
            return tuple([self._from_places(x, part - 1) for part in moved])
        return self._from_places(x, moved - 1)

    def _from_places(self, x: Array, index: Any) -> Array:
        index = np.asarray(index)
        if (index >= 0).all():
            places = x.places().reshape(-1)[index]
            found = x.at(places)
            if found is not None:
                return found
        table = constant_array(index.astype(np.int32))
        text = "{1} < 0 ? 0 : {0}" if (index < 0).any() else "{0}"
        return self.picked(self.contiguous(x).view((x.size,)), table, text)

    def picked(self, x: Array, places: Array, text: str = "{0}") -> Array:
        """The rows of ``x`` at places that an array names: ``x[places]``, which are not checked."""
        shape = (*places.shape, *x.shape[1:])
        out = new_array(shape, x.dtype)
        lead = (0,) * len(places.shape)
        source = x.view(shape, (*lead, *x.strides[1:]))
        over = places.view(shape, (*places.strides, *(0,) * (len(x.shape) - 1)))
        pick = Pick(0, 1, x.shape[0], x.strides[0])
        self.add_picks(shape, out, [source, over], [pick], text)
        return out

    def add_picks(
        self, domain: Shape, out: Array, operands: list[Any], picks: list[Pick], text: str = "{0}"
    ) -> None:
        """Note what picks elements of its first operand at places that the others say."""
        self.operations.append(Map(domain, out, operands, text, picks=picks))

    # ---- scans -----------------------------------------------------------------------------------

    def _scan(self, step: ScanStep, origin: dict[Step, str]) -> None:
        body = step.body
        count, xs = step.counts
        given = [self._still(self.operand(x)) for x in step.operands]
        states = [self.copy(x) for x in given[:count]]
        now = [_each_time(x) for x in given[count : count + xs]]
        self.of.update(zip(body.inputs, [*states, *now, *given[count + xs :]], strict=True))
        wholes = [new_array(v.shape, v.dtype) for v in step.outs[count:]]
        outer = self.operations
        self.operations = []
        self.depth += 1
        self.lower(body.steps, origin)
        self.depth -= 1
        results = [self._array(x, v) for x, v in zip(body.outputs, step.outs, strict=True)]
        after = [self._own(x, states) for x in results[:count]]
        copies = []
        for x, whole in zip(results[count:], wholes, strict=True):
            self.write(x, _each_time(whole))
            copies.append(self.operations[-1])
        always, body_operations = hoisted(self.operations, [x.buffer for x in states])
        scan = Scan(step.length, body_operations, list(zip(states, after, strict=True)))
        scan.backwards = step.backwards
        without_copies(scan, copies)
        self.operations = [*outer, *always, scan]
        self.of.update(zip(step.outs, [*states, *wholes], strict=True))

    def _still(self, x: Any) -> Any:
        """What does not move with the turns of a scan around: only those of its own are counted."""
        return self.copy(x) if isinstance(x, Array) and x.moving else x

    def _array(self, operand: Operand, like: Value) -> Array:
        x = self.operand(operand)
        return x if isinstance(x, Array) else constant_array(np.asarray(x, like.dtype))

    def _own(self, x: Array, states: list[Array]) -> Array:
        """A next state in memory that no state before it has."""
        taken = any(x.buffer is state.buffer for state in states) or x.buffer.kind != "work"
        return self.copy(x) if taken or x.moving or not is_row_major(x) else x


def hoisted(body: list[Any], states: Sequence[Buffer]) -> tuple[list[Any], list[Any]]:
    """The operations of a scan that give the same at each time, and the others.

    Where a scan inside begins is written each time, as the scan goes on from there.
    """
    inner = [x.buffer for part in body if isinstance(part, Scan) for x in written_by(part)]
    varying = {*states, *inner}
    always: list[Any] = []
    rest: list[Any] = []
    for operation in body:
        written = written_by(operation)
        moves = any(x.moving or x.buffer in varying for x in [*read_by(operation), *written])
        if moves or not isinstance(operation, Map | Reduce):
            rest.append(operation)
            varying.update([x.buffer for x in written])
        else:
            always.append(operation)
    return always, rest


def _each_time(x: Array) -> Array:
    """Of an array of all times the one of now."""
    return Array(x.buffer, x.shape[1:], x.strides[1:], x.offset, x.strides[0])


def common_dtype(operands: Sequence[Any]) -> np.dtype[Any]:
    """The dtype that NumPy compares operands in; Python's numbers take that of the arrays."""
    kinds = [x.dtype if isinstance(x, (Array, np.generic)) else x for x in operands]
    return np.result_type(*kinds)
