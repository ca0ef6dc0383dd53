"""Where users go and formulas break: extremes, ties, zeros, masked rows. Warnings are errors here as everywhere."""

import math
from typing import Any

import numpy as np
import pytest

from minidl import Variable, grad, gradients
from minidl import functions as F

INF = np.inf


def gradient(f: Any, x: Any, order: int = 1) -> Any:
    """The derivative of that order of the sum of f, with a graph as long as a further order needs it."""
    x = Variable(np.asarray(x))
    y = f(x)
    for n in range(order):
        if not y.requires_grad:
            return np.zeros_like(x.data)
        [y] = gradients(y, [x], create_graph=n + 1 < order)
    return y.data


def both_ways(f: Any, x: Any) -> Any:
    """The first derivative, which must be the same with and without a graph of its own."""
    x = Variable(np.asarray(x))
    plain, recorded = (gradients(f(x), [x], create_graph=c)[0].data for c in (False, True))
    np.testing.assert_allclose(plain, recorded, rtol=1e-12)
    return plain


# ---- far out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_is_exact_at_both_ends(dtype: Any) -> None:
    x = np.array([-1000.0, -90.0, 0.0, 50.0, 1000.0, -INF, INF], dtype)
    y = F.sigmoid(x)
    assert y.dtype == dtype and y[0] == 0 and y[4] == 1 and y[5] == 0 and y[6] == 1 and y[2] == 0.5
    np.testing.assert_allclose(y[1], math.exp(-90), rtol=1e-4, atol=np.finfo(dtype).tiny)
    for order in (1, 2, 3):
        assert np.isfinite(gradient(F.sigmoid, x, order)).all()
    assert both_ways(F.sigmoid, x)[[0, 4]].tolist() == [0, 0] and both_ways(F.sigmoid, x)[2] == 0.25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_is_linear_or_nothing_far_out(dtype: Any) -> None:
    x = np.array([-1000.0, -30.0, 0.0, 30.0, 1000.0], dtype)
    np.testing.assert_allclose(
        F.softplus(x), np.logaddexp(dtype(0), x), rtol=1e-6 if dtype == np.float32 else 1e-14
    )
    np.testing.assert_allclose(both_ways(F.softplus, x), [0, math.exp(-30), 0.5, 1, 1], rtol=1e-5)
    assert (
        gradient(F.softplus, x, 2).tolist()[::4] == [0, 0] and gradient(F.softplus, 0.0, 2) == 0.25
    )


