"""Functions that can be differentiated, and the recorder: what happens when one is applied.

The rules themselves live in minidl.functions (and in users' code); the backward walk in engine.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from weakref import ref

import numpy as np

from minidl.autograd import anomaly, engine
from minidl.autograd.modes import MODE
from minidl.autograd.node import Application, Leaf, Node, Output, next_number
from minidl.autograd.protocols import METHODS, REGISTRY
from minidl.autograd.variable import Variable, box
from minidl.common.arrays import beside, foreign, unadorned

Rule = Callable[..., Any]
_ndarray = np.ndarray


class Function:
    """A function of arrays together with its derivative; made by ``differentiable``."""

    def __init__(
        self, forward: Any, rules: Sequence[Rule | None], joint: Rule | None, name: str
    ) -> None:
        self.forward, self.rules, self.joint, self.name, self.__name__ = (
            forward,
            rules,
            joint,
            name,
            name,
        )
        self.saves = self.draws = self.owned = False  # draws: random, different at every call
        # owned: the joint rule returns freshly allocated arrays
        self.view = self.fresh = False
        self.static: int | None = None
        self.equals: Callable[..., Any] | None = None
        self.general: Callable[..., Any] | None = None  # see differentiable
        self.arity = (
            len(rules) if rules else None
        )  # how many leading arguments are differentiated; None: all
        self.derived = bool(rules) or joint is not None
        self.nin = forward.nin if isinstance(forward, np.ufunc) else None
        code = getattr(forward, "__code__", None)
        self.names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ()
        self.most = self.nin or len(self.names)  # arguments by place
        self.keywords = {*self.names, *(getattr(forward, "__kwdefaults__", None) or ())}
        self.__wrapped__ = forward
        self.__doc__ = (
            code and forward.__doc__
        ) or f"NumPy's ``{name}``, which on Variables is recorded."

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        if (
            self.nin is not None and len(inputs) != self.nin
        ):  # one more would be taken for NumPy's out=
            raise TypeError(f"{self.name}: want {self.nin} arguments, got {len(inputs)}")
        if self.general is not None and (
            len(inputs) > self.most or not settings.keys() <= self.keywords
        ):
            return self.general(*inputs, **settings)
        if settings:
            if self.derived:
                inputs, settings = self._bind(inputs, settings)
            else:
                settings = {
                    k: v.data[()] if isinstance(v, Variable) else v for k, v in settings.items()
                }
        return record(self, inputs, settings)

    def __repr__(self) -> str:
        return f"<function {self.name} of minidl>"

    def __reduce__(self) -> str:
        return self.name  # copied and pickled by name, as Python's own functions are

    def _bind(
        self, inputs: tuple[Any, ...], settings: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Move arguments given by keyword to their places; refuse keywords that no rule knows."""
        settings = dict(settings)
        given = [i for i, name in enumerate(self.names) if name in settings]
        if given:
            if given[0] < len(inputs):
                raise TypeError(f"{self.name}: argument {self.names[given[0]]!r} was given twice")
            defaults = self.forward.__defaults__ or ()
            first_default = len(self.names) - len(defaults)
            values = list(inputs)
            for i in range(len(inputs), given[-1] + 1):
                name = self.names[i]
                if name not in settings and i < first_default:
                    raise TypeError(f"{self.name}: argument {name!r} is missing")
                values.append(
                    settings.pop(name) if name in settings else defaults[i - first_default]
                )
            inputs = tuple(values)
        for name, value in settings.items():
            if isinstance(value, Variable):
                if value.requires_grad:
                    raise TypeError(f"{self.name}: no derivative for setting {name!r}, a Variable")
                settings[name] = value.data[()]
            if name not in (getattr(self.forward, "__kwdefaults__", None) or ()):
                raise TypeError(f"{self.name}: keyword {name!r} has no derivative rule")
        return inputs, settings

    def prepare(
        self,
        node: Application,
        g: Any,
        alive: AbstractSet[Node] | None,
        box: Callable[..., Any] | None,
    ) -> tuple[Sequence[Any], Any, Sequence[Any] | None]:
        """What an application's rules are given: arguments and output, as Variables if there is a ``box``.

        Third, if they come all at once (from a joint rule, or a fused function's composition), the gradients.
        """
        args: Sequence[Any] = node.args
        y: Any = node.output
        inputs = node.inputs or ()
        if box is not None:
            watcher = MODE.get().watcher
            if watcher is not None:
                args, y = watcher.boxed(node)
            else:
                args = [a if n is None else box(a, n) for a, n in zip(args, inputs)]
                if self.equals is None:
                    several = type(y) is tuple
                    y = (
                        tuple(box(o, Output(node, i, o)) for i, o in enumerate(y))
                        if several
                        else box(y, node)
                    )
        if self.joint is None:
            return args, y, None
        wanted = [n is not None and (alive is None or n in alive) for n in inputs]
        if box is not None and self.equals is not None:
            return args, y, self._compose(args, g, wanted, node.settings, box)
        extra = (
            (node.saved if box is None else None,) if self.saves else ()
        )  # what is saved is no part of a graph
        return args, y, self.joint(g, y, *extra, wanted, *args, **node.settings)

    def _compose(
        self,
        args: Sequence[Any],
        g: Any,
        wanted: list[bool],
        settings: dict[str, Any],
        box: Callable[..., Any],
    ) -> list[Any]:
        """Gradients, with a graph, through the plain composition that this fused function equals.

        On copies of the arguments: the walk ends there, and one that feeds another is not counted twice.
        """
        since = next_number()
        copies = [identity(a) if want else a for a, want in zip(args, wanted, strict=True)]
        y = self.equals(*copies, **settings)  # type: ignore[misc]  # not None here
        pairs = zip(y, g, strict=True) if isinstance(g, list) else [(y, g)]
        seeds = {v._node: gv for v, gv in pairs if gv is not None and v._node is not None}
        nodes = [c._node if want else None for c, want in zip(copies, wanted, strict=True)]
        found = engine.walk(seeds, box, targets={n for n in nodes if n is not None}, since=since)
        if self.owned:
            return [found.get(n) if n else None for n in nodes]
        return [
            (found[n] if n in found else np.zeros_like(c._raw)) if n else None
            for n, c in zip(nodes, copies)
        ]


