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

from minidl.interop.onnx_operators import RULES  # noqa: E402
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


def gru(hidden, **settings):
    """One whose biases are not zero."""
    layer = layers.GRU(3, hidden, **settings)
    for bias in (layer.b, layer.b_h):
        bias.data = np.linspace(-1, 1, bias.size, dtype=np.float32)
    return layer


class EncoderDecoder(layers.Layer):
    """A state that is computed begins a sequence; the lengths are constants."""

    def __init__(self):
        self.encoder = layers.LSTM(3, 5, return_sequences=False)
        self.decoder = layers.LSTM(3, 5)

    def forward(self, x):
        _, state = self.encoder.with_state(x, lengths=np.arange(len(x)) % x.shape[1] + 1)
        return self.decoder.with_state(x, state)[0]


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
    F.elu,
    F.selu,
    F.silu,
    F.mish,
    F.softsign,
    F.hard_sigmoid,
    F.hard_tanh,
    F.log_sigmoid,
    lambda x: F.elu(x, 0.5),
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
    "gru": (lambda: gru(5), SEQUENCES),
    "gru, last": (lambda: gru(5, return_sequences=False), SEQUENCES),
    "both directions of a gru": (lambda: layers.Bidirectional(gru(5)), SEQUENCES),
    "both last of an lstm": (
        lambda: layers.Bidirectional(layers.LSTM(3, 5, return_sequences=False)),
        SEQUENCES,
    ),
    "deep": (
        lambda: layers.Sequential(layers.LSTM(3, 5), layers.RNN(5, 4), layers.Linear(4, 2), F.tanh),
        SEQUENCES,
    ),
    "attention": (lambda: layers.MultiHeadAttention(1, 3), SEQUENCES),
    "transformer": (
        lambda: layers.Sequential(
            layers.Linear(3, 4),
            layers.PositionalEncoding(),
            layers.TransformerBlock(2, causal=True, features=4),
            layers.TransformerBlock(2, features=4),
        ),
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


class Layered(layers.Layer):
    """A model of one function, which has a parameter besides."""

    def __init__(self, function, *sizes):
        self.function = function
        self.out = layers.Linear(*(sizes or (3, 2)))

    def forward(self, x):
        return self.out(self.function(x))


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
    of_one_length = name in ("steps as rows", "transformer")
    for longer in (0, 4):
        lengths = [5 + longer, 7] if of_one_length else [n + longer for n in shape[:-1]]
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
        ["batch", 7 if of_one_length else "time", 3] if len(shape) == 3 else ["batch", 3]
    )
    assert session.get_outputs()[0].shape[0] == "batch"


WINDOWED = {
    "digits": (
        lambda: layers.Sequential(
            layers.Conv2d(2, 6, kernel=3, padding="same"),
            F.relu,
            layers.MaxPool2d(2),
            layers.Conv2d(6, 4, kernel=(2, 3), stride=(1, 2), padding=(1, 0), groups=2, bias=False),
            layers.Flatten(),
            layers.Linear(20, 3),
        ),
        (3, 8, 8, 2),
    ),
    "dilated": (
        lambda: layers.Sequential(
            layers.Conv2d(2, 4, kernel=2, padding="same", dilation=2),
            F.tanh,
            layers.AvgPool2d(3, stride=2, padding=1),
            layers.GlobalAvgPool(),
        ),
        (3, 9, 7, 2),
    ),
    "series": (
        lambda: layers.Sequential(
            layers.Conv1d(2, 4, kernel=5, stride=2, padding=2),
            layers.MaxPool1d(3, 1, 1),
            layers.AvgPool1d(2),
            layers.GlobalAvgPool(),
            layers.Linear(4, 3),
        ),
        (3, 20, 2),
    ),
}


