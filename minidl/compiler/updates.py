"""Whole training steps: backward and optimizers' updates inside a function that is recorded.

The gradients are derived as in derivative.py and lie in ``.grad`` afterwards, as eagerly; an update
is a step that calls the optimizer, so that its rate, hooks and state are those of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.engine import walk
from minidl.autograd.function import Function
from minidl.autograd.modes import Switch
from minidl.autograd.operation import Operation
from minidl.autograd.variable import Variable, box
from minidl.compiler.derivative import Recorder
from minidl.compiler.optimizers import Progress, Update
from minidl.compiler.program import Operand, Step, Value
from minidl.optim.optimizer import Optimizer


class StepRecorder(Recorder):
    """Notes of a function that may learn: ``learns`` says whether it does."""

    def __init__(self, where: dict[int, str], variables: Sequence[Variable]) -> None:
        super().__init__(where)
        self.variables = variables  # those that the function reaches
        self.entry = {id(p): p._grad for p in variables if not p.lazy}
        self.needs: dict[int, tuple[Variable, bool]] = {}  # whose .grad the program begins with
        self.optimizers: list[Optimizer] = []
        self.progress = Progress()
        self.learns = False
        self.arguments: set[int] = set()  # ids of Variables among the arguments
        self._cleared: set[int] = set()  # ids of Variables whose .grad was forgotten
        self._delivered: dict[int, Operand] = {}  # by parameter: what its .grad is now
        self._set: dict[int, Operand] = {}  # by parameter: what the last update left in its .grad
        self._updated: dict[int, Operand] = {}  # by parameter: the value that it had before

    # ---- backward --------------------------------------------------------------------------------

    def backward(self, y: Variable, seed: Variable, plain: bool, free: bool) -> None:
        """``y.backward()``; ``plain`` if it is asked for the usual, with a seed of ones."""
        if not plain:
            self.stop("backward with a gradient, retain_grad or create_graph is left to eager code")
        outer = self.deriving
        self.deriving = True
        try:
            with Switch(tracer=self, recording=False), np.errstate(all="ignore"):
                node: Any = y._node
                found = walk({node: seed}, self.box, free=free)
        finally:
            self.deriving = outer
        self.learns = True
        for node, g in found.items():
            owner = node.owner() if node.owner is not None else None
            if owner is not None and owner._node is node:
                self._deliver(owner, g)

    def clear(self, params: Sequence[Variable]) -> None:
        """Note that gradients are forgotten: whether there was one makes no difference."""
        self._cleared.update(map(id, params))

    def _deliver(self, p: Variable, g: Variable) -> None:
        """Add a gradient to ``p.grad``, in memory of its own."""
        old = p._grad
        if id(p) in self.arguments:
            self.stop("backward leaves a gradient in an argument")
        elif old is None:
            self._need_none(p)
        elif old is self.entry.get(id(p)) and id(p) not in self._delivered:
            self.needs[id(p)] = (p, True)
            self.register(old, self.add_input("grad", old._raw, p))
        if old is not None:
            with Switch(tracer=self, recording=False):
                g = old + g
        operand = self.operand(g)
        p._grad = box(g._raw.copy() if isinstance(g._raw, np.ndarray) else g._raw, None)
        self.register(p._grad, operand)
        self._delivered[id(p)] = operand

    def _need_none(self, p: Variable) -> None:
        """A ``.grad`` is None: it was before the call, unless the call made it so."""
        if id(p) not in self._cleared and self.entry.get(id(p), p) is None:
            self.needs[id(p)] = (p, False)

    def gradients_left(self) -> list[tuple[Variable, Operand]]:
        """The parameters whose ``.grad`` the function changed, and what it is now (None: cleared)."""
        changed = [
            p
            for p in self.variables
            if p._grad is not self.entry.get(id(p)) or id(p) in (*self._cleared, *self._delivered)
        ]
        left = [(p, None if p._grad is None else self.operand(p._grad)) for p in changed]
        return [(p, g) for p, g in left if g is None or self._set.get(id(p)) is not g]

    # ---- update ----------------------------------------------------------------------------------

    def update(self, optimizer: Optimizer) -> None:
        """``optimizer.update()``."""
        if type(optimizer).update is not Optimizer.update:
            self.stop("an optimizer with an update of its own is left to eager code")
        with Switch(tracer=None):
            Optimizer.update(optimizer)
        self.learns = True
        if self.stopped is not None:
            return
        params = optimizer.params
        mine = [p for p in params if p._grad is not None and id(p) in self._delivered]
        without = [p for p in params if p._grad is None]
        for p in without:
            self._need_none(p)
        operands = tuple([self._delivered[id(p)] for p in mine])
        self._set.update({id(p): operand for p, operand in zip(mine, operands, strict=True)})
        update = Update(optimizer, mine, without, self.progress)
        self.steps.append(Step(_effect(update, "update"), operands, {}, ()))
        if not any(optimizer is other for other in self.optimizers):
            self.optimizers.append(optimizer)
        for p in params:
            before = self._of_object.pop(id(p), None)
            self._updated[id(p)] = before if before is not None else self._updated.get(id(p))

    def _of_variable(self, x: Variable) -> Operand:
        """A parameter that was updated is read again."""
        if id(x) in self._of_object or id(x) not in self._updated:
            return super()._of_variable(x)
        before = self._updated[id(x)]
        read = Function(lambda *_: x._raw if x.ndim else x._raw[()], (), None, "parameter")
        read.operation = Operation(kind="effect")
        read.view = True  # nobody gets its memory
        value = Value(x._raw)
        self.steps.append(Step(read, () if before is None else (before,), {}, value))
        self.register(x, value)
        return value


def _effect(call: Callable[..., Any], name: str) -> Function:
    function = Function(call, (), None, name)
    function.operation = Operation(kind="effect")
    return function
