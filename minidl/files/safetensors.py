"""Arrays in a .safetensors file, by the package of that name; with their hash among its metadata.

How a file is written safely is in `atomic.py`; the public save and load are in `state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.common.extras import install
from minidl.files import atomic
from minidl.files.npz import Array, _bytes, _hash, _together

if TYPE_CHECKING:
    from pathlib import Path

OURS = "minidl.sha256"
TYPES = {  # BF16, which NumPy does not have, becomes float32, which holds its values exactly
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


def save_safetensors(arrays: Mapping[str, Array], target: Path, where: str) -> None:
    """Write arrays to a .safetensors file; TypeError for a dtype without a place in it."""
    package = _package(where)
    known = {np.dtype(code) for code in TYPES.values()}
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in known or name == "__metadata__":
            raise TypeError(
                f"{where}: safetensors has no {name!r} of dtype {array.dtype}; .npz has"
            )
    # Contiguous and little-endian: version 0.8.0 of the package writes other arrays wrong, and does
    # not say so.
    plain = {
        name: array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        for name, array in arrays.items()
    }
    digest = _digest(plain)
    # "pt" is what readers of Hugging Face's ask for; the arrays are the same in every framework.
    content = package.numpy.save(plain, {"format": "pt", OURS: digest})

    def check(path: Path) -> bool:
        return _digest(_read_arrays(path.read_bytes(), package)) == digest

    atomic.write(target, where, lambda file: file.write(content), check)


def load_safetensors(source: Path, where: str, problem: str) -> dict[str, Array]:
    """The arrays of a .safetensors file, which agree with the hash that it carries if it is
    minidl's.
    """
    package = _package(where)
    atomic.check_readable(source, where)
    try:
        data = source.read_bytes()
        arrays = _read_arrays(data, package)
        said = _read_hash(data)
        if said not in (None, _digest(arrays)):
            raise ValueError("its arrays do not agree with its hash")
    except Exception as error:
        raise atomic.unreadable(error, f"{where}: {source}", problem) from error
    return arrays


def _digest(arrays: Mapping[str, Array]) -> str:
    """One hash of all arrays and their names."""
    return _together({name: _hash(array) for name, array in arrays.items()})


def _read_arrays(data: bytes, package: Any) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, entry in package.deserialize(data):  # this checks lengths, offsets and overlaps
        dtype = entry["dtype"]
        if dtype not in TYPES:
            raise ValueError(f"{name!r} has dtype {dtype}, which NumPy does not have")
        array = np.frombuffer(entry["data"], TYPES[dtype]).reshape(entry["shape"])
        if dtype == "BOOL" and (_bytes(array) > 1).any():
            raise ValueError(f"{name!r} is damaged")
        if dtype == "BF16":
            arrays[name] = (array.astype("<u4") << 16).view("<f4")
        else:
            arrays[name] = array.copy()
    return arrays


def _read_hash(data: bytes) -> str | None:
    """The hash that minidl wrote, also if its name was damaged.

    None in a file of another writer.
    """
    import json

    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
    facts = header.get("__metadata__") or {}
    ours = any(
        "minidl" in name or "sha256" in name or len(value) == 64 for name, value in facts.items()
    )
    return facts.get(OURS, "lost") if ours else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of the pairs; the package would take the last of two that have one name."""
    header = dict(pairs)
    if len(header) < len(pairs):
        raise ValueError("a name is in its header more than once")
    return header


def _package(where: str) -> Any:
    try:
        package = import_module("safetensors")
        import_module("safetensors.numpy")
    except ImportError as error:
        raise ImportError(
            f"{where}: .safetensors needs its package: {install('safetensors')}"
        ) from error
    return package
