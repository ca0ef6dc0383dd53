"""export_c: a trained model as one file of C99 that needs nothing else.

How its steps become C is in program.py and the files around it.
"""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Sequence
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from minidl.autograd import Parameter
from minidl.autograd.modes import Switch, current
from minidl.common import random
from minidl.common.arrays import array_of, as_array
from minidl.compiler.forms import arrays_in, take_apart
from minidl.compiler.native import c_names, mathfunctions
from minidl.compiler.native.arrays import Array, NotInC, new_array
from minidl.compiler.native.c_printer import PLACES
from minidl.compiler.native.lowering import is_primitive
from minidl.compiler.native.primitives import Primitives
from minidl.compiler.native.program import CProgram, constant_lines, indented
from minidl.compiler.observed import Call
from minidl.compiler.program import Value
from minidl.compiler.recording import Recording
from minidl.files import atomic

STACK = 2**14  # bytes of work memory that may lie on the stack


class Model(Protocol):
    """What is needed of a model."""

    def __call__(self, *inputs: Any) -> Any:
        """What it computes."""

    def parameters(self) -> list[Parameter]:
        """Its weights."""

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """The same with their names."""

    def reset_state(self) -> None:
        """Forget what it carries from call to call."""


def export_c(
    model: Model, example: Any, path: str | os.PathLike[str], name: str = "predict"
) -> None:
    """Write a trained model as one file of C99 that needs nothing else: no library, no allocation.

    The file has the weights in it, and one function, of arrays in row-major order of the example's
    shapes, first the inputs and then the outputs, all in the model's dtype:
    ``void predict(const float *x, float *y)``. A model that carries a state from call to call
    (recurrent layers fed step by step, or ``stateful``) has it in a struct: ``void
    predict_reset(predict_state *state)``, and ``state`` is the first argument of ``predict``. A
    comment at the top says names, shapes and memory.

    It computes what the model computes under ``test_mode``; the model itself stays as it is.
    Integers that say a place (of an embedding) and are outside give NaN.

    Args:
        model: every weight there, and functions with a form in C only.
        example: an array, or a tuple of arrays for several inputs: its shapes and dtypes are those
            of the file; floating ones are cast to the model's.
        path: ends in ``.c``; what was there is replaced at once, or stays.
        name: of the function, an identifier of C.

    Raises:
        ValueError: the model does what has no form in C (its name is said), a wrong path or name.
        TypeError: the model is no layer.
        OSError: the file cannot be written.

    >>> from minidl import layers
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "mlp.c")
    >>> export_c(layers.MLP([3, 2], in_features=4), np.zeros((1, 4)), path)
    >>> "void predict(const float *x, float *y);" in path.read_text()
    True
    """
    _check_name(name)
    file = atomic.check_suffix(path, "export_c: path", ".c")
    if not hasattr(model, "sublayers") or isinstance(model, type):
        kind = "a class" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"export_c: want a model, a Layer, got {kind}")
    text = _source(model, example, name).encode()

    def put(opened: IO[bytes]) -> None:
        opened.write(text)

    atomic.write(file, "export_c", put, lambda written: written.read_bytes() == text)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"export_c: name: want an identifier of C, got {name!r}")
    if c_names.has_meaning(name):
        raise ValueError(f"export_c: name: {name!r} has a meaning in C, want another")


class _Part(NamedTuple):
    """An input, an output or a part of the state: its name and its array."""

    name: str
    array: Array

    @property
    def parameter(self) -> str:
        """Its declaration as an argument."""
        const = "const " if self.array.buffer.kind == "input" else ""
        return f"{const}{self.array.buffer.c_type} *{self.name}"

    @property
    def form(self) -> str:
        """What a comment says of it."""
        return f"{self.name}: {self.array.dtype} {self.array.shape}"


