"""The NumPy printer: straight-line Python of a program, on buffers that are planned ahead.

How one step is written is in lines.py, which buffer it is given in plan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl.compiler.lines import Names, as_floats, can_write, expression, listed, new_array, write
from minidl.compiler.plan import Plan
from minidl.compiler.program import Operand, Program, Step, Value

Halves: TypeAlias = tuple[Callable[..., Any], Callable[..., Any]]  # forward and backward


class Code:
    """Runs a program by ``forward(inputs, arena)`` and ``backward(inputs, arena, kept, seeds)``.

    ``arena()`` makes the buffers of one run. The forward gives (outputs, what else the backward
    needs), the backward the gradients. Outputs and gradients are new arrays each time; everything
    else is written to the arena.
    """

    def __init__(self, program: Program) -> None:
        program.name_values()
        self.program = program
        self.plan = Plan(program)
        self.arena = self.plan.arena
        self.nbytes = sum(self.plan.sizes)
        halves = self._print(None)
        if as_floats(program):
            halves = self._print(halves)
        self.forward, self.backward = halves

    def _print(self, exact: Halves | None) -> Halves:
        source = _Source(self.program, self.plan, exact)
        self.source = source.text()
        scope = dict(source.names.all)
        exec(compile(self.source, "<minidl program>", "exec"), scope)
        return scope.pop("forward"), scope.pop("backward")  # out of it: else a cycle


class _Source:
    """The text of a program; with the ``exact`` halves, on arrays, that of Python's own floats."""

    def __init__(self, program: Program, plan: Plan, exact: Halves | None) -> None:
        self.program = program
        self.plan = plan
        self.exact = exact
        self.names = Names(exact is not None)

    def text(self) -> str:
        program = self.program
        at = program.backward_at
        inputs = _names(program.inputs)
        kept = _names(self._kept())
        seeds = _names(program.seeds)
        unpacked = [_unpack(inputs, "inputs"), _unpack(self.plan.names, "arena")]
        forward = [
            *unpacked,
            *self._steps(inputs, 0, at),
            f"return ({self._given(program.outputs)}), ({listed(kept)})",
        ]
        backward = [
            *unpacked,
            _unpack(kept, "kept"),
            _unpack(seeds, "seeds"),
            *self._steps([*inputs, *seeds], at, len(program.steps)),
            f"return ({self._given(program.gradients)})",
        ]
        lines = ["def forward(inputs, arena):", *_indent(forward)]
        lines += ["def backward(inputs, arena, kept, seeds):", *_indent(backward)]
        return "\n".join(lines)

    def _kept(self) -> list[Value]:
        """What the forward leaves to the backward besides the arena."""
        arena = {*self.plan.place, *self.plan.views}
        return [v for v in self.program.saved if v not in arena]

    def _steps(self, given: Sequence[str], start: int, stop: int) -> list[str]:
        """The steps of one half, which is given values of these names."""
        if self.exact is None:
            return self._lines(start, stop)
        effects = sum(step.is_effect for step in self.program.steps[start:stop])
        ends = stop - effects  # the arithmetic: effects come last
        return [
            *[f"{name} = float({name})" for name in given],
            "try:",
            *_indent(self._lines(start, ends) or ["..."]),
            "except ArithmeticError:  # where NumPy has infinities",
            f"    return {self._exactly(self.exact, backward=start > 0)}",
            *self._lines(ends, stop),
        ]

    def _exactly(self, exact: Halves, backward: bool) -> str:
        """The call of a half on arrays."""
        forward_name, backward_name = map(self.names.name, exact)
        if not backward:
            return f"{forward_name}(inputs, arena)"
        kept = f"[*map({self.names.name(np.float64)}, kept)]"
        return f"{backward_name}(inputs, arena, {kept}, seeds)"

    def _lines(self, start: int, stop: int) -> list[str]:
        lines: list[str] = []
        plan = self.plan
        for i in range(start, stop):
            if i in plan.groups:
                lines += plan.groups[i].lines(self.names, plan.visible)
            elif i not in plan.grouped:
                lines += self._step(self.program.steps[i])
        return lines

    def _step(self, step: Step) -> list[str]:
        lines = self._assignment(step)
        if step.errors is None:
            return lines
        errstate = self.names.name(np.errstate)
        return [f"with {errstate}(**{step.errors!r}):", *_indent(lines)]

    def _assignment(self, step: Step) -> list[str]:
        names = self.names
        plan = self.plan
        out = step.single
        if step.outs and step.outs[0] in plan.views:
            return []
        if step.is_effect and not step.outs:  # it leaves gradients where they stay
            return [f"{names.name(step.call)}({self._given(step.operands)})"]
        if out is not None and can_write(step):
            if out in plan.place:
                return [write(step, names, out.name)]
            if out in plan.visible:
                return [new_array(out, names), write(step, names, out.name)]
        return [f"{_target(step.out)} = {expression(step, names)}"]

    def _given(self, roots: Sequence[Operand]) -> str:
        return listed([self._result(v, roots[:i]) for i, v in enumerate(roots)])

    def _result(self, root: Operand, before: Sequence[Operand]) -> str:
        """A result as the caller gets it: memory of its own."""
        if type(root) is np.float64:  # it stays one, whatever the arithmetic is of
            return self.names.name(root)
        if not isinstance(root, Value):
            return self.names(root)
        if self.names.floats:
            return f"{self.names.name(np.float64)}({root})"
        if root.dtype is None:  # a number of Python's
            return root.name
        if root.shape == ():
            return f"{root}[()]"  # out of the buffer, if it lies in one
        is_new = root in self.plan.visible and self.plan.roots_of(root) == {root}
        return root.name if is_new and root not in before else f"{root}.copy('K')"


def _target(out: Any) -> str:
    """What results are assigned to, nested as the call nests them."""
    if type(out) is tuple:
        return f"({listed(map(_target, out))})" if out else "_"
    return f"{out}"


def _unpack(names: Sequence[str], of: str) -> str:
    return f"{listed(names)} = {of}" if names else "pass"


def _names(values: Sequence[Value]) -> list[str]:
    """The names of Values."""
    return [v.name for v in values]


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines if line != "pass"]
