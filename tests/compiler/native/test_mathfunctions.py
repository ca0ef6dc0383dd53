"""The mathematical functions in C against mpmath, at all magnitudes, and their text by itself.

The bounds are the ones that docs/native_math.md states.
"""

import ctypes
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.compiler.native import mathfunctions, polynomials, toolchain
from minidl.compiler.native.mathfunctions import NAMES, source_of
from minidl.compiler.native.toolchain import Compiler
from tests.compiler.native import make_polynomials

mp = pytest.importorskip("mpmath")

Array = np.ndarray[Any, np.dtype[Any]]
PRECISIONS = {"f32": (np.float32, "float"), "f64": (np.float64, "double")}

# Errors that are never exceeded, in units in the last place, in float32 and float64.
BOUNDS: dict[str, tuple[float, float]] = {
    "exp": (1.1, 1.1),
    "expm1": (2, 2),
    "exp2": (1.1, 1.1),
    "log2": (2.5, 2),
    "sinh": (2.5, 2.5),
    "cosh": (2, 2),
    "tan": (2.5, 2.5),
    "arctan": (2, 2),
    "arcsin": (4, 4),
    "arccos": (4, 4),
    "arcsinh": (4, 4),
    "arccosh": (4, 4),
    "arctanh": (4, 4),
    "cbrt": (1.1, 1.1),
    "tanh": (2.5, 2.5),
    "sigmoid": (2.5, 2.5),
    "log": (1, 1),
    "log1p": (1.5, 1.5),
    "sin": (1.5, 1.5),
    "cos": (1.5, 1.5),
    "erf": (1.5, 1.5),
    "erfc": (4, 4),
}
LIBRARYS = 4.0  # what a good C library promises of its own functions, which stand for the others
ONE = sorted([*BOUNDS, *mathfunctions.FROM_LIBM])
TWO = [*mathfunctions.FROM_LIBM_OF_TWO, "hypot", "logaddexp"]

REFERENCES: dict[str, Callable[[Any], Any]] = {
    "erfc": lambda x: mp.erfc(min(x, 200)),  # of larger ones mpmath fails, and it is as good as 0
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "arccos": mp.acos,
    "arccosh": mp.acosh,
    "arcsin": mp.asin,
    "arcsinh": mp.asinh,
    "arctan": mp.atan,
    "arctanh": mp.atanh,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "exp2": lambda x: mp.mpf(2) ** x,
    "log2": lambda x: mp.log(x, 2),
}


def reference(name: str) -> Callable[[Any], Any]:
    return REFERENCES.get(name) or getattr(mp, name)


def loops() -> str:
    """A function for each of ours that applies it to arrays."""
    lines = []
    for precision, (_, kind) in PRECISIONS.items():
        for name in (*ONE, *TWO, "fma"):
            call = "x[i]" if name in ONE else "x[i], y[i]"
            call += ", y[i]" if name == "fma" else ""
            head = f"all_{name}_{precision}(int64_t n, const {kind} *x, const {kind} *y, {kind} *z)"
            body = f"(void)y; for (int64_t i = 0; i < n; i++) z[i] = {name}_{precision}({call});"
            lines += [f"void {head};", f"void {head} {{ {body} }}"]
    return "\n" + "\n".join(lines) + "\n"


LOOPS = loops()


class Library:
    """All functions, each as a loop over arrays."""

    def __init__(self, compiler: Compiler, fused: bool, path: Path) -> None:
        source = source_of(NAMES)
        if not fused:
            source = source.replace("#define HAS_FMA", "")
        compiler.build(source + LOOPS, path)
        self.library = toolchain.load(path)

    def __call__(self, name: str, precision: str, x: Array, y: Array | None = None) -> Array:
        z = np.empty_like(x)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, x if y is None else y, z)]
        getattr(self.library, f"all_{name}_{precision}")(ctypes.c_int64(len(x)), *pointers)
        return z


@pytest.fixture(scope="module", params=[True, False], ids=["fused", "not fused"])
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    try:
        compiler = toolchain.find()
    except toolchain.CompilerError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("functions") / f"all{toolchain.SUFFIX}"
    return Library(compiler, request.param, path)


@pytest.fixture(scope="module", autouse=True)
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIDL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def sample(precision: str, seed: int = 0) -> Array:
    """Numbers of both signs at every exponent, and many where functions change."""
    dtype = PRECISIONS[precision][0]
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    signs = rng.choice([-1.0, 1.0], len(exponents))
    everywhere = np.ldexp(signs * rng.uniform(1, 2, len(exponents)), exponents)
    limit = 90 if dtype is np.float32 else 710
    where_they_change = [(-limit, limit), (-20, 20), (-3, 3), (-1, 1), (0.5, 2), (-750, -700)]
    dense = [rng.uniform(low, high, 150) for low, high in where_they_change]
    return np.concatenate([everywhere, *dense]).astype(dtype)


