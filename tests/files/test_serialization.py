"""save and load: exact round trips, files that are whole or not there, and what bad files get.

Faults in larger numbers (kills, full disks, hostile files) are in tests/reliability.
"""

import builtins
import fcntl
import os
import sys
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
        "a.b.0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "zero-d": np.array(1.5),
        "empty": np.zeros((0, 3)),
        "file": np.array([True, False]),
        "x": np.array(1),
        "x.npy": np.array(2),
        "number": 3,
        "rate": 0.1,
        "columns": np.asfortranarray(np.ones((2, 3))),
        "text": "adam",
        "ü/é": np.array([np.nan, np.inf, -0.0]),
        "bits": np.array(7, np.uint64),
        "v": minidl.Variable([1.0]),
        "strided": np.arange(10)[::3],
    }
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
        with pytest.raises(
            ValueError, match=f"want a path that ends in .npz or .safetensors, got .*{name}"
        ):
            call()


def test_arguments_the_wrong_way_round(path):
    with pytest.raises(
        ValueError, match=r"save: want a path that ends in \.npz or \.safetensors, got \{\}"
    ):
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
        write_text,
        write_objects,
        write_other_zip,
        write_no_array,
        write_half,
        write_damaged,
        write_damaged_compressed,
        write_encrypted,
    ],
)
def test_files_of_another_kind(path, write):
    write(path)
    with pytest.raises(
        ValueError, match=r"load: .*model\.npz is no file of plain arrays as save writes it: "
    ):
        minidl.load(path)


# ---- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "../a", "a/../b", "/a", "C:a", "a\\b", "a\0b", "\ud800"])
def test_names_that_a_zip_cannot_carry(path, name):
    with pytest.raises(ValueError, match=r"save: .* is no name for an array"):
        minidl.save({name: np.ones(2)}, path)
    assert not path.exists()


def test_dots_and_slashes_within_a_name_are_fine(path):
    names = ["a/b", "a..b", "..a", "a b", "ключ"]
    minidl.save({name: np.ones(2) for name in names}, path)
    assert list(minidl.load(path)) == names


def test_a_folder_in_the_way(path):
    path.mkdir()
    with pytest.raises(
        IsADirectoryError, match=r"save: .*model\.npz is a folder, want the place of a file"
    ):
        minidl.save({"a": np.ones(2)}, path)
    with pytest.raises(FileNotFoundError):
        minidl.load(path)


def test_no_permission(path, monkeypatch):
    minidl.save({"a": np.ones(2)}, path)
    real = builtins.open

    def refuses(file, mode="r", *args, **keywords):
        if "x" in mode:
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, mode, *args, **keywords)

    monkeypatch.setattr(builtins, "open", refuses)
    with pytest.raises(
        PermissionError, match=r"save: .*model\.npz was not written, .*: Permission denied"
    ):
        minidl.save({"a": np.zeros(2)}, path)
    monkeypatch.undo()
    assert minidl.load(path)["a"].tolist() == [1, 1]


def test_what_was_written_is_read_back_before_it_counts(path, monkeypatch):
    minidl.save({"a": np.ones(100)}, path)
    real = np.lib.format.write_array

    def lies(member, array, **keywords):
        real(member, array + 1, **keywords)

    monkeypatch.setattr(np.lib.format, "write_array", lies)
    with pytest.raises(OSError, match="what was read back is not what was written"):
        minidl.save({"a": np.ones(100)}, path)
    assert minidl.load(path)["a"].tolist() == [1] * 100 and len(list(path.parent.iterdir())) == 1


def test_a_link_stays_one_and_the_mode_of_a_file_too(path, tmp_path):
    minidl.save({"a": np.ones(2)}, path)
    path.chmod(0o640)
    link = tmp_path / "link.npz"
    link.symlink_to(path)
    minidl.save({"a": np.zeros(2)}, link)
    assert (
        link.is_symlink()
        and minidl.load(path)["a"].tolist() == [0, 0]
        and path.stat().st_mode & 0o777 == 0o640
    )


