"""RNN and LSTM: both forms against the formulas and each other, the carried state, and what bad input gets."""

import copy

import numpy as np
import pytest

import minidl
from minidl import Variable, gradcheck
from minidl import functions as F
from minidl.layers import LSTM, RNN

KINDS = pytest.mark.parametrize("kind", [RNN, LSTM])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 3))  # batch, time, in


def made(kind, **settings):
    return kind(3, 5, rng=np.random.default_rng(1), dtype=np.float64, **settings)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_formula(layer, x):
    """All outputs, computed in plain NumPy from the definition."""
    w_x, w_h, b = layer.w_x.data, layer.w_h.data, layer.b.data
    h = c = np.zeros((len(x), 5))
    hs = []
    for t in range(x.shape[1]):
        a = x[:, t] @ w_x + h @ w_h + b
        if isinstance(layer, RNN):
            h = np.tanh(a)
        else:
            f, i, o, u = (a[:, k : k + 5] for k in range(0, 20, 5))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
            h = sigmoid(o) * np.tanh(c)
        hs.append(h)
    return np.stack(hs, axis=1)


def one_by_one(layer, x):
    return [layer(x[:, t]) for t in range(x.shape[1])]


@KINDS
def test_parameters(kind):
    layer = kind(3, 5)
    g = 4 if kind is LSTM else 1
    shapes = [(name, p.shape) for name, p in layer.named_parameters()]
    assert shapes == [("w_x", (3, 5 * g)), ("w_h", (5, 5 * g)), ("b", (5 * g,))]
    assert not layer.b.data.any() and all(p.dtype == np.float32 for p in layer.parameters())
    big = kind(400, 100, dtype=np.float64)
    assert abs(big.w_x.data.std() * 20 - 1) < 0.02 and abs(big.w_h.data.std() * 10 - 1) < 0.02


