"""Optimizer: which parameters are updated, at which rate, after which hooks.

The flat buffers that they share are in group.py, the formulas in a file each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Parameter, Variable
from minidl.common.arrays import as_array, zeros
from minidl.common.callers import warn_user
from minidl.common.checks import differences, number
from minidl.common.hints import OPTIMIZER_WORDS, HintsMixin, refuse_assignment, refuse_unexpected
from minidl.optim.group import Group, grouped, split

Array = npt.NDArray[Any]
Names: TypeAlias = tuple[str, ...]
Params: TypeAlias = list[Variable]
State: TypeAlias = dict[str, Any]
Rate: TypeAlias = float | Callable[[int], float]
Hook: TypeAlias = Callable[["StepGradients"], Any]
Hooks: TypeAlias = Hook | Iterable[Hook]


class StepGradients:
    """The gradients of one step, copied: what a hook reads and writes; ``p.grad`` stays as it is.

    ``params`` are the Variables of the step, ``grads`` their gradients, views of the one buffer
    ``flat``, which is float32 for gradients of float16.
    """

    def __init__(self, params: Params, grads: list[Any]) -> None:
        self.params = params
        self.flat = np.concatenate([g.reshape(-1) for g in grads])
        if self.flat.dtype == np.float16:
            self.flat = self.flat.astype(np.float32)
        self.grads = split(self.flat, grads)


class Optimizer(HintsMixin):
    """The base of the optimizers: ``update()`` changes every parameter that has a gradient.

    A parameter without a gradient, or frozen, is skipped: neither it nor its state changes.
    Parameters of a model are looked up at each update, so that late ones take part; they start
    their own step count. An update in which no parameter has a gradient warns, once.

    Args:
        target: a model, or a list of Variables that require a gradient.
        lr: the rate, a number or a schedule: a function from the number of updates so far to a
            rate.
        hooks: functions called with the ``StepGradients`` of each step before they are applied.

    Raises ValueError for an empty list and a negative rate, TypeError for what cannot be trained or
    is no rate.
    """

    _words = OPTIMIZER_WORDS
    state_names: ClassVar[Names] = ()  # of the arrays of state, which are zero at first
    hyperparameters: ClassVar[Names] = ()  # all settings but the rate and the hooks
    state_settings: ClassVar[Names] = ()  # those that a state is of no use without

    @refuse_unexpected
    def __init__(self, target: Any, lr: Rate = 0.01, hooks: Hooks = ()) -> None:
        self._name = type(self).__name__
        if isinstance(target, type):
            name = target.__name__
            raise TypeError(
                f"{self._name}: want a model, as {name}(..), or Variables, got the class {name}"
            )
        self.lr = lr
        self.t = 0  # updates so far
        self._model = target if hasattr(target, "parameters") else None
        self._collected: Params = []  # what the model's parameters() gave last
        self._params: Params = []  # each of them once
        if self._model is None:
            if isinstance(target, Variable):
                target = [target]
            self._params = self._checked(target)
            if not self._params:
                raise ValueError(f"{self._name}: got an empty list of parameters")
        if callable(hooks):
            hooks = [hooks]
        self.hooks: list[Hook] = list(hooks)
        for hook in self.hooks:
            if not callable(hook):
                raise TypeError(f"{self._name}: a hook must be callable, got {self.hooks}")
        self._idle = False  # whether it was said that an update changed nothing
        self._groups: list[Group] = []
        # Of the last update: its groups, its parameters, and where in these each group's are.
        self._active: list[Group] = []
        self._ready: Params = []
        self._places: list[list[int]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_assignment(self, name, OPTIMIZER_WORDS)
        super().__setattr__(name, value)

    def apply(self, lr: float, t: int, p: Array, g: Array, out: Array, *state: Array) -> None:
        """One step, in place, on flat arrays of one size.

        ``t`` counts from 1, ``out`` is for intermediate results, ``g`` is only read.
        """
        raise NotImplementedError(f"{self._name} has no apply()")

    @property
    def lr(self) -> Rate:
        """The rate: a number or a schedule. Can be assigned."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        if not callable(value):
            value = number(f"{self._name}: lr", value)
        self._lr = value

    @property
    def current_lr(self) -> float:
        """The rate of the next update."""
        if callable(self._lr):
            rate = self._lr(self.t)
            return number(f"{self._name}: the schedule's rate", rate)
        return self._lr

    @property
    def params(self) -> Params:
        """The parameters as they are now, each once."""
        return list(self._current())

    def _current(self) -> Params:
        if self._model is not None:
            collected = self._model.parameters()
            if not _same(collected, self._collected):
                self._collected = list(collected)
                self._params = self._checked(collected)
        return self._params

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self._current():
            p._grad = None

    def update(self) -> None:
        """Change every parameter that has a gradient.

        Raises ValueError for a model without any parameter, or a scheduled rate below 0.
        """
        params = self._current()
        if not params:
            raise ValueError(f"{self._name}: the model has no parameters")
        lr = self.current_lr
        ready = [p for p in params if p._grad is not None and p._node is not None]
        if self.hooks:
            ready, grads = self._run_hooks(params, ready)
        else:
            grads = []
            for p in ready:
                g = p._grad._raw  # type: ignore[union-attr]  # those that are ready have one
                if getattr(g, "base", g) is not None:
                    # A view may be of a parameter, whose values change before it is read.
                    g = g.copy()
                grads.append(g)
        if not ready:
            self._warn_idle()
        settled = _same(ready, self._ready)
        if not settled or not all(group.take() for group in self._active):
            self._regroup(ready)
        for group, places in zip(self._active, self._places):
            group.step(self.apply, lr, [grads[i] for i in places])
        self.t += 1

    def _warn_idle(self) -> None:
        """Say, once, that an update changes nothing."""
        if not self._idle:
            self._idle = True
            warn_user(
                f"{self._name}.update: no parameter has a gradient, so nothing was changed: call "
                "cleargrads(), then loss.backward(), then update(); frozen parameters have none",
            )

    def _run_hooks(self, params: Params, ready: Params) -> tuple[Params, list[Array]]:
        """Who takes part after the hooks, and with which gradients.

        A hook with ``needs_all_parameters`` is given all, and chooses. It is
        ``minidl.distributed.AllReduce``: which have a gradient may differ between processes.
        """
        for hook in self.hooks:
            if getattr(hook, "needs_all_parameters", False):
                ready = [p for p in params if p._node is not None and p._raw is not None]
        if not ready:
            return ready, []
        before = [p._raw for p in ready]
        gradients = StepGradients(ready, [_gradient_or_zeros(p) for p in ready])
        for hook in self.hooks:
            hook(gradients)
        for p, raw in zip(ready, before):
            if p.shape != np.shape(raw) or p.dtype != raw.dtype:
                raise ValueError(f"{self._name}: a hook gave a parameter another shape or dtype")
        return gradients.params, gradients.grads

    def _regroup(self, ready: Params) -> None:
        """Part groups whose members part ways, and make groups of parameters that are new."""
        active = set(ready)
        groups: list[Group] = []
        for group in self._groups:
            members = group.members()
            stay = [member for member in members if member[0] in active]
            part = [member for member in members if member[0] not in active]
            groups += group.of(stay)
            groups += group.of(part)
        known: set[Variable] = set()
        for group in groups:
            known.update(group.params)
        zero = [0.0] * len(self.state_names)
        groups += grouped((p, 0, zero) for p in ready if p not in known)
        self._groups = groups
        self._ready = ready
        place = {p: i for i, p in enumerate(ready)}
        self._active = []
        self._places = []
        for group in groups:
            if group.params[0] in active:
                self._active.append(group)
                self._places.append([place[p] for p in group.params])
                group.take()

    def __repr__(self) -> str:
        rate = getattr(self.lr, "__qualname__", str(self.lr))
        schedule = rate.partition(".<locals>")[0]  # cosine, of the function that it made
        settings = [f"lr={schedule}"]
        settings += [f"{name}={getattr(self, name)!r}" for name in self.hyperparameters]
        if self.hooks:
            settings.append(f"hooks={self.hooks}")
        text = ", ".join(settings)
        count = len(self._current())
        return f"{self._name}({text}; parameters: {count}, updates: {self.t})"

    def state_dict(self) -> State:
        """The state as a flat dict: ``t``, the updates; by parameter, ``0.t``, ``0.m``.."""
        state: State = {"t": self.t}
        for name in self.state_settings:
            state[name] = np.array(getattr(self, name))
        place = {p: i for i, p in enumerate(self.params)}
        for i in place.values():
            state[f"{i}.t"] = 0
        for group in self._groups:
            for p, arrays in group.members():
                if p in place and group.t:
                    i = place[p]
                    state[f"{i}.t"] = group.t
                    for name, array in zip(self.state_names, arrays):
                        state[f"{i}.{name}"] = array.copy()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave; arrays are cast to the dtype of the state.

        Raises ValueError, and changes nothing, if keys or shapes differ, or settings that it
        depends on (Adam's betas).
        """
        where = f"{self._name}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: want a dict, got {type(state).__name__}")
        params = self.params
        times = [int(state.get(f"{i}.t", 0)) for i in range(len(params))]
        want = self._form_of_state(params, times)
        got = {key: self._form(key, value) for key, value in state.items()}
        problems = differences(got, want)
        if problems:
            text = ", ".join(problems)
            raise ValueError(f"{where}: keys, shapes or settings differ: {text}")
        begun = []
        for i, p in enumerate(params):
            if times[i] > 0:
                arrays = [state[f"{i}.{name}"] for name in self.state_names]
                begun.append((p, times[i], arrays))
        self._groups = grouped(begun)
        self.t = int(state["t"])
        self._active = []
        self._ready = []

    def _form_of_state(self, params: Params, times: list[int]) -> State:
        """The keys of a state of these parameters, each with its shape or setting."""
        form: State = {"t": ()}
        for name in self.state_settings:
            form[name] = list(getattr(self, name))
        for i, p in enumerate(params):
            form[f"{i}.t"] = ()
            if times[i] > 0:
                for name in self.state_names:
                    form[f"{i}.{name}"] = p.shape
        return form

    def _form(self, key: str, value: Any) -> Any:
        if key in self.state_settings:
            return np.ravel(value).tolist()
        return as_array(value).shape

    def _checked(self, target: Any) -> Params:
        """The parameters, each once, if they can be trained."""
        if not isinstance(target, Iterable):
            raise TypeError(f"{self._name}: want a model or a list of Variables, got {target!r}")
        params = list(target)
        for p in params:
            if not isinstance(p, Variable):
                raise TypeError(f"{self._name}: want a model or Variables, got {type(p).__name__}")
            if p.creator is not None:
                raise self._untrainable(p, "is a recorded result, not a leaf")
            if p._node is None and not isinstance(p, Parameter):  # which may be frozen for a while
                raise self._untrainable(p, "does not require a gradient")
        return list(dict.fromkeys(params))

    def _untrainable(self, p: Variable, why: str) -> TypeError:
        return TypeError(f"{self._name}: a Variable of shape {p.shape} {why}")


def _gradient_or_zeros(p: Variable) -> Any:
    if p._grad is None:
        return zeros(p.shape, p.dtype, p)
    return p._grad._raw


def _same(a: Sequence[Variable], b: Sequence[Variable]) -> bool:
    if len(a) != len(b):
        return False
    return all(map(is_, a, b))  # == would be recorded
