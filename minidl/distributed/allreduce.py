"""The hook that averages gradients over processes, and the check that parameters stay equal.

How the processes find each other is in mpi.py, what else a Trainer's processes agree on in
ranks.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import host, is_foreign, to_kind_of
from minidl.common.checks import count
from minidl.distributed.mpi import world
from minidl.optim.gradients import StepGradients


class AllReduce:
    """A hook that makes each gradient its mean over all processes, weighted by their samples.

    It takes one MPI ``Allreduce`` an update. What stands after it among the hooks, such as
    ``ClipGrad``, sees the means. Every process takes part in every update: a parameter without a
    gradient in some of them counts as zero there, one without in all is skipped. Before an update,
    every ``check`` of them, the first included, parameters are compared by a checksum.
    Experimental.

    The result is that of one process where the loss is a mean over the samples. Where it averages
    over some of them (``ignore_index``) or computes statistics of its batch, ranks differ from one
    process.

    Set ``samples`` (default 1) before each update: this process's weight. ``Trainer(..,
    distributed=True)`` does it, and puts the hook in front. In a loop of one's own:

    >>> from minidl import Variable, optim
    >>> class Solo:  # one process; without an argument it is MPI's COMM_WORLD
    ...     Get_rank, Get_size = (lambda self: 0), (lambda self: 1)
    >>> x, reduce = Variable([3.0, 4.0]), AllReduce(Solo())
    >>> optimizer = optim.SGD([x], lr=1.0, hooks=[reduce, optim.hooks.ClipGrad(1.0)])
    >>> (x * x).sum().backward()
    >>> reduce.samples = 32  # DataLoader(.., shard=(rank, size)).samples(i)
    >>> optimizer.update()
    >>> x.data
    array([2.4, 3.2])

    Raises RuntimeError, naming the update, if parameters differ; ImportError without mpi4py or an
    MPI library.
    """

    def __init__(self, comm: Any = None, check: int = 100) -> None:
        self.comm = world() if comm is None else comm
        self.every = count("AllReduce: check", check)
        self.samples = 1.0
        self.extra: list[float] = []  # numbers to be summed besides; replaced by their sums
        self.updates = 0
        self.paused = False
        self._mine = np.empty(0, np.float32)
        self._sums = np.empty(0, np.float32)

    @property
    def needs_all_parameters(self) -> bool:
        """Whether the buffer must hold all parameters, so that those of all processes are alike."""
        return bool(self.comm.Get_size() > 1 and not self.paused)

    def __call__(self, gradients: StepGradients) -> None:
        if not self.needs_all_parameters:
            return
        if self.updates % self.every == 0:
            sums = self.comm.allgather(checksum(gradients.params))
            check_equal(sums, f"before update {self.updates + 1} of AllReduce")
        self.updates += 1
        flat = gradients.flat
        n = flat.size
        has_gradient = [p._grad is not None for p in gradients.params]
        sums = self._sum(host(flat), [self.samples, *self.extra, *has_gradient])
        samples, *numbers = sums[n:].real.tolist()
        samples = samples or 1.0  # where all weights are 0, so are the gradients
        if is_foreign(flat):
            flat[...] = to_kind_of(sums[:n] / samples, flat)
        else:
            np.divide(sums[:n], samples, out=flat, casting="same_kind")
        self.extra = numbers[: len(self.extra)]
        somewhere = numbers[len(self.extra) :]
        if not all(somewhere):
            gradients.params = [p for p, some in zip(gradients.params, somewhere) if some]
            gradients.grads = [g for g, some in zip(gradients.grads, somewhere) if some]

    def _sum(self, flat: Any, tail: list[Any]) -> Any:
        """The sums over all processes of weighted gradients and, behind them, of some numbers."""
        n = flat.size
        dtype = np.result_type(flat, np.float32)  # a half could not count samples
        if (self._mine.size, self._mine.dtype) != (n + len(tail), dtype):
            self._mine = np.empty(n + len(tail), dtype)
            self._sums = np.empty(n + len(tail), dtype)
        np.multiply(flat, self.samples, out=self._mine[:n])
        self._mine[n:] = tail
        self.comm.Allreduce(self._mine, self._sums)
        return self._sums


def broadcast(what: Any, comm: Any = None) -> None:
    """Give a layer, buffers and all, or parameters the first process's values.

    For a loop of one's own. Raises RuntimeError where one has no data yet.
    """
    comm = world() if comm is None else comm
    if hasattr(what, "state_dict"):
        state = {name: host(value) for name, value in what.state_dict().items()}
        what.load_state_dict(comm.bcast(state))
        return
    params = list(what)
    values = comm.bcast([host(p.data) for p in params])
    for p, value in zip(params, values):
        p.data = to_kind_of(value.copy(), p)


def checksum(params: Iterable[Variable]) -> tuple[int, int]:
    """A number that differs if any bit of the parameters does, and how many have data."""
    arrays = [host(p._raw) for p in params if not p.lazy]
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).data if np.size(array) else b"", crc)
    return crc, len(arrays)


def check_equal(sums: Iterable[Any], when: str) -> None:
    """Raise RuntimeError if checksums of the ranks differ."""
    sums = list(sums)
    others = [rank for rank, value in enumerate(sums) if value != sums[0]]
    if others:
        raise RuntimeError(
            f"distributed: {when}, the parameters of ranks {others} differ from those of rank 0: "
            "did they start from one broadcast, and does a hook, a schedule or a callback depend "
            "on the rank?"
        )
