"""Embedding: rows of a table by integers, and the sum of their gradients."""

import copy
import pickle

import numpy as np
import pytest

import minidl
from minidl import Trainer, Variable, initializers, optim
from minidl import functions as F
from minidl.layers import Embedding, Flatten, Linear, Sequential

X = np.array([[3, 1, 1], [0, 3, 3]])


def test_values_and_gradients():
    layer = Embedding(5, 2, dtype=np.float64)
    assert layer.w.shape == (5, 2) and repr(layer) == "Embedding(5→2)"
    y = layer(X)
    np.testing.assert_array_equal(y.data, layer.w.data[X])
    u = np.random.default_rng(0).normal(size=y.shape)
    (y * u).sum().backward()
    expected = np.zeros((5, 2))
    np.add.at(expected, X, u)
    np.testing.assert_allclose(layer.w.grad.data, expected)
    assert minidl.gradcheck(lambda w: F.embedding(w, X) ** 3, layer.w.data, order=2)


@pytest.mark.parametrize("indices", [3, [2, 0], X, X.astype(np.uint8), np.zeros((0, 3), int)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_dtypes(indices, dtype):
    layer = Embedding(300, 7, dtype=dtype)
    y = layer(indices)
    assert y.shape == (*np.shape(indices), 7) and y.dtype == dtype
    y.sum().backward()
    counts = np.bincount(np.ravel(indices).astype(int), minlength=300)
    np.testing.assert_array_equal(layer.w.grad.data, np.repeat(counts[:, None], 7, 1))
    assert layer.w.grad.dtype == dtype


def test_integer_variables():
    layer = Embedding(5, 2)
    np.testing.assert_array_equal(layer(Variable(X, requires_grad=False)).data, layer(X).data)


def test_pytorch_has_the_same_numbers():
    torch = pytest.importorskip("torch")
    layer = Embedding(9, 4)
    module = torch.nn.Embedding(9, 4)
    module.weight.data = torch.tensor(layer.w.data)
    x = np.random.default_rng(1).integers(0, 9, size=(6, 7))
    y, z = layer(x), module(torch.tensor(x))
    (y**2).sum().backward()
    (z**2).sum().backward()
    np.testing.assert_array_equal(y.data, z.detach().numpy())
    np.testing.assert_allclose(layer.w.grad.data, module.weight.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("bad", [[5], [-1], [0, -3, 9], np.array([255], np.uint8)])
def test_indices_outside(bad):
    with pytest.raises(ValueError, match=r"embedding: want indices from 0 to 4, got "):
        Embedding(5, 2)(bad)


@pytest.mark.parametrize("bad", [[1.0], [True], np.ones((2, 3), np.float32), "a", None])
def test_what_is_no_integer(bad):
    with pytest.raises(TypeError, match="embedding"):
        Embedding(5, 2)(bad)


def test_arguments():
    for args in [(0, 2), (5, 0), (-1, 2)]:
        with pytest.raises(ValueError, match="must be at least 1"):
            Embedding(*args)
    with pytest.raises(TypeError, match=r"Embedding: features must be an int, got 2\.5"):
        Embedding(5, 2.5)
    with pytest.raises(TypeError, match="floating dtype"):
        Embedding(5, 2, dtype=int)
    with pytest.raises(TypeError, match="want init to be a function such as"):
        Embedding(5, 2, init="normal")


def test_it_is_drawn_from_the_normal_distribution():
    w = Embedding(400, 50, rng=np.random.default_rng(3)).w.data
    assert abs(w.mean()) < 0.03 and abs(w.std() - 1) < 0.02
    np.testing.assert_array_equal(
        Embedding(4, 5, rng=np.random.default_rng(3)).w.data,
        initializers.normal((4, 5), rng=np.random.default_rng(3)),
    )


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_states(duplicate):
    layer = Embedding(5, 2)
    twin = duplicate(layer)
    np.testing.assert_array_equal(twin(X).data, layer(X).data)
    other = Embedding(5, 2)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(X).data, layer(X).data)
    with pytest.raises(ValueError, match=r"w: want float32 \(6, 2\)"):
        Embedding(6, 2).load_state_dict(layer.state_dict())


def test_in_a_trainer():
    t = (X.sum(1, keepdims=True) > 5).astype(np.float32)
    model = Sequential(Embedding(5, 4), Flatten(), Linear(1))
    trainer = Trainer(model, optim.Adam(model, lr=0.1), F.binary_cross_entropy_with_logits)
    history = trainer.fit(X, t, epochs=30, verbose=0)
    assert history["loss"][-1] < 0.1
    assert "Embedding(5→4)" in model.summary(X)


def test_compiled():
    layer = Embedding(5, 2)
    compiled = minidl.compile(lambda x: layer(x) * 2)
    for x in (X, X + 1, X):
        np.testing.assert_array_equal(np.asarray(compiled(x).data), 2 * layer(x).data)


def test_flatten():
    assert Flatten()(np.ones((2, 0, 3))).shape == (2, 0)
    assert Flatten()(np.ones((0, 4, 3))).shape == (0, 12)
    assert Flatten()(np.ones(3)).shape == (3, 1)
    with pytest.raises(ValueError, match=r"Flatten\(\): want input \(batch, \.\.\)"):
        Flatten()(1.0)


def test_as_onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    from minidl import onnx
    from minidl.layers import LSTM, LayerNorm

    model = Sequential(
        Embedding(9, 4), LayerNorm(), LSTM(3, return_sequences=False), F.tanh, Linear(2)
    )
    x = np.arange(12).reshape(3, 4) % 9
    model(x)
    session = runtime.InferenceSession(onnx.export(model, tmp_path / "model.onnx", x))
    for more in (x, x[:1], np.array([[8, 0, 1, 1, 2, 3, 7, 5]])):
        (y,) = session.run(None, {"input": more})
        np.testing.assert_allclose(y, model(more).data, atol=1e-5)
    with pytest.raises(ValueError, match=r"floating or of integers, .* got bool"):
        onnx.export(model, tmp_path / "model.onnx", x > 3)


def test_the_values_of_integers_do_not_become_constants(tmp_path):
    pytest.importorskip("onnx")
    from minidl import onnx
    from minidl.layers import Layer

    class Branch(Layer):
        def __init__(self):
            self.table = Embedding(9, 4)

        def forward(self, x):
            y = self.table(x)
            return y * 2.0 if x.data[0, 0] > 3 else y

    with pytest.raises(ValueError, match="computes something else for other values"):
        onnx.export(Branch(), tmp_path / "model.onnx", np.arange(9).reshape(1, 9))
