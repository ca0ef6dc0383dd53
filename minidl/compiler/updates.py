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
from minidl.common.callers import users_line
from minidl.compiler.optimizers import Progress, Update
from minidl.compiler.program import Operand, Step, Value
from minidl.compiler.rates import reading, setting
from minidl.compiler.scalars import is_number
from minidl.compiler.standin import StandIn, is_among, unwrap
from minidl.compiler.writes import Write, Writer
from minidl.optim.optimizer import Optimizer


class StepRecorder(Writer):
    """Notes of a function that may learn: ``learns`` says whether it does."""

    def __init__(self, where: dict[int, str], reached: dict[int, Any]) -> None:
        super().__init__(where, reached)
        self.entry = {id(p): p._grad for p in self.variables if not p.lazy}
        self.needs: dict[int, tuple[Variable, bool]] = {}  # whose .grad the program begins with
        self.optimizers: list[Optimizer] = []
        self.progress = Progress()
        self.learns = False
        self.effects: list[tuple[int, Step]] = []
        self.cleared_first: list[Variable] = []  # before there was anything to compute
        self._cleared: set[int] = set()  # ids of Variables whose .grad was forgotten
        self._entered: dict[int, Value] = {}  # by parameter: the gradient that it begins with
        self._set: dict[int, Operand] = {}  # by parameter: what the last update left in its .grad
        self._updated: dict[int, Operand] = {}  # by parameter: the value that it had before

    def add_argument(self, x: Variable) -> None:
        """A Variable among the arguments, which may get a value or a gradient as well."""
        if id(x) not in self.entry:
            self.variables.append(x)
            self.entry[id(x)] = x._grad

    # ---- backward --------------------------------------------------------------------------------

    def backward(self, y: Variable, seed: Variable, plain: bool, free: bool) -> None:
        """``y.backward(seed)``; ``plain`` if nothing else is asked for."""
        if not plain:
            self.stop("backward with retain_grad or create_graph is left to eager code")
        self._ask_for_stamps()
        with self.noting_rules():
            start: Any = y._node
            gradients = walk({start: seed}, self.box, free=free)
        self.learns = True
        for node, g in gradients.items():
            owner = node.owner() if node.owner is not None else None
            if owner is not None and owner._node is node:
                self._deliver(owner, g)

    def clear(self, params: Sequence[Variable]) -> None:
        """Note that gradients are forgotten: whether there was one makes no difference."""
        self._cleared.update(map(id, params))
        if not self.steps:
            self.cleared_first += [p for p in params if id(p) in self.entry]

    def grad(self, x: Variable) -> Variable | None:
        """``x.grad``."""
        if type(x) is StandIn:
            raise AttributeError(f"{type(x._raw).__name__!r} object has no attribute 'grad'")
        self._enter(x)
        return x._grad

    def _enter(self, p: Variable) -> None:
        """Let the program begin with the gradient of ``p``, if that is still the one from before."""
        old = p._grad
        if id(p) not in self.entry or id(p) in self.needs or not self._is_from_before(p):
            return
        self.needs[id(p)] = (p, old is not None)
        if old is not None:
            self._entered[id(p)] = self.add_input("grad", old._raw, p)
            self.register(old, self._entered[id(p)])

    def _deliver(self, p: Variable, g: Variable) -> None:
        """Add a gradient to ``p.grad``, in memory of its own."""
        self._enter(p)
        if p._grad is not None:
            with Switch(tracer=self, recording=False):
                g = p._grad + g
        operand = self.operand(g)
        raw = g._raw.copy() if isinstance(g._raw, np.ndarray) else g._raw
        self.owned.add(id(raw))
        p._grad = box(raw, None)
        self.register(p._grad, operand)

    def gradients_left(self) -> list[tuple[Variable, Operand]]:
        """The parameters whose ``.grad`` the function changed, and what it is now (None: cleared)."""
        left = []
        for p in self.variables:
            last = self._set.get(id(p))
            if last is None and self._is_from_before(p):
                continue
            g = None if p._grad is None else self.operand(p._grad)
            if g is None or g is not last:
                left.append((p, g))
        return left

    def demand(self, check: Callable[..., None], xs: Sequence[Variable]) -> None:
        """A check of values, which raises before anything is written."""
        check(*[x._raw for x in xs])
        if self.stopped is not None:
            return

        def look(*raws: Any) -> tuple[()]:
            check(*raws)
            return ()

        look.__name__ = check.__name__
        operands = tuple(map(self.operand, xs))
        self._note_effect(_effect(look, check.__name__), operands)

    def _is_from_before(self, p: Variable) -> bool:
        """Whether the gradient of ``p`` is the one from before."""
        is_cleared = p._grad is None and id(p) in self._cleared
        if is_cleared or p._grad is not self.entry.get(id(p)):
            return False
        value = self._entered.get(id(p))
        return value is None or self._of_object[id(p._grad)] is value

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
        self._write_into(params)
        mine = [p for p in params if p._grad is not None and not self._is_from_before(p)]
        without = [p for p in params if p._grad is None]
        for p in without:
            self._enter(p)
        operands = tuple([self.operand(p._grad) for p in mine])
        self._set.update(zip(map(id, mine), operands, strict=True))
        update = Update(optimizer, mine, without, self.progress)
        self._note_effect(_effect(update, "update"), operands)
        self._learn_by(optimizer)
        for p in params:
            self._forget_data(p)
            self._updated.setdefault(id(p), None)
            if id(p) in self._of_object:
                self._updated[id(p)] = self._of_object.pop(id(p))

    # ---- the optimizer's settings ----------------------------------------------------------------

    def read_setting(self, optimizer: Optimizer, name: str) -> Any:
        """``optimizer.name``: a number is read at each call."""
        with Switch(tracer=None):
            raw = getattr(optimizer, name)
        if self.stopped is not None or not is_number(raw):
            self.stop(f"{name} of an optimizer is read at {users_line()}, and is no number")
            return raw
        return self._note_number(_effect(reading(optimizer, name), name), (), raw)

    def set_setting(self, optimizer: Optimizer, name: str, value: Any) -> None:
        """``optimizer.name = value``."""
        raw = unwrap(value)
        with Switch(tracer=None):
            setattr(optimizer, name, raw)
        if not (is_number(raw) or callable(raw)):
            self.stop(f"{name} of an optimizer is set at {users_line()} to what is no number")
        if self.stopped is None:
            effect = _effect(setting(optimizer, name, self.progress), f"set_{name}")
            self._note_effect(effect, (self.operand(value),))
            self._learn_by(optimizer)

    def _learn_by(self, optimizer: Optimizer) -> None:
        self.learns = True
        if not is_among(optimizer, self.optimizers):
            self.optimizers.append(optimizer)

    def _write_into(self, params: list[Variable]) -> None:
        """Write what was assigned to parameters before they are updated."""
        mine = {id(p) for p in params}
        for write in [w for w in self.writes if id(w.p) in mine]:
            self.writes.remove(write)
            self._note_effect(_effect(writing(write, self.progress), "write"), (write.operand,))

    def _of_variable(self, x: Variable) -> Operand:
        """A parameter that was updated is read again."""
        if id(x) in self._of_object or id(x) not in self._updated:
            return super()._of_variable(x)
        before = self._updated[id(x)]
        read = _effect(lambda *_: x._raw if x.ndim else x._raw[()], "parameter")
        read.view = True  # nobody gets its memory
        value = Value(x._raw)
        self._note_effect(read, () if before is None else (before,), value)
        self.register(x, value)
        return value

    def _note_effect(
        self, function: Function, operands: tuple[Operand, ...], out: Operand = ()
    ) -> None:
        """Note a step that is no application, and where on the tape it would stand."""
        step = Step(function, operands, {}, out)
        self.steps.append(step)
        self.effects.append((len(self.tape), step))


def writing(write: Write, progress: Progress) -> Callable[[Any], tuple[()]]:
    """The function that writes a new value into a Variable."""

    def run(value: Any) -> tuple[()]:
        progress.wrote = True
        write.how(write.p, value)
        return ()

    return run


def _effect(call: Callable[..., Any], name: str) -> Function:
    """A step that stays where it is, whoever uses its results."""
    function = Function(call, (), None, name)
    function.operation = Operation(kind="effect")
    return function