def error(y: Any, exact: Any, dtype: Any) -> float:
    """The distance to a real number, in units in its last place."""
    info = np.finfo(dtype)
    if isinstance(exact, mp.mpc) and exact.imag != 0:
        return 0.0 if np.isnan(y) else math.inf
    exact = mp.re(exact)
    exponent = info.minexp if exact == 0 else max(mp.frexp(exact)[1] - 1, info.minexp)
    step = mp.ldexp(1, int(min(exponent, info.maxexp)) - info.nmant)
    largest = mp.mpf(float(info.max))
    if np.isinf(y):
        return 0.0 if abs(exact) > largest and (y > 0) == (exact > 0) else math.inf
    if abs(exact) > largest + step:
        return math.inf
    return math.inf if np.isnan(y) else float(abs(mp.mpf(float(y)) - exact) / step)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ONE)
def test_errors(name: str, precision: str, functions: Library) -> None:
    x = sample(precision)
    y = functions(name, precision, x)
    bound = BOUNDS.get(name, (LIBRARYS, LIBRARYS))[precision == "f64"]
    with mp.workprec(160):
        exact = reference(name)
        errors = [error(b, exact(mp.mpf(float(a))), x.dtype) for a, b in zip(x, y)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound, f"{name}({x[worst]!r}) = {y[worst]!r}: {errors[worst]:.2f} ulp"


def logistic(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


NUMPYS: dict[str, Callable[..., Any]] = {
    "sigmoid": logistic,
    "erf": np.vectorize(math.erf, [float]),
    "erfc": np.vectorize(math.erfc, [float]),
}
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0])


def same(y: Array, expected: Array) -> bool:
    """Whether NaN, infinities and the signs of zeros are the same, and the rest nearly."""
    alike = np.allclose(y, expected, rtol=1e-6, atol=0, equal_nan=True)
    signs = np.signbit(y) == np.signbit(expected)
    return alike and bool(np.all(signs | np.isnan(y)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ONE)
def test_special_values(name: str, precision: str, functions: Library) -> None:
    dtype = PRECISIONS[precision][0]
    with np.errstate(all="ignore"):
        expected = (NUMPYS.get(name) or getattr(np, name))(SPECIAL)
    y = functions(name, precision, SPECIAL.astype(dtype))
    assert same(y, expected), (y, expected)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two(name: str, precision: str, functions: Library) -> None:
    dtype = PRECISIONS[precision][0]
    some = np.concatenate([SPECIAL, [2.5, -2.5, 3.0, 0.1, 30.0, -30.0, 1e30, 1e-30]])
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(some, some))
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    z = functions(name, precision, x, y)
    assert same(z, expected), [row for row in zip(x, y, z, expected) if row[2] != row[3]]


def test_loops_are_vector_code(compiler: Compiler, tmp_path: Path) -> None:
    """Of gcc, as it says so: each function of ours is vectorized in a plain loop."""
    if "gcc version" not in _run([*compiler.command, "-v"]):
        pytest.skip("only gcc says what it vectorizes")
    lines = []
    for name in sorted(BOUNDS):
        for precision, (_, kind) in PRECISIONS.items():
            lines.append(
                f"void all_{name}_{precision}({kind} *restrict y, const {kind} *restrict x) "
                f"{{ for (int i = 0; i < 4096; i++) y[i] = {name}_{precision}(x[i]); }}"
            )
    names = [f"{name}_{precision}" for name in BOUNDS for precision in PRECISIONS]
    source = tmp_path / "loops.c"
    text = source_of(names)
    source.write_text("\n".join([text, *lines]))
    command = [*compiler.command, *compiler.flags, "-fopt-info-vec", str(source)]
    report = _run([*command, "-o", str(tmp_path / "loops")])
    first = text.count("\n") + 2
    vectorized = {int(n) for n in re.findall(r":(\d+):\d+: optimized: loop vectorized", report)}
    missing = [line for n, line in enumerate(lines, first) if n not in vectorized]
    assert missing == []


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow")


def test_the_text_is_strict_c99(compiler: Compiler, tmp_path: Path) -> None:
    source = tmp_path / "all.c"
    source.write_text(source_of(NAMES) + LOOPS)  # clang warns of functions that are not used
    _run([*compiler.command, *STRICT, "-c", str(source), "-o", str(tmp_path / "all.o")])


