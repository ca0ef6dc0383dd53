"""What holds for every layer of minidl, by one row each: a layer without a row fails the tests.

A row is (how it is made, the shape of an input, the shape of its output). It buys dtypes, gradients, copies,
states, lazy sizes and compiled calls. What a layer computes is tested in its own file.
"""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import minidl
from minidl import Variable, layers
from minidl import functions as F
from minidl.layers import (
    GRU,
    LSTM,
    MLP,
    RNN,
    AvgPool1d,
    AvgPool2d,
    BatchNorm,
    Bidirectional,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    Linear,
    MaxPool1d,
    MaxPool2d,
    MultiHeadAttention,
    Normalization,
    PositionalEncoding,
    Sequential,
    TransformerBlock,
)

SEEN = np.random.default_rng(1).normal(3, 2, size=(20, 3))
ROWS = [
    (lambda **k: Dropout(0.5), (4, 3), (4, 3)),
    (lambda **k: Linear(5, **k), (4, 3), (4, 5)),
    (lambda **k: Linear(5, bias=False, **k), (2, 4, 3), (2, 4, 5)),
    (lambda **k: MLP([6, 5], F.tanh, **k), (4, 3), (4, 5)),
    (lambda **k: Flatten(), (4, 3, 2), (4, 6)),
    (lambda **k: BatchNorm(**k), (4, 3), (4, 3)),
    (lambda **k: BatchNorm(**k), (2, 4, 2, 3), (2, 4, 2, 3)),
    (lambda **k: LayerNorm(**k), (4, 3), (4, 3)),
    (lambda **k: LayerNorm(**k), (2, 4, 3), (2, 4, 3)),
    (lambda **k: Normalization().adapt(SEEN), (4, 3), (4, 3)),
    (lambda **k: MultiHeadAttention(2, **k), (4, 3, 6), (4, 3, 6)),
    (lambda **k: MultiHeadAttention(1, 3, bias=False, **k), (4, 3), (4, 3)),
    (lambda **k: TransformerBlock(2, hidden=3, causal=True, **k), (2, 3, 4), (2, 3, 4)),
    (lambda **k: TransformerBlock(1, dropout=0.5, **k), (2, 3), (2, 3)),
    (lambda **k: PositionalEncoding(), (2, 4, 3), (2, 4, 3)),
    (lambda **k: RNN(5, **k), (4, 2, 3), (4, 2, 5)),
    (lambda **k: RNN(5, **k), (4, 3), (4, 5)),
    (lambda **k: LSTM(5, return_sequences=False, **k), (4, 2, 3), (4, 5)),
    (lambda **k: LSTM(5, stateful=True, **k), (4, 2, 3), (4, 2, 5)),
    (lambda **k: GRU(5, **k), (4, 2, 3), (4, 2, 5)),
    (lambda **k: GRU(5, **k), (4, 3), (4, 5)),
    (lambda **k: GRU(5, return_sequences=False, stateful=True, **k), (4, 2, 3), (4, 5)),
    (lambda **k: Bidirectional(LSTM(5, **k)), (4, 2, 3), (4, 2, 10)),
    (lambda **k: Bidirectional(GRU(5, return_sequences=False, **k)), (4, 2, 3), (4, 10)),
    (lambda **k: Conv1d(5, kernel=2, **k), (4, 3, 2), (4, 2, 5)),
    (lambda **k: Conv1d(4, kernel=3, padding="same", groups=2, **k), (4, 3, 2), (4, 3, 4)),
    (lambda **k: Conv2d(5, kernel=3, stride=2, padding=1, **k), (2, 4, 5, 3), (2, 2, 3, 5)),
    (lambda **k: Conv2d(2, kernel=(2, 1), bias=False, **k), (2, 3, 3, 1), (2, 2, 3, 2)),
    (lambda **k: MaxPool1d(2), (4, 5, 3), (4, 2, 3)),
    (lambda **k: MaxPool2d(2, 1, 1), (2, 4, 3, 2), (2, 5, 4, 2)),
    (lambda **k: AvgPool1d(3, stride=1), (4, 5, 3), (4, 3, 3)),
    (lambda **k: AvgPool2d((2, 1)), (2, 4, 3, 2), (2, 2, 3, 2)),
    (lambda **k: GlobalAvgPool(), (2, 4, 3, 2), (2, 2)),
    (lambda **k: Sequential(Linear(5, **k), F.tanh, Linear(2, **k)), (4, 3), (4, 2)),
]
EVERY = pytest.mark.parametrize(("make", "shape", "out"), ROWS)


