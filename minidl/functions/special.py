"""SciPy's special functions on Variables: the derivatives of its ufuncs.

SciPy is never imported here: who calls its functions on a Variable has imported it. The error
function, which needs no SciPy, lives in error_function.py.
"""

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from minidl.autograd import protocols
from minidl.autograd.function import Function, Rule
from minidl.functions.activation import sigmoid
from minidl.functions.masks import sigmoid_slope

__all__: list[str] = []

_ROOT_PI = math.sqrt(math.pi)
_ROOT_2PI = math.sqrt(2 * math.pi)


def _unknown(what: str) -> Rule:
    """The rule for an argument by which there is no derivative in closed form."""

    def rule(g: Any, y: Any, *args: Any) -> Any:
        raise TypeError(f"no derivative by {what} is known; give it as an array or a number")

    return rule


def _log_or_zero(x: Any, y: Any, log: Callable[[Any], Any], pole: float) -> Any:
    """``log(y)``, but 0 where x is 0 and y at the pole or beyond, as ``x log(y)`` is 0 there."""
    out = (x == 0) & (y <= pole)
    return np.where(out, 0, log(np.where(out, 1, y)))


def _ratio_or_zero(x: Any, y: Any) -> Any:
    """``x / y``, and 0 where x is 0."""
    return x / np.where(x == 0, 1, y)


