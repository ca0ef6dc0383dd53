"""Tree: finds parameters and layers in an object's attributes, and warns of what it would miss.

What a layer does with them is in layer.py; the table of them is in summary.py.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial
from operator import is_
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from minidl.autograd import Function, Parameter, Variable
from minidl.common.callers import warn_user
from minidl.common.hints import LAYER_WORDS, HintsMixin

if TYPE_CHECKING:
    from minidl.layers.layer import Layer

Kind = Literal["parameter", "layer", "sequence", "mapping", "plain", "other"]
_NUMPYS = (np.generic, np.dtype, np.ufunc, np.random.Generator)
_PLAIN = (int, float, complex, str, bytes, type, type(None), ModuleType, Function, *_NUMPYS)
_DEEPEST = 4  # how far into objects, and
_MOST = 10_000  # at how many things it is looked, where they are no layers


class Tree(HintsMixin):
    """An object in whose attributes, and lists, tuples and dicts there, parameters are found.

    The class attribute ``carried`` names the attributes that are state: a call leaves them for the
    next one.
    """

    __slots__ = ("__dict__", "__weakref__", "_latest")
    _words = LAYER_WORDS
    carried: ClassVar[Mapping[str, Any]] = {}
    _latest: Walk  # the walk whose parameters were given out

    def parameters(self) -> list[Parameter]:
        """All parameters, in order of definition, each once however often it is used.

        Warns of trainable values that are not found, and names the attribute.
        """
        # Optimizers ask twice a step: it is walked anew only if a container holds something else.
        try:
            if self._latest.still_holds():
                return list(self._latest.parameters)
        except AttributeError:  # the first time
            pass
        return list(self._walk().parameters)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(dotted name, parameter) of each; a parameter used twice has the name that comes first.

        Raises ValueError if two parameters have one name, such as those of the keys 1 and "1" of a
        dict.
        """
        pairs = []
        for name, _, value in self._walk().entries:
            if isinstance(value, Parameter):
                pairs.append((name, value))
        counts = Counter(name for name, _ in pairs)
        twice = [name for name, n in counts.items() if n > 1]
        if twice:
            names = ", ".join(twice)
            raise ValueError(f"{type(self).__name__}: more than one parameter is named {names}")
        return pairs

    def sublayers(self) -> list[Layer]:
        """This layer and all layers in it, depth first, each once."""
        return walk(self).layers

    def _walk(self) -> Walk:
        """Walk anew, remember it, and warn if there are new attributes that may hide something."""
        new = walk(self)
        try:
            known = self._latest.other_names()
        except AttributeError:  # the first time
            known = None
        if new.other_names() != known:
            for message in _complaints(self, new):
                warn_user(message)
        self._latest = new
        return new


class Walk:
    """What one walk over a tree found."""

    __slots__ = ("containers", "entries", "layers", "others", "parameters")

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []
        self.layers: list[Layer] = []
        # (dotted name, whose attribute it is, it) of both, in order
        self.entries: list[tuple[str, Layer, Parameter | Layer]] = []
        self.containers: list[tuple[Any, list[Any]]] = []  # those on the way, and what they held
        self.others: list[tuple[str, Any]] = []  # name and value of what was not looked into

    def still_holds(self) -> bool:
        """Whether all containers hold what they held."""
        for container, before in self.containers:
            now = container.values() if isinstance(container, dict) else container
            same = map(is_, now, before)
            if len(now) != len(before) or not all(same):
                return False
        return True

    def open(self, container: Any, parts: Iterable[Any]) -> None:
        """Note what a container holds."""
        self.containers.append((container, list(parts)))

    def other_names(self) -> list[str]:
        """The names of what was not looked into."""
        return [name for name, _ in self.others]


class _Kinds(dict[type, Kind]):
    """What the walk does with each type met; found out once."""

    def __missing__(self, cls: type) -> Kind:
        bases: list[tuple[Any, Kind]] = [
            (Parameter, "parameter"),
            (Tree, "layer"),
            ((list, tuple), "sequence"),
            (dict, "mapping"),
            (_PLAIN, "plain"),
            (object, "other"),
        ]
        self[cls] = next(kind for base, kind in bases if issubclass(cls, base))
        return self[cls]


_KIND_OF = _Kinds()


def walk(root: Tree) -> Walk:
    """Go through a layer and what is in it, depth first, each once."""
    result = Walk()
    # By id, as users may give a layer or a list an equality; all of them live as long as the root.
    seen: set[int] = set()
    todo: list[tuple[str, Any, Any]] = [("", root, root)]
    while todo:
        name, owner, value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = _KIND_OF[type(value)]
        if kind == "other":
            result.others.append((name, value))
        elif kind == "parameter":
            result.parameters.append(value)
            result.entries.append((name, owner, value))
        elif kind == "layer":
            result.layers.append(value)
            result.entries.append((name, owner, value))
            held = vars(value)
            result.open(held, held.values())
            todo += _name_parts(name, value, held.items(), value.carried)
        elif kind == "mapping":
            result.open(value, value.values())
            todo += _name_parts(name, owner, value.items())
        else:
            result.open(value, value)
            todo += _name_parts(name, owner, enumerate(value))
    return result


