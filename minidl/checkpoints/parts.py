"""Parts: what a trainer consists of, each with a state_dict() and a load_state_dict(state) that
refuses others' states.

What is found in users' objects comes from `carriers.py`; snapshots of all parts are in
`snapshot.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from minidl.autograd.variable import Variable
from minidl.checkpoints.carriers import Carriers, Depth, Walk
from minidl.checkpoints.describe import settings_of
from minidl.checkpoints.generators import generator_state, load_generator_state
from minidl.checkpoints.values import Places, load_weight, values_of
from minidl.common import random
from minidl.data.loader import DataLoader
from minidl.layers.layer import Layer
from minidl.layers.normalization import Normalization
from minidl.layers.values import held_by

State = Mapping[str, Any]


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
    scale_targets: bool
    scaling: Any
    history: Any
    _run: Any
    ranks: Any
    _own: ClassVar[Sequence[str]]
    _looping: bool
    _start: Any

    @property
    def _owns_loss_of(self) -> bool: ...

    def loss_of(self, batch: Any) -> Any: ...


def layers_of(trainer: Trained) -> list[Layer]:
    return trainer.model.sublayers() if isinstance(trainer.model, Layer) else []


def parameters_of(trainer: Trained) -> list[Variable]:
    """The model's parameters and those that only the optimizer knows."""
    own: list[Variable] = []
    if isinstance(trainer.model, Layer):
        own += trainer.model.parameters()
    every = dict.fromkeys([*own, *trainer.optimizer.params])
    return list(every)


def hooks_of(trainer: Trained) -> list[Any]:
    """The optimizer's hooks without the one that only distributed trainers have."""
    from minidl.distributed import AllReduce

    hooks = getattr(trainer.optimizer, "hooks", [])
    return [hook for hook in hooks if not isinstance(hook, AllReduce)]


def schedules_of(optimizer: Any) -> dict[str, Any]:
    """The rates that are functions, of the optimizer and of its groups, by path."""
    rates = {"schedule": optimizer.lr}
    for k, group in enumerate(getattr(optimizer, "groups", ())):
        rates[f"groups.{k}.schedule"] = group.settings.get("lr")
    return {path: rate for path, rate in rates.items() if callable(rate)}


def find_carriers(trainer: Trained) -> Carriers:
    """All that hangs on the trainer's parts and holds a state."""
    walk = Walk(_known(trainer), layers_of(trainer))
    for path, value in _roots(trainer).items():
        walk.visit(path, value)
    walk.visit_attributes("trainer", trainer, known=trainer._own)  # of a subclass
    if trainer._run is not None:
        _visit_data(walk, trainer._run.data.source)
    for i, callback in enumerate(trainer.callbacks):
        own = saves_itself(callback)
        depth = Depth.TRUSTED if own else Depth.LOOK
        walk.visit(f"callbacks.{i}", callback, depth)
    carriers = walk.finish()
    names = [type(hook).__name__ for hook in hooks_of(trainer)]
    carriers.facts["hooks"] = ", ".join(names)
    flags = [p.requires_grad for p in parameters_of(trainer)]
    frozen = _frozen(trainer.model, flags)
    if frozen:
        carriers.facts["frozen"] = frozen
    generator = random.generator()
    carriers.generators = {"minidl": generator, **carriers.generators}
    return carriers


def _visit_data(walk: Walk, source: Any) -> None:
    """Look at the attributes of a user's own DataLoader, and for generators in other data."""
    if not isinstance(source, DataLoader):
        walk.visit("data", source, Depth.TRUSTED)
    elif type(source) is not DataLoader:
        plain = DataLoader([0], shuffle=False)
        walk.visit_attributes("data", source, known=vars(plain))


def _frozen(model: Any, trained: list[bool]) -> str:
    """The names of a model's parameters that are not trained."""
    if not isinstance(model, Layer):
        return ""
    names = [name for name, _ in model.named_parameters()]
    frozen = [name for name, is_trained in zip(names, trained) if not is_trained]
    return ", ".join(frozen)


