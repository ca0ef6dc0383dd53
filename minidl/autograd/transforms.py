"""Functional transforms: functions that turn a function into its gradient, Jacobian, Hessian and products.

Each is a few lines on the one engine. They never touch ``.grad``; the walk itself is in engine.py.

A transform differentiates its own fresh copies of the arguments, so that levels nest. It returns
arrays, unless an argument is a Variable or the function closes over something that requires a gradient
(a model's parameters, an outer transform's argument): then it keeps the graph and returns Variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from minidl.autograd import engine
from minidl.autograd.function import identity
from minidl.autograd.modes import MODE, Switch, check_mode, current
from minidl.autograd.node import next_number
from minidl.autograd.variable import LeftGraphError, Variable, box, seed_for
from minidl.common.arrays import array_of, as_array, to_kind_of, zeros


def _boxer(graph: bool) -> Callable[[Any, Any], Any] | None:
    """What a walk makes Variables with, so that its rules are recorded; None if they run on plain arrays."""
    tracer = MODE.get().tracer
    return tracer.box if tracer is not None else box if graph else None


class Call:
    """One call of a function on fresh copies of its arguments, and the gradients of its output."""

    def __init__(
        self, name: str, f: Any, args: Sequence[Any], argnums: Sequence[int], kwargs: Any = None
    ) -> None:
        self.name = f"{name}({getattr(f, '__name__', repr(f))})"
        self.since = next_number()
        self.keeps = current().recording
        self.boxes = any(isinstance(a, Variable) and not getattr(a, "plain", False) for a in args)
        copies = list(args)
        self.left: list[str] = []  # how the function read values out of the graph
        with Switch(recording=True, transforming=self.left):
            for n in argnums:
                if not isinstance(n, int):
                    raise TypeError(f"{self.name}: argnum must be an int here, got {n!r}")
                if not -len(args) <= n < len(args):
                    raise TypeError(
                        f"{self.name}: argnum {n}, but the call has {len(args)} arguments"
                    )
                copies[n] = self._copy(args[n], n)
            self.inputs: list[Variable] = [copies[n] for n in argnums]
            self.y = self._checked(self._value(f, copies, kwargs or {}))
        outer = current().transforming
        if outer is not None:
            outer += self.left

    def _copy(self, value: Any, n: int) -> Any:
        if isinstance(value, Variable) and value.requires_grad:
            return identity(value)
        array = as_array(array_of(value), f"{self.name}: argument {n}")
        if array.dtype.kind != "f":
            raise TypeError(f"{self.name}: argument {n} must be floating, got {array.dtype}")
        tracer = MODE.get().tracer
        return Variable(array) if tracer is None else tracer.leaf(value)

    def _value(self, f: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        try:
            return f(*args, **kwargs)
        except (
            ValueError
        ) as error:  # NumPy puts its own words over ours: "setting an array element"
            if isinstance(error.__cause__, LeftGraphError):
                ours = LeftGraphError(f"{self.name}: {error.__cause__}")
                raise ours.with_traceback(error.__traceback__) from None
            raise

    def _checked(self, y: Any) -> Variable:
        """The result as a Variable; a floating constant, whatever its type, is one without a graph."""
        if type(y) in (int, float):
            y = np.float64(y)
        if getattr(getattr(y, "dtype", None), "kind", "") != "f":
            raise TypeError(
                f"{self.name}: want a floating result, got {_described(y)}: it has no derivative"
            )
        if isinstance(y, Variable):
            return y
        if self.left:
            how = self.left[-1]
            raise TypeError(
                f"{self.name}: the function gave {_described(y)}, no Variable, and read {how} of one: "
                "it left the graph; compute with the Variable itself"
            )
        return box(as_array(y), None)

    def scalar(self) -> Call:
        """Insist on one element."""
        if self.y.size != 1:
            raise ValueError(f"{self.name}: want a scalar result, got shape {self.y.shape}")
        return self

    @cached_property
    def outside(self) -> bool:
        """Whether the output depends on something that requires a gradient other than our copies."""
        if self.y._node is None:
            return False
        own = {x._node for x in self.inputs}
        applications, leaves = engine.reach({self.y._node: None}, self.since)
        nodes = [p for a in applications for p in a.inputs or () if p is not None] + leaves
        # What is newer than the call was made inside it, such as the copies of a transform within.
        return any(x.creator for x in self.inputs) or any(
            n.number < self.since and n not in own for n in nodes
        )

    def out(self, value: Variable) -> Any:
        """A result as the caller gets it: a Variable if it must keep a graph or an argument is one, else an array."""
        if self.boxes or (self.keeps and value.requires_grad and self.outside):
            return value if self.keeps else value.detach()
        tracer = MODE.get().tracer
        return value._raw if tracer is None else tracer.as_plain(value)

    def pull(self, gradient: Any = None) -> list[Any]:
        """Gradients for the copies, zeros where the output does not depend on one."""
        seed = seed_for(self.y, gradient, self.name)
        graph = self.keeps and (seed.requires_grad or self.outside)
        found: dict[Any, Any] = {}
        if self.y._node is not None:
            targets = {x._node for x in self.inputs if x._node is not None}
            boxing = _boxer(graph)
            seeds = {self.y._node: seed if boxing else seed._raw}
            found = engine.walk(seeds, boxing, targets=targets, since=self.since)
            if boxing and not graph:
                found = {node: g.detach() for node, g in found.items()}
        gs = [found[x._node] if x._node in found else np.zeros_like(x._raw) for x in self.inputs]
        return [
            g if isinstance(g, Variable) or not (graph or self.boxes) else box(g, None) for g in gs
        ]


def _described(y: Any) -> str:
    return f"{type(y).__name__} of dtype {y.dtype}" if hasattr(y, "dtype") else type(y).__name__


def _argnums(argnum: int | Sequence[int]) -> Sequence[int]:
    return (argnum,) if isinstance(argnum, int) else tuple(argnum)


def _select(results: list[Any], argnum: int | Sequence[int]) -> Any:
    return results[0] if isinstance(argnum, int) else tuple(results)


def value_and_grad(f: Callable[..., Any], argnum: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The function that gives ``f`` and its gradient in one go, as ``(value, gradient)``; the rest as ``grad``.

    >>> value_and_grad(lambda x: (x * x).sum())([1.0, 2.0])
    (np.float64(5.0), array([2., 4.]))
    """

    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        call = Call("value_and_grad", f, args, _argnums(argnum), kwargs).scalar()
        return call.out(call.y), _select(call.pull(), argnum)

    return both


