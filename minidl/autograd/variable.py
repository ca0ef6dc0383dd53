"""Variable: an array that is differentiated. It feels like a NumPy array and knows its place in the
graph.

Operators and methods that compute are bound here by one table when their function is registered
(see function.py); the derivatives are in minidl.functions, the backward walk in engine.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
import numpy.typing as npt

from minidl.autograd import engine, protocols
from minidl.autograd.display import DisplayMixin
from minidl.autograd.modes import MODE, check_mode, look, note_cleared
from minidl.autograd.node import Application, Leaf, Node, Output, cut
from minidl.autograd.operators import OperatorsMixin
from minidl.common.arrays import BaseVariable, as_array, is_foreign, to_kind_of
from minidl.common.callers import warn_user
from minidl.common.hints import VARIABLE_WORDS, HintsMixin

Array = npt.NDArray[Any]


_STAY = "to keep a gradient, collect Variables with np.stack and use NumPy's functions or minidl's"


class LeftGraphError(RuntimeError):
    """A value was about to leave the graph inside a transform."""


class Variable(OperatorsMixin, DisplayMixin, HintsMixin, BaseVariable):
    """An array with a place in the graph: functions of it are recorded, to be differentiated.

    Args:
        data: an array, a number or a (nested) list; real, of any shape. An ndarray is not copied.
        requires_grad: whether gradients are computed for it; default True for floating data, else
            False.
        name: shown in graphs and messages.

    Raises TypeError if ``data`` is complex, text, objects or a Variable, or for
    ``requires_grad=True`` of integers.

    >>> x = Variable([1.0, 2.0])
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    Variable([2., 4.])
    """

    __slots__ = ("__weakref__", "_grad", "_leaf", "_node", "_raw", "name")
    _words = VARIABLE_WORDS
    __pandas_priority__ = 5000  # `series * variable` is ours, as `array * variable` is
    _raw: Any  # the array, or a NumPy scalar for a value without axes (several times faster)
    _node: Node | None  # None for a constant
    _leaf: Leaf | None  # of a constant: what stands for its value in graphs that use it
    _grad: Variable | None
    name: str | None

    def __init__(
        self, data: Any, requires_grad: bool | None = None, name: str | None = None
    ) -> None:
        raw = _checked_array(data)
        floating = raw.dtype.kind == "f"
        if requires_grad and not floating:
            raise TypeError(f"Variable: only floating data can require a gradient, got {raw.dtype}")
        self._raw = raw
        self._grad = self._leaf = None
        self.name = name
        if requires_grad is None:
            requires_grad = floating
        self._node = Leaf(ref(self)) if requires_grad else None

    @property
    def data(self) -> Array:
        """The value, an ndarray.

        Assigning one gives the Variable a new value: graphs over the old one end.
        """
        mode = MODE.get()
        if mode.transforming is not None and self._node is not None:
            mode.transforming.append(".data")
        if mode.tracer is not None:
            return mode.tracer.data(self)  # type: ignore[no-any-return]  # what stands for one
        raw = self._raw
        if isinstance(raw, np.generic):
            raw = self._raw = np.asarray(raw)
        return raw  # type: ignore[no-any-return]  # raw is Any: it may be another library's array

    @data.setter
    def data(self, value: Any) -> None:
        if self.creator is not None:
            raise ValueError(
                "assignment to .data of a recorded result: only leaves can be given a new value"
            )
        if self.lazy:
            self._raw = _checked_array(value)
            return
        tracer = MODE.get().tracer
        if tracer is not None:
            tracer.assign(self, value)
            return
        self._raw = value if value is self._raw else self._fitting(value)
        self._stamp()

    def _fitting(self, value: Any) -> Any:
        """A new value, of this Variable's dtype and of its gradient's shape."""
        own = self._raw
        if isinstance(value, int | float | list | tuple) and not isinstance(value, np.generic):
            value = to_kind_of(value, own, own.dtype)  # it takes this Variable's dtype
        new = _checked_array(value)
        if new.dtype != own.dtype:
            raise TypeError(
                f"assignment to .data: the Variable is {own.dtype}, got {new.dtype}; use astype"
            )
        if self._grad is not None and new.shape != own.shape:
            raise ValueError(
                f"assignment to .data: shape {new.shape}, .grad has {own.shape}; cleargrad() first"
            )
        return new

    def _stamp(self) -> None:
        """Note that the value changed.

        A backward through an application of the old one will raise.
        """
        old = self._node
        if type(old) is Leaf:
            old.stale = True
            self._node = Leaf(old.owner, old.number)
        if self._leaf is not None:
            self._leaf.stale = True
            self._leaf = None

    def _watched(self) -> Leaf:
        """The leaf that stands for this constant in graphs, and goes stale with its value.

        A view of another Variable has that one's leaf.
        """
        leaf = self._leaf
        if leaf is None or leaf.stale:
            owner = None if leaf is None else leaf.owner()
            if owner is None:
                leaf = Leaf(ref(self))
            else:
                leaf = owner._node if type(owner._node) is Leaf else owner._watched()
            self._leaf = leaf
        return leaf

    @property
    def lazy(self) -> bool:
        """Whether it has no data yet, which only a Parameter can be without."""
        return False

    @property
    def grad(self) -> Variable | None:
        """The accumulated gradient, of this Variable's shape and dtype, or None."""
        tracer = MODE.get().tracer
        return self._grad if tracer is None else tracer.grad(self)

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            tracer = MODE.get().tracer
            if not isinstance(value, Variable):
                value = Variable(value, requires_grad=False)
            elif tracer is not None and tracer.is_plain(value):
                value = tracer.variable(value)
            if value.shape != self.shape or value.dtype != self.dtype:
                got = f"{value.dtype} {value.shape}"
                raise ValueError(f"assignment to .grad: want {self.dtype} {self.shape}, got {got}")
        self._grad = value

    def cleargrad(self) -> None:
        """Forget the gradient; the next backward starts from nothing."""
        note_cleared([self])
        self._grad = None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach this Variable. Can be assigned for leaves."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._node is not None and type(self._node) is not Leaf:
            raise ValueError(
                "requires_grad can be set for leaves only; use detach() for a recorded result"
            )
        if bool(value) != (self._node is not None):
            if value and not self.lazy and self.dtype.kind != "f":
                raise TypeError(f"only floating data can require a gradient, got {self.dtype}")
            # With the leaf from before it was frozen, so that graphs recorded then still reach it.
            if value:
                old = self._leaf
                self._node = old if old is not None and old.owner() is self else Leaf(ref(self))
                self._leaf = None
            else:
                self._leaf = self._node
                self._node = None

    @property
    def creator(self) -> Application | Output | None:
        """The recorded application that made it; None for leaves and constants."""
        node: Any = self._node
        return None if type(node) is Leaf else node

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._raw.shape  # type: ignore[no-any-return]  # as in data

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._raw.ndim  # type: ignore[no-any-return]  # as in data

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._raw.size  # type: ignore[no-any-return]  # as in data

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return self._raw.dtype  # type: ignore[no-any-return]  # as in data

    def backward(
        self,
        gradient: Any = None,
        *,
        retain_grad: bool = False,
        create_graph: bool = False,
        retain_graph: bool = True,
    ) -> None:
        """Add its gradient to ``.grad`` of every leaf behind this Variable, by the chain rule.

        Args:
            gradient: the seed, of this Variable's shape; default ones, so a non-scalar means its
                sum.
            retain_grad: also give intermediate results their ``.grad``.
            create_graph: record the computation of the gradients, so that they can be
                differentiated.
            retain_graph: False frees the graph as it is walked; a further backward through it
                raises.

        Raises ValueError if nothing here requires a gradient or the seed has another shape;
        RuntimeError for ``create_graph`` inside ``no_grad``, a freed graph, or a leaf that has a
        newer value.

        >>> x = Variable(3.0)
        >>> y = x**3
        >>> y.backward(create_graph=True)
        >>> g, _ = x.grad, x.cleargrad()
        >>> g.backward()
        >>> g.item(), x.grad.item()
        (27.0, 18.0)
        """
        if self._node is None:
            raise ValueError(
                "backward: this Variable has no graph: nothing behind it requires a gradient, "
                "or it was made inside no_grad(), detached or unchained"
            )
        check_mode("backward", create_graph)
        seed = seed_for(self, gradient, "backward")
        tracer = MODE.get().tracer
        if tracer is not None:
            plain = not (retain_grad or create_graph)
            seed = tracer.variable(seed) if tracer.is_plain(seed) else seed
            tracer.backward(self, seed, plain, not retain_graph)
            return
        if create_graph and not retain_graph:
            raise ValueError("backward: create_graph=True needs the graph; leave retain_graph=True")
        seeds = {self._node: seed if create_graph else seed._raw}
        boxing = box if create_graph else None
        _deliver(engine.walk(seeds, boxing, keep=retain_grad, free=not retain_graph))

    def unchain(self) -> None:
        """Cut the graph here: what lies behind this result is gone from every path through it."""
        if self.creator is not None:
            cut(self.creator)
            self._node = None

    def unchain_backward(self) -> None:
        """Cut the graph at this result and all behind it (truncated backpropagation through time).

        Values stay. Results that other code carries on, such as a recurrent state, become constants
        too.
        """
        if self._node is not None:
            for node in engine.reach({self._node: None})[0]:
                cut(node)
            if type(self._node) is not Leaf:
                self._node = None

    def detach(self) -> Variable:
        """A constant that shares this Variable's memory: gradients do not pass."""
        tracer = MODE.get().tracer
        if tracer is not None:
            return tracer.detached(self)
        out = box(self.data)
        if self.creator is None:  # a new value of this leaf is one of the view, too
            out._leaf = self._node if type(self._node) is Leaf else self._watched()
        return out

    def item(self) -> Any:
        """The one element, as a Python number.

        Raises RuntimeError in a transform, where it would leave the graph.
        """
        return self._single("item()")

    def __float__(self) -> float:
        return float(self._leaving("float()"))

    def __int__(self) -> int:
        return int(self._leaving("int()"))

    def _element(self, how: str) -> Any:
        look(self, how)
        if self._raw.size != 1:
            raise ValueError(
                f"{how} of a Variable needs exactly one element, got shape {self.shape}"
            )
        return self._raw.item()

    def _single(self, how: str) -> Any:
        value = self._element(how)
        if self._node is not None and MODE.get().transforming is not None:
            raise LeftGraphError(
                f"{how} of a Variable inside a transform would leave the graph; {_STAY} "
                "(`a[i] = x`, math.exp(x) and np.fromiter call float(x) by themselves)"
            )
        return value

    def _leaving(self, how: str) -> Any:
        """The one element.

        A warning, as NumPy and math ask for it where nobody asked for a number.
        """
        value = self._single(how)
        if self._node is not None:
            warn_user(
                f"{how} of a Variable that requires a gradient leaves the graph; "
                f"for a number write x.item(); {_STAY}"
            )
        return value

    def __bool__(self) -> bool:
        return bool(self._element("the truth"))

    def __index__(self) -> int:
        return self.data.__index__()

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[Variable]:
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        kind = type(self).__name__
        if self.lazy:
            return f"{kind}(no data yet)"
        name = f", name={self.name!r}" if self.name else ""
        if is_foreign(self):
            return f"{kind}({self._raw}{name})"
        values = np.array2string(self.data, separator=", ", prefix=kind + "(")
        return f"{kind}({values}{name})"

    def __format__(self, spec: str) -> str:
        look(self, "a format")
        return format(self._raw.item(), spec) if self.ndim == 0 and spec else str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.creator is not None:
            raise TypeError(
                "a recorded result cannot be copied or pickled with its graph; "
                "use detach() or .data"
            )
        data = None if self.lazy else self._raw
        grad = None if self._grad is None else self._grad.detach()
        return _rebuild, (type(self), data, self.requires_grad, self.name, grad)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self._node is not None:
            raise TypeError(protocols.would_leave(self.shape, _STAY))
        return np.array(self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        return protocols.array_ufunc(ufunc, method, inputs, settings)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return protocols.array_function(function, args, kwargs)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "assignment into a Variable, whose values are part of a graph: make a new one with "
            "np.where, np.concatenate or functions.mask_fill, or write to variable.data before "
            "it is used"
        )


