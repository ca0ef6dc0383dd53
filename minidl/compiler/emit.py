"""Straight-line Python of a program: each step is a NumPy call into a buffer planned ahead.

Which buffer a value gets is in buffers.py, long elementwise runs in blocks.py, what the program is
in program.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import identity
from minidl.common.arrays import ROWS_AT_ONCE
from minidl.compiler.program import Program, Step, Value, values_in
from minidl.compiler.tracer import constant, sum_rows
from minidl.functions.elementwise import _to_floating, _to_other
from minidl.functions.masks import masked
from minidl.functions.shape import _concatenate, _split

_UFUNC_OF = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.divide,
    operator.neg: np.negative,
    operator.pos: np.positive,
}
_INFIX = {F.add: "+", F.subtract: "-", F.multiply: "*", F.divide: "/"}
_BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def ufunc_of(step: Step) -> np.ufunc | None:
    """The elementwise ufunc with a single result that a step is, if it is one."""
    if step.derivative:
        return None
    ufunc = _UFUNC_OF.get(step.call, step.call)
    return (
        ufunc
        if isinstance(ufunc, np.ufunc) and ufunc.nout == 1 and ufunc.signature is None
        else None
    )


def is_elementwise(step: Step) -> bool:
    """Whether each element depends on those at its place only: then it can be done in blocks."""
    if step.settings or type(step.out) is tuple or step.out.dtype is None:
        return False
    if step.applies(F.power):
        x, p = step.operands
        floating = isinstance(x, Value) and x.dtype == step.out.dtype and x.dtype.kind == "f"
        return floating and not isinstance(p, Value) and _power(p) is not None
    if step.applies(masked):
        x, mask = step.operands
        return (
            x.shape == mask.shape == step.out.shape
            and x.dtype.kind == "f"
            and x.dtype.itemsize in _BITS
        )
    return step.applies(F.sigmoid, F.relu) or ufunc_of(step) is not None


def _power(p: Any) -> tuple[np.ufunc, tuple[Any, ...]] | None:
    """What ``x ** p`` is on arrays."""
    if type(p) not in (int, float):
        return None
    fast = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal, 1: np.positive}
    return (fast[p], ()) if p in fast else (np.power, (p,))


class Names:
    """The namespace of the code: constants and functions get a name each."""

    def __init__(self, floats: bool = False) -> None:
        self.floats = (
            floats  # float64 numbers as Python's own, on which arithmetic is several times faster
        )
        self.all: dict[str, Any] = {}
        self._of: dict[int, str] = {}

    def __call__(self, thing: Any) -> str:
        if self.floats and type(thing) is np.float64:
            thing = float(thing)
        if thing is None or type(thing) in (int, bool, str):
            return repr(thing)
        if type(thing) is float and thing == thing and abs(thing) != float("inf"):
            return repr(thing)
        if type(thing) is tuple and any(True for _ in values_in(thing)):
            return f"({''.join(f'{self(part)}, ' for part in thing)})"
        if isinstance(thing, Value):
            return thing.name
        if id(thing) not in self._of:
            base = getattr(thing, "__name__", "k")
            name = f"{base if base.isidentifier() else 'k'}_{len(self.all)}"
            self._of[id(thing)], self.all[name] = name, thing
        return self._of[id(thing)]


def elementwise(step: Step, names: Names, arg: Callable[[Any], str], out: str) -> list[str]:
    """Lines that compute an elementwise step into ``out``; ``arg`` gives an operand's name here."""
    a = [arg(x) for x in step.operands]
    if step.applies(F.sigmoid):
        negative, exp, add, divide = (names(u) for u in (np.negative, np.exp, np.add, np.divide))
        first = [f"{negative}({a[0]}, {out})", f"{exp}({out}, {out})"]
        return [*first, f"{add}({out}, 1, {out})", f"{divide}(1, {out}, {out})"]
    if step.applies(F.relu):
        return [f"{names(np.maximum)}({a[0]}, 0, out={out})"]
    if step.applies(masked):
        bits = names(_BITS[step.out.dtype.itemsize])
        return [f"{names(np.multiply)}({a[0]}.view({bits}), {a[1]}, {out}.view({bits}))"]
    if step.applies(F.power):
        ufunc, more = _power(step.operands[1])  # type: ignore[misc]  # is_elementwise asked before
        return [f"{names(ufunc)}({', '.join([a[0], *map(names, more), out])})"]
    ufunc = ufunc_of(step)
    by_name = (
        "out=" if ufunc in (np.maximum, np.minimum) else ""
    )  # NumPy deprecates the other way for these two
    return [f"{names(ufunc)}({', '.join([*a, by_name + out])})"]


def new_array(v: Value, names: Names) -> str:
    """A line that makes the array of a value that is given away."""
    return f"{v} = {names(np.empty)}({v.shape!r}, {names(v.dtype)})"


