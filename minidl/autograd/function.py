"""Functions that can be differentiated, and the recorder: what happens when one is applied.

The rules themselves live in minidl.functions (and in users' code); the backward walk in engine.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np

from minidl.autograd import anomaly, operators
from minidl.autograd.engine import Box
from minidl.autograd.errors import explained
from minidl.autograd.modes import MODE, effective, values_of
from minidl.autograd.node import (
    Application,
    Func,
    Inputs,
    Node,
    Output,
    Settings,
    next_number,
    nobody,
)
from minidl.autograd.operation import Operation, is_elementwise
from minidl.autograd.protocols import REGISTRY
from minidl.autograd.targets import gradients_for
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import (
    FLOATS,
    READY,
    as_array,
    as_operand,
    is_array_like,
    is_foreign,
    to_kind_of,
)
from minidl.common.hints import unexpected

Rule = Func
_ndarray = np.ndarray
_OPERANDS = READY | {slice, type(None), type(...)}  # the types of inputs that need none
_RESULTS = READY - {float, int, bool}  # the types of results that need no second look


class Function:
    """A function of arrays together with its derivative; made by ``differentiable``.

    Attributes:
        arity: how many leading arguments may be differentiated; None for all.
        derived: whether it has a derivative at all.
        draws: random, different at every call.
        owned: the joint rule returns freshly allocated arrays, or None where no gradient arrives.
    """

    draws = owned = view = fresh = False
    static: int | None = None

    def __init__(
        self, forward: Any, rules: Sequence[Rule | None], joint: Rule | None, name: str
    ) -> None:
        self.forward = forward
        self.rules = rules
        self.joint = joint
        self.name = name
        self.saves = False
        self.operation = Operation(forward if is_elementwise(forward) else None)
        self.equals: Func | None = None
        self.general: Func | None = None  # see differentiable
        self.arity = len(rules) if rules else None
        self.derived = bool(rules) or joint is not None
        self.nin = forward.nin if isinstance(forward, np.ufunc) else None
        code = getattr(forward, "__code__", None)
        self.names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ()
        self.most = self.nin or len(self.names)  # arguments by place
        values = getattr(forward, "__defaults__", None) or ()
        self.defaults = dict(zip(reversed(self.names), reversed(values)))  # of the last names
        by_keyword = getattr(forward, "__kwdefaults__", None) or ()
        self.keywords = dict.fromkeys((*self.names, *by_keyword))
        self.__name__ = name
        self.__wrapped__ = forward
        self.__doc__ = (code and forward.__doc__) or f"``{name}`` of arrays, recorded on Variables."

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        if self.nin is not None and len(inputs) != self.nin:
            # One more would be taken for NumPy's out=.
            raise TypeError(f"{self.name}: want {self.nin} arguments, got {len(inputs)}")
        if self.general is not None and (
            len(inputs) > self.most or not settings.keys() <= self.keywords.keys()
        ):
            return self.general(*inputs, **settings)
        if settings:
            if self.derived:
                inputs, settings = self._bind(inputs, settings)
            else:
                settings = {name: _constant(value) for name, value in settings.items()}
        if self.equals is not None and inputs and is_foreign(inputs[0]):  # and so are all others
            return self.equals(*inputs, **settings)
        return record(self, inputs, settings)

    def __repr__(self) -> str:
        return f"<function {self.name} of minidl>"

    def __reduce__(self) -> str:
        return self.name  # copied and pickled by name, as Python's own functions are

    def _bind(self, inputs: Inputs, settings: Settings) -> tuple[Inputs, Settings]:
        """Move arguments given by keyword to their places; refuse keywords that no rule knows."""
        settings = dict(settings)
        places = [i for i, name in enumerate(self.names) if name in settings]
        for name in self.names[len(inputs) : places[-1] + 1 if places else 0]:
            if name not in settings and name not in self.defaults:
                raise TypeError(f"{self.name}: argument {name!r} is missing")
            inputs += (settings.pop(name, self.defaults.get(name)),)
        for name, value in settings.items():
            if name in self.names:
                raise TypeError(f"{self.name}: argument {name!r} was given twice")
            if name not in self.keywords:
                raise unexpected(self.name, name, self.keywords)
            if isinstance(value, Variable) and value.requires_grad:
                raise TypeError(f"{self.name}: no derivative for setting {name!r}, a Variable")
            settings[name] = _constant(value)
        return inputs, settings

    def compose(
        self, args: Sequence[Any], g: Any, wanted: list[bool], settings: Settings, box: Box
    ) -> list[Any]:
        """Gradients, with a graph, through the plain composition that this fused function equals.

        On copies of the arguments: the walk ends there, and one that feeds another is not counted
        twice.
        """
        since = next_number()
        copies = [identity(a) if want else a for a, want in zip(args, wanted, strict=True)]
        y = self.equals(*copies, **settings)  # type: ignore[misc]  # not None here
        pairs = zip(y, g, strict=True) if isinstance(g, list) else [(y, g)]
        xs = [copy if want else None for copy, want in zip(copies, wanted, strict=True)]
        return gradients_for(xs, pairs, box, since, zeros=not self.owned)


def _constant(value: Any) -> Any:
    """A setting as NumPy takes it: the value of a Variable that was given for one."""
    return values_of(value, "a setting")[()] if isinstance(value, Variable) else value


# Complexity 12: a call of a function costs as much here as what it would take out.
def record(function: Function, inputs: Inputs, settings: Settings) -> Any:  # noqa: C901
    """Apply a function; if a Variable that requires a gradient is among the inputs, remember it."""
    mode = MODE.get()
    if mode.in_generator:
        mode = effective(mode)
    if mode.tracer is not None:
        return mode.tracer.apply(function, inputs, settings)
    values: list[Any] = []
    parents: list[Node | None] = []
    constants: list[Variable] = []
    tracked = False
    for x in inputs:
        if not isinstance(x, Variable):
            values.append(x if type(x) in _OPERANDS else _operand(function, x, len(values), inputs))
            parents.append(None)
            continue
        raw = x._raw
        # Reading .data made an array of a scalar.
        values.append(raw if type(raw) is not _ndarray or raw.ndim else raw[()])
        parents.append(x._node)
        if x._node is None:
            constants.append(x)
        else:
            tracked = True
    args = tuple(values)
    try:
        y = function.forward(*args, **settings) if settings else function.forward(*args)
    except Exception as error:
        raise explained(function.name, function.arity, args, error) from error
    y, saved = y if function.saves else (y, None)
    if not (tracked or constants):
        return y
    if type(y) not in _RESULTS:
        y = _checked_result(function, y)
    trace = anomaly.Trace(function, args, y) if mode.anomaly else None
    if not (tracked and function.derived and mode.recording):
        return box(y) if type(y) is not tuple else tuple(map(box, y))
    floating = type(y) in FLOATS or (type(y) is _ndarray and y.dtype.kind == "f")
    if not floating or len(parents) != function.arity:
        _check_derivable(function, parents, y)
    new = Application.__new__(Application)
    new.function = function
    new.inputs = tuple(parents)
    new.args = args
    new.settings = settings
    new.output = y
    new.saved = saved
    new.trace = trace
    new.number = next_number()
    new.constants = tuple([x._watched() for x in constants]) if constants else ()
    return _owned(y, new) if type(y) is not tuple else _outputs(new, y)


def _outputs(application: Application, values: tuple[Any, ...]) -> tuple[Variable, ...]:
    """The Variables of an application with several outputs."""
    application.owner = nobody
    return tuple([_owned(o, Output(application, i, o)) for i, o in enumerate(values)])


def _check_derivable(function: Function, parents: Sequence[Node | None], y: Any) -> None:
    """Raise TypeError if there is no derivative by one of the inputs, or of the result."""
    arity = function.arity
    if arity is not None and any(parents[arity:]):
        first = f"has derivatives for its first {arity} arguments, a later one requires one"
        raise TypeError(f"{function.name} {first}")
    if type(y) is not tuple and y.dtype.kind != "f":
        raise TypeError(f"{function.name} gave {y.dtype}, which cannot be differentiated")


def _owned(raw: Any, node: Application | Output) -> Variable:
    out = box(raw, node)
    node.owner = ref(out)
    return out


def _operand(function: Function, x: Any, place: int, inputs: Inputs) -> Any:
    """An input that is neither a Variable nor ready as it is: an array of it, if it is data.

    Leading arguments are data, all of them where rules do not say how many; others may be settings.
    """
    is_data = function.arity is None or place < function.arity
    has_rule = is_data and function.arity is not None
    try:
        if type(x) is list or (type(x) is tuple and has_rule):
            like = next(filter(is_foreign, inputs), None)
            if is_data:
                return as_array(x) if like is None else to_kind_of(x, like)
            return list(x) if like is None else tuple(x)  # a copy: it may be changed later
        if has_rule:
            return as_operand(x)
        return as_array(x) if is_array_like(x) else x
    except (TypeError, ValueError) as error:
        raise explained(function.name, function.arity, [x], error) from None


def _checked_result(function: Function, y: Any) -> Any:
    """What a forward returned, if it is no plain array: a tuple, or another library's array."""
    if type(y) is tuple:
        return tuple([o if type(o) in _RESULTS else _checked_result(function, o) for o in y])
    if isinstance(y, np.ndarray | np.generic) or is_foreign(y):
        return as_array(y, function.name)
    got = type(y).__name__
    raise TypeError(
        f"{function.name}: the forward returned {got}, want an array or a tuple of arrays"
    )


