"""Files that are whole or not there: written beside their place, flushed, read back, and only then
moved there.

What is written, and what reading it back has to give, is said by those who write.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path  # imported where it is used: it takes longer than minidl

ABANDONED = 60  # seconds after which the unfinished file of a process that is gone may be deleted


def check_suffix(path: Any, where: str, *suffixes: str) -> Path:
    """The path, with ``~/`` expanded; ValueError unless it has one of the suffixes."""
    from pathlib import Path

    if isinstance(path, str | os.PathLike) and Path(path).suffix in suffixes:
        file = Path(path)
        return file.expanduser() if file.parts[0] == "~" else file
    raise ValueError(f"{where}: want a path that ends in {' or '.join(suffixes)}, got {path!r}")


def check_readable(path: Path, where: str) -> None:
    """Raise OSError, of the kind that fits, unless a path leads to a regular file.

    Others may wait for ever.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, f"{where}: there is no file {path}") from error
    except OSError as error:
        raise explain(error, f"{where}: {path} could not be read") from error
    if stat.S_ISDIR(mode):
        raise FileNotFoundError(errno.ENOENT, f"{where}: there is no file {path}, it is a folder")
    _check_regular(path, mode, where)


def check_writable(path: Path, where: str) -> Path:
    """The place that a file is to have, where a link leads to; OSError if there can be none."""
    from pathlib import Path

    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"{where}: there is no folder {target.parent}")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise explain(error, f"{where}: {target} cannot be written") from error
    if stat.S_ISDIR(mode):
        what = f"{where}: {target} is a folder, want the place of a file"
        raise IsADirectoryError(errno.EISDIR, what)
    _check_regular(target, mode, where)
    return target


def _check_regular(path: Path, mode: int, where: str) -> None:
    if not stat.S_ISREG(mode):
        what = "no regular file, but a pipe, a device or a circle of links"
        raise OSError(errno.EINVAL, f"{where}: {path} is {what}")


def write(
    path: Path,
    where: str,
    put: Callable[[IO[bytes]], Any],
    check: Callable[[Path], bool],
    before_replace: Callable[[], None] | None = None,
) -> None:
    """Write a file by ``put``, read it back by ``check``, and move it to its place; or leave all as
    it was.

    ``before_replace`` is called when it is whole and checked, before it takes the place of the old
    one.

    Raises OSError, of the kind that the system gave, if ``put`` or the disk fails or ``check``
    finds something else.
    """
    target = check_writable(path, where)
    _sweep(target)
    unfinished = _beside(target)
    try:
        with open(unfinished, "xb") as file:
            _lock(file)
            put(file)
            _flush(file)
            if not check(unfinished):
                raise OSError(errno.EIO, "what was read back is not what was written")
        with suppress(FileNotFoundError):
            os.chmod(unfinished, stat.S_IMODE(target.stat().st_mode))
        if before_replace is not None:
            before_replace()
        os.replace(unfinished, target)
        flush_folder(target.parent)
    except OSError as error:
        what = f"{where}: {target} was not written, what was there is untouched"
        raise explain(error, what) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def duplicate(source: Path, target: Path) -> None:
    """Give a second place the content that a file has now, at once.

    By a link, or a copy where there are no links.
    """
    unfinished = _beside(target)
    try:
        try:
            os.link(os.path.realpath(source), unfinished)
        except OSError:
            _copy(source, unfinished)
        os.replace(unfinished, target)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    import shutil

    with open(source, "rb") as old, open(target, "xb") as new:
        shutil.copyfileobj(old, new)
        _flush(new)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:50]}.{os.urandom(4).hex()}.tmp")


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush to the disk which files a folder has; where the system can."""
    with suppress(PermissionError, IsADirectoryError):  # what Windows says
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def explain(error: OSError, what: str) -> OSError:
    """An error of the same kind that says what was tried."""
    why = f"{what}: {error.strerror or error}"
    return OSError(why) if error.errno is None else OSError(error.errno, why)


def unreadable(error: Exception, which: str, problem: str) -> Exception:
    """What the disk or the system complains of stays what it is, anything else is a file of another
    kind.
    """
    seek_to_nowhere = isinstance(error, OSError) and error.errno in (None, errno.EINVAL)
    if isinstance(error, OSError) and not seek_to_nowhere:
        return explain(error, f"{which} could not be read")
    return ValueError(f"{which} is {problem}: {str(error) or type(error).__name__}")


def _sweep(target: Path) -> None:
    """Delete what processes that died left of writing the same file.

    It is not locked, and not new.
    """
    pattern = re.compile(re.escape(f".{target.name[:50]}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in [entry for entry in entries if pattern.fullmatch(entry.name)]:
            if time.time() - entry.stat().st_mtime > ABANDONED:
                with open(target.with_name(entry.name), "rb") as file:
                    if _lock(file):
                        os.unlink(entry.path)


def _lock(file: Any) -> bool:
    """Lock a file as long as it is open; False if another has, or where there are no such locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