def _known(trainer: Trained) -> list[Any]:
    """What is saved by itself, or is no state of the run."""
    known = [trainer, trainer.optimizer, trainer.ranks, random.generator()]
    known += parameters_of(trainer)
    if trainer._run is not None:
        known.append(trainer._run)
    for callback in trainer.callbacks:
        if hasattr(callback, "trainer"):  # its latest
            known.append(callback.trainer)
    return known


def _roots(trainer: Trained) -> dict[str, Any]:
    """Where the search for state begins, by path."""
    roots = {"model": trainer.model, "loss": trainer.loss}
    if not trainer._owns_loss_of:
        roots["loss_of"] = trainer.loss_of
    for name, metric in trainer.metrics.items():
        roots[f"metrics.{name}"] = metric
    roots |= schedules_of(trainer.optimizer)
    for i, hook in enumerate(hooks_of(trainer)):
        roots[f"hooks.{i}"] = hook
    return roots


def saves_itself(callback: Any) -> bool:
    """Whether a callback says what a checkpoint keeps of it: minidl's own do, or need nothing."""
    return type(callback).state_dict.__module__ != "minidl.training.callbacks" or bool(
        callback.state_dict()
    )


def parts_of(
    trainer: Trained,
    carriers: Carriers,
    given: State | None = None,
    shared: State | None = None,
    exact: bool = False,
) -> dict[str, Part]:
    """The trainer's parts by name, in the order in which they are put back.

    ``given`` are settings that stay as they are unless training had changed them; of the ``shared``
    values, by path, only those that have changed are state.
    """
    settings = {} if given is None else given
    return {
        "model": ModelPart(trainer, carriers, settings, exact),
        "optimizer": OptimizerPart(trainer, settings),
        "objects": ObjectsPart(trainer, carriers, settings, shared or {}),
        "parts": StatefulParts(carriers),  # of which an optimizer wants its parameters to have data
        "generators": GeneratorsPart(carriers),
        "scaling": ScalingPart(trainer),
        "run": trainer._run or NoRun(),
        "callbacks": CallbacksPart(trainer.callbacks),
    }


class ModelPart:
    """The parameters of the model and of the optimizer, which of them are trained, and what layers
    hold besides.

    An ``exact`` part loses, when a state is loaded, attributes that the state lacks.
    """

    def __init__(
        self, trainer: Trained, carriers: Carriers, given: State, exact: bool = False
    ) -> None:
        self.model = trainer.model
        self.exact = exact
        self.given = given
        self.layers = layers_of(trainer)
        self.parameters = parameters_of(trainer)
        own = self.model.parameters() if isinstance(self.model, Layer) else []
        self.others = self.parameters[len(own) :]
        self.places = Places(carriers.layers, carriers.namespaces, self.model)

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self._weights(),
            "others": [data_of(p) for p in self.others],
            "trained": [p.requires_grad for p in self.parameters],
            "layers": [type(layer).__name__ for layer in self.layers],
            "values": values_of(self.places.slots),
        }

    def _weights(self) -> dict[str, Any]:
        """The model's state, with None for what has no data yet."""
        if not isinstance(self.model, Layer):
            return {}
        return {name: data_of(held) for name, held in held_by(self.model).items()}

    def load_state_dict(self, state: State) -> None:
        self.check(state)
        self._load_weights(state["parameters"])
        others = zip(self.others, state["others"])
        for p, value in others:
            load_weight(p, value)
        if self.given.get("frozen") != _frozen(self.model, state["trained"]):
            self._load_flags(state["trained"])
        self.places.load(state["values"], self.given)
        if self.exact:
            self.places.remove_all_but(state["values"])

    def _load_flags(self, flags: list[bool]) -> None:
        pairs = zip(self.parameters, flags)
        for p, trained in pairs:
            if p.requires_grad != trained:
                p.requires_grad = trained

    def _load_weights(self, weights: State) -> None:
        if not isinstance(self.model, Layer):
            return
        missing = [value is None for value in weights.values()]
        if any(missing):
            for name, held in held_by(self.model).items():
                load_weight(held, weights[name])
        else:
            self.model.load_state_dict(weights)

    def check(self, state: State) -> None:
        """Raise ValueError if a state is of another model."""
        what = "the parameters or layers are others"
        expect(what, state["layers"], [type(layer).__name__ for layer in self.layers])
        shapes = [shape_of(value) for value in state["others"]]
        own = [shape_of(p) for p in self.others]
        expect(what, shapes, own)
        flags = [type(flag) for flag in state["trained"]]
        want = [bool] * len(self.parameters)
        expect("which parameters are trained", flags, want)
        self.places.check(state["values"])


