"""save and load: a dict of arrays in one file, .npz or .safetensors, that is whole or not there; never pickle.

What is in the dict, each state_dict() says; what a checkpoint holds is in training/checkpoint.py.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from io import BufferedReader
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minidl.common.arrays import host
from minidl.common.extras import install

if TYPE_CHECKING:
    from pathlib import (
        Path,  # imported where it is used, as zipfile and hashlib are: they take longer than minidl
    )
    from zipfile import ZipInfo

Array = npt.NDArray[Any]

SIGNED = b"minidl sha256:"  # and the hash of all arrays, as the comment of an .npz file
HEADER = re.compile(  # of the .npy files in it, as NumPy writes one for a plain dtype; nothing of it is evaluated
    r"\{'descr': '([<>|]?(?:b1|[iu][1248]|f(?:[248]|12|16)|c(?:8|16|24|32)|[SU]\d{1,9}|[mM]8(?:\[\w{1,20}\])?))', "
    r"'fortran_order': (True|False), 'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), ?\} *\n"
)
ROOM, RATIO = (
    2**26,
    100,
)  # compressed arrays may take this many bytes, or this many times their file's, if that is more
CHUNK = 2**20
PLAIN = "no file of plain arrays as save writes it"
TYPES = {  # of safetensors; BF16, which NumPy has not, becomes float32, which holds its values exactly
    "BOOL": "?",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
    "BF16": "<u2",
}


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a layer, an optimizer or a dict of arrays and numbers to a file, ``.npz`` or ``.safetensors``.

    NumPy reads the one, PyTorch's and Hugging Face's tools the other, which needs the extra
    ``safetensors``. The file is written beside its place, flushed to the disk, read back and compared, and only
    then moved there: whatever fails, the old one stays whole.

    Raises TypeError if ``obj`` is no such dict and has no ``state_dict()`` that gives one, or the format has no such
    dtype; ValueError for another suffix; OSError (FileNotFoundError, PermissionError, ..) if it could not be written;
    ImportError without safetensors.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"w": np.ones(3)}, f"{folder}/model.npz")
    ...     load(f"{folder}/model.npz")
    {'w': array([1., 1., 1.])}
    """
    target = located(path, "save", ".npz", ".safetensors")
    state = obj.state_dict() if hasattr(obj, "state_dict") else obj
    if not isinstance(state, Mapping):
        raise TypeError(
            f"save: want a layer, an optimizer or a dict of arrays, got {type(obj).__name__}"
        )
    arrays = {name: np.asarray(host(value)) for name, value in state.items()}
    for name, array in arrays.items():
        if not isinstance(name, str) or array.dtype.kind not in "biufcSUmM":
            raise TypeError(
                f"save: want names and arrays or numbers, got {name!r}: {type(state[name]).__name__}"
            )
    (_save_safetensors if target.suffix == ".safetensors" else save_npz)(arrays, target, "save")


