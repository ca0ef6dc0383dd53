"""RNN, LSTM and GRU: both forms against the formulas and each other, states carried and given, lengths, bad input."""

import copy

import numpy as np
import pytest

import minidl
from minidl import Variable, gradcheck
from minidl import functions as F
from minidl.interop.torch import load_torch_state_dict
from minidl.layers import GRU, LSTM, RNN, Bidirectional

KINDS = pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
GATES = {RNN: 1, LSTM: 4, GRU: 3}
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
        elif isinstance(layer, GRU):
            r, z = sigmoid(a[:, :5]), sigmoid(a[:, 5:10])
            n = np.tanh(x[:, t] @ w_x[:, 10:] + b[10:] + r * (h @ w_h[:, 10:] + layer.b_h.data))
            h = (1 - z) * n + z * h
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
    g = GATES[kind]
    shapes = [(name, p.shape) for name, p in layer.named_parameters()]
    more = [("b_h", (5,))] * (kind is GRU)
    assert shapes == [("w_x", (3, 5 * g)), ("w_h", (5, 5 * g)), ("b", (5 * g,)), *more]
    assert not layer.b.data.any() and all(p.dtype == np.float32 for p in layer.parameters())
    big = kind(400, 100, dtype=np.float64)
    assert abs(big.w_x.data.std() * 20 - 1) < 0.02 and abs(big.w_h.data.std() * 10 - 1) < 0.02


@KINDS
def test_both_forms_are_the_formula_in_values_and_gradients(kind):
    layer, u = made(kind), RNG.normal(size=(2, 4, 5))
    for bias in layer.parameters()[2:]:
        bias.data = RNG.normal(size=bias.shape)
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
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *values):
        for name, value in zip(names, values, strict=True):
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


# ---- states given, and lengths ---------------------------------------------------------------------------------


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def random_state(kind, batch=2):
    h = [Variable(RNG.normal(size=(batch, 5))) for _ in range(2 if kind is LSTM else 1)]
    return tuple(h) if kind is LSTM else h[0]


def close(a, b):
    np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-13)


@KINDS
@pytest.mark.parametrize("whole", [True, False])
def test_a_state_goes_from_call_to_call_with_its_gradient(kind, whole):
    """A sequence in two parts, and in single steps, is the sequence."""
    layer, u = made(kind, return_sequences=whole), RNG.normal(size=(2, 5))
    start, x = random_state(kind), Variable(X)
    found = []
    for cuts in ([4], [1, 4], [2, 3, 4]):
        for v in (x, *parts(start), *layer.parameters()):
            v.cleargrad()
        state, ys, begin = start, [], 0
        for end in cuts:
            y, state = layer.with_state(x[:, begin:end], state)
            ys.append(y if whole else y[:, None])
            begin = end
        out = np.concatenate(ys, axis=1)[:, -1]
        (out * u + sum(s * s for s in parts(state))).sum().backward()
        grads = [v.grad for v in (x, *parts(start), *layer.parameters())]
        found.append([out, *parts(state), *grads])
    state = start
    for t in range(4):
        y, state = layer.with_state(x[:, t], state)
        assert y.shape == (2, 5)
    found.append([y, *parts(state)])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            close(a, b)
    assert layer.state is None and layer.steps == 0


@KINDS
def test_no_state_is_zeros_and_the_carried_one_is_left_alone(kind):
    layer = made(kind, stateful=True)
    layer(X)
    carried, steps = layer.state, layer.steps
    zeros = np.zeros((2, 5))
    a, last = layer.with_state(X)
    b, _ = layer.with_state(X, (zeros, zeros) if kind is LSTM else zeros)
    np.testing.assert_array_equal(a.data, b.data)
    layer.with_state(X[:, 0])
    assert layer.state is carried and layer.steps == steps
    np.testing.assert_array_equal(parts(last)[0].data, a.data[:, -1])


@KINDS
def test_a_state_in_another_dtype_is_cast(kind):
    layer, state = made(kind), random_state(kind)
    half = [s.astype(np.float32) for s in parts(state)]
    y, last = layer.with_state(X, tuple(half) if kind is LSTM else half[0])
    assert all(v.dtype == np.float64 for v in (y, *parts(last)))
    y.sum().backward()
    assert all(s.grad.dtype == np.float64 for s in parts(state))


@KINDS
@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (lambda s: s[:1], ValueError, r"want a state of shape \(2, 5\), got \(1, 5\)"),
        (lambda s: s[0], ValueError, r"want a state of shape \(2, 5\), got \(5,\)"),
        (lambda s: s[:, :4], ValueError, r"want a state of shape \(2, 5\), got \(2, 4\)"),
        (lambda s: s.data > 0, TypeError, "want floating input, got bool"),
    ],
)
def test_what_is_no_state(kind, change, error, complaint):
    layer, state = made(kind), random_state(kind)
    bad = [*parts(state)[:-1], change(parts(state)[-1])]
    for x in (X, X[:, 0]):
        with pytest.raises(error, match=rf"{kind.__name__}\(3→5\): {complaint}"):
            layer.with_state(x, tuple(bad) if kind is LSTM else bad[0])


def test_a_state_of_an_lstm_is_a_pair():
    layer = made(LSTM)
    for state in (np.zeros((2, 5)), (np.zeros((2, 5)),), {"h": 1}):
        with pytest.raises(TypeError, match=r"LSTM\(3→5\): want a state \(h, c\), got"):
            layer.with_state(X, state)
    with pytest.raises((TypeError, ValueError), match=r"GRU\(3→5\): want"):
        made(GRU).with_state(X, (np.zeros((2, 5)), np.zeros((2, 5))))