def data_of(p: Any) -> Any:
    """A copy of the data of a parameter or buffer; None while it has none."""
    return None if p.lazy else p.data.copy()


def shape_of(value: Any) -> Any:
    """Shape and dtype of an array or a parameter; None for one without data."""
    if value is None or getattr(value, "lazy", False):
        return None
    return value.shape, value.dtype


def model_part(trainer: Trained) -> ModelPart:
    """The part of a trainer that evaluation depends on."""
    carriers = Walk(parameters_of(trainer), layers_of(trainer)).carriers
    return ModelPart(trainer, carriers, given={})


class OptimizerPart:
    """The optimizer's state and rate."""

    def __init__(self, trainer: Trained, given: State) -> None:
        self.optimizer = trainer.optimizer
        self.given = given

    def state_dict(self) -> dict[str, Any]:
        lr = self.optimizer.lr
        value = None if callable(lr) else lr
        return {
            "type": type(self.optimizer).__name__,
            "state": self.optimizer.state_dict(),
            "rate": {"value": value, "next": self.optimizer.current_lr},
        }

    def load_state_dict(self, state: State) -> None:
        optimizer = self.optimizer
        rate = state["rate"]["value"]
        expect("the optimizer", state["type"], type(optimizer).__name__)
        expect("whether the rate is a schedule", rate is None, callable(optimizer.lr))
        for name, value in state["state"].items():
            if name.rpartition(".")[2] == "t":
                expect_count(f"the optimizer's {name}", value)
        optimizer.load_state_dict(state["state"])
        unchanged = self.given.get("optimizer.lr") == repr(rate)
        if rate is not None and not unchanged:
            optimizer.lr = rate

    def check_rate(self, state: State) -> None:
        """Raise ValueError if the schedule, which may have a state of its own, goes on with another
        rate.
        """
        optimizer = self.optimizer
        if callable(optimizer.lr):
            what = f"the schedule's rate for update {optimizer.t}"
            expect(what, state["rate"]["next"], optimizer.current_lr)


class StatefulParts:
    """Objects that have a state_dict() of their own, such as a schedule or a hook, by path."""

    def __init__(self, carriers: Carriers) -> None:
        self.parts = carriers.parts

    def state_dict(self) -> dict[str, Any]:
        return {path: part.state_dict() for path, part in self.parts.items()}

    def load_state_dict(self, state: State) -> None:
        expect("the schedule, hooks or objects with a state", list(state), list(self.parts))
        for path, part in self.parts.items():
            part.load_state_dict(state[path])


