"""The recorder of functions with scans: it watches their turns, and derives their gradients.

What a turn is, is in turn.py; what is made of turns that are the same, in rolling.py.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.modes import Switch
from minidl.autograd.node import Application, Node, next_number
from minidl.autograd.variable import Variable
from minidl.common.pytree import flatten, unflatten
from minidl.compiler.backwards import Derivation
from minidl.compiler.derivative import Recorder, constant_variable, values_of
from minidl.compiler.effects import pause
from minidl.compiler.program import Value, values_in
from minidl.compiler.rolling import UNEVEN, Rolling
from minidl.compiler.scan import Backward, Loop, ScanStep
from minidl.compiler.standin import StandIn, raw_of, stand_in, unwrap
from minidl.compiler.turn import Later, Match, Turn, node_of
from minidl.compiler.values import Input

NOTED = 32  # turns, before others are trusted
OBSERVED = 2  # turns in which C functions that are called are seen


class Turns:
    """Watches the turns of one scan.

    The first ones are noted. If these are one program, the others run as they are; that they were
    that program, too, is seen by what they give: the loop, run for it, must give the same bits.
    """

    def __init__(
        self, recorder: ScanRecorder, step: Callable[..., Any], state: list[Any], xs: list[Any]
    ) -> None:
        self.recorder = recorder
        self.step = step
        self.state = list(map(recorder.seen, state))
        self.xs = list(map(recorder.seen, xs))
        self.ys: list[Any] = []
        self.turns: list[Turn] = []
        self.later: list[Later] = []
        self._start = self._position()
        self._begun = self._start  # where the turn began
        self._observer: Any = None
        self._trusted: Rolling | None = None

    def _position(self) -> tuple[int, int, int]:
        """How many steps are noted, how many on the tape, and a number for what is recorded next."""
        return len(self.recorder.steps), len(self.recorder.tape), next_number()

    def call(self, state: Any, x: Any) -> Any:
        """The next turn. After two, nobody watches its C functions: that takes longest of all."""
        if len(self.turns) == OBSERVED and self._observer is None:
            self._observer = pause()
        if len(self.turns) == NOTED and not self.later and self.recorder.stopped is None:
            rolling = self._rolling()
            if rolling is not None and rolling.is_of_arrays:
                self._trusted = rolling
        if self._trusted is not None:
            with Switch(tracer=None):
                return self.step(_plain(state), _plain(x))
        self._begun = self._position()
        return self.step(state, x)

    def end(self, row: Sequence[Any], new: list[Any], ys: list[Any]) -> None:
        """A turn has ended: the slices that it was given, the state and outputs that it gave."""
        recorder = self.recorder
        if self._trusted is not None:
            self.later.append(Later(new, ys))
            return
        if recorder.stopped is not None:
            return
        steps, tape, since = self._begun
        turn = Turn(
            steps=recorder.steps[steps:],
            tape=recorder.tape[tape:],
            state=self.state,
            row=list(row),
            new=new,
            ys=ys,
            given=tuple(map(recorder.operand, (*self.state, *row))),
            made=tuple(map(recorder.operand, (*new, *ys))),
            since=since,
        )
        self.turns.append(turn)
        self.state = new

    def rolled(self) -> bool:
        """Whether ``state`` and ``ys`` are the results: mostly of one step, in place of the turns."""
        recorder = self.recorder
        if self._observer is not None:
            sys.setprofile(self._observer)
        rolling = self._trusted
        if rolling is None and recorder.stopped is None:
            rolling = self._rolling()
        if rolling is None:
            return False
        steps, tape, _ = self._start
        del recorder.steps[steps:], recorder.tape[tape:]
        apart = len(rolling.turns) < len(self.turns)
        if apart:
            self._begin_apart(rolling)
        self.state, ys = rolling.take_place()
        self.ys = self._with_first(ys) if apart else ys
        return True

    def _rolling(self) -> Rolling | None:
        """What makes one step of the turns, if they are the same."""
        turns = list(self.turns)
        if self.recorder.unrolls or len(turns) < 2:
            return None
        tracked = self.recorder.tracked
        matches = [Match(self.recorder, tracked, turns[-1], turn) for turn in turns]
        agree = [match.agrees for match in matches]
        if not all(agree[1:]):
            return None
        if not agree[0]:  # it begins with a number, where later turns have an array
            if not self._may_stand_apart():
                return None
            del turns[0], matches[0]
        rolling = Rolling(self, turns, matches)
        return rolling if rolling.can_be() else None

    def _with_first(self, ys: list[Any]) -> list[Any]:
        """Stacked outputs of all turns, from those of all but the first."""
        with Switch(tracer=self.recorder):
            pairs = zip(self.turns[0].ys, ys, strict=True)
            return [np.concatenate([np.expand_dims(y, 0), rest]) for y, rest in pairs]

    def _may_stand_apart(self) -> bool:
        """Whether the first turn may stand before the loop."""
        return len(self.turns) > 2 and all(map(_is_constant_array, self.xs))

    def _begin_apart(self, rolling: Rolling) -> None:
        """Leave the first turn where it is, before the loop."""
        recorder = self.recorder
        first = self.turns[0]
        with Switch(tracer=recorder):
            for x, value in zip(self.xs, first.given[len(first.state) :], strict=True):
                x[0]  # which notes a step: it gives what the turn was given
                step = recorder.steps[-1]
                step.out = value
                step.outs = (value,)
            rolling.xs = [x[1:] for x in self.xs]
        recorder.steps += first.steps
        recorder.tape += first.tape


def _plain(tree: Any) -> Any:
    """Arrays in place of stand-ins."""
    leaves, structure = flatten(tree)
    return unflatten(structure, list(map(unwrap, leaves)))


def _is_constant_array(x: Any) -> bool:
    return type(x) is StandIn or (isinstance(x, Variable) and x._node is None)


class ScanRecorder(Recorder):
    """Notes of a function with its loops. ``unrolls``: they are noted turn by turn."""

    def __init__(self, where: dict[int, str]) -> None:
        super().__init__(where)
        self.unrolls = False
        self.derivations: dict[Loop, Derivation] = {}
        self.constants: list[Input] = []  # what rules made in turns
        self.replaced: list[tuple[Application, Function, list[Any]]] = []

    def inner(self) -> ScanRecorder:
        """A recorder that knows the same Values, and has no notes yet."""
        new = copy.copy(self)
        new.steps = []
        new.tape = []
        new.inputs = self.constants
        new.deriving = True
        new.stopped = None
        return new

    def seen(self, x: Any) -> Any:
        """A stand-in for an array."""
        if type(x) is not np.ndarray or self.stopped is not None:
            return x
        return stand_in(x, self._of_array(x))

    def scan(self, step: Callable[..., Any], state: list[Any], xs: list[Any]) -> Turns:
        """What watches the turns of a scan from this state over these arrays."""
        return Turns(self, step, state, xs)

    def boxed(self, node: Application) -> tuple[Sequence[Any], Any] | None:
        """Arguments and result of an application."""
        if not self.deriving and isinstance(self._step_of.get(node), ScanStep):
            self.stop(UNEVEN)  # a gradient with a graph of its own
        return super().boxed(node)

    def joined(
        self, node: Application, g: Any, wanted: Sequence[bool], pending: dict[Node, Any]
    ) -> Sequence[Any]:
        """The gradients of a joint rule; those of a loop go on from what has been received."""
        step = self._step_of.get(node)
        if not isinstance(step, ScanStep):
            return super().joined(node, g, wanted, pending)
        parents: Any = node.inputs
        sums = step.loop.sizes.captured + step.loop.sizes.state
        held = [pending.get(parent) for parent in parents[:sums]]
        raws = tuple(map(raw_of, g))
        begun = tuple(map(raw_of, held))
        backward = self.derivations[step.loop].backward(raws, wanted, begun)
        if backward is None:
            self.stop(UNEVEN)
            return self._turn_by_turn(step, node, raws, wanted)
        with Switch(tracer=None):
            found = backward(raws, begun, (), *node.args)
        values = values_of(found, wanted)
        if self.stopped is None:
            self._note_backward(step, backward, (g, held), values)
        gradients = self.gradients_of(found, values)
        for i, received in enumerate(held):
            if received is not None and i in values:  # it is in the sum that was found
                pending[parents[i]] = gradients[i]
                gradients[i] = None
        return gradients

    def _turn_by_turn(
        self, step: ScanStep, node: Application, gs: Any, wanted: Sequence[bool]
    ) -> list[Any]:
        with Switch(tracer=None):
            found = step.loop.joint(gs, node.output, None, [*wanted], *node.args)
        return list(map(constant_variable, found))

    def _note_backward(
        self, step: ScanStep, backward: Backward, given: Any, values: dict[int, Value]
    ) -> None:
        def call(*args: Any) -> tuple[Any, ...]:
            found = backward(*args)
            return tuple([found[i] for i in values])

        gs, held = (tuple(map(self.operand, part)) for part in given)
        outs = tuple(values.values())
        operands = (gs, held, (step.out[1],), *step.operands)
        derivative = ScanStep(step.loop, step.function, operands, outs, call, backward)
        derivative.places = list(values)
        self.add_step(derivative)

    def is_whole(self, seeds: Sequence[Value], results: Any) -> bool:
        """Whether nothing is used that was noted in the turns of a loop alone."""
        known = {x.value for x in self.inputs}.union(seeds)
        for step in self.steps:
            if not known.issuperset(values_in(step.operands)):
                return False
            known.update(step.outs)
        return known.issuperset(values_in(results))

    def put_back_graphs(self) -> None:
        """Let the graph be that of all turns, as eagerly: one that is left is the function's own."""
        for application, function, ends in self.replaced:
            self._step_of.pop(application, None)
            if application.inputs:
                application.function = function
                application.inputs = tuple(map(node_of, ends))
                application.args = tuple(map(raw_of, ends))
        self.replaced = []
        self.derivations = {}  # these refer to this recorder
        self._modes = (None, None)  # and so do these
