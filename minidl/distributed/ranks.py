"""Many processes that train one model: the averaging of gradients, and what else a Trainer's ranks agree on, over MPI.

Which samples are a rank's is the DataLoader's (``shard``), when to agree is the Trainer's; mpi4py is imported if asked.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import asarray, foreign, host
from minidl.common.checks import count
from minidl.common.extras import install
from minidl.common.threads import MAIN_VARIABLES, blas_threads, set_usual_threads, threads_variable
from minidl.optim.optimizer import Gradients

T = TypeVar("T")

LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # how many processes mpiexec says that there are


class AllReduce:
    """A hook that makes each gradient its mean over all processes, weighted by their samples, in one ``Allreduce``.

    What stands after it among the hooks, such as ``ClipGrad``, sees the means. Every process takes part in every
    update: a parameter without a gradient in some of them counts as zero there, one without in all is skipped. Before
    an update, every ``check`` of them, the first included, parameters are compared by a checksum.

    ``samples``, to be set before an update, is the weight of this process, at first 1 in each; ``Trainer(..,
    distributed=True)`` does it, and puts the hook in front. In a loop of one's own:

    >>> from minidl import Variable, optim
    >>> class Solo:  # one process; without an argument it is MPI's COMM_WORLD
    ...     Get_rank, Get_size = (lambda self: 0), (lambda self: 1)
    >>> x, reduce = Variable([3.0, 4.0]), AllReduce(Solo())
    >>> optimizer = optim.SGD([x], lr=1.0, hooks=[reduce, optim.hooks.ClipGrad(1.0)])
    >>> (x * x).sum().backward()
    >>> reduce.samples = 32  # DataLoader(.., shard=(rank, size)).samples(i)
    >>> optimizer.update()
    >>> x
    Variable([2.4 3.2])

    Raises RuntimeError, naming the update, if parameters differ; ImportError without mpi4py or an MPI library.
    """

    def __init__(self, comm: Any = None, check: int = 100) -> None:
        self.comm, self.every = world() if comm is None else comm, count("AllReduce: check", check)
        self.samples, self.extra = (
            1.0,
            list[float](),
        )  # numbers to be summed besides, replaced by their sums
        self.updates, self.paused = 0, False
        self._mine = self._sums = np.empty(0, np.float32)

    @property
    def whole(self) -> bool:
        """Whether it wants all parameters (``Optimizer.update``), so that the buffers of all processes are equal."""
        return self.comm.Get_size() > 1 and not self.paused

    def __call__(self, gradients: Gradients) -> None:
        if not self.whole:
            return
        params, flat, n = gradients.params, gradients.flat, gradients.flat.size
        if self.updates % self.every == 0:
            same(
                self.comm.allgather(checksum(params)),
                f"before update {self.updates + 1} of AllReduce",
            )
        self.updates += 1
        tail = [self.samples, *self.extra, *(p._grad is not None for p in params)]
        dtype = np.result_type(flat, np.float32)  # a half could not count samples
        if (self._mine.size, self._mine.dtype) != (n + len(tail), dtype):
            self._mine, self._sums = (np.empty(n + len(tail), dtype) for _ in range(2))
        np.multiply(host(flat), self.samples, out=self._mine[:n])
        self._mine[n:] = tail
        self.comm.Allreduce(self._mine, self._sums)
        samples, *numbers = self._sums[n:].real.tolist()
        if foreign(flat):
            flat[...] = asarray(self._sums[:n] / samples, flat)
        else:
            np.divide(self._sums[:n], samples, out=flat, casting="same_kind")
        self.extra, given = numbers[: len(self.extra)], numbers[len(self.extra) :]
        if not all(given):
            gradients.params = [p for p, some in zip(params, given) if some]
            gradients.grads = [g for g, some in zip(gradients.grads, given) if some]


class MPIRanks:
    """The processes of a Trainer that is distributed (``training.processes.Ranks``)."""

    def __init__(self, comm: Any, optimizer: Any) -> None:
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.first = self.rank == 0
        if not hasattr(optimizer, "hooks"):
            raise TypeError(
                f"Trainer: distributed needs an optimizer with hooks, got a {type(optimizer).__name__}"
            )
        found = [hook for hook in optimizer.hooks if isinstance(hook, AllReduce)]
        self.reduce = found[0] if found else AllReduce(comm)
        if not found:
            optimizer.hooks.insert(0, self.reduce)
        self._stop = self._signal = False

    def split(self, *loaders: Any) -> None:
        for loader in filter(None, loaders):
            loader.shard = self.rank, self.size

    def begin(self, run: Any) -> None:
        self._means, self._known = run.means, {"": run.means.samples, **run.means.sums}

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
        return result  # type: ignore[no-any-return]

    def update(self, trainer: Any, run: Any, samples: int) -> None:
        self.reduce.samples, self.reduce.extra = samples, []
        if run is None:  # a train_step
            trainer.optimizer.update()
            return
        means = run.means
        if means is not self._means:  # a new epoch
            self._means, self._known = means, {}
        new = [
            now - self._known.get(name, 0)
            for name, now in {"": means.samples, **means.sums}.items()
        ]
        self.reduce.extra = [trainer.stop or run.over, run.signalled is not None, *new]
        trainer.optimizer.update()
        stop, signal, *new = self.reduce.extra
        self._stop, self._signal = stop > 0, signal > 0
        self._put(
            means, [self._known.get(name, 0) + more for name, more in zip(["", *means.sums], new)]
        )
        self.begin(run)

    def ends(self, trainer: Any, run: Any) -> bool:
        if self._signal:
            run.interrupted = run.signalled or "a signal to another rank"
        if over := self._stop or self._signal or run.finished:
            trainer.stop = True
        return over  # and not trainer.stop, which others may know of only at the next update

    def agree(self, trainer: Any, run: Any) -> None:
        stops, signals, sums = zip(
            *self.comm.allgather(
                (trainer.stop or run.over, run.signalled, checksum(trainer.optimizer.params))
            )
        )
        same(sums, f"after {run.updates} updates")
        run.interrupted = next(filter(None, signals), None)
        trainer.stop = any(stops) or run.interrupted is not None

    def any(self, flag: bool) -> bool:
        return any(self.comm.allgather(flag))

    def total(self, means: Any, run: Any) -> None:
        if run is not None:
            mine = np.array([means.samples, *means.sums.values()], np.float64)
            self.comm.Allreduce(mine, sums := np.empty_like(mine))
            self._put(means, sums.tolist())

    def leave(self) -> None:
        if isinstance(
            sys.exception(), SystemExit
        ):  # which tells no excepthook; the others would wait for ever
            atexit.register(self.comm.Abort, 1)

    @staticmethod
    def _put(means: Any, numbers: list[float]) -> None:
        means.samples, means.sums = round(numbers[0]), dict(zip(means.sums, numbers[1:]))


def broadcast(params: Iterable[Variable], comm: Any = None) -> None:
    """Give parameters the first process's values, for a loop of one's own; RuntimeError where one has no data yet."""
    comm = world() if comm is None else comm
    params = list(params)
    for p, value in zip(params, comm.bcast([host(p.data) for p in params])):
        p.data = asarray(value.copy(), p)


def checksum(params: Iterable[Variable]) -> tuple[int, int]:
    """A number that differs if any bit of the parameters does, and how many have data."""
    arrays, found = [host(p._raw) for p in params if p._raw is not None], 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).data if np.size(array) else b"", found)
    return found, len(arrays)


def same(sums: Iterable[Any], when: str) -> None:
    """Raise RuntimeError if checksums of the ranks differ."""
    sums = list(sums)
    if others := [rank for rank, found in enumerate(sums) if found != sums[0]]:
        why = "did they start from one broadcast, and does a hook, a schedule or a callback depend on the rank?"
        raise RuntimeError(
            f"distributed: {when}, the parameters of ranks {others} differ from those of rank 0: {why}"
        )


@cache
def world() -> Any:
    """MPI's communicator of all processes; at its first use an error in one is made to end them all."""
    try:
        from mpi4py import MPI
    except (
        ImportError,
        RuntimeError,
        OSError,
    ) as error:  # the last two where there is no MPI library
        raise ImportError(
            f"minidl.distributed needs mpi4py and MPI: {install('mpi')} ({error})"
        ) from error
    comm = MPI.COMM_WORLD
    launched = max(int(os.environ.get(name) or 1) for name in LAUNCHED)
    if comm.Get_size() == 1 < launched:
        raise RuntimeError(
            f"mpiexec started {launched} processes, each alone: it is another MPI's than mpi4py's"
        )
    if comm.Get_size() > 1:
        usual = sys.excepthook

        def end_all(*error: Any) -> None:
            usual(*error)
            print(
                f"minidl: rank {comm.Get_rank()} raised and ends the job",
                file=sys.stderr,
                flush=True,
            )
            time.sleep(
                0.5
            )  # for mpiexec to pass that on: an abort takes what it has not read yet with it
            comm.Abort(1)

        sys.excepthook = end_all
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        share_cores(node)
        node.Free()
    return comm


def share_cores(node: Any) -> None:
    """Have each of the processes on a machine use its part of the cores in products, if no variable says how many."""
    own = (
        os.sched_getaffinity(0)
        if hasattr(os, "sched_getaffinity")
        else set(range(os.cpu_count() or 1))
    )
    cores, ranks = len(set().union(*node.allgather(own))), node.Get_size()
    fitting = max(1, min(len(own), cores // ranks))
    variable = threads_variable()
    if variable is None:
        set_usual_threads(fitting)
    said = os.environ.get(variable or "", "")
    threads = blas_threads() or (int(said) if said.isdigit() else 0)
    if (not threads or ranks * threads > cores) and node.Get_rank() == 0:
        many = f"{ranks} ranks with {threads or 'an unknown number of'} BLAS threads each share {cores} cores"
        todo = (
            "start fewer"
            if threads == 1
            else f"start them with {' and '.join(MAIN_VARIABLES)} set to {fitting}"
        )
        warnings.warn(
            f"minidl.distributed: {many}, which may be many times slower: {todo}", stacklevel=2
        )
