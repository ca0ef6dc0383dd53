"""Resume: a run broken off at any batch, in any way, ends bit for bit where the unbroken one ends.

The trainings are in scenarios.py; the figures for docs/reliability.md are made by measure.py.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import callbacks
from tests.reliability.scenarios import SCENARIOS, fingerprint

ROOT = Path(__file__).parents[2]


class Cut(Exception):
    """Ends a fit at once, as a kill would, within the process."""


class Break(callbacks.Callback):
    """Raises after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cut


def whole(name: str) -> tuple[str, int]:
    """The fingerprint of the unbroken run, and its number of batches."""
    minidl.seed(1)
    trainer, fit = SCENARIOS[name]()
    counter = Break(10**9)
    trainer.callbacks.append(counter)
    fit()
    return fingerprint(trainer), 10**9 - counter.left


@pytest.mark.parametrize("every", [1, 2, "epoch"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_batch_boundary(name: str, every: Any, tmp_path: Path) -> None:
    expected, batches = whole(name)
    for at in range(batches):
        folder = tmp_path / str(at)
        folder.mkdir()
        for attempt in range(2):
            minidl.seed(1 if attempt == 0 else 1000 + at)
            trainer, fit = SCENARIOS[name]()
            trainer.callbacks.append(callbacks.Checkpoint(folder / "run.npz", every=every))
            if attempt == 0:
                trainer.callbacks.append(Break(at))
                with pytest.raises(Cut):
                    fit(resume="auto")
                if not (folder / "run.npz").exists():  # broken off before the first was due
                    minidl.seed(1)
                    trainer, fit = SCENARIOS[name]()
                    break
        fit(resume="auto" if attempt else None)
        assert fingerprint(trainer) == expected, at


@pytest.mark.parametrize("name", ["Adam", "accumulate"])
def test_killed_processes(name: str, tmp_path: Path) -> None:
    """Three kills at batches of no order, each in a process of its own, which resumes and is killed again."""
    expected = whole(name)[0]
    for kill in (2, 4, 3, 0):
        arguments = [sys.executable, "-m", "tests.reliability.scenarios", name, str(tmp_path), str(kill)]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == (-9 if kill else 0), done.stderr
    assert done.stdout.strip() == expected


def test_identical_seeds_in_other_processes() -> None:
    code = (
        "import minidl; from tests.reliability.scenarios import SCENARIOS, fingerprint; minidl.seed(1); "
        "made = SCENARIOS['schedule, clipping, own layer'](); made[1](); print(fingerprint(made[0]))"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True,
                       env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}).stdout.strip()
        for seed in ("0", "1", "2")
    }  # fmt: skip
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    assert found == {whole("schedule, clipping, own layer")[0]}
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002 - as above