@pytest.mark.parametrize("name", WINDOWED)
def test_convolutions_and_pools_in_onnxruntime(name, tmp_path):
    rng = np.random.default_rng(0)
    make, shape = WINDOWED[name]
    model = shaken(make(), rng)
    path = export(model, tmp_path / "model.onnx", rng.normal(size=shape))
    for batch in (3, 5):
        x = rng.normal(size=(batch, *shape[1:])).astype(np.float32)
        got, session = run(path, x)
        with minidl.no_grad():
            np.testing.assert_allclose(got[0], model(x).data, rtol=1e-5, atol=1e-5)
    assert session.get_inputs()[0].shape[0] == "batch"
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "Conv" in operators and "MatMul" not in operators


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
        (layers.Linear(3, 2), np.ones((2, 3), int), TypeError, "want floating input, got int64"),
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
            layers.Sequential(lambda x: x[:, [0, 1]]),
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
        == "minidl.onnx.export needs the package onnx: in minidl's folder run: pip install '.[onnx]'"
    )


# ---- what a function is, is decided by the Function object -------------------------------------------------

BUILT_IN = sorted({function.name for function in RULES})


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_function_of_the_users_is_never_taken_for_a_built_in(name, tmp_path):
    own = minidl.differentiable(lambda x: x * 3.0, lambda g, y, x: g * 3.0, name=name)
    assert own.name == name
    with pytest.raises(ValueError, match=f"{name} has no ONNX form here: it is not minidl's"):
        export(Layered(own), tmp_path / "model.onnx", np.ones((4, 3)))
    assert list(tmp_path.iterdir()) == []


def test_a_fused_function_of_the_users_is_exported_as_its_composition(tmp_path):
    def composition(x, w):
        return F.tanh(x * 2.0) * w, (x + 1.0) ** 2

    own = minidl.differentiable(
        lambda x, w: ((np.tanh(x * 2.0) * w, (x + 1.0) ** 2), None),
        joint=lambda g, y, saved, wanted, x, w: [None, None],
        saves=True,
        equals=composition,
        name="lstm",
    )

    class Model(layers.Layer):
        def __init__(self):
            self.w = minidl.Parameter(np.array([1.0, -2.0, 0.5], np.float32))

        def forward(self, x):
            a, b = own(F.relu(x), self.w)
            return a - b

    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    (got,), _ = run(export(Model(), tmp_path / "model.onnx", x), x)
    np.testing.assert_allclose(got, Model()(x).data, rtol=1e-5)


def test_lengths_are_constants_of_the_file(tmp_path):
    model = EncoderDecoder()
    x = np.random.default_rng(0).normal(size=SEQUENCES).astype(np.float32)
    (got,), session = run(export(model, tmp_path / "model.onnx", x), x)
    np.testing.assert_allclose(got, model(x).data, rtol=1e-4, atol=1e-6)
    assert session.get_inputs()[0].shape == list(SEQUENCES)


def test_an_lstm_with_a_computed_first_state_is_exported_step_by_step(tmp_path):
    class Decoder(layers.Layer):
        def __init__(self):
            rng = np.random.default_rng(1)
            self.start = layers.Linear(3, 4, rng=rng)
            self.cell = layers.LSTM(3, 4, rng=rng)

        def forward(self, x):
            h = F.tanh(self.start(x[:, 0]))
            cell = self.cell
            ys, _ = F.lstm(x, h, h * 0.5, cell.w_x, cell.w_h, cell.b)
            return ys

    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    path = export(Decoder(), tmp_path / "model.onnx", x)
    (got,), session = run(path, x)
    np.testing.assert_allclose(got, Decoder()(x).data, rtol=1e-4, atol=1e-6)
    assert session.get_inputs()[0].shape == ["batch", 5, 3]


