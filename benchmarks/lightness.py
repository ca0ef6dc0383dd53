"""Lightness: import time beyond NumPy's, memory after the import, installed size with what it depends on.

Each import is in a fresh process. How fast a library computes is asked in run.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.worker import ROOT, environment

LIBRARIES = {
    "numpy": "numpy",
    "minidl": "minidl",
    "torch": "torch",
    "jax": "jax",
    "autograd": "autograd",
    "mygrad": "mygrad",
    "dezero": "dezero",
}  # what is imported: the distribution it is in
PROBE = """
import sys, time
def megabytes():  # as memory.py has it, whose imports would be NumPy's no longer
    try:
        [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
before, start = megabytes(), time.perf_counter()
import numpy
middle = time.perf_counter()
import {}
end = time.perf_counter()
print([(middle - start) * 1e3, (end - middle) * 1e3, megabytes() - before])
"""


def imported(module: str) -> list[float] | None:
    """Milliseconds for NumPy, milliseconds more for the module, megabytes for both; None if it is not there."""
    env = environment(1)
    env.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # what is installed has its bytecode; the checkout's is made once
    command = [sys.executable, "-c", PROBE.format(module)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def distributions(name: str, seen: set[str] | None = None) -> set[str]:
    """The distribution and all installed ones that it needs, extras aside."""
    seen = set() if seen is None else seen
    canonical = name.lower().replace("_", "-")
    try:
        requires = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return seen
    if canonical not in seen:
        seen.add(canonical)
        for line in requires:
            requirement, _, marker = line.partition(";")
            if "extra" not in marker:
                distributions(
                    requirement.split("(")[0].rstrip("0123456789.,<>=!~* ").split("[")[0].strip(),
                    seen,
                )
    return seen


def size(paths: Sequence[Path]) -> float:
    """Megabytes on disk, compiled Python aside."""
    files = {path.resolve() for path in paths if "__pycache__" not in path.parts and path.is_file()}
    return sum(path.stat().st_size for path in files) / 1e6


def installed(name: str) -> float:
    """Megabytes of a distribution and its needs; of minidl, those of the checkout, with what it needs."""
    own: list[Path] = []
    if name == "minidl":
        own = [*(ROOT / "minidl").rglob("*")]
        names = set().union(*map(distributions, ("numpy", "tqdm", "threadpoolctl")))
    else:
        names = distributions(name)
    return size(own + [Path(str(f.locate())) for n in names for f in metadata.files(n) or []])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "lightness", help="path without suffix"
    )
    options = parser.parse_args(argv)
    samples: dict[str, list[list[float]]] = {}
    absent = [
        name for name in LIBRARIES if imported(name) is None
    ]  # the first import also warms the disk's cache
    for _ in range(options.rounds):
        for name in LIBRARIES:
            if name not in absent and (found := imported(name)):
                samples.setdefault(name, []).append(found)
    data: dict[str, Any] = {}
    for name, found in samples.items():
        base, more, memory = (statistics.median(column) for column in zip(*found))
        data[name] = {
            "import_ms": base + more,
            "beyond_numpy_ms": more if name != "numpy" else None,
            "memory_mb": memory,
            "installed_mb": installed(LIBRARIES[name]),
        }
    rows = [
        [
            name,
            *(
                report.number(d[key])
                for key in ("import_ms", "beyond_numpy_ms", "memory_mb", "installed_mb")
            ),
        ]
        for name, d in data.items()
    ]
    head = [
        "",
        "import, ms",
        "of it beyond NumPy, ms",
        "memory after import, MB",
        "installed with dependencies, MB",
    ]
    parts = [
        "# Lightness",
        f"{report.machine()}; medians of {options.rounds} fresh processes, in turns. "
        "Memory is the peak beyond a bare Python.",
        report.table(head, rows),
    ]
    if absent:
        parts.append(f"Not installed here: {', '.join(absent)}.")
    report.save(
        options.out,
        "\n\n".join(parts),
        {"machine": report.machine(), "libraries": data, "absent": absent},
    )


if __name__ == "__main__":
    main()
