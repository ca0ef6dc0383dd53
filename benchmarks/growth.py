"""Cost against size: microseconds per function of ever longer chains, and per step of ever wider nets and batches.

The steps are those of the peers' W3, on other data; fixed sizes are timed in run.py.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.worker import ROOT, adapted, environment, first_line, import_peer, pin, seconds_each
from benchmarks.workloads import classifier

LENGTHS = [10, 100, 1_000, 10_000, 100_000]
WIDTHS, BATCHES = [16, 64, 256, 1024], [8, 64, 512]
SHORT = [16, 256], [8, 512]
ELEMENTS = 10  # of the array that a chain is applied to


def links(x: Any, n: int, tanh: Callable[[Any], Any]) -> Any:
    """n functions: tanh and a product, in turns. The factor 1 keeps the slope far from denormal numbers."""
    for i in range(n):
        x = x * 1.0 if i % 2 else tanh(x)
    return x


def slope(n: int, x: float = 1.0) -> float:
    """The derivative of ``links`` by the chain rule."""
    found = 1.0
    for _ in range(0, n, 2):
        x = math.tanh(x)
        found *= 1 - x * x
    return found


def minidl_chain(n: int) -> Any:
    from minidl import Variable

    x = Variable(np.linspace(0.1, 1, ELEMENTS))

    def step() -> Any:
        x.cleargrad()
        links(x, n, np.tanh).sum().backward()
        return x.grad

    return step


def torch_chain(n: int) -> Any:
    import torch

    x = torch.linspace(0.1, 1, ELEMENTS, dtype=torch.float64, requires_grad=True)

    def step() -> Any:
        x.grad = None
        links(x, n, torch.tanh).sum().backward()
        return x.grad

    return step


def autograd_chain(n: int) -> Any:
    import autograd
    import autograd.numpy as anp

    gradient = autograd.grad(lambda x: links(x, n, anp.tanh).sum())
    return lambda: gradient(np.linspace(0.1, 1, ELEMENTS))


def mygrad_chain(n: int) -> Any:
    import mygrad as mg

    x = mg.tensor(np.linspace(0.1, 1, ELEMENTS))

    def step() -> Any:
        x.null_grad()
        links(x, n, mg.tanh).sum().backward()
        return x.grad

    return step


CHAINS = {
    "minidl_eager": minidl_chain,
    "torch_eager": torch_chain,
    "hips_autograd": autograd_chain,
    "mygrad_peer": mygrad_chain,
}
STEPS = ["numpy_by_hand", "minidl_eager", "torch_eager", "jax_jit"]


def best(step: Callable[[], Any], seconds: float) -> float:
    """Microseconds, the best of three."""
    n = adapted(step, seconds)
    return min(seconds_each(step, n) for _ in range(3)) * 1e6


def measured(peer: str, what: str, short: bool) -> Iterator[tuple[str, float | str]]:
    """(size, microseconds, or what went wrong) in this process; the process may die on the way."""
    pin(1)
    module, version = import_peer(peer)
    if module is None:
        yield "", version
        return
    if what == "chain":
        for n in LENGTHS:
            step = CHAINS[peer](n)
            try:
                got, want = float(np.asarray(step())[-1]), slope(n)
                right = math.isclose(got, want, rel_tol=1e-6)
                yield str(n), best(step, 0.05) / n if right else f"wrong: {got}, not {want}"
            except Exception as error:
                yield str(n), first_line(error)
        return
    for width in SHORT[0] if short else WIDTHS:
        for batch in SHORT[1] if short else BATCHES:
            made = module.w3(classifier(np.random.default_rng(0), (64, width, 10), batch))
            step = made if callable(made) else made["fused"]  # PyTorch's: the fastest on W3
            yield f"{width} x {batch}", best(step, 0.05)


def ask(peer: str, what: str, short: bool) -> dict[str, float | str]:
    """The same from a process of its own; the sizes it did not come to are missing."""
    command = [sys.executable, "-m", "benchmarks.growth", "--one", peer, what, *["--short"] * short]
    done = subprocess.run(command, cwd=ROOT, env=environment(1), capture_output=True, text=True)
    found: dict[str, float | str] = dict(
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")
    )
    if done.returncode:
        found[""] = f"failed: the process ended with code {done.returncode}"
    return found


def show(value: float | str | None) -> str:
    return value.partition(":")[0] if isinstance(value, str) else report.number(value)


def section(
    what: str, peers: Sequence[str], short: bool
) -> tuple[str, dict[str, dict[str, float | str]]]:
    """A table with a column for each peer that is there, and the remarks below it."""
    data = {peer: ask(peer, what, short) for peer in peers}
    here = [peer for peer in peers if len(data[peer]) > ("" in data[peer])]
    sizes = max((list(found) for found in data.values()), key=len)
    remarks = [
        f"- {peer}, {size or 'all'}: {value}"
        for peer, found in data.items()
        for size, value in found.items()
        if isinstance(value, str)
    ]
    rows = [
        [f"{int(s):,}" if s.isdigit() else s, *(show(data[peer].get(s)) for peer in here)]
        for s in sizes
        if s
    ]
    return "\n\n".join(
        [report.table(["", *here], rows), *(["\n".join(remarks)] if remarks else [])]
    ), data


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer widths and batches")
    parser.add_argument(
        "--one", nargs=2, metavar=("PEER", "WHAT"), help="in this process, printed as JSON lines"
    )
    parser.add_argument(
        "--out", type=Path, default=report.RESULTS / "growth", help="path without suffix"
    )
    options = parser.parse_args(argv)
    if options.one:
        for found in measured(*options.one, options.short):
            print(json.dumps(found), flush=True)
        return
    chain, chains = section("chain", list(CHAINS), options.short)
    step, steps = section("step", STEPS, options.short)
    markdown = "\n\n".join(
        [
            "# Cost against size",
            f"{report.machine()}; one thread, the best of three.",
            f"Microseconds per function of a chain of tanh and products on {ELEMENTS} float64, "
            "forward and backward, by the length of the chain.",
            chain,
            "Microseconds per step of W3's training (MLP 64-width-10), by width x batch.",
            step,
        ]
    )
    report.save(
        options.out, markdown, {"machine": report.machine(), "chain": chains, "step": steps}
    )


if __name__ == "__main__":
    main()
