"""The names that code uses, and which modules are nobody's affair: what a walk over code asks.

The walk itself is in reach.py.
"""

from __future__ import annotations

import dis
import sys
import types
from functools import cache
from typing import Any, NamedTuple

_KIND_OF = {
    "LOAD_GLOBAL": 0, "STORE_GLOBAL": 0, "LOAD_NAME": 0,
    "LOAD_ATTR": 1, "LOAD_METHOD": 1, "STORE_ATTR": 1, "IMPORT_FROM": 1,
    "IMPORT_NAME": 2,
}  # fmt: skip


class Names(NamedTuple):
    """The names that a function's code uses, those of functions inside it too."""

    globals: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]


@cache
def names_of(code: types.CodeType) -> Names:
    """The names in a code object."""
    used: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for instruction in dis.get_instructions(code):
        if instruction.opname in _KIND_OF:
            used[_KIND_OF[instruction.opname]].add(instruction.argval)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            for mine, inner in zip(used, names_of(part)):
                mine.update(inner)
    return Names(*map(frozenset, used))


def asks_for_types(names: Names) -> str | None:
    """Whether code may tell a stand-in from an array, in words."""
    every = names.globals | names.attributes
    if "isinstance" in names.globals and every & {"Variable", "Parameter"}:
        return "it asks what is a Variable, and would meet stand-ins for arrays"
    if "type" in names.globals and every & {"ndarray", "generic", "float64", "float32", "Variable"}:
        return "it asks for the type of an array, and would meet stand-ins"
    if "id" in names.globals:
        return "it asks for the id of an object, and would meet stand-ins for arrays"
    return None


def is_known(module: Any) -> bool:
    """Whether a module's functions depend on nothing that a program would have to watch."""
    name = str(module).partition(".")[0]
    return name in ("minidl", "numpy") or (name in sys.stdlib_module_names and name != "__main__")
