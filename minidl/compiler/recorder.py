"""The recorder: notes what a function applies while it runs, eagerly and for real.

The backward that follows from the notes is in derivative.py; what the function gets for its plain
arrays in standin.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import Function, differentiable, record
from minidl.autograd.modes import MODE, Switch
from minidl.autograd.node import Output
from minidl.autograd.variable import Variable, box
from minidl.common.callers import users_line
from minidl.common.pytree import flatten, unflatten
from minidl.compiler.program import Operand, Step, Value, values_in
from minidl.compiler.scalars import Number, holds_number, is_number, plain, takes_numbers
from minidl.compiler.standin import StandIn, are_plain, stand_in, unwrap
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

    def changing(self, raw: Any, value: Value) -> Number:
        """What stands for a number of Python's."""
        self.numbers[value] = raw
        return Number(raw, value, self)

    def compute(self, function: Callable[..., Any], xs: tuple[Any, ...]) -> Any:
        """Compute with numbers of Python's, and note it."""
        y = function(*map(plain, xs))
        if self.stopped is not None or not is_number(y):
            self.stop("it computes something else with a number that changes from call to call")
            return y
        out = Value(None)
        operands = tuple(map(self.operand, xs))
        step = Step(Function(function, (), None, function.__name__), operands, {}, out)
        self.steps.append(step)
        self.tape.append(step)
        return self.changing(y, out)

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
            return tuple([self._out(part) for part in y])
        return Value(getattr(y, "_raw", y))

    def _pass_on(self, y: Any) -> Any:
        """A result after the recording was stopped."""
        if type(y) is tuple:
            return tuple([self._pass_on(part) for part in y])
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
        node: Any = getattr(y[0] if type(y) is tuple and y else y, "_node", None)
        if node is not None:
            application: Any = node.inputs[0] if type(node) is Output and node.inputs else node
            self._step_of[application] = step
            self.differentiated.add(step)
        out = step.out[0] if step.function.saves and not step.derivative else step.out
        return self.give(y, out)

    def give(self, y: Any, out: Any) -> Any:
        """A result as the function gets it: a stand-in where it is plain."""
        if type(y) is tuple:
            return tuple([self.give(part, v) for part, v in zip(y, out, strict=True)])
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
        raws = [unwrap(x) if type(x) is StandIn else getattr(x, "_raw", x) for x in inputs]
        args = [stand_in(x, v) if isinstance(v, Value) else x for x, v in zip(raws, operands)]
        self._inlining = True
        try:
            inner = function.forward(*args, **settings)
        finally:
            self._inlining = False
        return self._noted(Step(function, operands, settings, inner.value), y)

    def call(self, function: Callable[..., Any], args: Any, settings: Any) -> Any:
        """Run a function of NumPy's that is none of minidl's, and note it as a call."""
        raws, raw_settings = unwrap(args), unwrap(settings)
        if holds_number(args) or holds_number([*settings.values()]):
            self.stop("a function of NumPy's alone of a number that changes from call to call")
        leaves, structure = flatten((args, settings))
        places = [i for i, x in enumerate(leaves) if type(x) in (StandIn, np.ndarray)]
        arrays = [unwrap(leaves[i]) for i in places]
        before = [np.copy(x) for x in arrays]
        y = function(*raws, **raw_settings)
        if function in OF_FORMS:
            return y
        name = getattr(function, "__name__", "call")
        parts = y if type(y) is tuple else (y,)
        if any(type(part) is not np.ndarray and not isinstance(part, np.generic) for part in parts):
            self.stop(f"{name} is no function of minidl's, at {users_line()}")
            return y
        if settings.get("out") is not None or not all(map(_equal, before, arrays)):
            self.stop(f"{name} writes into an array at {users_line()}")
        if self.stopped is not None:
            return self._pass_on(y)

        operands = tuple([self.operand(leaves[i]) for i in places])
        leaves = [None if i in places else x for i, x in enumerate(leaves)]
        forms = [(part.shape, part.dtype) for part in parts]
        again = Again(function, leaves, structure, places, forms)
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
        raw = unwrap(x) if type(x) is StandIn else getattr(x, "_raw", x)
        leaf = Variable(raw if hasattr(raw, "dtype") else np.asarray(raw))
        value = self.operand(x)
        self.register(leaf, value if isinstance(value, Value) else self._of_array(leaf._raw))
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
    whole = all(x.flags.c_contiguous or x.flags.f_contiguous for x in raws)
    return not whole or a.dtype != b.dtype or a.shape == b.shape == (1,)


class Again:
    """A call of a function of NumPy's, with other arrays in the places of those that it had."""

    def __init__(
        self,
        function: Callable[..., Any],
        leaves: list[Any],
        structure: Any,
        places: list[int],
        forms: list[tuple[Any, Any]],
    ) -> None:
        self.function = function
        self.leaves = leaves
        self.structure = structure
        self.places = places
        self.forms = forms  # of what it gave
        places_of_leaves = list(range(len(leaves)))
        self.flat = unflatten(structure, places_of_leaves) == (tuple(places_of_leaves), {})
        self.__name__ = getattr(function, "__name__", "call")

    def __call__(self, *arrays: Any) -> Any:
        args, settings = self.arguments(arrays)
        return _checked(self.function(*args, **settings), self.forms)

    def arguments(self, arrays: Sequence[Any]) -> Any:
        """The arguments and settings of the call, with these arrays."""
        leaves = list(self.leaves)
        for i, x in zip(self.places, arrays, strict=True):
            leaves[i] = x
        return (leaves, {}) if self.flat else unflatten(self.structure, leaves)

    def on_variables(self, variables: Sequence[Any]) -> Any:
        """The same of Variables: of a method of arrays, the Variable's own."""
        args, settings = self.arguments(variables)
        method = getattr(Variable, self.__name__, None)
        if getattr(self.function, "__objclass__", None) is np.ndarray and method is not None:
            return method(*args, **settings)
        return self.function(*args, **settings)


def _equal(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _checked(y: Any, forms: list[tuple[Any, Any]]) -> Any:
    """What a call gave, if it is of the form that it had when it was recorded."""
    for part, (shape, dtype) in zip(y if type(y) is tuple else (y,), forms):
        if part.shape != shape or part.dtype != dtype:
            raise ValueError(f"want {dtype} {shape}, got {part.dtype} {part.shape}")
    return y
