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
    "scikit-learn": "with_sklearn",
}
ONE_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}


def command(script: str | None) -> list[str]:
    if script is None:
        return [sys.executable, "-c", "import numpy"]
    return [sys.executable, str(ROOT / "benchmarks" / "trains" / f"{script}.py")]


def cold(script: str | None) -> tuple[float, str]:
    """Seconds from the start of the process to its end, and what it printed: epochs and accuracy.

    RuntimeError, with the last line of its error, if it fails.
    """
    env = environment(1) | ONE_THREAD
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    start = perf_counter()
    done = subprocess.run(command(script), env=env, capture_output=True, text=True)
    seconds = perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return seconds, done.stdout.strip()


def row(name: str, seconds: Sequence[float], printed: str, fastest: float) -> list[str]:
    epochs = printed.split()[0] if printed else ""
    ratio = f"{statistics.median(seconds) / fastest:.1f}" if printed else ""
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    return [name, f"{statistics.median(seconds):.2f}", spread, ratio, epochs]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "cold", help="path without suffix"
    )
    options = parser.parse_args(argv)
    times: dict[str, list[float]] = {}
    printed: dict[str, str] = {}
    absent: list[str] = []
    for name in options.only:
        try:
            _, printed[name] = cold(SCRIPTS[name])  # which also warms the disk's cache
            times[name] = []
        except RuntimeError as error:
            absent.append(f"{name} ({error})")
    for _ in range(options.rounds):
        for name, seconds in times.items():
            seconds.append(cold(SCRIPTS[name])[0])
    fastest = min(statistics.median(s) for name, s in times.items() if printed[name])
    rows = [row(name, seconds, printed[name], fastest) for name, seconds in times.items()]
    head = ["", "seconds, median", "least to most", "times the fastest", "epochs"]
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
