"""Snapshots: all that a training run depends on, taken from a Trainer's parts and put back into them.

Which objects hold it is found out in `carriers.py`; files are `checkpoint.py`'s.
"""

from __future__ import annotations

import inspect
import math
import random as random_numbers
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from minidl.autograd.variable import Parameter, Variable
from minidl.common import random
from minidl.common.arrays import host, is_foreign, to_kind_of
from minidl.data.loader import DataLoader
from minidl.layers.layer import Layer
from minidl.training.carriers import (
    DICTS,
    SCALARS,
    Carriers,
    Depth,
    Slot,
    Slots,
    Walk,
    article,
    copied,
    describe,
    describe_plain,
)

if TYPE_CHECKING:
    from minidl.training.run import Run
    from minidl.training.runner import ModelRunner
    from minidl.training.trainer import Trainer

State = Mapping[str, Any]
SHARED = 2**20  # bytes of an array with a global name that it is watched up to
DATA = 2**26  # so many bytes of each array are looked at to tell data from other data


class Part(Protocol):
    """What a snapshot is made of: each part gives its state, and takes one up or raises."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> None: ...


# ---- what a trainer consists of ------------------------------------------------------------------------


def layers_of(model: Any) -> list[Layer]:
    return model.sublayers() if isinstance(model, Layer) else []


def parameters_of(trainer: Trainer) -> list[Variable]:
    """The model's parameters and those that only the optimizer knows."""
    own = trainer.model.parameters() if isinstance(trainer.model, Layer) else []
    return list(dict.fromkeys([*own, *trainer.optimizer.params]))


def hooks_of(trainer: Trainer) -> list[Any]:
    """The optimizer's hooks without the one that only distributed trainers have."""
    hooks = getattr(trainer.optimizer, "hooks", [])
    return [hook for hook in hooks if not hasattr(hook, "samples")]


def has_own_state(callback: Any) -> bool:
    """Whether a callback says what a checkpoint keeps of it."""
    return type(callback).state_dict.__module__ != "minidl.training.callbacks" or bool(
        callback.state_dict()
    )


def find_carriers(trainer: Trainer) -> Carriers:
    """All that hangs on the trainer's parts and holds a state."""
    run = [] if trainer.run is None else [trainer.run, trainer.run.loader]
    generator = random.generator()
    known = [trainer, trainer.optimizer, trainer.ranks, generator, *run, *parameters_of(trainer)]
    known += [c.trainer for c in trainer.callbacks if hasattr(c, "trainer")]  # its latest one
    walk = Walk(known, layers_of(trainer.model))
    walk.visit("model", trainer.model)
    walk.visit("loss", trainer.loss)
    for name, metric in trainer.metrics.items():
        walk.visit(f"metrics.{name}", metric)
    if trainer.run is not None and type(trainer.run.loader) is not DataLoader:
        walk.visit_attributes("data", trainer.run.loader, vars(DataLoader([0], shuffle=False)))
    if callable(trainer.optimizer.lr):
        walk.visit("schedule", trainer.optimizer.lr)
    for i, hook in enumerate(hooks_of(trainer)):
        walk.visit(f"hooks.{i}", hook)
    for i, callback in enumerate(trainer.callbacks):
        depth = Depth.TRUSTED if has_own_state(callback) else Depth.LOOK
        walk.visit(f"callbacks.{i}", callback, depth)
    found = walk.finish()
    found.facts["hooks"] = ", ".join(type(hook).__name__ for hook in hooks_of(trainer))
    found.generators = {"minidl": generator, **found.generators}
    return found


# ---- the parts -----------------------------------------------------------------------------------------