@KINDS
def test_lengths(kind):
    layer, last = made(kind), made(kind, return_sequences=False)
    lengths = [3, 1]
    x = Variable(X.copy())
    x.data[0, 3:], x.data[1, 1:] = np.inf, np.nan
    y, state = layer.with_state(x, random_state(kind), lengths)
    assert not y.data[0, 3:].any() and not y.data[1, 1:].any()
    np.testing.assert_array_equal(layer(x, lengths).data, layer(x, lengths=np.array(lengths)).data)
    h = parts(state)[0]
    np.testing.assert_array_equal(h.data, [y.data[0, 2], y.data[1, 0]])
    (sum((s * s).sum() for s in parts(state)) + y.sum()).backward()
    assert np.isfinite(x.grad.data).all() and not x.grad.data[0, 3:].any()
    found = last(x, lengths)
    np.testing.assert_array_equal(
        found.data,
        layer.with_state(x, lengths=lengths)[1][0].data
        if kind is LSTM
        else layer.with_state(x, lengths=lengths)[1].data,
    )


@KINDS
def test_lengths_where_there_are_none(kind):
    with pytest.raises(
        ValueError, match=r"\(batch, time, in\) where lengths are given, got \(2, 3"
    ):
        made(kind)(X[:, 0], lengths=[1, 1])
    with pytest.raises(
        ValueError, match=r"\(batch, time, in\) where lengths are given, got \(2, 3"
    ):
        made(kind).with_state(X[:, 0], lengths=[1, 1])
    layer = made(kind, stateful=True)
    with pytest.raises(ValueError, match=r"stateful=True.*want no lengths"):
        layer(X, [1, 2])
    assert layer.state is None
    with pytest.raises(ValueError, match="want lengths from 1 to 4, got 5"):
        made(kind)(X, [1, 5])
    with pytest.raises(TypeError, match="want an integer length for each row"):
        made(kind)(X, [1.0, 2.0])


@KINDS
def test_lengths_that_change_are_looked_at_in_compiled_code_too(kind):
    layer = made(kind)
    f = minidl.compile(lambda x, lengths: layer(x, lengths))
    for lengths in ([3, 1], [2, 4], [4, 4]):
        lengths = np.array(lengths)
        np.testing.assert_allclose(f(X, lengths).data, layer(X, lengths).data, rtol=1e-12)
    with pytest.raises(ValueError, match="want lengths from 1 to 4, got 5"):
        f(X, np.array([1, 5]))


@KINDS
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_compiled_gradients_see_the_lengths_of_each_call(kind, both, order):
    layer = Bidirectional(made(kind)) if both else made(kind)
    parameters = layer.parameters()

    def run(x, lengths):
        y, state = layer.with_state(x, lengths=lengths)
        h = parts(state[0] if both else state)[0]
        loss = (y * y).sum() + (h * h).sum()
        found = minidl.gradients(loss, parameters, create_graph=order == 2)
        if order == 2:
            found = minidl.gradients(sum((g * g).sum() for g in found), parameters)
        return found

    compiled = minidl.compile(run)
    for lengths in ([3, 1], [2, 4], [4, 4]):
        lengths = np.array(lengths)
        for a, b in zip(compiled(X, lengths), run(X, lengths), strict=True):
            np.testing.assert_allclose(np.asarray(a), b.data, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="want lengths from 1 to 4, got 5"):
        compiled(X, np.array([1, 5]))


# ---- against the PyTorch that is installed ----------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("lengths", [None, [2, 4, 1]])
@pytest.mark.parametrize("both", [False, True])
def test_against_pytorch(kind, whole, lengths, both):
    """Outputs, states, gradients of first and second order, with states given and padded rows."""
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind.__name__)(3, 5, batch_first=True, bidirectional=both).double()
    layer = kind(3, 5, return_sequences=whole, dtype=np.float64)
    if both:
        layer = Bidirectional(layer)
    load_torch_state_dict(layer, theirs.state_dict())
    rng = np.random.default_rng(5)
    x, directions = rng.normal(size=(3, 4, 3)), 1 + both
    states = rng.normal(size=(2 if kind is LSTM else 1, directions, 3, 5))

    tx, ts = torch.tensor(x, requires_grad=True), torch.tensor(states, requires_grad=True)
    packed = tx
    if lengths is not None:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            tx, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
    y, last = theirs(packed, tuple(ts) if kind is LSTM else ts[0])
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=4)
    last = torch.stack(last) if kind is LSTM else last[None]
    if not whole:
        y = torch.cat(list(last[0]), dim=-1)
    loss = (y * torch.cos(y)).sum() + (last**2).sum() / 2
    first = torch.autograd.grad(loss, [tx, ts], create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), [tx, ts])

    vx, vs = Variable(x), Variable(states)
    given = [tuple(vs[:, d]) if kind is LSTM else vs[0, d] for d in range(directions)]
    ours, state = layer.with_state(vx, tuple(given) if both else given[0], lengths)
    pairs = state if both else (state,)
    final = np.stack([np.stack(parts(s)) for s in pairs], axis=1)
    loss = (ours * np.cos(ours)).sum() + (final**2).sum() / 2
    ours_first = minidl.gradients(loss, [vx, vs], create_graph=True)
    ours_second = minidl.gradients(sum((g * g).sum() for g in ours_first), [vx, vs])
    for a, b in zip(
        [ours, final, *ours_first, *ours_second], [y, last, *first, *second], strict=True
    ):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-9, atol=1e-11)
    plain = minidl.gradients(loss, layer.parameters())  # by the joint rule
    assert all(np.isfinite(g.data).all() for g in plain)
