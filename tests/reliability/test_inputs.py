"""Bad inputs: a right answer or a clear error, never a wrong one; and what was found wrong on the way, once each.

The inputs are made in inputs.py; here a twelfth of the catalogue's rows get them, in measure_functions.py all.
"""

from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, layers, optim
from minidl import functions as F
from tests.functions.catalogue import ROWS, name_of
from tests.functions.rows_of_families import rows_so_far
from tests.reliability import inputs

# Not those whose call computes before the function does, nor methods of ufuncs; matrix decompositions have their
# own test of errors (LAPACK takes minutes for some infinities), and np.diff of order 10**30 does not end.
PLAIN_ROWS = [
    r
    for r in ROWS
    if r.foreign
    or (r.function in rows_so_far and r.via is None and r.name.isidentifier() and r.name != "diff")
]


@pytest.mark.parametrize("start", range(4))
def test_bad_inputs_to_functions(start: int) -> None:
    found, bad = inputs.count(PLAIN_ROWS[start::48])
    if np.lib.NumpyVersion(np.__version__) < "2.3.0":  # whose pad takes no dict, as ours does
        bad = [fault for fault in bad if not fault[1].startswith("pad-")]
    assert bad == []
    assert sum(kind[inputs.RIGHT] for kind in found.values()) > 100


@pytest.mark.parametrize("f", [F.sigmoid, F.softplus, F.softmax, F.log_softmax])
@pytest.mark.parametrize("x", [np.array([2, 3, 0], np.uint8), np.array([-128, 127], np.int8)])
def test_negatives_of_small_integers(f: Any, x: Any) -> None:
    np.testing.assert_allclose(f(x), f(x.astype(float)), rtol=1e-6)
    np.testing.assert_allclose(f(Variable(x)).data, f(x.astype(float)), rtol=1e-6)


def test_sums_of_small_integers() -> None:
    assert F.sum_to(np.array([200, 100], np.uint8), ()) == 300
    assert F.sum_to(np.array([True, True]), (1,)).tolist() == [2]


def test_a_frame_with_text_says_what_to_write() -> None:
    """A frame has no dtype of its own, and its text goes over several lines."""

    class Frame:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array([["a", 1.0]], object)

        def to_numpy(self, dtype: Any) -> Any:
            return np.asarray(self).astype(dtype)

    with pytest.raises(TypeError, match=r"dtype object of .*Frame; write x.to_numpy\(float\)"):
        Variable(Frame())


def test_polynomials_of_bools() -> None:
    assert F.polyder(np.array([True, True, False])).tolist() == [2, 1]
    assert np.polyder(Variable([True, True, True])).data.tolist() == [2, 1]


def test_coordinates_of_small_integers() -> None:
    """Their differences are negative, or do not fit into their dtype."""
    x = np.array([200, 100, 0], np.uint8)
    f = np.array([0.0, 1.0, 3.0])
    assert F.gradient(f, x).tolist() == np.gradient(f, x.astype(float)).tolist()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_infinities_that_do_not_count() -> None:
    f = np.array([1.0, np.inf, 2.0, 5.0])
    assert F.gradient(f).tolist() == np.gradient(f).tolist()
    for x in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5):
        for points in ([0.0, 1.0, 2.0], [-np.inf, 1.0, np.inf]):
            for values in (f[:3], f[1:], -f[:3], np.full(3, np.inf)):
                np.testing.assert_array_equal(
                    F.interp(x, points, values), np.interp(x, points, values)
                )
    for method in ("lower", "higher", "nearest", "midpoint"):
        for q in (0.1, 0.5, 0.6, 0.9):
            np.testing.assert_array_equal(
                F.quantile(f, q, method=method), np.quantile(f, q, method=method)
            )


def test_targets_of_r2_keep_their_digits() -> None:
    y, t = np.array([1.0, 2.0, 4.0], np.float16), np.array([1.0001, 2.0001, 3.0001])
    assert F.r2(y, t) == pytest.approx(F.r2(y.astype(float), t), rel=1e-12)