def test_tanh_exp_and_relu_far_out() -> None:
    assert gradient(np.tanh, np.array([-1000.0, 1000.0]), 2).tolist() == [0, 0]
    assert gradient(np.exp, np.array([-1000.0])).tolist() == [0]
    assert F.relu(np.array([-INF, INF])).tolist() == [0, INF]
    assert both_ways(F.relu, np.array([-INF, INF, 0.0, -0.0])).tolist() == [0, 1, 0, 0]
    assert both_ways(lambda x: F.leaky_relu(x, 0.5), np.array([-1.0, 0.0, 1.0])).tolist() == [
        0.5,
        0.5,
        1,
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_thousands(dtype: Any) -> None:
    x = np.array([[1000.0, 1000.0, -1000.0], [-5000.0, -5000.0, -5000.0]], dtype)
    assert F.softmax(x).tolist()[0] == [0.5, 0.5, 0.0]
    np.testing.assert_allclose(F.softmax(x)[1], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(
        F.log_softmax(x)[0], [-math.log(2), -math.log(2), -2000 - math.log(2)], rtol=1e-6
    )
    pick = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype)
    np.testing.assert_allclose(
        both_ways(lambda v: F.softmax(v) * pick, x), [[0.25, -0.25, 0], [0, 0, 0]]
    )
    np.testing.assert_allclose(
        both_ways(lambda v: F.log_softmax(v) * pick, x), [[0.5, -0.5, 0], [0, 0, 0]]
    )


def test_softmax_of_masked_rows() -> None:
    """-inf takes no part; where all are -inf the row and its gradient are zero, to any order."""
    x = np.array([[1.0, -INF, 2.0], [-INF, -INF, -INF]])
    y = F.softmax(x)
    np.testing.assert_allclose(y, [[1 / (1 + math.e), 0, math.e / (1 + math.e)], [0, 0, 0]])
    w = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    g = both_ways(lambda v: F.softmax(v) * w, x)
    np.testing.assert_allclose(g[0], [-2 * y[0, 0] * y[0, 2], 0, 2 * y[0, 0] * y[0, 2]])
    assert g[1].tolist() == [0, 0, 0]
    assert np.isfinite(gradient(lambda v: F.softmax(v) * w, x, 2)).all()
    assert F.softmax(np.full(3, -INF)).tolist() == [0, 0, 0] and F.softmax(x, axis=0)[
        :, 1
    ].tolist() == [0, 0]


def test_mask_fill_with_minus_infinity_then_softmax() -> None:
    scores, w = np.random.default_rng(0).standard_normal((2, 3, 3))
    mask = np.array([[False, True, True], [False, False, True], [True, True, True]])

    def attention(x: Any) -> Any:
        return F.softmax(F.mask_fill(x, mask, -INF)) * w

    for order in (1, 2, 3):
        g = gradient(attention, scores, order)
        assert np.isfinite(g).all() and not g[mask].any()
    assert both_ways(attention, scores)[1, :2].all()
    kept = F.softmax(scores[1, :2])
    want = kept * (w[1, :2] - (w[1, :2] * kept).sum())
    np.testing.assert_allclose(both_ways(attention, scores)[1, :2], want)


def test_mask_fill_keeps_float32_whatever_the_value() -> None:
    x, mask = np.ones(2, np.float32), np.array([True, False])
    for value in (-INF, -1, np.float64(3.0), np.float32(2), Variable(3.0, requires_grad=False)):
        assert F.mask_fill(x, mask, value).dtype == np.float32
        assert F.mask_fill(Variable(x), mask, value).dtype == np.float32


# ---- losses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_a_hopeless_logit(dtype: Any) -> None:
    x, t = np.array([[1e4, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype), np.array([1, 2])
    np.testing.assert_allclose(F.cross_entropy(x, t), (1e4 + math.log(3)) / 2, rtol=1e-6)
    want = [[0.5, -0.5, 0], [1 / 6, 1 / 6, -1 / 3]]
    np.testing.assert_allclose(both_ways(lambda v: F.cross_entropy(v, t), x), want, rtol=1e-6)
    assert np.isfinite(gradient(lambda v: F.cross_entropy(v, t), x, 2)).all()


def test_cross_entropy_keeps_its_digits_beside_large_logits() -> None:
    """A loss of 0.001 beside logits of 10,000 in float32, which log(sum) + max - logit would round to 0.00098."""
    x = np.array([[10000.0, 10000.0 - 7]], np.float32)
    np.testing.assert_allclose(
        F.cross_entropy(x, np.array([0])), math.log1p(math.exp(-7)), rtol=2e-4
    )


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,), (0, 4)])
def test_cross_entropy_with_all_rows_ignored(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    t = np.full(shape[:-1], -100)
    assert F.cross_entropy(x, t) == 0
    assert not both_ways(lambda v: F.cross_entropy(v, t), x).any()
    assert not gradient(lambda v: F.cross_entropy(v, t), x, 2).any()


def test_cross_entropy_does_not_look_at_ignored_rows() -> None:
    """Whatever stands there, as padding does: nan, inf."""
    x = np.array([[1.0, 2.0], [np.nan, 0.0], [3.0, 1.0]])
    t = np.array([0, -100, 1])
    np.testing.assert_allclose(F.cross_entropy(x, t), F.cross_entropy(x[[0, 2]], t[[0, 2]]))
    g = both_ways(lambda v: F.cross_entropy(v, t), x)
    assert g[1].tolist() == [0, 0]
    np.testing.assert_allclose(
        g[[0, 2]], both_ways(lambda v: F.cross_entropy(v, t[[0, 2]]), x[[0, 2]])
    )
    y = F.cross_entropy(np.array([[1.0, 2.0], [-INF, -INF]]), np.array([0, -100]))
    np.testing.assert_allclose(y, math.log1p(math.e))


def test_cross_entropy_of_masked_classes() -> None:
    x = np.array([[1.0, -INF, 2.0]])
    np.testing.assert_allclose(F.cross_entropy(x, np.array([0])), math.log1p(math.e))
    np.testing.assert_allclose(both_ways(lambda v: F.cross_entropy(v, np.array([0])), x)[0, 1], 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_at_the_ends(dtype: Any) -> None:
    y, t = np.array([0.0, 1.0, 0.0, 1.0], dtype), np.array([0.0, 1.0, 1.0, 0.0], dtype)
    for a, b in zip(y, t, strict=True):
        loss = F.binary_cross_entropy(np.array([a]), np.array([b]))
        assert np.isfinite(loss) and (loss < 1e-6 if a == b else loss > 15)
        assert np.isfinite(
            both_ways(lambda v, b=b: F.binary_cross_entropy(v, np.array([b])), np.array([a]))
        ).all()
    x = np.array([-1000.0, 1000.0, 1000.0, -1000.0], dtype)
    assert F.binary_cross_entropy_with_logits(x, np.array([0, 1, 0, 1], dtype)) == 500
    g = both_ways(lambda v: F.binary_cross_entropy_with_logits(v, np.array([0, 1, 0, 1], dtype)), x)
    assert g.tolist() == [0, 0, 0.25, -0.25]


def test_losses_of_a_perfect_prediction() -> None:
    t = np.array([1.0, -2.0])
    for loss in (F.mean_squared_error, F.huber):
        assert loss(t, t) == 0
        assert both_ways(lambda y, loss=loss: loss(y, t), t).tolist() == [0, 0]
    assert gradient(lambda y: F.mean_squared_error(y, t), t, 2).tolist() == [1, 1]
    assert gradient(lambda y: F.huber(y, t), t, 2).tolist() == [0.5, 0.5]


def test_huber_where_its_two_forms_meet() -> None:
    y, t = np.array([-3.0, -1.0, 1.0, 3.0]), np.zeros(4)
    assert F.huber(y, t) == (2.5 + 0.5 + 0.5 + 2.5) / 4
    assert F.huber(y.astype(np.float32), t.astype(np.float32), np.float64(2)).dtype == np.float32
    assert both_ways(lambda v: F.huber(v, t), y).tolist() == [-0.25, -0.25, 0.25, 0.25]


# ---- zero and one -----------------------------------------------------------------------------------------------


def falling(p: float, order: int) -> float:
    return math.prod(p - k for k in range(order))


@pytest.mark.parametrize("p", [0, 1, 2, 3, 4, 2.0, 3.0])
@pytest.mark.parametrize("kind", ["number", "array", "Variable", "np.power"])
def test_integer_powers_at_zero_to_order_four(p: float, kind: str) -> None:
    """x**p at 0: derivative p!/0! at order p, else 0; never 0 * inf."""
    x = np.array([0.0, -2.0, 3.0])
    exponent: Any = p if kind in ("number", "np.power") else np.full(3, float(p))
    if kind == "Variable":
        exponent = Variable(exponent)
    for order in range(1, 5):
        want = [falling(p, order) * (a ** (p - order) if p >= order else 0) for a in x]
        f = (lambda v: np.power(v, exponent)) if kind == "np.power" else (lambda v: v**exponent)
        np.testing.assert_allclose(gradient(f, x, order), want, atol=1e-12)
        np.testing.assert_allclose(
            gradient(f, np.float64(0.0), order) if kind == "number" else 0,
            want[0] * (kind == "number"),
            atol=1e-12,
        )


def test_square_at_zero() -> None:
    for f in (np.square, lambda x: x * x, lambda x: x**2):
        assert [float(gradient(f, 0.0, n)) for n in (1, 2, 3, 4)] == [0, 2, 0, 0]


def test_power_of_a_zero_base_by_its_exponent() -> None:
    x, p = Variable([0.0, 0.0, 2.0]), Variable([2.0, 0.0, 0.0])
    y = x**p
    assert y.data.tolist() == [0, 1, 1]
    y.backward(create_graph=True)
    assert x.grad.data.tolist() == [0, 0, 0]
    np.testing.assert_allclose(p.grad.data, [0, 0, math.log(2)])
    mixed = gradients(x.grad, [p])[0].data  # d/dp of p x^(p-1): at x = 2 and p = 0 that is 1/2
    assert np.isfinite(mixed).all()
    np.testing.assert_allclose(mixed[2], 0.5)
    assert gradient(lambda q: 0.0**q, [1.0, 2.0]).tolist() == [0, 0]
    np.testing.assert_allclose(
        gradient(lambda q: 2**q, [1.0, 2.0], 2), math.log(2) ** 2 * np.array([2, 4])
    )


def test_square_root_and_logarithm_at_zero_are_infinite() -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        assert gradient(np.sqrt, [0.0, 4.0]).tolist() == [INF, 0.25]
        assert gradient(lambda x: x**0.5, [0.0, 4.0]).tolist() == [INF, 0.25]
        assert gradient(np.log, [0.0, 2.0]).tolist() == [INF, 0.5]
        assert gradient(lambda x: 1 / x, [0.0, 2.0]).tolist() == [-INF, -0.25]
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        gradient(np.log, 0.0)


def test_masking_with_where_stops_infinities() -> None:
    """The gradient of the branch that was not taken is zero even where its own derivative is infinite."""
    x = np.array([0.0, 4.0])
    g = gradient(lambda v: np.where(v > 0, np.sqrt(np.where(v > 0, v, 1)), 0), x)
    assert g.tolist() == [0, 0.25]
    w = Variable([INF, 1.0])
    np.where(np.array([False, True]), w, 0.0).backward(np.array([5.0, 5.0]))
    assert w.grad.data.tolist() == [0, 5]
    for f in (F.relu, lambda v: np.maximum(v, 0), lambda v: np.clip(v, 0, None), np.max):
        v = Variable([-1.0, 2.0])
        y = f(v)
        y.backward(np.full(y.shape, INF))
        assert v.grad.data.tolist() == [0, INF]


# ---- slopes against exact values --------------------------------------------------------------------------------


def logistic(x: float) -> float:
    """The slope of the sigmoid, by the form that has no difference."""
    return 1 / (math.exp(x / 2) + math.exp(-x / 2)) ** 2


# By formulas in which nothing cancels, in double precision: (function, slope, points).
SLOPES: list[tuple[Any, Any, list[float]]] = [
    (np.expm1, math.exp, [-600, -40, -17, -1e-9, 0, 3]),
    (np.tanh, lambda x: math.cosh(x) ** -2, [-300, -20, -9.5, -1e-3, 0, 3, 9.5, 20, 300]),
    (F.sigmoid, logistic, [-700, -40, -17, -1, 0, 1, 17, 40, 700]),
    (F.softplus, lambda x: 1 / (1 + math.exp(-x)), [-700, -40, 0, 40, 700]),
    (np.arctan, lambda x: 1 / math.hypot(1, x) ** 2, [-1e150, -300, 0, 1e-9, 1, 1e10]),
    (np.log1p, lambda x: 1 / (1 + x), [-1 + 2.0**-9, -1e-9, 0, 1, 1e10]),
    (np.sqrt, lambda x: 0.5 / math.sqrt(x), [1e-300, 1e-40, 1, 1e10]),
    (np.tan, lambda x: math.cos(x) ** -2, [-1.5, 0, 1.57, 1.5707]),
    (F.erf, lambda x: 2 / math.sqrt(math.pi) * math.exp(-x * x), [-9, -5, 0, 1, 5, 9]),
    (F.erfc, lambda x: -2 / math.sqrt(math.pi) * math.exp(-x * x), [-9, -5, 0, 1, 5, 9]),
]


@pytest.mark.parametrize(("f", "slope", "points"), SLOPES, ids=lambda f: getattr(f, "__name__", ""))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_slopes_have_their_digits_at_both_ends(f: Any, slope: Any, points: Any, dtype: Any) -> None:
    limits = np.finfo(dtype)
    tiny, large = float(limits.tiny), float(limits.max)
    x = np.array([p for p in points if p == 0 or tiny < abs(p) < large], dtype)
    with np.errstate(over="ignore", under="ignore"):
        values = f(x)
        x = x[np.isfinite(values)]
        want = np.array([slope(float(a)) for a in x])
        got = both_ways(f, x)
    near = 1e-12 if dtype == np.float64 else 2000 * limits.eps
    representable = np.abs(want) < large
    np.testing.assert_allclose(got[representable], want[representable], rtol=near, atol=tiny)


def test_curvature_of_saturated_activations() -> None:
    """Second and third derivatives too: of tanh at 0 (0 and -2), and relative to their size far out."""
    for x in (-20.0, -3.0, 3.0, 20.0):
        curvature = -2 * math.tanh(x) / math.cosh(x) ** 2
        np.testing.assert_allclose(gradient(np.tanh, x, 2), curvature, rtol=1e-12)
        np.testing.assert_allclose(
            gradient(F.sigmoid, 2 * x, 2), -math.tanh(x) * logistic(2 * x), rtol=1e-12
        )
    assert gradient(np.tanh, 0.0, 2) == 0 and gradient(np.tanh, 0.0, 3) == -2
    beside_nan = gradient(np.tanh, [20.0, np.nan])
    np.testing.assert_allclose(beside_nan, [math.cosh(20) ** -2, np.nan], rtol=1e-12)


# x Phi(x) and its slope Phi(x) + x phi(x), computed with mpmath 1.3 to 40 digits.
GELU = {
    -30.0: (-1.472014178144456e-196, -4.416031690708494e-195),
    -10.0: (-7.619853024160526e-23, -7.618400096464814e-22),
    -5.0: (-1.43325785939597e-6, -7.146946001792295e-6),
    -1.0: (-0.1586552539314571, -0.0833154705876863),
}


def test_gelu_in_its_tail() -> None:
    for x, (value, slope) in GELU.items():
        np.testing.assert_allclose(F.gelu(np.array([x])), value, rtol=1e-12)
        np.testing.assert_allclose(both_ways(F.gelu, [x]), slope, rtol=1e-12)
    for approximate in (False, True):
        y = F.gelu(np.array([-INF, -1e200, 1e200, INF]), approximate)
        assert y.tolist() == [0, 0, 1e200, INF]
        g = both_ways(lambda v, a=approximate: F.gelu(v, a), [-INF, -1e200, 1e200, INF])
        assert g.tolist() == [0, 0, 1, 1]
        half = gradient(lambda v, a=approximate: F.gelu(v, a), np.array([-300, 0, 300], np.float16))
        assert half.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    "f", [F.gelu, F.silu, F.mish, F.elu, F.softsign, F.log_sigmoid, F.softplus, F.erf, F.erfc]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_activations_far_out_neither_overflow_nor_warn(f: Any, dtype: Any) -> None:
    end = float(np.finfo(dtype).max) / 2
    x = np.array([-end, -300, 0, 300, end], dtype)
    assert np.isfinite(f(x)).all() and f(x).dtype == dtype
    for order in (1, 2):
        assert np.isfinite(gradient(f, x, order)).all()


def test_gates_at_infinity() -> None:
    x = np.array([-INF, INF])
    for f in (F.silu, F.mish):
        assert f(x).tolist() == [0, INF] and both_ways(f, x).tolist() == [0, 1]
    assert F.tanh(Variable(np.array([6e4], np.float16))).item() == 1
    assert gradient(F.tanh, np.array([6e4], np.float16)) == 0


def test_erfc_keeps_its_digits() -> None:
    x = np.concatenate([np.linspace(-6, 26, 3201), 10.0 ** np.linspace(-300, 0, 301)])
    want = np.array([math.erfc(a) for a in x])
    np.testing.assert_allclose(F.erfc(x), want, rtol=2e-13, atol=0)
    assert F.erfc(np.array([-INF, INF, 1000.0])).tolist() == [2, 0, 0]
    assert F.erfc(x.astype(np.float32)).dtype == np.float32


def test_erf_and_erfc_of_float32() -> None:
    x = np.linspace(-9, 9, 5001).astype(np.float32)
    near = x[abs(x) > 1e-3]
    want = np.array([math.erf(a) for a in near.tolist()])
    np.testing.assert_allclose(F.erf(near), want, rtol=4e-7)
    want = np.array([math.erfc(a) for a in x.tolist()])
    np.testing.assert_allclose(
        F.erfc(x), want, rtol=2e-5, atol=1e-45
    )  # of exp(-81) 5 digits are left
    few = x[abs(x) < 2]
    np.testing.assert_allclose(F.erfc(few), [math.erfc(a) for a in few.tolist()], rtol=2e-6)


def test_gelu_and_its_composition_agree() -> None:
    x = np.concatenate([np.linspace(-35, 50, 401), [-INF, INF]])
    for approximate in (False, True):
        np.testing.assert_allclose(
            F.gelu(x, approximate), F.gelu.equals(x, approximate), rtol=1e-12, atol=1e-300
        )
        both_ways(lambda v, a=approximate: F.gelu(v, a), x[x > -15])  # no denormal numbers


# ---- NaN and infinity -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        F.relu,
        F.leaky_relu,
        F.sigmoid,
        F.softplus,
        F.gelu,
        np.abs,
        np.tanh,
        lambda x: np.maximum(x, 1.0),
        lambda x: np.minimum(1.0, x),
        lambda x: np.clip(x, -1, 1),
        lambda x: np.clip(0.0, x, None),
        lambda x: np.clip(0.0, None, x),
        lambda x: x**2,
        lambda x: F.huber(x, np.zeros(3)),
        lambda x: F.mean_squared_error(x, np.zeros(3)),
        lambda x: F.binary_cross_entropy_with_logits(x, np.zeros(3)),
    ],
)
def test_the_gradient_is_nan_where_the_value_is(f: Any) -> None:
    g = both_ways(f, [0.5, np.nan, -2.0])
    assert np.isnan(g).tolist() == [False, True, False]


