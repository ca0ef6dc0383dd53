"""The names that code uses, and which modules are nobody's affair: what a walk over code asks.

The walk itself is in reach.py.
"""

from __future__ import annotations

import dis
import sys
import types
from collections import Counter
from collections.abc import Iterator
from functools import cache, reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

# Instructions with a name, by the kind of that.
_INSTRUCTIONS = {
    "global": "LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL LOAD_NAME",
    "attribute": "LOAD_ATTR LOAD_METHOD STORE_ATTR DELETE_ATTR IMPORT_FROM LOAD_SUPER_ATTR",
    "import": "IMPORT_NAME",
    "cell": "LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF",
}
_KIND_OF = {name: kind for kind, names in _INSTRUCTIONS.items() for name in names.split()}

# Types that are no array's: code that compares with these tells no stand-in from an array.
_PLAIN = {"list", "tuple", "dict", "set", "frozenset", "str", "bytes", "int", "bool", "float"}

Name: TypeAlias = tuple[str, str]  # a kind, and the name itself


class Names(NamedTuple):
    """The names that a function's code uses, those of functions inside it too.

    Of these it ``stored`` some. ``x.n += 1`` only adds to a name; others are ``read``, ``assigned``.
    """

    used: frozenset[Name]
    stored: frozenset[Name] = frozenset()
    added: frozenset[Name] = frozenset()
    read: frozenset[Name] = frozenset()
    assigned: frozenset[Name] = frozenset()

    def of(self, kind: str) -> frozenset[str]:
        """The names of a kind."""
        return frozenset([name for its, name in self.used if its == kind])

    def __or__(self, other: Any) -> Names:
        return Names(*[mine | its for mine, its in zip(self, other, strict=True)])


NO_NAMES = Names(frozenset())


@cache
def names_of(code: types.CodeType) -> Names:
    """The names in a code object."""
    instructions = list(dis.get_instructions(code))
    loads = Counter(_questions(instructions))
    stores = Counter[Name]()
    added = Counter[Name]()
    for i, instruction in enumerate(instructions):
        kind = _KIND_OF.get(instruction.opname)
        if kind is None:
            continue
        name = (kind, instruction.argval)
        if not instruction.opname.startswith("STORE"):
            loads[name] += 1
            continue
        stores[name] += 1
        if _is_added(instructions, i) or _is_counted(instructions, i):
            added[name] += 1
    names = Names(
        frozenset(loads) | frozenset(stores),
        frozenset(stores),
        frozenset(added),
        frozenset(loads - added),  # an addition has a load of its own
        frozenset(stores - added),
    )
    inner = [names_of(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return reduce(or_, inner, names)


def _questions(code: list[dis.Instruction]) -> Iterator[Name]:
    """Questions that may tell a stand-in from an array, as names of kinds of their own."""
    for i, instruction in enumerate(code):
        if instruction.opname == "IS_OP" and code[i - 1].opname != "LOAD_CONST":
            yield "is", "another object"
        asks_for_type = instruction.opname in _KIND_OF and instruction.argval == "type"
        if asks_for_type and _tells_arrays(code[i + 1 : i + 16]):
            yield "type", "of an array"


def _is_added(code: list[dis.Instruction], i: int) -> bool:
    """Whether the store that is number ``i`` is the end of ``x.n += y`` or ``n -= y``."""
    end = i - 1 if code[i - 1].opname == "SWAP" else i
    return end > 0 and code[end - 1].argrepr in ("+=", "-=")


def _is_counted(code: list[dis.Instruction], i: int) -> bool:
    """Whether it is the end of ``x.n = x.n + 1`` or ``n = n + 1``."""
    is_attribute = code[i].opname == "STORE_ATTR"
    place = 5 if is_attribute else 3
    if i < place:
        return False
    start = i - place
    if is_attribute and not _same_local(code[start], code[i - 1]):
        return False
    first = start + is_attribute
    load, one, add = code[first : first + 3]
    store = code[i]
    if type(one.argval) is not int or add.argrepr not in ("+", "-"):
        return False
    same_kind = load.opname.removeprefix("LOAD") == store.opname.removeprefix("STORE")
    return same_kind and load.argval == store.argval


def _tells_arrays(code: list[dis.Instruction]) -> bool:
    """Whether ``type(x)`` may be more than ``type(self)``, or ``type(x) is list``."""
    after = [x for x in code if x.opname not in ("PRECALL", "PUSH_NULL", "CACHE")]
    calls = [i for i, x in enumerate(after[:-1]) if x.opname.startswith("CALL")]
    if not calls or (calls[0] == 1 and after[0].argval == "self"):
        return False
    return after[calls[0] + 1].argval not in _PLAIN


def _same_local(a: dis.Instruction, b: dis.Instruction) -> bool:
    locals_only = a.opname.startswith("LOAD_FAST") and b.opname.startswith("LOAD_FAST")
    return locals_only and a.argval == b.argval


def asks_for_types(names: Names) -> str | None:
    """Whether code may tell a stand-in from an array, in words."""
    outer = names.of("global")
    every = outer | names.of("attribute")
    if "isinstance" in outer and every & {"Variable", "Parameter"}:
        return "it asks what is a Variable, and would meet stand-ins for arrays"
    if names.of("type"):
        return "it asks for the type of an array, and would meet stand-ins"
    if "id" in outer:
        return "it asks for the id of an object, and would meet stand-ins for arrays"
    return None


def asks_for_names(names: Names) -> str | None:
    """Whether code looks up variables by names that it computes, in words."""
    asked = names.of("global") & {"globals", "eval", "exec"}
    return f"it calls {min(asked)}(), which may look at anything" if asked else None


def is_known(module: Any) -> bool:
    """Whether a module's functions depend on nothing that a program would have to watch."""
    name = str(module).partition(".")[0]
    return name in ("minidl", "numpy") or (name in sys.stdlib_module_names and name != "__main__")
