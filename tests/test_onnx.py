"""Models exported to ONNX give in onnxruntime what they give here, for other batches and times than the example's."""

import subprocess
import sys

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl import layers

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from minidl.onnx import export  # noqa: E402


class Forecaster(layers.Layer):
    def __init__(self):
        self.lstm, self.out = layers.LSTM(3, 5), layers.Linear(5, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[:, -1])


class Residual(layers.Layer):
    """Arithmetic, reductions, indexing, shapes: what a forward may do besides calling layers."""

    def __init__(self):
        self.a, self.b = layers.Linear(3, 3), layers.LSTM(3, 4, return_sequences=False)
        self.scale = minidl.Parameter(np.array([0.5, 1.5, -2.0], np.float32))

    def forward(self, x):
        y = x + F.tanh(self.a(x)) * self.scale
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(F.square(y).sum(axis=2, keepdims=True) + 1e-3)
        h = self.b(2 * y[:, ::2, :] - 1)
        z = np.concatenate(
            [h, y.max(axis=1), y[:, -1, 1:], y[:, 0][:, None, :2].reshape(x.shape[0], 2)], axis=1
        )
        return (
            F.clip(z, -1, 1).reshape(x.shape[0], 11),
            abs(y).transpose(0, 2, 1),
            z.swapaxes(0, 1).T ** 2,
        )


def sequential(activation):
    return layers.Sequential(
        layers.Linear(3, 8), activation, layers.Dropout(0.5), layers.Linear(8, 4), activation
    )


ACTIVATIONS = [
    F.relu,
    F.tanh,
    F.sigmoid,
    F.gelu,
    lambda x: F.gelu(x, approximate=True),
    F.leaky_relu,
    F.softplus,
    F.softmax,
    F.log_softmax,
    np.exp,
    lambda x: F.leaky_relu(x, 0.3),
    lambda x: F.softmax(x, axis=0),
]
FLAT, SEQUENCES = (5, 3), (5, 7, 3)
MODELS = {
    "linear": (lambda: layers.Linear(3, 4), FLAT),
    "linear without bias": (lambda: layers.Linear(3, 4, bias=False), FLAT),
    "linear of sequences": (lambda: layers.Linear(3, 4), SEQUENCES),
    "mlp": (lambda: layers.MLP([16, 8, 2], in_features=3), FLAT),
    **{f"sequential {i}": (lambda f=f: sequential(f), FLAT) for i, f in enumerate(ACTIVATIONS)},
    "rnn": (lambda: layers.RNN(3, 5), SEQUENCES),
    "rnn, last": (lambda: layers.RNN(3, 5, return_sequences=False), SEQUENCES),
    "lstm": (lambda: layers.LSTM(3, 5), SEQUENCES),
    "lstm, last": (lambda: layers.LSTM(3, 5, return_sequences=False), SEQUENCES),
    "stateful lstm": (lambda: layers.LSTM(3, 5, stateful=True), SEQUENCES),
    "deep": (
        lambda: layers.Sequential(layers.LSTM(3, 5), layers.RNN(5, 4), layers.Linear(4, 2), F.tanh),
        SEQUENCES,
    ),
    "forecaster": (Forecaster, SEQUENCES),
    "residual": (Residual, SEQUENCES),
    "steps as rows": (
        lambda: layers.Sequential(
            lambda x: x.reshape(-1, 3), layers.Linear(3, 2), lambda x: x.reshape(-1, 7, 2)
        ),
        SEQUENCES,
    ),
    "many at once": (
        lambda: layers.Sequential(Forecaster(), layers.MLP([4, 3], in_features=2), F.softmax),
        SEQUENCES,
    ),
}


def run(path, x):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x}), session


