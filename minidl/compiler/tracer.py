"""The recorder: runs a function once, notes every application, and derives the backward.

What the notes consist of is in program.py; what the core calls of it is ``apply`` and, in
transforms, the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minidl.autograd.engine import fit
from minidl.autograd.function import Function, differentiable, record
from minidl.autograd.modes import Switch, current
from minidl.autograd.node import Leaf, Output
from minidl.autograd.protocols import REGISTRY, ours_for
from minidl.autograd.variable import Variable
from minidl.common import arrays
from minidl.common.arrays import is_foreign
from minidl.compiler.nests import NotForPrograms
from minidl.compiler.program import Step, Value
from minidl.functions import indexing, loss

# detach(): the value, without a derivative
constant = differentiable(lambda x: x, name="constant", view=True)
sum_rows = differentiable(arrays.sum_rows)  # as the engine sums them
# Functions whose forward is recorded rather than called: what is inside can share and reuse.
OPENED = (loss._squared,)
_INDEXED = (indexing._pick, indexing.put, indexing._index_set)


class Traced(Variable):
    """A Variable of a recording: computes as any other; what would read its value raises."""

    __slots__ = ("plain", "value")
    plain: bool
    value: Value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        refuse(self, "np.asarray")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Traced({self.dtype} {self.shape})"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        if method == "__call__" and ours_for(ufunc) is None and "out" not in settings:
            raise TypeError(_unrecordable(f"np.{ufunc.__name__}"))
        return super().__array_ufunc__(ufunc, method, *inputs, **settings)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function not in REGISTRY:
            raise TypeError(_unrecordable(f"np.{function.__name__}"))
        return super().__array_function__(function, types, args, kwargs)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if hasattr(np.ndarray, name) and not name.startswith("_"):
                raise AttributeError(_unrecordable(f".{name}"))
            return super().__getattr__(name)

    def unchain(self) -> None:
        refuse(self, "unchain()")

    def unchain_backward(self) -> None:
        refuse(self, "unchain_backward()")


def _in_place(name: str) -> Any:
    """``x += y`` writes into what is an array eagerly; of a Variable it makes a new one."""
    inherited = getattr(Variable, name)

    def operator(self: Traced, other: Any) -> Any:
        if self.plain:
            refuse(self, f"{name} (writing into an array)")
        return inherited(self, other)

    return operator


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow", "and", "or", "xor"):
    setattr(Traced, f"__i{_name}__", _in_place(f"__i{_name}__"))


def refuse(x: Any, how: str) -> NoReturn:
    """Raise: the value of something recorded was to be read."""
    raise RuntimeError(
        f"{how} of a value of shape {np.shape(x)} inside a compiled function{_line()}: the program "
        "would keep what it is now. Compute with np.where or another function, make it an argument, "
        "or leave that part eager"
    )


def _unrecordable(what: str) -> str:
    """Why something without a rule fails inside a compiled function, though it works eagerly."""
    return (
        f"{what} inside a compiled function{_line()}: it has no rule of minidl's, and arrays given "
        "to a compiled function are recorded like Variables, so it cannot run on them. Compute it "
        "outside and pass the result as an argument, or leave that part eager"
    )


def _line() -> str:
    """Where in the user's code we are, in words."""
    frame: Any = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ("minidl", "numpy"):
        frame = frame.f_back
    return f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""


def _has_a_shape_by_values(function: Function, operands: tuple[Any, ...]) -> bool:
    """Whether the shape of the result depends on values that are others at the next call."""
    if function in _INDEXED:
        return any(isinstance(v, Value) and v.dtype.kind == "b" for v in operands[1:])
    return function.static is not None and any(
        isinstance(v, Value) for v in operands[function.static :]
    )


class Entry:
    """One application, as it is needed to derive it and to run it again eagerly."""

    __slots__ = ("function", "operands", "out", "recorded", "saved", "settings")

    def __init__(
        self, function: Function, operands: tuple[Any, ...], settings: dict[str, Any], out: Any
    ) -> None:
        self.function, self.operands, self.settings, self.out = function, operands, settings, out
        self.saved: Value | None = None
        self.recorded = (
            current().recording and function.derived
        )  # else a constant, as under no_grad()


