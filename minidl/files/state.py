"""save and load: a dict of arrays in one file, .npz or .safetensors, that is whole or not there;
never pickle.

What is in the dict, each state_dict() says; what a checkpoint holds is in training/snapshot.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.common.arrays import array_of, host
from minidl.files.atomic import check_suffix
from minidl.files.npz import Array, load_npz, save_npz
from minidl.files.safetensors import load_safetensors, save_safetensors

SUFFIXES = (".npz", ".safetensors")
PROBLEM = "no file of plain arrays as save writes it"
WEIGHTS = "model.parameters."  # what names of weights begin with in a checkpoint


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a layer, an optimizer or a dict of arrays and numbers to a file, ``.npz`` or
    ``.safetensors``.

    NumPy reads the one, PyTorch's and Hugging Face's tools the other, which needs the extra
    ``safetensors``. The file is written beside its place, flushed to the disk, read back and
    compared, and only then moved there: whatever fails, the old one stays whole.

    Raises TypeError if ``obj`` is no such dict and has no ``state_dict()`` that gives one, or the
    format has no such dtype; ValueError for another suffix; OSError (FileNotFoundError,
    PermissionError, ..) if it could not be written; ImportError without safetensors.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"w": np.ones(3)}, f"{folder}/model.npz")
    ...     load(f"{folder}/model.npz")
    {'w': array([1., 1., 1.])}
    """
    target = check_suffix(path, "save", *SUFFIXES)
    state = obj.state_dict() if hasattr(obj, "state_dict") else obj
    if not isinstance(state, Mapping):
        raise TypeError(
            f"save: want a layer, an optimizer or a dict of arrays, got {type(obj).__name__}"
        )
    arrays = {name: np.asarray(host(array_of(value))) for name, value in state.items()}
    for name, array in arrays.items():
        if not isinstance(name, str) or array.dtype.kind not in "biufcSUmM":
            raise TypeError(
                f"save: want names and arrays or numbers, got {name!r}: "
                f"{type(state[name]).__name__}"
            )
    if target.suffix == ".safetensors":
        save_safetensors(arrays, target, "save")
    else:
        save_npz(arrays, target, "save")


def load(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the dict of arrays that ``save``, ``np.savez`` or a safetensors writer wrote, for
    ``load_state_dict``.

    Every size is checked before memory is taken for it; what ``save`` wrote is checked against its
    hash.

    Raises FileNotFoundError if there is no such file, OSError if it cannot be read or is no regular
    one; ValueError if the path has another suffix, or the file is of another format, damaged, or
    holds Python objects, which are never unpickled; ImportError without safetensors.
    """
    source = check_suffix(path, "load", *SUFFIXES)
    if source.suffix == ".safetensors":
        return load_safetensors(source, "load", PROBLEM)
    return load_npz(source, "load", PROBLEM)[0]


def weights_in(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights of the model in a checkpoint's arrays, by their own names.

    Other states as they are.
    """
    marker = state.get("checkpoint")  # bytes; a parameter of that name would be floating
    if getattr(marker, "dtype", None) != np.uint8:
        return state
    return {
        name.removeprefix(WEIGHTS): array
        for name, array in state.items()
        if name.startswith(WEIGHTS)
    }