def test_what_dead_processes_left_is_swept(path):
    old, new, held, other = (
        path.with_name(f".{name}.tmp")
        for name in (
            "model.npz.00000001",
            "model.npz.00000002",
            "model.npz.00000003",
            "model.npz.backup",
        )
    )
    for file in (old, new, held, other):
        file.write_bytes(b"half")
        if file is not new:
            os.utime(file, (0, 0))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        minidl.save({"a": np.ones(2)}, path)
    assert not old.exists() and new.exists() and held.exists() and other.exists()


def test_what_savez_compressed_wrote_grows_within_limits(path):
    np.savez_compressed(path, a=np.zeros(10**6))
    assert minidl.load(path)["a"].shape == (10**6,)
    np.savez_compressed(path, a=np.zeros(10**7, np.uint8), b=np.zeros(6 * 10**7, np.uint8))
    with pytest.raises(ValueError, match=r"it would grow from .* to 70,000,256 bytes; write"):
        minidl.load(path)


# ---- safetensors ---------------------------------------------------------------------------------------


@pytest.fixture
def tensors(tmp_path):
    pytest.importorskip("safetensors")
    return tmp_path / "model.safetensors"


def test_safetensors_round_trip_is_exact(tensors):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 6))
    state = {
        "w": w,
        "columns": np.asfortranarray(w),
        "turned": w.T,
        "strided": w[::2, ::3],
        "backwards": w[::-1],
        "big": w.astype(">f8"),
        "zero-d": np.array(1.5, np.float32),
        "empty": np.zeros((0, 3)),
        "n": 3,
        "mask": w[0] > 0,
        "half": w.astype(np.float16),
        "complex": w.astype(np.complex64),
        "broadcast": np.broadcast_to(w[0], (3, 6)),
        **{f"i{bits}": np.arange(3, dtype=f"i{bits}") for bits in (1, 2, 4, 8)},
        **{f"u{bits}": np.arange(3, dtype=f"u{bits}") for bits in (1, 2, 4, 8)},
    }
    minidl.save(state, tensors)
    loaded = minidl.load(tensors)
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        value = np.asarray(value)
        assert (
            loaded[name].dtype == value.dtype.newbyteorder("=")
            and loaded[name].shape == value.shape
        )
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].flags.writeable


def test_the_package_reads_ours_and_we_read_its(tensors):
    package = pytest.importorskip("safetensors.numpy")
    w = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    minidl.save({"a.w": w}, tensors)
    np.testing.assert_array_equal(package.load_file(tensors)["a.w"], w)
    package.save_file({"b": np.ones(2)}, tensors)
    assert minidl.load(tensors)["b"].tolist() == [1, 1]
    model = MLP([4, 3], in_features=5)
    minidl.save(model, tensors)
    twin = MLP([4, 3])
    twin.load_state_dict(minidl.load(tensors))
    np.testing.assert_array_equal(twin(np.ones((1, 5))).data, model(np.ones((1, 5))).data)


def test_bfloat16_becomes_float32(tensors):
    values = np.array([1.0, -2.5, 3.140625, np.inf], np.float32)
    data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = b'{"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}'
    tensors.write_bytes(len(header).to_bytes(8, "little") + header + data)
    loaded = minidl.load(tensors)["a"]
    assert loaded.dtype == np.float32 and loaded.tolist() == values.reshape(2, 2).tolist()


@pytest.mark.parametrize(
    "value", [np.array("text"), np.ones(2, complex), np.ones(2, np.longdouble)]
)
def test_what_safetensors_has_not(tensors, value):
    with pytest.raises(TypeError, match=r"save: safetensors has no 'a' of dtype .*; \.npz has"):
        minidl.save({"a": value}, tensors)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    path = tmp_path / "model.safetensors"
    with pytest.raises(
        ImportError, match=r"save: \.safetensors needs its package: .*pip install '\.\["
    ):
        minidl.save({"a": np.ones(2)}, path)
    path.write_bytes(b"")
    with pytest.raises(ImportError, match="load: "):
        minidl.load(path)
