"""Tree: finds parameters and layers in an object's attributes.

What a layer does with them is in layer.py; the table of them is in summary.py. What the walk would
miss is searched for in missing.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from operator import is_
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from minidl.autograd import Function, Parameter
from minidl.common.callers import warn_user
from minidl.common.hints import LAYER_WORDS, HintsMixin, refuse_assignment

if TYPE_CHECKING:
    from minidl.layers.layer import Layer

Kind = Literal["parameter", "layer", "sequence", "mapping", "plain", "other"]
_NUMPYS = (np.generic, np.dtype, np.ufunc)
PLAIN = (int, float, complex, str, bytes, type, type(None), ModuleType, Function, *_NUMPYS)


class Tree(HintsMixin):
    """An object in whose attributes, and lists, tuples and dicts there, parameters are found.

    The class attribute ``carried`` names the attributes that are state: a call leaves them for the
    next one. ``buffers`` names arrays that belong to the layer without being trained.
    """

    __slots__ = ("__dict__", "__weakref__", "_latest")
    _words = LAYER_WORDS
    carried: ClassVar[Mapping[str, Any]] = {}
    buffers: ClassVar[Sequence[str]] = ()
    _latest: Walk  # the walk whose parameters were given out

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_assignment(self, name, LAYER_WORDS)
        super().__setattr__(name, value)

    def parameters(self) -> list[Parameter]:
        """All parameters, in order of definition, each once however often it is used.

        Warns of trainable values that are not found, and names the attribute.
        """
        return list((self._unchanged() or self._walk()).parameters)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(dotted name, parameter) of each; a parameter used twice has the name that comes first.

        Raises ValueError if two parameters have one name, such as those of the keys 1 and "1" of a
        dict.
        """
        entries = self._walk().entries
        pairs = [(name, value) for name, _, value in entries if isinstance(value, Parameter)]
        refuse_doubles(f"{type(self).__name__}: more than one parameter", pairs)
        return pairs

    def sublayers(self) -> list[Layer]:
        """This layer and all layers in it, depth first, each once."""
        return list((self._unchanged() or walk(self)).layers)

    def _unchanged(self) -> Walk | None:
        """The latest walk, if all containers hold what they held: optimizers ask twice a step."""
        try:
            return self._latest if self._latest.still_holds() else None
        except AttributeError:  # the first time
            return None

    def _walk(self) -> Walk:
        """Walk again, remember it, and warn if there are new attributes that may hide something."""
        new = walk(self)
        latest = getattr(self, "_latest", None)
        if latest is None or latest.other_names() != new.other_names():
            from minidl.layers.missing import complaints  # here, as it knows Tree

            for message in complaints(self, new):
                warn_user(message)
        self._latest = new
        return new


class Walk:
    """What one walk over a tree found."""

    __slots__ = ("buffers", "containers", "entries", "layers", "others", "parameters")

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []
        self.layers: list[Layer] = []
        # (dotted name, whose attribute it is, it) of both, in order
        self.entries: list[tuple[str, Layer, Parameter | Layer]] = []
        self.buffers: list[tuple[str, Layer, str]] = []  # (dotted name, whose it is, attribute)
        # What is in the containers on the way: as it is at any time, and as it was.
        self.containers: list[tuple[Any, list[Any]]] = []
        self.others: list[tuple[str, Any]] = []  # name and value of what was not looked into

    def still_holds(self) -> bool:
        """Whether all containers hold what they held."""
        for now, before in self.containers:
            same = map(is_, now, before)
            if len(now) != len(before) or not all(same):
                return False
        return True

    def open(self, parts: Any) -> None:
        """Note what a container holds, by a view of it."""
        self.containers.append((parts, list(parts)))

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
            (PLAIN, "plain"),
            (object, "other"),
        ]
        self[cls] = next(kind for base, kind in bases if issubclass(cls, base))
        return self[cls]


_KIND_OF = _Kinds()


class _Lasting:
    """A view of those attributes of a layer that are not another object after each call."""

    def __init__(self, layer: Tree) -> None:
        self.held = vars(layer)
        self.passing = {*layer.carried, *layer.buffers}

    def __iter__(self) -> Iterator[Any]:
        return (value for name, value in self.held.items() if name not in self.passing)

    def __len__(self) -> int:
        return len(self.held) - len(self.passing & self.held.keys())


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
            result.buffers += _name_buffers(name, value)
            held = vars(value)
            result.open(_Lasting(value) if value.carried or value.buffers else held.values())
            todo += _name_parts(name, value, held.items(), value.carried)
        elif kind == "mapping":
            result.open(value.values())
            todo += _name_parts(name, owner, value.items())
        else:
            result.open(value)
            todo += _name_parts(name, owner, enumerate(value))
    return result


def refuse_doubles(what: str, named: Iterable[tuple[Any, ...]]) -> None:
    """Raise ValueError if two things have one name, which is the first part of each."""
    counts = Counter(name for name, *_ in named)
    twice = [name for name, n in counts.items() if n > 1]
    if twice:
        raise ValueError(f"{what} is named {', '.join(twice)}")


def _name_buffers(name: str, layer: Any) -> list[tuple[str, Layer, str]]:
    """(dotted name, layer, attribute) of a layer's own buffers."""
    if isinstance(layer.buffers, str):
        want = f"a tuple of names such as ({layer.buffers!r},)"
        raise TypeError(f"{type(layer).__name__}.buffers: want {want}, got {layer.buffers!r}")
    start = f"{name}." if name else ""
    return [(f"{start}{buffer}", layer, buffer) for buffer in layer.buffers]


def _name_parts(
    name: str, owner: Tree, parts: Iterable[tuple[Any, Any]], without: Container[Any] = ()
) -> list[tuple[str, Any, Any]]:
    """(dotted name, owner, part) of the parts that are to be looked at, the last one first."""
    start = f"{name}." if name else ""
    named = [
        (f"{start}{key}", owner, part)
        for key, part in parts
        if _KIND_OF[type(part)] != "plain" and key not in without
    ]
    return named[::-1]
