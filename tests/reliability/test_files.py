"""Files and faults: what is read is what was saved, or a clear error; what fails leaves the old file whole.

The faults are made in faults.py; here they are few, in measure.py many.
"""

from pathlib import Path
from typing import Any

import pytest

import minidl
from minidl import Trainer, layers, optim
from minidl import functions as F
from tests.reliability import faults
from tests.reliability.faults import REFUSED, WHOLE


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request: Any, tmp_path: Path) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    found = tmp_path / f"model{request.param}"
    minidl.save(faults.arrays(), found)
    return found


def checkpoint(path: Path) -> Trainer:
    model = layers.Linear(3, 2)
    trainer = Trainer(model, optim.Adam(model), F.mean_squared_error)
    trainer.save(path)
    return trainer


def test_truncated_at_every_64th_byte(path: Path) -> None:
    assert set(faults.truncations(path, 64)) == {REFUSED}


def test_truncated_at_every_byte_of_its_end(path: Path) -> None:
    """Where the hash of an .npz file stands; without any of it the file is one that NumPy could have written."""
    expected, content, found = minidl.load(path), path.read_bytes(), []
    for cut in range(1, 200):
        path.write_bytes(content[:-cut])
        found.append(faults.outcome(path, expected))
    assert set(found) == {REFUSED}


@pytest.mark.slow
def test_flipped_bits(path: Path) -> None:
    """A flip in what nobody reads, a date or a name of the system that wrote, changes no array."""
    found = faults.flips(path, 97)
    assert set(found) <= {REFUSED, WHOLE} and found[REFUSED] > 5 * found[WHOLE]


def test_scrambled_files(path: Path) -> None:
    assert set(faults.scrambles(path, 150)) <= {REFUSED, WHOLE, "undamaged after all"}


def test_a_checkpoint_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    trainer = checkpoint(path)

    def read(path: Path) -> dict[str, Any]:
        trainer.load(path)
        return trainer.model.state_dict()

    assert set(faults.truncations(path, 64, read)) == {REFUSED}
    assert set(faults.flips(path, 211, read)) <= {REFUSED, WHOLE}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "safetensors", "checkpoint"])
def test_hostile_files(kind: str, tmp_path: Path) -> None:
    read: Any = minidl.load
    if kind == "safetensors":
        pytest.importorskip("safetensors")
        found = faults.hostile(tmp_path, ".safetensors", faults.hostile_safetensors())
    elif kind == "checkpoint":
        read = checkpoint(tmp_path / "run.npz").load
        found = faults.hostile(tmp_path, ".npz", faults.hostile_checkpoints(), read)
    else:
        found = faults.hostile(tmp_path, ".npz", faults.hostile_npz())
    assert {name: result for name, (result, _) in found.items() if result != REFUSED} == {}
    assert max(memory for _, memory in found.values()) < 16


@pytest.mark.slow
def test_full_disks(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    assert set(faults.full_disks(tmp_path / "model.npz", 640)) == {
        "a clear error, the old file whole"
    }


@pytest.mark.slow
def test_kills_while_saving(tmp_path: Path) -> None:
    assert faults.kills_while_saving(tmp_path / "model.npz", 3)[WHOLE] == 3