MAIN = """
#include <stdio.h>
int main(void) {
    uint64_t bits = 1;
    double sum = 0;
    for (int i = 0; i < 200000; i++) {
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        float x = number_f32((uint32_t)(bits >> 32));
        double y = number_f64(bits);
        float x2 = number_f32((uint32_t)((bits >> 16) & 0xff800000u));
        CALLS
    }
    printf("%g\\n", sum);
    return 0;
}
"""


def test_no_behaviour_is_undefined(compiler: Compiler, tmp_path: Path) -> None:
    calls = [
        f"sum += {name}_f32(x) + {name}_f64(y) + {name}_f32(x2) + {name}_f64(x2);"
        for name in sorted(BOUNDS)
    ]
    source = tmp_path / "all.c"
    source.write_text(source_of(NAMES) + MAIN.replace("CALLS", "\n".join(calls)))
    program = tmp_path / "all"
    sanitize = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    built = subprocess.run(
        [*compiler.command, "-O1", *sanitize, str(source), "-o", str(program), "-lm"],
        capture_output=True,
    )
    if built.returncode:
        pytest.skip("this compiler has no sanitizer")
    _run([str(program)])


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_function_comes_with_what_it_uses_and_no_more(name: str) -> None:
    text = source_of({name})
    defined = re.findall(r"^INLINE \w+ (\w+)\(", text, re.M)
    assert defined[-1] == name and len(defined) == len(set(defined))
    for place, helper in enumerate(defined):
        uses = [m.start() for m in re.finditer(rf"\b{helper}\(", text)]
        assert len(uses) >= 2 or helper == name  # its definition and a use
        assert uses[0] == text.index(f" {helper}(") + 1, place  # the definition is first
    words = set(re.findall(r"\b(?:\w+_R|REAL|WORD|[a-z0-9]+R)\b", text))
    assert words == set()  # nothing of the template is left


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"want names of NAMES, got sinus_f32, tan_f16"):
        source_of(["tan_f16", "exp_f32", "sinus_f32"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_results_that_are_whole_numbers(precision: str, functions: Library) -> None:
    dtype = PRECISIONS[precision][0]
    whole = np.arange(-100, 101).astype(dtype)
    powers = np.ldexp(np.ones(201, dtype), np.arange(-100, 101)).astype(dtype)
    assert np.array_equal(functions("exp2", precision, whole), powers)
    assert np.array_equal(functions("log2", precision, powers), whole)
    assert np.array_equal(functions("cbrt", precision, whole**3), whole)
    assert np.array_equal(functions("hypot", precision, 3 * powers, 4 * powers), 5 * powers)
    tens = (10.0 ** np.arange(11)).astype(dtype)
    assert np.array_equal(functions("log10", precision, tens), np.arange(11))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_fma(precision: str, functions: Library) -> None:
    assert f"fma_{precision}" in NAMES
    x = np.array([3.0, np.inf, 0.0]).astype(PRECISIONS[precision][0])
    z = functions("fma", precision, x, x)  # x * y + y
    assert z.tolist() == [12.0, np.inf, 0.0]


# The double and the float nearest to a multiple of pi / 2, and what lies near.
NEAR_ZEROS = [6381956970095103.0 * 2.0**797, 16367173 * 2.0**72, 1e22, 2.0**1023, math.pi]


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_where_all_digits_of_pi_count(name: str, precision: str, functions: Library) -> None:
    dtype = PRECISIONS[precision][0]
    multiples = np.arange(1, 1000, dtype=np.float64) * math.pi / 2
    large = multiples * 2.0 ** (np.arange(len(multiples)) % 60)
    with np.errstate(over="ignore"):
        x = np.concatenate([NEAR_ZEROS, multiples, large]).astype(dtype)
    x = x[np.isfinite(x)]
    y = functions(name, precision, x)
    with mp.workprec(1300):
        exact = [getattr(mp, name)(mp.mpf(float(a))) for a in x]
    errors = [error(b, e, dtype) for b, e in zip(y, exact)]
    assert max(errors) <= BOUNDS[name][precision == "f64"], x[int(np.argmax(errors))]


def test_nothing_is_wanted() -> None:
    assert "INLINE float" not in source_of([])


@pytest.mark.filterwarnings("ignore:Descending")  # of mpmath 1.4, for an argument that 1.3 lacks
def test_the_polynomials_are_what_the_script_makes() -> None:
    assert Path(polynomials.__file__).read_text(encoding="utf-8") == make_polynomials.text()
