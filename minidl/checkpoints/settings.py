"""Settings: what a trainer was made with, compared with a checkpoint's, and what is said of it.

How they are described is in `describe.py`; what belongs to a trainer's state, in `parts.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from minidl.checkpoints.carriers import Carriers
from minidl.checkpoints.describe import alike, describe, describe_plain, difference, settings_of
from minidl.checkpoints.parts import (
    CallbacksPart,
    Trained,
    hooks_of,
    layers_of,
    schedules_of,
    sum_of,
)
from minidl.common.arrays import host
from minidl.common.callers import warn_user
from minidl.common.pytree import flatten
from minidl.data.loader import DataLoader
from minidl.layers.layer import Layer

Facts = Mapping[str, str]

SHARED = 2**20  # bytes of an array with a global name up to which it is watched
DATA = 2**26  # bytes of the samples that are looked at to tell data from other data
EMPTY = ("[]", "{}")  # what began empty is filled by a run, and no setting
LOADED = {"optimizer.lr", "frozen"}  # settings that are state, too
MOST = 10  # differences that a warning lists


def facts_of(trainer: Trained, carriers: Carriers) -> dict[str, str]:
    """What a trainer was made with, by path.

    The optimizer's settings, functions, types, numbers.
    """
    facts = dict(carriers.facts)
    for path in carriers.facts:
        if path.startswith("callbacks."):
            del facts[path]
    for name, text in settings_of(trainer.optimizer).items():
        if name != "hooks":
            facts[f"optimizer.{name}"] = text
    for k, group in enumerate(getattr(trainer.optimizer, "groups", ())):
        for name, value in group.settings.items():
            facts[f"optimizer.groups.{k}.{name}"] = describe_plain(value) or describe(value)
    return facts


def is_plain(trainer: Trained) -> bool:
    """Whether nobody's code but minidl's runs in a fit: then nobody saves in it, and training
    changes no setting, so that there is no need to look at these before it.
    """
    optimizer = trainer.optimizer
    if trainer.callbacks or schedules_of(optimizer) or hooks_of(trainer):
        return False
    if type(trainer.model).__call__ is not Layer.__call__:
        return False
    called = [optimizer, trainer.loss, *trainer.metrics.values()]
    for layer in layers_of(trainer):
        called.append(layer)
        for value in vars(layer).values():
            called += value if isinstance(value, list | tuple) else [value]
    return all(map(_is_minidls, called))


def _is_minidls(value: Any) -> bool:
    """Whether an object is minidl's or NumPy's own, or nothing that can be called."""
    kind = type(value)
    module = value.__module__ if kind is FunctionType else kind.__module__
    return not callable(value) or module.partition(".")[0] in ("minidl", "numpy")


class Settings:
    """What a trainer was made with, ``now`` as a fit begins; ``first``, when the training began
    that it goes on with; ``last``, when it was saved.

    What the user has not changed since the trainer was saved ``before`` is what it was at first,
    whatever training made of it.
    """

    def __init__(
        self, trainer: Trained, carriers: Carriers, before: Settings | None = None
    ) -> None:
        self.now = facts_of(trainer, carriers)
        self.last = self.now
        self.first = dict(self.now)
        for path, text in self.now.items():
            if before is not None and before.last.get(path) == text:
                self.first[path] = before.first.get(path, text)
        self.shared = checksums(carriers)
        self.places = places_of(carriers) | carriers.namespaces.keys()
        self.held = held_in(carriers) | LOADED
        self.given: dict[str, str] = {}  # settings that differ from the checkpoint's
        self.told: set[str] = set()  # what a warning has named


def checksums(carriers: Carriers) -> dict[str, int]:
    """Of the values that global names lead to, but of large arrays."""
    sums: dict[str, int] = {}
    for path, slot in carriers.objects.items():
        size = getattr(slot.value, "nbytes", 0)
        if slot.shared and size <= SHARED:
            sums[path] = sum_of(slot.value)
    return sums


def places_of(carriers: Carriers) -> set[str]:
    """The paths of generators and of objects that have a state of their own."""
    return carriers.generators.keys() | carriers.parts.keys()


def differences(trainer: Trained, settings: Settings, tree: Mapping[str, Any]) -> list[str]:
    """What is other in a trainer than in a checkpoint that it could go on from."""
    saved = tree["settings"]
    other = others(saved, settings.first)
    if trainer._run is None:  # Trainer.load puts back all values; the rest comes with a fit
        return [text for path, text in other.items() if path not in settings.held]
    settings.given |= {path: saved.get(path, "") for path in other}
    texts = [*other.values(), *_other_callbacks(trainer, tree)]
    data = fingerprint(trainer._run.data.source)
    if tree["run"] is not None and tree["data"] != data:
        texts.append("data: other values of the same shape")
    return texts


def _other_callbacks(trainer: Trained, tree: Mapping[str, Any]) -> list[str]:
    texts: list[str] = []
    for callback, saved in CallbacksPart(trainer.callbacks).match(tree["callbacks"]):
        other = others(saved["settings"], settings_of(callback), f"callbacks.{saved['type']}.")
        texts += other.values()
    types = [type(callback).__name__ for callback in trainer.callbacks]
    for name in tree["callback_types"]:
        if name in types:
            types.remove(name)
    return texts + [f"callbacks: {name} is new" for name in types]


def others(saved: Facts, here: Facts, start: str = "") -> dict[str, str]:
    """How the settings of a checkpoint are different here, by path."""
    texts = {}
    for path in {**saved, **here}:
        before = saved.get(path)
        now = here.get(path)
        if before not in EMPTY and not alike(now, before):
            texts[path] = difference(f"{start}{path}", now, before)
    return texts


def tell(where: str, texts: list[str], resuming: bool) -> None:
    """Warn of settings that differ from the checkpoint's."""
    some = texts[:MOST]
    if len(texts) > MOST:
        some.append(f"and {len(texts) - MOST} more")
    then = "That stays as it is given here"
    if resuming:
        then = (
            "What is given here is used, but numbers that training had changed go on from the "
            "checkpoint's"
        )
    warn_user(f"{where}: not all is as it was when it was saved: {'; '.join(some)}. {then}")


