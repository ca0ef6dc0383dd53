"""save and load: a dict of arrays in one .npz file, without pickle. What is in it, each state_dict() says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minidl.autograd import Variable

if TYPE_CHECKING:
    from pathlib import Path  # imported where it is used, as zipfile is: they take longer than minidl itself


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a layer, an optimizer or a dict of arrays and numbers to an ``.npz`` file, which NumPy can read, too.

    The file is written beside its place, then moved there: a fault leaves the old one whole. Raises TypeError if
    ``obj`` is no such dict and has no ``state_dict()`` that gives one, ValueError if the path does not end in
    ``.npz``, FileNotFoundError if its folder does not exist.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"w": np.ones(3)}, f"{folder}/model.npz")
    ...     load(f"{folder}/model.npz")
    {'w': array([1., 1., 1.])}
    """
    import zipfile

    target = _npz(path, "save")
    state = obj.state_dict() if hasattr(obj, "state_dict") else obj
    if not isinstance(state, Mapping):
        raise TypeError(f"save: want a layer, an optimizer or a dict of arrays, got {type(obj).__name__}")
    arrays = {name: np.asarray(value.data if isinstance(value, Variable) else value) for name, value in state.items()}
    for name, array in arrays.items():
        if not isinstance(name, str) or array.dtype.hasobject:
            raise TypeError(f"save: want names and arrays or numbers, got {name!r}: {type(state[name]).__name__}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save: there is no folder {target.parent}")
    unfinished = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:  # not np.savez: it could not name an array "file"
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read the dict of arrays that ``save`` (or ``np.savez``) wrote, for ``load_state_dict``.

    Raises FileNotFoundError if there is no such file; ValueError if the path does not end in ``.npz``, or the file is
    of another format, damaged, or holds Python objects, which are never unpickled.
    """
    import zipfile

    source = _npz(path, "load")
    if not source.is_file():
        raise FileNotFoundError(f"load: there is no file {source}")
    try:
        arrays = {}
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
    except Exception as error:  # what a damaged file raises is without number: zipfile, zlib, struct, tokenize..
        raise ValueError(f"load: {source} is no file of plain arrays as save writes it: {error}") from error
    return arrays


def _npz(path: str | os.PathLike[str], where: str) -> Path:
    from pathlib import Path

    if isinstance(path, str | os.PathLike) and Path(path).suffix == ".npz":
        return Path(path)
    raise ValueError(f"{where}: want a path that ends in .npz, got {path!r}")