def inputs(shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def result(layer, x):
    """The output from a zero state, without dropout."""
    layer.reset_state()
    with minidl.test_mode():
        return layer(x)


def values(layer, x):
    y = result(layer, x)
    return y.data if isinstance(y, Variable) else y


def test_every_layer_has_a_row():
    public = {getattr(layers, name) for name in layers.__all__} - {Layer}
    public -= {Embedding}  # it takes integers: see test_embedding.py
    assert {type(make()) for make, _, _ in ROWS} == public


@EVERY
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_dtypes(make, shape, out, dtype):
    layer = make(dtype=dtype)
    x = inputs(shape, dtype)
    y = result(layer, x)
    assert y.shape == out and y.dtype == dtype
    assert all(p.dtype == dtype for p in layer.parameters())
    if layer.parameters():
        assert result(layer, x.astype(np.float64)).dtype == dtype  # the one documented cast
        with pytest.raises(TypeError, match="floating"):
            layer(np.ones(shape, int))


@EVERY
def test_gradients_by_input_and_parameters(make, shape, out):
    layer = make(dtype=np.float64)
    x = inputs(shape, np.float64)
    result(layer, x)
    holders = [(owner, name) for owner, name in owned(layer)]

    def f(x, *weights):
        for (owner, name), value in zip(holders, weights):
            setattr(owner, name, value)
        return result(layer, x)

    weights = [getattr(owner, name).data.copy() for owner, name in holders]
    assert minidl.gradcheck(f, x, *weights, order=2)


def owned(layer):
    """(layer, attribute) of each parameter."""
    for part in layer.sublayers():
        for name, value in vars(part).items():
            if isinstance(value, minidl.Parameter):
                yield part, name


@EVERY
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(make, shape, out, duplicate):
    layer = make()
    x = inputs(shape)
    y = values(layer, x)
    twin = duplicate(layer)
    np.testing.assert_array_equal(values(twin, x), y)
    assert repr(twin) == repr(layer) and type(twin) is type(layer)
    for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
        assert p is not q and not np.shares_memory(p.data, q.data)


@EVERY
def test_a_state_goes_into_a_lazy_layer(make, shape, out):
    layer, lazy = make(), make()
    x = inputs(shape)
    y = values(layer, x)
    lazy.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(values(lazy, x), y)


@EVERY
def test_freezing_and_the_summary(make, shape, out):
    layer = make()
    x = inputs(shape)
    lazy = [p.lazy for p in layer.parameters()]
    text = layer.summary(x)
    assert [p.lazy for p in layer.parameters()] == lazy
    assert type(layer).__name__ in text and str(out) in text
    layer.freeze()
    assert not isinstance(result(layer, x), Variable) or not result(layer, x).requires_grad
    layer.unfreeze()
    assert isinstance(result(layer, x), Variable) == bool(layer.parameters())


@EVERY
def test_one_seed_gives_the_same_weights(make, shape, out):
    states = []
    for _ in range(2):
        minidl.seed(7)
        layer = make()
        result(layer, inputs(shape))
        states.append(layer.state_dict())
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value)


@EVERY
def test_compiled_on_another_batch(make, shape, out):
    layer = make()
    x = inputs(shape)
    result(layer, x)
    compiled = minidl.compile(lambda x: layer(x))
    with minidl.test_mode(), minidl.no_grad():
        for batch in (x, 2 * x, 3 * x):
            layer.reset_state()
            y = compiled(batch)
            layer.reset_state()
            np.testing.assert_array_equal(y, layer(batch))


FLAGS = [
    (Linear, (2,), "bias"),
    (MLP, ([2],), "bias"),
    (partial(Conv1d, kernel=2), (2,), "bias"),
    (partial(Conv2d, kernel=2), (2,), "bias"),
    (MultiHeadAttention, (2,), "bias"),
    (TransformerBlock, (2,), "causal"),
    *[(kind, (2,), name) for kind in (RNN, LSTM, GRU) for name in ("return_sequences", "stateful")],
]


@pytest.mark.parametrize(("kind", "sizes", "name"), FLAGS)
@pytest.mark.parametrize("value", ["no", 0, 1, None, np.ones(2)])
def test_flags_are_true_or_false(kind, sizes, name, value):
    """Text such as "no" counts as true in Python."""
    with pytest.raises(TypeError, match=f"{name}: want True or False, got"):
        kind(*sizes, **{name: value})
    kind(*sizes, **{name: np.bool_(True)})


STATE = np.zeros((2, 3))
X = np.ones((2, 4, 1))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("gelu", lambda no: F.gelu(X, approximate=no)),
        ("gelu", lambda no: F.gelu(Variable(X), no)),
        ("rnn", lambda no: F.rnn(X, STATE, *weights(3), return_sequences=no)),
        ("lstm", lambda no: F.lstm(X, STATE, STATE, *weights(12), return_sequences=no)),
        ("gru", lambda no: F.gru(X, STATE, *weights(9), STATE[0], return_sequences=no)),
        ("attention", lambda no: F.attention(X, X, X, causal=no)),
    ],
)
@pytest.mark.parametrize("value", ["none", "tanh", None, 1])
def test_flags_of_functions_too(name, call, value):
    """PyTorch's ``gelu(x, approximate="none")`` is exact."""
    with pytest.raises(TypeError, match=f"{name}: .*True or False, got"):
        call(value)
    call(np.bool_(True))


def weights(width):
    return np.ones((1, width)), np.ones((3, width)), np.zeros(width)


@pytest.mark.parametrize("rate", ["0.5", None, True, np.nan, 1, -0.1, 2.0])
def test_rates_of_dropout(rate):
    for make in (Dropout, partial(F.dropout, X)):
        with pytest.raises((TypeError, ValueError), match=r"[dD]ropout: rate must be"):
            make(rate)
