"""Steps applied again eagerly, one function after the other: second backwards, and graphs of them.

What is noted for it is in recorder.py, who asks for it in runner.py and scan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from minidl.autograd.function import record
from minidl.autograd.modes import Switch, current
from minidl.autograd.node import Output
from minidl.autograd.targets import gradients_for
from minidl.autograd.variable import Variable
from minidl.compiler.program import Step, Value, replace
from minidl.compiler.standin import raw_of


def play(tape: Iterable[Step], known: dict[Value, Any], differentiated: AbstractSet[Step]) -> None:
    """Apply steps to what is known of Values, and put their results beside it.

    Those that are ``differentiated`` are recorded in graphs, where the mode records.
    """
    for step in tape:
        args = [replace(x, known) for x in step.operands]
        _bind(known, step.out, _apply(step, args, step in differentiated))


def gradients_again(
    again: Callable[..., Any], args: Sequence[Any], wanted: Sequence[bool], gs: Sequence[Any]
) -> list[Any]:
    """The gradients of arguments, after computing everything again, eagerly and with a graph.

    ``gs`` are those of the results; None where no gradient arrives.
    """
    copies = [Variable(x) if want else x for x, want in zip(args, wanted, strict=True)]
    xs = [copy if want else None for copy, want in zip(copies, wanted)]
    with Switch(tracer=None, recording=True):
        ys = again(*copies)
    results = ys if type(ys) is tuple else (ys,)
    pairs = [(y, g) for y, g in zip(results, gs) if isinstance(y, Variable)]
    return gradients_for(xs, pairs, None, zeros=False)


def _apply(step: Step, args: list[Any], differentiated: bool) -> Any:
    function = step.function
    if step.derivative:
        return step.call(*map(_raws_of, args))
    with Switch(recording=differentiated and current().recording):
        if function.operation.kind == "scan" and function.equals is not None:
            return function.equals(*args), None
        y = record(function, tuple(args), step.settings)
    if not function.saves:
        return y
    first = y[0] if type(y) is tuple else y
    node: Any = getattr(first, "_node", None)
    if node is None:
        return function.forward(*map(_raws_of, args), **step.settings)
    application: Any = node.inputs[0] if type(node) is Output and node.inputs else node
    return y, application.saved


def _raws_of(x: Any) -> Any:
    return tuple(map(_raws_of, x)) if type(x) is tuple else raw_of(x)


def _bind(known: dict[Value, Any], out: Any, y: Any) -> None:
    if type(out) is tuple:
        for v, part in zip(out, y):
            _bind(known, v, part)
    else:
        known[out] = y
