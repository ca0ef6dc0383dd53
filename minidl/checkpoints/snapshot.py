"""Snapshots: all that a training run depends on, taken from a Trainer's parts and put back into
them.

What the parts are is in `parts.py`; files are `file.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minidl.checkpoints.parts import (
    CallbacksPart,
    Part,
    Trained,
    expect,
    find_carriers,
    is_number,
    model_part,
    parameters_of,
    parts_of,
)
from minidl.checkpoints.settings import (
    Settings,
    differences,
    facts_of,
    fingerprint,
    is_plain,
    refuse_unheld,
    tell,
)

__all__ = [
    "Refused",
    "Start",
    "broadcast_state",
    "callback_states",
    "capture",
    "is_plain",
    "model_part",
    "restoring",
]

State = Mapping[str, Any]


class Refused(ValueError):
    """A checkpoint that a trainer cannot take; nothing was changed."""


class Start:
    """A trainer as a fit begins: its settings, and its parts, which one walk has found."""

    def __init__(self, trainer: Trained, before: Start | None = None) -> None:
        carriers = find_carriers(trainer)
        self.trainer = trainer
        earlier = None if before is None else before.settings
        self.settings: Settings = Settings(trainer, carriers, earlier)
        self.parts: dict[str, Any] = {}
        self.parts |= parts_of(trainer, carriers, self.settings.given, self.settings.shared)
        self.states: dict[str, Any] = {}  # of before a checkpoint was put back

    def restore(self, tree: State, where: str) -> None:
        """Put back what ``capture`` gave, but the history and the callbacks' states.

        Raises Refused, and nothing is changed, if the checkpoint is of another model, optimizer or
        data, or makes no sense. Other settings are told by a warning.
        """
        self.states = states_of(self.parts)
        with self._refusing(where, callbacks=False):
            if self.trainer._run is None:
                tree = without_data(tree)
            self.parts["generators"].check(tree["generators"])
            told = check(self.trainer, self.settings, tree)
            self._load(tree)
            self.parts["optimizer"].check_rate(tree["optimizer"])
            if told:
                tell(where, told, resuming=self.trainer._run is not None)

    def restore_again(self, tree: State, where: str) -> None:
        """Put it back once more, and the callbacks' states, when these have begun."""
        with self._refusing(where, callbacks=True):
            self._load(tree)
            self.parts["callbacks"].load_state_dict(tree["callbacks"])

    def _load(self, tree: State) -> None:
        for name, part in self.parts.items():
            if name != "callbacks":
                part.load_state_dict(tree[name])

    @contextmanager
    def _refusing(self, where: str, callbacks: bool) -> Iterator[None]:
        """Put back what there was if anything fails, of the callbacks too if these have begun."""
        try:
            yield
        except BaseException as error:
            put_back(self.trainer, self.states, callbacks)
            if isinstance(error, Warning) or not isinstance(error, Exception):
                raise
            why = str(error) if isinstance(error, ValueError) else f"it makes no sense: {error!r}"
            raise Refused(f"{where}: it is of another trainer: {why}") from error


def states_of(parts: Mapping[str, Part]) -> dict[str, Any]:
    """The states of parts by name."""
    return {name: part.state_dict() for name, part in parts.items()}


def without_data(tree: State) -> State:
    """A snapshot without what it has of users' own data, which come with a fit."""
    kept = dict(tree)
    for name in ("generators", "parts", "objects"):
        kept[name] = {path: x for path, x in tree[name].items() if not path.startswith("data.")}
    return kept


def callback_states(trainer: Trained) -> list[dict[str, Any]]:
    """The states of those callbacks that have one."""
    return CallbacksPart(trainer.callbacks).state_dict()


def capture(trainer: Trained) -> dict[str, Any]:
    """All that the next batches depend on; copies.

    RuntimeError while a parameter has no data yet; TypeError, naming it, for an object whose state
    cannot be held.
    """
    for p in parameters_of(trainer):
        p.data  # noqa: B018 - it raises if there is none yet
    carriers = find_carriers(trainer)
    if trainer._start is None:  # the fit could be begun without looking: see `is_plain`
        trainer._start = Start(trainer)
    settings = trainer._start.settings
    facts = facts_of(trainer, carriers)
    refuse_unheld(trainer, carriers, facts, settings)
    settings.last = facts
    tree = states_of(parts_of(trainer, carriers, shared=settings.shared))
    tree["settings"] = settings.first
    tree["callback_types"] = [type(callback).__name__ for callback in trainer.callbacks]
    tree["history"] = []
    tree["data"] = []
    run = trainer._run
    if run is not None:
        tree["history"] += map(dict, trainer.history.rows)
        tree["data"] += fingerprint(run.data.source)
        tree |= run.cut or {}
    return tree


def check(trainer: Trained, settings: Settings, tree: State) -> list[str]:
    """Raise if a checkpoint is of another trainer or makes no sense; return what else is other."""
    rows = tree["history"]
    for row in rows:
        figures = row.values() if isinstance(row, dict) else [None]
        if not all(map(is_number, figures)):
            raise ValueError(f"a row of its history is {row!r}")
    if tree["run"] is not None:
        epoch = tree["run"]["epoch"]
        if len(rows) not in (epoch, epoch + 1):
            expect("rows of history", len(rows), epoch)
    return differences(trainer, settings, tree)


def put_back(trainer: Trained, states: State, callbacks: bool) -> None:
    """Give all parts the states that they had before, and take away what has been added."""
    parts = parts_of(trainer, find_carriers(trainer), exact=True)
    for name, part in parts.items():
        if callbacks or name != "callbacks":
            part.load_state_dict(states[name])


@contextmanager
def restoring(trainer: Trained, drawn: Any) -> Iterator[None]:
    """Put everything back at the end, minidl's generator to ``drawn``.

    Parameters without data are without it again.
    """
    run = trainer._run
    trainer._run = None
    before = states_of(parts_of(trainer, find_carriers(trainer)))
    before["generators"]["minidl"] = drawn
    trainer._run = run
    try:
        yield
    finally:
        trainer._run = None
        put_back(trainer, before, callbacks=False)
        trainer._run = run


def initialize_lazy(trainer: Trained, runner: Any, data: Any) -> None:
    """Give parameters without data theirs, by a batch."""
    if any(p.lazy for p in parameters_of(trainer)):
        batch = data.first()
        runner.evaluate(lambda: runner.run(trainer.loss_of, batch))


def broadcast_state(trainer: Trained, runner: Any, run: Any) -> None:
    """Broadcast rank 0's state to all ranks; each then draws its own random numbers."""
    if not run.distributed:
        return
    if runner.stateful and not run.fresh:
        raise ValueError(
            "fit: resume: within an epoch, the states that a stateful model carried are one "
            "rank's only"
        )
    initialize_lazy(trainer, runner, run.data)
    carriers = find_carriers(trainer)
    parts = parts_of(trainer, carriers)
    shared = trainer.ranks.share(lambda: states_of(parts))
    del parts["callbacks"]
    for name, part in parts.items():
        part.load_state_dict(shared[name])
    rank = trainer.ranks.rank
    if rank:  # in the first one they stay those of a single process
        for name, generator in carriers.generators.items():
            bits: Any = getattr(generator, "bit_generator", None)
            own = name.startswith(("minidl", "model"))
            if own and hasattr(bits, "jumped"):
                bits.state = bits.jumped(rank).state
    trainer.ranks.begin(run)