def shaken(model, rng):
    for p in model.parameters():  # biases too
        p.data = rng.normal(size=p.shape).astype(p.dtype) * 0.5
    return model


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_the_same(name, tmp_path):
    rng = np.random.default_rng(0)
    make, shape = MODELS[name]
    model = shaken(make(), rng)
    path = export(model, tmp_path / "model.onnx", rng.normal(size=shape))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    for longer in (0, 4):
        lengths = [n + longer for n in shape[:-1]] if name != "steps as rows" else [5 + longer, 7]
        x = rng.normal(size=(*lengths, shape[-1])).astype(np.float32)
        with minidl.test_mode(), minidl.no_grad():
            model.reset_state()
            want = model(x)
        got, session = run(path, x)
        for a, b in zip(got, want if isinstance(want, tuple) else [want], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b.data, rtol=1e-5, atol=1e-5)
    known = session.get_inputs()[0].shape
    assert known == (
        ["batch", 7 if name == "steps as rows" else "time", 3] if len(shape) == 3 else ["batch", 3]
    )
    assert session.get_outputs()[0].shape[0] == "batch"


def test_the_model_and_the_generator_stay_as_they_were(tmp_path):
    model = layers.Sequential(layers.LSTM(3, 4, stateful=True), layers.Linear(4, 2))
    model.freeze()
    x = np.ones((2, 5, 3), np.float32)
    model(x)
    state, before = model[0].state[0].data.copy(), model.state_dict()
    minidl.seed(1)
    export(model, str(tmp_path / "model.onnx"), x)
    assert minidl.random.generator().random() == np.random.default_rng(1).random()
    np.testing.assert_array_equal(model[0].state[0].data, state)
    assert not any(p.requires_grad for p in model.parameters())
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    names = {i.name for i in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert {"layers.1.w", "layers.1.b"} <= names


def test_float64_models_and_fixed_lengths(tmp_path):
    model = layers.MLP([4, 2], in_features=3, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(5, 3))
    (got,), _ = run(export(model, tmp_path / "model.onnx", x.astype(np.float32)), x)
    np.testing.assert_allclose(got, model(x).data, rtol=1e-12)
    flat = layers.Sequential(lambda x: x.reshape(4, 6), layers.Linear(6, 2))  # of a batch of 8 only
    x = np.ones((8, 3), np.float32)
    (got,), session = run(export(flat, tmp_path / "flat.onnx", x), x)
    np.testing.assert_allclose(got, flat(x).data, rtol=1e-5)
    assert session.get_inputs()[0].shape == [8, 3]


class Branching(layers.Layer):
    def __init__(self):
        self.a = layers.Linear(3, 3)

    def forward(self, x):
        y = self.a(x)
        return y * (y.data > 0)


@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (
            layers.MLP([4, 2]),
            np.ones((2, 3)),
            ValueError,
            "layers.0.w have no data yet: train the model, or call it",
        ),
        (F.relu, np.ones((2, 3)), TypeError, "want a layer of minidl"),
        (layers.Linear(3, 2), np.ones((2, 3), int), ValueError, "want a floating example"),
        (layers.Linear(3, 2), np.ones((2, 4)), ValueError, "want input of shape"),
        (layers.RNN(3, 2), np.ones((2, 3)), ValueError, "was given one step"),
        (layers.LSTM(3, 2), np.ones((2, 3)), ValueError, "was given one step"),
        (Branching(), np.ones((2, 3)), ValueError, "something else for other values"),
        (
            layers.Sequential(layers.Linear(3, 2), F.expm1),
            np.ones((2, 3)),
            ValueError,
            "expm1 has no ONNX form",
        ),
        (
            layers.Sequential(lambda x: x.data),
            np.ones((2, 3)),
            ValueError,
            "not computed from its input by functions",
        ),
        (
            layers.Sequential(lambda x: minidl.Variable(1.0) * 2),
            np.ones((2, 3)),
            ValueError,
            "does not depend on its",
        ),
        (
            layers.Sequential(lambda x: x[[0, 1]]),
            np.ones((2, 3)),
            ValueError,
            "indices other than integers, slices",
        ),
    ],
)
def test_what_cannot_be_exported_is_said(model, x, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export(model, tmp_path / "model.onnx", x)
    assert list(tmp_path.iterdir()) == []


def test_other_endings_and_the_missing_extra(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export(layers.Linear(3, 2), tmp_path / "model.pt", np.ones((2, 3)))
    code = """if True:
        import sys
        sys.modules["onnx"] = None
        import numpy, minidl.onnx
        try:
            minidl.onnx.export(minidl.layers.Linear(3, 2), "model.onnx", numpy.ones((2, 3)))
        except ImportError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == 'minidl.onnx.export needs the package onnx: pip install "minidl[onnx]"'
    )