def grad(f: Callable[..., Any], argnum: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The gradient of a scalar function, as a function of the same arguments.

    ``argnum`` says for which argument; a tuple of them gives a tuple of gradients.

    Raises TypeError if such an argument is not floating or ``f`` left the graph, ValueError if it gives no scalar.

    >>> grad(lambda x: x * grad(lambda y: x * y)(x))(3.0)
    np.float64(6.0)
    """

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return _select(Call("grad", f, args, _argnums(argnum), kwargs).scalar().pull(), argnum)

    return gradient


def vjp(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """``f(*args)`` and its pull-back: ``pull(g)`` is a tuple, ``g`` (of y's shape) times each argument's Jacobian.

    >>> y, pull = vjp(lambda x: x * x, [1.0, 2.0])
    >>> pull([1.0, 10.0])
    (array([ 2., 40.]),)
    """
    call = Call("vjp", f, args, range(len(args)))
    return call.out(call.y), lambda gradient: tuple(call.pull(gradient))


def jvp(f: Callable[..., Any], args: Any, tangents: Any) -> tuple[Any, Any]:
    """``f(*args)`` and its derivative along the tangents: the Jacobian times a direction.

    Found by differentiating the pull-back, which is linear in its argument (Townsend 2017, "A new trick for
    calculating Jacobian vector products"). Both arguments are tuples; anything else stands for the only one.

    Raises ValueError for a tangent of another shape than its argument, TypeError for another number of them.

    >>> y, dy = jvp(lambda x: x * x, ([1.0, 2.0],), ([1.0, 1.0],))
    >>> dy
    array([2., 4.])
    """
    args, tangents = (a if isinstance(a, tuple) else (a,) for a in (args, tangents))
    if len(args) != len(tangents):
        raise TypeError(f"jvp: got {len(args)} arguments but {len(tangents)} tangents")
    call = Call("jvp", f, args, range(len(args)))
    for x, v in zip(call.inputs, tangents, strict=True):
        if (shape := as_array(v, "jvp").shape) != x.shape:
            raise ValueError(f"jvp: a tangent has shape {shape}, want {x.shape}")

    def pulled(u: Variable) -> Any:
        keeps, call.keeps = call.keeps, True  # even inside no_grad: this is differentiated, at once
        total = sum(
            (g * v).sum() for g, v in zip(call.pull(u), map(as_array, tangents), strict=True)
        )
        call.keeps = keeps
        return total

    [result] = Call("jvp", pulled, (np.zeros_like(call.y._raw),), (0,)).pull()
    keep = any(isinstance(v, Variable) for v in (*args, *tangents)) or (call.keeps and call.outside)
    return call.out(call.y), result if keep else array_of(result)


def jacobian(f: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """The Jacobian of a function, of shape ``y.shape + x.shape``; one backward walk per element of y.

    Args and raises as ``grad``, but ``f`` may give an array.

    >>> jacobian(lambda x: x * x)([1.0, 2.0])
    array([[2., 0.],
           [0., 4.]])
    """

    def matrix(*args: Any, **kwargs: Any) -> Any:
        call = Call("jacobian", f, args, (argnum,), kwargs)
        y, x = call.y, call.inputs[0]
        basis = to_kind_of(np.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape), y)
        rows = [call.pull(basis[i])[0] for i in range(y.size)]
        return (
            np.stack(rows).reshape(y.shape + x.shape)
            if rows
            else zeros(y.shape + x.shape, x.dtype, x)
        )

    return matrix


def hessian(f: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """The matrix of second derivatives of a scalar function, of shape ``x.shape + x.shape``; the rest as ``grad``.

    >>> hessian(lambda x: (x**3).sum())([1.0, 2.0])
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return jacobian(grad(f, argnum), argnum)


def hvp(f: Callable[..., Any]) -> Callable[..., Any]:
    """The Hessian of a scalar function times a vector, ``hvp(f)(x, v, *args)``, without the Hessian.

    It is the gradient of ``sum(grad(f)(x, *args) * v)`` (Pearlmutter 1994), and what SciPy calls ``hessp``.

    Raises as ``grad``, and ValueError if ``v`` has another shape than ``x``.

    >>> hvp(lambda x: (x**3).sum())([1.0, 2.0], [1.0, 1.0])
    array([ 6., 12.])
    """

    def product(x: Any, v: Any, *args: Any) -> Any:
        v, shape = as_array(v, "hvp"), as_array(x, "hvp").shape
        if v.shape != shape:
            raise ValueError(f"hvp: the vector has shape {v.shape}, want {shape}")
        return grad(lambda z, *rest: (grad(f)(z, *rest) * v).sum())(x, *args)

    return product


def gradients(
    y: Variable, xs: Sequence[Variable], gradient: Any = None, *, create_graph: bool = False
) -> list[Variable]:
    """Gradients of a recorded result for Variables it was computed from, leaves or results, as a list.

    Zeros where y does not depend on one. ``gradient`` is the seed, default ones; ``create_graph`` as in ``backward``.

    Raises ValueError if ``y`` or one of ``xs`` does not require a gradient.

    >>> x = Variable(3.0)
    >>> [g] = gradients(x * x, [x])
    >>> float(g)
    6.0
    """
    check_mode("gradients", create_graph)
    if isinstance(xs, Variable) or not all(isinstance(x, Variable) and x.requires_grad for x in xs):
        raise ValueError("gradients: want a list of Variables that require a gradient")
    if not isinstance(y, Variable) or y._node is None:
        raise ValueError(
            "gradients: the result has no graph: nothing it was computed from requires a gradient"
        )
    seed = seed_for(y, gradient, "gradients")
    targets = {x._node for x in xs if x._node is not None}
    boxing = _boxer(create_graph)
    found = engine.walk({y._node: seed if boxing else seed._raw}, boxing, targets=targets)
    if boxing and not create_graph:
        found = {node: g.detach() for node, g in found.items()}
    gs = [found[x._node] if x._node in found else np.zeros_like(x._raw) for x in xs]
    return [g if isinstance(g, Variable) else box(g, None) for g in gs]
