"""Bidirectional: what each direction gives, how the second is made, lengths, and what is refused."""

import numpy as np
import pytest

import minidl
from minidl import Variable, layers
from minidl.layers import GRU, LSTM, RNN, Bidirectional

KINDS = pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
X = np.random.default_rng(0).normal(size=(3, 4, 2))


def made(kind, **settings):
    return Bidirectional(kind(2, 5, rng=np.random.default_rng(1), dtype=np.float64, **settings))


def leaves(state):
    return (
        [leaf for part in state for leaf in leaves(part)] if isinstance(state, tuple) else [state]
    )


@KINDS
def test_both_directions_side_by_side(kind):
    model = made(kind)
    y = model(X).data
    np.testing.assert_array_equal(y[..., :5], model.first(X).data)
    np.testing.assert_array_equal(y[..., 5:], model.second(X[:, ::-1]).data[:, ::-1])
    last = made(kind, return_sequences=False)
    np.testing.assert_array_equal(last(X).data, np.concatenate([y[:, -1, :5], y[:, 0, 5:]], axis=1))


@KINDS
@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int8])
def test_padded_rows_are_the_rows_alone(kind, dtype):
    model, last = made(kind), made(kind, return_sequences=False)
    lengths = np.array([2, 4, 1], dtype)
    x = Variable(X.copy())
    x.data[np.arange(4) >= lengths[:, None].astype(int)] = np.nan
    y, state = model.with_state(x, lengths=lengths)
    for i, n in enumerate(lengths):
        alone, own = model.with_state(X[i : i + 1, :n])
        np.testing.assert_allclose(y.data[i, :n], alone.data[0], rtol=1e-12, atol=1e-14)
        assert not y.data[i, n:].any()
        for a, b in zip(leaves(state), leaves(own), strict=True):
            np.testing.assert_allclose(a.data[i], b.data[0], rtol=1e-12, atol=1e-14)
        short = last(X[i : i + 1, :n]).data
        np.testing.assert_allclose(last(x, lengths).data[i], short[0], rtol=1e-12, atol=1e-14)
    y.sum().backward()
    assert np.isfinite(x.grad.data).all()


@KINDS
def test_the_second_has_the_settings_and_weights_of_its_own(kind):
    lazy = Bidirectional(
        kind(5, dtype=np.float64, return_sequences=False, rng=np.random.default_rng(1))
    )
    assert lazy.second.w_x.lazy and lazy(X).shape == (3, 10)
    known = made(kind, return_sequences=False)
    names = [name for name, _ in known.named_parameters()]
    assert names[:3] == ["first.w_x", "first.w_h", "first.b"] and len(names) % 2 == 0
    for model in (lazy, known):
        first, second = model.first, model.second
        assert type(second) is kind and second.dtype == np.float64 and not second.return_sequences
        assert not np.array_equal(first.w_x.data, second.w_x.data)
        assert first.w_x.shape == second.w_x.shape and first.b is not second.b
    for a, b in zip(lazy.parameters(), known.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)  # in one order from one generator


def test_it_trains_the_second_too():
    model = layers.Sequential(
        made(GRU, return_sequences=False), layers.Linear(10, 1, dtype=np.float64)
    )
    trainer = minidl.Trainer(
        model, minidl.optim.Adam(model, lr=0.05), minidl.functions.mean_squared_error
    )
    before = model[0].second.w_h.data.copy()
    history = trainer.fit(X, X[:, :1, 0], epochs=30, verbose=0)
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert not np.array_equal(model[0].second.w_h.data, before)


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (
            lambda: Bidirectional(layers.Linear(3)),
            TypeError,
            "want an RNN, LSTM or GRU, got Linear",
        ),
        (lambda: Bidirectional(LSTM), TypeError, "want an RNN, LSTM or GRU, got type"),
        (
            lambda: Bidirectional(LSTM(3, stateful=True)),
            ValueError,
            "want a layer that is not stateful",
        ),
        (lambda: made(GRU)(X[:, 0]), ValueError, r"want input \(batch, time, in\), got \(3, 2\)"),
        (lambda: made(GRU)(X[:, :0]), ValueError, "time > 0"),
        (lambda: made(GRU)(X, [5, 1, 1]), ValueError, "want lengths from 1 to 4, got 5"),
        (lambda: made(GRU)(X, [1.0, 1, 1]), TypeError, "want an integer length"),
        (
            lambda: made(GRU).with_state(X, np.zeros((3, 5))),
            TypeError,
            "want a pair of states, got ndarray",
        ),
        (
            lambda: made(LSTM).with_state(X, (np.zeros((3, 5)),) * 2),
            TypeError,
            r"want a state \(h, c\)",
        ),
        (
            lambda: made(GRU).with_state(X, (None, np.zeros((3, 4)))),
            ValueError,
            "want a state of shape",
        ),
    ],
)
def test_what_is_refused(call, error, complaint):
    with pytest.raises(error, match=complaint):
        call()