class NotNumPy(Exception):
    """The arrays are another library's: programs write into NumPy's memory only."""


class Tracer:
    """Notes what is computed while it is the tracer of the mode."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.tape: list[Entry] = []
        self.inputs: list[
            tuple[Value, Any]
        ] = []  # what is read at each call, and what it is read from
        self.draws: list[tuple[Value, Function, tuple[Any, ...], dict[str, Any], Any]] = []
        self.by_node: dict[Any, Value] = {}
        self.by_id: dict[int, Value] = {}
        self.entry_of: dict[Any, Entry] = {}
        self.masks: list[tuple[Any, Any]] = []  # closed-over masks, and what they were
        self.literals: dict[int, Any] = {}  # their copies
        self.raws: dict[Value, Any] = {}  # what each value was in this run
        self.deriving = False
        self.needed: set[Value] = set()  # what the inputs that are differentiated lead to
        self.kept: list[Any] = []  # keeps alive what is looked up by id

    # ---- values ----------------------------------------------------------------------------------

    def new_input(self, source: Any, like: Any, plain: bool) -> Value:
        """A value read from ``source`` at each call: an argument's place, a Variable, an array."""
        if is_foreign(like):
            raise NotNumPy
        value = Value("input", like, plain)
        self.inputs.append((value, source))
        self.raws[value] = like
        return value

    def traced(self, raw: Any, value: Value, node: Any = None) -> Traced:
        out = Traced.__new__(Traced)
        out._raw, out._node, out._leaf, out._grad, out.name = raw, node, None, None, None
        out.value, out.plain = value, value.plain
        if self.deriving:
            return out  # what the backward computes is used by its own steps only, and let go of
        self.raws.setdefault(value, raw)
        if node is not None:
            self.by_node[node] = value
        if isinstance(raw, np.ndarray):
            self.by_id[id(raw)] = value
        self.kept.append((raw, node))
        return out

    def operand(self, x: Any) -> Any:
        """What stands for an argument in a step: a Value, or the constant itself."""
        if type(x) is Traced:
            return x.value
        if isinstance(x, Variable):
            node = x._node if x._node is not None else x._watched()
            if node not in self.by_node:
                self.by_node[node] = self.new_input(x, x._raw, plain=False)
                self.kept.append(x)
            return self.by_node[node]
        if id(x) in self.literals:
            return x
        if isinstance(x, np.ndarray) or is_foreign(x):
            if id(x) not in self.by_id:
                self.by_id[id(x)] = self.new_input(x, x, plain=True)
                self.kept.append(x)
            return self.by_id[id(x)]
        if isinstance(x, (list, tuple)) and any(isinstance(p, Variable) for p in x):
            raise TypeError(
                "a list of Variables inside a compiled function: join them with np.stack or "
                "np.concatenate"
            )
        return x

    # ---- what the core calls ---------------------------------------------------------------------

    def apply(self, function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Apply a function and note it."""
        operands = tuple(self.operand(x) for x in inputs)
        if function in _INDEXED:
            operands = tuple(self._fixed_mask(x, v) for x, v in zip(inputs, operands))
        if _has_a_shape_by_values(function, operands):
            refuse(inputs[0], f"{function.name}, whose result has a shape that depends on values,")
        with Switch(tracer=None):
            y = record(function, inputs, settings)
        node = (
            y[0]._node
            if type(y) is tuple and isinstance(y[0], Variable)
            else getattr(y, "_node", None)
        )
        application = node.inputs[0] if type(node) is Output and node.inputs else node
        plain = all(v.plain for v in operands if isinstance(v, Value)) and not function.draws
        several = type(y) is tuple
        if function.draws:
            value = Value("input", getattr(y, "_raw", y), plain=True)
            self.draws.append((value, function, inputs, settings, getattr(y, "_raw", y)))
            self.inputs.append((value, self.draws[-1]))
            return self.traced(getattr(y, "_raw", y), value)
        if function in OPENED:
            with Switch(recording=False):
                opened = function.forward(
                    *[self.constant(x, v) for x, v in zip(inputs, operands)], **settings
                )
            out: Any = opened.value
            out.plain = plain
        else:
            out = (
                tuple(Value("step", getattr(p, "_raw", p), plain) for p in y)
                if several
                else Value("step", getattr(y, "_raw", y), plain)
            )
            self.steps.append(Step(function, function.forward, operands, settings, out))
        entry = Entry(function, operands, settings, out)
        if function.saves:
            entry.saved = Value("step", None)
            self.steps[-1].out = (*out, entry.saved) if several else (out, entry.saved)
        self.tape.append(entry)
        if application is not None and type(application) is not Leaf:
            self.entry_of[application] = entry
        if several:
            return tuple(
                self.traced(getattr(p, "_raw", p), v, getattr(p, "_node", None))
                for p, v in zip(y, out, strict=True)
            )
        return self.traced(getattr(y, "_raw", y), out, getattr(y, "_node", None))

    def _fixed_mask(self, x: Any, operand: Any) -> Any:
        """A closed-over mask decides on shapes: it is part of the program until it changes."""
        if type(x) is not np.ndarray or x.dtype.kind != "b" or not isinstance(operand, Value):
            return operand
        copy = x.copy()
        self.masks.append((x, copy))
        self.literals[id(copy)] = copy
        return copy

    def constant(self, x: Any, operand: Any) -> Any:
        """The argument as a traced constant, if it has a Value."""
        return self.traced(getattr(x, "_raw", x), operand) if isinstance(operand, Value) else x

    def number(self, number: Any) -> Variable:
        """A number that is the same at every call."""
        out = Traced.__new__(Traced)
        out._raw, out._node, out._leaf, out._grad, out.name = number, None, None, None, None
        out.value, out.plain = number, True
        return out

    def box(self, raw: Any, node: Any) -> Variable:
        """A Variable of an array and its node, for a walk whose rules are recorded."""
        return self.traced(raw, self.by_node[node], node)

    refuse = staticmethod(refuse)

    def give_up(self, why: str) -> NoReturn:
        """Have the function run eagerly, for a reason that its user is told."""
        raise NotForPrograms(why)

    def detached(self, x: Variable) -> Variable:
        """The value without its graph."""
        return record(constant, (x,), {})  # type: ignore[no-any-return]

    def boxed(self, node: Any) -> tuple[list[Any], Any]:
        """Arguments and result of a noted application, all as Variables of the recording."""
        entry = self.entry_of[node]
        args = [
            self.traced(a, v, n) if isinstance(v, Value) else a
            for a, v, n in zip(node.args, entry.operands, node.inputs)
        ]
        if type(node.output) is tuple:
            return args, tuple(
                self.traced(o, v, Output(node, i, o))
                for i, (o, v) in enumerate(zip(node.output, entry.out))
            )
        return args, self.traced(node.output, entry.out, node)

    def leaf(self, x: Any) -> Variable:
        """A Variable to differentiate by, whose value is that of ``x``."""
        operand = self.operand(x)
        raw = getattr(x, "_raw", x)
        leaf = Variable(raw if hasattr(raw, "dtype") else np.asarray(raw))
        if not isinstance(operand, Value):
            operand = self.new_input(leaf._raw, leaf._raw, plain=True)
        return self.traced(leaf._raw, operand, leaf._node)

    def is_plain(self, x: Variable) -> bool:
        """Whether eagerly ``x`` would be an array."""
        return isinstance(x, Traced) and x.plain

    def as_plain(self, y: Variable) -> Variable:
        """What eager code would have as an array."""
        if type(y) is Traced:
            y.plain = True
        return y

    # ---- the backward ----------------------------------------------------------------------------

    def derive(self, seeds: dict[Value, Value], wanted: Sequence[Value]) -> list[Any]:
        """Note the backward too: the gradients of the ``wanted`` inputs, from those of the outputs.

        In the order of the eager walk, and with its sums, so that the numbers are the same.
        """
        self.needed = needed = set(wanted)
        for entry in self.tape:
            if entry.recorded and any(isinstance(o, Value) and o in needed for o in entry.operands):
                needed.update(entry.out if type(entry.out) is tuple else (entry.out,))
        gradients: dict[Value, Any] = {}
        self.deriving = True
        for y, g in seeds.items():
            gradients[y] = self.traced(np.ones(y.shape, y.dtype)[()], g)
        with Switch(tracer=self, recording=False), np.errstate(all="ignore"):
            for entry in reversed(self.tape.copy()):
                outs = entry.out if type(entry.out) is tuple else (entry.out,)
                gs = [gradients.pop(v, None) if v in needed else None for v in outs]
                if any(g is not None for g in gs) and entry.recorded:
                    for i, gx in self._pulled(entry, gs, needed):
                        v = entry.operands[i]
                        gradients[v] = gx if v not in gradients else gradients[v] + gx
        return [gradients[v].value if v in gradients else None for v in wanted]

    def reached(self, wanted: Sequence[Value]) -> dict[Value, set[Value]]:
        """The wanted inputs that each value is differentiated by."""
        found: dict[Value, set[Value]] = {v: {v} for v in wanted}
        for entry in self.tape:
            if entry.recorded:
                operands = [found[o] for o in entry.operands if isinstance(o, Value) and o in found]
                if operands:
                    union = operands[0] if len(operands) == 1 else set().union(*operands)
                    found.update(
                        dict.fromkeys(
                            entry.out if type(entry.out) is tuple else (entry.out,), union
                        )
                    )
        return found

    def _pulled(self, entry: Entry, gs: list[Any], needed: set[Value]) -> list[tuple[int, Any]]:
        """(place, gradient) for each operand of an entry that is needed."""
        function, settings = entry.function, entry.settings
        places = [i for i, v in enumerate(entry.operands) if isinstance(v, Value) and v in needed]
        if function.joint is not None:
            return self._joined(entry, gs, places)
        args = [self._example(v) if isinstance(v, Value) else v for v in entry.operands]
        y, found = self._example(entry.out), []
        for i in places:
            rule = function.rules[i] if i < len(function.rules) else None
            if rule is not None:
                found.append(
                    (i, self._fitted(rule(gs[0], y, *args, **settings), entry.operands[i]))
                )
        return found

    def _joined(self, entry: Entry, gs: list[Any], places: list[int]) -> list[tuple[int, Any]]:
        """The joint rule of a fused function, as one step."""
        function, settings = entry.function, entry.settings
        several, saves = type(entry.out) is tuple, function.saves
        joint: Any = function.joint
        wanted = [i in places for i in range(len(entry.operands))]
        if not saves:  # composed of functions, which are steps of their own
            args = [self._example(v) if isinstance(v, Value) else v for v in entry.operands]
            made = joint(
                gs if several else gs[0], self._example(entry.out), wanted, *args, **settings
            )
            return [(i, self._fitted(made[i], entry.operands[i])) for i in places]

        def call(g: Any, y: Any, saved: Any, *args: Any) -> Any:
            given = joint(
                list(g) if several else g,
                y,
                *((saved,) if saves else ()),
                wanted,
                *args,
                **settings,
            )
            return tuple(engine_fit(given[i], args[i]) for i in places)

        g = tuple(None if part is None else part.value for part in gs) if several else gs[0].value
        outs = tuple(Value("step", entry.operands[i]) for i in places)
        self.steps.append(
            Step(
                function,
                call,
                (g, entry.out, entry.saved, *entry.operands),
                {},
                outs,
                derivative=True,
            )
        )
        return [(i, self.traced(np.zeros(v.shape, v.dtype)[()], v)) for i, v in zip(places, outs)]

    def _fitted(self, gx: Any, like: Value) -> Any:
        """A rule's result summed, expanded and cast as the engine does."""
        if not isinstance(gx, Variable):
            gx = self.traced(gx, self.operand(np.asarray(gx)))
        if gx.shape == like.shape and gx.dtype == like.dtype:
            return gx
        if gx.ndim == 2 and len(like.shape) == 1 and gx.dtype.kind == "f":
            gx = record(sum_rows, (gx,), {})
        return engine_fit(gx, like)

    def _example(self, value: Any) -> Any:
        if type(value) is tuple:
            return tuple(self._example(v) for v in value)
        return self.traced(self.raws[value], value)


def engine_fit(g: Any, like: Any) -> Any:
    """``engine.fit`` to the form of a value or an array."""
    if g.shape == like.shape and g.dtype == like.dtype:
        return g
    return fit(g, like.shape, like.dtype)
