"""SciPy's ufuncs on Variables: every rule against finite differences, and what there is no rule for."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, gradcheck
from minidl import functions as F
from minidl.functions import special as rules

special = pytest.importorskip("scipy.special")

rng = np.random.default_rng(5)
BOTH = rng.uniform(-1.5, 1.5, (2, 3))
INSIDE = rng.uniform(-0.8, 0.8, 4)
UNIT = rng.uniform(0.1, 0.9, 4)
PLUS = rng.uniform(0.4, 3.0, 4)
# Arguments for each ufunc: floating arrays are differentiated, numbers are not.
SAMPLES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("erf", "erfc", "erfcx", "erfi", "dawsn", "ndtr", "log_ndtr"), (BOTH,)),
    **dict.fromkeys(("expit", "log_expit", "expm1", "exp2", "exp10", "cosm1"), (BOTH,)),
    **dict.fromkeys(("sindg", "cosdg", "tandg"), (BOTH * 50,)),
    **dict.fromkeys(("j0", "j1", "i0", "i1", "i0e", "i1e"), (BOTH,)),
    **dict.fromkeys(("y0", "y1", "k0", "k1", "k0e", "k1e"), (PLUS,)),
    **dict.fromkeys(("log1p", "cbrt", "expi", "exp1", "spence", "entr"), (PLUS,)),
    **dict.fromkeys(("gamma", "gammaln", "loggamma", "rgamma", "digamma"), (PLUS,)),
    **dict.fromkeys(("jv", "yv", "yn", "iv", "kv", "kn", "ive", "kve"), (2, PLUS)),
    **{name: (PLUS, PLUS[::-1].copy()) for name in ("beta", "betaln", "xlogy", "xlog1py")},
    **{name: (PLUS, PLUS[::-1].copy()) for name in ("rel_entr", "kl_div", "poch", "owens_t")},
    **dict.fromkeys(("logit", "ndtri", "ellipk", "ellipe"), (UNIT,)),
    **dict.fromkeys(("gammainc", "gammaincc", "_zeta"), (2.5, PLUS)),
    "erfinv": (INSIDE,),
    "erfcinv": (UNIT * 2,),
    "binom": (PLUS + 3, PLUS),
    "betainc": (1.5, 2.5, UNIT),
    "huber": (1.0, np.array([-2.0, 0.3, 1.7])),
    "pseudo_huber": (1.0, BOTH),
    "gammasgn": (BOTH,),
}
NAMES = sorted(rules._rules(special))


def ufunc(name: str) -> Any:
    return getattr(special, name, None) or getattr(special._ufuncs, name)


def test_every_rule_has_samples() -> None:
    assert set(SAMPLES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_value_and_derivatives(name: str) -> None:
    f = ufunc(name)
    args = SAMPLES[name]
    places = [i for i, a in enumerate(args) if isinstance(a, np.ndarray)]

    def call(*xs: Any) -> Any:
        given = list(args)
        for i, x in zip(places, xs, strict=True):
            given[i] = x
        return f(*given)

    y = call(*[Variable(args[i]) for i in places])
    assert type(y) is Variable
    np.testing.assert_array_equal(y.data, f(*args))
    if name == "gammasgn":
        return
    order = 1 if name == "owens_t" else 2
    assert gradcheck(call, *[args[i] for i in places], order=order, rtol=1e-5, atol=1e-7)
    small = [Variable(args[i].astype(np.float32)) for i in places]
    y = call(*small)
    y.sum().backward()
    assert y.dtype == call(*[x.data for x in small]).dtype
    assert all(x.grad.dtype == np.float32 for x in small)


def test_values_where_formulas_break() -> None:
    x = Variable([0.0, 0.0, 2.0])
    y = Variable([0.0, 3.0, 0.5])
    special.xlogy(x, y).sum().backward()
    np.testing.assert_allclose(x.grad.data, [0, np.log(3), np.log(0.5)])
    assert y.grad.data.tolist() == [0, 0, 4]
    x = Variable([-40.0, 40.0])
    special.expit(x).sum().backward()
    np.testing.assert_allclose(x.grad.data, np.exp(-40.0), rtol=1e-12)
    x = Variable([1.0])
    special.spence(x).backward()
    assert x.grad.data.tolist() == [-1]


@pytest.mark.parametrize("name", ["erf", "erfc", "expit", "log_softmax", "softmax", "logsumexp"])
def test_our_own_agree_with_scipy(name: str) -> None:
    ours = {"expit": F.sigmoid}.get(name) or getattr(F, name)
    theirs = getattr(special, name)
    settings = {"axis": -1} if "soft" in name or "log" in name else {}
    x = np.linspace(-30, 30, 1001)
    np.testing.assert_allclose(ours(x, **settings), theirs(x, **settings), rtol=2e-12, atol=1e-300)


def test_no_derivative_by_an_order_or_a_shape() -> None:
    with pytest.raises(TypeError, match=r"scipy\.special\.jv|no derivative by the order"):
        special.jv(Variable(1.0), Variable(2.0)).backward()
    assert special.jv(1, Variable(2.0)).requires_grad


def test_a_ufunc_without_a_rule_is_refused() -> None:
    with pytest.raises(TypeError, match=r"hyp1f1.*no rule"):
        special.hyp1f1(1.0, 2.0, Variable(0.5))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_functions_of_scipy_that_are_no_ufuncs_are_named(name: str) -> None:
    """They begin with np.asarray, which cannot give a Variable."""
    with pytest.raises(
        TypeError, match=rf"scipy\.special\.{name} would .* minidl\.functions\.{name} is"
    ):
        getattr(special, name)(Variable([1.0, 2.0]))
    with pytest.raises(TypeError, match=r"scipy\.special\.polygamma would .*scipy\.special\.zeta"):
        special.polygamma(1, Variable([1.0]))


def test_functions_of_scipy_behind_a_decorator_are_named() -> None:
    from scipy.linalg import cho_factor, solve_triangular

    x = Variable(np.eye(2))
    with pytest.raises(
        TypeError, match=r"linalg\.solve_triangular .* minidl\.functions\.solve_tri"
    ):
        solve_triangular(x, np.ones(2))
    with pytest.raises(TypeError, match=r"linalg\.cho_factor .* np\.linalg\.cholesky"):
        cho_factor(x)


def test_scipy_is_not_imported() -> None:
    code = "import sys, minidl, minidl.functions; assert not any(m.startswith('scipy') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compiled() -> None:
    def f(x: Any) -> Any:
        return (special.gammaln(x) * special.expit(x)).sum()

    program = minidl.compile(f)
    for scale in (1.0, 2.0):
        a, b = (Variable(np.array([1.5, 2.5]) * scale) for _ in range(2))
        program(a).backward()
        f(b).backward()
        np.testing.assert_array_equal(a.grad.data, b.grad.data)