class ModelPart:
    """The parameters of the model and of the optimizer, which of them are trained, and what layers hold besides.

    ``exact`` parts lose, when a state is loaded, attributes that it lacks; ``given`` are the paths of settings that
    stay as they are where the state has the value that they were ``made`` with.
    """

    def __init__(
        self, trainer: Trainer, found: Carriers, exact: bool = False, given: State | None = None
    ) -> None:
        self.model, self.found, self.exact, self.given = trainer.model, found, exact, given or {}
        self.layers, self.parameters = layers_of(self.model), parameters_of(trainer)
        own = set(self.model.parameters()) if isinstance(self.model, Layer) else set()
        self.others = [p for p in self.parameters if p not in own]

    def state_dict(self) -> dict[str, Any]:
        layers = zip(self.layers, self.found.layers, self.found.prefixes)
        return {
            "parameters": weights_of(self.model),
            "others": [None if is_lazy(p) else p.data.copy() for p in self.others],
            "trained": [p.requires_grad for p in self.parameters],
            "layers": [
                {"type": type(layer).__name__, "state": values_of(slots, len(prefix))}
                for layer, slots, prefix in layers
            ],
        }

    def load_state_dict(self, state: State) -> None:
        self.check(state)
        load_weights(self.model, state["parameters"])
        for p, value in zip(self.others, state["others"]):
            load_weight(p, value)
        for p, trained in zip(self.parameters, state["trained"]):
            if p.requires_grad != trained:
                p.requires_grad = trained
        for slots, values in self._values(state):
            load_values(slots, values, self.found, self.given, self.model)
            for path in [path for path in slots if self.exact and path not in values]:
                slots[path].delete()

    def _values(self, state: State) -> Iterator[tuple[Slots, dict[str, Any]]]:
        """The slots of each layer, and a state's values by path."""
        layers = zip(self.found.layers, self.found.prefixes, state["layers"])
        for slots, prefix, saved in layers:
            yield slots, {f"{prefix}{name}": value for name, value in saved["state"].items()}

    def check(self, state: State) -> None:
        """Raise ValueError if a state is of another model."""
        got = [layer["type"] for layer in state["layers"]], list(map(shape_of, state["others"]))
        want = [type(layer).__name__ for layer in self.layers], list(map(shape_of, self.others))
        if got != want:
            raise ValueError(f"the parameters or layers are others: got {got}, want {want}")
        trained = state["trained"]
        if len(trained) != len(self.parameters) or not all(isinstance(b, bool) for b in trained):
            raise ValueError(f"which parameters are trained: got {trained}")
        for slots, values in self._values(state):
            check_values(slots, values, self.found)


def model_part(trainer: Trainer) -> ModelPart:
    """The part of a trainer that evaluation depends on."""
    return ModelPart(trainer, Walk(parameters_of(trainer), layers_of(trainer.model)).found)


class OptimizerPart:
    """The optimizer's state and rate."""

    def __init__(self, trainer: Trainer, given: State | None = None) -> None:
        self.optimizer, self.given = trainer.optimizer, given or {}

    def state_dict(self) -> dict[str, Any]:
        lr = self.optimizer.lr
        rate = {"value": None if callable(lr) else lr, "next": self.optimizer.current_lr}
        kind = type(self.optimizer).__name__
        return {"type": kind, "state": self.optimizer.state_dict(), "rate": rate}

    def load_state_dict(self, state: State) -> None:
        optimizer, rate = self.optimizer, state["rate"]
        expect("the optimizer", state["type"], type(optimizer).__name__)
        expect("whether the rate is a schedule", rate["value"] is None, callable(optimizer.lr))
        for name, value in state["state"].items():
            if name.rpartition(".")[2] == "t":
                expect_count(f"the optimizer's {name}", value)
        optimizer.load_state_dict(state["state"])
        if rate["value"] is not None and self.given.get("optimizer.lr") != repr(rate["value"]):
            optimizer.lr = rate["value"]

    def check_rate(self, state: State) -> None:
        """Raise ValueError if the schedule, which may have a state of its own, goes on with another rate."""
        if callable(self.optimizer.lr) and self.optimizer.current_lr != state["rate"]["next"]:
            got = f"got {state['rate']['next']}, want {self.optimizer.current_lr}"
            raise ValueError(f"the schedule's rate for update {self.optimizer.t}: {got}")


class StatefulParts:
    """Objects that have a state_dict() of their own, such as a schedule or a hook, by path."""

    def __init__(self, found: Carriers) -> None:
        self.parts = found.parts

    def state_dict(self) -> dict[str, Any]:
        return {path: part.state_dict() for path, part in self.parts.items()}

    def load_state_dict(self, state: State) -> None:
        expect("the schedule, hooks or objects with a state", list(state), list(self.parts))
        for path, part in self.parts.items():
            part.load_state_dict(state[path])