def load(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the dict of arrays that ``save``, ``np.savez`` or a safetensors writer wrote, for ``load_state_dict``.

    Every size is checked before memory is taken for it; what ``save`` wrote is checked against its hash.

    Raises FileNotFoundError if there is no such file; ValueError if the path has another suffix, or the file is of
    another format, damaged, or holds Python objects, which are never unpickled; ImportError without safetensors.
    """
    source = located(path, "load", ".npz", ".safetensors")
    if not source.is_file():
        raise FileNotFoundError(f"load: there is no file {source}")
    if source.suffix == ".safetensors":
        return _load_safetensors(source)
    return load_npz(source, "load", PLAIN)[0]


# ---- .npz ----------------------------------------------------------------------------------------------


def save_npz(
    arrays: Mapping[str, Array], target: Path, where: str, aside: Callable[[], None] | None = None
) -> None:
    """Write arrays to an .npz file with their hash as its comment; ``aside`` as for ``write``."""
    import zipfile

    hashes = {name: _hash(array) for name, array in arrays.items()}
    for name in arrays:
        _check_name(name, where)

    def put(file: IO[bytes]) -> None:
        with zipfile.ZipFile(
            file, "w"
        ) as archive:  # not np.savez: it could not name an array "file"
            archive.comment = SIGNED + _together(hashes).encode()
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write(
        target,
        where,
        put,
        lambda file: _read_npz(file, lambda name, array: None)[1] == hashes,
        aside,
    )


def load_npz(
    source: Path, where: str, problem: str, *, signed: bool = False
) -> tuple[dict[str, Array], str | None]:
    """The arrays of an .npz file, and the hash that it carries, which they agree with; ``signed`` wants one."""
    arrays: dict[str, Array] = {}
    try:
        comment, hashes = _read_npz(source, arrays.__setitem__)
        if (signed or comment) and not comment.startswith(SIGNED):
            raise ValueError("it has no hash")
        found = comment.removeprefix(SIGNED).decode() if comment else None
        if found is not None and found != _together(hashes):
            raise ValueError("its arrays do not agree with its hash")
    except (
        Exception
    ) as error:  # what a damaged file raises is without number: zipfile, zlib, struct, memory..
        raise _unreadable(error, f"{where}: {source}", problem) from error
    return arrays, found


def _read_npz(source: Path, take: Callable[[str, Array], None]) -> tuple[bytes, dict[str, str]]:
    """Give every array to ``take``; return the file's comment and the arrays' hashes by name."""
    import zipfile

    hashes: dict[str, str] = {}
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        size, length = os.path.getsize(source), len(archive.comment)
        with open(source, "rb") as file:
            file.seek(size - 22 - length)
            end = file.read(22)
        if not end.startswith(b"PK\5\6") or end[20:] != length.to_bytes(2, "little"):
            raise ValueError("it ends too soon, or too late")
        if members[0].header_offset if members else size - length - 22:
            raise ValueError("it has bytes that belong to no array")
        _check_members(members, size, archive.start_dir)
        for info in members:
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as member:
                array = _read_array(member, name, info.file_size)
            hashes[name] = _hash(array)
            take(name, array)
        return archive.comment, hashes


def _check_members(members: list[ZipInfo], size: int, end: int) -> None:
    """Refuse what no writer of arrays makes: names that are paths elsewhere, sizes that lie, members in members."""
    names = [info.filename for info in members]
    if len(set(names)) < len(names):
        raise ValueError("two arrays in it have one name")
    expanded = 0
    for info, following in zip(members, [*(m.header_offset for m in members[1:]), end]):
        name = info.orig_filename  # zipfile has cut the other one at a NUL
        if not name.endswith(".npy"):
            raise ValueError(f"{name!r} is no array")
        _check_name(name.removesuffix(".npy"), "")
        if info.flag_bits & 1 or info.compress_type not in (0, 8):
            raise ValueError(f"{name!r} is encrypted or compressed in an unusual way")
        if info.compress_type == 0 and info.file_size != info.compress_size:
            raise ValueError(f"{name!r} has two sizes, {info.file_size} and {info.compress_size}")
        if info.header_offset + 30 + len(name.encode()) + info.compress_size > following:
            raise ValueError(f"{name!r} reaches into what follows it")
        expanded += info.file_size if info.compress_type else 0
    if expanded > max(ROOM, RATIO * size):
        raise ValueError(
            f"it would grow from {size:,} to {expanded:,} bytes; write such arrays uncompressed"
        )


def _check_name(name: str, where: str) -> None:
    """Refuse a name that a zip file cannot carry, or that unpacking it would take for a place elsewhere."""
    if not name or re.search(r"[\\\0]|^/|^\w:|[\ud800-\udfff]", name) or ".." in name.split("/"):
        raise ValueError(
            f"{where}{': ' if where else ''}{name!r} is no name for an array in an .npz file"
        )


def _read_array(member: IO[bytes], name: str, size: int) -> Array:
    """The array of a .npy file of so many bytes, which is read to its end, where zipfile compares checksums."""
    start = member.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"{name!r} is no array")
    width = 2 * start[6]
    length = int.from_bytes(member.read(width), "little")
    found = HEADER.fullmatch(member.read(length).decode("latin1")) if length < 10_000 else None
    if found is None:
        raise ValueError(
            f"{name!r} is no plain array: its header has objects, fields, or is damaged"
        )
    dtype, shape = np.dtype(found[1]), tuple(int(n) for n in found[3].split(",") if n.strip())
    if 8 + width + length + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(
            f"{name!r} of shape {shape} and dtype {dtype} does not fit into {size} bytes"
        )
    array: Array = np.empty(shape[::-1] if found[2] == "True" else shape, dtype)
    rest = _bytes(array).data
    while rest:
        if not (part := member.read(min(CHUNK, len(rest)))):
            raise ValueError(f"{name!r} ends too soon")
        rest[: len(part)] = part
        rest = rest[len(part) :]
    if member.read(1) or (dtype.kind == "b" and (_bytes(array) > 1).any()):
        raise ValueError(f"{name!r} is damaged")
    return array.T if found[2] == "True" else array


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """A contiguous array as the bytes it is made of."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def _hash(array: Array) -> str:
    """The hash of an array: of its dtype, its shape and its values, in whatever order they lie in memory."""
    import hashlib

    found = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    found.update(_bytes(np.asarray(array, order="C")).data)
    return found.hexdigest()


def _together(hashes: Mapping[str, str]) -> str:
    """The hash of all arrays, by those of each."""
    import hashlib

    return hashlib.sha256(
        "".join(f"{hashes[name]} {name}\n" for name in sorted(hashes)).encode()
    ).hexdigest()


# ---- .safetensors --------------------------------------------------------------------------------------


def _save_safetensors(arrays: Mapping[str, Array], target: Path, where: str) -> None:
    package = _package(where)
    for name, array in arrays.items():
        if (
            array.dtype.newbyteorder("<") not in {np.dtype(code) for code in TYPES.values()}
            or name == "__metadata__"
        ):
            raise TypeError(
                f"{where}: safetensors has no {name!r} of dtype {array.dtype}; .npz has"
            )
    # Contiguous and little-endian: version 0.8.0 of the package writes other arrays wrong, and does not say so.
    plain = {
        n: a.astype(a.dtype.newbyteorder("<"), order="C", copy=False) for n, a in arrays.items()
    }
    hashes = {name: _hash(array) for name, array in plain.items()}
    # "pt" is what readers of Hugging Face's ask for; the arrays are the same in every framework.
    content = package.numpy.save(plain, {"format": "pt", "minidl.sha256": _together(hashes)})
    write(
        target,
        where,
        lambda file: file.write(content),
        lambda file: _read_safetensors(file, package)[1] == hashes,
    )


def _load_safetensors(source: Path) -> dict[str, Array]:
    package = _package("load")
    try:
        arrays, hashes, signed = _read_safetensors(source, package)
        if signed not in (None, _together(hashes)):
            raise ValueError("its arrays do not agree with its hash")
    except Exception as error:
        raise _unreadable(error, f"load: {source}", PLAIN) from error
    return arrays


def _read_safetensors(source: Path, package: Any) -> tuple[dict[str, Array], dict[str, str], Any]:
    """The arrays, their hashes, and the hash of all that the file carries, if any."""
    import json

    data = source.read_bytes()
    arrays: dict[str, Array] = {}
    for name, found in package.deserialize(data):  # this checks lengths, offsets and overlaps
        if found["dtype"] not in TYPES:
            raise ValueError(f"{name!r} has dtype {found['dtype']}, which NumPy has not")
        array = np.frombuffer(found["data"], TYPES[found["dtype"]]).reshape(found["shape"])
        if found["dtype"] == "BOOL" and (_bytes(array) > 1).any():
            raise ValueError(f"{name!r} is damaged")
        bf16 = found["dtype"] == "BF16"
        arrays[name] = (array.astype("<u4") << 16).view("<f4") if bf16 else array.copy()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")], object_pairs_hook=_once)
    facts = header.get("__metadata__") or {}
    ours = any(
        "minidl" in name or "sha256" in name or len(value) == 64 for name, value in facts.items()
    )
    signed = facts.get("minidl.sha256", "lost") if ours else None
    return arrays, {name: _hash(array) for name, array in arrays.items()}, signed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of the pairs; the package would take the last of two that have one name."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name is in its header more than once")
    return found