def refuse_unheld(trainer: Trained, carriers: Carriers, facts: Facts, settings: Settings) -> None:
    """Raise TypeError, naming it, if the next batches may depend on what a checkpoint cannot hold.

    Warn if unsure. The ``settings`` are those of the fit in progress, or of the latest.
    """
    refused = list(carriers.refused)
    if trainer._looping:
        refused += _changed(carriers, facts, settings)
        refused += _new(carriers, settings)
    if refused:
        raise TypeError(
            "Trainer.save: the next batches may depend on what a checkpoint cannot hold: "
            f"{'; '.join(refused)}. Keep numbers, text, arrays, generators of random numbers and "
            "lists or dicts of these in layers, or give the object state_dict() and "
            "load_state_dict()"
        )
    new = [what for what in carriers.unknown if what not in settings.told]
    settings.told.update(new)
    if new:
        what = f"Trainer.save: what it holds is not saved: {'; '.join(new)}"
        warn_user(what)


def _changed(carriers: Carriers, facts: Facts, settings: Settings) -> list[str]:
    """Settings that a fit has changed although no state holds them."""
    held = held_in(carriers) | LOADED
    changed = []
    for path, text in facts.items():
        before = settings.now.get(path, text)
        if before != text and path not in held:
            name, _, _ = before.partition("#")
            changed.append(f"{path} was {name} when the fit began")
    return changed


def _new(carriers: Carriers, settings: Settings) -> list[str]:
    """Objects with a state that a fresh trainer would not have."""
    places = places_of(carriers)
    for path in held_in(carriers):
        owner, _, _ = path.rpartition(".")
        if owner in carriers.namespaces:
            places.add(owner)
    new = sorted(places - settings.places)
    return [f"{path} is new since the fit began" for path in new]


def held_in(carriers: Carriers) -> set[str]:
    """The paths of all slots."""
    return carriers.objects.keys() | carriers.layers.keys()


_FINGERPRINTS: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()


def fingerprint(source: Any) -> list[int]:
    """A checksum of each of a loader's arrays, of evenly spaced samples of a large one."""
    if not isinstance(source, DataLoader):
        return []
    if source not in _FINGERPRINTS:
        arrays, _ = flatten(source.arrays)
        _FINGERPRINTS[source] = [_checksum(array) for array in arrays]
    return _FINGERPRINTS[source]


def _checksum(array: Any) -> int:
    step = max(1, -(-array.nbytes // DATA))
    rows = np.ascontiguousarray(host(array[::step]))
    return zlib.crc32(rows.tobytes())
