"""Parts: what a trainer consists of, each with a state_dict() and a load_state_dict(state) that refuses others' states.

What is found in users' objects comes from `carriers.py`; snapshots of all parts are in `snapshot.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from minidl.autograd.variable import Variable
from minidl.checkpoints.carriers import Carriers, Depth, Walk
from minidl.checkpoints.describe import settings_of
from minidl.checkpoints.generators import generator_state, load_generator_state
from minidl.checkpoints.values import Places, load_weight, values_of
from minidl.common import random
from minidl.data.loader import DataLoader
from minidl.layers.layer import Layer

State = Mapping[str, Any]
COUNTS = ("epoch", "batches", "updates")


class Part(Protocol):
    """What a snapshot is made of: each part gives its state, and takes one up or raises."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> None: ...


class Trained(Protocol):
    """What is looked at of a Trainer."""

    model: Any
    optimizer: Any
    loss: Any
    metrics: Any
    callbacks: Any
    history: Any
    run: Any
    ranks: Any
    _looping: bool
    _settings: Any


def layers_of(trainer: Trained) -> list[Layer]:
    return trainer.model.sublayers() if isinstance(trainer.model, Layer) else []


def parameters_of(trainer: Trained) -> list[Variable]:
    """The model's parameters and those that only the optimizer knows."""
    own = trainer.model.parameters() if isinstance(trainer.model, Layer) else []
    return list(dict.fromkeys([*own, *trainer.optimizer.params]))


def hooks_of(trainer: Trained) -> list[Any]:
    """The optimizer's hooks without the one that only distributed trainers have."""
    from minidl.distributed import AllReduce

    hooks = getattr(trainer.optimizer, "hooks", [])
    return [hook for hook in hooks if not isinstance(hook, AllReduce)]


def find_carriers(trainer: Trained) -> Carriers:
    """All that hangs on the trainer's parts and holds a state."""
    generator, run = random.generator(), trainer.run
    known = [trainer, trainer.optimizer, trainer.ranks, generator, *parameters_of(trainer)]
    known += [] if run is None else [run, run.loader]
    known += [c.trainer for c in trainer.callbacks if hasattr(c, "trainer")]  # its latest one
    walk = Walk(known, layers_of(trainer))
    for path, value in _roots(trainer).items():
        walk.visit(path, value)
    if run is not None and type(run.loader) is not DataLoader:
        walk.visit_attributes("data", run.loader, vars(DataLoader([0], shuffle=False)))
    for i, callback in enumerate(trainer.callbacks):
        depth = Depth.TRUSTED if saves_itself(callback) else Depth.LOOK
        walk.visit(f"callbacks.{i}", callback, depth)
    found = walk.finish()
    found.facts["hooks"] = ", ".join(type(hook).__name__ for hook in hooks_of(trainer))
    found.generators = {"minidl": generator, **found.generators}
    return found


def _roots(trainer: Trained) -> dict[str, Any]:
    """Where the search for state begins, by path."""
    roots = {"model": trainer.model, "loss": trainer.loss}
    roots |= {f"metrics.{name}": metric for name, metric in trainer.metrics.items()}
    if callable(trainer.optimizer.lr):
        roots["schedule"] = trainer.optimizer.lr
    return roots | {f"hooks.{i}": hook for i, hook in enumerate(hooks_of(trainer))}


def saves_itself(callback: Any) -> bool:
    """Whether a callback says what a checkpoint keeps of it: minidl's own do, or need nothing."""
    return type(callback).state_dict.__module__ != "minidl.training.callbacks" or bool(
        callback.state_dict()
    )


def parts_of(
    trainer: Trained, exact: bool = False, given: Mapping[str, str] | None = None
) -> dict[str, Part]:
    """The trainer's parts by name, in the order in which they are put back."""
    found, settings = find_carriers(trainer), given or {}
    shared = {} if trainer._settings is None else trainer._settings.shared
    return {
        "model": ModelPart(trainer, found, exact, settings),
        "optimizer": OptimizerPart(trainer, settings),
        "parts": StatefulParts(found),
        "objects": ObjectsPart(trainer, found, settings, shared),
        "generators": GeneratorsPart(found),
        "run": RunPart(trainer),
        "callbacks": CallbacksPart(trainer.callbacks),
    }


