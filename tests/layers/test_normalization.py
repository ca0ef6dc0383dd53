"""Normalization: what it learns of data, what it does to inputs, and the way back."""

import numpy as np
import pytest

import minidl
from minidl import Trainer, Variable, optim
from minidl import functions as F
from minidl.layers import Linear, Normalization, Sequential

X = np.random.default_rng(0).normal([1.0, -50.0, 1e4], [2.0, 0.1, 300.0], size=(40, 3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values(dtype):
    x = X.astype(dtype)
    layer = Normalization()
    assert layer.adapt(x) is layer
    wide = x.astype(np.float64)
    np.testing.assert_allclose(layer.mean, wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.std, wide.std(0), rtol=1e-6)
    y = layer(x)
    assert y.dtype == dtype and type(y) is np.ndarray
    np.testing.assert_allclose(y, (wide - wide.mean(0)) / wide.std(0), rtol=2e-3, atol=2e-3)
    back = layer.inverse(y)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, x, rtol=2e-3, atol=2e-3)


def test_scikit_learn_has_the_same_numbers():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = np.column_stack([X, np.full(len(X), 7.3)])  # a constant, too
    scaler = preprocessing.StandardScaler().fit(x)
    layer = Normalization().adapt(x)
    np.testing.assert_allclose(layer(x), scaler.transform(x), atol=1e-9)
    np.testing.assert_allclose(layer.inverse(layer(x)), x, rtol=1e-12)


@pytest.mark.parametrize("value", [0.1, 7.3, -1e300, 1e-310, 16777217.0])
def test_a_constant_feature_becomes_zero(value):
    x = np.full((1000, 1), value)
    layer = Normalization().adapt(x)
    assert layer.std.tolist() == [1.0] and layer.mean.tolist() == [value]
    assert not layer(x).any()


@pytest.mark.parametrize(
    ("axis", "over", "shape"),
    [
        (-1, (0, 1), (5,)),
        (2, (0, 1), (5,)),
        (None, (0, 1, 2), ()),
        (1, (0, 2), (4, 1)),
        (-2, (0, 2), (4, 1)),
        ((1, 2), (0,), (4, 5)),
        ([-1, -2], (0,), (4, 5)),
        ((0, 2), (1,), (3, 1, 5)),
    ],
)
def test_axes(axis, over, shape):
    x = np.random.default_rng(1).normal(2, 3, size=(3, 4, 5))
    layer = Normalization(axis).adapt(x)
    assert layer.mean.shape == layer.std.shape == shape
    expected = (x - x.mean(over, keepdims=True)) / x.std(over, keepdims=True)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)


def test_data_of_one_axis_are_one_feature():
    t = np.array([1.0, 2.0, 6.0])
    layer = Normalization().adapt(t)
    assert layer.mean == 3.0 and layer.mean.shape == ()
    np.testing.assert_allclose(layer(t[:, None]).std(), 1.0)
    np.testing.assert_allclose(layer.inverse(layer(t)), t)


def test_frames_series_lists_integers_and_variables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 5.5]}, index=[2, 1, 0])
    layer = Normalization().adapt(frame)
    for same in (frame.to_numpy(), frame.to_numpy().tolist(), Variable(frame.to_numpy())):
        np.testing.assert_array_equal(Normalization().adapt(same).std, layer.std)
    assert Normalization().adapt(frame["a"]).mean == 2.0
    assert Normalization().adapt([[1], [3]]).mean.tolist() == [2.0]
    with pytest.raises(
        TypeError, match=r"Normalization\.adapt: want real numbers, got dtype object"
    ):
        Normalization().adapt(frame.assign(c=["x", "y", "z"]))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ([[1.0, np.nan]], r"want finite data, got nan at \(0, 1\)"),
        ([[1.0], [-np.inf]], r"want finite data, got -inf at \(1, 0\)"),
        (np.ones((0, 3)), r"want samples \(\.\., features\), got \(0, 3\)"),
        (np.ones((3, 0)), r"want samples"),
        (3.0, r"want samples"),
        ([[1e308], [-1e308]], r"the deviation is beyond the range of float64"),
    ],
)
def test_data_that_are_refused(data, complaint):
    layer = Normalization().adapt(X)
    with pytest.raises(ValueError, match=rf"Normalization\.adapt: {complaint}"):
        layer.adapt(data)
    assert layer.mean.shape == (3,)  # as before


