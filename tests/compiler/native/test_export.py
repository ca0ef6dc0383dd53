"""export_c: what it writes compiles without a warning, runs under sanitizers, and gives what the model gives."""

import copy
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl import layers
from minidl.compiler.native.export import export_c

COMPILER = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

# Calls the model as often as there are inputs on its standard input.
MAIN = """
#include <stdio.h>
#include <string.h>
#include "model.c"
int main(void) {{
  {declarations}
  {reset}
  while ({read}) {{
    {call}
    {write}
  }}
  return 0;
}}
"""


class Exported:
    """A model as a program: ``run`` gives its outputs for a list of inputs, one after the other."""

    def __init__(
        self, model: Any, example: tuple[Any, ...], folder: Path, fresh: bool = False
    ) -> None:
        minidl.seed(0)
        with minidl.test_mode():
            result = (copy.deepcopy(model) if fresh else model)(*example)
        model.reset_state()
        self.outputs = [array(y) for y in result] if isinstance(result, tuple) else [array(result)]
        export_c(model, example, folder / "model.c")
        self.text = (folder / "model.c").read_text()
        self.stateful = "predict_reset" in self.text
        (folder / "main.c").write_text(self._main(example))
        self.program = str(folder / "main")
        command = [
            str(COMPILER),
            *STRICT,
            *SANITIZERS,
            "-O2" if self.stateful else "-O0",  # some warnings come with the optimizer only
            str(folder / "main.c"),
            "-o",
            self.program,
            "-lm",
        ]
        subprocess.run(command, check=True)

    def _main(self, example: tuple[Any, ...]) -> str:
        parts = [("x", i, x) for i, x in enumerate(example)]
        parts += [("y", i, y) for i, y in enumerate(self.outputs)]
        names = [f"{letter}{i}" for letter, i, _ in parts]
        kinds = {"f4": "float", "f8": "double", "b1": "uint8_t"}
        kinds |= {f"i{n}": f"int{8 * n}_t" for n in (1, 2, 4, 8)}
        kinds |= {f"u{n}": f"uint{8 * n}_t" for n in (1, 2, 4, 8)}
        declared = [
            f"static {kinds[x.dtype.str[1:]]} {name}[{x.size}];"
            for name, (_, _, x) in zip(names, parts)
        ]
        read = [f"fread({n}, sizeof {n}, 1, stdin) == 1" for n in names if n[0] == "x"]
        write = [f"fwrite({n}, sizeof {n}, 1, stdout);" for n in names if n[0] == "y"]
        state = ["&state"] if self.stateful else []
        return MAIN.format(
            declarations=" ".join([*declared, "static predict_state state;" if state else ""]),
            reset="memset(&state, 85, sizeof state); predict_reset(&state);" if state else "",
            read=" && ".join(read),
            call=f"predict({', '.join([*state, *names])});",
            write=" ".join(write),
        )

    def run(self, batches: list[tuple[Any, ...]]) -> list[list[Any]]:
        given = b"".join([np.ascontiguousarray(x).tobytes() for batch in batches for x in batch])
        done = subprocess.run([self.program], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        results = []
        place = 0
        for _ in batches:
            ys = []
            for like in self.outputs:
                y = np.frombuffer(done.stdout, like.dtype, like.size, place).reshape(like.shape)
                place += y.nbytes
                ys.append(y)
            results.append(ys)
        assert place == len(done.stdout)
        return results


def array(y: Any) -> Any:
    return np.asarray(y.data if isinstance(y, minidl.Variable) else y)


def another(x: Any, rng: np.random.Generator) -> Any:
    if x.dtype.kind == "f":
        return (2 * rng.normal(size=x.shape)).astype(x.dtype)
    return rng.integers(0, x.max() + 1, x.shape).astype(x.dtype)


def check(model: Any, example: Any, folder: Path, calls: int = 3) -> Exported:
    """The program agrees with the model for unseen inputs, as closely as rounding lets it."""
    xs = example if isinstance(example, tuple) else (example,)
    rng = np.random.default_rng(5)
    with minidl.test_mode():
        model(*xs)
    before = model.state_dict()
    exported = Exported(model, xs, folder)
    batches = [tuple([another(x, rng) for x in xs]) for _ in range(calls)]
    for batch, got in zip(batches, exported.run(batches), strict=True):
        with minidl.test_mode():
            result = model(*batch)
        wanted = [array(y) for y in (result if isinstance(result, tuple) else (result,))]
        for want, y in zip(wanted, got, strict=True):
            bound = 1e-12 if want.dtype == np.float64 else 1e-5
            np.testing.assert_allclose(
                y, want, rtol=bound, atol=bound * np.abs(want).max(initial=1)
            )
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(np.array_equal(after[name], x) for name, x in before.items())
    return exported


def ones(*shape: int, dtype: Any = np.float32) -> Any:
    return np.ones(shape, dtype)


def adapted() -> Any:
    return layers.Normalization().adapt(np.random.default_rng(0).normal(3, 2, (40, 3)))


def convolutions() -> Any:
    return layers.Sequential(
        layers.Conv2d(2, 8, kernel=3, padding="same"),
        F.relu,
        layers.MaxPool2d(2),
        layers.Conv2d(8, 8, kernel=3, groups=4, stride=2, padding=1),
        layers.BatchNorm(8),
        layers.Flatten(),
        layers.Linear(5),
    )


def activations() -> Any:
    names = "sigmoid softplus elu silu mish leaky_relu gelu selu softsign hard_tanh log_softmax"
    parts = []
    for name in names.split():
        parts += [layers.Linear(6, 6), getattr(F, name)]
    return layers.Sequential(*parts, layers.Dropout(0.5))


class Two(layers.Layer):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        self.first = layers.Linear(3, 4)

    def forward(self, x: Any, n: Any) -> Any:
        y = self.first(x) * n
        return y.max(axis=1), y.argmax(axis=1)


class Scanned(layers.Layer):
    """Loops of one's own, one inside of the other; states, all outputs, and a state that is a view."""

    def __init__(self) -> None:
        self.cell = layers.Linear(3, 3)

    def forward(self, xs: Any) -> Any:
        def turn(h: Any, x: Any) -> Any:
            new = np.tanh(self.cell(h) + x)
            within, _ = F.scan(lambda g, row: (g * row + x, None), new, xs[:2])
            return within, (new, h[:, 1:])

        last, (news, parts) = F.scan(turn, xs[0], xs)
        return last.T, news, parts.sum()


MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "MLP": (lambda: layers.MLP([16, 4], in_features=3), ones(5, 3)),
    "MLP, float64, odd sizes": (
        lambda: layers.MLP([33, 17, 1], in_features=7, activation=F.tanh, dtype=np.float64),
        ones(1, 7, dtype=np.float64),
    ),
    "Normalization": (lambda: layers.Sequential(adapted(), layers.Linear(3, 4)), ones(5, 3)),
    "LayerNorm": (lambda: layers.Sequential(layers.LayerNorm(6), F.softmax), ones(4, 6)),
    "LSTM": (lambda: layers.LSTM(3, 5), ones(2, 7, 3)),
    "LSTM, last": (lambda: layers.LSTM(3, 5, return_sequences=False), ones(1, 30, 3)),
    "LSTM, stateful": (lambda: layers.LSTM(3, 5, stateful=True), ones(2, 4, 3)),
    "LSTM, one step": (lambda: layers.LSTM(3, 5), ones(2, 3)),
    "GRU": (lambda: layers.GRU(3, 5), ones(2, 7, 3)),
    "GRU, one step": (lambda: layers.GRU(3, 5), ones(2, 3)),
    "RNN, float64": (lambda: layers.RNN(3, 5, dtype=np.float64), ones(2, 6, 3, dtype=np.float64)),
    "Bidirectional": (lambda: layers.Bidirectional(layers.GRU(3, 5)), ones(2, 6, 3)),
    "convolutions": (convolutions, ones(3, 8, 8, 2)),
    "1-D": (
        lambda: layers.Sequential(
            layers.Conv1d(3, 8, kernel=3, padding="same", dilation=2),
            layers.MaxPool1d(3, 2, 1),
            layers.AvgPool1d(2),
        ),
        ones(2, 12, 3),
    ),
    "transformer": (
        lambda: layers.Sequential(
            layers.Embedding(20, 16),
            layers.PositionalEncoding(),
            layers.TransformerBlock(4, 32, causal=True),
            layers.Linear(16, 20),
        ),
        np.arange(14).reshape(2, 7),
    ),
    "activations": (activations, ones(4, 6)),
    "loops": (Scanned, ones(5, 2, 3)),
    "two inputs and outputs": (Two, (ones(5, 3), ones(5, 1))),
}