class ObjectsPart:
    """Plain values that are held by functions and by objects that are no layers, by path."""

    def __init__(self, trainer: Trainer, found: Carriers, given: State | None = None) -> None:
        self.found, self.given, self.model = found, given or {}, trainer.model
        before = {} if trainer._settings is None else trainer._settings.shared
        self.unchanged = {p for p, text in shared_values(found).items() if before.get(p) == text}

    def state_dict(self) -> dict[str, Any]:
        objects = self.found.objects
        return values_of({path: s for path, s in objects.items() if path not in self.unchanged})

    def load_state_dict(self, state: State) -> None:
        check_values(self.found.objects, state, self.found)
        load_values(self.found.objects, state, self.found, self.given, self.model)


class GeneratorsPart:
    """minidl's random generator and all that the parts of the trainer hold, by path."""

    def __init__(self, found: Carriers) -> None:
        self.generators = found.generators

    def state_dict(self) -> dict[str, Any]:
        return {path: generator_state(g) for path, g in self.generators.items()}

    def load_state_dict(self, state: State) -> None:
        self.check(state)
        for path, generator in self.generators.items():
            load_generator_state(generator, state[path])

    def check(self, state: State) -> None:
        """Raise ValueError if there are others."""
        got = {path: saved["bit_generator"] for path, saved in state.items()}
        want = {path: generator_state(g)["bit_generator"] for path, g in self.generators.items()}
        expect("the random generators", got, want)


class CallbacksPart:
    """The states of those callbacks that have one, each with what tells the callback from others of its type."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self.callbacks = list(callbacks)

    def state_dict(self) -> list[dict[str, Any]]:
        return [
            {"type": type(callback).__name__, "settings": settings_of(callback), "state": state}
            for callback in self.callbacks
            if (state := callback.state_dict())
        ]

    def load_state_dict(self, state: list[State]) -> None:
        for callback, saved in self.match(state):
            callback.load_state_dict(saved["state"])

    def match(self, states: list[State]) -> list[tuple[Any, State]]:
        """Each state with its callback: one of the same type and settings, or else the only one left of its type."""
        left, pairs, rest = list(self.callbacks), list[tuple[Any, State]](), list[State]()
        for saved in states:
            same = [c for c in alike(left, saved) if settings_of(c) == saved["settings"]]
            if same:
                left.remove(same[0])
                pairs.append((same[0], saved))
            else:
                rest.append(saved)
        for saved in rest:
            others = alike(left, saved)
            if len(others) != 1:
                what = f"several others {others}" if others else "which is not among this one's"
                raise ValueError(
                    f"it has the state of a callback {saved['type']} with {saved['settings']}, {what}"
                )
            left.remove(others[0])
            pairs.append((others[0], saved))
        return pairs


def alike(callbacks: list[Any], saved: State) -> list[Any]:
    """The callbacks of the type that a state is of."""
    return [callback for callback in callbacks if type(callback).__name__ == saved["type"]]


class RunPart:
    """How far the fit in progress, or the latest, is; None without one."""

    def __init__(self, trainer: Trainer) -> None:
        self.run = trainer.run

    def state_dict(self) -> dict[str, Any] | None:
        return None if self.run is None else self.run.state_dict()

    def load_state_dict(self, state: State | None) -> None:
        if state is not None:
            check_run(state)
        if self.run is not None and state is not None:
            self.run.check(state)
            self.run.load_state_dict(state)


def parts_of(
    trainer: Trainer, found: Carriers, exact: bool = False, given: State | None = None
) -> dict[str, Part]:
    """The trainer's parts by name, in the order in which they are put back."""
    return {
        "model": ModelPart(trainer, found, exact, given),
        "optimizer": OptimizerPart(trainer, given),
        "parts": StatefulParts(found),
        "objects": ObjectsPart(trainer, found, given),
        "generators": GeneratorsPart(found),
        "run": RunPart(trainer),
    }


# ---- values --------------------------------------------------------------------------------------------


