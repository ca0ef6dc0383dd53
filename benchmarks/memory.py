"""Memory: the peak of training steps of W4 and W6 over what the imported library takes, each in a fresh process.

Memory after an import alone is in lightness.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks import report
from benchmarks.worker import PEERS, ROOT, environment, import_peer, pin

WORKLOADS = ("W4", "W6")
DEFAULT = ["numpy_by_hand", *(p for p in PEERS if p.startswith("minidl")), "torch_eager"]


def megabytes(peak: bool = True) -> float:
    """Resident memory of this process: the most so far, or now."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) / 1024
    import resource  # elsewhere only the peak is told, in bytes on a Mac

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """The peak so far, an import's own, is not to hide that of the steps (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(peer: str, workload: str, steps: int) -> dict[str, float | str]:
    """In this process: the peak of training steps over the baseline, in megabytes."""
    from benchmarks.workloads import WORKLOADS as ALL

    pin(1)
    module, version = import_peer(peer)
    if module is None:
        return {"error": version}
    forget_peak()
    baseline = megabytes(peak=False)
    made = getattr(module, workload.lower())(ALL[workload].data())
    step = (
        made if callable(made) else next(reversed(made.values()))
    )  # PyTorch's last variant is the fused one
    del made  # and with it the other variants
    forget_peak()
    for _ in range(steps):
        step()
    return {"baseline_mb": baseline, "peak_over_baseline_mb": megabytes() - baseline}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=DEFAULT)
    parser.add_argument(
        "--one", nargs=2, metavar=("PEER", "WORKLOAD"), help="in this process, printed as JSON"
    )
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "memory", help="path without suffix"
    )
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measure(*options.one, options.steps)))
        return
    data: dict[str, dict[str, dict[str, float | str]]] = {}
    for peer in options.peers:
        for workload in WORKLOADS:
            one = ["--one", peer, workload, "--steps", str(options.steps)]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", *one],
                cwd=ROOT,
                env=environment(1),
                capture_output=True,
                text=True,
            )
            lines = done.stdout.splitlines() or [
                json.dumps({"error": f"failed: {done.stderr[-200:]}"})
            ]
            data.setdefault(peer, {})[workload] = json.loads(lines[-1])
    rows = [
        [peer, *(report.number(d[w].get("peak_over_baseline_mb")) for w in WORKLOADS)]
        for peer, d in data.items()
        if not any("error" in found for found in d.values())
    ]
    wrong = [
        (peer, found["error"])
        for peer, d in data.items()
        for found in d.values()
        if "error" in found
    ]
    problems = [f"- {peer}: {why}" for peer, why in dict.fromkeys(wrong)]
    parts = [
        "# Memory",
        f"{report.machine()}; peak resident memory of {options.steps} training steps over that of the "
        "imported library, data and weights included, MB.",
        report.table(["", *WORKLOADS], rows),
        *problems,
    ]
    report.save(
        options.out,
        "\n\n".join(parts),
        {"machine": report.machine(), "steps": options.steps, "peers": data},
    )


if __name__ == "__main__":
    main()
