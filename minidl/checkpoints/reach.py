"""What users' functions and classes reach: closures, defaults, attributes, and what they find by
global names.

The walk that asks for it is in `carriers.py`.
"""

from __future__ import annotations

import functools
import random
import re
import sys
import types
from collections import deque
from dis import get_instructions
from typing import Any

import numpy as np

from minidl.checkpoints.describe import SCALARS, all_codes
from minidl.checkpoints.generators import GENERATORS
from minidl.checkpoints.values import DICTS, Slot
from minidl.common.members import cells_of

Reached = list[tuple[str, Slot]]

MUTABLE = (list, deque, set, np.ndarray, *DICTS)
IN_CLASSES = (*SCALARS, *MUTABLE, *GENERATORS, tuple, types.FunctionType, functools.partial)


def is_of_user(thing: Any) -> bool:
    """Whether a class or a function is neither minidl's, nor Python's, nor an installed
    library's.
    """
    module = getattr(thing, "__module__", None) or ""
    root = module.partition(".")[0]
    if root == "minidl" or (root in sys.stdlib_module_names and root != "__main__"):
        return False
    if isinstance(thing, types.FunctionType):
        file: Any = thing.__code__.co_filename
    else:
        file = getattr(sys.modules.get(module), "__file__", None)
    return not re.search(r"(site|dist)-packages", file or "")


def reached_by_class(cls: type) -> Reached:
    """The methods of a class, and its attributes that are plain or generators."""
    reached: Reached = []
    for name, member in vars(cls).items():
        inner = getattr(member, "fget", member)
        inner = getattr(inner, "__func__", inner)
        special = name.startswith("__") and name != "__call__"
        held = isinstance(inner, IN_CLASSES) or is_of_user(type(inner))
        if held and not special and name not in ("carried", "buffers"):
            reached.append((name, Slot(inner, cls, name, fixed=False)))
    return reached


def reached_by_function(function: types.FunctionType) -> Reached:
    """What a function closes over, its defaults and attributes, and what a user's finds by global
    names.
    """
    reached = _cells(function)
    for i, value in enumerate(function.__defaults__ or ()):
        reached.append((str(i), Slot(value)))
    keywords = function.__kwdefaults__ or {}
    for name, value in keywords.items():
        reached.append((name, Slot(value)))
    attributes = vars(function)
    for name, value in attributes.items():
        reached.append((name, Slot(value, attributes, name, fixed=False)))
    if is_of_user(function):
        reached += _globals(function)
    return reached


def _cells(function: types.FunctionType) -> Reached:
    """The variables of outer functions; those that the function does not bind anew are fixed."""
    outer, _, _ = _bound_names(function.__code__)
    reached: Reached = []
    for name, cell in cells_of(function):
        fixed = name not in outer
        reached.append((name, Slot(cell.cell_contents, cell, "cell_contents", fixed)))
    return reached


def _globals(function: types.FunctionType) -> Reached:
    """What a function finds by global names, and those that it binds anew."""
    _, names, rebound = _bound_names(function.__code__)
    space = function.__globals__
    reached: Reached = []
    for name in filter(space.__contains__, names):
        value = space[name]
        if name in rebound:
            reached.append((name, Slot(value, space, name, fixed=False)))
        elif value is random:
            reached.append((name, Slot(random.seed)))  # a method of Python's own generator
        elif value is np and "random" in _attributes(function.__code__):
            reached.append((name, Slot(np.random.rand)))  # and of NumPy's
        elif not isinstance(value, types.FunctionType) or is_of_user(value):
            data = not callable(value)
            reached.append((name, Slot(value, shared=data)))
    return reached


@functools.cache
def _bound_names(code: types.CodeType) -> tuple[set[str], dict[str, None], set[str]]:
    """Of a function and those in it: the names of outer functions that it binds anew, the global
    names that it uses, in order, and those of them that it binds.
    """
    outer: set[str] = set()
    used: dict[str, None] = {}  # not co_names, where attributes are too: self.model is no global
    rebound: set[str] = set()
    for part in all_codes(code):
        for step in get_instructions(part):
            if step.opname == "STORE_DEREF":
                outer.add(step.argval)
            elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "IMPORT_NAME"):
                used[step.argval] = None
            if step.opname == "STORE_GLOBAL":
                rebound.add(step.argval)
    return outer, used, rebound


def _attributes(code: types.CodeType) -> set[str]:
    """The names of a function and those in it, of attributes too."""
    return {name for part in all_codes(code) for name in part.co_names}