class ModelPart:
    """The parameters of the model and of the optimizer, which of them are trained, and what layers hold besides.

    An ``exact`` part loses, when a state is loaded, attributes that the state lacks; ``given`` are settings that stay
    as they are unless training had changed them.
    """

    def __init__(
        self, trainer: Trained, found: Carriers, exact: bool = False, given: State | None = None
    ) -> None:
        self.model, self.exact, self.given = trainer.model, exact, given or {}
        self.layers, self.parameters = layers_of(trainer), parameters_of(trainer)
        own = set(self.model.parameters()) if isinstance(self.model, Layer) else set()
        self.others = [p for p in self.parameters if p not in own]
        self.prefixes = found.prefixes
        self.places = [Places(slots, found.namespaces, self.model) for slots in found.layers]

    def state_dict(self) -> dict[str, Any]:
        layers = zip(self.layers, self.places, self.prefixes)
        return {
            "parameters": self._weights(),
            "others": [None if p.lazy else p.data.copy() for p in self.others],
            "trained": [p.requires_grad for p in self.parameters],
            "layers": [
                {"type": type(layer).__name__, "state": values_of(places.slots, len(prefix))}
                for layer, places, prefix in layers
            ],
        }

    def _weights(self) -> dict[str, Any]:
        """The model's state; while some parameters have no data, None for these."""
        if not isinstance(self.model, Layer):
            return {}
        if not any(p.lazy for p in self.parameters):
            return self.model.state_dict()
        named = self.model.named_parameters()
        return {name: None if p.lazy else p.data.copy() for name, p in named}

    def load_state_dict(self, state: State) -> None:
        self.check(state)
        self._load_weights(state["parameters"])
        for p, value in zip(self.others, state["others"]):
            load_weight(p, value)
        for p, trained in zip(self.parameters, state["trained"]):
            if p.requires_grad != trained:
                p.requires_grad = trained
        for places, values in self._values(state):
            places.load(values, self.given)
            extra = [slot for path, slot in places.slots.items() if path not in values]
            for slot in extra if self.exact else []:
                slot.delete()

    def _load_weights(self, weights: State) -> None:
        if not isinstance(self.model, Layer):
            return
        if any(value is None for value in weights.values()):
            for name, p in self.model.named_parameters():
                load_weight(p, weights[name])
        else:
            self.model.load_state_dict(weights)

    def _values(self, state: State) -> Iterator[tuple[Places, dict[str, Any]]]:
        """The places of each layer, and a state's values by path."""
        for places, prefix, saved in zip(self.places, self.prefixes, state["layers"]):
            yield places, {f"{prefix}{name}": value for name, value in saved["state"].items()}

    def check(self, state: State) -> None:
        """Raise ValueError if a state is of another model."""
        got = [layer["type"] for layer in state["layers"]], [shape_of(v) for v in state["others"]]
        want = [type(layer).__name__ for layer in self.layers], [shape_of(p) for p in self.others]
        if got != want:
            raise ValueError(f"the parameters or layers are others: got {got}, want {want}")
        trained = state["trained"]
        if len(trained) != len(self.parameters) or not all(isinstance(b, bool) for b in trained):
            raise ValueError(f"which parameters are trained: got {trained}")
        for places, values in self._values(state):
            places.check(values)


def shape_of(value: Any) -> Any:
    """Shape and dtype of an array or a parameter; None for one without data."""
    if value is None or getattr(value, "lazy", False):
        return None
    return value.shape, value.dtype


def model_part(trainer: Trained) -> ModelPart:
    """The part of a trainer that evaluation depends on."""
    return ModelPart(trainer, Walk(parameters_of(trainer), layers_of(trainer)).found)