def differentiable(
    forward: Func,
    *rules: Rule | None,
    joint: Rule | None = None,
    saves: bool = False,
    equals: Func | None = None,
    general: Func | None = None,
    name: str | None = None,
    replaces: Sequence[Func] = (),
    view: bool = False,
    fresh: bool = False,
    static: int | None = None,
    operation: Operation | None = None,
) -> Function:
    """Make a function of arrays differentiable: its forward, and one derivative rule per argument.

    A rule is ``rule(g, y, *arguments, **settings)``: the gradient ``g`` of the output ``y``, then
    the function's own arguments; it returns the gradient for one argument, which the engine
    un-broadcasts or expands. Rules must be pure (use only what they are given), use only functions
    that have rules, and scale by Python numbers: then gradients of gradients come for free.

    Args:
        forward: takes and returns real arrays (or a tuple of arrays). A ufunc of NumPy's is also
            registered, so that ``np.exp(variable)`` is recorded.
        rules: one for each leading argument; None where the derivative is zero. No rule at all: a
            function that is recorded but not differentiated, such as a comparison.
        joint: instead of rules, one ``joint(g, y, wanted, *arguments)`` that returns a gradient for
            each argument.
        saves: the forward returns ``(output, saved)``, and it is ``joint(g, y, saved, wanted,
            *arguments)``; where that is to build a graph, ``saved`` is None, and the rule computes
            it again, unless there is ``equals``.
        equals: the plain composition a fused function is equal to; second derivatives go through
            it, and arrays that are not NumPy's.
        general: called instead if there are arguments that the rules do not know (``where=``,
            ``dtype=``): a composition (see composition.py) that takes all.
        name: shown in messages and graphs; default that of what it replaces, or the forward's.
        replaces: further functions of NumPy that this one stands for.
        view: advanced, for ``minidl.compile`` alone: the results are views of the first argument.
        fresh: the same: neither results nor a joint rule's gradients share memory with their
            arguments. Without it compiled code assumes that they may.
        static: the same: the place of the first argument whose values decide on the shape of the
            result.
        operation: the same: what it is in a program (see operation.py); default a call, and of an
            elementwise ufunc a map.

    >>> import numpy as np
    >>> softsign = differentiable(
    ...     lambda x: x / (1 + np.abs(x)), lambda g, y, x: g / (1 + abs(x)) ** 2
    ... )
    >>> x = Variable([-1.0, 3.0])
    >>> softsign(x).backward()
    >>> x.grad
    Variable([0.25  , 0.0625])
    """
    originals = list(replaces)
    if name is None:
        named = originals[0] if originals else forward
        name = named.__name__.lstrip("_")
    function = Function(forward, rules, joint, name)
    function.saves = saves
    function.equals = equals
    function.general = general
    function.view = view
    function.fresh = fresh
    function.static = static
    if operation is not None:
        function.operation = operation
    if general is not None:
        function.__wrapped__ = general
        function.__doc__ = general.__doc__ or function.__doc__
    caller = sys._getframe(1)
    function.__module__ = caller.f_globals.get("__name__", "")  # where pickle finds it
    if isinstance(forward, np.ufunc):
        originals.append(forward)
    for original in originals:
        implements(original)(function)
    return function


def implements(original: Func | str) -> Callable[[Any], Any]:
    """Let a function stand for one of NumPy's, which may get Variables, and be its methods."""

    def register(function: Any) -> Any:
        REGISTRY[original] = function
        call = record if isinstance(function, Function) else operators.call
        for name, form in operators.NAMES.get(original, ()):
            setattr(Variable, name, operators.method(form, function, call))
        return function

    return register


identity = differentiable(lambda x: x, lambda g, y, x: g, name="identity")
