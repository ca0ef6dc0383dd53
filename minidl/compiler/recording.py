"""Recording a call: the function runs once, for real, and what comes of it is a program, or why not.

How the program is called is in specialization.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Set
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.modes import Mode, Switch
from minidl.autograd.node import next_number
from minidl.autograd.variable import Variable, box
from minidl.common import random
from minidl.compiler.effects import Draws, Observer, generators_of
from minidl.compiler.forms import (
    Arguments,
    NotForPrograms,
    numbers_in,
    objects_in,
    take_apart,
    unwrapped,
)
from minidl.compiler.places import Change, Inside, States
from minidl.compiler.program import Operand, Program, Value, values_in
from minidl.compiler.rates import telling
from minidl.compiler.reach import Reach
from minidl.compiler.rolling import UNEVEN
from minidl.compiler.scalars import Number
from minidl.compiler.snapshot import Entry
from minidl.compiler.standin import StandIn, stand_in
from minidl.compiler.updates import StepRecorder
from minidl.compiler.writes import fill

MISS = object()  # in place of a result: the program does not serve


class Call(NamedTuple):
    """A call of a function: its arguments, and the arrays among them in order."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    leaves: list[Any]
    mode: Mode

    def eagerly(self) -> Any:
        """What the function gives."""
        return self.function(*self.args, **self.kwargs)


