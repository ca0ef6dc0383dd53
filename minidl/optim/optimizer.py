"""Optimizer: who takes part in an update, at which rate, after which hooks. The flat buffers are in group.py."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Parameter, Variable
from minidl.common.arrays import as_array, zeros
from minidl.common.checks import number
from minidl.common.hints import OPTIMIZER_WORDS, HintsMixin, refuse_unexpected
from minidl.optim.group import Group, grouped, split

Array = npt.NDArray[Any]
Rate: TypeAlias = float | Callable[[int], float]
Hook: TypeAlias = Callable[["Gradients"], Any]
Hooks: TypeAlias = Hook | Iterable[Hook]


class Gradients:
    """The gradients of one step, copied: what a hook reads and writes into; ``p.grad`` stays as it is.

    ``params`` are the Variables of the step, ``grads`` their gradients, views of the one buffer ``flat``, which is
    float32 for gradients of float16.
    """

    def __init__(self, params: list[Variable], grads: list[Any]) -> None:
        self.params = params
        self.flat = np.concatenate([g.reshape(-1) for g in grads])
        if self.flat.dtype == np.float16:
            self.flat = self.flat.astype(np.float32)
        self.grads = split(self.flat, grads)


class Optimizer(HintsMixin):
    """The base of the optimizers: ``update()`` changes every parameter that has a gradient.

    A parameter without a gradient, or frozen, is skipped: neither it nor its state changes. Parameters of a model are
    looked up at each update, so that late ones take part; they start their own step count.

    Args:
        target: a model, or a list of Variables that require a gradient.
        lr: the rate, a number or a schedule: a function from the number of updates so far to a rate.
        hooks: functions called with the ``Gradients`` of each step before they are applied.

    Raises ValueError for an empty list and a negative rate, TypeError for what cannot be trained or is no rate.
    """

    _words = OPTIMIZER_WORDS
    slots: ClassVar[tuple[str, ...]] = ()  # the names of the state arrays, which are zero at first
    fixed: ClassVar[tuple[str, ...]] = ()  # the settings that a state goes with
    hyperparameters: ClassVar[tuple[str, ...]] = ()  # all settings but the rate and the hooks

    @refuse_unexpected
    def __init__(self, target: Any, lr: Rate = 0.01, hooks: Hooks = ()) -> None:
        self._name, self.lr, self.t = type(self).__name__, lr, 0  # t: updates so far
        self._model = target if hasattr(target, "parameters") else None
        self._found: list[
            Variable
        ] = []  # what the model's parameters() gave last, and each of them once
        self._params: list[Variable] = []
        if self._model is None:
            self._params = self._checked([target] if isinstance(target, Variable) else target)
            if not self._params:
                raise ValueError(f"{self._name}: got an empty list of parameters")
        self.hooks: list[Hook] = [hooks] if callable(hooks) else list(hooks)
        if not all(callable(hook) for hook in self.hooks):
            raise TypeError(f"{self._name}: a hook must be callable, got {self.hooks}")
        self._idle = False  # whether it was said that an update changed nothing
        self._groups: list[Group] = []
        self._active: list[Group] = []  # those of the last update
        self._ready: list[Variable] = []  # their parameters, in the order of ``params``
        self._places: list[list[int]] = []  # where in it the parameters of each are

    def apply(self, lr: float, t: int, p: Array, g: Array, out: Array, *state: Array) -> None:
        """One step, in place, on flat arrays of one size; ``t`` counts from 1, ``out`` is for intermediate results."""
        raise NotImplementedError(f"{self._name} has no apply()")

    @property
    def lr(self) -> Rate:
        """The rate: a number or a schedule. Can be assigned."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr = value if callable(value) else number(f"{self._name}: lr", value)

    @property
    def current_lr(self) -> float:
        """The rate of the next update."""
        return (
            number(f"{self._name}: the schedule's rate", self._lr(self.t))
            if callable(self._lr)
            else self._lr
        )

    @property
    def params(self) -> list[Variable]:
        """The parameters as they are now, each once."""
        return list(self._current())

    def _current(self) -> list[Variable]:
        if self._model is not None and not _same(found := self._model.parameters(), self._found):
            self._found, self._params = list(found), self._checked(found)
        return self._params

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self._current():
            p._grad = None

    def update(self) -> None:
        """Change every parameter that has a gradient; ValueError for a model without any, or a scheduled rate < 0."""
        if not (params := self._current()):
            raise ValueError(f"{self._name}: the model has no parameters")
        lr = self.current_lr
        ready = [p for p in params if p._grad is not None and p._node is not None]
        if self.hooks:
            ready, grads = self._hooked(params, ready)
        else:  # a view, which the user gave, may be of a parameter, whose values change before it is read
            found = [p._grad._raw for p in ready]  # type: ignore[union-attr]  # all of these have one
            grads = [g if getattr(g, "base", g) is None else g.copy() for g in found]
        if not (
            ready and _same(ready, self._ready) and all(group.take() for group in self._active)
        ):
            self._regroup(ready)
        for group, places in zip(self._active, self._places):
            group.step(self.apply, lr, [grads[i] for i in places])
        self.t += 1

    def _hooked(
        self, params: list[Variable], ready: list[Variable]
    ) -> tuple[list[Variable], list[Array]]:
        """Who takes part after the hooks, and with which gradients.

        A hook with ``needs_all_parameters`` is given all, and chooses. It is ``minidl.distributed.AllReduce``: which
        parameters have a gradient may differ between processes.
        """
        if any(getattr(hook, "needs_all_parameters", False) for hook in self.hooks):
            ready = [p for p in params if p._node is not None and p._raw is not None]
        if not ready:
            return ready, []
        before: list[Any] = [p._raw for p in ready]
        gradients = Gradients(
            ready, [zeros(p.shape, p.dtype, p) if p._grad is None else p._grad._raw for p in ready]
        )
        for hook in self.hooks:
            hook(gradients)
        for p, raw in zip(ready, before):
            if p._raw is not raw and (p.shape, p.dtype) != (raw.shape, raw.dtype):
                raise ValueError(f"{self._name}: a hook gave a parameter another shape or dtype")
        return gradients.params, gradients.grads

    def _regroup(self, ready: list[Variable]) -> None:
        """Part groups whose members part ways, and make groups of parameters that are new."""
        if not ready:
            self._warn_idle()
        active, groups = set(ready), list[Group]()
        for group in self._groups:
            found = group.members()
            parts = [m for m in found if m[0] in active], [m for m in found if m[0] not in active]
            groups += [g for part in parts if part for g in group.of(part)]
        known = {p for group in groups for p in group.params}
        groups += grouped((p, 0, [0.0] * len(self.slots)) for p in ready if p not in known)
        self._groups, self._active, self._ready = (
            groups,
            [g for g in groups if g.params[0] in active],
            ready,
        )
        place = {p: i for i, p in enumerate(ready)}
        self._places = [[place[p] for p in group.params] for group in self._active]
        for group in self._active:
            group.take()

    def _warn_idle(self) -> None:
        """Say, once, that an update changes nothing."""
        if not self._idle:
            self._idle = True
            warnings.warn(
                f"{self._name}.update: no parameter has a gradient, so nothing was changed: call cleargrads(), then "
                "loss.backward(), then update(); frozen parameters have none",
                stacklevel=4,
            )

    def __repr__(self) -> str:
        settings = {name: getattr(self, name) for name in self.hyperparameters}
        if self.hooks:
            settings["hooks"] = self.hooks
        rate = getattr(self.lr, "__qualname__", self.lr) if callable(self.lr) else self.lr
        rate = str(rate).partition(".<locals>")[0]
        text = ", ".join([f"lr={rate}", *(f"{name}={value!r}" for name, value in settings.items())])
        return f"{self._name}({text}; parameters: {len(self._current())}, updates: {self.t})"

    def state_dict(self) -> dict[str, Any]:
        """The state as a flat dict: ``t``, the number of updates; by parameter, ``0.t`` and its slots, ``0.m``."""
        states = {
            p: (group.t, state) for group in self._groups if group.t for p, state in group.members()
        }
        found: dict[str, Any] = {"t": self.t} | {
            name: np.array(getattr(self, name)) for name in self.fixed
        }
        for i, p in enumerate(self.params):
            t, state = states.get(p, (0, []))
            found |= {f"{i}.t": t} | {f"{i}.{slot}": a.copy() for slot, a in zip(self.slots, state)}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave; arrays are cast to the parameters' dtype.

        Raises ValueError, and changes nothing, if keys or shapes differ, or settings that it depends on (Adam's betas).
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{self._name}.load_state_dict: want a dict, got {type(state).__name__}"
            )
        times = [(i, p, int(state.get(f"{i}.t", 0))) for i, p in enumerate(self.params)]
        begun = [(i, p, t) for i, p, t in times if t > 0]
        want: dict[str, Any] = {name: list(getattr(self, name)) for name in self.fixed}
        want |= {"t": ()} | {f"{i}.t": () for i, _, _ in times}
        want |= {f"{i}.{slot}": p.shape for i, p, _ in begun for slot in self.slots}
        got = {
            key: np.ravel(a).tolist() if key in self.fixed else as_array(a).shape
            for key, a in state.items()
        }
        if got != want:
            wrong = sorted(key for key in got | want if got.get(key) != want.get(key))
            found = ", ".join(
                f"{key}: got {got.get(key, 'none')}, want {want.get(key, 'none')}" for key in wrong
            )
            raise ValueError(
                f"{self._name}.load_state_dict: keys, shapes or settings differ: {found}"
            )
        self._groups = grouped(
            (p, t, [state[f"{i}.{slot}"] for slot in self.slots]) for i, p, t in begun
        )
        self.t, self._active, self._ready = int(state["t"]), [], []

    def _checked(self, found: Iterable[Any]) -> list[Variable]:
        """The parameters, each once, if they can be trained."""
        if not isinstance(found, Iterable):
            raise TypeError(f"{self._name}: want a model or a list of Variables, got {found!r}")
        found = list(found)
        for p in found:
            if not isinstance(p, Variable):
                raise TypeError(f"{self._name}: want a model or Variables, got {type(p).__name__}")
            frozen = p._node is None and not isinstance(
                p, Parameter
            )  # a Parameter may be frozen for a while
            if frozen or p.creator is not None:
                problem = (
                    "does not require a gradient" if frozen else "is a recorded result, not a leaf"
                )
                raise TypeError(f"{self._name}: a Variable of shape {p.shape} {problem}")
        return list(dict.fromkeys(found))


def _same(a: Sequence[Variable], b: Sequence[Variable]) -> bool:
    return len(a) == len(b) and all(map(is_, a, b))  # == would be recorded
