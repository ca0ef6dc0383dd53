"""Snapshots of containers: what was in them before a call, to tell whether it wrote into them.

Which containers a function reaches is found in reach.py.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from minidl.compiler.forms import unwrapped
from minidl.compiler.places import Entry, is_state
from minidl.compiler.standin import same_elements

ABSENT = object()


class Snapshot:
    """What was in a container, to tell afterwards whether it was written into."""

    def __init__(self, of: Any, name: str, entry: Entry | None = None) -> None:
        self.of = of
        self.name = name
        self.entry = entry  # where an array was found
        self.before = self._now()

    def _now(self) -> Any:
        if isinstance(self.of, np.ndarray):
            return self.of.copy()
        if isinstance(self.of, types.CellType):
            return {"": self.of.cell_contents}
        if hasattr(self.of, "cache_info"):
            return {self.of.cache_info()[1:]: None}
        return dict(self.of) if isinstance(self.of, Mapping) else dict(enumerate(self.of))

    def change(self, places: Set[Entry], written: set[Entry]) -> str | None:
        """What was written, in words; None if nothing was, but in places.

        Stand-ins that were are made arrays. Entries that can be places are noted in ``written``.
        """
        now = self._now()
        if isinstance(now, np.ndarray):
            if same_elements(now, self.before):
                return None
            if self.entry is not None:
                written.add(self.entry)
            return self.name
        changed = [
            key
            for key in {**self.before, **now}
            if now.get(key, ABSENT) is not self.before.get(key, ABSENT)
            and (id(self.of), key) not in places
            and str(key)[:2] != "__"
        ]
        for key in changed:
            self._put_arrays(key, now.get(key))
        written.update([(id(self.of), key) for key in changed if is_state(now.get(key))])
        between = "" if self.name[-1:] == "." else " "
        return f"{self.name}{between}{changed[0]}" if changed else None

    def _put_arrays(self, key: Any, value: Any) -> None:
        array = unwrapped(value)
        if array is value:
            return
        if isinstance(self.of, types.CellType):
            self.of.cell_contents = array
        else:
            self.of[key] = array