class Recording:
    """One recorded call. ``result`` is what the function gave; ``why`` there is no program, or None.

    ``silent``: the next call may well give one, as what is made at first use is there by then.
    """

    def __init__(
        self,
        call: Call,
        entries: set[Entry],
        unrolls: bool = False,
        varying: Set[int] = frozenset(),
        constant: Container[Entry] = frozenset(),
    ) -> None:
        self.call = call
        self.entries = entries  # of containers, that calls were seen to write
        self.varying = varying  # numbers among the arguments, by their place
        self.numbers = 0  # in places; ``constant`` are those that decide on something
        self.silent = False
        roots = [call.function, *objects_in([*call.args, *call.kwargs.values()])]
        self.reach = Reach(roots, entries, constant)
        self.why = self.reach.unwatchable or self._asks_for_identity()
        if self.why is not None:
            self.result = call.eagerly()
            return
        if "type" in self.reach.names.of("global"):  # which would tell what stands for a number
            self.varying = frozenset()
        self.variables = [x for x in self.reach.found.values() if isinstance(x, Variable)]
        where = {**self.reach.where, **dict.fromkeys(self.reach.generators, "")}
        self.recorder = StepRecorder(where, self.reach.found)
        self.recorder.unrolls = unrolls
        self.since = next_number()
        self.states = States(self.reach.places)
        self._places = count()
        self.differentiable: list[bool] = []  # whether each input is differentiated
        draws = Draws([random.generator(), *generators_of(self.reach)])
        try:
            raw_result, written = self._run()
        except Exception as error:
            if self._did_something(draws):
                raise
            self._run_eagerly(error)
            return
        self.result = unwrapped(raw_result)
        effect = self._effects(written, draws)
        self.why = effect if self.silent else self.recorder.stopped or effect
        if self.why is None:
            self._take(raw_result)
        self.recorder.put_back_graphs()
        self.recorder.close()

    def _asks_for_identity(self) -> str | None:
        """Whether the function may tell a stand-in from the array that it closes over, in words."""
        closed_over = any(
            id(x) in self.reach.where for x in self.call.leaves if type(x) is np.ndarray
        )
        if closed_over and self.reach.names.of("is"):
            return "it asks whether an argument is an array that it closes over"
        return None

    # ---- the call --------------------------------------------------------------------------------

    def _run(self) -> tuple[Any, bool]:
        """Call the function on stand-ins; its result, and whether it wrote into its arguments."""
        twins: dict[int, Any] = {}
        leaves = [self._stand_in("argument", i, x, twins) for i, x in enumerate(self.call.leaves)]
        states = [self._stand_in("state", i, x, twins) for i, x in enumerate(self.states.leaves)]
        arguments = Arguments(iter(leaves), self._number if self.varying else None)
        args = [arguments.put(x) for x in self.call.args]
        kwargs = {name: arguments.put(x) for name, x in self.call.kwargs.items()}
        self.inside = Inside(self.states, states, self._state_number)
        observer = Observer()
        try:
            with telling(self.reach.optimizers), Switch(tracer=self.recorder), observer:
                result = self.call.function(*args, **kwargs)
        finally:
            self.inside.leave()
            written = arguments.pass_on_writes()
        if observer.seen is not None:
            self.recorder.stop(f"it calls {observer.seen}, which gives something else at each call")
        return result, written

    def _did_something(self, draws: Draws) -> bool:
        """Whether a call that raised left anything, so that it cannot be made again."""
        left = self.recorder.learns or self.recorder.writes or self.recorder.stopped
        return (
            bool(left) or bool([*self.inside.changes()]) or self._effects(False, draws) is not None
        )

    def _run_eagerly(self, error: Exception) -> None:
        """Call the function on arrays: it raises what it raises, or stand-ins were to blame."""
        self.recorder.close()
        self.result = self.call.eagerly()
        said = f"{type(error).__name__}: {error}"
        self.why = f"it raises an error when stand-ins are in place of its arrays ({said:.100})"

    def _stand_in(self, kind: str, i: int, x: Any, twins: dict[int, Any]) -> Any:
        """What stands for an array among arguments or states; a Variable itself."""
        if id(x) in twins:
            return twins[id(x)]
        raw = getattr(x, "_raw", x)
        value = self.recorder.add_input(kind, raw, i)
        if isinstance(x, Variable):
            self.recorder.register(x, value)
            self.recorder.add_argument(x)
            twins[id(x)] = x
            return x
        if id(raw) in self.reach.where:
            raw = raw.view()  # the function may close over the same one, now but not later
        self.recorder.register(raw, value)
        if kind == "state":
            self.recorder.owned.add(id(raw))
        twins[id(x)] = stand_in(raw, value)
        return twins[id(x)]

    def _number(self, x: Any) -> Any:
        """What stands for a number among the arguments: itself, unless it varies."""
        i = next(self._places)
        if i not in self.varying:
            return x
        return self.recorder.changing(x, self.recorder.add_input("number", None, i))

    def _state_number(self, x: Any) -> Any:
        """What stands for a number in a place."""
        self.numbers += 1
        value = self.recorder.add_input("state number", None, self.numbers - 1)
        return self.recorder.changing(x, value)

    @property
    def number_places(self) -> set[Entry]:
        """Where numbers are states."""
        if not self.numbers:
            return set()
        pairs = zip(self.states.places, self.states.values)
        found = [place for place, x in pairs if place.use == "state" and [*numbers_in(x)]]
        return {(id(place.container), place.key) for place in found}

    def _effects(self, written: bool, draws: Draws) -> str | None:
        """What the call did that a program would not do, in words."""
        if written:
            return "it writes into its arguments"
        places = {(id(place.container), place.key) for place in self.reach.places}
        changes = [snapshot.change(places, self.entries) for snapshot in self.reach.snapshots]
        written_to = [change for change in changes if change is not None]
        if self.inside.written:
            return "it writes into a state that is no array"
        if written_to:
            self.silent = True  # the first time it may be what is made at first use
            return f"it writes to what it closes over: {written_to[0]}"
        noted = [
            x.of.args[-1] or random.generator() for x in self.recorder.inputs if x.kind == "draw"
        ]
        if any(all(g is not mine for mine in noted) for g in draws.used()):
            return "it draws from a random generator that is not minidl's"
        return None

    # ---- the program -----------------------------------------------------------------------------

    def _take(self, result: Any) -> None:
        """The program, from the notes and what the function gave."""
        recorder = self.recorder
        try:
            self.changes = list(self.inside.changes())
            self.fills = self.inside.fills()
            roots = take_apart([result, *self._new_values()], self._knows)
        except NotForPrograms as error:
            self.why = str(error)
            return
        self.raw_result = result
        with Switch(tracer=recorder):
            self._outputs = {id(x): (recorder.operand(x), _kind(x)) for x in roots}
        self.outputs: list[Operand] = [operand for operand, _ in self._outputs.values()]
        self.gradients = recorder.gradients_left()
        self.writes = recorder.writes
        self.learns = recorder.learns or bool(self.gradients or self.writes or self.fills)
        left = [*[g for _, g in self.gradients], *[write.operand for write in self.writes]]
        left += [fill.operand for fill in self.fills]
        written = [p for p, _ in self.gradients] + [write.p for write in self.writes]
        self.owners = [p for p in dict.fromkeys(written) if not self.reach.knows(p)]
        forward = list(recorder.steps)
        self.tape = list(recorder.tape)
        self.real = list(dict.fromkeys(values_in((*self.outputs, *left))))
        self.program = Program([], list(self.real), forward)
        self._leave_out_states()
        self._differentiate(roots)
        if not recorder.is_whole(self.program.seeds, tuple(self.real)):
            recorder.stop(UNEVEN)
        self.why = recorder.stopped
        order = sorted(range(len(recorder.inputs)), key=self._is_draw)  # draws come last
        recorder.inputs = [recorder.inputs[i] for i in order]
        self.differentiable = [self.differentiable[i] for i in order]
        self.program.inputs = [x.value for x in recorder.inputs]

    def _leave_out_states(self) -> None:
        """What is in places and not computed with is no input: its graph would never end."""
        steps = (*self.program.steps, *self.tape)
        used = set(values_in((*self.real, *[step.operands for step in steps])))
        inputs = self.recorder.inputs
        self.recorder.inputs = [x for x in inputs if x.kind[:5] != "state" or x.value in used]

    def _is_draw(self, i: int) -> bool:
        return self.recorder.inputs[i].kind == "draw"

    @property
    def is_simple(self) -> bool:
        """Whether the result is nothing but one Variable that is differentiated."""
        x = self.raw_result
        return id(x) in self._outputs and self.output_of(x)[0] in self.floating

    def _knows(self, x: Any) -> bool:
        return self.reach.knows(x) or any(x is part for part in objects_in(self.call.args))

    def output_of(self, x: Any) -> tuple[Operand, type]:
        """What an array or Variable of the result is in the program, and what it is eagerly."""
        return self._outputs[id(x)]

    def _new_values(self) -> list[Any]:
        return [change.value for change in self.changes if change.more is None]

    def _differentiate(self, roots: list[Any]) -> None:
        """Derive the gradients of the inputs from those of the outputs."""
        recorder = self.recorder
        outputs = {self._outputs[id(x)][0]: x for x in roots}
        if self.learns and any(map(self._keeps_graph, self.changes)):
            recorder.stop("a state keeps its graph beyond a call that learns: cut or detach it")
        self.floating = [
            v for v in self.real if v in outputs and getattr(outputs[v], "_node", None) is not None
        ]
        xs = [self._differentiated(x) for x in recorder.inputs]
        self.differentiable = [x is not None for x in xs]
        self.reached = self._reached()
        writes = bool(self.writes or self.fills) and not recorder.learns
        if writes and not self._graphs_are_over(xs):
            recorder.stop("it writes into an array, and gives a result with a graph")
        if self.learns or not (
            self.call.mode.recording and self.floating and any(self.differentiable)
        ):
            self.floating = []
            return
        program = self.program
        program.backward_at = len(program.steps)
        seeds = []
        for v in self.floating:
            seed = box(np.ones_like(outputs[v]._raw)[()], None)
            program.seeds.append(Value(seed._raw))
            recorder.register(seed, program.seeds[-1])
            seeds.append((outputs[v], seed))
        gradients = recorder.derive(seeds, xs, self.since)
        wanted = [g for g, want in zip(gradients, self.differentiable) if want]
        program.gradients = [None if g is None else recorder.operand(g) for g in wanted]
        program.steps = list(recorder.steps)
        more = len(recorder.inputs) - len(xs)  # arrays that rules made
        self.differentiable += [False] * more

    def _graphs_are_over(self, xs: list[Any]) -> bool:
        """Whether no graph of a result can be walked back: each is over a Variable's old value."""
        new = [write.p for write in self.writes if write.how is not fill]
        pairs = zip(self.recorder.inputs, xs, strict=True)
        old = {x.value for x, variable in pairs if any(variable is p for p in new)}
        return all(not old.isdisjoint(self.reached.get(v, ())) for v in self.floating)

    def _keeps_graph(self, change: Change) -> bool:
        if change.more is not None or change.place.use == "output":
            return False
        parts = take_apart(change.value, self._knows)
        return any(getattr(x, "_node", None) is not None for x in parts)

    def _differentiated(self, x: Any) -> Any:
        """The Variable that an input is, if it requires a gradient; else None."""
        if x.kind in ("grad", "number", "state number"):
            return None
        sources = {"argument": self.call.leaves, "state": self.states.leaves}
        variable = sources[x.kind][x.of] if x.kind in sources else x.of
        return variable if getattr(variable, "_node", None) is not None else None

    def _reached(self) -> dict[Value, set[Value]]:
        """The inputs that each value is differentiated by."""
        inputs = zip(self.recorder.inputs, self.differentiable)
        reached = {x.value: {x.value} for x, want in inputs if want}
        for step in self.tape:
            if step in self.recorder.differentiated:
                sets = [reached[v] for v in values_in(step.operands) if v in reached]
                reached.update(dict.fromkeys(step.outs, set().union(*sets)))
        return reached


def _kind(x: Any) -> type:
    """What a result is eagerly."""
    if type(x) in (StandIn, Number):
        return type(x._raw)
    return Variable if isinstance(x, Variable) else type(x)