class _Model:
    """What an exported model computes: a recording of a copy, with or without a state."""

    def __init__(self, model: Model, example: Any) -> None:
        self.model = copy.deepcopy(model)
        self.model.reset_state()
        self.xs = _examples(self.model, example)
        with random.restoring(), Switch(testing=True, recording=False):
            self.recording = self._record()
            if self.recording.changes:
                self._with_state()

    def _record(self) -> Recording:
        call = Call(self.model, tuple(self.xs), {}, list(self.xs), current())
        recording = Recording(call, set())
        why = recording.why
        if why is None and recording.learns:
            why = "it writes into an array, or learns: give its attribute a new array instead"
        if why is None and not take_apart(recording.raw_result, recording._knows):
            why = f"it gives no array, but {recording.result!r:.20}"
        if why is not None:
            raise ValueError(f"export_c: {self.model!r:.60} cannot be exported: {why}")
        return recording

    def _with_state(self) -> None:
        """Record a call that continues from a state; the first one must be as from zeros."""
        first = _values(self.recording)
        for change in self.recording.changes:
            if change.place.use == "state":
                change.place.put(_zeros(change.value))
        self.recording = self._record()
        again = _values(self.recording)
        same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(first, again)]
        if len(first) != len(again) or not all(same):
            raise ValueError("export_c: want a state that begins as zeros do, it begins otherwise")


def _changing(recording: Recording) -> set[int]:
    """Which arrays of the layers' attributes a call changes; others are constants."""
    changed = {change.place.text for change in recording.changes}
    found: set[int] = set()
    count = 0
    for place, value in zip(recording.states.places, recording.states.values, strict=True):
        if place.use != "state":
            continue
        leaves = len(arrays_in(value))
        if place.text in changed:
            found.update(range(count, count + leaves))
        count += leaves
    return found


def _values(recording: Recording) -> list[Any]:
    """All that a call gave and left."""
    left = [change.value for change in recording.changes if change.place.use == "state"]
    return [array_of(x) for part in (recording.result, *left) for x in arrays_in(part)]


