"""Checkpoint files: a snapshot as one signed .npz file, and which of several files a fit goes on
from.

What is in a snapshot is in `snapshot.py`; how a file is written safely, in `files/`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.common.arrays import array_of, host, is_foreign
from minidl.files.atomic import check_suffix
from minidl.files.npz import load_npz, save_npz

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

FORMAT = "minidl checkpoint 1"
PROBLEM = "no checkpoint as Trainer.save writes it, or damaged"
SEQUENCES: tuple[type[Any], ...] = (list, tuple, set, frozenset)


def save(
    tree: dict[str, Any], path: Path, before_replace: Callable[[], None] | None = None
) -> None:
    """Write a snapshot.

    ``before_replace`` is called when the file is whole, before it takes its place.
    """
    arrays: dict[str, Array] = {}
    packed = pack(tree, "", arrays)
    text = json.dumps({"format": FORMAT, "tree": packed})
    arrays["checkpoint"] = np.frombuffer(text.encode(), np.uint8)
    save_npz(arrays, path, "Trainer.save", before_replace)


def read(path: str | os.PathLike[str], where: str) -> dict[str, Any]:
    """The snapshot in a file; ValueError for a file that is no checkpoint, or damaged."""
    path = check_suffix(path, where, ".npz")
    arrays, _ = load_npz(path, where, PROBLEM, signed=True)
    try:
        content = json.loads(arrays["checkpoint"].tobytes())
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, want {FORMAT!r}")
        tree: dict[str, Any] = unpack(content["tree"], arrays)
    except Exception as error:
        why = str(error) or type(error).__name__
        if "checkpoint" not in arrays:
            why = "it holds arrays only, such as weights, which model.load(path) takes"
        raise ValueError(f"{where}: {path} is {PROBLEM}: {why}") from error
    return tree


class Loaded(NamedTuple):
    """A checkpoint that was read: its file, and the snapshot in it."""

    path: Path
    tree: dict[str, Any]

    @property
    def epoch(self) -> int:
        """How many epochs of its run are over."""
        run = self.tree["run"]
        return run["epoch"] if isinstance(run, dict) and isinstance(run["epoch"], int) else 0


def find_checkpoint(resume: Any, groups: Sequence[Iterable[Path]], where: str) -> Loaded | None:
    """The checkpoint to go on from, None for none: that of a path, or for "auto" the newest of
    several groups.

    Within a group the files are listed from the newest on, and the first whole one counts.
    """
    if resume is None:
        return None
    if resume != "auto":
        path = check_suffix(resume, where, ".npz")
        return Loaded(path, read(path, where))
    if not groups:
        raise ValueError(
            f'{where}="auto" goes on from what a callbacks.Checkpoint wrote; '
            "there is none in callbacks"
        )
    broken: list[str] = []
    candidates: list[Loaded] = []
    for group in groups:
        candidate = newest_readable(group, where, broken)
        if candidate is not None:
            candidates.append(candidate)
    problems = "; ".join(broken)
    if candidates:
        newest = max(candidates, key=lambda candidate: candidate.path.stat().st_mtime_ns)
        if broken:
            print(f"{problems}; going on from {newest.path}", file=sys.stderr)
        return newest
    if broken:
        raise ValueError(problems)
    return None


def newest_readable(paths: Iterable[Path], where: str, broken: list[str]) -> Loaded | None:
    """The first of the files that is there and whole.

    What is wrong with those before it goes to ``broken``.
    """
    for path in paths:
        try:
            return Loaded(path, read(path, where))
        except (OSError, ValueError) as error:
            if path.exists():
                broken.append(str(error))
    return None


# ---- values as JSON and arrays -------------------------------------------------------------------


def pack(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """The value in JSON's terms, its arrays in ``arrays`` under the names of their places."""
    for kind, is_one in ARRAYS.items():
        if is_one(value):
            return {kind: _store(value, name, arrays)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    start = f"{name}." if name else ""
    if isinstance(value, Mapping):
        return _pack_mapping(value, start, arrays)
    if isinstance(value, deque):
        return {"deque": [value.maxlen, pack(list(value), name, arrays)]}
    for sequence in SEQUENCES:
        if isinstance(value, sequence):
            parts = [pack(part, f"{start}{i}", arrays) for i, part in enumerate(value)]
            if sequence is list:
                return parts
            return {sequence.__name__: parts}
    return _pack_number(value, name)


ARRAYS: dict[str, Callable[[Any], bool]] = {
    "scalar": lambda value: isinstance(value, np.generic),
    "variable": lambda value: isinstance(value, Variable),
    "array": lambda value: isinstance(value, np.ndarray) or is_foreign(value),
}


def _pack_mapping(value: Mapping[Any, Any], start: str, arrays: dict[str, Array]) -> Any:
    packed = {}
    for key, part in value.items():
        packed[key] = pack(part, f"{start}{key}", arrays)
    if all(isinstance(key, str) for key in packed):
        return {"dict": packed}
    items = []
    for key, part in packed.items():
        name = pack(key, f"{start}key", arrays)
        items.append([name, part])
    return {"items": items}


def _pack_number(value: Any, name: str) -> Any:
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    want = "numbers, text, arrays, and lists, tuples and dicts of these"
    raise TypeError(f"Trainer.save: {name} is a {type(value).__name__}, want {want}")


def _store(value: Any, name: str, arrays: dict[str, Array]) -> str:
    """Put an array among the arrays, under its name or one that is free; return that."""
    while name in arrays:
        name += "'"
    arrays[name] = np.asarray(host(array_of(value)))
    if arrays[name].dtype.kind in "OV":
        raise TypeError(f"Trainer.save: {name} is an array of objects, want numbers")
    return name


def unpack(value: Any, arrays: Arrays) -> Any:
    """What ``pack`` was given."""
    if isinstance(value, list):
        return [unpack(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in FROM_ARRAY:
        return FROM_ARRAY[kind](arrays[content])
    if kind == "dict":
        return {key: unpack(part, arrays) for key, part in content.items()}
    parts = unpack(content, arrays)
    return FROM_PARTS[kind](parts)


FROM_ARRAY: dict[str, Callable[[Array], Any]] = {
    "array": lambda array: array,
    "scalar": lambda array: array[()],
    "variable": lambda array: Variable(array, requires_grad=False),
}
FROM_PARTS: dict[str, Callable[[Any], Any]] = {
    "items": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": lambda parts: deque(parts[1], parts[0]),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
}
