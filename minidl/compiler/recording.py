"""A recorded call: what was noted of it becomes a program, or it is said why there is none.

How the call is made is in observed.py, how the program is called in specialization.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd.modes import Switch
from minidl.autograd.variable import Variable, box
from minidl.compiler.forms import NotForPrograms, objects_in, take_apart
from minidl.compiler.observed import ObservedCall
from minidl.compiler.places import Change
from minidl.compiler.program import Operand, Program, Value, values_in
from minidl.compiler.rolling import UNEVEN
from minidl.compiler.scalars import Number
from minidl.compiler.standin import StandIn, is_among
from minidl.compiler.values import Input
from minidl.compiler.writes import fill

MISS = object()  # in place of a result: the program does not serve
OF_PLACES = ("state", "state number")  # inputs


class Recording(ObservedCall):
    """One recorded call, and if ``why`` is None the ``program`` of it.

    ``real`` are the Values that it gives, ``floating`` those of them that are differentiated;
    ``differentiable`` says of each input whether it is. ``owners`` are the Variables among the
    arguments that it writes into. It leaves ``changes`` and ``fills`` in places, ``gradients`` and
    ``writes`` in Variables; ``learns`` says that it leaves more than its result.
    """

    def _observe(self) -> None:
        """Make the call, and then the program of it."""
        super()._observe()
        if self.why is None:
            self._take()
        self.recorder.put_back_graphs()
        self.recorder.close()

    def _take(self) -> None:
        """The program, from the notes and what the function gave."""
        recorder = self.recorder
        try:
            self.changes = self.inside.changes()
            new = [change.value for change in self.changes if change.more is None]
            roots = take_apart([self.raw_result, *new], self._knows)
        except NotForPrograms as error:
            self.why = str(error)
            return
        with Switch(tracer=recorder):
            self._outputs = {id(x): (recorder.operand(x), _kind(x)) for x in roots}
        self.outputs: list[Operand] = [operand for operand, _ in self._outputs.values()]
        results = (*self.outputs, *self._left())
        self.tape = list(recorder.tape)
        self.real = list(dict.fromkeys(values_in(results)))
        self.program = Program([], list(self.real), list(recorder.steps))
        self._leave_out_states()
        self._differentiate({self.output_of(x)[0]: x for x in roots})
        if not recorder.is_whole(self.program.seeds, tuple(self.real)):
            recorder.stop(UNEVEN)
        self.why = recorder.stopped

    def _left(self) -> list[Operand]:
        """What the call leaves in Variables, and in the arrays of places."""
        recorder = self.recorder
        self.fills = self.inside.fills()
        self.gradients = recorder.gradients_left()
        self.writes = recorder.writes
        self.learns = recorder.learns or bool(self.gradients or self.writes or self.fills)
        in_variables = [*self.gradients, *[(write.p, write.operand) for write in self.writes]]
        self.owners = [p for p in dict(in_variables) if not self.reach.knows(p)]
        left = [operand for _, operand in in_variables]
        return left + [fill.operand for fill in self.fills]

    def _leave_out_states(self) -> None:
        """What is in places and not computed with is no input: its graph would never end."""
        steps = (*self.program.steps, *self.tape)
        used = set(values_in((*self.real, *[step.operands for step in steps])))
        inputs = self.recorder.inputs
        self.recorder.inputs = [x for x in inputs if x.kind not in OF_PLACES or x.value in used]

    @property
    def is_simple(self) -> bool:
        """Whether the result is nothing but one Variable that is differentiated."""
        x = self.raw_result
        return id(x) in self._outputs and self.output_of(x)[0] in self.floating

    def _knows(self, x: Any) -> bool:
        return self.reach.knows(x) or is_among(x, objects_in(self.call.args))

    def output_of(self, x: Any) -> tuple[Operand, type]:
        """What an array or Variable of the result is in the program, and what it is eagerly."""
        return self._outputs[id(x)]

    # ---- the backward ----------------------------------------------------------------------------

    def _differentiate(self, outputs: dict[Operand, Any]) -> None:
        """Derive the gradients of the inputs from those of the outputs."""
        recorder = self.recorder
        if self.learns and any(map(self._keeps_graph, self.changes)):
            recorder.stop("a state keeps its graph beyond a call that learns: cut or detach it")
        self.floating = [v for v in self.real if _has_graph(outputs.get(v))]
        xs = [self._differentiated(x) for x in recorder.inputs]
        wanted = {x.value for x, variable in zip(recorder.inputs, xs) if variable is not None}
        self.reached = self._reached_from(wanted)
        writes = bool(self.writes or self.fills) and not recorder.learns
        if writes and not self._graphs_are_over(xs):
            recorder.stop("it writes into an array, and gives a result with a graph")
        if self.learns or not (self.call.mode.recording and wanted):
            self.floating = []
        if self.floating:
            self._derive(outputs, xs)
        recorder.inputs.sort(key=lambda x: x.kind == "draw")  # draws come last
        self.differentiable = [x.value in wanted for x in recorder.inputs]
        self.program.inputs = [x.value for x in recorder.inputs]

    def _derive(self, outputs: dict[Operand, Any], xs: list[Variable | None]) -> None:
        """Note the steps of the backward; ``xs`` are the inputs that gradients are wanted of."""
        recorder = self.recorder
        program = self.program
        program.backward_at = len(program.steps)
        pairs = []
        for v in self.floating:
            seed = box(np.ones_like(outputs[v]._raw)[()], None)
            program.seeds.append(Value(seed._raw))
            recorder.register(seed, program.seeds[-1])
            pairs.append((outputs[v], seed))
        gradients = recorder.derive(pairs, xs, self.since)
        wanted = [g for g, x in zip(gradients, xs) if x is not None]
        program.gradients = [None if g is None else recorder.operand(g) for g in wanted]
        program.steps = list(recorder.steps)

    def _graphs_are_over(self, xs: list[Any]) -> bool:
        """Whether no graph of a result can be walked back: each is over a Variable's old value."""
        new = [write.p for write in self.writes if write.how is not fill]
        pairs = zip(self.recorder.inputs, xs, strict=True)
        old = {x.value for x, variable in pairs if is_among(variable, new)}
        return all(not old.isdisjoint(self.reached.get(v, ())) for v in self.floating)

    def _keeps_graph(self, change: Change) -> bool:
        if change.more is not None or change.place.use == "output":
            return False
        return any(map(_has_graph, take_apart(change.value, self._knows)))

    def _differentiated(self, x: Input) -> Variable | None:
        """The Variable that an input is, if it requires a gradient; else None."""
        variable: Any = None
        if x.kind == "argument":
            variable = self.call.leaves[x.of]
        elif x.kind == "state":
            variable = self.states.leaves[x.of]
        elif x.kind == "object":
            variable = x.of
        return variable if _has_graph(variable) else None

    def _reached_from(self, inputs: set[Value]) -> dict[Value, set[Value]]:
        """The inputs that each value is differentiated by."""
        reached = {v: {v} for v in inputs}
        for step in self.tape:
            if step in self.recorder.differentiated:
                sets = [reached[v] for v in values_in(step.operands) if v in reached]
                reached.update(dict.fromkeys(step.outs, set().union(*sets)))
        return reached


def _has_graph(x: Any) -> bool:
    return getattr(x, "_node", None) is not None


def _kind(x: Any) -> type:
    """What a result is eagerly."""
    if type(x) in (StandIn, Number):
        return type(x._raw)
    return Variable if isinstance(x, Variable) else type(x)
