"""What the processes (ranks) of a Trainer agree on, over MPI.

When to agree is the Trainer's; averaging gradients is in allreduce.py, MPI itself in mpi.py. Which
samples are a rank's is the DataLoader's (``shard``).
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minidl.distributed.allreduce import AllReduce, check_equal, checksum

T = TypeVar("T")


class MPIRanks:
    """The processes of a Trainer that is distributed, as `training/processes.py` asks of them.

    Experimental.
    """

    def __init__(self, comm: Any, optimizer: Any) -> None:
        self.comm = comm
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        self.first = self.rank == 0
        if not hasattr(optimizer, "hooks"):
            got = type(optimizer).__name__
            raise TypeError(f"Trainer: distributed needs an optimizer with hooks, got a {got}")
        own = [hook for hook in optimizer.hooks if isinstance(hook, AllReduce)]
        self.reduce = own[0] if own else AllReduce(comm)
        if not own:
            optimizer.hooks.insert(0, self.reduce)
        # What was decided at the last update, with the gradients of all.
        self._stop = False
        self._signal = False

    def split(self, *data: Any) -> None:
        for batches in filter(None, data):
            if not hasattr(batches.source, "shard"):
                want = "arrays or a DataLoader, of whose batches each rank takes its part"
                got = type(batches.source).__name__
                raise TypeError(f"{batches.where}: distributed: want {want}, got a {got}")
            batches.source.shard = self.rank, self.size

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

    def update(self, trainer: Any, run: Any, samples: float) -> None:
        hooks = trainer.optimizer.hooks
        if self.reduce not in hooks:  # another optimizer was assigned
            hooks.insert(0, self.reduce)
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

    def leave(self) -> None:
        if isinstance(
            sys.exception(), SystemExit
        ):  # no excepthook hears of it; the others would wait
            atexit.register(self.comm.Abort, 1)

    @staticmethod
    def _put(means: Any, numbers: list[float]) -> None:
        means.samples = numbers[0]
        means.sums = dict(zip(means.sums, numbers[1:]))
