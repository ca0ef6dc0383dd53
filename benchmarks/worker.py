"""A process with one peer in it: builds its steps, runs them for their results, times them; JSON lines in and out.

Also the handle by which run.py starts and asks one. Which peers there are and what is compared is decided there.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parent.parent
PEERS = sorted(p.stem for p in (ROOT / "benchmarks" / "peers").glob("[!_]*.py"))
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def environment(threads: int) -> dict[str, str]:
    """What a process has to start with, as libraries read it when they are imported."""
    return os.environ | dict.fromkeys(THREADS, str(threads))


def seconds_each(step: Callable[[], Any], n: int) -> float:
    start = perf_counter()
    for _ in range(n):
        step()
    return (perf_counter() - start) / n


def seconds_at_first(step: Callable[[], Any], calls: int, seconds: float) -> tuple[float, int]:
    """Seconds of each of the next calls, so many or as many as fit into that time, and how many these are."""
    done, n = 0, 1
    spent = 0.0
    while done < calls and spent < seconds:
        n = min(n, calls - done)
        spent += n * seconds_each(step, n)
        done += n
        n *= 2
    return spent / done, done


def adapted(step: Callable[[], Any], seconds: float) -> int:
    """How many steps take about that long; warms up on the way."""
    n = 1
    while (each := seconds_each(step, n)) * n < seconds / 4:
        n = max(2 * n, min(100 * n, round(seconds / 3 / each)))
    return max(1, round(seconds / each))


def import_peer(name: str) -> tuple[Any, str]:
    """The module, or None, and its version or what is wrong: "missing: .." where its library is not installed."""
    try:
        module = importlib.import_module(f"benchmarks.peers.{name}")
    except ModuleNotFoundError as error:
        own = (error.name or "").partition(".")[0] in ("minidl", "benchmarks")
        return None, f"failed: {error}" if own else f"missing: {error.name} is not installed"
    except Exception as error:
        return None, f"failed: {first_line(error)}"
    return module, module.VERSION


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]


class Bench:
    """The commands of the process; a workload is built by ``check`` and dropped by the next."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.steps: dict[str, Any] = {}
        self.step: Any = None
        self.n = 1

    def check(self, workload: str) -> dict[str, Any]:
        """The results of the first steps of each variant, and the seconds that its making and first step took."""
        from benchmarks.workloads import WORKLOADS, probe

        self.steps, self.step = {}, None
        made = getattr(self.module, workload.lower(), None)
        if made is None:
            return {"variants": {}}
        w, found = WORKLOADS[workload], {}
        self.make = lambda: made(w.data())
        start = perf_counter()
        steps = made(w.data())
        for name, step in ({"": steps} if callable(steps) else steps).items():
            try:
                results = [step()]
                first = perf_counter() - start
                probes = [probe(results.pop()), *(probe(step()) for _ in range(w.checks - 1))]
            except Exception as error:
                found[name] = {"error": first_line(error)}
            else:
                self.steps[name] = step
                found[name] = {"probes": probes, "first": first}
            start = perf_counter()
        return {"variants": found}

    def tune(self, variants: list[str], seconds: float) -> dict[str, Any]:
        """Choose the fastest variant, and the number of steps of a round."""
        counts = {name: adapted(self.steps[name], seconds) for name in variants}
        times = dict.fromkeys(variants, float("inf"))
        for _ in range(3 if len(variants) > 1 else 0):
            for name in variants:
                times[name] = min(times[name], seconds_each(self.steps[name], counts[name]))
        best = min(times, key=times.__getitem__)
        self.step, self.n, self.steps = self.steps[best], counts[best], {}
        self.variant = best
        return {"variant": best, "n": self.n}

    def begin(self, calls: int, seconds: float) -> dict[str, Any]:
        """Build the step anew: seconds of its first call, microseconds of each of those after it.

        What a compiled function checks meanwhile is in these. The new step is timed from then on.
        """
        made = self.make()
        self.step = made if callable(made) else made[self.variant]
        first = seconds_each(self.step, 1)
        each, n = seconds_at_first(self.step, calls - 1, seconds)
        return {"first": first, "us": each * 1e6, "calls": n + 1}

    def time(self) -> dict[str, Any]:
        return {"us": seconds_each(self.step, self.n) * 1e6}


def pin(threads: int) -> None:
    """Keep to as many processors as there are threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    pin(int(os.environ[THREADS[0]]))
    module, version = import_peer(sys.argv[1])
    answers.write(json.dumps({"version": version} if module else {"error": version}) + "\n")
    bench = Bench(module)
    for line in sys.stdin if module else ():
        request = json.loads(line)
        try:
            answer = getattr(bench, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": first_line(error)}
        answers.write(json.dumps(answer) + "\n")


class Worker:
    """The handle of one such process. It works only while ``ask`` waits, so workers do not disturb each other."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", peer],
            cwd=ROOT,
            env=environment(threads),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        hello = self._answer()
        self.error, self.version = hello.get("error", ""), hello.get("version", "")

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer; {"error": ..} if that is one, or the process died."""
        if self.error:
            return {"error": self.error}
        assert self.process.stdin
        with suppress(BrokenPipeError):  # there will be no answer either
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        if line := self.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.error = f"failed: the process ended with code {self.process.wait()}"
        return {"error": self.error}

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()
        self.process.wait()


if __name__ == "__main__":
    main()