def is_lazy(p: Any) -> bool:
    return isinstance(p, Parameter) and p.lazy


def weights_of(model: Any) -> dict[str, Any]:
    """A layer's ``state_dict()``; while some parameters have no data, None for these."""
    if not isinstance(model, Layer):
        return {}
    if any(map(is_lazy, model.parameters())):
        named = model.named_parameters()
        return {name: None if is_lazy(p) else p.data.copy() for name, p in named}
    return model.state_dict()


def load_weights(model: Any, weights: State) -> None:
    """Put back what ``weights_of`` gave."""
    if isinstance(model, Layer) and any(value is None for value in weights.values()):
        for name, p in model.named_parameters():
            load_weight(p, weights[name])
    elif isinstance(model, Layer):
        model.load_state_dict(weights)


def load_weight(p: Variable, value: Any) -> None:
    if value is None:
        p._raw = None
    else:
        p.data = to_kind_of(value.copy(), p)


def shape_of(value: Any) -> Any:
    """Shape and dtype of an array or a parameter; None for one without data."""
    return None if value is None or is_lazy(value) else (value.shape, value.dtype)


def values_of(slots: Slots, skip: int = 0) -> dict[str, Any]:
    """Copies of the values in slots, by path without its first characters."""
    return {path[skip:]: copied(slot.value) for path, slot in slots.items()}


def check_values(slots: Slots, values: State, found: Carriers) -> None:
    """Raise ValueError if values have no place, or one that holds something of another kind."""
    for path, value in values.items():
        old = find_slot(path, slots, found).value
        got, want = kind_of(value), kind_of(old)
        if got != want and value is not None and old is not None:
            raise ValueError(f"{path}: got {article(got)}, want {article(want)}")


def load_values(slots: Slots, values: State, found: Carriers, given: State, model: Any) -> None:
    """Put values into their slots, but settings that are given and that training had not changed."""
    for path, value in values.items():
        if path not in given or given[path] != describe_plain(value):
            put(find_slot(path, slots, found), like_parameters(value, model))


def find_slot(path: str, slots: Slots, found: Carriers) -> Slot:
    """The slot of a path, or one for a new attribute or entry; ValueError where none may be."""
    if path in slots:
        return slots[path]
    parent, _, name = path.rpartition(".")
    owner = found.namespaces.get(parent)
    if isinstance(owner, dict) and all(isinstance(key, str) for key in owner):
        return Slot(None, owner, name, fixed=False)
    old = inspect.getattr_static(owner, name, None)
    attribute = owner is not None and name.isidentifier() and not name.startswith("__")
    if not attribute or not isinstance(old, (*SCALARS, np.ndarray)):
        raise ValueError(f"{path} is no place for an array or number")
    return Slot(None, vars(owner) if hasattr(owner, "__dict__") else owner, name, fixed=False)


def kind_of(value: Any) -> str:
    """What may take the place of what: numbers and arrays of each other, text of text, a list of a list."""
    if isinstance(value, bool | str | bytes | list | deque | set | frozenset):
        return type(value).__name__
    if isinstance(value, DICTS):
        return "dict"
    return "tuple" if isinstance(value, tuple) else "number"


def put(slot: Slot, value: Any) -> None:
    """Give a slot a value: in place where others may hold what is there."""
    old = slot.value
    if isinstance(old, Variable) and old.creator is None and old.requires_grad:
        if value is not None:
            load_weight(old, value._raw)
        return
    value = in_place(old, copied(value))
    if not slot.fixed:
        slot.set(value)
    elif value is not old and not (isinstance(old, np.ndarray) and np.array_equal(old, value)):
        raise ValueError(f"{slot.key} cannot be given another value")


def in_place(old: Any, value: Any) -> Any:
    """The old list, dict, set or array with the new content, if it can have that; else the value."""
    if is_foreign(old) and isinstance(value, np.ndarray):
        value = to_kind_of(value, old)
    if isinstance(old, np.ndarray) and isinstance(value, np.ndarray):
        if shape_of(old) != shape_of(value) or not old.flags.writeable:
            return value
        old[...] = value
    elif isinstance(old, list) and isinstance(value, list):
        old[:] = value
    elif isinstance(old, deque) and isinstance(value, deque) and old.maxlen == value.maxlen:
        old.clear()
        old.extend(value)
    elif isinstance(old, dict | set) and isinstance(value, dict | set):
        old.clear()
        old.update(value)
    else:
        named = isinstance(value, tuple) and hasattr(old, "_fields")
        return type(old)(*value) if named else value
    return old


