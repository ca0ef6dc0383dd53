"""The tables of docs/speed.md from what benchmarks.run left: ratios to eager PyTorch, seconds to the first result.

    python -m benchmarks.run --short && python -m benchmarks.tables

What is measured, and how, is in run.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.run import EAGER, TRUTH, ratio, show

NAMES = {
    TRUTH: "NumPy by hand",
    "minidl_eager": "minidl",
    "minidl_compiled": "minidl compiled",
    "minidl_c": "minidl in C",
    "torch_compiled": "torch.compile",
    "jax_jit": "jax.jit",
}


def cell(times: Mapping[str, Sequence[float]], peer: str, reference: str = EAGER) -> str:
    if not times.get(peer) or not times.get(reference):
        return ""
    return show(ratio(times[peer], times[reference]))


def table(workloads: Mapping[str, Any], key: str) -> str:
    """Ratios to eager PyTorch, of the steady state ("us") or of the first calls."""
    peers = [p for p in NAMES if any(w[key].get(p) for w in workloads.values())]
    rows = [[n, w["title"], *(cell(w[key], p) for p in peers)] for n, w in workloads.items()]
    return report.table(["", "workload", *map(NAMES.__getitem__, peers)], rows)


def first(workloads: Mapping[str, Any]) -> str:
    """Seconds of the first call, by workload."""
    peers = [p for p in list(NAMES)[2:] if any(w["first_s"].get(p) for w in workloads.values())]
    rows = [[n, *(report.number(w["first_s"].get(p)) for p in peers)] for n, w in workloads.items()]
    return report.table(["", *map(NAMES.__getitem__, peers)], rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="?", type=Path, default=report.RESULTS / "workloads.json")
    found = json.loads(parser.parse_args(argv).path.read_text(encoding="utf-8"))
    workloads = found["workloads"]
    eager = {n: w["us"].get(EAGER) for n, w in workloads.items()}
    us = [f"{n} {report.number(statistics.median(t))}" for n, t in eager.items() if t]
    print(found["settings"])
    print(f"\nEager PyTorch, microseconds: {', '.join(us)}\n")
    print(table(workloads, "us"))
    print("\nThe first thousand calls from the second on:\n")
    print(table(workloads, "first_calls_us"))
    print("\nSeconds to the first result:\n")
    print(first(workloads))


if __name__ == "__main__":
    main()
