"""Steps applied again eagerly, one function after the other: second backwards, and graphs of them.

What is noted for it is in recorder.py, who asks for it in runner.py and scan.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from minidl.autograd.function import record
from minidl.autograd.modes import Switch, current
from minidl.compiler.program import Step, Value


def play(tape: Iterable[Step], known: dict[Value, Any], differentiated: AbstractSet[Step]) -> None:
    """Apply steps to what is known of Values, and put their results beside it.

    Those that are ``differentiated`` are recorded in graphs, where the mode records.
    """
    for step in tape:
        args = [_fill(x, known) for x in step.operands]
        _bind(known, step.out, _apply(step, args, step in differentiated))


def _apply(step: Step, args: list[Any], differentiated: bool) -> Any:
    function = step.function
    if step.derivative:
        return step.call(*[_raw(x) for x in args])
    with Switch(recording=differentiated and current().recording):
        if function.operation.kind == "scan" and function.equals is not None:
            return function.equals(*args), None
        y = record(function, tuple(args), step.settings)
    if not function.saves:
        return y
    node = getattr(y[0] if type(y) is tuple else y, "_node", None)
    if node is None:
        return function.forward(*[_raw(x) for x in args], **step.settings)
    return y, (node if hasattr(node, "saved") else node.inputs[0]).saved


def _raw(x: Any) -> Any:
    if type(x) is tuple:
        return tuple([_raw(part) for part in x])
    return getattr(x, "_raw", x)


def _fill(operand: Any, known: dict[Value, Any]) -> Any:
    if isinstance(operand, Value):
        return known[operand]
    if type(operand) is tuple:
        return tuple([_fill(part, known) for part in operand])
    return operand


def _bind(known: dict[Value, Any], out: Any, y: Any) -> None:
    if type(out) is tuple:
        for v, part in zip(out, y):
            _bind(known, v, part)
    else:
        known[out] = y