def like_parameters(value: Any, model: Any) -> Any:
    """A Variable, or those in a tuple, as arrays of the kind of the model's parameters; others as they are."""
    if type(value) is tuple:
        return tuple([like_parameters(part, model) for part in value])
    parameters = [p for p in model.parameters() if not p.lazy] if isinstance(model, Layer) else []
    like = next(filter(is_foreign, parameters), None)
    if not isinstance(value, Variable) or like is None:
        return value
    return Variable(to_kind_of(value, like), requires_grad=False)


def generator_state(generator: Any) -> dict[str, Any]:
    """The state of a random generator of NumPy's or Python's, and how many others were made from it."""
    if isinstance(generator, np.random.RandomState):
        return dict(generator.get_state(legacy=False))
    if isinstance(generator, random_numbers.Random):
        return {"bit_generator": type(generator).__name__, "state": generator.getstate()}
    if isinstance(generator, np.random.SeedSequence):
        return {"bit_generator": "SeedSequence", **spawned_from(generator)}
    bits: Any = getattr(generator, "bit_generator", generator)
    return dict(bits.state) | spawned_from(bits.seed_seq)


def spawned_from(seeds: Any) -> dict[str, Any]:
    """How many generators were made from a seed sequence, and which it is; nothing if none was."""
    count = getattr(seeds, "n_children_spawned", 0)
    return {"spawned": count, "seed": f"{seeds.entropy} {seeds.spawn_key}"} if count else {}


def load_generator_state(generator: Any, state: State) -> None:
    """Put back what ``generator_state`` gave; ValueError for one that makes no sense."""
    if isinstance(generator, np.random.RandomState):
        check_position(state)
        generator.set_state(dict(state))
        return
    if isinstance(generator, random_numbers.Random):
        generator.setstate(state["state"])
        return
    if isinstance(generator, np.random.SeedSequence):
        spawn_again(generator, state)
        return
    bits: Any = getattr(generator, "bit_generator", generator)
    check_position(state)
    bits.state = {name: value for name, value in state.items() if name not in ("spawned", "seed")}
    spawn_again(bits.seed_seq, state)


def spawn_again(seeds: Any, state: State) -> None:
    """Let a seed sequence go on after as many generators as were made from it."""
    missing = state.get("spawned", 0) - getattr(seeds, "n_children_spawned", 0)
    if missing > 0:
        seed = f"{seeds.entropy} {seeds.spawn_key}"
        expect("the seed of a generator that others were made from", seed, state["seed"])
        seeds.spawn(missing)


def check_position(state: State) -> None:
    """Raise ValueError for a place beyond a generator's buffer, which NumPy would read."""
    if not 0 <= state["state"].get("pos", 0) <= 624 or not 0 <= state.get("buffer_pos", 0) <= 16:
        raise ValueError("a random generator's state is damaged")


# ---- settings ------------------------------------------------------------------------------------------


def settings_of(thing: Any) -> dict[str, str]:
    """What an object was made with: its constructor's arguments that are attributes of the same name."""
    found: dict[str, str] = {}
    for name in inspect.signature(type(thing)).parameters:
        value = getattr(thing, name, None)
        text = describe_plain(value) or (describe(value) if callable(value) else "")
        if text and value is not None:
            found[name] = text
    return found


def facts_of(trainer: Trainer, found: Carriers) -> dict[str, str]:
    """What a trainer was made with, by path, to be compared: settings, functions, types."""
    optimizer = {f"optimizer.{name}": v for name, v in settings_of(trainer.optimizer).items()}
    optimizer.pop("optimizer.hooks", None)
    facts = {path: text for path, text in found.facts.items() if not path.startswith("callbacks.")}
    return optimizer | facts


