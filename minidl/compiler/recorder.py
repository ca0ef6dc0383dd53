"""The recorder: notes what a function applies while it runs, eagerly and for real.

The backward that follows from the notes is in derivative.py; what the function gets for its plain
arrays in standin.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import Function, differentiable, record
from minidl.autograd.modes import MODE, Switch
from minidl.autograd.node import Output
from minidl.autograd.variable import Variable, box
from minidl.common.callers import users_line
from minidl.common.pytree import flatten
from minidl.compiler.calls import Again
from minidl.compiler.program import Operand, Step, Value, values_in
from minidl.compiler.scalars import Number, holds_number, is_number, plain, takes_numbers
from minidl.compiler.standin import StandIn, are_plain, raw_of, same_elements, stand_in, unwrap
from minidl.compiler.values import Draw, Values

# detach(): the value, without a derivative
constant = differentiable(lambda x: x, name="constant", view=True)
# of arrays alone: where ours has other bits, see below
numpys_product = differentiable(lambda a, b: np.matmul(a, b), name="matmul", fresh=True)
OF_FORMS = {np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj}
RESULTS = (np.ndarray, np.generic)


class Notes(Values):
    """What is noted while a function runs, as the tracer of the mode.

    After ``stop`` it only keeps stand-ins going.
    """

    def __init__(self, where: dict[int, str]) -> None:
        super().__init__(where)
        self.steps: list[Step] = []  # the program
        self.tape: list[Step] = []  # the same by whole applications, to make them again eagerly
        self.differentiated: set[Step] = set()  # steps of the tape that have a graph
        self.numbers: dict[Value, Any] = {}  # what Numbers stand for
        self._inlining = False
        self._step_of: dict[Any, Step] = {}
        self._views: set[Value] = set()
        self._viewed: set[Value] = set()  # what these are views of
        self._errors = np.geterr()
        self._modes: tuple[Any, Any] = (None, None)  # that of the function, and without a tracer

    def forget(self) -> None:
        super().forget()
        self._step_of.clear()

    @property
    def tracked(self) -> set[Operand]:
        """The Values that are in a graph."""
        return {v for v in self._of_node.values() if isinstance(v, Value)}

    # ---- what is noted ---------------------------------------------------------------------------

    def apply(self, function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Apply a function, and note it."""
        raws = unwrap(inputs)
        if holds_number([*settings.values()]) or (
            holds_number(inputs) and not takes_numbers(function, inputs)
        ):
            settings = unwrap(settings)
            self.stop(f"{function.name} of a number that changes from call to call")
        if function is F.matmul and _as_numpy_alone_does(inputs, raws):
            function = numpys_product
        operands = () if self.stopped is not None else self.operands(function, inputs)
        y = self._record(function, raws, settings)
        if self.stopped is not None:
            return self._pass_on(y)
        if function.draws:
            return self._draw(function, raws, settings, y)
        if function.operation.inline:
            return self._inline(function, inputs, operands, settings, y)
        out = self._out(y)
        if function.saves:
            out = (out, Value(None))
        step = Step(function, operands, settings, out)
        self.steps.append(step)
        return self._noted(step, y)

    def stand_in_number(self, raw: Any, value: Value) -> Number:
        """What stands for a number of Python's."""
        self.numbers[value] = raw
        return Number(raw, value, self)

    def compute(self, function: Callable[..., Any], xs: tuple[Any, ...]) -> Any:
        """Compute with numbers of Python's, and note it."""
        y = function(*map(plain, xs))
        if self.stopped is not None or not is_number(y):
            self.stop("it computes something else with a number that changes from call to call")
            return y
        operands = tuple(map(self.operand, xs))
        return self._note_number(Function(function, (), None, function.__name__), operands, y)

    def _note_number(self, function: Function, operands: tuple[Operand, ...], y: Any) -> Number:
        """Note a step that gives a number of Python's."""
        step = Step(function, operands, {}, Value(None))
        self.steps.append(step)
        self.tape.append(step)
        return self.stand_in_number(y, step.out)

    def _record(self, function: Function, raws: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Apply a function as if nobody noted it; a Switch for each would take as long as all else."""
        if self.deriving:
            with Switch(tracer=None):
                return record(function, raws, settings)
        mode = MODE.get()
        if mode is not self._modes[0]:
            with Switch(tracer=None):
                self._modes = (mode, MODE.get())
        token = MODE.set(self._modes[1])
        try:
            return record(function, raws, settings)
        finally:
            MODE.reset(token)

    def close(self) -> None:
        """The end: let go of the modes, which refer to the notes and would keep all of them."""
        self._modes = (None, None)

    def _out(self, y: Any) -> Any:
        if type(y) is tuple:
            return tuple(map(self._out, y))
        return Value(raw_of(y))

    def _pass_on(self, y: Any) -> Any:
        """A result after the recording was stopped."""
        if type(y) is tuple:
            return tuple(map(self._pass_on, y))
        return stand_in(y, Value(y)) if isinstance(y, RESULTS) else y

    def _noted(self, step: Step, y: Any) -> Any:
        """Put a step on the tape; its results, as the function gets them."""
        errors = np.geterr()
        if errors != self._errors and not self.deriving:
            step.errors = dict(errors)
        if not self._inlining:
            self.tape.append(step)
        if step.is_view:
            self._views.update(step.outs)
            self._viewed.update(values_in(step.operands[:1]))
        first = y[0] if type(y) is tuple and y else y
        node: Any = getattr(first, "_node", None)
        if node is not None:
            is_part = type(node) is Output and node.inputs
            application: Any = node.inputs[0] if is_part else node
            self._step_of[application] = step
            self.differentiated.add(step)
        out = step.out[0] if step.function.saves and not step.derivative else step.out
        return self.give(y, out)

    def give(self, y: Any, out: Any) -> Any:
        """A result as the function gets it: a stand-in where it is plain."""
        if type(y) is tuple:
            return tuple(map(self.give, y, out))
        self.register(y, out)
        return y if isinstance(y, Variable) else stand_in(y, out)

    def _draw(self, function: Function, args: Any, settings: Any, y: Any) -> StandIn:
        rng = args[-1]
        if rng is not None and id(rng) not in self.where:
            self.stop("it draws from a random generator that it makes itself")
        value = self.add_input("draw", y, Draw(function, args, settings))
        self.register(y, value)
        return stand_in(y, value)

    def _inline(self, function: Function, inputs: Any, operands: Any, settings: Any, y: Any) -> Any:
        """Note what a forward applies, in place of the application."""
        args = []
        for x, operand in zip(map(raw_of, inputs), operands):
            args.append(stand_in(x, operand) if isinstance(operand, Value) else x)
        self._inlining = True
        try:
            inner = function.forward(*args, **settings)
        finally:
            self._inlining = False
        return self._noted(Step(function, operands, settings, inner.value), y)

    def call(self, function: Callable[..., Any], args: Any, settings: Any) -> Any:
        """Run a function of NumPy's that is none of minidl's, and note it as a call."""
        if holds_number([*args, *settings.values()]):
            self.stop("a function of NumPy's alone of a number that changes from call to call")
        leaves, structure = flatten((args, settings))
        again = Again(function, leaves, structure)
        given = [leaves[i] for i in again.places]
        arrays = list(map(unwrap, given))
        before = list(map(np.copy, arrays))
        y = function(*unwrap(args), **unwrap(settings))
        if function in OF_FORMS:
            return y
        name = again.__name__
        if type(y) is list:  # of np.split: noted as a tuple
            return list(self.call(_as_tuple(function), args, settings))
        parts = y if type(y) is tuple else (y,)
        if not all(map(_is_numpys, parts)):
            self.stop(f"{name} is no function of minidl's, at {users_line()}")
            return y
        if settings.get("out") is not None or not all(map(same_elements, before, arrays)):
            self.stop(f"{name} writes into an array at {users_line()}")
        if self.stopped is not None:
            return self._pass_on(y)

        again.forms = [(part.shape, part.dtype) for part in parts]
        operands = tuple(map(self.operand, given))
        step = Step(Function(again, (), None, name), operands, {}, self._out(y))
        self.steps.append(step)
        return self._noted(step, y)

    # ---- what transforms ask ---------------------------------------------------------------------

    def detached(self, x: Variable) -> Variable:
        """The value without its graph."""
        return record(constant, (x,), {})  # type: ignore[no-any-return]  # a Variable

    def number(self, number: Any) -> Variable:
        """A number that is the same at every call."""
        out = box(number, None)
        self.register(out, number)
        return out

    def leaf(self, x: Any) -> Variable:
        """A transform's own copy of an argument that requires no gradient."""
        raw = raw_of(x)
        leaf = Variable(raw if hasattr(raw, "dtype") else np.asarray(raw))
        value = self.operand(x)
        if not isinstance(value, Value):
            value = self._of_array(leaf._raw)
        self.register(leaf, value)
        return leaf

    def is_plain(self, x: Variable) -> bool:
        """Whether eagerly it is an array."""
        return type(x) is StandIn

    def as_plain(self, x: Variable) -> Any:
        """A transform's result, which eagerly is an array."""
        if type(x) is StandIn:
            return x
        if self.stopped is not None:
            return stand_in(x._raw, Value(x._raw))
        value: Any = self._of_variable(x)
        return stand_in(x._raw, value)


def _as_numpy_alone_does(inputs: Any, raws: Any) -> bool:
    """Whether NumPy's product of arrays has other bits than ours: of mixed types, or with gaps.

    Of vectors of one element the sign of zero.
    """
    if not are_plain(inputs):
        return False
    a, b = raws
    if a.dtype != b.dtype or a.shape == b.shape == (1,):
        return True
    return not all(x.flags.c_contiguous or x.flags.f_contiguous for x in raws)


def _as_tuple(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives a list, with a tuple instead."""

    @wraps(function)
    def as_tuple(*args: Any, **settings: Any) -> Any:
        return tuple(function(*args, **settings))

    return as_tuple


def _is_numpys(y: Any) -> bool:
    """Whether a result is an array, of no subclass, or a number of NumPy's."""
    return type(y) is np.ndarray or isinstance(y, np.generic)
