"""What the processes (ranks) of a Trainer agree on: one rank alone, or those of MPI.

When to agree is the Trainer's; averaging gradients is in allreduce.py, MPI itself in mpi.py. Which
samples are a rank's is the DataLoader's (``shard``).
"""

from __future__ import annotations

import atexit
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minidl.distributed.allreduce import AllReduce, check_equal, checksum
from minidl.distributed.mpi import world

T = TypeVar("T")


class Ranks(ABC):
    """The processes that train one model: ``rank`` is this one's number of ``size``."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this is the rank that shows progress and writes files."""
        return self.rank == 0

    @abstractmethod
    def split(self, *loaders: Any) -> None:
        """Let loaders give this rank's part of each batch."""

    @abstractmethod
    def begin(self, run: Any) -> None:
        """Note that a run goes on from here."""

    @abstractmethod
    def share(self, what: Callable[[], T]) -> T:
        """What a function gives, or raises, in the first rank."""

    @abstractmethod
    def update(self, trainer: Any, run: Any, samples: int) -> None:
        """Update, from gradients that are means over so many samples here; sum the run's means."""

    @abstractmethod
    def ends(self, trainer: Any, run: Any) -> bool:
        """Whether the run ends after this update."""

    @abstractmethod
    def agree(self, trainer: Any, run: Any) -> None:
        """Between epochs: have the same answer to that, and the same signal, in all ranks."""

    @abstractmethod
    def any(self, flag: bool) -> bool:
        """Whether it is true in some rank."""

    @abstractmethod
    def total(self, means: Any, run: Any) -> None:
        """Sum means that in a run each rank has of its own part."""

    @abstractmethod
    def left(self) -> None:
        """Note that a fit is left, and how."""


class SingleProcess(Ranks):
    """The one process of a Trainer that is not distributed: it agrees with itself."""

    rank = 0
    size = 1

    def split(self, *loaders: Any) -> None:
        pass

    def begin(self, run: Any) -> None:
        pass

    def share(self, what: Callable[[], T]) -> T:
        return what()

    def update(self, trainer: Any, run: Any, samples: int) -> None:
        trainer.optimizer.update()

    def ends(self, trainer: Any, run: Any) -> bool:
        trainer.stop |= run.over
        return bool(trainer.stop)

    def agree(self, trainer: Any, run: Any) -> None:
        trainer.stop |= run.over

    def any(self, flag: bool) -> bool:
        return flag

    def total(self, means: Any, run: Any) -> None:
        pass

    def left(self) -> None:
        pass


class MPIRanks(Ranks):
    """The processes of a Trainer that is distributed. Experimental."""

    def __init__(self, comm: Any, optimizer: Any) -> None:
        self.comm = comm
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        if not hasattr(optimizer, "hooks"):
            got = type(optimizer).__name__
            raise TypeError(f"Trainer: distributed needs an optimizer with hooks, got a {got}")
        given = [hook for hook in optimizer.hooks if isinstance(hook, AllReduce)]
        self.reduce = given[0] if given else AllReduce(comm)
        if not given:
            optimizer.hooks.insert(0, self.reduce)
        # What was decided at the last update, with the gradients of all.
        self._stop = False
        self._signal = False

    def split(self, *loaders: Any) -> None:
        for loader in filter(None, loaders):
            loader.shard = self.rank, self.size

    def begin(self, run: Any) -> None:
        self._means = run.means
        self._totals = {"": run.means.samples, **run.means.sums}  # what all ranks know already

    def share(self, what: Callable[[], T]) -> T:
        answer: Any = None
        if self.first:
            self.reduce.paused = True  # the others wait below
            try:
                answer = what(), None
            except Exception as error:
                answer = None, error
            finally:
                self.reduce.paused = False
        result, problem = self.comm.bcast(answer)
        if problem is not None:
            raise problem
        return result  # type: ignore[no-any-return]  # as mpi4py has no types

    def update(self, trainer: Any, run: Any, samples: int) -> None:
        self.reduce.samples = samples
        self.reduce.extra = []
        if run is None:  # a train_step
            trainer.optimizer.update()
            return
        means = run.means
        if means is not self._means:  # a new epoch
            self._means = means
            self._totals = {}
        now = {"": means.samples, **means.sums}
        new = [number - self._totals.get(name, 0) for name, number in now.items()]
        stop = trainer.stop or run.over
        self.reduce.extra = [stop, run.signalled is not None, *new]
        trainer.optimizer.update()
        stop, signal, *new = self.reduce.extra
        self._stop = stop > 0
        self._signal = signal > 0
        self._put(means, [self._totals.get(name, 0) + more for name, more in zip(now, new)])
        self.begin(run)

    def ends(self, trainer: Any, run: Any) -> bool:
        if self._signal:
            run.interrupted = run.signalled or "a signal to another rank"
        over = self._stop or self._signal or run.finished
        if over:
            trainer.stop = True
        return bool(over)  # and not trainer.stop, which others may know of only at the next update

    def agree(self, trainer: Any, run: Any) -> None:
        mine = trainer.stop or run.over, run.signalled, checksum(trainer.optimizer.params)
        stops, signals, sums = zip(*self.comm.allgather(mine))
        check_equal(sums, f"after {run.updates} updates")
        run.interrupted = next(filter(None, signals), None)
        trainer.stop = any(stops) or run.interrupted is not None

    def any(self, flag: bool) -> bool:
        return any(self.comm.allgather(flag))

    def total(self, means: Any, run: Any) -> None:
        if run is None:
            return
        mine = np.array([means.samples, *means.sums.values()], np.float64)
        sums = np.empty_like(mine)
        self.comm.Allreduce(mine, sums)
        self._put(means, sums.tolist())

    def left(self) -> None:
        if isinstance(
            sys.exception(), SystemExit
        ):  # no excepthook hears of it; the others would wait
            atexit.register(self.comm.Abort, 1)

    @staticmethod
    def _put(means: Any, numbers: list[float]) -> None:
        means.samples = round(numbers[0])
        means.sums = dict(zip(means.sums, numbers[1:]))


def ranks(distributed: Any, optimizer: Any) -> Ranks:
    """The ranks of a Trainer: False, True for all of MPI's, or a communicator."""
    if distributed is False:
        return SingleProcess()
    comm = world() if distributed is True else distributed
    return MPIRanks(comm, optimizer) if comm.Get_size() > 1 else SingleProcess()
