"""Functional transforms: functions that turn a function into its gradient, Jacobian, Hessian and
products.

Each is a few lines on the one engine. They never touch ``.grad``; the walk itself is in engine.py.

Arguments and results are arrays, or nested dicts, lists and tuples of them (pytrees); a list of
numbers is an array. A transform differentiates its own fresh copies of the arguments, so that
levels nest. It returns arrays, unless an argument is a Variable or the function closes over
something that requires a gradient (a model's parameters, an outer transform's argument): then it
keeps the graph and returns Variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from minidl.autograd.function import identity
from minidl.autograd.modes import MODE, Switch, check_mode, current
from minidl.autograd.node import Func, next_number
from minidl.autograd.targets import gradients_for, sources
from minidl.autograd.variable import LeftGraphError, Variable, box, seed_for
from minidl.common.arrays import array_of, as_array, to_kind_of, zeros
from minidl.common.pytree import (
    LEAF,
    Structure,
    describe,
    flatten,
    is_numbers,
    leaves_like,
    map_leaves,
    paths,
    unflatten,
)

Argnum = int | Sequence[int]


def _pull_back(
    pairs: Iterable[tuple[Variable, Any]],
    xs: Sequence[Variable],
    graph: bool,
    since: int = -1,
    alone: bool = False,
) -> list[Any]:
    """Gradients for some Variables from pairs of a result and its seed.

    They are Variables with a graph if there is to be one, else arrays. The rest as in
    ``gradients_for``.
    """
    tracer = MODE.get().tracer
    if tracer is None or graph:
        return gradients_for(xs, pairs, box if graph else None, since, alone=alone)
    return tracer.gradients(pairs, xs, since)


def _as_variable(g: Any) -> Variable:
    if isinstance(g, Variable):
        tracer = MODE.get().tracer
        return tracer.variable(g) if tracer is not None and tracer.is_plain(g) else g
    return box(g)


def as_plain(x: Any) -> Any:
    """The array of a Variable, or what a tracer has for one; anything else as it is."""
    tracer = MODE.get().tracer
    return array_of(x) if tracer is None or not isinstance(x, Variable) else tracer.as_plain(x)


def _comes_as_variable(value: Any) -> bool:
    """Whether the caller gave a Variable; a tracer's stands for an array where eagerly one is."""
    if not isinstance(value, Variable):
        return False
    tracer = MODE.get().tracer
    return tracer is None or not tracer.is_plain(value)


