"""Writes while a function is recorded: into arrays in place, and of new values into Variables.

A program does them at its end, so what it reads are the values from before. Gradients and updates
are in updates.py; the attributes that calls leave for the next are in places.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.autograd.modes import Switch
from minidl.autograd.variable import Variable
from minidl.common.callers import users_line
from minidl.compiler.program import Operand, Value, values_in
from minidl.compiler.scalars import Number
from minidl.compiler.standin import StandIn, is_among, raw_of, stand_in, unwrap
from minidl.compiler.turns import ScanRecorder

# A program copies the whole array for each assignment to elements; eager code does not.
LARGE = 2**14  # bytes, which take as long to copy as an assignment takes
MOST_COPIES = 8


class Write:
    """A new value of a Variable: a new array (``how`` is ``assign``), or in the place of the old."""

    def __init__(self, p: Variable, operand: Operand, how: Callable[[Variable, Any], None]) -> None:
        self.p = p
        self.operand = operand
        self.how = how


def assign(p: Variable, value: Any) -> None:
    """``p.data = value``."""
    p._raw = value
    p._stamp()


def fill(p: Variable, value: Any) -> None:
    """``p.data[...] = value``."""
    p.data[...] = value


def fill_and_stamp(p: Variable, value: Any) -> None:
    """``p.data[...] = value; p.data = p.data``, which is what ``p.data += 1`` does."""
    p.data[...] = value
    p._stamp()


def _filled(x: Any, new: Any) -> Any:
    y = np.empty_like(x)
    np.copyto(y, new, casting="same_kind")
    return y


def _with_item(x: Any, index: Any, new: Any) -> Any:
    y = x.copy(order="K")
    y[index] = new
    return y


filled = differentiable(_filled, name="filled", fresh=True)


class Writer(ScanRecorder):
    """Notes of a function that may write. ``variables`` are those that it may write into."""

    def __init__(self, where: dict[int, str], reached: dict[int, Any]) -> None:
        super().__init__(where)
        self.reached = list(reached.values())  # the arrays and Variables that are not arguments
        self.variables = [x for x in self.reached if isinstance(x, Variable)]
        self.writes: list[Write] = []
        self.owned: set[int] = set()  # ids of arrays that nobody else has, however they were made
        self._items = Counter[int]()  # assignments to elements, by the id of the array
        self._data: dict[int, StandIn] = {}  # of Variables, by the id of the array
        self._unstamped: set[int] = set()  # Variables that were written into, whose graphs go on

    # ---- Variables -------------------------------------------------------------------------------

    def data(self, x: Variable) -> Any:
        """``x.data``: a stand-in, one for each array."""
        with Switch(tracer=None):
            raw = x.data
        value = None if self.stopped is not None else self.operand(x)
        if self.stopped is not None:
            return raw
        if not isinstance(value, Value):  # a number, which in this array may be written into
            copy = raw.copy()
            value = self.add_input("object", copy, copy)
            self.register(x, value)
        twin = self._data.get(id(raw))
        if twin is None:
            twin = self._data[id(raw)] = stand_in(raw, value)
        twin.value = value
        return twin

    def assign(self, x: Variable, value: Any) -> None:
        """``x.data = value``."""
        if type(value) is Number:
            self.read_number(value, "assignment to .data")
        raw = unwrap(value)
        in_place = raw is x._raw
        if not in_place and self.stopped is None and not self._is_new(value):
            self.stop(f"a Variable shares its memory with another array since {users_line()}")
        with Switch(tracer=None):
            x.data = raw
        if self.stopped is not None:
            return
        self._unstamped.discard(id(x))
        operand = self.operand(value if type(value) is StandIn else x._raw)
        self.register(x, operand)
        if is_among(x, self.variables):
            self._note(x, operand, fill_and_stamp if in_place else assign)

    def _is_new(self, value: Any) -> bool:
        """Whether nobody else has the memory of an array."""
        raw = unwrap(value)
        if not isinstance(raw, np.ndarray):
            return True
        if self._is_reached(raw):
            return False
        if type(value) is not StandIn:
            return True
        return value.value not in self._viewed and self._is_made(value.value)

    def _note(self, p: Variable, operand: Operand, how: Callable[[Variable, Any], None]) -> None:
        last = next((w for w in reversed(self.writes) if w.p is p), None)
        if last is None or (last.how is not assign and how is assign):
            self.writes.append(Write(p, operand, how))
            return
        last.operand = operand
        if last.how is fill:
            last.how = how

    def derive(self, *args: Any, **settings: Any) -> list[Any]:
        """As of a Recorder, unless a graph is over values that are no longer there."""
        self._ask_for_stamps()
        return super().derive(*args, **settings)

    def _ask_for_stamps(self) -> None:
        if self._unstamped:
            self.stop("it differentiates after a write into the .data of a Variable")

    # ---- arrays ----------------------------------------------------------------------------------

    def write(self, x: StandIn, new: Any, how: str) -> StandIn:
        """Give an array a new value in its own memory, as ``x += y`` does."""
        owner = next((p for p in self.variables if p._raw is x._raw), None)
        if self.stopped is None and self._is_shared(x, owner):
            self.stop(f"{how} writes into an array at {users_line()}")
        if not (isinstance(new, StandIn) and x.value.same_form(new.value)):
            new = self.apply(filled, (x, new), {})
        np.copyto(x._raw, new._raw, casting="same_kind")
        if self.stopped is not None:
            return x
        x.value = new.value
        self._rebind(x._raw, new.value)
        if owner is not None:
            self._unstamped.add(id(owner))
            self._note(owner, new.value, fill)
        return x

    def write_item(self, x: StandIn, index: Any, new: Any) -> None:
        """``x[index] = new``."""
        self._items[id(x._raw)] += 1
        if self._items[id(x._raw)] > MOST_COPIES and x._raw.nbytes > LARGE:
            self.stop(
                f"it fills an array of shape {x.shape} part by part at {users_line()}, each time "
                "with a copy: np.stack the parts"
            )
        self.write(x, self.call(_with_item, (x, index, new), {}), "an assignment to elements")

    def _is_shared(self, x: StandIn, owner: Variable | None) -> bool:
        """Whether others may see that an array is written into."""
        raw = x._raw
        if self._is_reached(raw, besides=owner):
            return True
        if owner is not None:
            return id(raw) in self.owned  # the array of a place, too
        shown = {self._of_object.get(id(y)) for y in self._kept if _overlap(raw, y)}
        for step in self.differentiated:  # whose derivative may read what it had
            if not shown.isdisjoint((*values_in(step.operands), *step.outs)):
                return True
        return id(raw) not in self.owned and not self._is_made(x.value)

    def _is_reached(self, raw: Any, besides: Variable | None = None) -> bool:
        """Whether something that the function reaches has a part of this memory."""
        return any(_overlap(raw, x) for x in self.reached if x is not besides)

    def _is_made(self, value: Value) -> bool:
        """Whether a step made an array, and no view of it."""
        return value not in self._views and any(value in step.outs for step in self.steps)

    def _forget_data(self, p: Variable) -> None:
        """An optimizer has written into a Variable: stand-ins and views of it are of no use."""
        self._unstamped.discard(id(p))
        twin = self._data.pop(id(p._raw), None)
        if twin is not None:
            self._kept.append(twin)
            self.gone.add(id(twin))
        for x in self._kept:
            if raw_of(x) is not p._raw and _overlap(p._raw, x):
                self.gone.add(id(raw_of(x)))

    def _rebind(self, raw: Any, value: Value) -> None:
        """What has this memory has the new value; what has a part of it is of no use any more."""
        for x in list(self._kept):
            if raw_of(x) is raw:
                self.register(x, value)
            elif _overlap(raw, x):
                self.gone.add(id(raw_of(x)))


def _overlap(raw: Any, other: Any) -> bool:
    other = raw_of(other)
    return isinstance(other, np.ndarray) and np.may_share_memory(raw, other)
