"""MPI through mpi4py, imported on demand: the communicator, the end of a job, a rank's cores.

What is sent is in allreduce.py and ranks.py; BLAS threads themselves are set in common/threads.py.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import Any

from minidl.common.callers import warn_user
from minidl.common.extras import install
from minidl.common.threads import MAIN_VARIABLES, blas_threads, set_usual_threads, threads_variable

# Where mpiexec says how many processes there are.
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


@cache
def world() -> Any:
    """MPI's communicator of all processes; from its first use on, an error in one ends them all."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError, OSError) as error:  # the last two: there is no MPI library
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
        _end_all_on_errors(comm)
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        share_cores(node)
        node.Free()
    return comm


def _end_all_on_errors(comm: Any) -> None:
    """Let an exception that ends this process end the others too: they would wait for ever."""
    usual = sys.excepthook

    def end_all(*error: Any) -> None:
        usual(*error)
        rank = comm.Get_rank()
        print(f"minidl: rank {rank} raised and ends the job", file=sys.stderr, flush=True)
        time.sleep(0.5)  # mpiexec passes that on: an abort would discard what it has not read yet
        comm.Abort(1)

    sys.excepthook = end_all


def share_cores(node: Any) -> None:
    """Give each process of a machine its part of the cores, unless a variable says how many."""
    own = _own_cores()
    cores = len(set().union(*node.allgather(own)))
    ranks = node.Get_size()
    fitting = max(1, min(len(own), cores // ranks))
    variable = threads_variable()
    if variable is None:
        set_usual_threads(fitting)
    set_by_user = os.environ.get(variable or "", "")
    threads = blas_threads() or (int(set_by_user) if set_by_user.isdigit() else 0)
    too_many = not threads or ranks * threads > cores
    if too_many and node.Get_rank() == 0:
        _warn_of_threads(ranks, threads, cores, fitting)


def _own_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _warn_of_threads(ranks: int, threads: int, cores: int, fitting: int) -> None:
    many = f"{ranks} ranks with {threads or 'an unknown number of'} BLAS threads each"
    remedy = f"start them with {' and '.join(MAIN_VARIABLES)} set to {fitting}"
    if threads == 1:
        remedy = "start fewer"
    warn_user(
        f"minidl.distributed: {many} share {cores} cores, which may be many times slower: {remedy}",
    )