def shared_values(found: Carriers) -> dict[str, int]:
    """A checksum of each value that a global name leads to, but of large arrays."""
    shared = {path: slot.value for path, slot in found.objects.items() if slot.shared}
    return {path: sum_of(v) for path, v in shared.items() if getattr(v, "nbytes", 0) <= SHARED}


def sum_of(value: Any) -> int:
    data = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    return zlib.crc32(data)


class Settings:
    """What a trainer was made with, as a fit begins: ``first``, when the training began that it goes on with."""

    def __init__(self, trainer: Trainer, before: Settings | None) -> None:
        found = find_carriers(trainer)
        self.now = self.first = self.last = facts_of(trainer, found)
        self.shared = shared_values(found)
        self.places = found.namespaces.keys() | found.generators.keys() | found.parts.keys()
        if before is not None:  # what the user has not changed meanwhile is what it was
            first, last = before.first, before.last
            self.first = {
                path: first.get(path, text) if last.get(path) == text else text
                for path, text in self.now.items()
            }
        self.given: dict[str, str] = {}  # settings of the checkpoint that are others here
        self.unknown: set[str] = set()  # what was warned of

    def end(self, trainer: Trainer) -> None:
        """Note how the settings are when a fit is over."""
        self.last = facts_of(trainer, find_carriers(trainer))

    def compare(self, made: State) -> list[str]:
        """How the settings differ from those that a checkpoint was made with."""
        paths = [path for path in {**made, **self.first} if made.get(path) != self.first.get(path)]
        self.given = {path: made.get(path, "") for path in paths}
        return [difference(path, self.first.get(path), made.get(path)) for path in paths]


def difference(path: str, here: str | None, made: str | None) -> str:
    names = [None if text is None else text.partition("#")[0] for text in (here, made)]
    if names[0] == names[1]:
        return f"{path}: another function of the name {names[0]}"
    return f"{path}: {names[0] or 'nothing'} here, {names[1] or 'nothing'} when it was saved"


_FINGERPRINTS: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()


def fingerprint(loader: Any) -> list[int]:
    """A checksum of each of a loader's arrays, of evenly spaced samples of a large one."""
    if loader not in _FINGERPRINTS:
        _FINGERPRINTS[loader] = list(map(checksum, getattr(loader, "arrays", ())))
    return _FINGERPRINTS[loader]