class OptimizerPart:
    """The optimizer's state and rate."""

    def __init__(self, trainer: Trained, given: State | None = None) -> None:
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
        optimizer = self.optimizer
        if callable(optimizer.lr):
            what = f"the schedule's rate for update {optimizer.t}"
            expect(what, state["rate"]["next"], optimizer.current_lr)


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
    """Plain values held by functions and by objects that are no layers; ``shared`` ones if they are others by now."""

    def __init__(self, trainer: Trained, found: Carriers, given: State, shared: State) -> None:
        self.places = Places(found.objects, found.namespaces, trainer.model)
        self.given, self.shared = given, shared

    def state_dict(self) -> dict[str, Any]:
        slots = self.places.slots
        now = {path: sum_of(slot.value) for path, slot in slots.items() if slot.shared}
        same = {path for path, text in now.items() if self.shared.get(path) == text}
        return values_of({path: slot for path, slot in slots.items() if path not in same})

    def load_state_dict(self, state: State) -> None:
        self.places.check(state)
        self.places.load(state, self.given)


def sum_of(value: Any) -> int:
    """A checksum of a plain value."""
    import zlib

    text = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    return zlib.crc32(text)


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
        want = {path: s["bit_generator"] for path, s in self.state_dict().items()}
        expect("the random generators", got, want)


class CallbacksPart:
    """The states of those callbacks that have one, each with what tells the callback from others of its type."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self.callbacks = list(callbacks)

    def state_dict(self) -> list[dict[str, Any]]:
        states = [(callback, callback.state_dict()) for callback in self.callbacks]
        return [
            {"type": type(callback).__name__, "settings": settings_of(callback), "state": state}
            for callback, state in states
            if state
        ]

    def load_state_dict(self, state: list[State]) -> None:
        for callback, saved in self.match(state):
            callback.load_state_dict(saved["state"])

    def match(self, states: list[State]) -> list[tuple[Any, State]]:
        """Each state with its callback: of the same type and settings, or else the only one left of its type."""
        left, pairs, rest = list(self.callbacks), list[tuple[Any, State]](), list[State]()
        for saved in states:
            same = [c for c in _alike(left, saved) if settings_of(c) == saved["settings"]]
            if same:
                pairs.append((_remove(left, same[0]), saved))
            else:
                rest.append(saved)
        for saved in rest:
            others = _alike(left, saved)
            if len(others) != 1:
                what = f"several others {others}" if others else "which is not among this one's"
                kind, settings = saved["type"], saved["settings"]
                raise ValueError(f"it has the state of a callback {kind} with {settings}, {what}")
            pairs.append((_remove(left, others[0]), saved))
        return pairs


def _alike(callbacks: list[Any], saved: State) -> list[Any]:
    return [callback for callback in callbacks if type(callback).__name__ == saved["type"]]


def _remove(callbacks: list[Any], callback: Any) -> Any:
    return callbacks.pop(next(i for i, other in enumerate(callbacks) if other is callback))


class RunPart:
    """How far the fit in progress, or the latest, is; None without one."""

    def __init__(self, trainer: Trained) -> None:
        self.run = trainer.run

    def state_dict(self) -> dict[str, Any] | None:
        return None if self.run is None else self.run.state_dict()

    def load_state_dict(self, state: State | None) -> None:
        if state is not None:
            check_run(state)
        if self.run is not None and state is not None:
            self.run.check(state)
            self.run.load_state_dict(state)


def check_run(state: State) -> None:
    """Raise ValueError for a place in a run that cannot be."""
    means, given = state["means"], state["loader"]["given"]
    for name in COUNTS:
        expect_count(name, state[name])
    expect_count("samples", means["samples"])
    if not is_number(state["rate"]) or not 0 <= state["rate"] < math.inf:
        raise ValueError(f"rate: got {state['rate']!r}, want a number of at least 0")
    if not all(map(is_number, means["sums"].values())):
        raise ValueError(f"means: got {means['sums']}, want numbers")
    expect("batches of the loader", given or 0, state["batches"])


# ---- checks --------------------------------------------------------------------------------------------


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def expect(what: str, got: Any, want: Any) -> None:
    """Raise ValueError for a value that is another one."""
    if got != want:
        raise ValueError(f"{what}: got {got}, want {want}")


def expect_count(what: str, value: Any) -> None:
    """Raise ValueError for what is no whole number of at least 0."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim or not 0 <= value < 2**53:
        raise ValueError(f"{what}: got {value!r}, want a whole number of at least 0")
