"""Writes minidl/compiler/native/polynomials.py: fits by mpmath, rounded to the precision they serve.

    python -m tests.compiler.native.make_polynomials > minidl/compiler/native/polynomials.py

Each fit is near the best one in the largest error (interpolation at Chebyshev's nodes, 50 digits).
"""

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 50

PRECISIONS = {"f32": np.float32, "f64": np.float64}
SMALL = mp.mpf(10) ** -16  # below, the first term of Taylor's series has all digits

HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.001")
EIGHTH_TURN = (mp.pi / 4) ** 2 * mp.mpf("1.001")
TAN_OF_EIGHTH = (mp.sqrt(2) - 1) ** 2 * mp.mpf("1.001")
LOG_END = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mp.mpf("1.002")


def exp_series(r: Any) -> Any:
    """(exp(r) - 1 - r) / r^2"""
    return (mp.expm1(r) - r) / r**2 if abs(r) > SMALL else mp.mpf(1) / 2


def log_series(z: Any) -> Any:
    """(2 artanh(s) - 2 s) / s^3, z = s^2"""
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) - 2 * s) / (s * z) if z > SMALL else mp.mpf(2) / 3


def arctan_series(z: Any) -> Any:
    """(arctan(t) - t) / t^3, z = t^2"""
    t = mp.sqrt(z)
    return (mp.atan(t) - t) / (t * z) if z > SMALL else -mp.mpf(1) / 3


def erf_series(z: Any) -> Any:
    """erf(x) / x - 1, z = x^2"""
    x = mp.sqrt(z)
    return (mp.erf(x) / x if z > SMALL else 2 / mp.sqrt(mp.pi)) - 1


def sin_series(z: Any) -> Any:
    """(sin(r) - r) / r^3, z = r^2"""
    r = mp.sqrt(z)
    return (mp.sin(r) - r) / (r * z) if z > SMALL else -mp.mpf(1) / 6


def cos_series(z: Any) -> Any:
    """(cos(r) - 1 + r^2 / 2) / r^4, z = r^2"""
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2 if z > SMALL else mp.mpf(1) / 24


def erfc_series(center: float) -> Callable[[Any], Any]:
    """(1 + 2 z) exp(z^2) erfc(z), t = (z - center) / (z + center)"""

    def f(t: Any) -> Any:
        z = center * (1 + t) / (1 - t)
        return (1 + 2 * z) * mp.exp(z * z) * mp.erfc(z)

    return f


def erfc_domain(center: float, end: float) -> tuple[float, Any]:
    return -1.0, (mp.mpf(end) - center) / (end + center)


# Function, domain, number of coefficients.
FITS: dict[str, tuple[Callable[[Any], Any], tuple[Any, Any], int]] = {
    "exp_series_f32": (exp_series, (-HALF_LN2, HALF_LN2), 5),
    "exp_series_f64": (exp_series, (-HALF_LN2, HALF_LN2), 11),
    "log_series_f32": (log_series, (0, LOG_END), 4),
    "log_series_f64": (log_series, (0, LOG_END), 8),
    "sin_series_f32": (sin_series, (0, EIGHTH_TURN), 3),
    "sin_series_f64": (sin_series, (0, EIGHTH_TURN), 6),
    "cos_series_f32": (cos_series, (0, EIGHTH_TURN), 3),
    "cos_series_f64": (cos_series, (0, EIGHTH_TURN), 6),
    "arctan_series_f32": (arctan_series, (0, TAN_OF_EIGHTH), 5),
    "arctan_series_f64": (arctan_series, (0, TAN_OF_EIGHTH), 11),
    "erf_series_f32": (erf_series, (0, 0.85**2), 6),
    "erf_series_f64": (erf_series, (0, 0.85**2), 11),
    "erfc_series_f32": (erfc_series(2.5), erfc_domain(2.5, 10.2), 12),
    "erfc_series_f64": (erfc_series(3.75), erfc_domain(3.75, 27.5), 24),
}

HEADER = '''"""The coefficients of the polynomials in native_math.h, lowest power first.

Made by tests/compiler/native/make_polynomials.py, which says of what; not written by hand.
"""

COEFFICIENTS = {'''

BETWEEN = """}

# Binary digits of 1 / (2 pi): of float32 29 a piece, each with its place, of float64 48 a piece from
# every 16th place, without it.
TABLES = {"""


def coefficients(name: str) -> list[float]:
    function, domain, count = FITS[name]
    dtype = PRECISIONS[name.rpartition("_")[2]]
    fit = mp.chebyfit(function, list(domain), count)
    return [float(dtype(mp.nstr(c, 30))) for c in reversed(fit)]


def digits(first: int, count: int) -> int:
    """Binary digits of 1 / (2 pi) after the point, as an integer."""
    with mp.workprec(1400):
        turns = int(mp.floor(mp.ldexp(1 / (2 * mp.pi), first + count)))
    return turns % 2**count


def tables() -> dict[str, list[float]]:
    places = range(0, 16 * 71, 16)
    return {
        "turns_f32": [math.ldexp(digits(29 * j, 29), -29 * (j + 1)) for j in range(7)],
        "turns_f64": [math.ldexp(digits(place, 48), -48) for place in places],
    }


def rows(name: str, numbers: list[float], precision: int) -> list[str]:
    return [f'    "{name}": (', *(f"        {x:.{precision}g}," for x in numbers), "    ),"]


def text() -> str:
    """The whole file."""
    lines = [HEADER]
    for name in FITS:
        lines += rows(name, coefficients(name), 9 if name.endswith("32") else 17)
    lines.append(BETWEEN)
    for name, numbers in tables().items():
        lines += rows(name, numbers, 17)
    return "\n".join([*lines, "}\n"])


if __name__ == "__main__":
    print(text(), end="")
