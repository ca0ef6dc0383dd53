"""Optimizer: who takes part in an update, at which rate, after which hooks; and the state as a dict.

The arithmetic is each algorithm's own file, the flat buffers are in group.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl.autograd.hints import WordsOfOthers
from minidl.autograd.variable import Variable
from minidl.optim.checks import number
from minidl.optim.group import Group

Array = npt.NDArray[Any]
Rate: TypeAlias = float | Callable[[int], float]
Hook: TypeAlias = Callable[["Gradients"], Any]


class HasParameters(Protocol):
    """A model, as far as an optimizer sees it."""

    def parameters(self) -> Sequence[Variable]: ...


Target: TypeAlias = HasParameters | Sequence[Variable] | Variable


class Gradients:
    """The gradients of one step, copied together: what a hook reads and writes; ``p.grad`` stays as it is.

    ``params`` are the Variables of the step, ``grads`` their gradients, views of the one buffer ``flat``.
    """

    def __init__(self, params: list[Variable], grads: list[Any]) -> None:
        self.params = params
        self.flat = np.concatenate([g.reshape(-1) for g in grads])
        ends = np.cumsum([g.size for g in grads]).tolist()
        self.grads = [self.flat[end - g.size : end].reshape(g.shape) for g, end in zip(grads, ends, strict=True)]


class Optimizer(WordsOfOthers):
    """The base of the optimizers: ``update()`` changes every parameter that has a gradient.

    A parameter without a gradient, or frozen, is skipped: neither it nor its state changes. Parameters of a
    model are looked up at each update, so that late ones take part; they start their own step count. A
    subclass names its ``slots`` (state arrays, zero at first) and writes ``apply``.

    Args:
        target: a model, or a list of Variables that require a gradient.
        lr: the rate, a number or a schedule: a function from the number of updates so far to a rate.
        hooks: functions called with the ``Gradients`` of each step before they are applied.

    Raises:
        ValueError: an empty list, a negative rate; at ``update()``, a model without parameters.
        TypeError: something that cannot be trained, or a rate that is no number.
    """

    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, target: Target, lr: Rate, hooks: Hook | Iterable[Hook]) -> None:
        self._name = type(self).__name__
        self.target: Any = target if hasattr(target, "parameters") else self._checked(target)
        self.lr = lr
        self.hooks: list[Hook] = [hooks] if callable(hooks) else list(hooks)
        if not all(callable(hook) for hook in self.hooks):
            raise TypeError(f"{self._name}: a hook must be callable, got {self.hooks}")
        self.t = 0  # updates so far
        self._groups: list[Group] = []
        self._active: list[Group] = []  # those of the last update, and whose parameters it changed, in order
        self._ready: list[Variable] = []

    def apply(self, lr: float, t: int, p: Array, g: Array, out: Array, *state: Array) -> None:
        """One step of the algorithm, in place, on flat arrays of one size.

        ``t`` counts from 1; ``out`` is for intermediate results, and may be the same array as ``g``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply()")

    @property
    def lr(self) -> Rate:
        """The rate: a number or a schedule. Can be assigned."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr = value if callable(value) else number(f"{type(self).__name__}: lr", value, least=0)

    @property
    def current_lr(self) -> float:
        """The rate of the next update."""
        lr = self._lr
        return number(f"{self._name}: the schedule's rate", lr(self.t), least=0) if callable(lr) else lr

    @property
    def params(self) -> list[Variable]:
        """The parameters, each once."""
        found = self.target.parameters() if hasattr(self.target, "parameters") else self.target
        return list(dict.fromkeys(found))

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.params:
            p._grad = None

    def update(self) -> None:
        """Change every parameter that has a gradient, by one step of the algorithm.

        Raises:
            ValueError: the model has no parameters, or the schedule gives a negative rate.
        """
        params = self.params
        if not params:
            raise ValueError(f"{self._name}: the model has no parameters")
        lr = self.current_lr
        ready = [p for p in params if p._grad is not None and p._node is not None]
        if not self._same(ready):
            self._regroup(ready)
        gradients: list[Any] = [p._grad._raw for p in ready]  # type: ignore[union-attr]  # ready: it has one
        if self.hooks and ready:
            step = Gradients(ready, gradients)
            for hook in self.hooks:
                hook(step)
            gradients = step.grads
        of = dict(zip(ready, gradients, strict=True))
        for group in self._active:
            group.step(self.apply, lr, [of[p] for p in group.params])
        self.t += 1

    def _same(self, ready: list[Variable]) -> bool:
        """Whether the groups of the last update serve again."""
        old = self._ready
        return len(ready) == len(old) and all(map(_is, ready, old)) and all(group.take() for group in self._active)

    def _regroup(self, ready: list[Variable]) -> None:
        """Part groups whose members part ways, and make groups of parameters that are new."""
        members, groups, active = set(ready), [], []
        for group in self._groups:
            fit = [k for k in range(len(group.params)) if group.fits(k)]  # others lost their state's shape
            for stays in (True, False):
                which = [k for k in fit if (group.params[k] in members) == stays]
                if which:
                    part = group.part(which)
                    part.take()
                    groups.append(part)
                    active += [part] * stays
        new = members.difference(*(group.params for group in active))
        by_dtype: dict[Any, list[Any]] = {}
        for p in ready:
            if p in new:
                by_dtype.setdefault(p.dtype, []).append((p, [0.0] * len(self.slots)))
        made = [Group(found) for found in by_dtype.values()]
        self._groups, self._active, self._ready = groups + made, active + made, ready

    def state_dict(self) -> dict[str, Any]:
        """The state as a flat dict: the number of updates, of each parameter (by position) its own, and its slots."""
        place = {p: (group, k) for group in self._groups for k, p in enumerate(group.params)}
        state: dict[str, Any] = {"t": self.t}
        for i, p in enumerate(self.params):
            if p in place:
                group, k = place[p]
                state[f"{i}.t"] = group.t
                state |= {f"{i}.{s}": a.copy() for s, a in zip(self.slots, group.state_of(k), strict=True)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave.

        Raises:
            ValueError: a key is missing or unknown, or an array has another shape than its parameter; then
                nothing is changed.
        """
        params = self.params
        seen = [i for i in range(len(params)) if f"{i}.t" in state]
        want = {"t", *(f"{i}.{s}" for i in seen for s in ("t", *self.slots))}
        if want != set(state):
            raise ValueError(
                f"{self._name}.load_state_dict: missing keys {sorted(want - set(state))}, "
                f"unknown keys {sorted(set(state) - want)}, for {len(params)} parameters"
            )
        together: dict[Any, list[Any]] = {}
        for i in seen:
            slots = [np.asarray(state[f"{i}.{s}"]) for s in self.slots]
            for s, a in zip(self.slots, slots, strict=True):
                if a.shape != params[i].shape:
                    raise ValueError(
                        f"{self._name}.load_state_dict: {i}.{s} has shape {a.shape}, its parameter {params[i].shape}"
                    )
            together.setdefault((params[i].dtype, int(state[f"{i}.t"])), []).append((params[i], slots))
        self._groups = [Group(members, t) for (_, t), members in together.items()]
        self.t, self._active, self._ready = int(state["t"]), [], []

    def _checked(self, target: Any) -> list[Variable]:
        found = [target] if isinstance(target, Variable) else list(target)
        if not found:
            raise ValueError(f"{self._name}: got an empty list of parameters")
        for p in found:
            if not isinstance(p, Variable):
                raise TypeError(f"{self._name}: want a model or Variables, got {type(p).__name__}")
            if p.creator is not None:
                raise TypeError(f"{self._name}: a Variable of shape {p.shape} is a recorded result, not a leaf")
        return found


def _is(a: object, b: object) -> bool:
    return a is b