def into(step: Step, names: Names) -> Callable[[str], list[str]] | None:
    """How a step writes into an existing array of a given name; None if it makes its own."""
    out = step.out
    if (
        type(out) is tuple
        or out.dtype is None
        or out.shape == ()
        or out.size == 0
        or out.dtype.kind not in "fbiu"
    ):
        return None
    x, *rest = step.operands or (None,)
    w: Any = rest[0] if rest else None
    if is_elementwise(step):
        return lambda o: elementwise(step, names, names, o)
    both = isinstance(x, Value) and isinstance(w, Value)
    same = both and x.dtype == w.dtype == out.dtype and min(*x.shape, *w.shape, 1) > 0
    if step.applies(F.matmul) and same:
        f = names(np.dot if len(x.shape) <= 2 and len(w.shape) <= 2 else np.matmul)
        return lambda o: [f"{f}({x}, {w}, {o})"]
    if step.applies(F.linear) and same and len(w.shape) == 2:
        b = rest[1] if len(rest) > 1 else None
        if b is None or b.dtype == out.dtype:
            rows = (
                f"{x}.reshape({out.size // out.shape[-1]}, {x.shape[-1]})"
                if len(x.shape) > 2
                else f"{x}"
            )
            flat = (
                f".reshape({out.size // out.shape[-1]}, {out.shape[-1]})"
                if len(x.shape) > 2
                else ""
            )
            add = [] if b is None else [(np.add, b)]
            return lambda o: [
                f"{names(np.dot)}({rows}, {w}, {o}{flat})",
                *[f"{names(f)}({o}, {b}, {o})" for f, b in add],
            ]
    if step.applies(sum_rows) and out.dtype == x.dtype and x.shape[0] <= ROWS_AT_ONCE:
        ones = names(np.ones(x.shape[0], x.dtype))
        return lambda o: [f"{names(np.dot)}({ones}, {x}, {o})"]
    if step.applies(F.sum) and x.dtype == out.dtype != np.float16:  # which is summed wide
        axis, keep = (w if rest else None), step.settings.get("keepdims", False)
        return lambda o: [f"{names(np.add.reduce)}({x}, {names(axis)}, None, {o}, {keep!r})"]
    if step.applies(_to_floating, _to_other):
        return lambda o: [f"{names(np.copyto)}({o}, {x}, 'unsafe')"]
    if step.applies(_concatenate) and all(
        isinstance(p, Value) and p.dtype == out.dtype for p in step.operands
    ):
        axis = step.settings.get("axis", 0)
        return lambda o: [f"{names(np.concatenate)}({names(step.operands)}, {axis!r}, {o})"]
    return None


def views(step: Step, x: Any) -> tuple[Any, ...]:
    """The parts of an array that a view step gives: as many as it has results."""
    if not step.applies(_split):
        return (step.call(x, *step.operands[1:], **step.settings),)
    return tuple(x[part] for part in _parts(step))


def _parts(step: Step) -> list[tuple[slice, ...]]:
    """The indices of what ``split`` gives."""
    axis = step.settings.get("axis", step.operands[2] if len(step.operands) > 2 else 0) % len(
        step.outs[0].shape
    )
    ends = np.cumsum([0, *(v.shape[axis] for v in step.outs)]).tolist()
    return [(slice(None),) * axis + (slice(a, b),) for a, b in pairwise(ends)]


def as_expression(step: Step, names: Names) -> str:
    """A call that makes its own result: of numbers an operator, else the function itself."""
    a = [names(x) for x in step.operands]
    if type(step.out) is not tuple and step.out.shape == () and not step.settings:
        if step.function in _INFIX:
            return f"{a[0]} {_INFIX[step.function]} {a[1]}"
        if step.applies(F.negative):
            return f"-{a[0]}"
        if step.applies(F.power):
            return (
                f"{a[0]} ** {a[1]}"
                if isinstance(step.operands[0], Value)
                else f"({a[0]}) ** {a[1]}"
            )
        if step.applies(F.positive, identity, constant):
            return a[0]
        if step.applies(F.matmul) and all(len(v.shape) == 1 for v in step.operands):
            return f"{names(np.dot)}({a[0]}, {a[1]})"
    if step.applies(F.transpose) and step.operands[1:] in ((), (None,)):
        return f"{a[0]}.T"
    if step.applies(_split):
        return f"{''.join(f'{a[0]}[{names(part)}], ' for part in _parts(step))}"
    settings = [f"{k}={names(v)}" for k, v in step.settings.items()]
    return f"{names(step.call)}({', '.join([*a, *settings])})"


def as_floats(program: Program) -> bool:
    """Whether all is arithmetic of float64 numbers, where Python's floats are much faster."""
    values = [*program.inputs, *program.seeds, *[v for s in program.steps for v in s.outs]]
    if any(v.shape != () or v.dtype != np.float64 for v in values):
        return False
    return all(
        step.applies(*_INFIX, F.negative, F.positive, identity, constant)
        or (step.applies(F.power) and isinstance(step.operands[1], int))
        for step in program.steps
    )
