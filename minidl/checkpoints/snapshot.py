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
    GeneratorsPart,
    OptimizerPart,
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
    refuse_unheld,
    tell,
)

__all__ = [
    "Refused",
    "Settings",
    "broadcast_state",
    "callback_states",
    "capture",
    "model_part",
    "restore",
    "restoring",
]

State = Mapping[str, Any]


class Refused(ValueError):
    """A checkpoint that a trainer cannot take; nothing was changed."""


def states_of(trainer: Trained) -> dict[str, Any]:
    """The states of the trainer's parts by name."""
    return {name: part.state_dict() for name, part in parts_of(trainer).items()}


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
    refuse_unheld(trainer, carriers)
    tree = states_of(trainer)
    tree["settings"] = facts_of(trainer, carriers)
    if trainer._settings is not None:
        tree["settings"] = trainer._settings.first
    tree["callback_types"] = [type(callback).__name__ for callback in trainer.callbacks]
    tree["history"] = []
    tree["data"] = []
    run = trainer.run
    if run is not None:
        tree["history"] += map(dict, trainer.history.rows)
        tree["data"] += fingerprint(run.loader)
        tree |= run.cut or {}
    return tree


def restore(
    trainer: Trained, tree: State, where: str, before: State | None = None
) -> dict[str, Any]:
    """Put back what ``capture`` gave, but the history; return what there was before.

    A fit does it twice: when callbacks have begun, it gives what there was ``before``, and they get
    their states.

    Raises Refused, and nothing is changed, if the checkpoint is of another model, optimizer or
    data, or makes no sense. Other settings are told by a warning.
    """
    begun = before is not None
    old = states_of(trainer) if before is None else before
    try:
        told = check(trainer, tree)
        given = None if trainer._settings is None else trainer._settings.given
        load(trainer, tree, begun, given=given)
        OptimizerPart(trainer).check_rate(tree["optimizer"])
        if told and not begun:
            tell(where, told)
    except BaseException as error:
        load(trainer, old, begun, exact=True)
        if isinstance(error, Warning) or not isinstance(error, Exception):
            raise
        why = f"it makes no sense: {error!r}"
        if isinstance(error, ValueError):
            why = str(error)
        raise Refused(f"{where}: it is of another trainer: {why}") from error
    return dict(old)


def load(
    trainer: Trained,
    states: State,
    callbacks: bool,
    exact: bool = False,
    given: Mapping[str, str] | None = None,
) -> None:
    """Let each part take up its state, the callbacks only if asked to."""
    for name, part in parts_of(trainer, exact, given).items():
        if callbacks or name != "callbacks":
            part.load_state_dict(states[name])


def check(trainer: Trained, tree: State) -> list[str]:
    """Raise if a checkpoint is of another trainer or makes no sense; return what else is other."""
    rows = tree["history"]
    for row in rows:
        figures = row.values() if isinstance(row, dict) else [None]
        if not all(map(is_number, figures)):
            raise ValueError(f"a row of its history is {row!r}")
    generators = GeneratorsPart(find_carriers(trainer))
    generators.check(tree["generators"])
    if tree["run"] is not None:
        epoch = tree["run"]["epoch"]
        if len(rows) not in (epoch, epoch + 1):
            expect("rows of history", len(rows), epoch)
    if trainer.run is None or trainer._settings is None:  # it is not to go on with a fit
        return []
    return differences(trainer, tree)


@contextmanager
def restoring(trainer: Trained, runner: Any, loader: Any, drawn: Any) -> Iterator[None]:
    """Put everything back at the end, minidl's generator to ``drawn``.

    Parameters without data are without it again.
    """
    lazy = initialize_lazy(trainer, runner, loader)
    run = trainer.run
    trainer.run = None
    before = states_of(trainer)
    before["generators"]["minidl"] = drawn
    trainer.run = run
    try:
        yield
    finally:
        trainer.run = None
        load(trainer, before, callbacks=False, exact=True)
        trainer.run = run
        for p, name in lazy:
            p._raw = None
            p.name = name


def initialize_lazy(trainer: Trained, runner: Any, loader: Any) -> list[tuple[Any, str | None]]:
    """Give parameters without data theirs, by a batch; return them with their names until then."""
    lazy = [(p, p.name) for p in parameters_of(trainer) if p.lazy]
    if lazy:
        samples, *_ = loader.arrays
        with runner.evaluation("fit", loader.in_order()):
            runner.forward(samples[: loader.batch_size])
    return lazy


def broadcast_state(trainer: Trained, runner: Any, run: Any) -> None:
    """Broadcast rank 0's state to all ranks; each then draws its own random numbers."""
    if not run.distributed:
        return
    if runner.stateful and not run.fresh:
        raise ValueError(
            "fit: resume: within an epoch, the states that a stateful model carried are one "
            "rank's only"
        )
    initialize_lazy(trainer, runner, run.loader)
    shared = trainer.ranks.share(lambda: states_of(trainer))
    load(trainer, shared, callbacks=False)
    rank = trainer.ranks.rank
    if rank:  # in the first one they stay those of a single process
        generators = find_carriers(trainer).generators
        for name, generator in generators.items():
            bits: Any = getattr(generator, "bit_generator", None)
            own = name.startswith(("minidl", "model"))
            if own and hasattr(bits, "jumped"):
                bits.state = bits.jumped(rank).state
    trainer.ranks.begin(run)
