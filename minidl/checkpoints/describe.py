"""Descriptions: values, functions and settings as short text, so that two runs can be compared.

What is described is found in `carriers.py`; what differs is told in `settings.py`.
"""

from __future__ import annotations

import inspect
import sys
import types
import zlib
from collections.abc import Hashable, Iterator
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
PYTHON = "{}.{}".format(*sys.version_info)
FEW = 8  # entries of a tuple, list or dict that are written out
_BRACKETS: dict[type, str] = {tuple: "({})", list: "[{}]", dict: "{{{}}}"}


def describe(value: Any) -> str:
    """A function by its name, the version of Python and a checksum of what it names.

    Anything else by its name or its class.
    """
    if isinstance(value, types.FunctionType):
        return f"{value.__qualname__}#{PYTHON}:{_checksum(value.__code__):08x}"
    if isinstance(value, Enum):
        return str(value)
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else type(value).__qualname__


@cache
def _checksum(code: types.CodeType) -> int:
    """Of the names and constants of a function, as this version of Python keeps them."""
    plain = (bool, int, float, str)
    inside = []
    for part in all_codes(code):
        constants = [constant for constant in part.co_consts if isinstance(constant, plain)]
        inside.append((part.co_names, constants))
    text = repr(inside)
    return zlib.crc32(text.encode())


def all_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from all_codes(part)


def describe_plain(value: Any) -> str:
    """Numbers and text, alone or a few in a tuple, list or dict, as they are written; other values
    as nothing.
    """
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, SCALARS):
        return repr(value)
    brackets = _BRACKETS.get(type(value))
    if brackets is None or len(value) > FEW:
        return ""
    parts = []
    for part in value:
        text = describe_plain(part)
        if type(value) is dict:
            of_part = describe_plain(value[part])
            text = f"{text}: {of_part}" if of_part else ""
        parts.append(text)
    inside = ", ".join(parts)
    return brackets.format(inside) if all(parts) else ""


def settings_of(thing: Any) -> dict[str, str]:
    """What an object was made with.

    Its constructor's arguments that are attributes of the same name.
    """
    settings: dict[str, str] = {}
    for name in _arguments(type(thing)):  # type: ignore[arg-type]  # a class has a hash
        value = getattr(thing, name, None)
        text = describe_plain(value)
        if not text and callable(value):
            text = describe(value)
        if text and value is not None:
            settings[name] = text
    return settings


@cache
def _arguments(kind: Hashable) -> tuple[str, ...]:
    return tuple(inspect.signature(kind).parameters)  # type: ignore[arg-type]  # it is a class


def alike(here: str | None, saved: str | None) -> bool:
    """Whether two descriptions say the same.

    Two versions of Python keep a function in two ways, so then its name alone is compared.

    >>> alike("f#3.11:01234567", "f#3.13:89abcdef"), alike("f#3.11:01234567", "f#3.11:89abcdef")
    (True, False)
    """
    if here == saved:
        return True
    if here is None or saved is None:
        return False
    name, _, body = here.partition("#")
    saved_name, _, saved_body = saved.partition("#")
    python, _, _ = body.partition(":")
    saved_python, _, _ = saved_body.partition(":")
    return name == saved_name and python != saved_python


def difference(path: str, here: str | None, saved: str | None) -> str:
    """Say how a description differs from the one in a checkpoint."""
    now, _, _ = (here or "nothing").partition("#")
    before, _, _ = (saved or "nothing").partition("#")
    if now == before:
        return f"{path}: another function of the name {now}"
    return f"{path}: {now} here, {before} when it was saved"


def article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"
