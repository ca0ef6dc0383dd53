"""MLP, Sequential and Dropout: layers made of others, and what bad arguments get."""

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl.layers import MLP, Dropout, Linear, Sequential


def test_mlp_is_linear_layers_with_activations_between():
    mlp = MLP([5, 4, 2], activation=F.tanh, in_features=3, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(6, 3))
    expected = x
    for i, linear in enumerate(mlp):
        expected = expected @ linear.w.data + linear.b.data
        expected = np.tanh(expected) if i < 2 else expected
    np.testing.assert_allclose(mlp(x).data, expected, rtol=1e-14)
    assert (mlp(x).data < 0).any()  # nothing after the last
    assert repr(mlp) == "MLP(3→5→4→2)" and len(mlp) == 3 and repr(mlp[1]) == "Linear(5→4)"
    names = [name for name, _ in mlp.named_parameters()]
    assert names == [f"layers.{i}.{p}" for i in range(3) for p in "wb"]


def test_mlp_learns_its_input_size():
    mlp = MLP([5, 2])
    assert repr(mlp) == "MLP(?→5→2)" and len(mlp.parameters()) == 4
    assert mlp(np.ones((6, 3))).shape == (6, 2) and repr(mlp) == "MLP(3→5→2)"


def test_mlp_options_reach_the_layers():
    mlp = MLP([5, 2], bias=False, dtype=np.float64, rng=np.random.default_rng(0), in_features=3)
    again = MLP([5, 2], bias=False, dtype=np.float64, rng=np.random.default_rng(0), in_features=3)
    assert len(mlp.parameters()) == 2 and mlp[0].w.dtype == np.float64
    for p, q in zip(mlp.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_mlp_whose_activation_is_a_layer():
    shared = Linear(4, 4)
    mlp = MLP([4, 4, 4], activation=shared, in_features=4)
    assert len(mlp.parameters()) == 8 and mlp(np.ones((1, 4))).shape == (1, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (([],), ValueError, r"want a list of output sizes such as MLP\(\[128, 10\]\), got \[\]"),
        ((10,), ValueError, r"want a list of output sizes such as MLP\(\[128, 10\]\), got 10"),
        (("128",), ValueError, "want a list of output sizes"),
        ((128, 10), ValueError, "want a list of output sizes"),
        (([128], 10), TypeError, r"got 10; the sizes are one list: MLP\(\[128, 10\]\)"),
        (([10], Dropout), TypeError, r"as activation, got .*; write Dropout\(\.\.\)"),
        (([10, 0],), ValueError, "positive integers"),
        (([10, 2.0],), ValueError, "positive integers"),
        (([10, "a"],), ValueError, "positive integers"),
        (
            ([10], "relu"),
            TypeError,
            "want a function or a layer as activation, got 'relu'; write functions.relu",
        ),
    ],
)
def test_mlp_bad_arguments(arguments, error, complaint):
    with pytest.raises(error, match=complaint):
        MLP(*arguments)


def test_sequential():
    model = Sequential(Linear(3, 4), np.tanh, lambda x: x * 2, Linear(1))
    x = np.ones((2, 3))
    y = model(x)
    np.testing.assert_array_equal(y.data, model[3](np.tanh(model[0](x)) * 2).data)
    assert len(model) == 4 and list(model)[1] is np.tanh and model[-1] is model[3]
    assert [name for name, _ in model.named_parameters()] == [
        "layers.0.w",
        "layers.0.b",
        "layers.3.w",
        "layers.3.b",
    ]
    part = model[:2]
    assert isinstance(part, Sequential) and part[0] is model[0] and len(part) == 2
    assert repr(Sequential(model, Dropout(0.1))).splitlines() == [
        "Sequential(",
        "  0: Sequential(",
        "    0: Linear(3→4)",
        "    1: tanh",
        "    2: <lambda>",
        "    3: Linear(4→1)",
        "  )",
        "  1: Dropout(0.1)",
        ")",
    ]


def test_sequential_of_nothing_is_the_identity():
    x = np.ones(3)
    assert Sequential()(x) is x and repr(Sequential()) == "Sequential()"


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        (([Linear(2)],), r"place 0, got .*; pass them one by one: Sequential\(\*layers\)"),
        ((Linear(2), 3), "Sequential: want a function or a layer as place 1, got 3$"),
        ((Linear(2), Dropout), r"as place 1, got <class .*; write Dropout\(\.\.\)"),
        ((Linear(2), "tanh"), "got 'tanh'; write functions.tanh"),
    ],
)
def test_sequential_bad_arguments(layers, complaint):
    with pytest.raises(TypeError, match=complaint):
        Sequential(*layers)


def test_dropout():
    x = np.ones((100, 100), np.float32)
    y = Dropout(0.25, rng=np.random.default_rng(0))(x)
    assert y.dtype == np.float32 and set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(Dropout(0.25, rng=np.random.default_rng(0))(x), y)
    minidl.seed(0)
    first = Dropout()(x)
    minidl.seed(0)
    np.testing.assert_array_equal(Dropout()(x), first)
    with minidl.test_mode():
        assert Dropout()(x) is x
    assert Dropout(0)(x) is x and repr(Dropout()) == "Dropout(0.5)"


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_dropout_rate(rate):
    with pytest.raises(ValueError, match=r"Dropout: rate must be in \[0, 1\)"):
        Dropout(rate)