def _rules(s: Any) -> dict[str, tuple[Rule | None, ...]]:
    """The table: name of the ufunc, one rule an argument. ``s`` is ``scipy.special``."""
    zeta = s.zeta
    return {
        # the error function and the normal distribution
        "erf": (lambda g, y, x: g * (2 / _ROOT_PI) * np.exp(-x * x),),
        "erfc": (lambda g, y, x: g * (-2 / _ROOT_PI) * np.exp(-x * x),),
        "erfcx": (lambda g, y, x: g * (2 * x * y - 2 / _ROOT_PI),),
        "erfi": (lambda g, y, x: g * (2 / _ROOT_PI) * np.exp(x * x),),
        "dawsn": (lambda g, y, x: g * (1 - 2 * x * y),),
        "erfinv": (lambda g, y, x: g * (0.5 * _ROOT_PI) * np.exp(y * y),),
        "erfcinv": (lambda g, y, x: g * (-0.5 * _ROOT_PI) * np.exp(y * y),),
        "ndtr": (lambda g, y, x: g * (1 / _ROOT_2PI) * np.exp(-0.5 * x * x),),
        "log_ndtr": (lambda g, y, x: g * (1 / _ROOT_2PI) * np.exp(-0.5 * x * x - y),),
        "ndtri": (lambda g, y, x: g * _ROOT_2PI * np.exp(0.5 * y * y),),
        "owens_t": (
            lambda g, y, h, a: (
                g * (-0.5 / _ROOT_2PI) * np.exp(-0.5 * h * h) * s.erf(a * h * math.sqrt(0.5))
            ),
            lambda g, y, h, a: g * np.exp(-0.5 * h * h * (1 + a * a)) / (2 * math.pi * (1 + a * a)),
        ),
        # logistic
        "expit": (lambda g, y, x: g * sigmoid_slope(x, y, 1),),
        "logit": (lambda g, y, x: g / (x * (1 - x)),),
        "log_expit": (lambda g, y, x: g * sigmoid(-x),),
        # exponentials, logarithms and what SciPy has beside NumPy
        "expm1": (lambda g, y, x: g * np.exp(x),),
        "log1p": (lambda g, y, x: g / (1 + x),),
        "exp2": (lambda g, y, x: g * y * math.log(2),),
        "exp10": (lambda g, y, x: g * y * math.log(10),),
        "cbrt": (lambda g, y, x: g / (3 * y * y),),
        "cosm1": (lambda g, y, x: -g * np.sin(x),),
        "sindg": (lambda g, y, x: g * s.cosdg(x) * (math.pi / 180),),
        "cosdg": (lambda g, y, x: g * s.sindg(x) * (-math.pi / 180),),
        "tandg": (lambda g, y, x: g * (1 + y * y) * (math.pi / 180),),
        "expi": (lambda g, y, x: g * np.exp(x) / x,),
        "exp1": (lambda g, y, x: -g * np.exp(-x) / x,),
        "spence": (lambda g, y, x: g * -_log_ratio(x),),
        "xlogy": (
            lambda g, y, a, b: g * _log_or_zero(a, b, np.log, 0),
            lambda g, y, a, b: g * _ratio_or_zero(a, b),
        ),
        "xlog1py": (
            lambda g, y, a, b: g * _log_or_zero(a, b, np.log1p, -1),
            lambda g, y, a, b: g * _ratio_or_zero(a, 1 + b),
        ),
        "entr": (lambda g, y, x: g * (-1 - np.log(x)),),
        "rel_entr": (
            lambda g, y, a, b: g * (np.log(a / b) + 1),
            lambda g, y, a, b: -g * _ratio_or_zero(a, b),
        ),
        "kl_div": (
            lambda g, y, a, b: g * np.log(a / b),
            lambda g, y, a, b: g * (1 - _ratio_or_zero(a, b)),
        ),
        "huber": (_unknown("delta"), lambda g, y, d, x: g * np.clip(x, -d, d)),
        "pseudo_huber": (
            _unknown("delta"),
            lambda g, y, d, x: g * x / np.sqrt(1 + np.square(x / d)),
        ),
        # the gamma function and its kin
        "gamma": (lambda g, y, x: g * y * s.digamma(x),),
        "gammaln": (lambda g, y, x: g * s.digamma(x),),
        "loggamma": (lambda g, y, x: g * s.digamma(x),),
        "rgamma": (lambda g, y, x: -g * y * s.digamma(x),),
        "gammasgn": (None,),
        "digamma": (lambda g, y, x: g * zeta(2, x),),
        "_zeta": (_unknown("the order"), lambda g, y, n, x: g * -n * zeta(n + 1, x)),
        "beta": (
            lambda g, y, a, b: g * y * (s.digamma(a) - s.digamma(a + b)),
            lambda g, y, a, b: g * y * (s.digamma(b) - s.digamma(a + b)),
        ),
        "betaln": (
            lambda g, y, a, b: g * (s.digamma(a) - s.digamma(a + b)),
            lambda g, y, a, b: g * (s.digamma(b) - s.digamma(a + b)),
        ),
        "binom": (
            lambda g, y, n, k: g * y * (s.digamma(n + 1) - s.digamma(n - k + 1)),
            lambda g, y, n, k: g * y * (s.digamma(n - k + 1) - s.digamma(k + 1)),
        ),
        "poch": (
            lambda g, y, x, m: g * y * (s.digamma(x + m) - s.digamma(x)),
            lambda g, y, x, m: g * y * s.digamma(x + m),
        ),
        "gammainc": (
            _unknown("a"),
            lambda g, y, a, x: g * np.exp(s.xlogy(a - 1, x) - x - s.gammaln(a)),
        ),
        "gammaincc": (
            _unknown("a"),
            lambda g, y, a, x: -g * np.exp(s.xlogy(a - 1, x) - x - s.gammaln(a)),
        ),
        "betainc": (
            _unknown("a"),
            _unknown("b"),
            lambda g, y, a, b, x: (
                g * np.exp(s.xlogy(a - 1, x) + s.xlog1py(b - 1, -x) - s.betaln(a, b))
            ),
        ),
        # Bessel's functions: by their neighbours
        "j0": (lambda g, y, x: -g * s.j1(x),),
        "j1": (lambda g, y, x: g * (0.5 * (s.j0(x) - s.jv(2, x))),),
        "y0": (lambda g, y, x: -g * s.y1(x),),
        "y1": (lambda g, y, x: g * (0.5 * (s.y0(x) - s.yv(2, x))),),
        "i0": (lambda g, y, x: g * s.i1(x),),
        "i1": (lambda g, y, x: g * (0.5 * (s.i0(x) + s.iv(2, x))),),
        "i0e": (lambda g, y, x: g * (s.i1e(x) - np.sign(x) * y),),
        "i1e": (lambda g, y, x: g * (0.5 * (s.i0e(x) + s.ive(2, x)) - np.sign(x) * y),),
        "k0": (lambda g, y, x: -g * s.k1(x),),
        "k1": (lambda g, y, x: g * (-0.5 * (s.k0(x) + s.kv(2, x))),),
        "k0e": (lambda g, y, x: g * (y - s.k1e(x)),),
        "k1e": (lambda g, y, x: g * (y - 0.5 * (s.k0e(x) + s.kve(2, x))),),
        "jv": (
            _unknown("the order"),
            lambda g, y, v, x: g * (0.5 * (s.jv(v - 1, x) - s.jv(v + 1, x))),
        ),
        "yv": (
            _unknown("the order"),
            lambda g, y, v, x: g * (0.5 * (s.yv(v - 1, x) - s.yv(v + 1, x))),
        ),
        "yn": (
            _unknown("the order"),
            lambda g, y, v, x: g * (0.5 * (s.yv(v - 1, x) - s.yv(v + 1, x))),
        ),
        "iv": (
            _unknown("the order"),
            lambda g, y, v, x: g * (0.5 * (s.iv(v - 1, x) + s.iv(v + 1, x))),
        ),
        "kv": (
            _unknown("the order"),
            lambda g, y, v, x: g * (-0.5 * (s.kv(v - 1, x) + s.kv(v + 1, x))),
        ),
        "kn": (
            _unknown("the order"),
            lambda g, y, v, x: g * (-0.5 * (s.kv(v - 1, x) + s.kv(v + 1, x))),
        ),
        "ive": (
            _unknown("the order"),
            lambda g, y, v, x: g * (0.5 * (s.ive(v - 1, x) + s.ive(v + 1, x)) - np.sign(x) * y),
        ),
        "kve": (
            _unknown("the order"),
            lambda g, y, v, x: g * (y - 0.5 * (s.kve(v - 1, x) + s.kve(v + 1, x))),
        ),
        # elliptic integrals
        "ellipk": (lambda g, y, m: g * ((s.ellipe(m) / (1 - m) - y) / (2 * m)),),
        "ellipe": (lambda g, y, m: g * ((y - s.ellipk(m)) / (2 * m)),),
    }


def _log_ratio(x: Any) -> Any:
    """``log(x) / (x - 1)``, and 1 at 1."""
    one = x == 1
    return np.where(one, 1, np.log(x) / np.where(one, 1, x - 1))


@cache
def _functions(module: Any) -> dict[Any, Function]:
    """The table as functions by ufunc, made once."""
    table = {}
    for name, rules in _rules(module).items():
        ufunc = getattr(module, name, None) or getattr(module._ufuncs, name, None)
        if isinstance(ufunc, np.ufunc):
            table[ufunc] = Function(ufunc, rules, None, f"scipy.special.{name.lstrip('_')}")
    return table


def find(ufunc: np.ufunc) -> Function | None:
    """The function that stands for one of SciPy's ufuncs, if there is a rule for it."""
    module = sys.modules.get("scipy.special")
    return None if module is None else _functions(module).get(ufunc)


protocols.FINDERS.append(find)
