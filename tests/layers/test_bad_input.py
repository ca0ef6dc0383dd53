"""What no layer takes: an error at the call that names the layer, or its function, and nothing half-done.

Rows come from test_every_layer.py: weights, buffers, carried states and random numbers are as before the call.
"""

import numpy as np
import pytest

import minidl
from minidl import Variable, layers, random
from tests.layers.test_every_layer import ROWS, inputs

# What else an error may begin with: a layer without weights leaves what it takes to its function.
FUNCTIONS = ("attention", "avg_pool", "conv", "dropout", "max_pool")
WRONG = {
    "complex": lambda x: x.astype(complex),
    "objects": lambda x: x.astype(object),
    "text": lambda x: x.astype(str),
    "bytes": lambda x: x.astype("S"),
    "dates": lambda x: np.ones(x.shape, int).astype("M8[s]"),
    "masked": lambda x: np.ma.masked_array(x, x > 0),
    "None": lambda x: None,
    "a word": lambda x: "abc",
    "a dict": lambda x: {"x": x},
    "an object": lambda x: object(),
    "ragged lists": lambda x: [[1.0], [1.0, 2.0]],
    "a generator": lambda x: iter(x),
    "a layer": lambda x: layers.Linear(3),
    "a class": lambda x: np.ndarray,
}
INTEGERS = {
    "integers": lambda x: np.ones(x.shape, int),
    "bools": lambda x: x > 0,
    "small integers": lambda x: np.ones(x.shape, np.uint8),
    "a Variable of integers": lambda x: Variable(np.ones(x.shape, int)),
}
SHAPES = {
    "no axes": lambda x: x.sum(),
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0],
    "a feature more": lambda x: np.concatenate([x, x[..., :1]], -1),
    "no features": lambda x: x[..., :0],
    "no samples": lambda x: x[:0],
    "no time": lambda x: x[:, :0],
}


def snapshot(layer):
    """All that a call could leave behind, as something to compare."""
    found = {"random": repr(random.generator().bit_generator.state)}
    for i, part in enumerate(layer.sublayers()):
        for name, value in vars(part).items():
            if isinstance(value, Variable):
                value = None if value.lazy else value.data
            if isinstance(value, np.ndarray):
                value = value.dtype, value.shape, value.tobytes()
            found[i, name] = repr(value)
    return found


def refusal(layer, x, testing):
    """The error of a call after which everything is as before; None if there was none."""
    before = snapshot(layer)
    try:
        if testing:
            with minidl.test_mode():
                layer(x)
        else:
            layer(x)
    except (TypeError, ValueError) as error:
        assert snapshot(layer) == before
        return str(error)
    return None


@pytest.mark.parametrize(("make", "shape", "out"), ROWS)
@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("testing", [True, False])
def test_what_no_layer_takes(make, shape, out, lazy, testing):
    x = inputs(shape)
    for what, spoil in {**WRONG, **INTEGERS, **SHAPES}.items():
        layer = make()
        if not lazy:
            layer(x)
            layer.reset_state()
        said = refusal(layer, spoil(x), testing)
        if said is None:  # a shape may be right for it, and integers for Flatten
            assert what in SHAPES or (what in INTEGERS and isinstance(layer, layers.Flatten)), what
        else:
            names = {type(part).__name__ for part in layer.sublayers()}
            assert any(name in said for name in (*names, *FUNCTIONS)), f"{what}: {said}"


@pytest.mark.parametrize("value", [None, "yes", 1, 0.5, np.array([1, 2]), Variable(1.0), []])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("Linear: bias", lambda v: layers.Linear(3, 2, bias=v)),
        ("Conv1d: bias", lambda v: layers.Conv1d(3, kernel=2, bias=v)),
        ("MultiHeadAttention: bias", lambda v: layers.MultiHeadAttention(2, 4, v)),
        ("TransformerBlock: causal", lambda v: layers.TransformerBlock(2, causal=v)),
        ("LSTM: return_sequences", lambda v: layers.LSTM(3, return_sequences=v)),
        ("GRU: stateful", lambda v: layers.GRU(3, stateful=v)),
    ],
)
def test_flags_are_true_or_false(name, make, value):
    """What stands in the place of one, a size in most cases, is not taken for True."""
    with pytest.raises(TypeError, match=f"{name}: want True or False"):
        make(value)
    make(True)
    make(np.bool_(False))


@pytest.mark.parametrize("padding", ["Same", None, 1.5, -1, np.array([1, 2]), Variable(1.0), (1,)])
def test_paddings_of_convolutions(padding):
    with pytest.raises((TypeError, ValueError), match="Conv2d: padding"):
        layers.Conv2d(2, kernel=2, padding=padding)
