"""Files that an earlier version wrote are read: what docs/versions.md promises. They are made by make_files.py."""

import numpy as np
import pytest

import minidl
from tests.reference import make_files

FOLDER = make_files.FOLDER


def weights():
    with np.load(FOLDER / "weights.npz") as file:  # NumPy alone reads them
        return dict(file)


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_weights():
    equal(minidl.load(FOLDER / "weights.npz"), weights())
    model = make_files.trainer().model
    model.load(FOLDER / "weights.npz")
    equal(model.state_dict(), weights())


def test_weights_in_the_other_format():
    pytest.importorskip("safetensors")
    equal(minidl.load(FOLDER / "weights.safetensors"), weights())


def test_the_weights_in_a_checkpoint():
    model = make_files.trainer().model
    model.load(FOLDER / "checkpoint.npz")
    equal(model.state_dict(), weights())


def test_a_run_goes_on_from_a_checkpoint():
    whole = make_files.trainer()
    make_files.fit(whole, 4)
    resumed = make_files.trainer()
    make_files.fit(resumed, 4, resume=FOLDER / "checkpoint.npz")
    assert len(resumed.history.rows) == 4
    for (
        name,
        value,
    ) in whole.model.state_dict().items():  # on another processor the last bits may differ
        np.testing.assert_allclose(resumed.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
