"""save and load: exact round trips, files that are whole or not there, and what bad files get."""

import os
import zipfile

import numpy as np
import pytest

import minidl
from minidl.layers import LSTM, MLP, Sequential


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def test_a_model_round_trip_is_exact(path):
    model = Sequential(MLP([4, 3], in_features=5), LSTM(2, dtype=np.float64))
    model(np.ones((1, 5)))
    minidl.save(model, path)
    loaded, state = minidl.load(str(path)), model.state_dict()
    assert list(loaded) == list(state)
    for name, value in state.items():
        assert loaded[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded[name], value)
    fresh = Sequential(MLP([4, 3]), LSTM(2, dtype=np.float64))
    fresh.load_state_dict(loaded)
    model.reset_state()
    np.testing.assert_array_equal(fresh(np.ones((1, 5))).data, model(np.ones((1, 5))).data)


def test_arrays_and_numbers_of_all_kinds(path):
    state = {
        "a.b.0": np.arange(6, dtype=np.float32).reshape(2, 3), "zero-d": np.array(1.5), "empty": np.zeros((0, 3)),
        "file": np.array([True, False]), "x": np.array(1), "x.npy": np.array(2), "number": 3, "rate": 0.1,
        "columns": np.asfortranarray(np.ones((2, 3))), "text": "adam", "ü/é": np.array([np.nan, np.inf, -0.0]),
        "bits": np.array(7, np.uint64), "v": minidl.Variable([1.0]), "strided": np.arange(10)[::3],
    }  # fmt: skip
    minidl.save(state, path)
    loaded = minidl.load(path)
    assert list(loaded) == list(state)
    for name, value in state.items():
        value = np.asarray(value.data if name == "v" else value)
        assert loaded[name].dtype == value.dtype and loaded[name].shape == value.shape
        np.testing.assert_array_equal(loaded[name], value)
    assert str(loaded["text"]) == "adam" and float(loaded["rate"]) == 0.1


def test_numpy_reads_it_and_its_files_are_read(path):
    minidl.save({"a.w": np.ones(3)}, path)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["a.w"], np.ones(3))
    np.savez_compressed(path, b=np.zeros(2))
    np.testing.assert_array_equal(minidl.load(path)["b"], np.zeros(2))


def test_one_state_gives_one_file(path):
    minidl.save({"a": np.ones(3)}, path)
    first = path.read_bytes()
    os.utime(path, (0, 0))
    minidl.save({"a": np.ones(3)}, path)
    assert path.read_bytes() == first


def test_anything_with_a_state_dict(path):
    class Thing:
        def state_dict(self):
            return {"step": 7}

    minidl.save(Thing(), path)
    assert minidl.load(path)["step"] == 7


def test_a_fault_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    minidl.save({"a": np.ones(3)}, path)

    def fails(*args, **kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr(np.lib.format, "write_array", fails)
    with pytest.raises(OSError, match="the disk is full"):
        minidl.save({"a": np.zeros(3)}, path)
    assert [file.name for file in path.parent.iterdir()] == ["model.npz"]
    np.testing.assert_array_equal(minidl.load(path)["a"], np.ones(3))


@pytest.mark.parametrize(
    ("obj", "complaint"),
    [
        ([1, 2], "want a layer, an optimizer or a dict of arrays, got list"),
        ({"a": None}, "want names and arrays or numbers, got 'a': NoneType"),
        ({"a": {"b": 1}}, "want names and arrays or numbers, got 'a': dict"),
        ({"a": np.array([object()])}, "want names and arrays or numbers, got 'a': ndarray"),
        ({1: np.ones(2)}, "want names and arrays or numbers, got 1: ndarray"),
    ],
)
def test_what_cannot_be_saved(path, obj, complaint):
    with pytest.raises(TypeError, match=complaint):
        minidl.save(obj, path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["model", "model.npy", "model.pt"])
def test_the_suffix_is_npz(tmp_path, name):
    for call in (lambda: minidl.save({}, tmp_path / name), lambda: minidl.load(tmp_path / name)):
        with pytest.raises(ValueError, match=f"want a path that ends in .npz or .safetensors, got .*{name}"):
            call()


def test_arguments_the_wrong_way_round(path):
    with pytest.raises(ValueError, match=r"save: want a path that ends in \.npz or \.safetensors, got \{\}"):
        minidl.save(path, {})


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load: there is no file .*none\.npz"):
        minidl.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match=r"save: there is no folder .*none"):
        minidl.save({}, tmp_path / "none" / "a.npz")


def write_text(path):
    path.write_text("not a zip")


def write_objects(path):
    np.savez(path, a=np.array([None]))


def write_other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "text")


def write_no_array(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", "text")


def write_half(path):
    minidl.save({"a": np.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def write_damaged_compressed(path):
    np.savez_compressed(path, a=np.arange(1000.0))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def write_encrypted(path):
    minidl.save({"a": np.ones(3)}, path)
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")  # its entry in the table of contents
    path.write_bytes(data[: start + 8] + b"\x01" + data[start + 9 :])


def write_damaged(path):
    minidl.save({"a": np.ones(1000)}, path)
    data = bytearray(path.read_bytes())
    data[4000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "write",
    [
        write_text, write_objects, write_other_zip, write_no_array, write_half, write_damaged,
        write_damaged_compressed, write_encrypted,
    ],
)
def test_files_of_another_kind(path, write):
    write(path)
    with pytest.raises(ValueError, match=r"load: .*model\.npz is no file of plain arrays as save writes it: "):
        minidl.load(path)