class Parameter(Variable):
    """A Variable that a layer trains: ``Layer.parameters()`` collects only these.

    ``Parameter(None)`` is lazy: it has no data until ``.data`` is assigned; reading it before
    raises RuntimeError. Raises TypeError for integers, unless ``requires_grad=False``.

    >>> Parameter([[1.0, 2.0]]).requires_grad, Parameter(None).lazy
    (True, True)
    """

    __slots__ = ()

    def __init__(
        self, data: Any = None, requires_grad: bool | None = None, name: str | None = None
    ) -> None:
        if data is not None:
            super().__init__(data, requires_grad is not False, name)
            return
        self._grad = None  # _raw stays unset: reading it ends in __getattr__ below
        self._leaf = None
        self.name = name
        self._node = None if requires_grad is False else Leaf(ref(self))

    @property
    def lazy(self) -> bool:
        """Whether it is still without data."""
        try:
            return object.__getattribute__(self, "_raw") is None
        except AttributeError:
            return True

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name == "_raw":
                raise RuntimeError(
                    f"{self.name or 'this parameter'} has no data yet: its shape is learned at "
                    "first use; call the layer once, or give it its input size"
                )
            return super().__getattr__(name)


def box(raw: Any, node: Node | None = None) -> Variable:
    """A Variable of an array and its place in the graph, unchecked."""
    out = Variable.__new__(Variable)
    out._raw = raw
    out._node = node
    out._leaf = None
    out._grad = None
    out.name = None
    return out