@pytest.mark.parametrize("name", ["input", "output", "relu_0", "constant_0"])
def test_parameters_may_have_any_name(name, tmp_path):
    class Model(layers.Layer):
        def __init__(self):
            setattr(self, name, minidl.Parameter(np.array([1.0, 2.0, 3.0], np.float32)))

        def forward(self, x):
            return F.relu(x) * getattr(self, name) + np.float32(1.0)

    x = np.array([[1.0, -1.0, 2.0]], np.float32)
    (got,), _ = run(export(Model(), tmp_path / "model.onnx", x), x)
    np.testing.assert_array_equal(got, [[2.0, 1.0, 7.0]])


def bounds():
    return np.array([-0.5, -0.1, 0.0], np.float32), np.array([0.1, 0.2, 0.3], np.float32)


FUNCTIONS = {
    "clip by arrays": lambda x: F.clip(x, *bounds()),
    "clip below": lambda x: F.clip(x, -0.5, None),
    "clip above": lambda x: F.clip(x, None, 0.5),
    "clip, bounds in the wrong order": lambda x: F.clip(x, 0.5, -0.5),
    "float64 beside float32": lambda x: (x + np.array([1.0, 2.0, 3.0])).astype(np.float32),
    "joined dtypes": lambda x: np.concatenate([x, x.astype(np.float64)], 1)[:, :3].astype("f4"),
    "slices backwards": lambda x: x[::-1, ::-1][::-1],
    "new axes": lambda x: x[:, None, ..., None].squeeze((1, 3)),
    "the last rows": lambda x: x[-2:, -3:],
    "an exponent with a fraction": lambda x: (x * x + 1.0) ** 1.5,
    "slopes": lambda x: F.leaky_relu(x, np.float32(0.2)),
    "maximum with a number": lambda x: np.maximum(x, 0.25) - np.minimum(x, -0.25),
    "means over all": lambda x: x - x.mean() + x.max() - x.min() + x.sum(),
    "negative axes": lambda x: x / (x.sum((-1, -2), keepdims=True) + 9.0),
    "erf": F.erf,
    "parts": lambda x: np.concatenate(np.split(x, [1, 2], axis=1)[::-1], axis=1),
    "one part": lambda x: np.split(x, 1, axis=-1)[0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_of_functions(name, tmp_path):
    model = Layered(FUNCTIONS[name])
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    (got,), _ = run(export(model, tmp_path / "model.onnx", x), x)
    want = model(x).data
    np.testing.assert_allclose(got[: len(want)], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[True][0],
        lambda x: F.softmax(x, axis=(0, 1)),
        lambda x: F.leaky_relu(x, np.ones(3)),
    ],
    ids=["an index of True", "two axes", "many slopes"],
)
def test_what_has_no_operator_is_refused(function, tmp_path):
    with pytest.raises(ValueError, match="no ONNX form here"):
        export(Layered(function), tmp_path / "model.onnx", np.ones((4, 3)))


def test_exported_inside_no_grad(tmp_path):
    with minidl.no_grad():
        path = export(layers.Linear(3, 2), tmp_path / "model.onnx", np.ones((4, 3)))
    assert path.exists()


def test_numbers_are_compared(tmp_path, monkeypatch):
    monkeypatch.setitem(RULES, F.tanh, RULES[F.sin])  # a table that is wrong
    with pytest.raises(ValueError, match="run as ONNX, output is not what the model gives"):
        export(Layered(F.tanh), tmp_path / "model.onnx", np.ones((4, 3)))
    assert list(tmp_path.iterdir()) == []


class Translator(layers.Layer):
    """An encoder of numbers, a decoder of words."""

    def __init__(self, kind):
        self.encoder, self.decoder = kind(3, 5), kind(4, 5)
        self.words, self.out = layers.Embedding(9, 4), layers.Linear(5, 9)

    def forward(self, x, words):
        _, state = self.encoder.with_state(x)
        h, _ = self.decoder.with_state(self.words(words), state)
        return self.out(h), h


class Across(layers.Layer):
    def __init__(self):
        self.attention = layers.MultiHeadAttention(2, 6)

    def forward(self, x, context, scale):
        return self.attention(x, context) * scale


def floats(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def words(*shape):
    return np.random.default_rng(0).integers(0, 9, shape)


SEVERAL = {
    **{
        f"a translator of {kind.__name__}": (
            Translator(kind),
            (floats(3, 6, 3), words(3, 4)),
            [(floats(1, 6, 3), words(1, 4))],
            [["batch", "input0_time", 3], ["batch", 4]],
        )
        for kind in (layers.RNN, layers.LSTM, layers.GRU)
    },
    "cross-attention": (
        Across(),
        (floats(2, 3, 6), floats(2, 5, 6), floats(6)),
        [(floats(4, 7, 6), floats(4, 2, 6), 2 * floats(6))],
        [["batch", "input0_time", 6], ["batch", "input1_time", 6], [6]],
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_inputs(name, tmp_path):
    model, example, others, shapes = SEVERAL[name]
    session = runtime.InferenceSession(export(model, tmp_path / "model.onnx", example))
    inputs = session.get_inputs()
    assert [i.name for i in inputs] == [f"input{i}" for i in range(len(example))]
    assert [i.shape for i in inputs] == shapes
    for xs in (example, *others):
        got = session.run(None, {f"input{i}": x for i, x in enumerate(xs)})
        want = model(*xs)
        for a, b in zip(got, want if isinstance(want, tuple) else [want], strict=True):
            np.testing.assert_allclose(a, b.data, rtol=0, atol=1e-5)


class First(layers.Layer):
    def __init__(self):
        self.out = layers.Linear(3, 2)

    def forward(self, x, other):
        return self.out(x)


class OfLengths(layers.Layer):
    def __init__(self):
        self.gru = layers.GRU(3, 2)

    def forward(self, x, lengths):
        return self.gru(x, lengths)


@pytest.mark.parametrize(
    ("model", "xs", "message"),
    [
        (First(), (floats(4, 3), floats(4, 3)), "does not depend on input1"),
        (OfLengths(), (floats(2, 4, 3), np.array([4, 2])), "depend on input1, or not in a way"),
        (First(), (floats(4, 3), np.ones((4, 3), bool)), r"or a tuple of them, got bool \(4, 3\)"),
        (First(), (), r"want an example, got \(\)"),
    ],
)
def test_inputs_that_cannot_be(model, xs, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "model.onnx", xs)
    assert not list(tmp_path.iterdir())


class AtLengths(layers.Layer):
    """The outputs within lengths that are known, and the state there."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        y, state = self.layer.with_state(x, lengths=[4, 2, 3])
        state = state if isinstance(state, tuple) else (state,)
        return y, *[h for pair in state for h in (pair if isinstance(pair, tuple) else (pair,))]


KINDS = (layers.RNN, layers.LSTM, layers.GRU)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_lengths_and_states_of_every_recurrent_layer(kind, both, whole, tmp_path):
    layer = kind(3, 5, return_sequences=whole)
    model = AtLengths(layers.Bidirectional(layer) if both else layer)
    x = floats(3, 4, 3)
    got, _ = run(export(model, tmp_path / "model.onnx", x), x)
    for a, b in zip(got, model(x), strict=True):
        np.testing.assert_allclose(a, b.data, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "index",
    [
        (),
        np.array([2, 0, -1]),
        np.array([[1], [-3]]),
        (np.arange(3), np.array([-1, 0, 3])),
        (np.arange(3)[:, None], np.array([1, -2])),
        (np.array([0, 2]), np.array([1, 1]), np.array([-1, 0])),
    ],
)
def test_arrays_of_integers_as_indices(index, tmp_path):
    class Model(layers.Layer):
        def forward(self, x):
            return x[index] * 2

    x = floats(3, 4, 5)
    (got,), _ = run(export(Model(), tmp_path / "model.onnx", x), x)
    np.testing.assert_array_equal(got, 2 * x[index])
