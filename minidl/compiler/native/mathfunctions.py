"""The mathematical functions of C programs: which there are, and the C text of those that are used.

Their formulas are in native_math.h, their polynomials in polynomials.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from minidl.compiler.native.polynomials import COEFFICIENTS, TABLES

__all__ = ["NAMES", "source_of"]

PREAMBLE = """\
#include <math.h>
#include <stdint.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(FP_FAST_FMA)
#define HAS_FMA
#endif
"""

# What the words of the template are in each precision.
_FLOAT = {
    "REAL": "float",
    "WORD": "uint32_t",
    "DIGITS": "23",
    "BIAS": "127u",
    "SIGN": "30",  # from the second bit to the highest
    "SHIFT": "12582912.0f",  # 1.5 * 2^23
    "UNITS": "8388608.0f",  # 2^23, whose lowest bit counts ones
    "LOG2_E": "1.44269502f",
    "LOG2_E_LOW": "1.92596303e-08f",
    "LN2": "0.693147182f",
    "LN2_HIGH": "0.693359375f",
    "LN2_LOW": "(-2.12194440e-4f)",
    "EXP_ZERO": "(-104.0f)",
    "EXP_INFINITE": "89.0f",
    "EXP2_ZERO": "(-151.0f)",
    "EXP2_INFINITE": "128.0f",
    "EXPM1_ONE": "(-20.0f)",
    "QUARTER_PI": "0.785398185f",
    "QUARTER_PI_LOW": "(-2.18556941e-08f)",
    "TAN_OF_EIGHTH": "0.414213562f",
    "TANH_ONE": "9.1f",
    "TINY": "1e-15f",
    "ROOT_HALF": "0.707106769f",
    "SMALLEST": "1.17549435e-38f",
    "RAISE": "8388608.0f",
    "ABOVE": "128.0f",
    "ABOVE_RAISED": "151.0f",  # 128 + 23
    "FAR": "1e6f",
    "ERF_NEAR": "0.85f",
    "ERFC_CENTER": "2.5f",
    "ERFC_ZERO": "10.2f",
    "HALF_OF_DIGITS": "0xfffff000u",
}
_DOUBLE = {
    "REAL": "double",
    "WORD": "uint64_t",
    "DIGITS": "52",
    "BIAS": "1023u",
    "SIGN": "62",
    "SHIFT": "6755399441055744.0",  # 1.5 * 2^52
    "UNITS": "4503599627370496.0",  # 2^52
    "LOG2_E": "1.4426950408889634",
    "LOG2_E_LOW": "2.0355273740931033e-17",
    "LN2": "0.69314718055994529",
    "LN2_HIGH": "0.69314718036912382",
    "LN2_LOW": "1.9082149292705877e-10",
    "EXP_ZERO": "(-746.0)",
    "EXP_INFINITE": "710.0",
    "EXP2_ZERO": "(-1076.0)",
    "EXP2_INFINITE": "1024.0",
    "EXPM1_ONE": "(-40.0)",
    "QUARTER_PI": "0.78539816339744828",
    "QUARTER_PI_LOW": "3.061616997868383e-17",
    "TAN_OF_EIGHTH": "0.41421356237309503",
    "TANH_ONE": "20.0",
    "TINY": "1e-30",
    "ROOT_HALF": "0.70710678118654757",
    "SMALLEST": "2.2250738585072014e-308",
    "RAISE": "4503599627370496.0",
    "ABOVE": "1024.0",
    "ABOVE_RAISED": "1076.0",  # 1024 + 52
    "FAR": "1e10",
    "ERF_NEAR": "0.85",
    "ERFC_CENTER": "3.75",
    "ERFC_ZERO": "27.5",
    "HALF_OF_DIGITS": "0xfffffffff8000000u",
}
_PRECISIONS = {"f32": (_FLOAT, "f"), "f64": (_DOUBLE, "")}

# The formulas of native_math.h that are functions of NumPy's, minidl's or C's.
OWN = (
    *("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "cos", "cosh"),
    *("erf", "erfc", "exp", "exp2", "expm1", "fma", "hypot", "log", "log1p", "log2", "logaddexp"),
    *("sigmoid", "sin", "sinh", "tan", "tanh"),
)

# Those that programs seldom use are the C library's: NumPy's name, and the name there. (A log10 of
# log's is not exact at powers of ten, where that is seen.)
FROM_LIBM = {"log10": "log10"}
FROM_LIBM_OF_TWO = {"arctan2": "atan2", "fmod": "fmod", "power": "pow"}


def source_of(names: Iterable[str]) -> str:
    """C99 for functions and all that they use, each once and before its first use.

    A name is NumPy's with the precision behind it: ``exp_f32``, ``arctan2_f64``; ``NAMES`` has all
    (and any helper in native_math.h can be had alone). The text begins with what it includes; the
    functions are static, so that many programs can have them.

    Raises:
        ValueError: there is no such function.

    >>> print(source_of(["log10_f32"]).splitlines()[-1])
    INLINE float log10_f32(float x) { return log10f(x); }
    """
    wanted = sorted(names)
    unknown = [name for name in wanted if name not in _definitions()]
    if unknown:
        raise ValueError(f"source_of: want names of NAMES, got {', '.join(unknown)}")
    texts: dict[str, str] = {}
    for name in wanted:
        _add(name, texts)
    return "\n\n".join([PREAMBLE, *texts.values()])


def _add(name: str, texts: dict[str, str]) -> None:
    """Add a definition, after those of all that it uses."""
    definition = _definitions()[name]
    for used in re.findall(r"\w+", definition):
        if used in _definitions() and used not in texts and used != name:
            _add(used, texts)
    texts[name] = definition


@cache
def _definitions() -> dict[str, str]:
    """The C text of each function and table by its name."""
    in_both = [*_parts("native_math.h"), *_from_libm()]
    texts = [_in_precision(part, precision) for precision in _PRECISIONS for part in in_both]
    texts += [_horner(name, coefficients) for name, coefficients in COEFFICIENTS.items()]
    texts += [_table(name, numbers) for name, numbers in TABLES.items()]
    texts += _parts("native_turns.h")
    return {_name_of(text): text for text in texts}


def _parts(file: str) -> list[str]:
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    return [part for part in text.strip().split("\n\n") if "INLINE" in part]


def _name_of(definition: str) -> str:
    match = re.search(r"^(?:INLINE|static const) \w+ (\w+)[(\[]", definition, re.M)
    assert match is not None, definition
    return match[1]


def _in_precision(template: str, precision: str) -> str:
    words, suffix = _PRECISIONS[precision]
    text = re.sub(r"_R\b", f"_{precision}", template)
    text = re.sub(r"(?<=[a-z0-9.])R\b", suffix, text)
    return re.sub(r"\b[A-Z][A-Z0-9_]+\b", lambda word: words.get(word[0], word[0]), text)


def _table(name: str, numbers: tuple[float, ...]) -> str:
    rows = "".join(f"    {number!r},\n" for number in numbers)
    return f"static const double {name}[] = {{\n{rows}}};"


def _horner(name: str, coefficients: tuple[float, ...]) -> str:
    """A polynomial's value by Horner's rule."""
    highest, *others = [_literal(c) for c in reversed(coefficients)]
    steps = [f"    y = fma_R(y, x, {c});" for c in others]
    lines = [f"INLINE REAL {name}(REAL x) {{", f"    REAL y = {highest};", *steps, "    return y;"]
    return _in_precision("\n".join([*lines, "}"]), name.rpartition("_")[2])


def _literal(number: float) -> str:
    text = f"{number!r}"
    return f"{text}R" if "." in text or "e" in text else f"{text}.0R"


def _from_libm() -> list[str]:
    one = [
        f"INLINE REAL {name}_R(REAL x) {{ return {libm}R(x); }}" for name, libm in FROM_LIBM.items()
    ]
    two = [
        f"INLINE REAL {name}_R(REAL x, REAL y) {{ return {libm}R(x, y); }}"
        for name, libm in FROM_LIBM_OF_TWO.items()
    ]
    return one + two


NAMES = frozenset(
    f"{name}_{precision}"
    for name in (*OWN, *FROM_LIBM, *FROM_LIBM_OF_TWO)
    for precision in _PRECISIONS
)
"""The functions that there are, each in both precisions."""
