"""Optimizers' updates in C: what an algorithm does to arrays, noted once, its numbers at each call.

``apply`` of an optimizer runs on collectors in place of arrays. That gives what is done to each
element, which is C, and the numbers that depend on rates and times, which Python computes anew.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.variable import box
from minidl.compiler.native.arrays import C_TYPES, Array
from minidl.compiler.native.expressions import UFUNCS
from minidl.compiler.native.operations import Call, is_row_major
from minidl.compiler.optimizers import Update

_IN_PLACE = {"iadd": np.add, "isub": np.subtract, "imul": np.multiply, "itruediv": np.divide}


class NotNoted(Exception):
    """An algorithm does something else than elementwise arithmetic, written into its arrays."""


class Notes:
    """What was done to arrays: ``done`` by ufuncs, with the numbers that took part in order."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.numbers: list[float] = []

    def note(self, ufunc: np.ufunc, out: Collector, operands: Sequence[Any]) -> None:
        """Note ``ufunc(*operands, out=out)``."""
        names: list[Any] = []
        for x in operands:
            if type(x) is Collector:
                names.append(x.name)
            elif isinstance(x, float | int | np.floating):
                names.append(None)
                self.numbers.append(float(x))
            else:
                raise NotNoted
        self.done.append((ufunc, out.name, *names))


class Collector:
    """Stands for an array that an algorithm changes in place."""

    __slots__ = ("name", "notes")

    def __init__(self, name: str, notes: Notes) -> None:
        self.name = name
        self.notes = notes

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        out = settings.pop("out", (None,))[0]
        if method != "__call__" or settings or type(out) is not Collector or ufunc not in UFUNCS:
            raise NotNoted
        self.notes.note(ufunc, out, inputs)
        return out


def _in_place(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def change(self: Collector, other: Any) -> Collector:
        self.notes.note(ufunc, self, (self, other))
        return self

    return change


for _name, _ufunc in _IN_PLACE.items():
    setattr(Collector, f"__{_name}__", _in_place(_ufunc))


class NativeUpdate:
    """An update whose arithmetic is in C, as long as the optimizer's buffers stay the same.

    Raises NotNoted if the optimizer does what has no form in C.
    """

    def __init__(self, call: Call) -> None:
        update = call.step.function.forward
        gradients = call.operands
        if not isinstance(update, Update) or not all(map(_is_plain, gradients)):
            raise NotNoted
        self.call = call
        self.update = update
        self.function: Any = None
        optimizer = update.optimizer
        self.buffers = list(optimizer._buffers._active)
        self.states = len(optimizer.state_names)
        self.parts: list[list[Array]] = []  # the gradients, by buffer
        self.done: list[list[Any]] = []
        self.count = 0
        settings = optimizer._settings_of_groups()
        for buffer, order in zip(self.buffers, optimizer._buffers._orders, strict=True):
            if buffer._wide is not None or not buffer.params:
                raise NotNoted
            notes = self._collected(buffer, settings)
            self.done.append(notes.done)
            self.count += len(notes.numbers)
            self.parts.append([gradients[i] for i in order])

    def _collected(self, buffer: Any, settings: Any) -> Notes:
        """What the algorithm does to a buffer now, by the numbers of its next step."""
        notes = Notes()
        names = ["p", "g", "out", *[f"s{i}" for i in range(self.states)]]
        arrays = [Collector(name, notes) for name in names]
        own = settings[buffer.group]
        apply: Any = self.update.optimizer.apply
        apply(*arrays, t=buffer.t + 1, **own)
        return notes

    def arrays(self, gradients: Sequence[Any]) -> list[Any]:
        """For each parameter its values, its states and its gradient, as C gets them."""
        found = []
        orders = self.update.optimizer._buffers._orders
        for buffer, order in zip(self.buffers, orders, strict=True):
            for k, i in enumerate(order):
                states = [views[k] for views in buffer.state]
                found += [buffer.views[k], *states, gradients[i]]
        return found

    # ---- the C -----------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """Loops over all parameters."""
        lines = ["const double *restrict const k = p[0];", "(void)k;"]
        place = 1
        start = 0
        for gradients, done in zip(self.parts, self.done, strict=True):
            texts, used = _statements(done, start)
            start += used
            for g in gradients:
                lines += self._loop(g, texts, place)
                place += 2 + self.states
        return lines

    def _loop(self, g: Array, texts: list[str], place: int) -> list[str]:
        kind = C_TYPES[g.dtype]
        names = ["p", *[f"s{i}" for i in range(self.states)]]
        lines = ["{"]
        for i, name in enumerate(names):
            lines.append(f"{kind} *restrict const {name}_now = p[{place + i}];")
        lines.append(f"const {kind} *restrict const g_now = p[{place + len(names)}];")
        lines += ["SIMD", f"for (ptrdiff_t i = 0; i < {g.size}; i++) {{"]
        lines += [f"{kind} {name} = {name}_now[i];" for name in names]
        lines += [f"const {kind} g = g_now[i];", f"{kind} out = 0;", "(void)g;", "(void)out;"]
        lines += [_in_precision(text, g.dtype) for text in texts]
        lines += [f"{name}_now[i] = {name};" for name in names]
        return [*lines, "}", "}"]

    # ---- a call ----------------------------------------------------------------------------------

    def numbers(self) -> list[float] | None:
        """The numbers of this step; None if C cannot do it: something is not as it was."""
        update = self.update
        optimizer = update.optimizer
        if optimizer.hooks or not update._short:
            return None
        settings = optimizer._settings_of_groups()
        buffers = optimizer._buffers
        buffers.prepare(update.ready, optimizer._group_of, self.states)
        if len(buffers._active) != len(self.buffers):
            return None
        if not all(map(operator.is_, buffers._active, self.buffers)):
            return None
        numbers: list[float] = []
        for buffer, done in zip(self.buffers, self.done):
            notes = self._collected(buffer, settings)
            if notes.done != done:
                return None
            numbers += notes.numbers
        return numbers

    def leave(self, gradients: Sequence[Any]) -> None:
        """Leave all that an update leaves besides values and states."""
        update = self.update
        update.progress.wrote = True
        for p in update.cleared:
            p._grad = None
        for p, g in zip(update.given, gradients):
            p._grad = box(g)
        update.stamp()
        for buffer in self.buffers:
            buffer.t += 1
        update.optimizer.t += 1


def _is_plain(g: Any) -> bool:
    """Whether a gradient lies in a row in memory of the program's own."""
    return isinstance(g, Array) and is_row_major(g) and g.buffer.kind in ("work", "output")


def _in_precision(text: str, dtype: Any) -> str:
    single = dtype == np.float32
    text = text.replace("REAL", C_TYPES[dtype]).replace("~", "f" if single else "")
    return text.replace("#", "f32" if single else "f64")


def _statements(done: Sequence[Any], start: int) -> tuple[list[str], int]:
    """What is done, in C, and how many numbers it takes from the table."""
    lines = []
    used = 0
    for ufunc, out, *names in done:
        operands = []
        for name in names:
            if name is None:
                operands.append(f"(REAL)k[{start + used}]")
                used += 1
            else:
                operands.append(name)
        if out == "g":
            raise NotNoted
        lines.append(f"{out} = {UFUNCS[ufunc].text.format(*operands)};")
    return lines, used