def seed_for(y: Variable, gradient: Any, where: str) -> Variable:
    """The seed gradient of ``y`` as a Variable: ones, or what was given, its shape checked."""
    if gradient is None:
        value = y._raw
        ones = type(value)(1) if isinstance(value, np.generic) else np.ones_like(value)
        tracer = MODE.get().tracer
        if tracer is not None and isinstance(ones, np.generic):
            return tracer.number(ones)
        return box(ones)
    seed = gradient if isinstance(gradient, Variable) else box(_checked_array(gradient, y))
    if seed.shape != y.shape:
        raise ValueError(f"{where}: the seed gradient has shape {seed.shape}, want {y.shape}")
    return seed if seed.dtype == y.dtype else seed.astype(y.dtype)


def _checked_array(data: Any, like: Any = None) -> Any:
    if isinstance(data, Variable):
        tracer = MODE.get().tracer
        if tracer is not None and tracer.is_plain(data):
            look(data, "Variable(..)")
            return data._raw
        raise TypeError(
            "Variable: want an array, got a Variable: use it as it is, x.detach() for a constant of "
            "its value, or x.data for its array"
        )
    data = as_array(data, "Variable")
    if like is not None:
        data = to_kind_of(data, like)
    if data.dtype.kind not in "fiub":
        raise TypeError(f"Variable: want real numbers, got dtype {data.dtype}")
    return data[()] if type(data) is np.ndarray and data.ndim == 0 else data


def _rebuild(
    kind: type[Variable], data: Any, requires_grad: bool, name: str | None, grad: Any
) -> Variable:
    new = kind(data, requires_grad, name)
    new._grad = grad
    return new


def _deliver(gradients: dict[Node, Any]) -> None:
    """Add gradients to ``.grad`` of the Variables whose nodes these are, all or none."""
    new: list[tuple[Variable, Variable]] = []
    for node, gradient in gradients.items():
        owner = node.owner()
        if owner is not None and owner._node is node:
            old = owner._grad
            if isinstance(gradient, Variable):
                new.append((owner, gradient if old is None else old + gradient))
            elif old is None or old._node is None:  # arrays, whose sum need not be recorded
                new.append((owner, box(gradient if old is None else old._raw + gradient)))
            else:
                new.append((owner, old + gradient))
    for owner, g in new:
        owner._grad = g
