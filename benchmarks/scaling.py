"""Data-parallel training on 1, 2 and 4 ranks, and what the constants measured with it predict for more.

Of one machine; for a cluster measure its network: ``mpiexec -n 2 -ppn 1 .. python -m benchmarks.scaling --worker``.
The model of the prediction is explained in docs/scaling.md; other benchmarks run in one process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.worker import ROOT, environment
from benchmarks.workloads import WORKLOADS
from minidl import distributed, layers, optim
from minidl import functions as F

CASES = {"W3": "small MLP", "W4": "compute-bound MLP", "W5": "call-bound LSTM"}
MANY = (1, 2, 4, 8, 16, 64, 256, 1000)
SMALL, LARGE = 16, 2**24  # bytes that tell latency and bandwidth


class Timed:
    """A communicator that notes the seconds spent, and waited, in its Allreduce, and the bytes."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.seconds, self.bytes = comm, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.comm, name)

    def Allreduce(self, send: Any, receive: Any) -> None:
        start = perf_counter()
        self.comm.Allreduce(send, receive)
        self.seconds, self.bytes = self.seconds + perf_counter() - start, send.nbytes


def trainer(
    name: str, share: float, comm: Any
) -> tuple[Callable[[], None], int, distributed.AllReduce]:
    """A step on that share of a workload's batch, the number of parameters, and its hook."""
    data = WORKLOADS[name].data()
    n = max(1, round(len(data.x) * share))
    x, t = data.x[:n], data.t[:n]
    if name == "W5":
        model: Any = layers.Sequential(layers.LSTM(100, return_sequences=True), layers.Linear(1))
        loss_of: Any = F.mean_squared_error
    else:
        model = layers.MLP([b.size for b in data.weights[1::2]], in_features=x.shape[1])
        loss_of = F.cross_entropy
    model(x)
    distributed.broadcast(model.parameters(), comm)
    reduce = distributed.AllReduce(comm, check=10**9)
    optimizer = optim.Adam(model, hooks=[reduce])

    def step() -> None:
        optimizer.cleargrads()
        loss_of(model(x), t).backward(retain_graph=False)
        optimizer.update()

    return step, sum(p.size for p in model.parameters()), reduce


def each(step: Callable[[], None], n: int, comm: Any) -> float:
    comm.Barrier()
    start = perf_counter()
    for _ in range(n):
        step()
    return (perf_counter() - start) / n