def test_powers_at_infinity_and_at_zero() -> None:
    with np.errstate(divide="ignore"):
        for p in (0, np.zeros(4), 0.0):
            assert gradient(lambda x, p=p: x**p, [INF, -INF, 0.0, np.nan]).tolist() == [0, 0, 0, 0]
        assert gradient(lambda x: x**1, [INF, 0.0], 2).tolist() == [0, 0]
        assert gradient(lambda x: x**2, [INF, -INF]).tolist() == [INF, -INF]
        for base in (0.0, 0, np.zeros(3), np.float32(0)):
            assert gradient(lambda p, b=base: b**p, [-1.0, 0.0, 2.0]).tolist() == [-INF, 0, 0]
        assert gradient(lambda p: np.full(2, INF) ** p, [-1.0, 2.0]).tolist() == [0, INF]


def test_hypot_at_zero_has_the_slope_zero() -> None:
    assert both_ways(lambda x: np.hypot(x, 0.0), [0.0, 3.0, -3.0]).tolist() == [0, 1, -1]


# ---- sums of many, and of 16 bits -------------------------------------------------------------------------------


def test_losses_of_many_equal_errors_are_as_exact_as_the_mean() -> None:
    d = np.full(10**7, 0.1, np.float32)
    np.testing.assert_allclose(F.mean_squared_error(d, np.zeros_like(d)), np.mean(d * d), rtol=2e-7)