def test_masked_arrays_are_refused() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for call in (
        lambda: Variable(masked),
        lambda: F.exp(masked),
        lambda: Variable([1.0, 2.0]) + masked,
        lambda: F.mean_squared_error(masked, np.ones(2)),
    ):
        with pytest.raises(TypeError, match="masked array"):
            call()


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_beside_a_variable_is_an_array() -> None:
    x, m = Variable(np.eye(2)), np.matrix([[1.0, 2.0], [3.0, 4.0]])
    assert (x * m).data.tolist() == F.multiply(m, x).data.tolist() == [[1, 0], [0, 4]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.take(np.arange(4.0), np.float64(1.5)), TypeError, "take.*integers"),
        (lambda: F.take(Variable(np.arange(4.0)), 1.5), TypeError, "take.*integers"),
        (lambda: F.matmul(np.zeros((2, 0)), np.zeros((0, 3), "M8[s]")), TypeError, "matmul"),
        (lambda: F.multiply("three", 3), TypeError, "multiply.*text"),
        (lambda: F.huber(np.ones(2), np.ones(2), -1), ValueError, "huber: delta"),
        (lambda: F.huber(np.ones(2), np.ones(2), "x"), TypeError, "huber: delta"),
        (
            lambda: F.binary_cross_entropy(np.ones(2), np.ones(2), eps=np.nan),
            ValueError,
            "binary_cross_entropy: eps",
        ),
        (lambda: F.astype(np.ones(2), "x"), TypeError, "astype"),
        (lambda: F.softplus(np.ones(2) + 1j), TypeError, "softplus.*complex"),
        (lambda: F.max(None), TypeError, "max: want arrays"),
        (lambda: np.convolve(Variable(np.ones((2, 2))), np.ones(2)), ValueError, "convolve: want"),
        (
            lambda: np.correlate(np.ones(2), Variable(np.ones((1, 1)))),
            ValueError,
            "correlate: want",
        ),
        (lambda: F.polymul(np.ones((2, 2)), np.ones(2)), ValueError, "polymul|convolve"),
        (lambda: F.polyadd(np.ones(2), np.ones((3, 1))), ValueError, "polyadd: want vectors"),
        (lambda: F.polysub(np.ones((2, 2)), np.ones(2)), ValueError, "polysub: want vectors"),
        (lambda: F.polyder(np.ones((2, 2))), ValueError, "polyder: want vectors"),
        (lambda: F.polyint(Variable(1.0)), ValueError, "polyint: want vectors"),
        (lambda: F.polyfit(np.arange(3.0), np.ones(3), 1.5), TypeError, "polyfit: deg"),
        (lambda: F.polyfit(np.arange(3.0), np.ones(2), 1), ValueError, "polyfit: want x a vector"),
        (lambda: F.polyfit(np.arange(3.0), np.ones(3), 1, w=[1.0]), ValueError, "polyfit: want w"),
        (lambda: F.vander(np.arange(3.0), 2.5), TypeError, "vander: N"),
        (lambda: F.interp(1.0, [2.0, 1.0], [0.0, 1.0]), ValueError, "interp: want xp rising"),
        (lambda: F.interp(1.0, [1.0, 2.0], [0.0, 1.0], left="x"), TypeError, "interp: want real"),
        (lambda: F.interp(1.0, [1.0, 2.0], [0.0, 1.0], right=1j), TypeError, "interp: want real"),
        (lambda: F.cov(np.ones((2, 3)), fweights=[1.5, 1, 1]), TypeError, "cov: want fweights"),
        (lambda: F.cov(np.ones((2, 3)), aweights=[1.0, 2.0]), ValueError, "cov: aweights"),
        (lambda: F.cov(np.ones((2, 3)), aweights=[1, -2, 1]), ValueError, "cov: .*aweights"),
        (lambda: F.cov(np.ones((2, 3)), ddof=1.5), ValueError, "cov: want ddof"),
        (lambda: F.gradient(np.ones(3) > 0), TypeError, "gradient: want numbers"),
        (lambda: F.gradient(np.ones(3), [1.0, 1.0, 2.0]), ValueError, "gradient: want coordinates"),
        (lambda: F.ediff1d(np.arange(3), to_begin=0.5), TypeError, "ediff1d: want what a int64"),
        (lambda: F.f1(np.eye(2), np.array([0, 1]), average=Variable(1.0)), ValueError, "f1: want"),
        (
            lambda: np.average(np.ones(2), weights=Variable([1.0, -1.0])),
            ZeroDivisionError,
            "average: the weights sum to zero",
        ),
        (lambda: Variable([[1.0], [2.0, 3.0]]), ValueError, "one length"),
    ],
)
def test_refused(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


LOSSES: dict[Any, tuple[Any, Any]] = {
    F.mean_squared_error: (np.ones((2, 3)), np.ones((2, 3))),
    F.mean_absolute_error: (np.ones((2, 3)), np.ones((2, 3))),
    F.huber: (np.ones((2, 3)), np.ones((2, 3))),
    F.hinge: (np.ones((2, 3)), np.ones((2, 3))),
    F.cosine_distance: (np.ones((2, 3)), np.ones((2, 3))),
    F.kl_divergence: (np.zeros((2, 3)), np.ones((2, 3))),
    F.binary_cross_entropy: (np.full((2, 3), 0.5), np.ones((2, 3))),
    F.binary_cross_entropy_with_logits: (np.ones((2, 3)), np.ones((2, 3))),
    F.cross_entropy: (np.ones((2, 3)), np.array([0, 2])),
    F.negative_log_likelihood: (np.zeros((2, 3)), np.array([0, 2])),
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize(
    "weight",
    [
        np.ones(2) + 1j,
        np.array(["1", "2"]),
        np.array([b"1", b"2"]),
        np.array([1, 2], "M8[s]"),
        np.array([1.0, 2.0], object),
        np.ones(2, [("x", float)]),
        [[1.0], [1.0, 2.0]],
        ["a", "b"],
        {"a": 1},
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.array([1.0, -1.0]),
        np.array([1.0, np.nan]),
        np.array([1.0, np.inf]),
        np.ones(3),
        np.ones((2, 3, 1)),
        1.0,
    ],
    ids=lambda w: repr(w)[:24],
)
def test_weights_that_are_none(loss: Any, boxed: bool, weight: Any) -> None:
    y, t = LOSSES[loss]
    y = Variable(y) if boxed else y
    with pytest.raises((TypeError, ValueError), match=f"{loss.__name__}: weight"):
        loss(y, t, weight=weight)
    for wide in (loss(y, t, weight=None), loss(y, t, weight=[1, 1]), loss(y, t, weight=[True] * 2)):
        assert inputs.same(wide, loss(y, t))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("bad", [None, "", "Mean", 1, [], {}, np.array("mean"), Variable([1, 0])])
def test_reductions_that_are_none(loss: Any, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"{loss.__name__}: want reduction"):
        loss(*LOSSES[loss], reduction=bad)


BAD: list[Any] = [
    None,
    "x",
    {},
    object(),
    np.array("x"),
    np.array([1j]),
    np.array([object()]),
    [[1.0], [1.0, 2.0]],
    np.float64(1),
    np.ones((2, 4)),
    np.ones((0, 4)),
    np.ones((2, 2, 2, 4)),
    np.ones(4),
    np.ma.masked_array(np.ones((2, 5)), True),
]


@pytest.mark.parametrize("value", BAD, ids=lambda v: name_of(v)[:30])
@pytest.mark.parametrize("kind", [layers.Linear, layers.RNN, layers.LSTM, layers.GRU, layers.MLP])
def test_bad_inputs_to_layers(kind: Any, value: Any) -> None:
    """A clear error that names the layer, or what a layer says of its input."""
    layer = kind([5, 3], in_features=5) if kind is layers.MLP else kind(5, 3)
    with pytest.raises((TypeError, ValueError)) as found:
        layer(value)
    said = str(found.value)
    assert any(
        word in said
        for word in (kind.__name__, "Linear", "Variable", "linear", "masked", "rows of")
    ), said


LAYOUTS = {name: way for name, way in inputs.LAYOUTS.items() if name not in ("masked", "a matrix")}


@pytest.mark.parametrize("spoil", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", [layers.Linear, layers.RNN, layers.LSTM, layers.GRU])
def test_layouts_of_inputs_to_layers(kind: Any, spoil: Any) -> None:
    layer = kind(5, 3, dtype=float, rng=np.random.default_rng(0))
    x = spoil(np.random.default_rng(1).standard_normal((2, 5)))
    before = np.array(x)
    first, second = layer(x), None
    if kind is not layers.Linear:
        layer.reset_state()
    second = layer(before.copy())
    np.testing.assert_allclose(first.data, second.data, rtol=1e-12)
    assert np.array_equal(np.array(x), before)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Momentum, optim.Adam, optim.AdamW])
@pytest.mark.parametrize(
    "bad", [None, "x", [], [1.0], [np.ones(2)], [Variable([1, 2])], [[Variable(1.0)]], {"w": 1}]
)
def test_bad_inputs_to_optimizers(kind: Any, bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=kind.__name__):
        kind(bad)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Momentum, optim.Adam, optim.AdamW])
