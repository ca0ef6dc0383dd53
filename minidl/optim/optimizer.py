"""Optimizer: which parameters are updated, at which rate, after which hooks.

The parameters and their settings are in group.py, the arrays that they share in buffer.py, the
formulas in a file each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from minidl.autograd.modes import MODE, note_cleared
from minidl.autograd.variable import Variable
from minidl.common.arrays import as_array
from minidl.common.callers import warn_user
from minidl.common.checks import differences, number
from minidl.common.hints import OPTIMIZER_WORDS, HintsMixin, refuse_assignment, refuse_unexpected
from minidl.optim.buffer import Array, Buffers, Member
from minidl.optim.gradients import Hook, Hooks, Params, gradients_of, run_hooks
from minidl.optim.group import Check, Rate, check_rate, groups_of, number_groups, text_of

__all__ = ["Array", "Check", "Hooks", "Optimizer", "Rate"]

State: TypeAlias = dict[str, Any]


class Optimizer(HintsMixin):
    """The base of the optimizers: ``update()`` changes every parameter that has a gradient.

    A parameter without a gradient, or frozen, is skipped: neither it nor its state changes.
    Parameters of a model are looked up at each update, so that late ones take part; they start
    their own step count. An update in which no parameter has a gradient warns, once.

    Args:
        target: a model, a Variable that requires a gradient, a list of these; or a list of groups,
            dicts of such ``params`` and of any setting (``lr``, ``betas``..) that is to be another
            for them.
        lr: the rate, a number or a schedule: a function from the number of updates so far to a
            rate. A group's own number keeps its ratio to it, whatever schedule or rate is set
            later (to a schedule's peak if that is ``warmup`` or ``one_cycle``, else to its first
            rate); a group's own schedule is followed as it is.
        hooks: functions called with the ``StepGradients`` of each step, those of all groups in one
            call, before they are applied.

    Raises ValueError for an empty list or group, a setting out of its range and a parameter in two
    groups, TypeError for what cannot be trained, is no rate, or for an unknown setting.

    >>> from minidl import layers, optim
    >>> model = layers.Linear(3, 2)
    >>> optim.AdamW([{"params": model.w}, {"params": model.b, "weight_decay": 0.0}]).groups
    ((parameters: 1), (weight_decay=0.0, parameters: 1))
    """

    _words = OPTIMIZER_WORDS
    state_names: ClassVar[tuple[str, ...]] = ()  # of the arrays of state, which are zero at first
    settings: ClassVar[Mapping[str, Check]] = {}  # all but the rate and the hooks, with their check
    state_settings: ClassVar[tuple[str, ...]] = ()  # those that a state is of no use without

    _reached = ("sources",)  # what a program that uses it depends on; all else is read at each call

    @refuse_unexpected
    def __init__(self, target: Any, lr: Rate = 0.01, hooks: Hooks = ()) -> None:
        self._name = type(self).__name__
        self.lr = lr
        self.t = 0  # updates so far
        if callable(hooks):
            hooks = [hooks]
        if not isinstance(hooks, Iterable):
            raise TypeError(f"{self._name}: hooks: want functions in a list, got {hooks!r:.40}")
        self.hooks: list[Hook] = list(hooks)
        for hook in self.hooks:
            if not callable(hook):
                raise TypeError(f"{self._name}: a hook must be callable, got {self.hooks}")
        checks = {"lr": check_rate, **self.settings}
        self.groups = tuple(groups_of(self._name, target, self.lr, checks))
        self._parts: list[Params] = [[] for _ in self.groups]  # what each group gave last
        self._params: Params = []
        self._group_of: dict[Variable, int] = {}
        self._settings: list[dict[str, Any]] = []  # of each group, made anew when one is assigned
        self._buffers = Buffers()
        self._idle = False  # whether it was said that an update changed nothing
        if len(self.groups) > 1:
            self._current()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings:
            value = self.settings[name](f"{type(self).__name__}: {name}", value)
            self._settings = []
        elif name in OPTIMIZER_WORDS:
            refuse_assignment(self, name, OPTIMIZER_WORDS)
        super().__setattr__(name, value)

    def apply(self, p: Array, g: Array, out: Array, *args: Any, **kwargs: Any) -> None:
        """One step, in place, on flat arrays of one size.

        ``g`` is only read, ``out`` is for intermediate results; then come the arrays of state, and
        by name ``t``, the number of the step, from 1, ``lr`` and the settings.
        """
        raise NotImplementedError(f"{self._name} has no apply()")

    @property
    def lr(self) -> Rate:
        """The rate, a number or a schedule. Can be assigned."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr = check_rate(f"{self._name}: lr", value)

    @property
    def current_lr(self) -> float:
        """The rate of the next update."""
        if callable(self._lr):
            rate = self._lr(self.t)
            return number(f"{self._name}: the schedule's rate", rate)
        return self._lr

    @property
    def params(self) -> Params:
        """The parameters as they are now, of all groups, each once."""
        return list(self._current())

    @property
    def sources(self) -> list[Any]:
        """The Variables and models that the parameters are looked up in."""
        return [source for group in self.groups for source in group.sources]

    def _current(self) -> Params:
        for group, part in zip(self.groups, self._parts):
            if group.collect() is not part:
                parts = [group.collect() for group in self.groups]
                self._group_of = number_groups(self.groups, parts)
                self._params = list(self._group_of)
                self._parts = parts
                break
        return self._params

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        params = self._current()
        note_cleared(params)
        for p in params:
            p._grad = None

    def update(self) -> None:
        """Change every parameter that has a gradient.

        Raises ValueError for a model without any parameter, or a scheduled rate below 0.
        """
        tracer = MODE.get().tracer
        if tracer is not None:
            tracer.update(self)
            return
        params = self._current()
        if not all(self._parts):
            empty = self.groups[self._parts.index([])]
            raise ValueError(f"{empty.where}: the model has no parameters")
        settings = self._settings_of_groups()
        ready = [p for p in params if p._grad is not None and p._node is not None]
        if self.hooks:
            ready, grads = run_hooks(self._name, self.hooks, params, ready)
        else:
            grads = gradients_of(ready)
        if not ready:
            self._warn_idle()
        for p in ready:
            p._stamp()
        self._step(ready, grads, settings)

    def _step(self, ready: Params, grads: list[Any], settings: list[dict[str, Any]]) -> None:
        """Change parameters by these gradients, with the settings of each group."""
        self._buffers.prepare(ready, self._group_of, len(self.state_names))
        self._buffers.step(self.apply, settings, grads)
        self.t += 1

    def _settings_of_groups(self) -> list[dict[str, Any]]:
        """What the next step is made with, by group."""
        if not self._settings:
            own = {name: getattr(self, name) for name in self.settings}
            self._settings = [{**own, **group.settings} for group in self.groups]
        lr = self.current_lr
        for group, settings in zip(self.groups, self._settings):
            settings["lr"] = group.rate(lr, self.t)
        return self._settings

    def _warn_idle(self) -> None:
        """Say, once, that an update changes nothing."""
        if not self._idle:
            self._idle = True
            warn_user(
                f"{self._name}.update: no parameter has a gradient, so nothing was changed: call "
                "cleargrads(), then loss.backward(), then update(); frozen parameters have none",
            )

    def __repr__(self) -> str:
        settings = [f"lr={text_of(self.lr)}"]
        settings += [f"{name}={getattr(self, name)!r}" for name in self.settings]
        if self.hooks:
            settings.append(f"hooks={self.hooks}")
        counts = [f"parameters: {len(self._current())}", f"updates: {self.t}"]
        if len(self.groups) > 1 or self.groups[0].settings:
            counts.insert(0, f"groups: {list(self.groups)}")
        return f"{self._name}({', '.join(settings)}; {', '.join(counts)})"

    def state_dict(self) -> State:
        """The state as a flat dict: ``t``, the updates; by parameter, ``0.t``, ``0.m``.."""
        state: State = {"t": self.t}
        for name, value in self._settings_of_state().items():
            state[name] = np.array(value)
        place = {p: i for i, p in enumerate(self._current())}
        for i in place.values():
            state[f"{i}.t"] = 0
        for p, _, t, arrays in self._buffers.members():
            if p in place and t:
                i = place[p]
                state[f"{i}.t"] = t
                for name, array in zip(self.state_names, arrays):
                    state[f"{i}.{name}"] = array.copy()
        return state

    def _settings_of_state(self) -> State:
        """The settings that a state is of no use without, and groups' own as ``groups.0.betas``."""
        settings: State = {}
        for name in self.state_settings:
            settings[name] = getattr(self, name)
            for k, group in enumerate(self.groups):
                if name in group.settings:
                    settings[f"groups.{k}.{name}"] = group.settings[name]
        return settings

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave; arrays are cast to the dtype of the state.

        Raises ValueError, and changes nothing, if keys or shapes differ, or settings that it
        depends on (Adam's betas), or a number of updates is none; TypeError for what is no numbers.
        """
        where = f"{self._name}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: want a dict, got {type(state).__name__}")
        params = self._current()
        updates = _as_updates(f"{where}: t", state.get("t", 0))
        times = []
        for i in range(len(params)):
            key = f"{i}.t"
            times.append(_as_updates(f"{where}: {key}", state.get(key, 0)))
        want = self._form_of_state(params, times)
        got = {key: self._form(where, key, value) for key, value in state.items()}
        problems = differences(got, want)
        if problems:
            text = ", ".join(problems)
            raise ValueError(f"{where}: keys, shapes or settings differ: {text}")
        members = []
        for i, p in enumerate(params):
            if times[i] > 0:
                arrays = [state[f"{i}.{name}"] for name in self.state_names]
                members.append(Member(p, self._group_of[p], times[i], arrays))
        self._buffers = Buffers(members)
        self.t = updates

    def _form_of_state(self, params: Params, times: list[int]) -> State:
        """The keys of a state of these parameters, each with its shape or setting."""
        form: State = {"t": ()}
        for name, value in self._settings_of_state().items():
            form[name] = list(value)
        for i, p in enumerate(params):
            form[f"{i}.t"] = ()
            if times[i] > 0:
                for name in self.state_names:
                    form[f"{i}.{name}"] = p.shape
        return form

    def _form(self, where: str, key: str, value: Any) -> Any:
        if key.rpartition(".")[2] in self.state_settings:
            return np.ravel(value).tolist()
        array = as_array(value, f"{where}: {key}")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{where}: {key}: want real numbers, got {array.dtype}")
        return array.shape


def _as_updates(what: str, value: Any) -> int:
    """How many updates there were, as an int."""
    array = as_array(value, what)
    if array.dtype.kind not in "iu" or array.ndim or array < 0:
        raise ValueError(f"{what}: want a whole number of at least 0, got {value!r:.40}")
    return int(array)