def _zeros(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple([_zeros(part) for part in value])
    return np.zeros_like(array_of(value))


def _examples(model: Model, example: Any) -> list[Any]:
    params = model.parameters()
    if any(p.lazy for p in params):
        raise ValueError("export_c: want a model whose weights are all there: call it once first")
    parts = example if isinstance(example, tuple) else (example,)
    if not parts:
        raise ValueError("export_c: want an example, got ()")
    xs = []
    for part in parts:
        x = array_of(as_array(part, "export_c: example"))
        if type(x) is not np.ndarray or x.dtype.kind not in "fiub" or x.size == 0:
            got = f"{getattr(x, 'dtype', type(x).__name__)} {np.shape(x)}"
            raise ValueError(f"export_c: want an example of numbers, not empty, got {got}")
        cast = x.dtype.kind == "f" and bool(params)
        xs.append(np.array(x, params[0].dtype if cast else x.dtype))
    return xs


def _source(model: Model, example: Any, name: str) -> str:
    recorded = _Model(model, example)
    try:
        return _File(recorded, repr(model), name).text()
    except NotInC as error:
        raise ValueError(f"export_c: there is no form in C for {error}") from None


class _File:
    """The text of an exported model."""

    def __init__(self, recorded: _Model, title: str, name: str) -> None:
        self.name = name
        self.title = title
        self.recording = recorded.recording
        changing = _changing(self.recording)
        self.primitives = Primitives(
            self.recording,
            is_primitive,
            lambda x: x.kind == "object" or (x.kind == "state" and x.of not in changing),
            self.recording.outputs,
        )
        arrays = {x.value: new_array(x.value.shape, x.value.dtype) for x in self.primitives.inputs}
        self.inputs = self._inputs("argument", arrays)
        self.states = self._inputs("state", arrays)
        results = self._operands([self.recording.raw_result])
        left = [change.value for change in self.recording.changes if not change.more]
        after = self._operands(left)
        if len(after) != len(self.states):
            raise NotInC("a state of which a part stays")
        names = [*_names_of("y", len(results)), *[f"next{i}" for i in range(len(after))]]
        self.primitives.program.outputs = [*results, *after]
        self.program = CProgram(self.primitives, arrays, names, _weights(recorded.model))
        parts = [_Part(*pair) for pair in zip(names, self.program.outputs, strict=True)]
        self.outputs = parts[: len(results)]
        self.after = parts[len(results) :]

    def _inputs(self, kind: str, arrays: dict[Value, Array]) -> list[_Part]:
        """Arguments or states, in order, with the names that their buffers get."""
        found = sorted([x for x in self.primitives.inputs if x.kind == kind], key=lambda x: x.of)
        names = _names_of("x", len(found)) if kind == "argument" else _names_of("s", len(found))
        parts = []
        for x, name in zip(found, names, strict=True):
            array = arrays[x.value]
            array.buffer.kind = "input" if kind == "argument" else "state"
            array.buffer.name = name
            parts.append(_Part(name, array))
        return parts

    def _operands(self, results: list[Any]) -> list[Any]:
        """What the arrays of some results are in the primitive program."""
        recording = self.recording
        place = {id(operand): i for i, operand in enumerate(recording.outputs)}
        leaves = [x for result in results for x in take_apart(result, recording._knows)]
        outputs = [recording.output_of(x)[0] for x in leaves]
        return [self.primitives.program.outputs[place[id(operand)]] for operand in outputs]

    # ---- the text --------------------------------------------------------------------------------

    def text(self) -> str:
        body = self._function()
        words = set(re.findall(r"\w+", "\n".join(body)))
        math_source = mathfunctions.source_of(sorted(words & mathfunctions.NAMES))
        constants = [line for b in self.program.constants for line in constant_lines(b)]
        parts = [
            *self._comment([*math_source.splitlines(), *body]),
            "#include <stddef.h>",
            *math_source.splitlines(),
            "",
            *(PLACES if self.program.printer.needs_place else ()),
            *constants,
            "",
            *self._types(),
            *self._declarations(),
            "",
            *body,
        ]
        return "\n".join(parts) + "\n"

    @property
    def _nbytes(self) -> int:
        """Bytes of work memory, and of the next state, which is kept until all is computed."""
        return self.program.nbytes + sum([x.size * x.dtype.itemsize for x in self._next])

    @property
    def _next(self) -> list[Array]:
        return [part.array for part in self.after]

    @property
    def _on_stack(self) -> bool:
        return self._nbytes <= STACK

    def _comment(self, lines_of_code: list[str]) -> list[str]:
        title, _, more = self.title.partition("\n")
        plain = "".join(filter(str.isprintable, re.sub(r"[*/?\\]{2,}", " ", title)))
        lines = [f"{plain}{' ..' if more else ''}"]
        lines += [f"as C99, written by minidl {sys.modules['minidl'].__version__}.", ""]
        lines += [f"  {head};" for head in self._heads()]
        lines += ["", "Arrays are row-major, and none may overlap another:"]
        lines += [f"  {part.form}" for part in (*self.inputs, *self.outputs)]
        lines += [f"  state {part.form}" for part in self.states]
        lines += ["", *self._memory_words()]
        calls = set(re.findall(r"\b(\w+)\(", "\n".join(lines_of_code))) & _LIBRARY
        if calls:
            lines += [
                "",
                f"It calls {', '.join(sorted(calls))} of the C library: link it with -lm.",
            ]
        return ["/*", *[f" * {line}".rstrip() for line in lines], " */"]

    def _memory_words(self) -> list[str]:
        n = self._nbytes
        if self._on_stack:
            return [f"It needs {n} bytes of the stack besides, and may run in several threads."]
        return [
            f"It needs {n} bytes besides, which are static: {self.name} may run in one thread at a",
            f"time. {self.name}_in takes them from its caller, and may run in several.",
        ]

    def _arguments(self) -> list[str]:
        state = [f"{self.name}_state *state"] if self.states else []
        return [*state, *[part.parameter for part in (*self.inputs, *self.outputs)]]

    def _heads(self) -> list[str]:
        heads = [f"void {self.name}({', '.join(self._arguments())})"]
        if not self._on_stack:
            given = ", ".join([f"{self.name}_work *work", *self._arguments()])
            heads.append(f"void {self.name}_in({given})")
        if self.states:
            heads.append(f"void {self.name}_reset({self.name}_state *state)")
        return heads

    def _types(self) -> list[str]:
        lines = []
        if self.states:
            fields = [f"{s.array.buffer.c_type} {s.name}[{s.array.size}];" for s in self.states]
            lines += _struct(f"{self.name}_state", fields)
        if self._nbytes:
            fields = [f"{x.buffer.c_type} {x.buffer.name}[{x.size}];" for x in self._next if x.size]
            lines += _struct(f"{self.name}_work", self.program.fields() + fields)
        return lines

    def _declarations(self) -> list[str]:
        return [f"{head};" for head in self._heads()]

    def _function(self) -> list[str]:
        heads = [head.replace(" *", " *restrict ") for head in self._heads()]
        lines = []
        if self._on_stack:
            lines += [f"{heads[0]} {{", *indented(self._start() + self._body()), "}"]
        else:
            lines += [f"{heads[1]} {{", *indented(self._body()), "}", ""]
            state = ["state"] if self.states else []
            names = [*state, *[part.name for part in (*self.inputs, *self.outputs)]]
            call = f"{self.name}_in(&work, {', '.join(names)});"
            lines += [f"{heads[0]} {{", f"  static {self.name}_work work;", f"  {call}", "}"]
        if self.states:
            lines += ["", f"{heads[-1]} {{", *indented(self._reset()), "}"]
        return lines

    def _start(self) -> list[str]:
        if not self._nbytes:
            return []
        return [f"{self.name}_work memory;", f"{self.name}_work *const work = &memory;"]

    def _body(self) -> list[str]:
        steps = self.program.all_lines()
        words = set(re.findall(r"\w+", re.sub(r"/\*.*?\*/", "", "\n".join(steps))))
        lines = [f"(void){part.name};" for part in self.inputs if part.name not in words]
        for part in self.states:
            kind = part.array.buffer.c_type
            lines.append(f"{kind} *const {part.name} = state->{part.name};")
        buffers = [x.buffer for x in self._next]
        lines += [f"{b.c_type} *const {b.name} = work->{b.name};" for b in buffers]
        lines += steps
        for old, new in zip(self.states, self.after, strict=True):
            n = old.array.size
            copied = f"{old.name}[i] = {new.name}[i];"
            lines.append(f"for (ptrdiff_t i = 0; i < {n}; i++) {copied}")
        return lines

    def _reset(self) -> list[str]:
        lines = []
        for part in self.states:
            each = f"for (ptrdiff_t i = 0; i < {part.array.size}; i++)"
            lines.append(f"{each} state->{part.name}[i] = 0;")
        return lines


_OF_LIBRARY = {*mathfunctions.FROM_LIBM.values(), *mathfunctions.FROM_LIBM_OF_TWO.values()}
_OF_LIBRARY |= {"sqrt", "floor", "ceil", "rint", "trunc"}
_LIBRARY = {name + suffix for name in _OF_LIBRARY for suffix in ("", "f")}


def _names_of(letter: str, count: int) -> list[str]:
    """``x`` of one, ``x0``, ``x1``.. of several."""
    return [letter] if count == 1 else [f"{letter}{i}" for i in range(count)]


def _weights(model: Model) -> dict[int, str]:
    """The names of weights in C, by the arrays' ids."""
    named = model.named_parameters()
    return {id(p._raw): "w_" + re.sub(r"\W", "_", name) for name, p in named}


def _struct(name: str, fields: Sequence[str]) -> list[str]:
    return ["typedef struct {", *[f"  {field}" for field in fields], f"}} {name};", ""]
