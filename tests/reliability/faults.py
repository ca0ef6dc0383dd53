"""Faults to try on files: kills while saving, full disks, truncation, flipped bits, files made to do harm.

Each function tries a kind and counts outcomes; tests (test_files.py) and the script (measure.py) both use them.
"""

import io
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import minidl

ROOT = Path(__file__).parents[2]
WHOLE, REFUSED, WRONG, CRASH = "whole", "refused", "silently wrong", "another error"


def arrays(seed: int = 0, n: int = 40) -> dict[str, Any]:
    """A model's state: several dtypes and layouts, a scalar, an empty array."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((n, 7)).astype(np.float32)
    return {
        "layers.0.w": w,
        "layers.0.b": w.T[:, ::2].astype(np.float64),
        "columns": np.asfortranarray(w),
        "t": np.int64(3),
        "empty": np.zeros((0, 3), np.float32),
        "mask": w[:, 0] > 0,
        "half": w[0].astype(np.float16),
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    if sorted(a) != sorted(b):
        return False
    pairs = [(np.asarray(a[name]), np.asarray(b[name])) for name in a]
    return all((p.dtype, p.shape, p.tobytes()) == (q.dtype, q.shape, q.tobytes()) for p, q in pairs)


def outcome(
    path: Path, expected: dict[str, Any] | None, read: Callable[[Path], Any] = minidl.load
) -> str:
    """What reading a file comes to: refused is a ValueError, the only error that a file's content may cause."""
    try:
        found = read(path)
    except ValueError:
        return REFUSED
    except Exception as error:
        return f"{CRASH}: {type(error).__name__}: {error}"
    return WHOLE if expected is not None and same(found, expected) else WRONG


def truncations(
    path: Path, step: int = 64, read: Callable[[Path], Any] = minidl.load
) -> Counter[str]:
    """Every prefix of the file whose length is a multiple of ``step``, the file itself not among them."""
    content, expected, found = path.read_bytes(), read(path), Counter[str]()
    for length in range(0, len(content), step):
        path.write_bytes(content[:length])
        found[outcome(path, expected, read)] += 1
    path.write_bytes(content)
    return found


def flips(path: Path, step: int = 1, read: Callable[[Path], Any] = minidl.load) -> Counter[str]:
    """Every ``step``-th bit of the file, flipped alone."""
    content, expected, found = path.read_bytes(), read(path), Counter[str]()
    for bit in range(0, 8 * len(content), step):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found[outcome(path, expected, read)] += 1
    path.write_bytes(content)
    return found


def scrambles(
    path: Path, trials: int, seed: int = 0, read: Callable[[Path], Any] = minidl.load
) -> Counter[str]:
    """Random damage: up to four times a run of bytes overwritten, cut out, put in twice, or moved elsewhere."""
    rng, content, expected, found = (
        random.Random(seed),
        path.read_bytes(),
        read(path),
        Counter[str](),
    )
    for _ in range(trials):
        changed = content
        for _ in range(rng.randint(1, 4)):
            at, other = rng.randrange(len(changed) + 1), rng.randrange(len(changed) + 1)
            run = changed[at : at + rng.choice((1, 2, 4, 8, 64, 512))]
            rest, kind = changed[:at] + changed[at + len(run) :], rng.randrange(5)
            put = [rng.randbytes(len(run)), b"", run + run, bytes(len(run)), b"\xff" * len(run)][
                kind
            ]
            changed = (
                rest[:other] + run + rest[other:]
                if rng.random() < 0.2
                else rest[:at] + put + rest[at:]
            )
        path.write_bytes(changed)
        result = outcome(path, expected, read)
        found["undamaged after all" if changed == content else result] += 1
    path.write_bytes(content)
    return found


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file of this process can grow beyond so many bytes; the write that would fails, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_disks(path: Path, step: int = 64) -> Counter[str]:
    """Save a new state over an old one on a disk that is full after so many bytes, for every ``step``-th number."""
    old, new, found = arrays(0), arrays(1), Counter[str]()
    minidl.save(new, path)
    size = path.stat().st_size
    minidl.save(old, path)
    for limit in range(0, size, step):
        try:
            with file_size_limit(limit):
                minidl.save(new, path)
            found["saved all the same"] += 1
        except OSError as error:
            clear = str(path) in str(error) and "untouched" in str(error)
            kept = outcome(path, old) == WHOLE and [p.name for p in path.parent.iterdir()] == [
                path.name
            ]
            found[
                "a clear error, the old file whole" if clear and kept else f"{WRONG}: {error}"
            ] += 1
    return found


SAVER = """
import sys
from pathlib import Path
import minidl
from tests.reliability.faults import arrays
path, k = Path(sys.argv[1]), int(sys.argv[2])
while True:
    minidl.save(arrays(k, 5000), path)
    print(k, flush=True)
    k += 1
"""


