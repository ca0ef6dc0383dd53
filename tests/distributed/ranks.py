"""Ranks to test `minidl.distributed` with: threads of one process behind a communicator's methods, and mpiexec.

The tests are in test_ranks.py.
"""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

SECONDS = 60  # after which a rank that still waits fails


class World:
    """As many communicators as there are threads, with the methods of mpi4py's that minidl calls."""

    def __init__(self, size: int) -> None:
        self.size, self.slots, self.calls = size, [None] * size, 0
        self.barrier = threading.Barrier(size, timeout=SECONDS)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """Give a copy of everyone's value to everyone; all must be of the same kind, as MPI wants it."""
        self.slots[rank] = pickle.dumps(value)
        self.barrier.wait()
        found = [pickle.loads(slot) for slot in self.slots]
        self.barrier.wait()
        return found

    def run(self, program: Callable[["Comm"], Any]) -> list[Any]:
        """What a program gives in each rank; the first error that is no broken barrier is raised."""
        results, errors = [None] * self.size, []

        def body(rank: int) -> None:
            try:
                results[rank] = program(Comm(self, rank))
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()  # as Abort would end the job

        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
        if errors:
            raise errors[0]
        return results


class Comm:
    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank = world, rank
        self.sums, self.gathers, self.bytes = 0, 0, 0  # how often each was called

    def __deepcopy__(self, memo: Any) -> "Comm":
        return self

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.world.size

    def Allreduce(self, send: Any, receive: Any) -> None:
        found = self.world.exchange(self.rank, ("sum", send))
        kinds = [(name, value.shape, value.dtype) for name, value in found]
        assert kinds == [kinds[0]] * len(kinds), f"ranks differ in what they sum: {kinds}"
        self.sums, self.bytes = self.sums + 1, self.bytes + send.nbytes
        receive[...] = np.sum([value for _, value in found], axis=0)

    def allgather(self, value: Any) -> list[Any]:
        found = self.world.exchange(self.rank, ("gather", value))
        assert {name for name, _ in found} == {"gather"}
        self.gathers += 1
        return [value for _, value in found]

    def bcast(self, value: Any, root: int = 0) -> Any:
        found = self.world.exchange(self.rank, ("bcast", value))
        assert {name for name, _ in found} == {"bcast"}
        return copy.deepcopy(found[root][1])