@needs_compiler
@pytest.mark.parametrize("name", MODELS)
def test_models_agree_with_eager(name: str, tmp_path: Path) -> None:
    minidl.seed(3)
    make, example = MODELS[name]
    check(make(), example, tmp_path)


@needs_compiler
def test_a_state_goes_on_and_begins_again(tmp_path: Path) -> None:
    exported = check(layers.LSTM(3, 5), ones(2, 3), tmp_path, calls=6)
    assert exported.stateful
    assert "void predict_reset(predict_state *state)" in exported.text


class Average(layers.Layer):
    """A state of one's own, n numbers."""

    def __init__(self, n: int) -> None:
        self.mean = np.zeros(n, np.float32)

    def forward(self, x: Any) -> Any:
        self.mean = 0.9 * self.mean + 0.1 * x
        return x - self.mean


@needs_compiler
def test_a_large_state_is_not_on_the_stack(tmp_path: Path) -> None:
    exported = Exported(Average(4_000_000), (ones(4_000_000),), tmp_path, fresh=True)
    assert "float next0[4000000];" in exported.text
    (y,) = exported.run([(ones(4_000_000),)])[0]
    np.testing.assert_allclose(y, 0.9, rtol=1e-6)


class Names(layers.Layer):
    """Weights b.c.w and b_c.w, one of them a result; an input that is not used."""

    def __init__(self) -> None:
        self.b = layers.Linear(2, 2)
        self.b.c = layers.Linear(2, 2)
        self.b_c = layers.Linear(2, 2)

    def forward(self, x: Any, z: Any) -> Any:
        return self.b_c(self.b.c(self.b(x))), z**0, self.b_c.w

    def __repr__(self) -> str:
        return "/* ??/ a name */ of */ its own \\"


