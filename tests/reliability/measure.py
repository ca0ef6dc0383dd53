"""The figures of docs/reliability.md, as Markdown tables: `python -m tests.reliability.measure [--short] [--seed N]`.

The faults are made in faults.py, the trainings in scenarios.py; what must hold in CI is in test_*.py.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import minidl
from minidl import Trainer, layers, optim
from minidl import functions as F
from tests.reliability import faults
from tests.reliability.scenarios import SCENARIOS, broken, whole


def table(title: str, rows: list[tuple[str, int, str]]) -> None:
    print(f"\n{title}\n\n| what | tried | came to |\n|---|--:|---|")
    for what, tried, came in rows:
        print(f"| {what} | {tried:,} | {came} |", flush=True)


def counted(found: Counter[str]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in found.most_common() if n)


def killed_processes(name: str, folder: Path, step: int) -> tuple[int, str]:
    """Kill a process with SIGKILL at every ``step``-th boundary of two batches, and finish in a second process."""
    arguments = [sys.executable, "-m", "tests.reliability.scenarios", name, str(folder)]
    expected, batches = whole(name)
    found = Counter[str]()
    for at in range(1, batches, step):
        for kill in (at, 0):
            done = subprocess.run(
                [*arguments, str(kill)],
                capture_output=True,
                text=True,
                cwd=faults.ROOT,
                check=False,
            )
            assert done.returncode == (-9 if kill else 0), done.stderr
        found["the same bits" if done.stdout.strip() == expected else "OTHER BITS"] += 1
        for file in folder.iterdir():
            file.unlink()
    return found.total(), counted(found)


def checkpoint_reader(path: Path) -> Callable[[Path], dict[str, Any]]:
    model = layers.Linear(8, 4)
    trainer = Trainer(model, optim.Adam(model), F.mean_squared_error)
    trainer.save(path)

    def read(path: Path) -> dict[str, Any]:
        trainer.load(path)
        return {**trainer.model.state_dict(), **trainer.optimizer.state_dict()}

    return read


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    formats = [".npz", *([".safetensors"] if find_spec("safetensors") else [])]

    rows: list[tuple[str, int, str]] = []
    for name in SCENARIOS:
        expected, batches = whole(name)
        for every in (1, "epoch"):
            ends = [broken(name, at, folder, every) for at in range(batches)]
            found = Counter(
                "the same bits" if e == expected else "OTHER BITS" for e in ends if e is not None
            )
            found["nothing saved yet"] += ends.count(None)
            rows.append(
                (
                    f"{name}, checkpoint every {'update' if every == 1 else every}",
                    batches,
                    counted(found),
                )
            )
    table("Broken off in every batch and resumed", rows)

    rows = []
    (folder / "kills").mkdir()
    for name in SCENARIOS:
        rows.append((name, *killed_processes(name, folder / "kills", 7 if given.short else 1)))
    table("SIGKILL at every boundary of two batches, resumed in a new process", rows)

    trials = 10 if given.short else 200
    found = faults.kills_while_saving(folder / "kill.npz", trials, given.seed)
    rows = [("SIGKILL while saving", trials, counted(found))]
    disk = folder / "disk"
    disk.mkdir()
    found = faults.full_disks(disk / "full.npz", 640 if given.short else 64)
    rows.append(("disk full after every 64th byte of a save", found.total(), counted(found)))
    table("Saving", rows)

    rows = []
    for suffix in formats:
        path = folder / f"model{suffix}"
        minidl.save(faults.arrays(given.seed), path)
        for what, found in (
            (f"{suffix}, truncated at every 64th byte", faults.truncations(path)),
            (f"{suffix}, a flipped bit", faults.flips(path, 61 if given.short else 1)),
            (
                f"{suffix}, scrambled at random",
                faults.scrambles(path, 300 if given.short else 20_000, given.seed),
            ),
        ):
            rows.append((what, found.total(), counted(found)))
    path = folder / "checkpoint.npz"
    read = checkpoint_reader(path)
    for what, found in (
        ("a checkpoint, truncated at every 64th byte", faults.truncations(path, 64, read)),
        ("a checkpoint, a flipped bit", faults.flips(path, 997 if given.short else 7, read)),
    ):
        rows.append((what, found.total(), counted(found)))
    kinds: list[Any] = [(".npz", faults.hostile_npz(), minidl.load)]
    kinds += [(".npz", faults.hostile_checkpoints(), checkpoint_reader(path))]
    kinds += (
        [(".safetensors", faults.hostile_safetensors(), minidl.load)] if len(formats) > 1 else []
    )
    for (suffix, files, read), what in zip(kinds, [".npz", "checkpoint", ".safetensors"]):
        results = faults.hostile(folder, suffix, files, read)
        memory = max(peak for _, peak in results.values())
        came = counted(Counter(result for result, _ in results.values()))
        rows.append(
            (
                f"hostile files, {what}",
                len(files),
                f"{came}; at most {memory:.1f} MiB beyond the file's size",
            )
        )
    table("Reading", rows)


if __name__ == "__main__":
    main()
