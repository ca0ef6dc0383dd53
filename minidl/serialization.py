"""save and load: a dict of arrays in one .npz file, without pickle. What is in it, each state_dict() says."""

from __future__ import annotations

import os
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a layer, an optimizer or a dict of arrays to an ``.npz`` file, which NumPy can read, too.

    The file is written beside its place and then moved there, so that a fault leaves the old one whole.

    Args:
        obj: a dict of arrays and numbers, or anything whose ``state_dict()`` gives one.
        path: where; ends in ``.npz``.

    Raises:
        TypeError: ``obj`` is neither, or a value in it is no array or number.
        ValueError: the path ends otherwise.
        FileNotFoundError: its folder does not exist.

    >>> import minidl, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     minidl.save(minidl.layers.Linear(3, 2), f"{folder}/model.npz")
    ...     sorted(minidl.load(f"{folder}/model.npz"))
    ['b', 'w']
    """
    target = _npz(path, "save")
    state = obj.state_dict() if hasattr(obj, "state_dict") else obj
    if not isinstance(state, Mapping):
        raise TypeError(f"save: want a layer, an optimizer or a dict of arrays, got {type(obj).__name__}")
    arrays = {key: _as_array(key, value) for key, value in state.items()}
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save: there is no folder {target.parent}")
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        # Not np.savez: it takes the arrays as keywords, so that none could be named "file".
        with zipfile.ZipFile(unfinished, "w") as archive:
            for key, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the dict of arrays that ``save`` (or ``np.savez``) wrote; give it to ``load_state_dict``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the path does not end in ``.npz``; the file is of another format, damaged, or holds
            Python objects, which are never unpickled.

    >>> load("missing.npz")
    Traceback (most recent call last):
    FileNotFoundError: load: there is no file missing.npz
    """
    source = _npz(path, "load")
    if not source.is_file():
        raise FileNotFoundError(f"load: there is no file {source}")
    arrays = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if not name.endswith(".npy"):
                    raise ValueError(f"it has a member {name}, which is no array")
                with archive.open(name) as member:
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"load: {source} is no file of plain arrays as save writes it: {error}") from error
    return arrays


def _npz(path: str | os.PathLike[str], where: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{where}: want a path, got {type(path).__name__}")
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{where}: want a path that ends in .npz, got {path}")
    return path


def _as_array(key: Any, value: Any) -> Array:
    if not isinstance(key, str):
        raise TypeError(f"save: names must be text, got {key!r}")
    array = np.asarray(getattr(value, "data", value) if hasattr(value, "cleargrad") else value)
    if array.dtype.hasobject:
        raise TypeError(f"save: {key!r} is no array or number but {type(value).__name__}")
    return array
