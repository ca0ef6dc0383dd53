"""A program as a library of C, and the Python that passes it arrays and calls it.

The C of its parts is in program.py, the memory of a run in arena.py; which functions are compiled
for C is decided in api.py.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from typing import Any

from minidl.compiler.native import library, mathfunctions
from minidl.compiler.native.arena import Arena
from minidl.compiler.native.arrays import Array, NotInC, new_array
from minidl.compiler.native.c_printer import PLACES
from minidl.compiler.native.loops import Item
from minidl.compiler.native.lowering import is_primitive
from minidl.compiler.native.operations import Call, Dot
from minidl.compiler.native.optimizers import NativeUpdate, NotNoted
from minidl.compiler.native.primitives import Primitives
from minidl.compiler.native.program import CProgram, Part, constant_lines, indented
from minidl.compiler.program import Program, Value
from minidl.compiler.recording import Recording

COPIED = 2**14  # bytes of an argument that is copied into a buffer; C reads larger ones in place
MOST_STEPS = 1500  # a loop that is not rolled up has more, over which a compiler sits for minutes
HEAD = """\
#include <stddef.h>
#define PRAGMA(text) _Pragma(#text)
#define SIMD PRAGMA(omp simd)
#define SIMD_SUM(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))
"""


class NativeCode:
    """Runs a program in C, by the ``forward`` and ``backward`` of printed NumPy (see printer.py).

    ``load`` gives it a library, made of ``source_of``; ``prefix`` stands before its names there, if
    several programs share one.
    """

    def __init__(self, recording: Recording, prefix: str = "") -> None:
        self.prefix = prefix
        self.primitives = Primitives(recording, is_primitive)
        program = self.primitives.program
        if len(program.steps) > MOST_STEPS:
            raise NotInC(
                f"{len(program.steps)} steps one after the other (want {MOST_STEPS} at most)"
            )
        program.name_values()
        arrays = {v: _input(v) for v in (*program.inputs, *program.seeds)}
        for x in self.primitives.inputs:  # parameters stay where they are
            array = arrays[x.value]
            large = array.size * array.dtype.itemsize > COPIED
            array.buffer.is_referred = large or (x.kind == "object" and array.shape != ())
        gradients = [g for g in program.gradients if g is not None]
        names = [f"y{i}" for i in range(len(program.outputs))]
        names += [f"d{i}" for i in range(len(gradients))]
        self.inputs = [arrays[v] for v in program.inputs]
        self.seeds = [arrays[v] for v in program.seeds]
        self.program = CProgram(self.primitives, arrays, names, library=True)
        self.arrays = [*self.inputs, *self.seeds, *self.program.outputs]
        for buffer in self.program.constants:
            buffer.name = prefix + buffer.name
        self.updates = [_update(part) for part in self.program.forward]
        self.functions = self._functions("forward", self.program.forward)
        self.functions += self._functions("backward", self.program.backward)
        self.nbytes = self.program.nbytes
        self.source = self._driver()
        scope: dict[str, Any] = {}
        exec(compile(self.source, "<minidl C program>", "exec"), scope)
        self.forward: Callable[..., Any] = scope.pop("forward")
        self.backward: Callable[..., Any] = scope.pop("backward")

    @property
    def listing(self) -> NativeProgram:
        """The program, to print and to read."""
        return NativeProgram(self)

    def load(self, loaded: ctypes.CDLL) -> None:
        """Take the functions from a library that has them."""
        self._runs = [self._parts(loaded, name) for name in ("forward", "backward")]

    def arena(self) -> Arena:
        """New buffers for one run."""
        return Arena(self.program, self.arrays, self._runs)

    def _parts(self, loaded: ctypes.CDLL, name: str) -> list[Any]:
        """The functions of the library, and the calls of NumPy between them."""
        found: list[Any] = []
        for i, part in enumerate(getattr(self.program, name)):
            update = self.updates[i] if name == "forward" else None
            if isinstance(part, list):
                found.append(_function(loaded, f"{self.prefix}{name}_{i}"))
            elif update is not None:
                update.function = _function(loaded, f"{self.prefix}update_{i}")
                found.append(update)
            else:
                found.append(part)
        return found

    # ---- the C -----------------------------------------------------------------------------------

    @property
    def c(self) -> str:
        """The C of the program."""
        return source_of([self])

    def definitions(self) -> list[str]:
        """Its constants, its work memory and its functions."""
        constants = [line for b in self.program.constants for line in constant_lines(b)]
        struct = ["typedef struct {", *self.program.fields(), "int bad;", f"}} {self._work};", ""]
        return [*constants, *struct, *self.functions]

    @property
    def _work(self) -> str:
        return f"{self.prefix}program_work"

    def _functions(self, name: str, parts: Sequence[Part]) -> list[str]:
        lines: list[str] = []
        for i, part in enumerate(parts):
            update = self.updates[i] if name == "forward" else None
            if isinstance(part, list):
                lines += self._function(f"{self.prefix}{name}_{i}", part)
            elif update is not None:
                head = f"void {self.prefix}update_{i}(void *const *p) {{ /* update */"
                lines += [head, *indented(update.lines()), "}"]
        return lines

    def _function(self, name: str, part: list[Item]) -> list[str]:
        used = set(self.program.buffers_of(part))
        lines = [f"{self._work} *const work = p[0];", "(void)work;"]
        for i, array in enumerate(self.arrays):
            buffer = array.buffer
            if buffer in used:
                const = "const " if buffer.kind == "input" else ""
                lines.append(f"{const}{buffer.c_type} *restrict const {buffer.name} = p[{i + 1}];")
        lines = indented([*lines, *self.program.lines(part)])
        return [f"void {name}(void *const *p) {{", *lines, "}"]

    # ---- the Python around it --------------------------------------------------------------------

    def _driver(self) -> str:
        program = self.primitives.program
        count = len(program.outputs)
        lines = ["def forward(inputs, arena):", *self._read("inputs", self.inputs, 0)]
        lines += [*self._run("forward"), f"    return ({self._given(list(range(count)))}), ()"]
        lines += ["def backward(inputs, arena, kept, seeds):"]
        lines += self._read("seeds", self.seeds, len(self.inputs))
        given: list[int | None] = []
        for g in program.gradients:
            given.append(None if g is None else count)
            count += g is not None
        lines += [*self._run("backward"), f"    return ({self._given(given)})"]
        return "\n".join(lines) + "\n"

    def _read(self, source: str, arrays: Sequence[Array], first: int) -> list[str]:
        lines = ["    copies = arena.copies"]
        names = [array.buffer.name for array in arrays]
        if names:
            lines.append(f"    {', '.join(names)}, = {source}")
        for i, (array, name) in enumerate(zip(arrays, names, strict=True), first):
            if array.buffer.is_referred:
                lines.append(f"    if {name} is not arena.held[{i}]: arena.refer({i}, {name})")
            else:
                lines.append(f"    copies[{i}][...] = {name}")
        return lines

    def _run(self, name: str) -> list[str]:
        lines = [f"    arena.{name}()"] if getattr(self.program, name) else []
        if self.program.printer.needs_place:
            lines += ["    if arena.bad[0]:", "        arena.bad[0] = 0"]
            lines += ["        raise IndexError('a place outside of an array')"]
        return lines

    def _given(self, places: list[int | None]) -> str:
        """The results, in memory of their own."""
        first = len(self.inputs) + len(self.seeds)
        results = []
        for i in places:
            how = "[()]" if i is not None and self.program.outputs[i].shape == () else ".copy()"
            results.append("None" if i is None else f"copies[{first + i}]{how}")
        return "".join([f"{x}, " for x in results])


class NativeProgram(Program):
    """A program whose steps run in C, but for calls of NumPy; ``c`` is the source."""

    def __init__(self, code: NativeCode) -> None:
        self.__dict__.update(vars(code.primitives.program))
        self.c = code.c
        parts = [*code.program.forward, *code.program.backward]
        calls = [part for part in parts if isinstance(part, Call) and not isinstance(part, Dot)]
        self.calls = [call.step for call in calls]

    def __str__(self) -> str:
        lines = str(super().__str__()).splitlines()
        by = {f"  {step!r}" for step in self.calls}
        lines = [f"{line}  by NumPy" if line in by else line for line in lines]
        return "\n".join(["in C, but for steps by NumPy:" if by else "in C:", *lines])


def _function(loaded: ctypes.CDLL, name: str) -> Any:
    function = getattr(loaded, name)
    function.argtypes = (ctypes.c_void_p,)
    function.restype = None
    return function


def _update(part: Part) -> NativeUpdate | None:
    """An update in C, if a part is one, and has a form in C."""
    if not isinstance(part, Call) or isinstance(part, Dot):
        return None
    try:
        return NativeUpdate(part)
    except NotNoted:
        return None


def loaded(recording: Recording) -> NativeCode:
    """The code of a recording, compiled unless the cache has it.

    Raises NotInC for a program that has no form in C.
    """
    try:
        code = NativeCode(recording)
    except NotInC:
        raise
    except Exception as error:  # what nobody thought of is no reason to stop the function
        raise NotInC(f"this program: {type(error).__name__}: {error}") from error
    code.load(library.load(code.c))
    return code


def source_of(codes: Sequence[NativeCode]) -> str:
    """The C of some programs, with all that they call."""
    body = [line for code in codes for line in code.definitions()]
    words = set(re.findall(r"\w+", "\n".join(body)))
    head = [HEAD, mathfunctions.source_of(sorted(words & mathfunctions.NAMES)), ""]
    return "\n".join([*head, *PLACES, *body]) + "\n"


def _input(v: Value) -> Array:
    array = new_array(v.shape, v.dtype, "input")
    array.buffer.name = v.name
    return array


__all__ = ["NativeCode", "NativeProgram", "NotInC", "loaded", "source_of"]
