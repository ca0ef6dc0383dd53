"""What a function does besides computing, observed while it runs for the first time.

What it depends on is in reach.py. Whatever is found here, the function goes on eagerly.
"""

from __future__ import annotations

import random as python_random
import sys
from types import FrameType
from typing import Any

import numpy as np

from minidl.compiler.names import is_known
from minidl.compiler.reach import Reach

# C functions that give something else at every call, by the module they are of; None: all of it.
_UNREPEATABLE: dict[str, set[str] | None] = {
    "time": None,
    "posix": None,
    "nt": None,
    "sys": None,
    "_thread": {"get_ident", "get_native_id"},
    "io": {"open"},
    "_io": {"open", "read", "readline", "readlines", "readinto"},
    "datetime": {"now", "utcnow", "today"},
    "builtins": {"input", "next", "__next__", "__import__"},
}
# Parts of Python's library that read files for their own sake.
_READERS = {"linecache", "tokenize", "warnings", "logging", "importlib._bootstrap_external"}
# Functions in Python that ask for settings, or for what is in a folder; None: all of the module.
_SETTINGS: dict[str, set[str] | None] = {
    "os": {"getenv", "walk"},
    "genericpath": None,
    "posixpath": {"abspath", "realpath", "expanduser", "expandvars", "islink", "lexists"},
    "ntpath": {"abspath", "realpath", "expanduser", "expandvars", "islink", "lexists"},
    "pathlib": {"exists", "is_file", "is_dir", "stat", "iterdir", "glob", "rglob", "cwd", "home"},
    "glob": {"glob", "iglob"},
    "importlib": {"import_module", "reload"},
    "threading": {"current_thread", "active_count", "enumerate"},
    "numpy._core._ufunc_config": {"geterr", "getbufsize"},
    "numpy._core.arrayprint": {"get_printoptions"},
    "minidl.common.random": {"seed", "generator"},
}
_UNREPEATABLE_MODULES = {"uuid", "secrets", "tempfile", "socket", "subprocess"}


class Observer:
    """Watches one call. ``seen``: the unrepeatable function that it called, or None."""

    def __init__(self) -> None:
        self.seen: str | None = None
        self._outer: Any = None

    def __enter__(self) -> Observer:
        self._outer = sys.getprofile()
        if self._outer is None:  # else somebody measures
            sys.setprofile(self._observe)
        return self

    def __exit__(self, *_: object) -> None:
        if self._outer is None:
            sys.setprofile(None)

    def _observe(self, frame: FrameType, event: str, arg: Any) -> None:
        if self.seen is not None:
            return
        module = frame.f_globals.get("__name__")
        if event == "c_call" and (not is_known(module) or _opens(arg, module)):
            home = _home(arg)
            names = _UNREPEATABLE.get(home, set())
            if names is None or arg.__name__ in names:
                self.seen = f"{home.lstrip('_')}.{arg.__name__}"
        elif event == "call" and (
            module in _UNREPEATABLE_MODULES or _asks_for_setting(frame, module)
        ):
            self.seen = f"{module}.{frame.f_code.co_name}"


def pause() -> Any:
    """Let no Observer watch from here on; what ``sys.setprofile`` takes to go on, or None."""
    observe = sys.getprofile()
    if not isinstance(getattr(observe, "__self__", None), Observer):
        return None
    sys.setprofile(None)
    return observe


def _asks_for_setting(frame: FrameType, module: Any) -> bool:
    """Whether the user's code asks the process for a setting that a program does not watch."""
    names = _SETTINGS.get(module, set())
    if names is not None and frame.f_code.co_name not in names:
        return False
    return frame.f_back is not None and not is_known(frame.f_back.f_globals.get("__name__"))


def _opens(function: Any, module: Any) -> bool:
    """Whether a function of Python's library opens a file, which the user's code is behind."""
    return function is open and module not in _READERS


def _home(function: Any) -> str:
    """The module of a C function, or of the class whose method it is."""
    if function.__module__ is not None:
        return str(function.__module__)
    owner = function.__self__
    return str((owner if isinstance(owner, type) else type(owner)).__module__)


def generators_of(reach: Reach) -> list[Any]:
    """The random generators that a function may draw from: those it reaches, and the global ones."""
    return [*reach.generators.values(), np.random.mtrand._rand, python_random._inst]


def state_of(generator: Any) -> Any:
    """The state of a random generator, to be compared and put back."""
    if isinstance(generator, python_random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def put_state(generator: Any, state: Any) -> None:
    """Put a random generator back into a state."""
    if isinstance(generator, python_random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def same_state(a: Any, b: Any) -> bool:
    """Whether two states of generators are the same."""
    if isinstance(a, dict):
        return all(same_state(a[key], b[key]) for key in a)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


class Draws:
    """Where some random generators stood."""

    def __init__(self, generators: list[Any]) -> None:
        self.generators = generators
        self.before = [state_of(g) for g in self.generators]

    def restore(self) -> None:
        """Let them draw the same again."""
        for g, state in zip(self.generators, self.before, strict=True):
            put_state(g, state)

    def used(self) -> list[Any]:
        """The generators that were drawn from."""
        pairs = zip(self.generators, self.before, strict=True)
        return [g for g, state in pairs if not same_state(state_of(g), state)]