def checksum(array: Any) -> int:
    rows = array[:: max(1, -(-array.nbytes // DATA))]
    return zlib.crc32(np.ascontiguousarray(host(rows)).tobytes())


def refuse_unheld(trainer: Trainer, found: Carriers) -> None:
    """Raise TypeError, naming it, if the next batches may depend on what a checkpoint cannot hold; warn if unsure."""
    refused, settings = list(found.refused), trainer._settings
    held = found.objects.keys() | {path for slots in found.layers for path in slots}
    if settings is not None and trainer._looping:
        for path, text in facts_of(trainer, found).items():
            before = settings.now.get(path, text)
            if before != text and path not in held and path != "optimizer.lr":
                refused.append(f"{path} was {before.split('#')[0]} when the fit began")
        owners = {path.rpartition(".")[0] for path in held} & found.namespaces.keys()
        owners |= found.generators.keys() | found.parts.keys()
        refused += [f"{path} is new since the fit began" for path in owners - settings.places]
    if refused:
        raise TypeError(
            f"Trainer.save: the next batches may depend on what a checkpoint cannot hold: {'; '.join(refused)}. Keep "
            "numbers, text, arrays, generators of random numbers and lists or dicts of these in layers, or give the "
            "object state_dict() and load_state_dict()"
        )
    known = settings.unknown if settings is not None else set()
    new = [what for what in found.unknown if what not in known]
    known.update(new)
    if new:
        warnings.warn(
            f"Trainer.save: what it holds is not saved: {'; '.join(new)}", UserWarning, stacklevel=2
        )


# ---- snapshots -----------------------------------------------------------------------------------------


def capture(trainer: Trainer) -> dict[str, Any]:
    """All that the next batches depend on; copies.

    RuntimeError while a parameter has no data yet; TypeError, naming it, for an object whose state cannot be held.
    """
    for p in parameters_of(trainer):
        p.data  # noqa: B018 - it raises if there is none yet
    found = find_carriers(trainer)
    refuse_unheld(trainer, found)
    tree = {name: part.state_dict() for name, part in parts_of(trainer, found).items()}
    cut = None if trainer.run is None else trainer.run.cut
    settings = trainer._settings
    tree["settings"] = facts_of(trainer, found) if settings is None else settings.first
    tree["callbacks"] = callback_states(trainer) if cut is None else cut["callbacks"]
    tree["callback_types"] = [type(callback).__name__ for callback in trainer.callbacks]
    rows = trainer.history.rows if cut is None else cut["history"]
    tree["history"] = [] if trainer.run is None else [dict(row) for row in rows]
    tree["data"] = [] if trainer.run is None else fingerprint(trainer.run.loader)
    return tree


def callback_states(trainer: Trainer) -> list[dict[str, Any]]:
    """The states of those callbacks that have one."""
    return CallbacksPart(trainer.callbacks).state_dict()


class Refused(ValueError):
    """A checkpoint that a trainer cannot take; nothing was changed."""


def restore(
    trainer: Trainer, tree: State, where: str, before: State | None = None
) -> dict[str, Any]:
    """Put back what ``capture`` gave, but the history; return what there was before.

    A fit does it twice: when callbacks have begun, it gives what there was ``before``, and they get their states.

    Raises Refused, and nothing is changed, if the checkpoint is of another model, optimizer or data, or makes no sense.
    Other settings are told by a warning.
    """
    again = before is not None
    if before is None:
        before = {name: part.state_dict() for name, part in all_parts(trainer).items()}
    try:
        differences = check(trainer, tree)
        given = None if trainer._settings is None else trainer._settings.given
        parts = all_parts(trainer, given=given)
        for name, part in parts.items():
            if again or name != "callbacks":
                part.load_state_dict(tree[name])
        OptimizerPart(trainer).check_rate(tree["optimizer"])
        if differences and not again:
            warnings.warn(told(where, differences), UserWarning, stacklevel=3)
    except BaseException as error:
        for name, part in all_parts(trainer, exact=True).items():
            if again or name != "callbacks":
                part.load_state_dict(before[name])
        if isinstance(error, Warning) or not isinstance(error, Exception):
            raise
        reason = str(error) if isinstance(error, ValueError) else f"it makes no sense: {error!r}"
        raise Refused(f"{where}: it is of another trainer: {reason}") from error
    return dict(before)


def told(where: str, differences: list[str]) -> str:
    """The warning about settings that are others than the checkpoint's."""
    more = f"; and {len(differences) - 10} more" if len(differences) > 10 else ""
    return (
        f"{where}: not all is as it was when it was saved: {'; '.join(differences[:10])}{more}. What is given here is "
        "used, but numbers that training had changed go on from the checkpoint's"
    )


def all_parts(trainer: Trainer, exact: bool = False, given: State | None = None) -> dict[str, Part]:
    parts = parts_of(trainer, find_carriers(trainer), exact, given)
    return parts | {"callbacks": CallbacksPart(trainer.callbacks)}


def check(trainer: Trainer, tree: State) -> list[str]:
    """Raise if a checkpoint is of another trainer or makes no sense; return what else is other."""
    rows, run = tree["history"], tree["run"]
    for row in rows:
        if not isinstance(row, dict) or not all(map(is_number, row.values())):
            raise ValueError(f"a row of its history is {row!r}")
    GeneratorsPart(find_carriers(trainer)).check(tree["generators"])
    if run is not None and not run["epoch"] <= len(rows) <= run["epoch"] + 1:
        raise ValueError(f"it is in epoch {run['epoch']}, with {len(rows)} rows of history")
    if trainer.run is None or trainer._settings is None:  # it is not to go on with a fit
        return []
    differences = trainer._settings.compare(tree["settings"])
    for callback, saved in CallbacksPart(trainer.callbacks).match(tree["callbacks"]):
        start, here, made = saved["type"], settings_of(callback), saved["settings"]
        differences += [
            difference(f"callbacks.{start}.{name}", here.get(name), made.get(name))
            for name in {**made, **here}
            if made.get(name) != here.get(name)
        ]
    if run is not None and tree["data"] != fingerprint(trainer.run.loader):
        differences.append("data: other values of the same shape")
    names = [type(callback).__name__ for callback in trainer.callbacks]
    added = Counter(names) - Counter(tree["callback_types"])
    return differences + [f"callbacks: {name} is new" for name in added]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.generic) and not isinstance(value, str)


def expect(what: str, got: Any, want: Any) -> None:
    if got != want:
        raise ValueError(f"{what}: got {got}, want {want}")


def expect_count(what: str, value: Any) -> None:
    """Raise ValueError for what is no whole number of at least 0."""
    whole = isinstance(value, int | np.integer) or getattr(value, "dtype", None) == np.int64
    if not whole or isinstance(value, bool) or np.ndim(value) or not 0 <= value < 2**53:
        raise ValueError(f"{what}: got {value!r}, want a whole number of at least 0")


def check_run(state: State) -> None:
    """Raise ValueError for a place in a run that cannot be."""
    for name in ("epoch", "batches", "updates"):
        expect_count(name, state[name])
    expect_count("samples", state["means"]["samples"])
    if not is_number(state["rate"]) or not 0 <= state["rate"] < math.inf:
        raise ValueError(f"rate: got {state['rate']!r}, want a number of at least 0")
    if not all(map(is_number, state["means"]["sums"].values())):
        raise ValueError(f"means: got {state['means']['sums']}, want numbers")
    given = state["loader"]["given"]
    if (given or 0) != state["batches"]:
        raise ValueError(f"batches: got {state['batches']} in the run and {given} in the loader")


def states_of(trainer: Trainer) -> dict[str, Any]:
    """The states of the trainer's parts by name, without its callbacks'."""
    parts = parts_of(trainer, find_carriers(trainer))
    return {name: part.state_dict() for name, part in parts.items()}


@contextmanager
def restoring(
    trainer: Trainer, runner: ModelRunner, loader: DataLoader, drawn: Any
) -> Iterator[None]:
    """Put everything back at the end, minidl's generator to ``drawn``; parameters without data are without it again."""
    lazy, run = initialize_lazy(trainer, runner, loader), trainer.run
    trainer.run = None
    before: dict[str, Any] = states_of(trainer)
    before["generators"]["minidl"] = drawn
    trainer.run = run
    try:
        yield
    finally:
        trainer.run = None
        for name, part in parts_of(trainer, find_carriers(trainer), exact=True).items():
            part.load_state_dict(before[name])
        trainer.run = run
        for p, lazy_name in lazy:
            p._raw = None
            p.name = lazy_name


def initialize_lazy(
    trainer: Trainer, runner: ModelRunner, loader: DataLoader
) -> list[tuple[Any, str | None]]:
    """Give parameters without data theirs, by a batch; return them with their names until then."""
    lazy = [(p, p.name) for p in parameters_of(trainer) if is_lazy(p)]
    if lazy:
        with runner.evaluation("fit", loader.in_order()):
            runner.forward(loader.arrays[0][: loader.batch_size])
    return lazy


def broadcast_state(trainer: Trainer, runner: ModelRunner, run: Run) -> None:
    """Broadcast rank 0's state to all ranks; each then draws its own random numbers."""
    if not run.distributed:
        return
    if runner.stateful and not run.fresh:
        raise ValueError(
            "fit: resume: within an epoch, the states that a stateful model carried are one rank's only"
        )
    initialize_lazy(trainer, runner, run.loader)
    shared = trainer.ranks.share(lambda: states_of(trainer))
    for name, part in parts_of(trainer, find_carriers(trainer)).items():
        part.load_state_dict(shared[name])
    for name, generator in find_carriers(trainer).generators.items():
        # in the first rank they stay those of a single process
        bits: Any = getattr(generator, "bit_generator", None)
        if trainer.ranks.rank and name.startswith(("minidl", "model")) and hasattr(bits, "jumped"):
            bits.state = bits.jumped(trainer.ranks.rank).state
    trainer.ranks.begin(run)
