"""Optimizer: who takes part in an update, at which rate, after which hooks; and the state as a dict.

The arithmetic is each algorithm's own file, the flat buffers are in group.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl.autograd.hints import WordsOfOthers
from minidl.autograd.variable import Parameter, Variable
from minidl.optim.checks import number
from minidl.optim.group import Group

Array = npt.NDArray[Any]
Rate: TypeAlias = float | Callable[[int], float]
Hook: TypeAlias = Callable[["Gradients"], Any]


class Gradients:
    """The gradients of one step, copied together: what a hook reads and writes into; ``p.grad`` stays as it is.

    ``params`` are the Variables of the step, ``grads`` their gradients, views of the one buffer ``flat``, of the widest
    dtype among them.
    """

    def __init__(self, params: list[Variable], grads: list[Any]) -> None:
        self.params = params
        self.flat = np.concatenate([g.reshape(-1) for g in grads])
        ends = np.cumsum([g.size for g in grads]).tolist()
        self.grads = [self.flat[end - g.size : end].reshape(g.shape) for g, end in zip(grads, ends)]


class Optimizer(WordsOfOthers):
    """The base of the optimizers: ``update()`` changes every parameter that has a gradient.

    A parameter without a gradient, or frozen, is skipped: neither it nor its state changes. Parameters of a model are
    looked up at each update, so that late ones take part; they start their own step count. A subclass names its
    ``slots`` (state arrays, zero at first), the settings that a state goes with (``fixed``), and writes ``apply``.

    Args:
        target: a model, or a list of Variables that require a gradient.
        lr: the rate, a number or a schedule: a function from the number of updates so far to a rate.
        hooks: functions called with the ``Gradients`` of each step before they are applied.

    Raises ValueError for an empty list, a negative rate and, at ``update()``, a model without parameters; TypeError for
    what cannot be trained and a rate that is no number.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    fixed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, target: Any, lr: Rate = 0.01, hooks: Hook | Iterable[Hook] = ()) -> None:
        self._name = type(self).__name__
        self._model: Any = target if hasattr(target, "parameters") else None
        self._found: list[Variable] = []  # what the model's parameters() gave last, and each of them once
        self._params: list[Variable] = []
        if self._model is None:
            self._params = self._checked([target] if isinstance(target, Variable) else target)
            if not self._params:
                raise ValueError(f"{self._name}: got an empty list of parameters")
        self.lr = lr
        self.hooks: list[Hook] = [hooks] if callable(hooks) else list(hooks)
        if not all(callable(hook) for hook in self.hooks):
            raise TypeError(f"{self._name}: a hook must be callable, got {self.hooks}")
        self.t = 0  # updates so far
        self._groups: list[Group] = []
        self._active: list[Group] = []  # those of the last update
        self._ready: list[Variable] = []  # their parameters, in the order of ``params``

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
        self._lr = value if callable(value) else number(f"{self._name}: lr", value, least=0)

    @property
    def current_lr(self) -> float:
        """The rate of the next update."""
        lr = self._lr
        return number(f"{self._name}: the schedule's rate", lr(self.t), least=0) if callable(lr) else lr

    @property
    def params(self) -> list[Variable]:
        """The parameters as they are now, each once."""
        if self._model is not None:
            found = self._model.parameters()
            if not _same(found, self._found):
                self._found, self._params = list(found), self._checked(found)
        return list(self._params)

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.params:
            p._grad = None

    def update(self) -> None:
        """Change every parameter that has a gradient, by one step of the algorithm.

        Raises ValueError, and changes nothing, if the model has no parameters or the schedule gives a negative rate.
        """
        params = self.params
        if not params:
            raise ValueError(f"{self._name}: the model has no parameters")
        lr = self.current_lr
        ready = [p for p in params if p._grad is not None and p._node is not None]
        if not (_same(ready, self._ready) and all(group.take() for group in self._active)):
            self._regroup(ready)
        gradients = [group.gradients() for group in self._active]
        if self.hooks and ready:
            gradients = self._hooked(gradients)
        for group, g in zip(self._active, gradients):
            group.step(self.apply, lr, g)
        self.t += 1

    def _hooked(self, gradients: list[list[Any]]) -> list[list[Any]]:
        """The gradients of each group after the hooks had their way with copies of them."""
        of = {p: g for group, found in zip(self._active, gradients) for p, g in zip(group.params, found)}
        step = Gradients(self._ready, [of[p] for p in self._ready])
        for hook in self.hooks:
            hook(step)
        if not all(group.take() for group in self._active):  # values that a hook gave
            raise ValueError(f"{self._name}: a hook gave a parameter another shape or dtype")
        of = dict(zip(step.params, step.grads))
        return [[of[p] for p in group.params] for group in self._active]

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
        """The state as a flat dict: ``t``, the number of updates; by parameter, ``0.t`` and its slots, ``0.m``."""
        place = {p: (group, k) for group in self._groups for k, p in enumerate(group.params)}
        state: dict[str, Any] = {"t": self.t} | {name: np.array(getattr(self, name)) for name in self.fixed}
        for i, p in enumerate(self.params):
            group, k = place.get(p, (None, 0))
            begun = group is not None and group.t > 0 and group.fits(k)
            state[f"{i}.t"] = group.t if group and begun else 0
            if group and begun:
                state |= {f"{i}.{s}": a.copy() for s, a in zip(self.slots, group.state_of(k))}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave; arrays are cast to the parameters' dtype.

        Raises ValueError, and changes nothing, if a key is missing or unknown, an array has another shape than its
        parameter, or the state was made with other settings that it depends on (Adam's betas).
        """
        params, where = self.params, f"{self._name}.load_state_dict"
        times = {i: int(state.get(f"{i}.t", 0)) for i in range(len(params))}
        slots = {f"{i}.{s}": params[i] for i, t in times.items() if t > 0 for s in self.slots}
        want = {"t", *self.fixed, *(f"{i}.t" for i in times), *slots}
        if want != set(state):
            keys = f"missing keys {sorted(want - set(state))}, unknown keys {sorted(set(state) - want)}"
            raise ValueError(f"{where}: {keys}, for {len(params)} parameters")
        for name in self.fixed:
            if not np.array_equal(state[name], getattr(self, name)):
                raise ValueError(f"{where}: the state was made with {name} {state[name]}, not {getattr(self, name)}")
        for key, p in slots.items():
            if np.shape(state[key]) != p.shape:
                raise ValueError(f"{where}: {key} has shape {np.shape(state[key])}, its parameter {p.shape}")
        together: dict[Any, list[Any]] = {}
        for i, t in times.items():
            if t > 0:
                member = params[i], [state[f"{i}.{s}"] for s in self.slots]
                together.setdefault((params[i].dtype, t), []).append(member)
        self._groups = [Group(members, t) for (_, t), members in together.items()]
        self.t, self._active, self._ready = int(state["t"]), [], []

    def _checked(self, found: Iterable[Any]) -> list[Variable]:
        """The parameters, each once, if they can be trained."""
        found = list(found)
        for p in found:
            if not isinstance(p, Variable):
                raise TypeError(f"{self._name}: want a model or Variables, got {type(p).__name__}")
            if p.creator is not None:
                raise TypeError(f"{self._name}: a Variable of shape {p.shape} is a recorded result, not a leaf")
            if p._node is None and not isinstance(p, Parameter):  # a Parameter may be frozen for a while
                raise TypeError(f"{self._name}: a Variable of shape {p.shape} does not require a gradient")
        return list(dict.fromkeys(found))


def _same(a: Sequence[Variable], b: Sequence[Variable]) -> bool:
    return len(a) == len(b) and all(map(is_, a, b))  # == would be recorded