def _package(where: str) -> Any:
    try:
        package = import_module("safetensors")
        import_module("safetensors.numpy")
    except ImportError as error:
        raise ImportError(
            f"{where}: .safetensors needs its package: {install('safetensors')}"
        ) from error
    return package


# ---- files ---------------------------------------------------------------------------------------------


def located(path: Any, where: str, *suffixes: str) -> Path:
    """The path, if it has one of the suffixes."""
    from pathlib import Path

    if isinstance(path, str | os.PathLike) and Path(path).suffix in suffixes:
        return Path(path)
    raise ValueError(f"{where}: want a path that ends in {' or '.join(suffixes)}, got {path!r}")


def write(
    path: Path,
    where: str,
    put: Callable[[IO[bytes]], Any],
    check: Callable[[Path], bool],
    aside: Callable[[], None] | None = None,
) -> None:
    """Write a file beside its place, flush it to the disk, read it back, and move it there; or leave all as it was.

    ``aside`` is called when it is whole and checked, before it takes the place of the old one.

    Raises OSError, of the kind that the system gave, if ``put`` or the disk fails or ``check`` finds something else.
    """
    from pathlib import Path

    target = Path(os.path.realpath(path))  # the file that a link leads to is replaced, not the link
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"{where}: there is no folder {target.parent}")
    if target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, f"{where}: {target} is a folder, wanted the place of a file"
        )
    _sweep(target)
    unfinished = target.with_name(f".{target.name[:50]}.{os.urandom(4).hex()}.tmp")
    try:
        with open(unfinished, "xb") as file:
            _lock(file)
            put(file)
            file.flush()
            os.fsync(file.fileno())
            if not check(unfinished):
                raise OSError(errno.EIO, "what was read back is not what was written")
        with suppress(FileNotFoundError):
            os.chmod(unfinished, stat.S_IMODE(target.stat().st_mode))
        if aside is not None:
            aside()
        os.replace(unfinished, target)
        flush_folder(target.parent)
    except OSError as error:
        raise _failed(
            error, f"{where}: {target} was not written, what was there is untouched"
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush to the disk which files a folder has; where the system can."""
    with suppress(PermissionError, IsADirectoryError):  # what Windows says
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _failed(error: OSError, what: str) -> OSError:
    """An error of the same kind that says what was tried."""
    why = f"{what}: {error.strerror or error}"
    return OSError(why) if error.errno is None else OSError(error.errno, why)


def _unreadable(error: Exception, which: str, problem: str) -> Exception:
    """What the disk or the system complains of stays what it is, anything else is a file of another kind."""
    if isinstance(error, OSError) and error.errno not in (
        None,
        errno.EINVAL,
    ):  # a seek to nowhere is the file's fault
        return _failed(error, f"{which} could not be read")
    return ValueError(f"{which} is {problem}: {str(error) or type(error).__name__}")


def _sweep(target: Path) -> None:
    """Delete what processes that died left of writing the same file: it is not locked, and not new."""
    pattern = re.compile(re.escape(f".{target.name[:50]}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError):
        for found in _files(target.parent):
            if pattern.fullmatch(found.name) and time.time() - found.stat().st_mtime > 60:
                with open(target.with_name(found.name), "rb") as file:
                    if _lock(file):
                        os.unlink(found.path)


def _files(folder: Path) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _lock(file: IO[bytes] | BufferedReader) -> bool:
    """Lock a file as long as it is open; False if another has, or where there are no such locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