@pytest.mark.parametrize("rate", ["x", -1, np.nan, np.inf, None, True, 1j, [0.1], {}])
def test_bad_rates(kind: Any, rate: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="lr"):
        kind([Variable(1.0)], lr=rate)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Momentum, optim.Adam, optim.AdamW])
@pytest.mark.parametrize("spoil", LAYOUTS.values(), ids=LAYOUTS)
def test_gradients_of_any_layout(kind: Any, spoil: Any) -> None:
    """The same step as from a plain copy; the gradient that was given is not changed."""
    ends = []
    given = spoil(np.random.default_rng(1).standard_normal((3, 4)))
    plain = np.array(given, float)
    for g in (given, plain.copy()):
        p = minidl.Parameter(np.ones((3, 4)))
        optimizer = kind([p], lr=0.1)
        for _ in range(3):
            p.grad = (
                np.asarray(g, float)
                if isinstance(g, list)
                else g
                if g.dtype == float
                else g.astype(float)
            )
            optimizer.update()
        ends.append(p.data.copy())
    assert np.array_equal(*ends)
    assert np.array_equal(np.array(given, float), plain)


@pytest.mark.parametrize("kind", [optim.Momentum, optim.Adam, optim.RMSprop, optim.Lion])
@pytest.mark.parametrize("bad", [None, "x", np.nan, -1, 1.5, 1j, [3], object(), np.ones((7, 7))])
def test_states_of_optimizers(kind: Any, bad: Any) -> None:
    """Refused, whichever entry it is, and the state is as before."""
    p = minidl.Parameter(np.ones(3))
    optimizer = kind([p])
    (p * p).sum().backward()
    optimizer.update()
    state = optimizer.state_dict()
    for key, value in state.items():
        if np.shape(value) or key.endswith("t"):
            with pytest.raises((TypeError, ValueError), match=f"{kind.__name__}.load_state_dict"):
                optimizer.load_state_dict({**state, key: bad})
            now = optimizer.state_dict()
            assert now.keys() == state.keys()
            assert all(np.array_equal(now[name], state[name]) for name in state)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop, optim.Lion])
@pytest.mark.parametrize("hooks", [None, 3, 0.5, "clip", [None], [[]], object()])
def test_hooks_that_are_none(kind: Any, hooks: Any) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__}: .*hook"):
        kind([Variable(1.0)], hooks=hooks)