def test_a_bias_gradient_over_many_rows() -> None:
    b = Variable(np.zeros(2, np.float32))
    y = F.linear(np.zeros((10**6, 1), np.float32), np.zeros((1, 2), np.float32), b)
    y.backward(np.full(y.shape, 0.1, np.float32))
    np.testing.assert_allclose(b.grad.data, 1e5, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        F.mean_squared_error,
        F.huber,
        F.binary_cross_entropy_with_logits,
        F.binary_cross_entropy,
    ],
)
def test_float16_losses_are_those_of_float32(loss: Any) -> None:
    scale = 1 if "binary" in loss.__name__ else 300
    y = np.linspace(scale / 8, scale, 70_000, endpoint=False).astype(np.float16)
    t = (y[::-1] > scale / 2).astype(np.float16)
    wide = Variable(y.astype(np.float32))
    half = Variable(y)
    want, got = loss(wide, t), loss(half, t)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got.data, want.data, rtol=1e-3)
    got.backward(np.float16(100))  # as loss scaling does
    want.backward(np.float32(100))
    np.testing.assert_allclose(half.grad.data, wide.grad.data, rtol=2e-3, atol=1e-7)


def test_float16_cross_entropy_over_many_rows_and_classes() -> None:
    x, t = np.zeros((70_000, 2), np.float16), np.zeros(70_000, int)
    np.testing.assert_allclose(F.cross_entropy(x, t), math.log(2), rtol=1e-3)
    y = F.log_softmax(np.zeros(70_000, np.float16))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, -math.log(70_000), rtol=1e-3)
    assert F.softmax(np.zeros(70_000, np.float16)).sum(dtype=np.float32) == pytest.approx(
        1, rel=0.01
    )


