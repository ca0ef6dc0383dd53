"""The NumPy printer: straight-line Python of a program, on buffers that are planned ahead.

How one step is written is in lines.py, which buffer it is given in plan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.compiler.lines import Names, as_floats, can_write, expression, new_array, write
from minidl.compiler.plan import Plan
from minidl.compiler.program import Operand, Program, Step, Value, values_in


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
        self.source, self.forward, self.backward = self._print(Names())
        if as_floats(program):  # where Python raises, NumPy has infinities
            exact = self.forward, self.backward
            self.source, *fast = self._print(Names(floats=True))
            self.forward, self.backward = map(_or_else, fast, exact)

    def _print(self, names: Names) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
        source = _Source(self.program, self.plan, names).text()
        scope = dict(names.all)
        exec(compile(source, "<minidl program>", "exec"), scope)
        return source, scope.pop("forward"), scope.pop("backward")  # out of it: else a cycle


class _Source:
    """The text of a program."""

    def __init__(self, program: Program, plan: Plan, names: Names) -> None:
        self.program = program
        self.plan = plan
        self.names = names

    def text(self) -> str:
        program = self.program
        at = program.backward_at
        kept = self._kept()
        read = [_unpack([v.name for v in program.inputs], "inputs")]
        read += [_unpack(self.plan.names, "arena"), *self._to_floats(program.inputs)]
        results = "".join([f"{v}, " for v in kept])
        forward = [*read, *self._steps(0, at)]
        forward.append(f"return ({self._given(program.outputs)}), ({results})")
        backward = [*read, _unpack([v.name for v in kept], "kept")]
        backward += [_unpack([v.name for v in program.seeds], "seeds")]
        backward += [*self._to_floats(program.seeds), *self._steps(at, len(program.steps))]
        backward.append(f"return ({self._given(program.gradients)})")
        lines = ["def forward(inputs, arena):", *_indent(forward)]
        lines += ["def backward(inputs, arena, kept, seeds):", *_indent(backward)]
        return "\n".join(lines)

    def _kept(self) -> list[Value]:
        """What the forward leaves to the backward besides the arena."""
        steps = self.program.steps
        at = self.program.backward_at
        later = {v for step in steps[at:] for v in values_in(step.operands)}
        later.update(values_in(tuple(self.program.gradients)))
        mine = [v for step in steps[:at] for v in step.outs if v in later]
        return [v for v in mine if v not in self.plan.place and v not in self.plan.views]

    def _to_floats(self, values: Sequence[Value]) -> list[str]:
        return [f"{v} = float({v})" for v in values] if self.names.floats else []

    def _steps(self, start: int, stop: int) -> list[str]:
        lines: list[str] = []
        grouped = {i for group in self.plan.groups.values() for i in group.range}
        for i in range(start, stop):
            if i in self.plan.groups:
                lines += self.plan.groups[i].lines(self.names, self.plan.visible)
            elif i not in grouped:
                lines += self._step(self.program.steps[i])
        return lines

    def _step(self, step: Step) -> list[str]:
        lines = self._assignment(step)
        if step.errors is None:
            return lines
        return [f"with {self.names.name(np.errstate)}(**{step.errors!r}):", *_indent(lines)]

    def _assignment(self, step: Step) -> list[str]:
        out = step.single
        if step.outs and step.outs[0] in self.plan.views:
            return []
        if out is not None and can_write(step):
            if out in self.plan.place:
                return [write(step, self.names, out.name)]
            if out in self.plan.visible:
                return [new_array(out, self.names), write(step, self.names, out.name)]
        return [f"{_target(step.out)} = {expression(step, self.names)}"]

    def _given(self, roots: Sequence[Operand]) -> str:
        return "".join([f"{self._result(v, roots[:i])}, " for i, v in enumerate(roots)])

    def _result(self, root: Operand, before: Sequence[Operand]) -> str:
        """A result as the caller gets it: memory of its own."""
        if type(root) is np.float64:  # it stays one, whatever the arithmetic is of
            return self.names.name(root)
        if not isinstance(root, Value):
            return self.names(root)
        if self.names.floats:
            return f"{self.names.name(np.float64)}({root})"
        if root.shape == ():
            return f"{root}[()]"  # out of the buffer, if it lies in one
        made = root in self.plan.visible
        if root in before or not made or self.plan.roots_of(root) != {root}:
            return f"{root}.copy()"
        return root.name


def _or_else(fast: Callable[..., Any], exact: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        try:
            return fast(*args)
        except ArithmeticError:
            return exact(*args)

    return run


def _target(out: Any) -> str:
    """What results are assigned to, nested as the call nests them."""
    if type(out) is tuple:
        return f"({''.join([f'{_target(part)}, ' for part in out])})" if out else "_"
    return f"{out}"


def _unpack(names: Sequence[str], of: str) -> str:
    return f"{''.join([f'{name}, ' for name in names])} = {of}" if names else "pass"


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines if line != "pass"]