@pytest.mark.parametrize(
    "data", [np.ones(3, complex), np.array([[None]]), "abc", [[1.0], [2.0, 3.0]], (x for x in X)]
)
def test_what_has_no_numbers(data):
    with pytest.raises((TypeError, ValueError), match=r"Normalization\.adapt: want "):
        Normalization().adapt(data)


def test_what_is_refused():
    layer = Normalization()
    for call in (layer, layer.inverse):
        with pytest.raises(RuntimeError, match=r"Normalization\(\) knows no data yet: call adapt"):
            call(X)
    with pytest.raises(RuntimeError, match="buffer 'mean' of Normalization has no data yet"):
        layer.state_dict()
    layer.adapt(X)
    for call in (layer, layer.inverse):
        with pytest.raises(ValueError, match=r"want features \(3,\), as adapted to, got \(2,\)"):
            call(X[:, :2])
        with pytest.raises(ValueError, match=r"got \(1,\) in input \(40, 1\)"):
            call(X[:, :1])
        with pytest.raises(TypeError, match="want floating input, got int64"):
            call(X.astype(int))
    with pytest.raises(ValueError, match=r"want features \(1,\), as adapted to, got \(3,\)"):
        Normalization().adapt(X[:, :1])(X)
    with pytest.raises(ValueError, match=r"axis=2 of data \(40, 3\)"):
        Normalization(2).adapt(X)
    for axis in ("last", 1.5, True, ()):
        with pytest.raises(TypeError, match="Normalization: axis: want an int, a tuple of ints"):
            Normalization(axis)


def test_gradients():
    layer = Normalization().adapt(X)
    assert minidl.gradcheck(layer, X[:4], order=2)
    assert minidl.gradcheck(layer.inverse, X[:4] / X.std(0), order=2)
    x = Variable(X[:4].astype(np.float32))
    y = layer(x)
    y.sum().backward()
    assert y.dtype == np.float32 and x.grad.dtype == np.float32


def test_it_travels_with_the_model(tmp_path):
    x = X.astype(np.float32)
    model = Sequential(Normalization().adapt(x), Linear(3, 1))
    model.save(tmp_path / "model.npz")
    other = Sequential(Normalization(), Linear(1))
    other.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(other(x).data, model(x).data)
    assert "6 numbers in buffers" in model.summary(x)
    with pytest.raises(
        ValueError, match=r"layers\.0\.mean: want float32 \(3,\), got float64 \(2,\)"
    ):
        model.load_state_dict(model.state_dict() | {"layers.0.mean": np.ones(2)})
    model.to(dtype=np.float64)
    assert model[0].mean.dtype == np.float64 and model(X).dtype == np.float64


def test_in_a_trainer_with_a_checkpoint(tmp_path):
    x = X.astype(np.float32)
    t = x[:, :1] * 2
    targets = Normalization().adapt(t)
    model = Sequential(Normalization().adapt(x), Linear(3, 1))
    trainer = Trainer(model, optim.Adam(model, lr=0.05), F.mean_squared_error)
    trainer.fit(x, targets(t), epochs=40, verbose=0)
    assert trainer.evaluate(x, targets(t))["loss"] < 0.1
    trainer.save(tmp_path / "run.npz")
    other = Sequential(Normalization(), Linear(1))
    other.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(other(x).data, model(x).data)
    assert (
        repr(model[0]) == "Normalization()"
        and repr(Normalization(None)) == "Normalization(axis=None)"
    )


def test_as_onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    from minidl import onnx

    x = X.astype(np.float32)
    for model in (
        Sequential(Normalization().adapt(x), Linear(3, 1)),
        Sequential(Linear(3, 3), Normalization().adapt(X)),
        Sequential(Linear(3, 3), Normalization(None).adapt(X)),
    ):
        session = runtime.InferenceSession(onnx.export(model, tmp_path / "model.onnx", x))
        (y,) = session.run(None, {"input": x[:7]})
        np.testing.assert_allclose(y, model(x[:7]).data, rtol=1e-5, atol=1e-5)


def test_in_a_compiled_function():
    for data in (X, X.astype(np.float32)):
        layer = Normalization().adapt(data)
        compiled = minidl.compile(lambda x, layer=layer: layer(x) * 2.0)
        x = X[:5].astype(np.float32)
        for _ in range(3):
            np.testing.assert_array_equal(compiled(x), layer(x) * 2.0)
        layer.adapt(3 * data + 1)
        np.testing.assert_array_equal(compiled(x), layer(x) * 2.0)