class ObjectsPart:
    """Plain values held by functions and by objects that are no layers.

    Of the ``shared`` ones those that have changed.
    """

    def __init__(self, trainer: Trained, carriers: Carriers, given: State, shared: State) -> None:
        self.places = Places(carriers.objects, carriers.namespaces, trainer.model)
        self.given = given
        self.shared = shared

    def state_dict(self) -> dict[str, Any]:
        slots = dict(self.places.slots)
        for path, slot in self.places.slots.items():
            if slot.shared and self.shared.get(path) == sum_of(slot.value):
                del slots[path]
        return values_of(slots)

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

    def __init__(self, carriers: Carriers) -> None:
        self.generators = carriers.generators

    def state_dict(self) -> dict[str, Any]:
        return {path: generator_state(g) for path, g in self.generators.items()}

    def load_state_dict(self, state: State) -> None:
        self.check(state)
        for path, generator in self.generators.items():
            load_generator_state(generator, state[path])

    def check(self, state: State) -> None:
        """Raise ValueError if the generators are not the same."""
        expect("the random generators", _kinds(state), _kinds(self.state_dict()))


def _kinds(states: State) -> dict[str, str]:
    return {path: state["bit_generator"] for path, state in states.items()}


class CallbacksPart:
    """The states of those callbacks that have one, each with what tells the callback from others of
    its type.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self.callbacks = list(callbacks)

    def state_dict(self) -> list[dict[str, Any]]:
        states = []
        for callback in self.callbacks:
            state = callback.state_dict()
            if state:
                kind = type(callback).__name__
                settings = settings_of(callback)
                states.append({"type": kind, "settings": settings, "state": state})
        return states

    def load_state_dict(self, state: list[State]) -> None:
        for callback, saved in self.match(state):
            callback.load_state_dict(saved["state"])

    def match(self, states: list[State]) -> list[tuple[Any, State]]:
        """Each state with its callback.

        Of the same type and settings, or else the only one left of its type.
        """
        left = list(self.callbacks)
        pairs: list[tuple[Any, State]] = []
        for exactly in (True, False):
            rest: list[State] = []
            for saved in states:
                fitting = [callback for callback in left if _fits(callback, saved, exactly)]
                if fitting and (exactly or len(fitting) == 1):
                    left = [callback for callback in left if callback is not fitting[0]]
                    pairs.append((fitting[0], saved))
                elif exactly:
                    rest.append(saved)
                else:
                    what = "of several others" if fitting else "which is not among this one's"
                    which = f"{saved['type']} with {saved['settings']}"
                    raise ValueError(f"it has the state of a callback {which}, {what}")
            states = rest
        return pairs


def _fits(callback: Any, saved: State, exactly: bool) -> bool:
    """Whether a state may be a callback's: of its type, and ``exactly`` of its settings too."""
    same = not exactly or settings_of(callback) == saved["settings"]
    return type(callback).__name__ == saved["type"] and same


class ScalingPart:
    """What a trainer has learned of its targets; nothing before it has, None if it never does."""

    def __init__(self, trainer: Trained) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any] | None:
        if not self.trainer.scale_targets:
            return None
        scaling = self.trainer.scaling
        return {} if scaling is None else scaling.state_dict()

    def load_state_dict(self, state: State | None) -> None:
        expect("whether targets are scaled", state is not None, self.trainer.scale_targets)
        self.trainer.scaling = None
        if state:
            scaling = Normalization()
            scaling.load_state_dict(state)
            self.trainer.scaling = scaling


class NoRun:
    """In place of a run, where no fit was begun or is to be gone on with."""

    def state_dict(self) -> None:
        return None

    def load_state_dict(self, state: Any) -> None:
        """A place in a run is of no use."""


# ---- checks --------------------------------------------------------------------------------------


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def expect(what: str, got: Any, want: Any) -> None:
    """Raise ValueError for a value that is another one."""
    if got != want:
        raise ValueError(f"{what}: got {got}, want {want}")


def expect_count(what: str, value: Any) -> None:
    """Raise ValueError for what is no whole number of at least 0."""
    array = np.asarray(value)
    kind = array.dtype.kind
    whole = kind in "iu" and array.ndim == 0
    if not whole or not 0 <= value < 2**53:
        raise ValueError(f"{what}: got {value!r}, want a whole number of at least 0")
