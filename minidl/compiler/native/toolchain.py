"""The C compiler: which one is there, with which flags it is called, and what it says if it fails.

Where its libraries are kept is cache.py's affair, loading them is library.py's.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from minidl.common.extras import install
from minidl.compiler.native import cache, processor

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_PATIENCE = 600  # seconds for one run of the compiler; zig's first one makes its own libraries

# No flag may change a number. Contraction is off, so that a * b + c is rounded twice, as NumPy
# does it: with one rounding sqrt(a*a - b*b) can be NaN where a equals b. Products of matrices and
# polynomials ask for one rounding by name (`fma_f32`). What the other two leave out nobody looks
# at: errno, and the processor's flags for exceptions. openmp-simd has loops vectorized that say so.
_FLAGS = (
    *("-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-Werror=implicit-function-declaration", "-fopenmp-simd"),
    *("-shared", *(() if sys.platform == "win32" else ("-fPIC",))),
)
# How compilers are told to use all that this processor can; not each knows both.
_FOR_THIS_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())

_TRIAL = """
#include <math.h>
#include <stdint.h>
double minidl_trial(double x) { return sin(x) + (double)(int64_t)1; }
"""


_File = tuple[str, int, int]  # path, time, size
_Program = tuple[tuple[str, ...], tuple[_File, ...]]  # command, what its words lead to

# Those that failed in this process before another worked: not tried at every call.
_broken: set[_Program] = set()


class CompilerError(RuntimeError):
    """No C compiler works, or it refuses a program; the message ends in the compiler's own words."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that works: the command, its version in its own words, the flags for it."""

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]

    def build(self, source: str, library: Path) -> None:
        """Compile C into a shared library at a path; beside it lies the source for that time.

        Raises CompilerError, with the compiler's own words.
        """
        file = library.with_suffix(".c")
        file.write_text(source, encoding="utf-8")
        try:
            _run([*self.command, *self.flags, str(file), "-o", str(library), "-lm"])
        finally:
            file.unlink(missing_ok=True)
        if not library.is_file():
            raise CompilerError(f"{shlex.join(self.command)}: want a library, it made none")


def find() -> Compiler:
    """The first compiler that works: ``MINIDL_CC`` alone if that is set, else cc, gcc, clang, zig's.

    Each is tried once, by a small program, and remembered in the cache until it, or the processor,
    is another.

    Raises:
        CompilerError: there is none, or none works.
    """
    failures: dict[_Program, str] = {}
    for command in _candidates():
        program = (command, _identity(command))
        if program in _broken:
            continue
        try:
            compiler = _tried(*program)
        except CompilerError as error:
            failures[program] = str(error)
        else:
            _broken.update(failures)
            return compiler
    if _broken:  # the one that worked is not asked for, or gone: these are asked once more
        _broken.clear()
        return find()
    raise CompilerError(_none_works(list(failures.values())))


def _none_works(failures: list[str]) -> str:
    chosen = os.environ.get("MINIDL_CC")
    if chosen:
        got = failures[0] if failures else f"there is no program {chosen!r}"
        return f"MINIDL_CC: want a C compiler that works, got {chosen!r}: {got}"
    got = "\n".join(failures) or "no cc, gcc or clang on the PATH, and no ziglang"
    return (
        f'backend="c": want a C compiler, got {got}\nInstall one, or {install("native")}, '
        "or name one by the environment variable MINIDL_CC"
    )


def _candidates() -> Iterator[tuple[str, ...]]:
    chosen = os.environ.get("MINIDL_CC")
    if chosen:
        yield from _with_path([chosen] if Path(chosen).is_file() else _words(chosen))
        return
    for name in ("cc", "gcc", "clang"):
        yield from _with_path([name])
    zig = find_spec("ziglang")
    if zig is not None and zig.origin is not None:
        name = "zig.exe" if sys.platform == "win32" else "zig"
        yield from _with_path([str(Path(zig.origin).parent / name), "cc"])


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command, posix=sys.platform != "win32")
    except ValueError as error:
        raise CompilerError(f"MINIDL_CC: want a command, got {command!r}: {error}") from None


def _with_path(words: list[str]) -> Iterator[tuple[str, ...]]:
    """The command with the whole path of its program, unless there is no such program."""
    program = shutil.which(words[0]) if words else None
    if program is not None:
        yield (os.path.abspath(program), *words[1:])


def _tried(command: tuple[str, ...], identity: tuple[_File, ...]) -> Compiler:
    """The compiler of a command, as it was found when the same program was tried on this processor."""
    key = cache.key_of(command, identity, processor.describe(), _FLAGS)

    def write(path: Path) -> None:
        path.write_text(json.dumps(asdict(_try(command))), encoding="utf-8")

    known = json.loads(cache.entry(key, ".json", write).read_text(encoding="utf-8"))
    return Compiler(tuple(known["command"]), known["version"], tuple(known["flags"]))


def _identity(command: tuple[str, ...]) -> tuple[_File, ...]:
    """What changes when a program is replaced: the path behind links, the time, the size.

    Of all words that are programs, as one may start another: ``ccache gcc``.
    """
    programs = [os.path.realpath(path) for word in command if (path := shutil.which(word))]
    status = [os.stat(program) for program in programs]
    return tuple((p, s.st_mtime_ns, s.st_size) for p, s in zip(programs, status))


def _try(command: tuple[str, ...]) -> Compiler:
    """Compile, load and call a small program, with the first flags for this processor that it takes."""
    version = _run([*command, "--version"]).partition("\n")[0]
    failures = []
    for flags in _FOR_THIS_PROCESSOR:
        compiler = Compiler(command, version, (*_FLAGS, *flags))
        try:
            _check(compiler)
            return compiler
        except CompilerError as error:
            failures.append(error)
    raise failures[-1]  # that without flags, which says what is really missing


def _check(compiler: Compiler) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"trial{SUFFIX}"
        compiler.build(_TRIAL, path)
        trial = getattr(load(path), "minidl_trial", None)
        if trial is None:
            raise CompilerError(f"{shlex.join(compiler.command)}: want C, its names are others")
        trial.argtypes = [ctypes.c_double]
        trial.restype = ctypes.c_double
        if trial(0.0) != 1.0:
            raise CompilerError(f"{shlex.join(compiler.command)}: its program computes wrong")


def load(path: Path) -> ctypes.CDLL:
    """A shared library; CompilerError if the system refuses it, as one for another processor."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilerError(f"want a library that can be loaded, got {error}") from None


def _run(command: list[str]) -> str:
    """What a command prints; CompilerError if it fails, with what it printed."""
    name = shlex.join(command[:2])
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"{name}: {error}") from None
    text = ended.stdout.decode(errors="replace").strip()
    if ended.returncode:
        raise CompilerError(f"{name} ended with {ended.returncode}: {text[-4000:]}")
    return text