class Call:
    """One call of a function on fresh copies of its arguments, and the gradients of its outputs.

    ``inputs`` and ``ys`` are the leaves of the differentiated arguments and of the result, in
    order.
    """

    def __init__(
        self,
        name: str,
        f: Any,
        args: Sequence[Any],
        argnum: Argnum,
        kwargs: Any = None,
        has_aux: bool = False,
    ) -> None:
        self.name = f"{name}({getattr(f, '__name__', None) or repr(f)})"
        self.argnum = argnum
        self.since = next_number()
        self.keeps = current().recording
        trees = [flatten(arg, is_numbers) for arg in args]
        given = [leaf for leaves, _ in trees for leaf in leaves]
        self.boxes = any(map(_comes_as_variable, given))
        argnums = [argnum] if isinstance(argnum, int) else argnum
        places = [self._place(n, len(args)) for n in argnums]
        inputs = list(args)
        self.left: list[str] = []  # how the function read values out of the graph
        with Switch(recording=True, transforming=self.left):
            copies = {n: self._copies(n, *trees[n]) for n in places}
            for n, leaves in copies.items():
                inputs[n] = unflatten(trees[n][1], leaves)
            result = self._call(f, inputs, kwargs or {})
        outer = current().transforming
        if outer is not None:
            outer += self.left
        self.inputs = [x for n in places for x in copies[n]]
        structures = [trees[n][1] for n in places]
        self.structure = Structure(list, (), tuple(structures))
        self.aux: Any = None
        if has_aux:
            result, self.aux = self._pair(result)
        ys, self.y_structure = flatten(result)
        self.ys = [self._checked(i, y) for i, y in enumerate(ys)]

    def _place(self, n: Any, count: int) -> int:
        if not isinstance(n, int):
            raise TypeError(f"{self.name}: argnum must be an int here, got {n!r}")
        if not -count <= n < count:
            raise TypeError(f"{self.name}: argnum {n}, but the call has {count} arguments by place")
        return n % count

    def _copies(self, n: int, leaves: list[Any], structure: Structure) -> list[Variable]:
        """Fresh Variables of the arrays in argument ``n``."""
        tracer = MODE.get().tracer
        copies = []
        for i, leaf in enumerate(leaves):
            if is_differentiated(leaf):
                copies.append(identity(leaf))
                continue
            array = as_array(array_of(leaf), self.name)
            if array.dtype.kind != "f":
                place = paths(structure, f"argument {n}")[i]
                raise TypeError(f"{self.name}: {place} must be floating, got {array.dtype}")
            copies.append(Variable(array) if tracer is None else tracer.leaf(leaf))
        return copies

    def _call(self, f: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        try:
            return f(*args, **kwargs)
        except ValueError as error:
            # In `a[i] = x` NumPy puts its own words, of a sequence, over ours.
            if isinstance(error.__cause__, LeftGraphError):
                ours = LeftGraphError(f"{self.name}: {error.__cause__}")
                raise ours.with_traceback(error.__traceback__) from None
            raise

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if isinstance(result, (tuple, list)) and len(result) == 2:
            return result[0], result[1]
        raise TypeError(
            f"{self.name}: has_aux=True wants (result, aux), got {type(result).__name__}"
        )

    def _checked(self, i: int, y: Any) -> Variable:
        """A result as a Variable.

        A floating constant, whatever its type, is one without a graph.
        """
        if type(y) in (int, float):
            y = np.float64(y)
        if getattr(getattr(y, "dtype", None), "kind", "") != "f":
            raise TypeError(f"{self.name}: want a floating result; {self._described(i, y)}")
        if isinstance(y, Variable):
            return y
        if self.left:
            raise TypeError(
                f"{self.name}: want a Variable; {self._described(i, y)}, and {self.left[-1]} of a "
                "Variable was read: the result left the graph; compute with the Variable itself"
            )
        return box(as_array(y))

    def _described(self, i: int, y: Any) -> str:
        place = paths(self.y_structure, "the function's result")[i]
        kind = type(y).__name__
        if hasattr(y, "dtype") and kind != str(y.dtype):
            kind = f"{kind} of dtype {y.dtype}"
        return f"{place} is of type {kind}"

    def scalar(self) -> Call:
        """Insist on one element."""
        if self.y_structure != LEAF:
            got = describe(self.y_structure)
            raise ValueError(f"{self.name}: want a scalar result, got {got}")
        if self.ys[0].size != 1:
            raise ValueError(f"{self.name}: want a scalar result, got shape {self.ys[0].shape}")
        return self

    @cached_property
    def outside(self) -> bool:
        """Whether the outputs depend on other things than our copies that require a gradient."""
        return bool(sources(self.ys, self.since))

    def _result(self, value: Variable, outside: bool) -> Any:
        """A result as the caller gets it.

        A Variable if it must keep a graph or an argument is one, else an array.
        """
        if self.boxes or (self.keeps and value.requires_grad and outside):
            return value if self.keeps else value.detach()
        return as_plain(value)

    def value(self) -> Any:
        """The function's result, without aux."""
        return unflatten(self.y_structure, [self._result(y, self.outside) for y in self.ys])

    def aux_value(self) -> Any:
        """What the function gave besides, its Variables as results are."""

        def result(x: Any) -> Any:
            if not isinstance(x, Variable):
                return x
            return self._result(x, bool(sources([x], self.since)))

        return map_leaves(result, self.aux)

    def pull(
        self, seeds: Sequence[Any] = (None,), ys: Sequence[Variable] = (), graph: bool = False
    ) -> list[Any]:
        """Gradients for the inputs from one seed for each output (None: ones).

        Zeros where none reaches. ``ys``: some of the outputs only; ``graph``: with a graph, even
        where nothing else asks for one.
        """
        ends = zip(ys or self.ys, seeds, strict=True)
        pairs = [(y, seed_for(y, seed, self.name)) for y, seed in ends]
        if self.keeps:
            graph = graph or self.outside or any(seed.requires_grad for _, seed in pairs)
        gs = _pull_back(pairs, self.inputs, graph, self.since, not self.outside)
        return list(map(_as_variable, gs)) if graph or self.boxes else gs

    def arguments(self, leaves: list[Any]) -> Any:
        """Leaves as the differentiated arguments.

        One tree for an int, a tuple of trees for several.
        """
        if isinstance(self.argnum, int):
            return unflatten(self.structure.parts[0], leaves)
        return tuple(unflatten(self.structure, leaves))


def _tree_like(name: str, structure: Structure, tree: Any, xs: Sequence[Any]) -> list[Any]:
    """The leaves of a tree of directions as arrays, if it has this structure and the shapes of xs."""
    leaves = list(map(as_array, leaves_like(structure, tree, name)))
    for place, leaf, x in zip(paths(structure, name), leaves, xs, strict=True):
        want = as_array(x).shape
        if leaf.shape != want:
            raise ValueError(f"{place} has shape {leaf.shape}, want {want}")
    return leaves


def inner(xs: Sequence[Any], ys: Sequence[Any]) -> Any:
    """The sum of the products of all elements of some arrays."""
    return sum((x * y).sum() for x, y in zip(xs, ys, strict=True))


def value_and_grad(f: Func, argnum: Argnum = 0, has_aux: bool = False) -> Func:
    """The function that gives ``f`` and its gradient at once, as ``(value, gradient)``.

    The rest is as for ``grad``.

    With ``has_aux`` it gives ``((value, aux), gradient)``.

    >>> value_and_grad(lambda x: (x * x).sum())([1.0, 2.0])
    (np.float64(5.0), array([2., 4.]))
    """

    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        call = Call("value_and_grad", f, args, argnum, kwargs, has_aux).scalar()
        value = (call.value(), call.aux_value()) if has_aux else call.value()
        return value, call.arguments(call.pull())

    return both


def grad(f: Func, argnum: Argnum = 0, has_aux: bool = False) -> Func:
    """The gradient of a scalar function, as a function of the same arguments.

    ``argnum`` says for which argument; a tuple of them gives a tuple of gradients. An argument may
    be a nested dict, list or tuple of arrays: so is its gradient. With ``has_aux`` the function
    gives ``(value, aux)``, and this one ``(gradient, aux)``.

    Raises TypeError if such an argument is not floating or ``f`` left the graph, ValueError if it
    gives no scalar.

    >>> grad(lambda x: x * grad(lambda y: x * y)(x))(3.0)
    np.float64(6.0)
    >>> grad(lambda p: p["w"] * p["b"] ** 2)({"w": 3.0, "b": 1.0})
    {'w': np.float64(1.0), 'b': np.float64(6.0)}
    """

    def gradient(*args: Any, **kwargs: Any) -> Any:
        call = Call("grad", f, args, argnum, kwargs, has_aux).scalar()
        result = call.arguments(call.pull())
        return (result, call.aux_value()) if has_aux else result

    return gradient


def vjp(f: Func, *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """``f(*args)``, and its pull-back: a function from ``g`` to ``g`` times each Jacobian, a tuple.

    ``g`` has the shape of the result.

    Where ``f`` gives a nested dict, list or tuple of arrays, so is ``g``.

    >>> y, pull = vjp(lambda x: x * x, [1.0, 2.0])
    >>> pull([1.0, 10.0])
    (array([ 2., 40.]),)
    """
    call = Call("vjp", f, args, range(len(args)))

    def pull(gradient: Any) -> tuple[Any, ...]:
        seeds = leaves_like(call.y_structure, gradient, f"{call.name}: the seed gradient")
        return tuple(unflatten(call.structure, call.pull(seeds)))

    return call.value(), pull


def jvp(f: Func, args: Any, tangents: Any) -> tuple[Any, Any]:
    """``f(*args)`` and its derivative along the tangents: the Jacobian times a direction.

    Found by differentiating the pull-back, which is linear in its argument (Townsend 2017, "A new
    trick for calculating Jacobian vector products"). Both arguments are tuples; anything else
    stands for the only one.

    Raises ValueError for a tangent of another shape than its argument, TypeError for another number
    of them.

    >>> y, dy = jvp(lambda x: x * x, ([1.0, 2.0],), ([1.0, 1.0],))
    >>> dy
    array([2., 4.])
    """
    args = args if isinstance(args, tuple) else (args,)
    tangents = tangents if isinstance(tangents, tuple) else (tangents,)
    if len(args) != len(tangents):
        raise TypeError(f"jvp: got {len(args)} arguments but {len(tangents)} tangents")
    call = Call("jvp", f, args, range(len(args)))
    vs = _tree_like("jvp: a tangent", call.structure, list(tangents), call.inputs)

    def pulled(*seeds: Variable) -> Any:
        return inner(call.pull(seeds, graph=True), vs)  # even inside no_grad

    zero = [np.zeros_like(y._raw) for y in call.ys]
    results = Call("jvp", pulled, zero, range(len(zero))).pull()
    boxes = call.boxes or any(map(_comes_as_variable, vs))
    if not boxes and not (call.keeps and call.outside):
        results = list(map(as_plain, results))
    return call.value(), unflatten(call.y_structure, results)


def jacobian(f: Func, argnum: Argnum = 0) -> Func:
    """The Jacobian of a function, of shape ``y.shape + x.shape``.

    It takes one backward walk per element of y.

    Args and raises as ``grad``, but ``f`` may give an array, or a nested dict, list or tuple of
    them: then for each of them the Jacobian, itself a tree where the argument is one.

    >>> jacobian(lambda x: x * x)([1.0, 2.0])
    array([[2., 0.],
           [0., 4.]])
    """

    def matrix(*args: Any, **kwargs: Any) -> Any:
        call = Call("jacobian", f, args, argnum, kwargs)
        blocks = [call.arguments(_jacobian_of(call, y)) for y in call.ys]
        return unflatten(call.y_structure, blocks)

    return matrix


def _jacobian_of(call: Call, y: Variable) -> list[Any]:
    """The Jacobian of one output by each input."""
    if y.size == 0:
        return [zeros(y.shape + x.shape, x.dtype, x) for x in call.inputs]
    identity_matrix = np.eye(y.size, dtype=y.dtype)
    basis = to_kind_of(identity_matrix.reshape(y.size, *y.shape), y)
    columns = zip(*[call.pull([seed], [y]) for seed in basis], strict=True)
    return [
        np.stack(column).reshape(y.shape + x.shape)
        for x, column in zip(call.inputs, columns, strict=True)
    ]


def hessian(f: Func, argnum: Argnum = 0) -> Func:
    """The second derivatives of a scalar function, of shape ``x.shape + x.shape``.

    The rest is as for ``grad``.

    Of a nested dict, list or tuple a tree of trees: one block for each pair of arrays.

    >>> hessian(lambda x: (x**3).sum())([1.0, 2.0])
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return jacobian(grad(f, argnum), argnum)


def hvp(f: Func) -> Func:
    """The Hessian of a scalar function times a vector: ``hvp(f)(x, v, *args)``.

    It is the gradient of ``sum(grad(f)(x, *args) * v)`` (Pearlmutter 1994), and what SciPy calls
    ``hessp``. ``v`` is a tree of arrays if ``x`` is one.

    Raises as ``grad``, and ValueError if ``v`` has another shape than ``x``.

    >>> hvp(lambda x: (x**3).sum())([1.0, 2.0], [1.0, 1.0])
    array([ 6., 12.])
    """

    def product(x: Any, v: Any, *args: Any) -> Any:
        leaves, structure = flatten(x, is_leaf=is_numbers)
        vs = _tree_like("hvp: the vector", structure, v, leaves)

        def along(z: Any, *rest: Any) -> Any:
            gs, _ = flatten(grad(f)(z, *rest))
            return inner(gs, vs)

        return grad(along)(x, *args)

    return product


def is_differentiated(x: Any) -> bool:
    """Whether it is a Variable that requires a gradient."""
    return isinstance(x, Variable) and x.requires_grad


def _hint_without_recording() -> str:
    if current().recording:
        return ""
    return "; inside no_grad(), and so in Trainer.predict, use minidl.grad, which records by itself"


def gradients(
    y: Variable, xs: Sequence[Variable], gradient: Any = None, *, create_graph: bool = False
) -> list[Variable]:
    """Gradients of a recorded result for a list of Variables that it was computed from.

    Zeros where y does not depend on one. ``gradient`` is the seed, default ones; ``create_graph``
    as in ``backward``.

    Raises ValueError if ``y`` or one of ``xs`` does not require a gradient.

    >>> x = Variable(3.0)
    >>> [g] = gradients(x * x, [x])
    >>> float(g)
    6.0
    """
    check_mode("gradients", create_graph)
    if isinstance(xs, Variable) or not all(map(is_differentiated, xs)):
        want = "want a list of Variables that require a gradient"
        raise ValueError(f"gradients: {want}{_hint_without_recording()}")
    if not isinstance(y, Variable) or y._node is None:
        why = "nothing it was computed from requires a gradient"
        raise ValueError(f"gradients: the result has no graph: {why}{_hint_without_recording()}")
    seed = seed_for(y, gradient, "gradients")
    return list(map(_as_variable, _pull_back([(y, seed)], xs, create_graph)))
