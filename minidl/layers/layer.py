"""Layer: the base of everything that owns parameters, the walk that finds them, the table of them.

What a layer computes is in its own file; weights whose input size is learned at first use are in linear.py.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from operator import is_
from reprlib import recursive_repr
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter, Variable, no_grad, test_mode
from minidl.common import random
from minidl.common.arrays import home, host, to_kind_of
from minidl.common.hints import LAYER_WORDS, HintsMixin
from minidl.common.html import card, table


class Layer(HintsMixin):
    """A function with parameters: write ``__init__``, which makes them, and ``forward``, which uses them.

    Parameters and layers are found in its attributes, also in lists, tuples and dicts, in the order in which they were
    assigned. ``super().__init__()`` is not needed. The class attribute ``carried`` names the attributes that a call
    leaves for the next one, with their values after ``reset_state()``.

    >>> from minidl import functions as F, layers
    >>> class Net(Layer):
    ...     def __init__(self):
    ...         self.hidden, self.out = layers.Linear(16), layers.Linear(1)
    ...     def forward(self, x):
    ...         return self.out(F.relu(self.hidden(x)))
    >>> net = Net()
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.w', 'hidden.b', 'out.w', 'out.b']
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_looked",
    )  # the last is what parameters() saw, beside the attributes
    _words = LAYER_WORDS
    carried: ClassVar[Mapping[str, Any]] = {}
    dtype: np.dtype[Any]  # of the weights that lazy_shapes names

    @property
    def lazy_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """The shapes of the weights that may be lazy, by attribute; None is a length still unknown."""
        return {}

    def forward(self, *inputs: Any) -> Any:
        """What the layer computes; written by each layer, run by calling the layer."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, *inputs)")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self.forward(*inputs, **settings)

    def parameters(self) -> list[Parameter]:
        """All parameters, in order of definition, each once however often it is used."""
        # Optimizers ask twice a step: it is walked anew only if some attribute, list or dict holds something else.
        try:
            for container, before in self._looked[1]:
                now = container.values() if isinstance(container, dict) else container
                if len(now) != len(before) or not all(map(is_, now, before)):
                    break
            else:
                return list(self._looked[0])
        except AttributeError:
            pass
        found: list[Parameter] = []
        looked: list[tuple[Any, list[Any]]] = []
        seen: set[int] = set()
        stack: list[Iterator[Any]] = [iter((self,))]
        while stack:
            for value in stack[-1]:
                kind = _KINDS.get(type(value)) or _kind(type(value))
                if kind is not _OTHER and id(value) not in seen:
                    seen.add(id(value))
                    if kind is Parameter:
                        found.append(value)
                    else:
                        parts = vars(value) if kind is Layer else value
                        if type(parts) is not tuple:
                            looked.append((parts, [*parts] if kind is list else [*parts.values()]))
                        stack.append(iter(parts if kind is list else parts.values()))
                        break
            else:
                stack.pop()
        self._looked: Any = found, looked
        return list(found)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(dotted name, parameter) of each; a parameter used twice has the name that comes first.

        Raises ValueError if two parameters have one name, such as those of the keys 1 and "1" of a dict.
        """
        found = [(name, p) for name, _, p in _walk(self) if isinstance(p, Parameter)]
        if twice := [name for name, n in Counter(name for name, _ in found).items() if n > 1]:
            raise ValueError(
                f"{type(self).__name__}: more than one parameter is named {', '.join(twice)}"
            )
        return found

    def sublayers(self) -> list[Layer]:
        """This layer and all layers in it, depth first, each once."""
        return [layer for _, _, layer in _walk(self) if isinstance(layer, Layer)]

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.cleargrad()

    def reset_state(self) -> None:
        """Forget what recurrent layers carry from call to call."""
        for layer in self.sublayers():
            if layer is self or type(layer).reset_state is Layer.reset_state:
                vars(layer).update(layer.carried)
            else:
                layer.reset_state()

    def freeze(self) -> None:
        """Train none of the parameters: they require no gradient, and have none."""
        for p in self.parameters():
            p.requires_grad = False
            p.cleargrad()

    def unfreeze(self) -> None:
        """Train all of the parameters, but those of integers."""
        for p in self.parameters():
            p.requires_grad = p.lazy or p.dtype.kind == "f"

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Compute in another dtype from now on, and return the layer; drops gradients and carried state.

        Raises TypeError for a dtype that is not floating.
        """
        wanted = floating(dtype, f"{type(self).__name__}.astype")
        self.reset_state()
        for layer in self.sublayers():
            if layer.lazy_shapes:
                layer.dtype = wanted
        for p in self.parameters():
            p.cleargrad()
            if not p.lazy and p.dtype.kind == "f":
                p._raw = p._raw.astype(wanted)  # not .data, which rightly keeps the dtype
                p._stamp()
        return self

    def to(self, device: Any) -> Self:
        """Move the parameters to "cpu", to "cuda" (CuPy's arrays, on its current GPU), or to where an array is.

        Returns the layer; drops gradients and carried state. Parameters without data yet go where their first input is.
        Raises ValueError for another name, ImportError without CuPy.

        >>> from minidl import layers
        >>> layers.Linear(3, 2).to("cpu")
        Linear(3→2)
        """
        like = home(device)
        self.reset_state()
        for p in self.parameters():
            p.cleargrad()
            if not p.lazy:
                p.data = to_kind_of(p.data, like)
        return self

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """A copy of each parameter's value under its dotted name; RuntimeError while a lazy one has no value yet."""
        return {name: p.data.copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy in the values that ``state_dict`` gave; lazy parameters get their shape from them.

        Floating values are cast to the parameter's dtype. Raises TypeError if ``state`` is no mapping; ValueError if
        names are missing or unknown or values of another shape or kind: it lists all, and nothing has been changed.

        >>> from minidl import layers
        >>> layer = layers.Linear(2)
        >>> layer.load_state_dict({"w": np.ones((3, 2)), "b": np.zeros(2)})
        >>> layer
        Linear(3→2)
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: want a dict of names and arrays, got {type(state).__name__}"
            )
        own = dict(self.named_parameters())
        values = {
            n: np.asarray(host(v.data if isinstance(v, Variable) else v)) for n, v in state.items()
        }
        wrong = [f"missing: {name}" for name in own if name not in values]
        wrong += [f"unknown: {name}" for name in values if name not in own]
        new: list[tuple[Parameter, str, npt.NDArray[Any]]] = []
        for name, layer, p in _walk(self):
            if isinstance(p, Parameter) and name in values:
                value, attribute = values[name], name.rpartition(".")[2]
                shape: tuple[int | None, ...] = (
                    layer.lazy_shapes.get(attribute, value.shape) if p.lazy else p.shape
                )
                dtype = (
                    (layer.dtype if layer.lazy_shapes else np.dtype(np.float32))
                    if p.lazy
                    else p.dtype
                )
                fits = len(shape) == value.ndim and all(
                    k in (None, n) for k, n in zip(shape, value.shape)
                )
                if fits and (value.dtype == dtype or value.dtype.kind == dtype.kind == "f"):
                    with np.errstate(over="ignore"):
                        new.append((p, attribute, value.astype(dtype)))
                    if dtype.kind == "f" and (np.isinf(new[-1][2]) & ~np.isinf(value)).any():
                        wrong.append(f"{name}: {value.dtype} values beyond the range of {dtype}")
                else:
                    want = str(shape).replace("None", "?")
                    wrong.append(f"{name}: want {dtype} {want}, got {value.dtype} {value.shape}")
        if wrong:
            raise ValueError(
                f"load_state_dict of {type(self).__name__}; nothing was changed; "
                + "; ".join(wrong)
            )
        for p, attribute, value in new:
            p.name = attribute if p.lazy else p.name
            p.data = value if p.lazy else to_kind_of(value, p)

    def summary(self, *inputs: Any) -> str:
        """A table of the layers, their output shapes and how many parameters each has; print it.

        With inputs, a copy of the layer is run on them once, as for evaluation: nothing is changed, no random numbers
        are used up, and lazy parameters stay lazy.

        >>> from minidl import layers
        >>> print(layers.MLP([16, 1], in_features=3).summary(np.ones((5, 3))))
        name      layer         output   parameters
        -------------------------------------------
                  MLP(3→16→1)   (5, 1)
        layers.0  Linear(3→16)  (5, 16)          64
        layers.1  Linear(16→1)  (5, 1)           17
        -------------------------------------------
        81 parameters, 81 of them trained
        """
        outputs: dict[int, str] = {}
        if not inputs:
            return _table(self, outputs)
        model, bits = copy.deepcopy(self), random.generator().bit_generator
        model.reset_state()  # which may be of another batch size
        for layer in model.sublayers():
            _watch(layer, outputs)
        before = bits.state
        try:
            with no_grad(), test_mode():
                model(*inputs)
        finally:
            bits.state = before
        return _table(model, outputs)

    @recursive_repr("...")
    def __repr__(self) -> str:
        return nested(
            self,
            [(name, value) for name, owner, value in _walk(self) if owner is self is not value],
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the table of ``summary()``."""
        rows, total = _rows(self, {})
        cells = [(name, text, count) for name, text, _, count in rows[1:]]
        return card(
            rows[0][1], total, table(("name", "layer", "parameters"), cells) if cells else ""
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: everything, but recorded results without their graph."""
        return {name: detached(value) for name, value in vars(self).items()}


def detached(value: Any) -> Any:
    """A result, or each of a tuple of them, cut off from its graph; anything else as it is."""
    if isinstance(value, Variable) and value.creator is not None:
        return value.detach()
    return tuple([detached(v) for v in value]) if type(value) is tuple else value


def floating(dtype: npt.DTypeLike, where: str) -> np.dtype[Any]:
    """The dtype, which must be floating."""
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"{where}: want a floating dtype, got {dtype}")
    return dtype


_HOLDERS = (Parameter, Layer, list, tuple, dict)
_OTHER = object
_KINDS: dict[
    type, type
] = {}  # of each type met: Parameter, Layer, list (or tuple), dict, or none of them; a look-up


def _kind(of: type) -> type:
    kinds = [
        (Parameter, Parameter),
        (Layer, Layer),
        (list, list),
        (tuple, list),
        (dict, dict),
        (object, _OTHER),
    ]
    return _KINDS.setdefault(of, next(kind for base, kind in kinds if issubclass(of, base)))


def _walk(root: Layer) -> list[tuple[str, Layer, Parameter | Layer]]:
    """(dotted name, the layer it is an attribute of, it) of a layer and what is in it, depth first, each once."""
    found: list[tuple[str, Layer, Parameter | Layer]] = []
    seen: set[int] = (
        set()
    )  # by id, as users may give a layer or a list an equality; all live as long as the root
    stack: list[tuple[str, Layer, Any]] = [("", root, root)]
    while stack:
        name, owner, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (Parameter, Layer)):
            found.append((name, owner, value))
            if isinstance(value, Parameter):
                continue
            owner, value = value, vars(value)
        parts = value.items() if isinstance(value, dict) else list(enumerate(value))
        start = f"{name}." if name else ""
        stack += [
            (f"{start}{key}", owner, part)
            for key, part in reversed(parts)
            if isinstance(part, _HOLDERS)
        ]
    return found


