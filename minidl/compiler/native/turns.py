"""One turn of a scan, traced, and its derivative: a scan backwards over what the turns left.

What a scan is in a program is in scans.py, in C in lowering.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minidl import functions as F
from minidl.autograd.modes import Switch
from minidl.autograd.node import next_number
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import array_of
from minidl.compiler.native.scans import Counts, ScanStep, free_values
from minidl.compiler.passes import is_transpose, optimized
from minidl.compiler.program import Operand, Program, Step, Value

if TYPE_CHECKING:
    from minidl.compiler.native.trace import Tracer

Body: TypeAlias = Callable[[list[Any], list[Any]], Any]  # (state, x) to (state, ys)


class Turn:
    """A scan as a ``step``: its ``last`` state and ``wholes``, the ys of all times."""

    def __init__(self, tracer: Tracer, body: Body, state: Sequence[Any], xs: Sequence[Any]) -> None:
        self.tracer = tracer
        self.state = state
        self.xs = xs
        self.since = next_number()
        self.before = [tracer.leaf_of(array_of(x)) for x in state]
        self.now = [tracer.leaf_of(array_of(x)[0]) for x in xs]
        result, steps = tracer.noted_apart(lambda: body(list(self.before), list(self.now)))
        self.after, self.ys = map(list, result)
        inputs: list[Any] = [tracer.operand(x) for x in (*self.before, *self.now)]
        outputs = [tracer.operand(x) for x in (*self.after, *self.ys)]
        program = Program(inputs, outputs, steps)
        self.last = [box(np.array(array_of(x)), None) for x in self.after]
        self.length = array_of(xs[0]).shape[0]
        self.wholes = [self._whole(y) for y in self.ys]
        self._outputs: dict[Value, Variable] = {}  # what derivatives read, at all times
        self.step = self._noted(program, [*state, *xs], [*self.last, *self.wholes], len(xs))

    def _whole(self, y: Any) -> Variable:
        array = array_of(y)
        return box(np.zeros((self.length, *np.shape(array)), array.dtype), None)

    def _noted(
        self,
        program: Program,
        operands: Sequence[Any],
        results: Sequence[Variable],
        xs: int,
        backwards: bool = False,
    ) -> ScanStep:
        tracer = self.tracer
        outs = tuple([Value(x._raw) for x in results])
        counts = Counts(len(operands) - xs, xs)
        given = tuple([tracer.operand(x) for x in operands])
        step = ScanStep(self.length, given, outs, program, counts, backwards)
        tracer.add_scan(step)
        for x, v in zip(results, outs, strict=True):
            tracer.register(x, v)
        return step

    # ---- the derivative --------------------------------------------------------------------------

    def backwards(
        self, g: Sequence[Any], wanted: Sequence[bool], captured: Sequence[Variable]
    ) -> list[Any]:
        """The gradients of the state, of the xs, and of what is captured, where they are wanted.

        ``g`` are those of the last state and of the ys, None for none.
        """
        tracer = self.tracer
        count = len(self.state)
        given = [i for i, gy in enumerate(g[count:]) if gy is not None]
        places = [i for i, want in enumerate(wanted[count:]) if want]
        chosen = [[*self.now, *captured][i] for i in places]
        rows = len([i for i in places if i < len(self.xs)])  # gradients of xs
        g_last = [_zeros(x) if gx is None else gx for x, gx in zip(self.state, g)]
        before = [tracer.constant_of(array_of(x)) for x in g_last]
        now = [tracer.constant_of(array_of(self.ys[i])) for i in given]
        found, steps = tracer.noted_apart(lambda: self._derive(before, now, given, chosen))
        rest = found[count + rows :]
        factors = [_factors(tracer.operand(gx), steps) for gx in rest]
        added = [gx for gx, pair in zip(rest, factors, strict=True) if pair is None]
        sums = [tracer.constant_of(_zeros(gx)) for gx in added]
        totals, more = tracer.noted_apart(
            lambda: [total + gx for total, gx in zip(sums, added, strict=True)]
        )
        outputs = [tracer.operand(x) for x in (*found[:count], *totals)]
        outputs += [tracer.operand(x) for x in found[count : count + rows]]
        outputs += [v for pair in factors if pair is not None for v in pair]
        inputs: list[Any] = [tracer.operand(x) for x in (*before, *sums, *now)]
        program = optimized(
            Program(inputs, outputs, [*steps, *more])
        )  # what is not read is not saved
        saved = self._saved(program)
        xs = [*[g[count + i] for i in given], *saved]
        last = [box(array_of(x), None) for x in (*before, *sums)]
        wholes = [box(np.zeros((self.length, *v.shape), v.dtype), None) for v in _ys(program, last)]
        start = [*g_last, *map(_zeros, sums)]
        self._noted(program, [*start, *xs], [*last, *wholes], len(xs), backwards=True)
        of_captured = _of_products(last[count:], factors, wholes[rows:])
        by_place = dict(zip(places, [*wholes[:rows], *of_captured], strict=True))
        return [*last[:count], *map(by_place.get, range(len(wanted) - count))]

    def _derive(
        self,
        before: list[Variable],
        now: list[Variable],
        given: list[int],
        chosen: Sequence[Variable],
    ) -> list[Any]:
        pairs = [*zip(self.after, before), *zip([self.ys[i] for i in given], now)]
        pairs = [(y, g) for y, g in pairs if isinstance(y, Variable)]
        with Switch(recording=False):
            return self.tracer.derive(pairs, [*self.before, *chosen], self.since, zeros=True)

    def _saved(self, program: Program) -> list[Any]:
        """What the derivative reads of the turns, of all times: as more outputs of the scan."""
        body = self.step.body
        made = {v for step in body.steps for v in step.outs}
        wholes = []
        for v in free_values(program):
            if v in body.inputs:
                place = body.inputs.index(v) - len(self.state)
                whole = self.xs[place] if place >= 0 else self._output(v)
            elif v in made:
                whole = self._output(v)
            else:
                continue
            program.inputs.append(v)
            wholes.append(whole)
        return wholes

    def _output(self, v: Value) -> Variable:
        """A Value of the body, at all times."""
        if v in self._outputs:
            return self._outputs[v]
        whole = box(np.zeros((self.length, *v.shape), v.dtype), None)
        value = Value(whole._raw)
        self.step.add_output(v, value)
        self.tracer.register(whole, value)
        self._outputs[v] = whole
        return whole


def _zeros(x: Any) -> Any:
    return np.zeros_like(array_of(x))


def _ys(program: Program, last: Sequence[Any]) -> list[Any]:
    return program.outputs[len(last) :]


def _factors(operand: Operand, steps: Sequence[Step]) -> tuple[Value, Value] | None:
    """The matrices a and b of a gradient that is ``a.T @ b``."""
    makers = {v: step for step in steps for v in step.outs}
    step = makers.get(operand) if isinstance(operand, Value) else None
    if step is None or step.function is not F.matmul or len(step.outs[0].shape) != 2:
        return None
    a, b = step.operands
    turned = makers.get(a)
    if turned is None or not is_transpose(turned) or not isinstance(b, Value):
        return None
    source = turned.operands[0]
    return (source, b) if isinstance(source, Value) else None


def _of_products(sums: list[Any], factors: list[Any], wholes: list[Any]) -> list[Any]:
    """Gradients that are sums over time; those of products as one product of all times."""
    found = []
    rest = iter(wholes)
    totals = iter(sums)
    for pair in factors:
        if pair is None:
            found.append(next(totals))
            continue
        a, b = next(rest), next(rest)
        rows = a.shape[0] * a.shape[1]
        turned = F.transpose(F.reshape(a, (rows, a.shape[2])))
        found.append(turned @ F.reshape(b, (rows, b.shape[2])))
    return found
