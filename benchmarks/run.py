"""The workloads side by side: peers are checked against the hand-written trajectory, then timed in rounds.

What a peer's process does is in worker.py; the workloads are in workloads.py.

    python -m benchmarks.run --short --workloads W1 W3 --peers minidl_eager torch_eager
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks import report
from benchmarks.worker import PEERS, Worker
from benchmarks.workloads import WORKLOADS, Workload, deviation

TRUTH = "numpy_by_hand"  # whose trajectory all must follow
EAGER = "torch_eager"  # the reference of the first table of ratios
CALLS, BEGINNINGS = 1_000, 3  # calls that are timed from the first on, and how often
OURS = "minidl"  # the peers of this name are not among "the fastest library"


class Asked(Protocol):
    """What is needed of a worker."""

    error: str
    version: str

    def ask(self, do: str, **request: Any) -> dict[str, Any]: ...
    def close(self) -> None: ...


@dataclass
class Row:
    """What was found for one workload: microseconds of each round, by peer, and what was not timed, and why."""

    times: dict[str, list[float]] = field(default_factory=dict)
    variant: dict[str, str] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)  # seconds that the first call took
    begun: dict[str, list[float]] = field(default_factory=dict)  # as times, of the first thousand
    calls: dict[str, int] = field(default_factory=dict)  # how many of a thousand these were
    wrong: dict[str, str] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)  # of those that are right


def checked(
    w: Workload, answer: Mapping[str, Any], truth: Any, peer: str, row: Row
) -> dict[str, float]:
    """Seconds to the first result of each variant that follows the trajectory; the others are noted in the row."""
    if "error" in answer:
        row.wrong[peer] = answer["error"]
    right = {}
    for name, found in answer.get("variants", {}).items():
        label = f"{peer} {name}".strip()
        if "error" in found:
            row.wrong[label] = found["error"]
        elif not (far := deviation(found["probes"], truth)) <= w.rtol:
            row.wrong[label] = f"deviates by {far:.1e}, more than {w.rtol:.0e}"
        else:
            right[name], row.deviation[label] = found["first"], far
    return right


def measure(w: Workload, workers: Mapping[str, Asked], rounds: int, seconds: float) -> Row:
    """Check all, then time those that are right, in turns."""
    row = Row()
    answers = {TRUTH: workers[TRUTH].ask("check", workload=w.name)}
    truth = next(iter(answers[TRUTH].get("variants", {}).values()), {}).get("probes")
    if truth is None:
        row.wrong[TRUTH] = str(answers[TRUTH])
        return row
    for peer, worker in workers.items():
        answer = answers.get(peer) or worker.ask("check", workload=w.name)
        if first := checked(w, answer, truth, peer, row):
            tuned = worker.ask("tune", variants=list(first), seconds=seconds)
            if "error" in tuned:
                row.wrong[peer] = tuned["error"]
            else:
                row.times[peer], row.begun[peer] = [], []
                row.variant[peer] = tuned["variant"]
                row.first[peer] = first[tuned["variant"]]
    for i in range(BEGINNINGS):
        for peer, answer in in_turns(row, workers, i, "begin", calls=CALLS, seconds=10 * seconds):
            row.begun[peer].append(answer["us"])
            row.calls[peer] = answer["calls"]
    for i in range(rounds):
        for peer, answer in in_turns(row, workers, i, "time"):
            row.times[peer].append(answer["us"])
    return row


def in_turns(
    row: Row, workers: Mapping[str, Asked], i: int, do: str, **request: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each peer that is timed answers in round ``i``; who cannot is timed no longer."""
    order = list(row.times)
    start = i % max(len(order), 1)
    for peer in order[start:] + order[:start]:  # no one is always the first
        answer = workers[peer].ask(do, **request)
        if "error" in answer:
            row.wrong[peer] = answer["error"]
            del row.times[peer], row.begun[peer]
        else:
            yield peer, answer


