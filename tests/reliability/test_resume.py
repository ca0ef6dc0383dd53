"""Resume: a run broken off at any batch, in any way, ends bit for bit where the unbroken one ends.

The trainings are in scenarios.py; the figures for docs/reliability.md are made by measure.py.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.scenarios import SCENARIOS, broken, whole

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, "epoch"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_many_batch_boundaries(name: str, every: int | str, tmp_path: Path) -> None:
    """Four or five of them, at every place of a window and of an epoch; measure.py tries all."""
    expected, batches = whole(name)
    places = range(1, batches, max(3, batches // 5))
    ends = {broken(name, at, tmp_path, every) for at in places}
    assert ends - {None} == {expected}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Adam", "accumulate"])
def test_killed_processes(name: str, tmp_path: Path) -> None:
    """Three kills at batches of no order, each in a process of its own, which resumes and is killed again."""
    expected = whole(name)[0]
    for kill in (2, 4, 3, 0):
        arguments = [
            sys.executable,
            "-m",
            "tests.reliability.scenarios",
            name,
            str(tmp_path),
            str(kill),
        ]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == (-9 if kill else 0), done.stderr
    assert done.stdout.strip() == expected


@pytest.mark.slow
def test_identical_seeds_in_other_processes() -> None:
    code = (
        "import minidl; from tests.reliability.scenarios import SCENARIOS, fingerprint; minidl.seed(1); "
        "made = SCENARIOS['schedule, clipping, own layer'](); made[1](); print(fingerprint(made[0]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout.strip()
        for seed in ("0", "1", "2")
    }
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    assert found == {whole("schedule, clipping, own layer")[0]}
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002 - as above
