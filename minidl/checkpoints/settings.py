"""Settings: what a trainer was made with, compared with a checkpoint's, and what is said of it.

How they are described is in `describe.py`; what belongs to a trainer's state, in `parts.py`.
"""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from minidl.checkpoints.carriers import Carriers
from minidl.checkpoints.describe import difference, settings_of
from minidl.checkpoints.parts import CallbacksPart, Trained, find_carriers, sum_of
from minidl.common.arrays import host

SHARED = 2**20  # bytes of an array with a global name up to which it is watched
DATA = 2**26  # bytes of the samples that are looked at to tell data from other data
MOST = 10  # differences that a warning lists


def facts_of(trainer: Trained, found: Carriers) -> dict[str, str]:
    """What a trainer was made with, by path: the optimizer's settings, functions, types, numbers."""
    settings = settings_of(trainer.optimizer)
    settings.pop("hooks", None)
    optimizer = {f"optimizer.{name}": text for name, text in settings.items()}
    facts = {path: text for path, text in found.facts.items() if not path.startswith("callbacks.")}
    return optimizer | facts


class Settings:
    """What a trainer was made with, ``now`` as a fit begins; ``first``, when the training began that it goes on with.

    What the user has not changed since the ``before`` fit is what it was at first, whatever training made of it.
    """

    def __init__(self, trainer: Trained, before: Settings | None) -> None:
        found = find_carriers(trainer)
        self.now = self.first = self.last = facts_of(trainer, found)
        if before is not None:
            self.first = {
                path: before.first.get(path, text) if before.last.get(path) == text else text
                for path, text in self.now.items()
            }
        shared = {path: slot.value for path, slot in found.objects.items() if slot.shared}
        small = {path: v for path, v in shared.items() if getattr(v, "nbytes", 0) <= SHARED}
        self.shared = {path: sum_of(value) for path, value in small.items()}
        self.places = found.namespaces.keys() | found.generators.keys() | found.parts.keys()
        self.given: dict[str, str] = {}  # settings that are others here than in the checkpoint
        self.told: set[str] = set()  # what a warning was given of

    def end(self, trainer: Trained) -> None:
        """Note how the settings are when a fit is over."""
        self.last = facts_of(trainer, find_carriers(trainer))

    def compare(self, made: Mapping[str, str]) -> list[str]:
        """How the settings differ from those that a checkpoint was made with."""
        paths = [path for path in {**made, **self.first} if made.get(path) != self.first.get(path)]
        self.given = {path: made.get(path, "") for path in paths}
        return [difference(path, self.first.get(path), made.get(path)) for path in paths]


def differences(trainer: Trained, tree: Mapping[str, Any]) -> list[str]:
    """What is other in a trainer than in a checkpoint that it could go on from."""
    found: list[str] = trainer._settings.compare(tree["settings"])
    for callback, saved in CallbacksPart(trainer.callbacks).match(tree["callbacks"]):
        here, made = settings_of(callback), saved["settings"]
        names = [name for name in {**made, **here} if made.get(name) != here.get(name)]
        start = f"callbacks.{saved['type']}"
        found += [difference(f"{start}.{n}", here.get(n), made.get(n)) for n in names]
    if tree["run"] is not None and tree["data"] != fingerprint(trainer.run.loader):
        found.append("data: other values of the same shape")
    types = [type(callback).__name__ for callback in trainer.callbacks]
    added = Counter(types) - Counter(tree["callback_types"])
    return found + [f"callbacks: {name} is new" for name in added]


def tell(where: str, found: list[str]) -> None:
    """Warn of settings that are others than the checkpoint's."""
    more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
    warnings.warn(
        f"{where}: not all is as it was when it was saved: {'; '.join(found[:MOST] + more)}. What is given here is "
        "used, but numbers that training had changed go on from the checkpoint's",
        UserWarning,
        stacklevel=4,
    )


def refuse_unheld(trainer: Trained, found: Carriers) -> None:
    """Raise TypeError, naming it, if the next batches may depend on what a checkpoint cannot hold; warn if unsure."""
    settings, refused = trainer._settings, list(found.refused)
    if settings is not None and trainer._looping:
        refused += _changed(trainer, found, settings) + _new(found, settings)
    if refused:
        raise TypeError(
            f"Trainer.save: the next batches may depend on what a checkpoint cannot hold: {'; '.join(refused)}. Keep "
            "numbers, text, arrays, generators of random numbers and lists or dicts of these in layers, or give the "
            "object state_dict() and load_state_dict()"
        )
    told = set() if settings is None else settings.told
    new = [what for what in found.unknown if what not in told]
    told.update(new)
    if new:
        what = f"Trainer.save: what it holds is not saved: {'; '.join(new)}"
        warnings.warn(what, UserWarning, stacklevel=3)


def _changed(trainer: Trained, found: Carriers, settings: Settings) -> list[str]:
    """Settings that a fit has changed although no state holds them."""
    held = {*found.objects, *(path for slots in found.layers for path in slots), "optimizer.lr"}
    facts = {p: text for p, text in facts_of(trainer, found).items() if p not in held}
    before = {path: settings.now.get(path, text) for path, text in facts.items()}
    return [
        f"{path} was {before[path].partition('#')[0]} when the fit began"
        for path, text in facts.items()
        if before[path] != text
    ]


def _new(found: Carriers, settings: Settings) -> list[str]:
    """Objects with a state that a fresh trainer would not have."""
    held = [path for slots in (found.objects, *found.layers) for path in slots]
    owners = {path.rpartition(".")[0] for path in held} & found.namespaces.keys()
    owners |= found.generators.keys() | found.parts.keys()
    return [f"{path} is new since the fit began" for path in sorted(owners - settings.places)]


_FINGERPRINTS: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()


def fingerprint(loader: Any) -> list[int]:
    """A checksum of each of a loader's arrays, of evenly spaced samples of a large one."""
    if loader not in _FINGERPRINTS:
        _FINGERPRINTS[loader] = [_checksum(array) for array in getattr(loader, "arrays", ())]
    return _FINGERPRINTS[loader]


def _checksum(array: Any) -> int:
    rows = array[:: max(1, -(-array.nbytes // DATA))]
    return zlib.crc32(np.ascontiguousarray(host(rows)).tobytes())