class Fused(Function):
    """A function that is written for NumPy's memory; on other libraries' arrays its plain composition runs instead."""

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        if foreign(
            inputs[0] if inputs else next(iter(settings.values()), None)
        ):  # and so are all others
            return self.equals(*inputs, **settings)  # type: ignore[misc]  # not None here
        if settings:
            inputs, settings = self._bind(inputs, settings)
        return record(self, inputs, settings)


def record(function: Function, inputs: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """Apply a function; if a Variable that requires a gradient is among the inputs, remember it."""
    mode = MODE.get()
    if mode.watcher is not None:
        return mode.watcher.apply(function, inputs, settings)
    args: list[Any] = []
    parents: list[Node | None] = []
    constants: list[Variable] | None = None
    boxed = tracked = False
    for x in inputs:
        if isinstance(x, Variable):
            boxed = True
            a, node = x._raw, x._node
            args.append(
                a if type(a) is not _ndarray or a.ndim else a[()]
            )  # .data made an array of a scalar
            parents.append(node)
            if node is not None:
                tracked = True
            elif constants is None:
                constants = [x]
            else:
                constants.append(x)
        else:
            if type(x) is list or (
                type(x) is tuple and len(args) < (function.arity or 0)
            ):  # a tuple may be a shape
                x = _plain(
                    function, x, inputs, function.arity is None or len(args) < function.arity
                )
            elif type(x) is not _ndarray and isinstance(x, _ndarray):
                x = _plain(function, x)
            args.append(x)
            parents.append(None)
    try:
        y = function.forward(*args, **settings) if settings else function.forward(*args)
    except Exception as error:
        raise _explained(function, args, error) from error
    saved = None
    if function.saves:
        y, saved = y
    if not boxed:
        if type(y) is str or type(y) is bytes:  # what Python's operators make of text
            raise TypeError(f"{function.name}: want arrays, got text")
        return y
    kind = type(y)
    if kind is not _ndarray and kind is not tuple and not hasattr(y, "dtype"):
        raise TypeError(
            f"{function.name}: the forward returned {type(y).__name__}, want an array or a tuple of arrays"
        )
    if mode.anomaly:
        anomaly.check_value(function, args, y)
    if not (tracked and function.derived and mode.recording):
        return tuple(box(o, None) for o in y) if kind is tuple else box(y, None)
    arity = function.arity
    if arity is not None and len(parents) > arity and any(parents[arity:]):
        raise TypeError(
            f"{function.name} has derivatives for its first {arity} arguments, a later one requires one"
        )
    new = Application.__new__(Application if not mode.anomaly else anomaly.TracedApplication)
    new.function, new.inputs, new.args, new.settings = (
        function,
        tuple(parents),
        tuple(args),
        settings,
    )
    new.output, new.saved, new.number, new.owner = y, saved, next_number(), None
    new.constants = tuple([x._watched() for x in constants]) if constants else ()
    if mode.anomaly:
        new.trace = anomaly.Trace(new)  # type: ignore[misc]  # a TracedApplication: there it is a slot
    if kind is tuple:
        outs = []
        for i, o in enumerate(y):
            node = Output(new, i, o)
            outs.append(box(o, node))
            node.owner = ref(outs[-1])
        return tuple(outs)
    if y.dtype.kind != "f":
        raise TypeError(f"{function.name} gave {y.dtype}, which cannot be differentiated")
    out = Variable.__new__(Variable)
    out._raw, out._node, out._leaf, out._grad, out.name = y, new, None, None, None
    new.owner = ref(out)
    return out


def differentiable(
    forward: Callable[..., Any],
    *rules: Rule | None,
    joint: Rule | None = None,
    saves: bool = False,
    equals: Callable[..., Any] | None = None,
    general: Callable[..., Any] | None = None,
    name: str | None = None,
    replaces: Sequence[Callable[..., Any]] = (),
    view: bool = False,
    fresh: bool = False,
    static: int | None = None,
) -> Function:
    """Make a function of arrays differentiable: its forward, and one derivative rule per argument.

    A rule is ``rule(g, y, *arguments, **settings)``: the gradient ``g`` of the output ``y``, then the
    function's own arguments; it returns the gradient for one argument, which the engine un-broadcasts or
    expands. Rules must be pure (use only what they are given), use only functions that have rules, and
    scale by Python numbers: then gradients of gradients come for free.

    Args:
        forward: takes and returns real arrays (or a tuple of arrays). A ufunc of NumPy's is also registered, so
            that ``np.exp(variable)`` is recorded.
        rules: one for each leading argument; None where the derivative is zero. No rule at all: a
            function that is recorded but not differentiated, such as a comparison.
        joint: instead of rules, one ``joint(g, y, wanted, *arguments)`` that returns a gradient for each argument.
        saves: the forward returns ``(output, saved)``, and it is ``joint(g, y, saved, wanted, *arguments)``; where that
            is to build a graph, ``saved`` is None, and the rule computes it anew, unless there is ``equals``.
        equals: the plain composition a fused function is equal to; second derivatives go through it, and arrays that
            are not NumPy's.
        general: called instead if there are arguments that the rules do not know (``where=``, ``dtype=``): a
            composition (see composition.py) that takes all.
        name: shown in messages and graphs; default that of what it replaces, or the forward's.
        replaces: further functions of NumPy that this one stands for.
        view: advanced, for ``minidl.compile`` alone: the results are views of the first argument.
        fresh: the same: neither results nor a joint rule's gradients share memory with their arguments. Without it
            compiled code assumes that they may.
        static: the same: the place of the first argument whose values decide on the shape of the result.

    >>> import numpy as np
    >>> softsign = differentiable(lambda x: x / (1 + np.abs(x)), lambda g, y, x: g / (1 + abs(x)) ** 2)
    >>> x = Variable([-1.0, 3.0])
    >>> softsign(x).backward()
    >>> x.grad
    Variable([0.25   0.0625])
    """
    kind = Fused if equals else Function
    function = kind(forward, rules, joint, name or (replaces or (forward,))[0].__name__.lstrip("_"))
    function.saves, function.equals, function.general = saves, equals, general
    function.view, function.fresh, function.static = view, fresh, static
    if general is not None:
        function.__wrapped__ = general
        function.__doc__ = general.__doc__ or function.__doc__
    function.__module__ = sys._getframe(1).f_globals[
        "__name__"
    ]  # where pickle finds it, as for a namedtuple
    for original in (*((forward,) if isinstance(forward, np.ufunc) else ()), *replaces):
        implements(original)(function)
    return function


def implements(original: Callable[..., Any] | str) -> Callable[[Any], Any]:
    """Let a function stand for one of NumPy's whenever that is given a Variable, and as its methods."""

    def register(function: Any) -> Any:
        REGISTRY[original] = function
        for name, (numpy_function, how) in METHODS.items():
            if numpy_function is original:
                setattr(Variable, name, _method(function, how))
        return function

    return register


def _method(function: Callable[..., Any], how: str) -> Any:
    """A method of Variable from a function: operators go to the recorder without a detour."""
    if how == "starred":  # reshape(2, 3) and reshape((2, 3)) are the same
        return lambda self, *s: function(
            self, *((s,) if len(s) > 1 or (s and isinstance(s[0], int)) else s)
        )
    if not isinstance(function, Function) or how == "method":
        return lambda self, *args, **kwargs: function(self, *args, **kwargs)
    return {
        "binary": lambda self, other: record(function, (self, other), {}),
        "reflected": lambda self, other: record(function, (other, self), {}),
        "in place": lambda self, other: _not_in_place(function, self, other),
        "unary": lambda self: record(function, (self,), {}),
        "property": property(lambda self: record(function, (self,), {}), doc="The transpose."),
    }[how]


def _not_in_place(function: Function, x: Variable, other: Any) -> Any:
    """``loss += term`` makes a new result and rebinds the name; a leaf that is trained must not go that way."""
    if type(x._node) is Leaf:
        hint = "to update it write `x.data -= ...`, to compute with it `x = x - ...`"
        raise TypeError(f"in-place {function.name} on a leaf that requires a gradient: {hint}")
    return record(function, (x, other), {})


def _plain(function: Function, x: Any, *others: Any) -> Any:
    try:
        return beside(x, *others) if others else unadorned(x)
    except (TypeError, ValueError) as error:
        raise _explained(function, [x], error) from None


def _explained(function: Function, args: Sequence[Any], error: Exception) -> Exception:
    """The same kind of error, with the function's name and what it was given in front."""
    got = ", ".join(f"{a.dtype} {a.shape}" if hasattr(a, "dtype") else repr(a)[:40] for a in args)
    kinds = (np.exceptions.AxisError, np.linalg.LinAlgError, IndexError, TypeError, ValueError)
    for kind in (*kinds, ZeroDivisionError):
        if isinstance(error, kind):
            return kind(f"{function.name}: {error} (got {got})")
    if isinstance(error, (AttributeError, KeyError)) and not all(
        getattr(a, "dtype", np.dtype(object)).kind != "O" for a in args[: function.arity]
    ):
        return TypeError(f"{function.name}: want arrays (got {got})")
    error.add_note(f"in {function.name}, which got {got}")
    return error


identity = differentiable(lambda x: x, lambda g, y, x: g, name="identity", view=True)
