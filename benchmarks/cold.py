"""The cold run: `python train.py` from the shell until 97% of held-out digits are right, imports and all.

An MLP 64-128-10, Adam, batches of 32, a loop of one's own, one thread. The scripts are in trains/; what a step
takes once it is warm is asked in run.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks import report
from benchmarks.worker import ROOT, environment

SCRIPTS = {
    "NumPy alone, its import": None,
    "minidl": "with_minidl",
    "PyTorch": "with_torch",
    "JAX": "with_jax",
    "HIPS autograd": "with_autograd",
    "MyGrad": "with_mygrad",
    "scikit-learn": "with_sklearn",
}
ONE_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}


def command(script: str | None) -> list[str]:
    if script is None:
        return [sys.executable, "-c", "import numpy"]
    return [sys.executable, str(ROOT / "benchmarks" / "trains" / f"{script}.py")]


def processor() -> float:
    """Seconds of processors that the processes started here have used; on a busy machine compare these."""
    used = os.times()
    return used.children_user + used.children_system


def cold(script: str | None) -> tuple[float, float, str]:
    """Seconds from a process's start to its end, those of processors, and what it printed: epochs and accuracy.

    RuntimeError, with the last line of its error, if it fails.
    """
    env = environment(1) | ONE_THREAD
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    start, used = perf_counter(), processor()
    done = subprocess.run(command(script), env=env, capture_output=True, text=True)
    seconds, used = perf_counter() - start, processor() - used
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return seconds, used, done.stdout.strip()


def row(name: str, times: Sequence[tuple[float, float]], printed: str, fastest: float) -> list[str]:
    seconds, used = zip(*times)
    epochs = printed.split()[0] if printed else ""
    ratio = f"{statistics.median(used) / fastest:.1f}" if printed else ""
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    middle = [f"{statistics.median(column):.2f}" for column in (seconds, used)]
    return [name, middle[0], spread, middle[1], ratio, epochs]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "cold", help="path without suffix"
    )
    options = parser.parse_args(argv)
    times: dict[str, list[tuple[float, float]]] = {}
    printed: dict[str, str] = {}
    absent: list[str] = []
    for name in options.only:
        try:
            *_, printed[name] = cold(SCRIPTS[name])  # which also warms the disk's cache
            times[name] = []
        except RuntimeError as error:
            absent.append(f"{name} ({error})")
    for _ in range(options.rounds):
        for name, found in times.items():
            found.append(cold(SCRIPTS[name])[:2])
    fastest = min(
        statistics.median(used for _, used in found)
        for name, found in times.items()
        if printed[name]
    )
    rows = [row(name, found, printed[name], fastest) for name, found in times.items()]
    head = [
        "",
        "seconds, median",
        "least to most",
        "of processors",
        "of these, times the least",
        "epochs",
    ]
    parts = [
        "# Cold",
        f"{report.machine()}; {options.rounds} processes each, in turns, one thread.",
        report.table(head, rows),
    ]
    if absent:
        parts.append(f"Not here: {', '.join(absent)}.")
    data = {"machine": report.machine(), "seconds": times, "printed": printed, "absent": absent}
    report.save(options.out, "\n\n".join(parts), data)


if __name__ == "__main__":
    main()