def kills_while_saving(path: Path, trials: int, seed: int = 0) -> Counter[str]:
    """Processes that save one state after the other, each killed after a random time; every file must be whole, and
    no older than the last state of which ``save`` had said that it was saved."""
    rng, found, begin = random.Random(seed), Counter[str](), 0
    minidl.save(arrays(0, 5000), path)
    for _ in range(trials):
        command = [sys.executable, "-c", SAVER, str(path), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # the process is at work now
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            said = [
                int(line)
                for line in [first, *process.stdout.read().split("\n")[:-1]]
                if line.strip()
            ]
        last = said[-1]
        state = next((k for k in (last, last + 1) if outcome(path, arrays(k, 5000)) == WHOLE), None)
        left = [p.name for p in path.parent.iterdir() if p.suffix == ".tmp"]
        found["whole" if state is not None else WRONG] += 1
        found["killed in the middle of writing a file"] += bool(left)
        for name in left:
            (path.parent / name).unlink()
        begin = last + 1
    return found


# ---- files made to do harm -----------------------------------------------------------------------------


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin1") + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
        + data
    )


def plain(shape: str = "(2,)", descr: str = "'<f4'", data: bytes = b"\0" * 8) -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", data)


def zipped(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return buffer.getvalue()


class Harmful:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch harmed",)


def patched(content: bytes, at: bytes, offset: int, value: bytes) -> bytes:
    """The content with bytes replaced behind the last place where ``at`` is found."""
    place = content.rindex(at) + offset
    return content[:place] + value + content[place + len(value) :]


def hostile_npz() -> dict[str, bytes]:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Harmful()], object), allow_pickle=True)
    one, table = zipped(("a.npy", plain())), b"PK\x01\x02"
    two = zipped(("a.npy", plain()), ("b.npy", plain()))
    bomb = plain(f"({2**25},)", data=bytes(2**27))
    return {
        "a pickle as an array of objects": zipped(("a.npy", buffer.getvalue())),
        "a bare pickle in a zip": zipped(("a.npy", pickle.dumps(Harmful()))),
        "a bare pickle": pickle.dumps(Harmful()),
        "objects by another spelling": zipped(("a.npy", plain("(1,)", "'|O8'", b"\0" * 8))),
        "a header with code": zipped(("a.npy", plain("__import__('os').system('touch harmed')"))),
        "a header of 10 MB": zipped(("a.npy", npy(" " * 10**7, version=2))),
        "a header that says it is 4 GB": zipped(("a.npy", b"\x93NUMPY\2\0" + b"\xff" * 4)),
        "a header nested 3,000 deep": zipped(("a.npy", plain("(" * 3000))),
        "10^15 elements": zipped(("a.npy", plain("(1000000000000000,)"))),
        "10^60 elements": zipped(
            ("a.npy", plain("(1000000000000000000, 1000000000000000000, 1000000000000000000)"))
        ),
        "0 times 10^18 elements": zipped(
            ("a.npy", plain("(0, 1000000000000000000, 1000000000000000000)", data=b""))
        ),
        "70 dimensions": zipped(("a.npy", plain("(" + "1, " * 70 + ")", data=b"\0" * 4))),
        "a negative length": zipped(("a.npy", plain("(-2,)"))),
        "more data than the shape": zipped(("a.npy", plain("(1,)"))),
        "less data than the shape": zipped(("a.npy", plain("(3,)"))),
        "fields": zipped(("a.npy", plain("(1,)", "[('x', '<f4'), ('y', '<f4')]"))),
        "a dtype that is none": zipped(("a.npy", plain("(2,)", "'<f5'"))),
        "a bool that is 2": zipped(("a.npy", plain("(2,)", "'|b1'", b"\1\2"))),
        "version 9 of .npy": zipped(("a.npy", npy("{}", version=9))),
        "128 MiB of zeros in 128 KiB": zipped(("a.npy", bomb), compression=zipfile.ZIP_DEFLATED),
        "a name that climbs": zipped(("../../a.npy", plain())),
        "a name from the root": zipped(("/etc/a.npy", plain())),
        "a name with a drive": zipped(("C:a.npy", plain())),
        "a name with backslashes": one.replace(b"a.npy", b"\\.npy"),
        "a name with a NUL": one.replace(b"a.npy", b"\0.npy"),
        "no name": zipped((".npy", plain())),
        "a name twice": two.replace(b"b.npy", b"a.npy"),
        "a folder": zipped(("a/", b"")),
        "a file of another kind": zipped(("readme.txt", b"text")),
        "an encrypted member": patched(one, table, 8, b"\1"),
        "LZMA": zipped(("a.npy", plain()), compression=zipfile.ZIP_LZMA),
        "BZIP2": zipped(("a.npy", plain()), compression=zipfile.ZIP_BZIP2),
        "an unknown compression": patched(one, table, 10, b"\x63\0"),
        "a size that lies": patched(one, table, 24, struct.pack("<I", 2**31)),
        "both sizes lie": patched(one, table, 20, struct.pack("<II", 2**31, 2**31)),
        "two members in one place": patched(two, table, 42, struct.pack("<I", 0)),
        "a member before the file": patched(one, table, 42, b"\xff" * 4),
        "a wrong checksum": patched(one, table, 16, b"\0\0\0\0"),
        "a table of contents elsewhere": patched(one, b"PK\x05\x06", 16, struct.pack("<I", 2**30)),
        "a table of contents of 4 GB": patched(one, b"PK\x05\x06", 12, b"\xff" * 4),
        "nothing": b"",
        "zeros": bytes(1000),
        "text": b"not a file of arrays",
        "a .npy": plain(),
    }