# ---- binary losses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_logit_losses_have_their_digits_for_both_labels(dtype: Any, t: float) -> None:
    near = 10 * np.finfo(dtype).eps
    for x in (-80.0, -17.0, -1.0, 0.0, 1.0, 10.0, 17.0, 80.0):
        tail = math.log1p(math.exp(-abs(x)))
        wrong = 1 - t if x > 0 else t
        loss = F.binary_cross_entropy_with_logits(np.array([x], dtype), np.array([t], dtype))
        np.testing.assert_allclose(loss, wrong * abs(x) + tail, rtol=near)
        g = both_ways(
            lambda v, t=t: F.binary_cross_entropy_with_logits(v, np.array([t], dtype)),
            np.array([x], dtype),
        )
        p, q = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(x))
        want = (1 - t) * p - t * q
        np.testing.assert_allclose(g, want, rtol=near, atol=near * t * (1 - t))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gap", [-80.0, -1.0, 0.0, 1.0, 8.0, 10.0, 17.0, 40.0, 80.0])
def test_cross_entropy_has_its_digits_for_every_label(dtype: Any, gap: float) -> None:
    """Of logits [gap, 0] and the label 0 it is log(1 + exp(-gap)), also where its probability is nearly 1."""
    near = 10 * np.finfo(dtype).eps
    x, t = np.array([[gap, 0.0]], dtype), np.array([0])
    want = max(-gap, 0) + math.log1p(math.exp(-abs(gap)))
    slope = 1 / (1 + math.exp(gap))
    np.testing.assert_allclose(F.logsumexp(x - x[:, :1], axis=1), want, rtol=near)
    for f in (lambda v: F.cross_entropy(v, t), lambda v: -F.log_softmax(v)[0, 0]):
        np.testing.assert_allclose(f(x), want, rtol=near)
        if gap < 30 or dtype == np.float64:
            v = Variable(x)
            f(v).sum().backward()
            np.testing.assert_allclose(v.grad.data, [[-slope, slope]], rtol=2 * near)


