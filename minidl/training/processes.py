"""The processes that train one model, as a Trainer sees them; here is the single one.

Many are in `distributed`.

Each method is called in all ranks alike, at the same points of a fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from minidl.distributed.ranks import MPIRanks
    from minidl.training.batches import Batches
    from minidl.training.run import Run, RunningMeans
    from minidl.training.trainer import Trainer

T = TypeVar("T")
Ranks: TypeAlias = "SingleProcess | MPIRanks"


class SingleProcess:
    """The one process of a Trainer that is not distributed: it agrees with itself.

    ``rank`` is who it is, of ``size``; the ``first`` one shows and writes.
    """

    rank = 0
    size = 1
    first = True

    def split(self, *data: Batches | None) -> None:
        """Let the data give this rank's part of each batch."""

    def begin(self, run: Run) -> None:
        """Note that a run goes on from here."""

    def share(self, what: Callable[[], T]) -> T:
        """What a function gives, or raises, in the first rank."""
        return what()

    def update(self, trainer: Trainer, run: Run | None, samples: float) -> None:
        """Update, from gradients that are means over so many samples here; sum the run's means."""
        trainer.optimizer.update()

    def ends(self, trainer: Trainer, run: Run) -> bool:
        """Whether the run ends after this update."""
        if run.over:
            trainer.stop = True
        return trainer.stop

    def agree(self, trainer: Trainer, run: Run) -> None:
        """Have the same answer to that, and the same signal, everywhere: between epochs."""
        trainer.stop |= run.over

    def any(self, flag: bool) -> bool:
        """Whether it is true in some rank."""
        return flag

    def total(self, means: RunningMeans, run: Run | None) -> None:
        """Sum means that in a run each rank has of its own part."""

    def leave(self) -> None:
        """Note that a fit is left, and how."""


def processes(distributed: Any, optimizer: Any) -> Ranks:
    """The ranks of a Trainer: False for one process, True for all of MPI's, or a communicator."""
    if distributed is False:
        return SingleProcess()
    from minidl.distributed.mpi import world
    from minidl.distributed.ranks import MPIRanks

    comm = world() if distributed is True else distributed
    return MPIRanks(comm, optimizer) if comm.Get_size() > 1 else SingleProcess()
