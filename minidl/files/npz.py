"""Arrays in an .npz file that carries their hash. What is in them is said by those who save.

How a file is written safely is in `atomic.py`; the public save and load are in `state.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minidl.files import atomic

if TYPE_CHECKING:
    from pathlib import Path  # as zipfile and hashlib, it is imported where it is used
    from zipfile import ZipFile, ZipInfo

Array = npt.NDArray[Any]

SIGNED = b"minidl sha256:"  # and the hash of all arrays, as the comment of an .npz file
HEADER = 10_000  # bytes that the description of an array may have
# what is compressed may grow to so many bytes, or times its file's
ROOM = 2**26
RATIO = 100
CHUNK = 2**20
END = 22  # bytes of a zip file's end, before its comment


def save_npz(
    arrays: Mapping[str, Array],
    target: Path,
    where: str,
    before_replace: Callable[[], None] | None = None,
) -> None:
    """Write arrays to an .npz file with their hash as its comment.

    ``before_replace`` as for ``atomic.write``.
    """
    import zipfile

    hashes = {name: _hash(array) for name, array in arrays.items()}
    for name in arrays:
        _check_name(name, f"{where}: ")

    def put(file: IO[bytes]) -> None:
        # not np.savez: it could not name an array "file"
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = SIGNED + _together(hashes).encode()
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    def check(path: Path) -> bool:
        return _read_npz(path, lambda name, array: None)[1] == hashes

    atomic.write(target, where, put, check, before_replace)


def load_npz(
    source: Path, where: str, problem: str, *, signed: bool = False
) -> tuple[dict[str, Array], str | None]:
    """The arrays of an .npz file, and the hash that it carries, which they agree with; ``signed``
    wants one.

    Every size is checked before memory is taken for it, and nothing is unpickled: a file's content
    can only be refused, by a ValueError that names it.
    """
    atomic.check_readable(source, where)
    arrays: dict[str, Array] = {}
    try:
        comment, hashes = _read_npz(source, arrays.__setitem__)
        if (signed or comment) and not comment.startswith(SIGNED):
            raise ValueError("it has no hash")
        said = comment.removeprefix(SIGNED).decode() if comment else None
        if said is not None and said != _together(hashes):
            raise ValueError("its arrays do not agree with its hash")
    except Exception as error:  # a damaged file raises whatever zipfile, zlib and struct raise
        raise atomic.unreadable(error, f"{where}: {source}", problem) from error
    return arrays, said


def _read_npz(source: Path, take: Callable[[str, Array], None]) -> tuple[bytes, dict[str, str]]:
    """Give every array to ``take``; return the file's comment and the arrays' hashes by name.

    The file is opened once: another may take its place meanwhile.
    """
    import zipfile

    hashes: dict[str, str] = {}
    with open(source, "rb") as file, zipfile.ZipFile(file) as archive:
        size = file.seek(0, 2)
        _check_end(file, archive, size)
        _check_members(archive, size)
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as member:
                array = _read_array(member, name, info.file_size)
            hashes[name] = _hash(array)
            take(name, array)
        return archive.comment, hashes


def _check_end(file: IO[bytes], archive: ZipFile, size: int) -> None:
    """Refuse a file whose table of contents is cut off or emptied."""
    length = len(archive.comment)
    file.seek(size - END - length)
    end = file.read(END)
    if not end.startswith(b"PK\5\6") or end[-2:] != length.to_bytes(2, "little"):
        raise ValueError("it ends too soon, or too late")
    members = archive.infolist()
    if members[0].header_offset if members else size - length - END:
        raise ValueError("it has bytes that belong to no array")


def _check_members(archive: ZipFile, size: int) -> None:
    """Refuse names that are paths elsewhere or come twice, sizes that lie, and members in
    members.
    """
    members = archive.infolist()
    if len({info.filename for info in members}) < len(members):
        raise ValueError("two arrays in it have one name")
    for info, following in zip(members, [*members[1:], None]):
        _check_member(info, following.header_offset if following else archive.start_dir)
    expanded = sum(info.file_size for info in members if info.compress_type)
    if expanded > max(ROOM, RATIO * size):
        raise ValueError(
            f"it would grow from {size:,} to {expanded:,} bytes; write such arrays uncompressed"
        )


def _check_member(info: ZipInfo, end: int) -> None:
    name = info.orig_filename  # zipfile has cut the other one at a NUL
    if not name.endswith(".npy"):
        raise ValueError(f"{name!r} is no array")
    _check_name(name.removesuffix(".npy"))
    if info.flag_bits & 1 or info.compress_type not in (0, 8):
        raise ValueError(f"{name!r} is encrypted or compressed in an unusual way")
    if info.compress_type == 0 and info.file_size != info.compress_size:
        raise ValueError(f"{name!r} has two sizes, {info.file_size} and {info.compress_size}")
    if info.header_offset + 30 + len(name.encode()) + info.compress_size > end:
        raise ValueError(f"{name!r} reaches into what follows it")


def _check_name(name: str, where: str = "") -> None:
    """Refuse a name that a zip file cannot carry, or that unpacking it would take for a place
    elsewhere.
    """
    if not name or re.search(r"[\\\0]|^/|^\w:|[\ud800-\udfff]", name) or ".." in name.split("/"):
        raise ValueError(f"{where}{name!r} is no name for an array in an .npz file")


def _read_array(member: IO[bytes], name: str, size: int) -> Array:
    """The array of a .npy file of so many bytes, which is read to its end, where zipfile compares
    checksums.
    """
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{name!r} is of version {version} of the format")
    shape, columns, dtype = readers[version](member, max_header_size=HEADER)
    if dtype.kind not in "biufcSUmM" or dtype.subdtype is not None:
        raise ValueError(f"{name!r} is no plain array, but of dtype {dtype}")
    if member.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name!r} of shape {shape} and dtype {dtype} is not of {size} bytes")
    array: Array = np.empty(shape[::-1] if columns else shape, dtype)
    _fill(_bytes(array).data, member, name)
    if dtype.kind == "b" and (_bytes(array) > 1).any():
        raise ValueError(f"{name!r} is damaged")
    return array.T if columns else array


def _fill(memory: memoryview, member: IO[bytes], name: str) -> None:
    """Read a file to its end into memory of its size."""
    while memory:
        part = member.read(min(CHUNK, len(memory)))
        if not part:
            raise ValueError(f"{name!r} ends too soon")
        memory[: len(part)] = part
        memory = memory[len(part) :]
    if member.read(1):
        raise ValueError(f"{name!r} is damaged")


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """A contiguous array as the bytes it is made of."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def _hash(array: Array) -> str:
    """The hash of an array.

    Of its dtype, its shape and its values, in whatever order they lie in memory.
    """
    import hashlib

    sha = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    sha.update(_bytes(np.asarray(array, order="C")).data)
    return sha.hexdigest()


def _together(hashes: Mapping[str, str]) -> str:
    """The hash of all arrays, by those of each."""
    import hashlib

    lines = [f"{hashes[name]} {name}\n" for name in sorted(hashes)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