def tensors(header: Any, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def hostile_safetensors() -> dict[str, bytes]:
    a = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return {
        "nothing": b"",
        "7 bytes": bytes(7),
        "zeros": bytes(1000),
        "text": b"not a file of arrays",
        "a header of 2^63 bytes": tensors({"a": a}, length=2**63),
        "a header longer than the file": tensors({"a": a}, length=10**6),
        "a header of 90 MB that is not there": tensors({"a": a}, length=90 * 10**6),
        "a header that is no JSON": tensors(b"{{{{"),
        "a header nested 100,000 deep": tensors(b'{"a":' + b"[" * 10**5),
        "a header that is a list": tensors([]),
        "offsets beyond the end": tensors({"a": a | {"data_offsets": [0, 80], "shape": [20]}}),
        "negative offsets": tensors({"a": a | {"data_offsets": [-8, 0]}}),
        "offsets the wrong way round": tensors({"a": a | {"data_offsets": [8, 0]}}),
        "overlapping offsets": tensors({"a": a, "b": a | {"data_offsets": [4, 12]}}, b"\0" * 12),
        "one place for two": tensors({"a": a, "b": a}),
        "a gap": tensors({"a": a, "b": a | {"data_offsets": [12, 20]}}, b"\0" * 20),
        "data behind the end": tensors({"a": a}, b"\0" * 16),
        "a shape that does not fit": tensors({"a": a | {"shape": [3]}}),
        "a shape whose product overflows": tensors({"a": a | {"shape": [2**33, 2**33]}}),
        "a negative shape": tensors({"a": a | {"shape": [-2]}}),
        "10^18 elements": tensors({"a": a | {"shape": [10**18]}}),
        "an unknown dtype": tensors({"a": a | {"dtype": "O8"}}),
        "a dtype that NumPy has not": tensors({"a": a | {"dtype": "F8_E4M3", "shape": [8]}}),
        "a bool that is 2": tensors({"a": a | {"dtype": "BOOL", "shape": [8]}}, b"\2" * 8),
        "no dtype": tensors({"a": {"shape": [2], "data_offsets": [0, 8]}}),
        "a name twice": tensors(
            b'{"a":' + json.dumps(a).encode() + b',"a":' + json.dumps(a).encode() + b"}"
        ),
        "a wrong hash": tensors({"a": a, "__metadata__": {"minidl.sha256": "0" * 64}}),
    }


def hostile_checkpoints() -> dict[str, bytes]:
    """Files with the right hash, whose content makes no sense."""
    from minidl.files.npz import SIGNED, _hash, _together

    def signed(**given: Any) -> bytes:
        buffer = io.BytesIO()
        found = {name: np.asarray(value) for name, value in given.items()}
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.comment = (
                SIGNED + _together({name: _hash(array) for name, array in found.items()}).encode()
            )
            for name, array in found.items():
                inner = io.BytesIO()
                np.save(inner, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", inner.getvalue())
        return buffer.getvalue()

    def tree(content: Any) -> bytes:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        return signed(checkpoint=np.frombuffer(text, np.uint8))

    form = {"format": "minidl checkpoint 1"}
    keys = ("model", "optimizer", "parts", "generators", "callbacks", "history", "run")
    return {
        "weights only": signed(w=np.ones(3)),
        "arrays without a hash": zipped(("checkpoint.npy", plain())),
        "no JSON": tree(b"{"),
        "JSON nested 100,000 deep": tree(b"[" * 10**5),
        "a list": tree([1]),
        "another format": tree({"format": "minidl checkpoint 99", "tree": {"dict": {}}}),
        "no tree": tree(form),
        "an array that is not there": tree(form | {"tree": {"array": "w"}}),
        "a kind that is none": tree(form | {"tree": {"pickle": "w"}}),
        "two kinds": tree(form | {"tree": {"array": "w", "dict": {}}}),
        "an empty tree": tree(form | {"tree": {"dict": {}}}),
        "a tree of the wrong types": tree(form | {"tree": {"dict": dict.fromkeys(keys, 3)}}),
    }


def hostile(
    folder: Path, suffix: str, files: dict[str, bytes], read: Any = minidl.load
) -> dict[str, tuple[str, float]]:
    """The outcome for each file, and the most memory that reading took, in MiB."""
    found = {}
    for name, content in files.items():
        path = folder / f"hostile{suffix}"
        path.write_bytes(content)
        tracemalloc.start()
        result = outcome(path, None, read)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        found[name] = result, peak - len(content) / 2**20
        if Path("harmed").exists():
            Path("harmed").unlink()
            found[name] = "it ran code", peak
    return found
