"""How many threads products (BLAS) and large elementwise runs use: set, or chosen for a while.

What is large enough for several threads is decided by who asks; the pool of elementwise runs is in
compiler/blocks.py.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# A variable of these that is set is the user's choice, and is left alone.
MAIN_VARIABLES = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
VARIABLES = *MAIN_VARIABLES, "GOTO_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"
OPENBLAS_MOST = 64  # threads that the OpenBLAS in NumPy's wheels is built for

_SAID = os.environ.get("OMP_NUM_THREADS", "")
_OPENMP_THREADS = max(1, min(int(_SAID), os.cpu_count() or 1)) if _SAID.isdecimal() else 1

# Threads that share a product wait for the slowest of them. With one of two cores kept busy by
# another process, two threads took 4 to 40 times as long as one for a product of 2^26
# multiplications (1 ms), 1.5 times for 2^30, and less only for 2^33 (0.4 s).
LARGE_PRODUCT = 2**32


def set_num_threads(n: int) -> None:
    """Use ``n`` threads for matrix products (BLAS) and compiled elementwise work.

    It holds for the whole process, until it is called again; training then leaves the number alone.
    Loops of your own over small models are fastest with 1: threads that share a few microseconds of
    work mostly wait for each other, on a busy machine many times longer than the work takes.
    ``Trainer`` sees to that by itself.

    Products are reached through threadpoolctl: the OpenBLAS of NumPy's wheels, MKL, BLIS. Results
    may differ in their last bits with the number of BLAS threads; those of elementwise work do not.

    Raises ValueError if ``n`` is no positive integer.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: want a positive integer, got {n!r}")
    _choice.set_by_user(min(n, os.cpu_count() or 1))


def elementwise_threads() -> int:
    """How many threads share an elementwise run on large arrays.

    As set, or ``OMP_NUM_THREADS``, or 1.
    """
    return _choice.user or _OPENMP_THREADS


@contextmanager
def threads_for(product: int) -> Iterator[None]:
    """Use one BLAS thread inside if the largest product has few multiplications.

    Where several of these overlap, in threads or nested, the smallest number holds until the last
    one ends. A number that the user has set, by the environment, by ``set_num_threads`` or with
    threadpoolctl, stays what it is.
    """
    if product >= LARGE_PRODUCT:
        yield
        return
    _choice.hold_one()
    try:
        yield
    finally:
        _choice.release()


class _Choice:
    """The number of BLAS threads: the user's, or one while somebody holds it, or the usual one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.user: int | None = None  # as set_num_threads was told
        self.usual: int | None = None  # as set_usual_threads was told
        self.holders = 0
        self.before: int | None = None  # to be restored when the last holder lets go

    def set_by_user(self, n: int) -> None:
        with self.lock:
            self.user = n
            self.before = None  # what holders would restore is no longer wanted
            set_blas_threads(n)

    def hold_one(self) -> None:
        """Use one BLAS thread until as many calls of ``release`` have been made."""
        with self.lock:
            self.holders += 1
            if self.holders > 1 or self.user is not None or threads_variable() is not None:
                return
            now = blas_threads()
            if now == (self.usual or _usual_threads()):  # another number is somebody's choice
                self.before = now
                set_blas_threads(1)

    def release(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders or self.before is None:
                return
            if blas_threads() == 1:  # else somebody has chosen meanwhile
                set_blas_threads(self.before)
            self.before = None


_choice = _Choice()


# What ``threads_for`` does before and after.
hold_one_thread = _choice.hold_one
release_one_thread = _choice.release


def set_usual_threads(n: int) -> None:
    """Use ``n`` BLAS threads where nobody chooses: a process's share of the cores."""
    with _choice.lock:
        _choice.usual = n
        set_blas_threads(n)


def blas_threads() -> int | None:
    """The number of threads of NumPy's BLAS; None where it cannot be told."""
    numbers = [library.num_threads for library in _blas_libraries()]
    return numbers[0] if numbers else None


def set_blas_threads(n: int) -> None:
    """Set the number of threads of every BLAS in the process, where that can be done."""
    for library in _blas_libraries():
        library.set_num_threads(n)


def threads_variable() -> str | None:
    """The environment variable that says how many threads BLAS uses; None if none does."""
    return next((name for name in VARIABLES if os.environ.get(name, "").strip()), None)


def _usual_threads() -> int:
    """How many threads OpenBLAS uses if nothing is said.

    One for each core that the process may run on.
    """
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), OPENBLAS_MOST)
    return min(os.cpu_count() or 1, OPENBLAS_MOST)


@cache
def _blas_libraries() -> list[Any]:
    """threadpoolctl's handles of the BLAS libraries that are loaded, NumPy's first."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # installed without its dependencies: nothing is chosen then
        return []
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return sorted(libraries, key=lambda library: "numpy" not in library.filepath)
