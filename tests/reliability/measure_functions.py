"""Figures of docs/reliability.md about functions, as tables: `python -m tests.reliability.measure_functions [--short]`.

With `--seed N` other threads, chains and programs; `--only` one of the parts. What must hold in CI is in test_*.py.
"""

import argparse
import random
from collections import Counter

import numpy as np

from tests.functions.catalogue import ROWS
from tests.reliability import endurance, inputs
from tests.reliability.measure import counted, table


def bad_inputs(short: bool, seed: int) -> None:
    rows = random.Random(seed).sample(ROWS, len(ROWS) // 10) if short else ROWS
    found, bad = inputs.count(rows)
    table(
        "Bad inputs to every public function",
        [(kind, outcomes.total(), counted(outcomes)) for kind, outcomes in found.items()],
    )
    for result, what, said in bad[:20]:
        print(f"{result}: {what}: {said[:300]}")


def many_threads(short: bool, seed: int) -> None:
    rows, trials = [], 3 if short else 20
    found = Counter[str]()
    for trial in range(trials):
        right, wrong = endurance.threads(16, 10 if short else 60, seed + 100 * trial)
        found["the same bits as alone"] += right
        for what in wrong:
            found[what] += 1
    rows.append((f"16 threads at once, {trials} times", found.total(), counted(found)))
    table("Threads", rows)


def chains(short: bool, seed: int) -> None:
    rows = [(what, 1, came) for what, came in endurance.chain_figures(100_000, seed).items()]
    table("A chain of 100,000 functions", rows)


def memory(short: bool, seed: int) -> None:
    steps, rows = 1000 if short else 10_000, []
    for kind in ("mlp", "LSTM", "stateful LSTM"):
        for compiled in (False, True):
            slope = endurance.memory_slope(steps, kind=kind, compile=compiled, seed=seed)
            rows.append(
                (
                    f"{kind}, {'compiled' if compiled else 'eager'}",
                    steps,
                    f"{slope:+.4f} KB per step",
                )
            )
    table("Memory, the garbage collector off", rows)


PARTS = {"inputs": bad_inputs, "threads": many_threads, "chains": chains, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARTS)
    given = parser.parse_args()
    for name, part in PARTS.items():
        if given.only in (None, name):
            with np.errstate(all="ignore"):
                part(given.short, given.seed)


if __name__ == "__main__":
    main()