def test_logit_losses_at_infinity() -> None:
    x = np.array([INF, INF, -INF, -INF, INF])
    t = np.array([1.0, 0.0, 1.0, 0.0, 0.5])
    losses = [F.binary_cross_entropy_with_logits(x[i : i + 1], t[i : i + 1]) for i in range(5)]
    assert losses == [0, INF, INF, 0, INF]
    g = both_ways(lambda v: F.binary_cross_entropy_with_logits(v, t), x)
    assert (5 * g).tolist() == [0, 1, -1, 0, 0.5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_prediction_that_is_surely_wrong_gets_a_large_gradient(dtype: Any) -> None:
    y, t = np.array([1.0, 0.0], dtype), np.array([0.0, 1.0], dtype)
    g = both_ways(lambda v: F.binary_cross_entropy(v, t), y)
    assert g[0] > 1e6 and g[1] < -1e6 and np.isfinite(g).all()
    assert F.binary_cross_entropy(np.array([1e-10], dtype), np.ones(1, dtype)) == pytest.approx(
        10 * math.log(10), rel=1e-5
    )


@pytest.mark.parametrize("t", [-1.0, 1.5, 255.0])
def test_targets_and_probabilities_are_in_0_to_1(t: float) -> None:
    good, bad = np.array([0.2, 0.7]), np.array([0.5, t])
    with pytest.raises(
        ValueError, match=rf"binary_cross_entropy: want targets in \[0, 1\], got {t}"
    ):
        F.binary_cross_entropy(Variable(good), bad)
    with pytest.raises(ValueError, match=rf"with_logits: want targets in \[0, 1\], got {t}"):
        F.binary_cross_entropy_with_logits(Variable(good), bad)
    with pytest.raises(ValueError, match=rf"probabilities in \[0, 1\], got {t}; for logits use"):
        F.binary_cross_entropy(Variable(bad), good)


# ---- ties and bounds, as documented -----------------------------------------------------------------------------


def test_ties_of_maximum_and_minimum_are_halved() -> None:
    for f, first in ((np.maximum, [1, 0.5, 0]), (np.minimum, [0, 0.5, 1])):
        a, b = Variable([3.0, 1.0, 0.0]), Variable([2.0, 1.0, 4.0])
        f(a, b).backward(create_graph=True)
        assert a.grad.data.tolist() == first and b.grad.data.tolist() == first[::-1]
        assert both_ways(lambda x, f=f: f(x, x), [1.0]).tolist() == [1]
        assert both_ways(lambda x, f=f: f(x, 1.0), [1.0]).tolist() == [0.5]


def test_ties_of_max_and_min_share_equally() -> None:
    x = np.array([[1.0, 3.0, 3.0], [3.0, 0.0, 1.0]])
    third = 1 / 3
    np.testing.assert_allclose(both_ways(np.max, x), [[0, third, third], [third, 0, 0]])
    np.testing.assert_allclose(both_ways(lambda v: v.max(1), x), [[0, 0.5, 0.5], [1, 0, 0]])
    np.testing.assert_allclose(
        both_ways(lambda v: v.max(0, keepdims=True), x), [[0, 1, 1], [1, 0, 0]]
    )
    np.testing.assert_allclose(both_ways(lambda v: (-v).min(1), x), [[0, -0.5, -0.5], [-1, 0, 0]])
    assert both_ways(np.max, np.full(4, 2.0)).tolist() == [0.25] * 4


def test_absolute_value_at_zero() -> None:
    assert both_ways(np.abs, [-2.0, 0.0, -0.0, 3.0]).tolist() == [-1, 0, 0, 1]
    assert both_ways(abs, [0.0]).tolist() == [0]


def test_clip_passes_the_gradient_at_its_bounds() -> None:
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert both_ways(lambda v: np.clip(v, -1, 1), x).tolist() == [0, 1, 1, 1, 0]
    low, high = Variable(np.full(5, -1.0)), Variable(np.full(5, 1.0))
    np.clip(Variable(x), low, high).backward()
    assert low.grad.data.tolist() == [1, 0, 0, 0, 0] and high.grad.data.tolist() == [0, 0, 0, 0, 1]


def test_clip_between_bounds_in_the_wrong_order_is_the_upper_one() -> None:
    a, low, high = Variable([-1.0, 1.5, 3.0]), Variable(np.full(3, 2.0)), Variable(np.ones(3))
    y = np.clip(a, low, high)
    y.backward()
    assert y.data.tolist() == [1, 1, 1]
    assert a.grad.data.tolist() == low.grad.data.tolist() == [
        0,
        0,
        0,
    ] and high.grad.data.tolist() == [1, 1, 1]


# ---- one element, none, all the same ----------------------------------------------------------------------------


def test_variance_of_a_constant_and_of_one_element() -> None:
    assert np.var(Variable(np.full(3, 2.5))).item() == 0
    assert both_ways(np.var, np.full(3, 2.5)).tolist() == [0, 0, 0]
    assert both_ways(np.var, [7.0]).tolist() == [0] and np.var(Variable([7.0])).item() == 0
    np.testing.assert_allclose(
        grad(lambda v: grad(np.var)(v)[0])(np.full(3, 2.5)), [4 / 9, -2 / 9, -2 / 9]
    )


def test_mean_of_one_element_and_of_a_number() -> None:
    assert both_ways(np.mean, [3.0]).tolist() == [1] and both_ways(np.mean, 3.0) == 1
    assert both_ways(lambda v: np.mean(v, 0), [[3.0, 4.0]]).tolist() == [[1, 1]]
    assert F.mean_squared_error(np.array([2.0]), np.array([0.0])) == 4


def test_variance_keeps_its_digits_beside_a_large_mean() -> None:
    x = 1e8 + np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(F.var(x), 2 / 3, rtol=1e-12)
    np.testing.assert_allclose(both_ways(np.var, x), [-2 / 3, 0, 2 / 3], rtol=1e-12)


# ---- the error function -----------------------------------------------------------------------------------------


def test_erf_is_accurate_relative_to_its_value() -> None:
    x = np.concatenate([np.linspace(0, 8, 20001), 10.0 ** np.linspace(-300, 0, 3001)])
    x = np.concatenate([x, -x])
    want = np.array([math.erf(a) for a in x])
    np.testing.assert_allclose(F.erf(x), want, rtol=4e-15, atol=0)
    small = x[np.abs(x) > 1e-37].astype(np.float32)
    want = np.array([math.erf(float(a)) for a in small])
    np.testing.assert_allclose(F.erf(small), want, rtol=4e-7, atol=0)
    assert F.erf(small).dtype == np.float32
    assert F.erf(np.array([-INF, INF, 0.0, 1000.0])).tolist() == [-1, 1, 0, 1]
    assert np.isnan(F.erf(np.array([np.nan])))[0]
    np.testing.assert_allclose(gradient(F.erf, [0.0, 1e-9]), 2 / math.sqrt(math.pi), rtol=1e-15)


def test_gelu_everywhere() -> None:
    x = np.linspace(-30, 30, 60001)
    want = np.array([a * (1 + math.erf(a / math.sqrt(2))) / 2 for a in x])
    np.testing.assert_allclose(F.gelu(x), want, rtol=1e-12, atol=1e-14)
    small = x.astype(np.float32)
    assert F.gelu(small).dtype == np.float32
    np.testing.assert_allclose(F.gelu(small), want, rtol=2e-6, atol=2e-6)
    normal = np.array([(1 + math.erf(a / math.sqrt(2))) / 2 for a in x])
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(both_ways(F.gelu, x), normal + x * density, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        gradient(F.gelu, x, 2), (2 - x * x) * density, rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(F.gelu(x, approximate=True), want, atol=5e-4)
    for approximate in (False, True):
        g = both_ways(lambda v, a=approximate: F.gelu(v, a), np.array([-1e4, 1e4]))
        np.testing.assert_allclose(g, [0, 1], atol=1e-15)


# ---- chance -----------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_the_share() -> None:
    x = np.ones(100_000, np.float32)
    for rate in (0.1, 0.5, np.float64(0.9)):
        y = F.dropout(x, rate, rng=np.random.default_rng(0))
        assert y.dtype == np.float32
        assert abs((y == 0).mean() - rate) < 0.01 and abs(y.mean() - 1) < 0.03
        np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)


def test_dropout_lets_the_same_gradient_through() -> None:
    x = Variable(np.full(1000, 2.0))
    y = F.dropout(x, 0.3, rng=np.random.default_rng(0))
    y.backward()
    np.testing.assert_allclose(x.grad.data, y.data / 2)


def test_cross_entropy_of_a_fully_masked_row() -> None:
    x = Variable([[-np.inf, -np.inf], [1.0, 2.0]])
    loss = F.cross_entropy(x, np.array([0, 1]))
    plain = -F.log_softmax(x)[np.arange(2), np.array([0, 1])].mean()
    assert loss.item() == np.inf == plain.item()
    loss.backward()
    assert np.isfinite(x.grad.data).all()


@pytest.mark.parametrize(
    "f", [np.log, np.log2, np.log10, np.log1p, np.sqrt, np.cbrt, np.reciprocal, np.arctan]
)
@pytest.mark.parametrize("at", [300.0, 60_000.0])
def test_slopes_of_float16_far_out(f: Any, at: float) -> None:
    slope = gradient(f, np.array([at]))
    if slope[0] != 0 and abs(slope[0]) > 1e-7:  # not below what float16 can hold
        np.testing.assert_allclose(gradient(f, np.array([at], np.float16)), slope, rtol=0.01)


@pytest.mark.parametrize(
    "f",
    [np.std, np.linalg.norm, lambda v: np.linalg.norm(v, 3), lambda v: np.linalg.norm(v, axis=0)],
)
def test_float16_may_leave_its_range_on_the_way(f: Any) -> None:
    x = np.array([300.0, -300.0, 400.0])
    half = f(Variable(x.astype(np.float16)))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.data, f(x), rtol=1e-3)
    slope = gradient(f, x.astype(np.float16))
    assert slope.dtype == np.float16
    np.testing.assert_allclose(slope, gradient(f, x), rtol=5e-3)


@pytest.mark.parametrize(
    "f",
    [
        np.median,
        np.max,
        np.min,
        np.ptp,
        lambda v, axis: np.quantile(v, 0.3, axis),
        lambda v, axis: np.percentile(v, 30, axis),
    ],
)
def test_where_the_value_is_nan_the_gradient_is(f: Any) -> None:
    x = np.array([[1.0, np.nan, 3.0], [5.0, 4.0, 6.0]])
    whole = gradient(lambda v: f(v, axis=1), x[1:])
    slope = gradient(lambda v: f(v, axis=1), x)
    assert np.isnan(slope[0]).any() and np.isnan(slope[0].sum())
    np.testing.assert_array_equal(slope[1:], whole)
    assert np.isfinite(whole).all()