def ratio(times: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """The median of the rounds' ratios, the quartiles and the extremes."""
    found = sorted(a / b for a, b in zip(times, reference, strict=True))
    low, _, high = (
        statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    )
    return {
        "median": statistics.median(found),
        "low": low,
        "high": high,
        "min": found[0],
        "max": found[-1],
    }


def fastest(row: Row) -> str | None:
    """The library that is fastest, ours and NumPy by hand aside."""
    others = [peer for peer in row.times if peer != TRUTH and not peer.startswith(OURS)]
    return min(others, key=lambda peer: statistics.median(row.times[peer]), default=None)


def ratios(row: Row, reference: str | None, at_first: bool = False) -> dict[str, dict[str, float]]:
    """Of each peer to one of them; ``at_first``: of the first thousand calls."""
    times = row.begun if at_first else row.times
    if reference not in times:
        return {}
    return {p: ratio(us, times[reference]) for p, us in times.items() if p != reference}


def show(r: Mapping[str, float] | None) -> str:
    if not r:
        return ""
    median, low, high = (
        f"{r[key]:.2f}" if r[key] >= 0.1 else f"{r[key]:.2g}" for key in ("median", "low", "high")
    )
    return f"{median} ({low}-{high})"


def markdown(
    rows: Mapping[str, Row], versions: Mapping[str, str], absent: Mapping[str, str], settings: str
) -> str:
    """The tables: times, ratios to eager PyTorch (or what is there), to the fastest library, first calls, remarks."""
    peers = list(versions)
    reference = EAGER if EAGER in peers else TRUTH
    ours = [peer for peer in peers if peer.startswith(OURS)]
    best = {name: fastest(row) for name, row in rows.items()}
    parts = [
        "# Workloads",
        settings,
        "Microseconds of one whole step, the median of the rounds.",
        report.table(
            ["", *peers],
            [
                [
                    name,
                    *(
                        report.number(statistics.median(row.times[p])) if p in row.times else ""
                        for p in peers
                    ),
                ]
                for name, row in rows.items()
            ],
        ),
        f"Ratio to {reference}: the median of the rounds' ratios (and their quartiles).",
        report.table(
            ["", *(p for p in peers if p != reference)],
            [
                [name, *(show(ratios(row, reference).get(p)) for p in peers if p != reference)]
                for name, row in rows.items()
            ],
        ),
    ]
    if any(best.values()):
        parts += [
            "Ratio to the fastest library of each row.",
            report.table(
                ["", "fastest library", *ours],
                [
                    [name, best[name] or "", *(show(ratios(row, best[name]).get(p)) for p in ours)]
                    for name, row in rows.items()
                ],
            ),
        ]
    parts += tables_of_beginnings(rows, peers, best, ours)
    compiled = [p for p in peers if p.partition("_")[2] in ("compiled", "jit")]
    if compiled:
        parts += [
            "Seconds to make and run the first step, compilation included.",
            report.table(
                ["", *compiled],
                [
                    [name, *(report.number(row.first.get(p)) for p in compiled)]
                    for name, row in rows.items()
                ],
            ),
        ]
    parts.append("\n".join(f"- {name}: {WORKLOADS[name].title}" for name in rows))
    notes = [
        f"{name}, {peer}: {way}"
        for name, row in rows.items()
        for peer, way in row.variant.items()
        if way
    ]
    wrong = [
        f"{name}, {label}: {why}" for name, row in rows.items() for label, why in row.wrong.items()
    ]
    for title, lines in (
        ("Libraries", [f"{peer}: {version}" for peer, version in versions.items()]),
        ("Not compared", [f"{peer}: {why}" for peer, why in absent.items()]),
        ("Wrong or broken, so not timed", wrong),
        ("Of several ways to write a step the fastest was taken", notes),
    ):
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts)


def tables_of_beginnings(
    rows: Mapping[str, Row],
    peers: Sequence[str],
    best: Mapping[str, str | None],
    ours: Sequence[str],
) -> list[str]:
    """Tables of the first thousand calls: of each peer, and of ours to the fastest library."""
    head = (
        f"The first {CALLS:,} calls from the second on, or those of the first seconds (their number in brackets): "
        "microseconds of one, with the checks of compiled functions, which a median leaves out."
    )
    cells = [[name, *(show_beginning(row, p) for p in peers)] for name, row in rows.items()]
    tables = [head, report.table(["", *peers], cells)]
    if any(best.values()):
        found = {name: ratios(row, best[name], at_first=True) for name, row in rows.items()}
        cells = [
            [name, best[name] or "", *(show(r.get(p)) for p in ours)] for name, r in found.items()
        ]
        head = "The same, ratio to the library that is fastest in the long run."
        tables += [head, report.table(["", "library", *ours], cells)]
    return tables


def show_beginning(row: Row, peer: str) -> str:
    if not row.begun.get(peer):
        return ""
    us = report.number(statistics.median(row.begun[peer]))
    return us if row.calls[peer] == CALLS else f"{us} ({row.calls[peer]})"


def as_data(rows: Mapping[str, Row], **more: Any) -> dict[str, Any]:
    """The same for programs; every round's time is in it."""
    return {
        **more,
        "workloads": {
            name: {
                "title": WORKLOADS[name].title,
                "us": row.times,
                "variant": row.variant,
                "first_s": row.first,
                "first_calls_us": row.begun,
                "first_calls": row.calls,
                "wrong": row.wrong,
                "deviation": row.deviation,
                "fastest_library": fastest(row),
                "ratio_to_eager_torch": ratios(row, EAGER),
                "ratio_to_fastest_library": ratios(row, fastest(row)),
                "ratio_of_first_calls": ratios(row, fastest(row), at_first=True),
                "ratio_to_numpy_by_hand": ratios(row, TRUTH),
            }
            for name, row in rows.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--short", action="store_true", help="fewer and shorter rounds: a few minutes"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="default 15, short 5")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "workloads", help="path without suffix"
    )
    options = parser.parse_args(argv)
    rounds, seconds = options.rounds or (5 if options.short else 15), 0.1 if options.short else 0.3

    workers: dict[str, Asked] = {}
    absent = {}
    for peer in dict.fromkeys([TRUTH, *options.peers]):
        worker = Worker(peer, options.threads)
        if worker.error:
            absent[peer] = worker.error
            worker.close()
            print(f"{peer}: {worker.error}", file=sys.stderr)
        else:
            workers[peer] = worker
    rows = {}
    for name in options.workloads:
        print(f"{name}: {WORKLOADS[name].title}", file=sys.stderr, flush=True)
        rows[name] = measure(WORKLOADS[name], workers, rounds, seconds)
    for worker in workers.values():
        worker.close()
    versions = {peer: worker.version for peer, worker in workers.items()}
    how = f"{options.threads} thread(s); {rounds} rounds of about {seconds} s for each, in turns"
    settings = (
        f"{report.machine()}; {how}. All start from the same weights, take the same batches "
        "in turns, and follow the hand-written NumPy's results to 1e-4 (float32) or 1e-9 (W1 and W8, float64)."
    )
    data = as_data(
        rows,
        settings=settings,
        threads=options.threads,
        rounds=rounds,
        versions=versions,
        absent=absent,
    )
    report.save(options.out, markdown(rows, versions, absent, settings), data)


if __name__ == "__main__":
    main()