@KINDS
def test_both_forms_are_the_formula_in_values_and_gradients(kind):
    layer, u = made(kind), RNG.normal(size=(2, 4, 5))
    layer.b.data = RNG.normal(size=layer.b.shape)
    expected = by_formula(layer, X)
    gradients = []
    for run in (lambda x: layer(x), lambda x: F.stack(one_by_one(layer, x), axis=1)):
        x = Variable(X)
        y = run(x)
        np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-14)
        layer.cleargrads()
        (y * u).sum().backward()
        gradients.append([x.grad.data, *(p.grad.data for p in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@KINDS
def test_gradcheck_of_order_two(kind):
    layer = made(kind)

    def run(x, *values):
        for name, value in zip(("w_x", "w_h", "b"), values, strict=True):
            setattr(layer, name, value)
        return layer(x)

    assert gradcheck(run, X, *(p.data + 0.1 for p in layer.parameters()))


@KINDS
def test_last_step_only(kind):
    layer, last = made(kind), made(kind, return_sequences=False)
    y, h = layer(X), last(X)
    assert h.shape == (2, 5)
    np.testing.assert_array_equal(y.data[:, -1], h.data)
    y[:, -1].sum().backward()
    h.sum().backward()
    for p, q in zip(layer.parameters(), last.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.data, q.grad.data, rtol=1e-13, atol=1e-15)
    assert last(X[:, 0]).shape == (2, 5)  # one step gives its output in any case


@KINDS
def test_float32_stays_float32(kind):
    layer = kind(3, 5)
    for x in (X, X[:, 0], Variable(X.astype(np.float32))):
        y = layer(x)
        layer.cleargrads()
        y.backward()
        assert y.dtype == np.float32 and all(p.grad.dtype == np.float32 for p in layer.parameters())
    h = layer.state[0] if kind is LSTM else layer.state
    assert h.dtype == np.float32


@KINDS
def test_lazy(kind):
    lazy, known = kind(5, rng=np.random.default_rng(1), dtype=np.float64), made(kind)
    held = lazy.parameters()
    assert repr(lazy) == f"{kind.__name__}(?→5)" and lazy.w_x.lazy
    with pytest.raises(RuntimeError, match=r"w_h of \w+\(\?→5\) has no data yet"):
        lazy.w_h.data  # drawn after w_x, so that one seed gives the same weights
    np.testing.assert_array_equal(lazy(X).data, known(X).data)
    assert repr(lazy) == f"{kind.__name__}(3→5)" and all(
        p is q for p, q in zip(lazy.parameters(), held, strict=True)
    )


# ---- the carried state ---------------------------------------------------------------------------------------


@KINDS
def test_one_step_carries_its_state_until_reset(kind):
    layer = made(kind)
    assert layer.state is None and layer.steps == 0
    first, second = layer(X[:, 0]), layer(X[:, 0])
    assert layer.steps == 2 and not np.allclose(first.data, second.data)
    if kind is LSTM:
        h, c = layer.state
        assert h is second and c.shape == (2, 5)
    else:
        assert layer.state is second
    layer.reset_state()
    assert layer.state is None and layer.steps == 0
    np.testing.assert_array_equal(layer(X[:, 0]).data, first.data)


@KINDS
def test_a_sequence_neither_reads_nor_changes_the_carried_state(kind):
    layer = made(kind)
    fresh = layer(X).data
    assert layer.state is None
    layer(X[:, 0])
    state = layer.state
    np.testing.assert_array_equal(layer(X).data, fresh)
    assert layer.state is state and layer.steps == 1
    assert layer(np.ones((7, 2, 3))).shape == (7, 2, 5)  # nor its batch size


@KINDS
def test_stateful_sequences_go_on_without_a_graph(kind):
    layer = made(kind, stateful=True)
    assert "stateful=True" in repr(layer)
    x = Variable(X[:, :2])
    first = layer(x)
    second = layer(X[:, 2:])
    np.testing.assert_allclose(
        np.concatenate([first.data, second.data], axis=1), by_formula(layer, X), rtol=1e-12
    )
    second.backward()
    assert x.grad is None and layer.steps == 0
    states = layer.state if kind is LSTM else (layer.state,)
    assert not any(s.requires_grad for s in states)
    np.testing.assert_array_equal(states[0].data, second.data[:, -1])
    layer.reset_state()
    np.testing.assert_array_equal(layer(X[:, :2]).data, first.data)


@KINDS
def test_a_stateful_sequence_begins_at_the_step_before_it_detached(kind):
    layer = made(kind, stateful=True)
    x = Variable(X[:, 0])
    layer(x)
    y = layer(X[:, 1:])
    np.testing.assert_allclose(y.data, by_formula(layer, X)[:, 1:], rtol=1e-12)
    y.backward()
    assert x.grad is None


@KINDS
def test_gradients_flow_through_the_carried_state_until_it_is_unchained(kind):
    layer = made(kind)
    a, b, c = (Variable(X[:, t]) for t in range(3))
    layer(a)
    layer(b).sum().backward()
    assert a.grad is not None
    layer.reset_state()
    a.cleargrad()
    layer(a)
    loss = layer(b).sum()
    loss.backward()
    kept = a.grad.data.copy()
    loss.unchain_backward()
    states = layer.state if kind is LSTM else (layer.state,)
    assert not any(s.requires_grad for s in states)
    layer.w_x.data = layer.w_x.data * 0.9  # an update; nothing behind the cut may be found stale
    y = layer(c)
    y.sum().backward()
    np.testing.assert_array_equal(a.grad.data, kept)
    assert c.grad is not None and y.shape == (2, 5)


@KINDS
def test_without_unchaining_an_update_makes_the_state_stale(kind):
    layer = made(kind)
    layer(X[:, 0]).sum().backward()
    layer.w_h.data = layer.w_h.data * 0.9
    with pytest.raises(RuntimeError, match=r"older value of a Variable: 'w_[xh]'"):
        layer(X[:, 1]).sum().backward()


@KINDS
def test_nothing_is_recorded_under_no_grad(kind):
    layer = made(kind)
    with minidl.no_grad():
        y, h = layer(X), layer(X[:, 0])
    assert not y.requires_grad and not h.requires_grad and layer.steps == 1


@KINDS
def test_a_bad_first_input_draws_nothing(kind):
    layer = kind(5)
    for x in (np.ones(3), np.ones((1, 2, 2, 3)), np.ones((2, 0, 3)), np.ones((2, 0))):
        with pytest.raises(ValueError, match=rf"{kind.__name__}\(\?→5\): "):
            layer(x)
    assert layer.w_x.lazy and layer.state is None
    assert layer([[1.0, 2.0]]).shape == (1, 5) and repr(layer) == f"{kind.__name__}(2→5)"


@KINDS
def test_arrays_of_steps_and_copies_of_a_carried_state(kind):
    layer = made(kind)
    layer(X[:, 0])
    other = copy.deepcopy(layer)
    np.testing.assert_array_equal(
        other(X[:, 1]).data, layer(X[:, 1]).data
    )  # each goes on from its own
    assert other.steps == layer.steps == 2 and other.state is not layer.state


@KINDS
def test_a_failing_step_leaves_the_state(kind):
    layer = made(kind)
    layer(X[:, 0])
    state = layer.state
    with pytest.raises(ValueError, match="want input of shape"):
        layer(np.ones((2, 4)))
    assert layer.state is state and layer.steps == 1


# ---- bad input -----------------------------------------------------------------------------------------------


@KINDS
def test_another_batch_size_in_the_carried_state(kind):
    layer = made(kind, stateful=True)
    layer(X[:, 0])
    state = layer.state
    for x in (np.ones((3, 3)), np.ones((3, 2, 3))):
        with pytest.raises(
            ValueError,
            match=r"stateful=True\): the carried state is of a batch of 2, the input of 3",
        ):
            layer(x)
    assert layer.state is state and layer.steps == 1


@KINDS
@pytest.mark.parametrize(
    ("x", "error", "complaint"),
    [
        (np.ones((2, 0, 3)), ValueError, r"want input .* time > 0, got \(2, 0, 3\)"),
        (
            np.ones(3),
            ValueError,
            r"want input \(batch, in\) or \(batch, time, in\), time > 0, got \(3,\)",
        ),
        (np.ones((1, 2, 2, 3)), ValueError, r"want input \(batch, in\)"),
        (np.ones((2, 4)), ValueError, r"want input of shape \(\.\., 3\), got \(2, 4\)"),
        (np.ones((2, 3), int), TypeError, r"want floating input, got int64"),
    ],
)
def test_bad_input(kind, x, error, complaint):
    with pytest.raises(error, match=rf"{kind.__name__}\(3→5\): {complaint}"):
        made(kind)(x)


@KINDS
def test_bad_sizes(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: want"):
        kind(1, 2, 3)


@KINDS
def test_an_empty_batch(kind):
    layer = made(kind)
    assert layer(np.ones((0, 4, 3))).shape == (0, 4, 5) and layer(np.ones((0, 3))).shape == (0, 5)