@needs_compiler
def test_names_do_not_meet(tmp_path: Path) -> None:
    check(Names(), (ones(1, 2), ones(3)), tmp_path)


class Whole(layers.Layer):
    """Integers go round at their ends."""

    def forward(self, n: Any) -> Any:
        return n * n + n, -n, abs(n), n - 5, n**3, n.sum(0)


@needs_compiler
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64])
def test_integers_go_round(dtype: Any, tmp_path: Path) -> None:
    ends = np.iinfo(dtype)
    n = np.array([ends.min, ends.max, 3, ends.max // 2], dtype)
    exported = Exported(Whole(), (n,), tmp_path)
    with np.errstate(over="ignore"):
        wanted = Whole()(n)
    for got, want in zip(exported.run([(n,)])[0], wanted, strict=True):
        assert np.array_equal(got, want)


@needs_compiler
def test_places_outside_a_table_give_nan(tmp_path: Path) -> None:
    exported = Exported(layers.Embedding(4, 3), (np.arange(3),), tmp_path)
    (y,) = exported.run([(np.array([1, 4, -1]),)])[0]
    assert np.isfinite(y[0]).all() and np.isnan(y[1:]).all()


@needs_compiler
def test_nan_and_infinities_pass_through(tmp_path: Path) -> None:
    model = layers.Sequential(layers.Linear(3, 3), F.relu, layers.LayerNorm(3))
    minidl.seed(0)
    exported = Exported(model, (ones(3, 3),), tmp_path)
    x = ones(3, 3)
    x[0, 1] = np.nan
    x[1, 2] = np.inf
    (y,) = exported.run([(x,)])[0]
    with minidl.test_mode(), np.errstate(all="ignore"):
        want = model(x).data
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_weights_are_exact(tmp_path: Path) -> None:
    model = layers.Linear(3, 2, bias=False)
    numbers = np.array([[1e-42, 3.4e38], [-0.1, math.pi], [-0.0, 1e20]], np.float32)
    model.w.data = numbers
    exported = Exported(model, (ones(1, 3),), tmp_path)
    for row in range(3):
        x = np.zeros((1, 3), np.float32)
        x[0, row] = 1
        (y,) = exported.run([(x,)])[0]
        assert np.array_equal(y[0], numbers[row])


@needs_compiler
def test_large_models_take_their_memory_from_the_caller(tmp_path: Path) -> None:
    exported = check(layers.MLP([700, 2], in_features=3), ones(40, 3), tmp_path, calls=1)
    assert "predict_in(predict_work *work, const float *x, float *y)" in exported.text
    assert "static" not in MAIN and "malloc" not in exported.text


@needs_compiler
def test_it_compiles_for_arm(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="no ziglang to compile for another processor")
    path = tmp_path / "model.c"
    export_c(layers.Sequential(layers.LSTM(3, 8), layers.LayerNorm(8)), ones(2, 7, 3), path)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu"]
    subprocess.run([*command, *STRICT, "-O2", "-c", path, "-o", tmp_path / "model.o"], check=True)


def test_the_model_stays_as_it_is(tmp_path: Path) -> None:
    model = layers.LSTM(3, 5)
    model(ones(2, 3))
    state = model.state
    export_c(model, ones(2, 3), tmp_path / "m.c")
    assert model.state is state and model.steps == 1


class Unknown(layers.Layer):
    def forward(self, x: Any) -> Any:
        return np.linalg.inv(x)


class InPlace(layers.Layer):
    def __init__(self) -> None:
        self.mean = np.zeros(2, np.float32)

    def forward(self, x: Any) -> Any:
        self.mean *= 0.9
        self.mean += 0.1 * x
        return x - self.mean


class Nothing(layers.Layer):
    def forward(self, x: Any) -> Any:
        return None


class Reading(layers.Layer):
    def forward(self, x: Any) -> Any:
        return x * 2 if float(x[0, 0]) > 0 else x


@pytest.mark.parametrize(
    "name",
    [
        *("expf", "NULL", "signbit", "rint", "printf", "INLINE", "y1", "uint8_t", "class"),
        *("w0", "w_b", "place", "exp_f64"),
    ],
)
def test_names_that_have_a_meaning_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a meaning in C"):
        export_c(layers.Linear(2, 2), ones(2, 2), tmp_path / "m.c", name)


@pytest.mark.parametrize(
    ("model", "example", "path", "name", "error", "words"),
    [
        (Unknown(), np.eye(2), "m.c", "predict", ValueError, "export_c: .* inv"),
        (Reading(), ones(2, 2), "m.c", "predict", ValueError, r"float\(\) of a value"),
        (layers.Linear(2, 2), ones(2, 2), "m.txt", "predict", ValueError, "ends in .c"),
        (layers.Linear(2, 2), ones(2, 2), "no/m.c", "predict", FileNotFoundError, "no folder"),
        (layers.Linear(2, 2), ones(2, 2), "m.c", "2x", ValueError, "identifier of C"),
        (layers.Linear(2, 2), ones(2, 2), "m.c", "while", ValueError, "meaning in C"),
        (layers.Linear(2, 2), ones(2, 2), "m.c", "exp", ValueError, "meaning in C"),
        (layers.Linear(2, 2), ones(2, 2), "m.c", "exp_f32", ValueError, "meaning in C"),
        (InPlace(), ones(2), "m.c", "predict", ValueError, "writes into an array"),
        (Nothing(), ones(2), "m.c", "predict", ValueError, "gives no array"),
        (layers.Linear, ones(2, 2), "m.c", "predict", TypeError, "a class"),
        (layers.Linear(2), ones(2, 2), "m.c", "predict", ValueError, "call it once"),
        (layers.Linear(2, 2), (), "m.c", "predict", ValueError, "want an example"),
        (layers.Linear(2, 2), ones(0, 2), "m.c", "predict", ValueError, "not empty"),
        (F.relu, ones(2, 2), "m.c", "predict", TypeError, "want a model"),
        (
            layers.Linear(2, 2, dtype=np.float16),
            ones(2, 2),
            "m.c",
            "predict",
            ValueError,
            "float16",
        ),
    ],
)
def test_refusals(
    model: Any, example: Any, path: str, name: str, error: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        export_c(model, example, tmp_path / path, name)
    assert not list(tmp_path.iterdir())
