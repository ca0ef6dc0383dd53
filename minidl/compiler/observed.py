"""A call observed: the function runs once, for real, on stand-ins, and what else it did is found out.

The program that comes of it is in recording.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Set
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.modes import Mode, Switch
from minidl.autograd.node import next_number
from minidl.autograd.variable import Variable
from minidl.common import random
from minidl.compiler.effects import Draws, Observer, generators_of
from minidl.compiler.forms import Arguments, numbers_in, objects_in, unwrapped
from minidl.compiler.places import Entry, Inside, States
from minidl.compiler.rates import telling
from minidl.compiler.reach import Reach
from minidl.compiler.standin import is_among, raw_of, stand_in
from minidl.compiler.updates import StepRecorder


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


class ObservedCall:
    """One observed call. ``result`` is what the function gave; ``why`` there is no program, or None.

    ``silent``: the next call may well give one, as what is made at first use is there by then.
    ``raw_result`` still has its stand-ins.
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
        self.number_places = set[Entry]()  # where numbers are states, unless they are ``constant``
        self.silent = False
        self.raw_result: Any = None
        self._places_of_numbers = {"number": count(), "state number": count()}
        roots = [call.function, *objects_in([*call.args, *call.kwargs.values()])]
        self.reach = Reach(roots, entries, constant)
        where = {**self.reach.where, **dict.fromkeys(self.reach.generators, "")}
        self.recorder = StepRecorder(where, self.reach.arrays)
        self.recorder.unrolls = unrolls
        self.why = self.reach.unwatchable or self._asks_for_identity()
        if self.why is not None:
            self.result = call.eagerly()
            return
        if "type" in self.reach.names.of("global"):  # which would tell what stands for a number
            self.varying = frozenset()
        self.since = next_number()
        self.states = States(self.reach.places)
        self.number_places = {place.entry for place, x in self.states.read if numbers_in(x)}
        self._observe()

    def _asks_for_identity(self) -> str | None:
        """Whether the function may tell a stand-in from the array that it closes over, in words."""
        arrays = [x for x in self.call.leaves if type(x) is np.ndarray]
        closed_over = any(id(x) in self.reach.where for x in arrays)
        if closed_over and self.reach.names.of("is"):
            return "it asks whether an argument is an array that it closes over"
        return None

    def _observe(self) -> None:
        """Make the call, and say why there can be no program of it."""
        draws = Draws([random.generator(), *generators_of(self.reach)])
        try:
            written = self._run()
        except Exception as error:
            if self._left_something(draws):
                raise
            # It raises what it raises when it is called on arrays, or stand-ins were to blame.
            self.result = self.call.eagerly()
            said = f"{type(error).__name__}: {error}"
            self.why = f"it raises an error when stand-ins are in place of its arrays ({said:.100})"
            return
        self.result = unwrapped(self.raw_result)
        effect = self._effect(written, draws)
        self.why = effect if self.silent else self.recorder.stopped or effect

    # ---- the call --------------------------------------------------------------------------------

    def _run(self) -> bool:
        """Call the function on stand-ins; whether it wrote into its arguments."""
        twins: dict[int, Any] = {}
        leaves = self._stand_ins("argument", self.call.leaves, twins)
        states = self._stand_ins("state", self.states.leaves, twins)
        arguments = Arguments(iter(leaves), self._number if self.varying else None)
        args = [arguments.put(x) for x in self.call.args]
        kwargs = {name: arguments.put(x) for name, x in self.call.kwargs.items()}
        self.inside = Inside(self.states, states, self._state_number)
        observer = Observer()
        try:
            with telling(self.reach.optimizers), Switch(tracer=self.recorder), observer:
                self.raw_result = self.call.function(*args, **kwargs)
        finally:
            self.inside.leave()
            written = arguments.pass_on_writes()
        if observer.seen is not None:
            self.recorder.stop(f"it calls {observer.seen}, which gives something else at each call")
        return written

    def _stand_ins(self, kind: str, xs: list[Any], twins: dict[int, Any]) -> list[Any]:
        return [self._stand_in(kind, i, x, twins) for i, x in enumerate(xs)]

    def _stand_in(self, kind: str, i: int, x: Any, twins: dict[int, Any]) -> Any:
        """What stands for an array among arguments or states; a Variable itself."""
        if id(x) in twins:
            return twins[id(x)]
        raw = raw_of(x)
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

    def _number(self, x: Any, kind: str = "number") -> Any:
        """What stands for a number among the arguments: itself, unless it varies."""
        i = next(self._places_of_numbers[kind])
        if kind == "number" and i not in self.varying:
            return x
        return self.recorder.stand_in_number(x, self.recorder.add_input(kind, None, i))

    def _state_number(self, x: Any) -> Any:
        """What stands for a number in a place."""
        return self._number(x, "state number")

    # ---- what it did besides computing -----------------------------------------------------------

    def _left_something(self, draws: Draws) -> bool:
        """Whether a call that raised left anything, so that it cannot be made again."""
        recorder = self.recorder
        if recorder.learns or recorder.writes or recorder.stopped or self.inside.changes():
            return True
        return self._effect(False, draws) is not None

    def _effect(self, written: bool, draws: Draws) -> str | None:
        """What the call did that a program would not do, in words."""
        if written:
            return "it writes into its arguments"
        places = {place.entry for place in self.reach.places}
        changes = [snapshot.change(places, self.entries) for snapshot in self.reach.snapshots]
        written_to = [change for change in changes if change is not None]
        if self.inside.written:
            return "it writes into a state that is no array"
        if written_to:
            self.silent = True  # the first time it may be what is made at first use
            return f"it writes to what it closes over: {written_to[0]}"
        noted = [draw.args[-1] or random.generator() for draw in self.recorder.draws]
        if not all(is_among(g, noted) for g in draws.used()):
            return "it draws from a random generator that is not minidl's"
        return None