def worker(seconds: float, rounds: int) -> None:
    """In each rank: times of steps, of both kinds of scaling, and of Allreduce alone; the first prints them as JSON."""
    comm = Timed(distributed.world())
    size, found = comm.Get_size(), dict[str, Any]()
    for name in CASES:
        for kind, share in (
            ("strong", 1 / size),
            ("weak", 1.0),
            *((("part", 1 / 8),) if size == 1 else ()),
        ):
            step, parameters, reduce = trainer(name, share, comm)
            n = comm.bcast(max(3, round(seconds / each(step, 5, comm))))
            runs = []
            for _ in range(rounds):
                comm.seconds, reduce.paused = 0.0, False
                runs.append([each(step, n, comm), comm.seconds / n])
                reduce.paused = True  # the same beside the others, without a word to them
                runs[-1].append(each(step, n, comm))
            times, waits, silent = zip(*sorted(runs))
            found[f"{name} {kind}"] = {
                "parameters": parameters,
                "bytes": comm.bytes,
                "seconds": statistics.median(times),
                "least": times[0],
                "most": times[-1],
                "allreduce": statistics.median(waits),
                "silent": statistics.median(silent),
            }
    for nbytes in (SMALL, 2**12, 2**16, 2**20, LARGE) if size > 1 else ():
        a, b = np.zeros(nbytes // 4, np.float32), np.zeros(nbytes // 4, np.float32)
        n = 2000 if nbytes < 2**16 else 200 if nbytes < LARGE else 8
        times = sorted(each(lambda a=a, b=b: comm.Allreduce(a, b), n, comm) for _ in range(rounds))
        found[f"allreduce {nbytes}"] = {
            "seconds": statistics.median(times),
            "least": times[0],
            "most": times[-1],
        }
    if comm.Get_rank() == 0:
        print(json.dumps(found))


def predicted(
    ranks: int, fixed: float, work: float, nbytes: int, latency: float, bandwidth: float
) -> float:
    """Seconds of a step: what every rank does, its part of the work, and an Allreduce of the better of two kinds."""
    rounds = math.ceil(math.log2(ranks))
    doubling = rounds * (latency + nbytes / bandwidth)
    halving = 2 * rounds * latency + 2 * (ranks - 1) / ranks * nbytes / bandwidth
    return fixed + work / ranks + min(doubling, halving)


def prediction(
    one: dict[str, Any], two: dict[str, Any], latency: float, bandwidth: float
) -> list[list[str]]:
    """Per workload: seconds fixed and per batch, by one rank on a batch and an eighth of it; then efficiencies."""
    rows = []
    for name in CASES:
        whole, part = one[f"{name} weak"]["least"], one[f"{name} part"]["least"]
        work = max(0.0, (whole - part) * 8 / 7)
        fixed, nbytes = whole - work, two[f"{name} weak"]["bytes"]
        for kind in ("strong", "weak"):
            times = [
                predicted(p, fixed, work * (p if kind == "weak" else 1), nbytes, latency, bandwidth)
                for p in MANY
            ]
            share = [times[0] / t / (p if kind == "strong" else 1) for p, t in zip(MANY, times)]
            rows.append(
                [
                    f"{name}, {kind}",
                    f"{1e6 * fixed:.0f} + {1e6 * work:.0f}",
                    f"{nbytes / 1024:,.0f}",
                    *(f"{100 * s:.0f}%" for s in share),
                ]
            )
    return rows


def measured(ranks: int, seconds: float, rounds: int) -> dict[str, Any]:
    """What the workers find under mpiexec."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        sys.exit("there is no mpiexec: in minidl's folder run: pip install '.[mpi]'")
    command = [
        mpiexec,
        "-n",
        str(ranks),
        sys.executable,
        "-m",
        "mpi4py",
        "-m",
        "benchmarks.scaling",
    ]
    done = subprocess.run(
        [*command, "--worker", "--seconds", str(seconds), "--rounds", str(rounds)],
        cwd=ROOT,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env=environment(1) | {"PYTHONWARNINGS": "ignore"},
        timeout=3600,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a minute instead of several")
    parser.add_argument(
        "--latency",
        type=float,
        help="seconds of a message on your network, instead of this machine's",
    )
    parser.add_argument("--bandwidth", type=float, help="bytes a second, likewise")
    parser.add_argument("--worker", action="store_true", help="what mpiexec runs")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "scaling", help="path without suffix"
    )
    options = parser.parse_args(argv)
    if options.worker:
        worker(options.seconds, options.rounds)
        return
    seconds, rounds = (0.1, 3) if options.short else (options.seconds, options.rounds)
    found = {ranks: measured(ranks, seconds, rounds) for ranks in (1, 2, 4)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    rows = []
    for name, words in CASES.items():
        for kind in ("strong", "weak"):
            for ranks, all_of in found.items():
                row, base = all_of[f"{name} {kind}"], found[1][f"{name} {kind}"]
                gain = base["seconds"] / row["seconds"] * (ranks if kind == "weak" else 1)
                rows.append(
                    [
                        f"{name} {words}",
                        kind,
                        str(ranks),
                        f"{row['parameters']:,}",
                        f"{1e3 * row['seconds']:.3f} ({1e3 * row['least']:.3f}-{1e3 * row['most']:.3f})",
                        f"{1e3 * row['silent']:.3f}",
                        f"{gain:.2f}",
                        f"{100 * gain / ranks:.0f}%",
                        f"{100 * row['allreduce'] / row['seconds']:.0f}%" if ranks > 1 else "",
                    ]
                )
    head = [
        "workload",
        "scaling",
        "ranks",
        "parameters",
        "ms a step",
        "silent",
        "speedup",
        "efficiency",
        "Allreduce",
    ]
    sizes = [key for key in found[2] if key.startswith("allreduce")]
    times = {
        r: [
            f"{1e6 * found[r][key]['seconds']:.1f} ({1e6 * found[r][key]['least']:.1f})"
            for key in sizes
        ]
        for r in (2, 4)
    }
    reduce = [[f"{int(key.split()[1]):,}", *row] for key, *row in zip(sizes, *times.values())]
    latency = options.latency or found[2][f"allreduce {SMALL}"]["least"]
    bandwidth = options.bandwidth or LARGE / found[2][f"allreduce {LARGE}"]["least"]
    ahead = prediction(found[1], found[2], latency, bandwidth)
    text = [
        "# Scaling",
        f"{report.machine()}; {cores} cores to run on, one BLAS thread a rank; float32, Adam; medians of "
        f"{rounds} rounds (least and most). Strong: the batch of the workload is divided; weak: each rank has one. "
        "Silent: the same ranks beside one another, without the Allreduce and what it needs; Allreduce: the share of "
        "the time in that call, waiting for the slowest included.",
        report.table(head, rows),
        "## Allreduce alone",
        "Microseconds, median (least).",
        report.table(["bytes", "2 ranks", "4 ranks"], reduce),
        "## Predicted efficiency",
        f"By latency {1e6 * latency:.2f} µs and bandwidth {bandwidth / 1e9:.2f} GB/s, "
        f"{'as given' if options.latency or options.bandwidth else 'as measured between 2 ranks of this machine'}, if "
        "every rank had a core of its own and no rank waited for a slower one.",
        report.table(["", "µs: fixed + batch", "KiB", *map(str, MANY)], ahead),
    ]
    report.save(
        options.out,
        "\n\n".join(text),
        {
            "machine": report.machine(),
            "cores": cores,
            "latency": latency,
            "bandwidth": bandwidth,
            "ranks": found,
        },
    )


if __name__ == "__main__":
    main()
