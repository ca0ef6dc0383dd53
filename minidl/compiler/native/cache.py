"""Files that are made once and kept between runs: in a folder of the user's, checked before use.

What the files are is not known here: toolchain.py and library.py say how one is made.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from minidl.common.callers import warn_user

LIMIT = 1000  # entries; the least recently used above it are deleted
_UNFINISHED = "unfinished-"
_ABANDONED = 3600  # seconds after which an unfinished entry is that of a process that died
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def key_of(*parts: object) -> str:
    """A name for what is made from these parts, whose ``repr`` says all about them.

    >>> key_of("source", 1) == key_of("source", 1) != key_of("source", 2)
    True
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


def entry(key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """The file of a key; if there is none that is whole and ours, ``make`` writes it to a path.

    A file is used only if it is a regular one, belongs to this user, nobody else may write it, and
    its content has the hash that was written beside it. Otherwise it is made anew, in a folder of
    its own, and moved to its place whole. Of two processes that make the same the later one's
    stays; if a file and a hash of two meet, that is the same as a damaged file.
    """
    folder = _folder()
    path = folder / (key + suffix)
    if _is_sound(path):
        with suppress(OSError):
            os.utime(path)  # so that it counts as recently used
        return path
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        _make(unfinished / path.name, path, make)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _delete_old(folder)
    return path


def _make(new: Path, path: Path, make: Callable[[Path], None]) -> None:
    make(new)
    os.chmod(new, 0o700)
    digest = _digest_file(new)
    digest.touch(mode=0o600)
    digest.write_text(_digest(new.read_bytes()), encoding="ascii")
    if path.is_dir() and not path.is_symlink():  # no file can take its place
        shutil.rmtree(path)
    try:
        os.replace(new, path)
        os.replace(digest, _digest_file(path))
    except OSError:
        if not _is_sound(path):  # on Windows no file can be replaced that another has loaded
            raise


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_file(path: Path) -> Path:
    return path.with_suffix(path.suffix + ".sha256")


def _is_sound(path: Path) -> bool:
    try:
        return _digest(_read_own(path)) == _read_own(_digest_file(path)).decode(errors="replace")
    except OSError:
        return False


def _read_own(path: Path) -> bytes:
    """The content of a file; OSError if it is a link, a pipe, or others could have written it."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or _fault_of(status):
            raise PermissionError(f"{path} is no file of this user's alone")
        return file.read()


def _fault_of(status: os.stat_result) -> str:
    """Why a file or folder cannot be trusted, or nothing."""
    if not hasattr(os, "getuid"):
        return ""  # Windows guards a user's folders by other means
    if status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & _OTHERS:
        return "can be written by others"
    return ""


def _folder() -> Path:
    """The user's folder, or a private one, with a warning, where that cannot be trusted or written.

    A training does not stop for want of a cache.
    """
    try:
        place = Path(os.path.realpath(_place()))
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        fault = _fault_of_folder(place)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return _private(os.getpid(), str(error))
    return _private(os.getpid(), f"{place} {fault}") if fault else place


def _place() -> Path:
    chosen = os.environ.get("MINIDL_CACHE")
    if chosen:
        return Path(chosen).expanduser() / "native"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if not base.is_absolute():
            base = Path.home() / ".cache"
    return base / "minidl" / "native"


def _fault_of_folder(folder: Path) -> str:
    fault = _fault_of(folder.stat())
    if fault:
        return fault
    if not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written"
    for above in folder.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"could be replaced by others, who can write {above}"
    return ""


@cache
def _private(process: int, why: str) -> Path:
    """A folder of one process, deleted at its end (and not at that of a process forked from it)."""
    warn_user(
        f"the cache of compiled programs is not used: {why}; this process keeps its own. "
        "The environment variable MINIDL_CACHE says where else to keep it"
    )
    folder = Path(tempfile.mkdtemp(prefix="minidl-"))

    def delete() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(delete)
    return folder


def _delete_old(folder: Path) -> None:
    """Keep the most recently used entries, and what others are just making."""
    with suppress(OSError):  # another process deletes too
        files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in files:
            if file.name.startswith(_UNFINISHED) and _age(file) > _ABANDONED:
                shutil.rmtree(file, ignore_errors=True)
        entries = [file for file in files if file.is_file() and file.suffix != ".sha256"]
        for old in entries[:-LIMIT]:
            old.unlink()
            _digest_file(old).unlink()


def _age(file: Path) -> float:
    return time.time() - file.stat().st_mtime
