"""Groups: the parameters that an optimizer is given, and the settings that are a group's own.

When they are updated is decided in optimizer.py; their values and states are in buffer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, TypeAlias

from minidl.autograd.variable import Parameter, Variable
from minidl.common.checks import number
from minidl.optim.buffer import same
from minidl.optim.gradients import Params
from minidl.optim.schedules import Schedule, nominal

Check: TypeAlias = Callable[[str, Any], Any]
Rate: TypeAlias = float | Schedule


class Group:
    """Parameters with some ``settings`` of their own; the others are the optimizer's.

    They cannot be changed; a rate that is to change is a schedule. ``base`` is the optimizer's rate
    that a rate of the group's own is in proportion to.
    """

    # So that another attribute, which would change nothing, is refused.
    __slots__ = ("_base", "_collected", "_fixed", "_params", "_settings", "sources", "where")

    def __init__(
        self, where: str, target: Any, settings: Mapping[str, Any], base: float = 0.0
    ) -> None:
        self.where = where
        self._settings = dict(settings)
        self._base = base
        self.sources = sources_of(where, target)  # Variables, and models that give them
        self._fixed = all(isinstance(source, Variable) for source in self.sources)
        self._collected: Params = []  # what they gave last
        self._params: Params = []  # each of them once
        if self._fixed:
            self._params = self._checked(self.sources)
            if not self._params:
                raise ValueError(f"{where}: got an empty list of parameters")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the group's own, to be read."""
        return MappingProxyType(self._settings)

    @property
    def params(self) -> Params:
        """The parameters as they are now, each once."""
        return list(self.collect())

    def collect(self) -> Params:
        """The same, the list of the last time where nothing is new: not to be changed."""
        if self._fixed:
            return self._params
        if len(self.sources) == 1:  # the usual case, without the work of the other one
            collected = self.sources[0].parameters()
        else:
            collected = []
            for source in self.sources:
                collected += [source] if isinstance(source, Variable) else source.parameters()
        if not same(collected, self._collected):
            self._collected = list(collected)
            self._params = self._checked(collected)
        return self._params

    def rate(self, lr: float, t: int) -> float:
        """The group's rate for update ``t``, for which the optimizer's is ``lr``."""
        own = self._settings.get("lr")
        if own is None:
            return lr
        if callable(own):
            return number(f"{self.where}: the schedule's rate", own(t))
        return own * (lr / self._base) if self._base else own  # type: ignore[no-any-return]  # a number

    def __repr__(self) -> str:
        texts = [f"{name}={text_of(value)}" for name, value in self.settings.items()]
        texts.append(f"parameters: {len(self.collect())}")
        return f"({', '.join(texts)})"

    def _checked(self, params: Params) -> Params:
        """The parameters, each once, if they can be trained."""
        for p in params:
            if not isinstance(p, Variable):
                raise TypeError(f"{self.where}: want a model or Variables, got {type(p).__name__}")
            if p.creator is not None:
                raise self._untrainable(p, "is a recorded result, not a leaf")
            if p._node is None and not isinstance(p, Parameter):  # which may be frozen for a while
                raise self._untrainable(p, "does not require a gradient")
        return list(dict.fromkeys(params))

    def _untrainable(self, p: Variable, why: str) -> TypeError:
        return TypeError(f"{self.where}: a Variable of shape {p.shape} {why}")


def is_source(target: Any) -> bool:
    """Whether something is a parameter, or a model that gives some."""
    return isinstance(target, Variable) or hasattr(target, "parameters")


def sources_of(where: str, target: Any) -> list[Any]:
    """A model or a parameter, or those of a list."""
    if is_source(target):
        target = [target]
    if not isinstance(target, Iterable) or isinstance(target, Set):  # which has no order
        raise TypeError(f"{where}: want a model or a list of Variables, got {target!r}")
    sources = list(target)
    for source in sources:
        if isinstance(source, type):
            name = source.__name__
            raise TypeError(
                f"{where}: want a model, as {name}(..), or Variables, got the class {name}"
            )
        if not is_source(source):
            raise TypeError(f"{where}: want a model or Variables, got {type(source).__name__}")
    return sources


def groups_of(where: str, target: Any, lr: Rate, checks: Mapping[str, Check]) -> list[Group]:
    """The groups that an optimizer is given: those of a list of dicts, or one of all parameters."""
    if isinstance(target, Mapping):
        target = [target]
    if isinstance(target, Iterable) and not is_source(target):
        target = list(target)
        if any(isinstance(part, Mapping) for part in target):
            parts = enumerate(target)
            return [group_of(f"{where}: groups[{k}]", part, lr, checks) for k, part in parts]
    return [Group(where, target, {})]


def group_of(where: str, given: Any, lr: Rate, checks: Mapping[str, Check]) -> Group:
    """A group from a dict of parameters and settings."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{where}: want a dict, as the others, got {type(given).__name__}")
    names = ", ".join(["params", *checks])
    if "params" not in given:
        raise ValueError(f"{where}: want a dict with {names}, got no params")
    settings = dict(given)
    target = settings.pop("params")
    for name, value in settings.items():
        if name not in checks:
            raise TypeError(f"{where}: want {names}, got the unknown setting {name!r}")
        settings[name] = checks[name](f"{where}: {name}", value)
    in_proportion = "lr" in settings and not callable(settings["lr"])
    return Group(where, target, settings, base_of(where, lr) if in_proportion else 0.0)


def number_groups(groups: Sequence[Group], parts: list[Params]) -> dict[Variable, int]:
    """Each parameter with the number of its group, whose parameters are the part of that place.

    ValueError if it is in two.
    """
    numbers: dict[Variable, int] = {}
    for k, part in enumerate(parts):
        for p in part:
            if p in numbers:
                name = f"{p.name or 'a Variable'} {p.shape}"
                raise ValueError(
                    f"{groups[k].where}: want each parameter in one group, got {name}, which is in "
                    f"groups[{numbers[p]}] too"
                )
            numbers[p] = k
    return numbers


def base_of(where: str, lr: Rate) -> float:
    """The optimizer's rate that the rate of a group is in proportion to."""
    base = number(f"{where}: the optimizer's rate", nominal(lr))
    if callable(lr) and not base:
        raise ValueError(
            f"{where}: lr: want a schedule, as the optimizer's begins at 0, which no number is in "
            "proportion to"
        )
    return base


def check_rate(what: str, value: Any) -> Rate:
    """A schedule, or a number of at least 0."""
    return value if callable(value) else number(what, value)


def text_of(value: Any) -> str:
    """A setting as it is written, a schedule by the name of the function that made it."""
    name = getattr(value, "__qualname__", None) or repr(value)
    text, _, _ = name.partition(".<locals>")  # cosine, of the function that it made
    return text