def _name_parts(
    name: str, owner: Tree, parts: Iterable[tuple[Any, Any]], without: Container[Any] = ()
) -> list[tuple[str, Any, Any]]:
    """(dotted name, owner, part) of the parts that are to be looked at, the last one first."""
    start = f"{name}." if name else ""
    named: list[tuple[str, Any, Any]] = []
    for key, part in parts:
        if _KIND_OF[type(part)] != "plain" and key not in without:
            named.append((f"{start}{key}", owner, part))
    named.reverse()
    return named


# ---- what the walk would miss ------------------------------------------------------------------


def _complaints(root: Tree, new: Walk) -> Iterator[str]:
    """A sentence for each attribute in which something trainable is not found."""
    known = {id(value) for _, _, value in new.entries}
    held = list(new.others)
    for name, _, layer in new.entries:
        if isinstance(layer, Tree):
            start = f"{name}." if name else ""
            for key, value in _outside_dict(layer):
                held.append((f"{start}{key}", value))
    for name, value in held:
        thing = _trainable_in(value, known)
        if thing is None:
            continue
        where = f"{type(root).__name__}: {name!r}"
        if thing is value and type(thing) is Variable:
            yield (
                f"{where} is a Variable, which is not trained, saved or cleared with the layer: "
                "make it a minidl.Parameter, or say requires_grad=False if it is constant"
            )
        else:
            yield (
                f"{where} ({type(value).__name__}) holds a {type(thing).__name__} that is not "
                "trained, saved or cleared with the layer: parameters and layers are looked for in "
                "a layer's attributes and in lists, tuples and dicts there; call freeze() of one "
                "that is not to be trained"
            )


def _outside_dict(layer: Tree) -> Iterator[tuple[str, Any]]:
    """The attributes of a layer that are in slots or its class's, and what its forward uses."""
    for cls in type(layer).__mro__:
        if cls is Tree:
            return
        if cls.__module__.startswith("minidl."):
            continue
        for name, value in vars(cls).items():
            if name == "forward":  # it may use what is no attribute
                yield name, value
            if isinstance(value, (Variable, Tree, list, tuple, dict)) and name != "carried":
                yield name, value
        yield from _in_slots(cls, layer)


def _in_slots(cls: type, thing: Any) -> Iterator[tuple[str, Any]]:
    slots = vars(cls).get("__slots__", ())
    for name in [slots] if isinstance(slots, str) else slots:
        if not name.startswith("__") and hasattr(thing, name):
            yield name, getattr(thing, name)


def _trainable_in(value: Any, known: set[int]) -> Any:
    """The first trainable Variable or layer in a value that the walk does not know, or None."""
    seen = set(known)
    todo = deque([(value, 0)])
    while todo and len(seen) < _MOST:
        thing, depth = todo.popleft()
        if id(thing) in seen or isinstance(thing, _PLAIN):
            continue
        seen.add(id(thing))
        if isinstance(thing, Tree):
            if any(p.requires_grad for p in thing.parameters()):
                return thing
        elif isinstance(thing, Variable):
            if thing.requires_grad and thing.creator is None:
                return thing
        elif depth < _DEEPEST:
            todo += [(part, depth + 1) for part in _parts(thing)]
    return None


def _parts(value: Any) -> list[Any]:
    """What an object that is no layer holds, as far as can be seen without running its code."""
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, (dict, MappingProxyType)):
        return list(value.values())
    if isinstance(value, np.ndarray):
        return list(value.flat) if value.dtype == object else []
    if isinstance(value, MethodType):
        return [value.__self__]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, FunctionType):
        return [*_cells(value), *_globals(value), *(value.__defaults__ or ())]
    parts = list(getattr(value, "__dict__", {}).values())
    for cls in type(value).__mro__:
        parts += [part for _, part in _in_slots(cls, value)]
    return parts


def _cells(function: FunctionType) -> Iterator[Any]:
    """What a function refers to in the functions around it."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing has been assigned yet
            continue


def _globals(function: FunctionType) -> Iterator[Any]:
    """What a function of the user's takes from its module."""
    if function.__module__.startswith("minidl."):
        return
    from dis import get_instructions  # here, as it is for models with functions of the user's only

    for instruction in get_instructions(function):
        if instruction.opname == "LOAD_GLOBAL" and instruction.argval in function.__globals__:
            yield function.__globals__[instruction.argval]
