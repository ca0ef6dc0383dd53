"""Programs in C agree with eager code over the catalogue of functions, values and gradients, order 2 too.

Many programs share a translation unit, or compiling them would take minutes.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable
from minidl.autograd.modes import current
from minidl.compiler.native import library
from minidl.compiler.native.arrays import NotInC
from minidl.compiler.native.code import NativeCode, source_of
from minidl.compiler.observed import Call
from minidl.compiler.recording import Recording
from tests.functions.catalogue import ROWS, Row, outputs

UNIT = 40  # programs in one translation unit
# Relative to the largest of an array, or to 0.001 where all are smaller.
BOUNDS = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-11}
# Everything else in the catalogue has a form in C, with calls of NumPy between.
WITHOUT_FORM = {"lstm", "rnn", "gru"}  # their gradients: the scans backwards


def total(ys: Any) -> Any:
    """The outputs, weighed and added up."""
    result = 0.0
    for y in outputs(ys):
        if getattr(y, "dtype", None) is not None and y.dtype.kind == "f":
            weights = 1 + np.arange(y.size).reshape(y.shape) % 7 * 0.37
            result = result + (y * weights.astype(y.dtype)).sum()
    return result


class Program:
    """A function of one row, of order 1 or 2, recorded, and its C."""

    def __init__(self, row: Row, order: int, prefix: str) -> None:
        self.row = row
        self.function = value_of(row) if order == 1 else slope_of(row)
        xs = [Variable(x) for x in row.samples]
        self.recording = Recording(Call(self.function, tuple(xs), {}, list(xs), current()), set())
        if self.recording.why is None:
            self.code = NativeCode(self.recording, prefix)

    def check(self) -> None:
        """C and eager code agree on a second batch."""
        xs = [Variable(x) for x in self.row.another()]
        y = self.function(*xs)
        inputs = tuple([self._input(x, xs) for x in self.recording.recorder.inputs])
        arena = self.code.arena()
        values, _ = self.code.forward(inputs, arena)
        for got, want in zip(values, outputs(y), strict=True):
            assert_close(got, getattr(want, "_raw", want))
        seeds = self.recording.program.seeds
        if not seeds:
            return
        y.backward()
        ones = [np.ones(v.shape, v.dtype)[()] for v in seeds]
        gradients = iter(self.code.backward(inputs, arena, (), ones))
        for x, wanted in zip(self.recording.recorder.inputs, self.recording.differentiable):
            g = next(gradients) if wanted else None
            if wanted and x.kind == "argument":
                variable = xs[x.of]
                want = variable._raw * 0 if variable.grad is None else variable.grad.data
                assert_close(want * 0 if g is None else g, want)

    @staticmethod
    def _input(x: Any, xs: list[Variable]) -> Any:
        return xs[x.of]._raw if x.kind == "argument" else getattr(x.of, "_raw", x.of)


def value_of(row: Row) -> Callable[..., Any]:
    return lambda *xs: total(row(*xs))


def slope_of(row: Row) -> Callable[..., Any]:
    places = tuple(range(len(row.samples)))
    return lambda *xs: total(minidl.grad(value_of(row), places)(*xs))


def assert_close(got: Any, want: Any) -> None:
    got = np.asarray(got)
    want = np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype
    assert np.array_equal(np.isfinite(got), np.isfinite(want))
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite], equal_nan=True)
    scale = max(float(np.abs(want[finite]).max(initial=0)), 1e-3)
    assert np.abs(got - want)[finite].max(initial=0) <= BOUNDS[want.dtype] * scale


def rows(brief: int) -> list[Row]:
    """So many rows of each function."""
    seen: dict[str, int] = {}
    chosen = []
    for row in ROWS:
        if row.samples and row.name != "dropout":
            seen[row.name] = seen.get(row.name, 0) + 1
            if seen[row.name] <= brief:
                chosen.append(row)
    return chosen


def programs_of(chosen: list[Row], order: int) -> list[Program]:
    programs = []
    for row in chosen:
        if order > row.order:
            continue
        try:
            program = Program(row, order, f"p{len(programs)}_")
        except NotInC:
            assert row.name in WITHOUT_FORM or row.label, row.name
            continue
        if program.recording.why is None:
            programs.append(program)
    return programs


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize(("order", "single"), [(1, True), (2, False)])
def test_the_catalogue(order: int, single: bool, part: int, compiler: Any) -> None:
    chosen = rows(brief=1)[part::4]
    if single:
        chosen = [row.narrowed() for row in chosen]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        programs = programs_of(chosen, order)
        assert len(programs) > len(chosen) // 2
        for i in range(0, len(programs), UNIT):
            some = programs[i : i + UNIT]
            loaded = library.load(source_of([program.code for program in some]))
            for program in some:
                program.code.load(loaded)
        for program in programs:
            with of_row(program.row):
                program.check()


@contextmanager
def of_row(row: Row) -> Iterator[None]:
    """Say which row it was."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{row.name} {row.label}: {error}") from error