def _watch(layer: Layer, shapes: dict[int, str]) -> None:
    """Let the layer note the shape of what it gives, under its id."""
    forward = layer.forward

    def watched(*inputs: Any, **settings: Any) -> Any:
        y = forward(*inputs, **settings)
        parts = y if isinstance(y, tuple | list) else [y]
        shapes[id(layer)] = ", ".join(str(getattr(part, "shape", "?")) for part in parts)
        return y

    layer.forward = watched  # type: ignore[method-assign]  # of this one layer, which is a copy


def _rows(model: Layer, outputs: dict[int, str]) -> tuple[list[tuple[str, str, str, str]], str]:
    """A row for each layer: its name, itself, its output shape, how many parameters are in it; and how many in all."""
    found = _walk(model)
    params = [(owner, p) for _, owner, p in found if isinstance(p, Parameter)]
    rows = []
    for name, _, layer in found:
        if isinstance(layer, Layer):
            text, own = repr(layer), [p for owner, p in params if owner is layer]
            count = (
                "?" if any(p.lazy for p in own) else f"{sum(p.size for p in own):,}" if own else ""
            )
            rows.append(
                (
                    name,
                    type(layer).__name__ if "\n" in text else text,
                    outputs.get(id(layer), ""),
                    count,
                )
            )
    known = [p for _, p in params if not p.lazy]
    total, trained = sum(p.size for p in known), sum(p.size for p in known if p.requires_grad)
    more = "" if len(known) == len(params) else "; ? is learned at first use"
    return rows, f"{total:,} parameters, {trained:,} of them trained{more}"


def _table(model: Layer, outputs: dict[int, str]) -> str:
    """The rows as text, under a head."""
    rows, total = _rows(model, outputs)
    rows.insert(0, ("name", "layer", "output", "parameters"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    head, *lines = [
        "  ".join(
            [f"{name:{a}}", f"{text:{b}}", *([f"{shape:{c}}"] if outputs else []), f"{count:>{d}}"]
        ).rstrip()
        for a, b, c, d in [widths]
        for name, text, shape, count in rows
    ]
    rule = "-" * max(map(len, [head, *lines]))
    return "\n".join([head, rule, *lines, rule, total])


def nested(layer: Layer, parts: list[tuple[str, Any]]) -> str:
    """The layer's type, and under it a line or more for each part."""
    lines = []
    for name, part in parts:
        text = repr(part) if isinstance(part, Layer) else getattr(part, "__name__", repr(part))
        if isinstance(part, Parameter):
            text = "Parameter (no data yet)" if part.lazy else f"Parameter {part.shape}"
        lines.append(f"  {name}: {text}\n".replace("\n", "\n  ").rstrip(" "))
    return f"{type(layer).__name__}(\n{''.join(lines)})" if lines else f"{type(layer).__name__}()"
