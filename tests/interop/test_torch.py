"""Weights of PyTorch in and out, and arrays shared by DLPack. The stored state dicts and outputs are PyTorch's;
where it is installed, random models are compared with it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Variable, layers, optim
from minidl import functions as F
from minidl.interop import dlpack
from minidl.interop.torch import load_torch_state_dict, torch_state_dict

REFERENCE = Path(__file__).parents[1] / "reference"


class Forecaster(layers.Layer):
    """What users write: a recurrent layer under a name, a linear one on its last step."""

    def __init__(self, recurrent):
        self.lstm, self.out = recurrent, layers.Linear(2)

    def forward(self, x):
        return self.out(self.lstm(x)[:, -1])


MODELS = {
    "linear": lambda: layers.Linear(4),
    "mlp": lambda: layers.MLP([7, 6, 3], activation=F.tanh),
    "sequential": lambda: layers.Sequential(
        layers.Linear(7), F.tanh, layers.Linear(6), F.tanh, layers.Linear(3)
    ),
    "rnn": lambda: layers.RNN(5),
    "lstm": lambda: layers.LSTM(5),
    "two lstms": lambda: layers.Sequential(layers.LSTM(5), layers.LSTM(5)),
    "forecaster": lambda: Forecaster(layers.LSTM(5)),
    "gru": lambda: layers.GRU(5),
    "bidirectional lstm": lambda: layers.Bidirectional(layers.LSTM(5)),
    "two bidirectional grus": lambda: layers.Sequential(
        layers.Bidirectional(layers.GRU(5)), layers.Bidirectional(layers.GRU(5))
    ),
    "images": lambda: layers.Sequential(
        layers.Conv2d(6, kernel=(3, 2), stride=(1, 2), padding=1),
        F.relu,
        layers.MaxPool2d(2),
        layers.Conv2d(4, kernel=3, padding="same", dilation=2, groups=2, bias=False),
        layers.Flatten(),
        layers.Linear(5),
        F.relu,
        layers.Linear(3),
    ),
    "series": lambda: layers.Sequential(
        layers.Conv1d(4, kernel=3, stride=2, padding=1),
        F.tanh,
        layers.AvgPool1d(2),
        layers.GlobalAvgPool(),
    ),
}
LIKE = {"mlp": "sequential"}  # PyTorch writes both the same way


def stored(name):
    file_name = "torch_convolutions" if name in ("images", "series") else "torch_models"
    with np.load(REFERENCE / f"{file_name}.npz") as file:
        start = f"{LIKE.get(name, name)}/"
        found = {key.removeprefix(start): file[key] for key in file.files if key.startswith(start)}
    return found.pop("x"), found.pop("y"), found


@pytest.mark.parametrize("name", MODELS)
def test_stored_weights_give_the_stored_outputs(name):
    x, y, state = stored(name)
    model = MODELS[name]()
    load_torch_state_dict(model, state)
    np.testing.assert_allclose(model(x).data, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name):
    x, _, state = stored(name)
    model, second = MODELS[name](), MODELS[name]()
    load_torch_state_dict(model, state)
    back = torch_state_dict(model)
    load_torch_state_dict(second, back)
    np.testing.assert_allclose(second(x).data, model(x).data, rtol=1e-6, atol=1e-7)
    if not name.startswith("two"):  # which are two modules then
        assert back.keys() == state.keys()
        for key, value in state.items():
            assert back[key].shape == value.shape
            assert back[key].flags.c_contiguous
            if "bias" not in key or "_l0" not in key:
                np.testing.assert_array_equal(back[key], value)


class Net(layers.Layer):
    """A convolution whose image is flattened by hand, which nobody can see from outside."""

    def __init__(self):
        self.conv = layers.Conv2d(3, kernel=3, padding="same")
        self.fc = layers.Linear(2)

    def forward(self, x):
        x = self.conv(x)
        return self.fc(x.reshape(len(x), -1))


def test_a_flattened_image_is_asked_for_where_it_cannot_be_known():
    torch = pytest.importorskip("torch")
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(60, 2)
    )
    state, names = twin.state_dict(), {"conv": "0", "fc": "2"}
    model = Net()
    with pytest.raises(ValueError, match=r"image of 3 channels.* say flattened=\{\"fc\": 3\}"):
        load_torch_state_dict(model, state, names)
    assert model.fc.in_features is None
    load_torch_state_dict(model, state, names, flattened={"fc": 3})
    x = np.random.default_rng(0).normal(size=(5, 4, 5, 2)).astype(np.float32)
    want = twin(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).detach().numpy()
    np.testing.assert_allclose(model(x).data, want, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"torch_state_dict: fc: .*flattened"):
        torch_state_dict(model)
    back = torch_state_dict(model, flattened={"fc": 3})
    np.testing.assert_array_equal(back["fc.weight"], state["2.weight"].numpy())
    load_torch_state_dict(model, state, names, flattened={"fc": 1})
    np.testing.assert_array_equal(model.fc.w.data, state["2.weight"].numpy().T)
    for given in ({"out": 3}, {"conv": 3}, {"fc": 7}, {"fc": 0}):
        with pytest.raises(ValueError, match=r"flattened|channels"):
            load_torch_state_dict(model, state, names, flattened=given)


def test_norms_of_a_flattened_image_are_reordered_too():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    twin = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.Flatten(),
        nn.BatchNorm1d(18),
        nn.LayerNorm(18),
        nn.Linear(18, 4),
    )
    x = np.random.default_rng(0).normal(size=(6, 4, 5, 2)).astype(np.float32)
    theirs = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    for module in (twin[1], twin[3], twin[4]):
        nn.init.uniform_(module.weight)
        nn.init.uniform_(module.bias)
    twin(theirs)  # running statistics
    twin.eval()
    model = layers.Sequential(
        layers.Conv2d(3, kernel=3),
        layers.BatchNorm(),
        layers.Flatten(),
        layers.BatchNorm(),
        layers.LayerNorm(),
        layers.Linear(4),
    )
    load_torch_state_dict(model, twin.state_dict())
    with minidl.test_mode():
        np.testing.assert_allclose(model(x).data, twin(theirs).detach(), rtol=1e-4, atol=1e-5)
    back = torch_state_dict(model)
    for name, value in twin.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(back[name], value.numpy())


def test_a_linear_on_the_features_of_a_convolution_is_left_as_it_is():
    weights = {"0.weight": np.ones((4, 2, 1)), "0.bias": np.ones(4)}
    weights |= {"1.weight": np.arange(8.0).reshape(2, 4), "1.bias": np.ones(2)}
    for between in ([], [layers.GlobalAvgPool(), layers.Flatten()]):
        model = layers.Sequential(layers.Conv1d(4, kernel=1), *between, layers.Linear(2))
        load_torch_state_dict(model, weights)
        np.testing.assert_array_equal(model[-1].w.data, weights["1.weight"].T)


def test_what_both_share_is_left_out_of_names():
    _, _, state = stored("mlp")
    model, other = layers.MLP([7, 6, 3]), MODELS["mlp"]()
    load_torch_state_dict(model, {f"module.net.{name}": value for name, value in state.items()})
    load_torch_state_dict(other, state)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_names_say_which_is_which():
    rng = np.random.default_rng(0)
    state = {
        f"{n}.{k}": rng.normal(size=s)
        for n in ("fc2", "fc1")
        for k, s in [("weight", (3, 3)), ("bias", (3,))]
    }
    model = layers.MLP([3, 3])
    with pytest.raises(
        ValueError, match=r'for layers.0, layers.1; no layer for fc2, fc1; .*"layers.0": "fc2"'
    ):
        load_torch_state_dict(model, state)  # not by order, which would be wrong here
    load_torch_state_dict(model, state, names={"layers.0": "fc1", "layers.1": "fc2"})
    np.testing.assert_allclose(model[0].w.data, state["fc1.weight"].T, rtol=1e-6)
    with pytest.raises(ValueError, match=r"no layer 'fc1'.*no module 'layers.0'"):
        load_torch_state_dict(model, state, names={"fc1": "layers.0"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2.weight": np.ones((3, 9))}, r"layers.1.w: want float32 \(7, 6\), got float64 \(9, 3\)"),
        ({"2.weight": None}, "wants bias, weight, got bias"),
        ({"9.weight": np.ones((3, 3))}, "no layer for 9"),
        ({"0.weight_g": np.ones((3, 3))}, "wants bias, weight, got weight"),
        ({"0.weight": np.ones(3)}, r"got weight \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changed(change, message):
    _, _, state = stored("mlp")
    model = layers.MLP([7, 6, 3], in_features=state["0.weight"].shape[1])
    before = model.state_dict()
    broken = {name: value for name, value in (state | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load_torch_state_dict(model, broken)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_other_cells_are_refused():
    with pytest.raises(ValueError, match="weights of an LSTM, got those of: GRU"):
        load_torch_state_dict(
            layers.LSTM(2), {"weight_ih_l0": np.ones((6, 3)), "weight_hh_l0": np.ones((6, 2))}
        )
    both = {
        f"{k}_l0{d}": np.ones((8, 2)) for k in ("weight_ih", "weight_hh") for d in ("", "_reverse")
    }
    with pytest.raises(ValueError, match="directions of a bidirectional module"):
        load_torch_state_dict(layers.LSTM(2), both)
    with pytest.raises(TypeError, match="want a dict, such as PyTorch's"):
        load_torch_state_dict(layers.LSTM(2), [1.0])


def test_a_layer_of_ones_own_keeps_names_and_shapes():
    class Scale(layers.Layer):
        def __init__(self):
            self.factor = minidl.Parameter(np.ones(3, np.float32))

        def forward(self, x):
            return x * self.factor

    model = layers.Sequential(layers.Linear(2, 3), Scale())
    state = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "1.factor": np.arange(3.0)}
    load_torch_state_dict(model, state)
    np.testing.assert_array_equal(torch_state_dict(model)["1.factor"], [0, 1, 2])


def test_dlpack_shares_memory():
    a = np.arange(6.0).reshape(2, 3)
    x = dlpack.from_dlpack(a, requires_grad=False, name="x")
    a[0, 0] = 7
    assert float(x[0, 0]) == 7
    assert (x.name, x.requires_grad) == ("x", False)
    out = np.from_dlpack(x)
    assert np.shares_memory(out, a)
    with pytest.raises(BufferError, match=r"requires a gradient; pass variable\.data"):
        np.from_dlpack(Variable(a))
    with pytest.raises(TypeError, match="list has no __dlpack__"):
        dlpack.from_dlpack([1.0])

    class Elsewhere:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **settings):
            raise BufferError("on another device")

    with pytest.raises(BufferError):
        dlpack.from_dlpack(Elsewhere())


@pytest.mark.skipif(
    not np.from_dlpack(np.zeros(1)).flags.writeable,
    reason="NumPy before 2.3 shares memory to be read only",
)
@pytest.mark.parametrize("kind", [optim.SGD, optim.Momentum, optim.Adam, optim.AdamW])
def test_sharing_ends_where_the_page_says(kind):
    a = np.array([1.0, 2.0])
    x = dlpack.from_dlpack(a)
    (x * x).sum().backward()
    x.data -= 0.25 * x.grad.data  # in place: still shared
    np.testing.assert_array_equal(a, [0.5, 1.0])
    assert np.shares_memory(x.data, a)
    x.cleargrad()
    optimizer = kind([x], lr=0.1)
    assert np.shares_memory(x.data, a)  # to be made is no update
    (x * x).sum().backward()
    optimizer.update()
    np.testing.assert_array_equal(a, [0.5, 1.0])
    assert not np.shares_memory(x.data, a)
    out = np.from_dlpack(x.data)  # from here on it is this memory that updates change
    x.cleargrad()
    (x * x).sum().backward()
    optimizer.update()
    np.testing.assert_array_equal(out, x.data)


# ---- against the PyTorch that is installed ----------------------------------------------------------------------


def random_pair(torch, rng):
    """A model of minidl's and the same one of PyTorch's, of random sizes; and input for both."""
    nn = torch.nn
    n, hidden, out, batch, time = (int(k) for k in rng.integers(1, 7, size=5))
    kind = rng.choice(["mlp", "rnn", "lstm", "gru", "deep"])
    if kind == "mlp":
        bias = bool(rng.integers(2))
        theirs = nn.Sequential(
            nn.Linear(n, hidden, bias=bias), nn.ReLU(), nn.Linear(hidden, out, bias=bias)
        )
        return layers.MLP([hidden, out], bias=bias), theirs, rng.normal(size=(batch, n))
    depth, bias = (2, True) if kind == "deep" else (1, bool(rng.integers(2)))
    name = {"rnn": "RNN", "gru": "GRU"}.get(kind, "LSTM")
    both = bool(rng.integers(2))
    theirs = getattr(nn, name)(
        n, hidden, num_layers=depth, bias=bias, batch_first=True, bidirectional=both
    )

    def ours():
        layer = getattr(layers, name)(hidden)
        return layers.Bidirectional(layer) if both else layer

    model = ours() if depth == 1 else layers.Sequential(*[ours() for _ in range(depth)])
    return model, theirs, rng.normal(size=(batch, time, n))


@pytest.mark.parametrize("seed", range(20))
def test_random_models_against_pytorch(seed):
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    model, theirs, x = random_pair(torch, np.random.default_rng(seed))
    x = x.astype(np.float32)
    load_torch_state_dict(model, theirs.state_dict())
    y = theirs(torch.from_numpy(x))
    y = y[0] if isinstance(y, tuple) else y
    np.testing.assert_allclose(model(x).data, y.detach().numpy(), rtol=1e-4, atol=1e-6)
    back = torch_state_dict(model)
    if (
        back.keys() == theirs.state_dict().keys()
    ):  # several layers are several modules, and ours have always biases
        theirs.load_state_dict({name: torch.from_numpy(a) for name, a in back.items()})
        again = theirs(torch.from_numpy(x))
        again = again[0] if isinstance(again, tuple) else again
        np.testing.assert_allclose(again.detach().numpy(), y.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_tensors_and_variables_share_memory():
    torch = pytest.importorskip("torch")
    t = torch.zeros(3)
    x, y = dlpack.from_dlpack(t, requires_grad=False), Variable(t)
    t[0] = 5
    assert x.data[0] == y.data[0] == 5
    back = torch.from_dlpack(x)
    back[1] = 6
    assert t[1] == 6
    half = {
        "weight": torch.ones(2, 3, dtype=torch.bfloat16),
        "bias": torch.zeros(2, requires_grad=True),
    }
    model = layers.Linear(2)
    load_torch_state_dict(model, half)
    assert model.w.dtype == np.float32


# ---- what notebooks show ----------------------------------------------------------------------------------------


def test_what_notebooks_show():
    w = Variable([1.0, 2.0], name="<w>")
    loss = (w * 3).sum()
    loss.backward()
    page = loss._repr_html_()
    assert "<b>Variable</b>" in page
    assert "float64 () · made by sum" in page
    if shutil.which("dot"):
        assert "<svg" in page
        assert "&lt;w&gt;" in page
    assert "<w>" not in page + w._repr_html_()
    assert "has a gradient" in w._repr_html_()
    if shutil.which("dot"):  # in a new process, where nobody asked for minidl.graph before
        code = "import minidl; print((minidl.Variable(1.0) * 2)._repr_html_())"
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert b"<svg" in shown.stdout
    page = Variable(np.zeros((100, 100)), requires_grad=False, name="big")._repr_html_()
    assert "Variable big" in page
    assert "constant" in page
    assert len(page) < 2000
    assert "no data yet" in layers.Linear(3).w._repr_html_()


def test_what_notebooks_show_of_a_layer():
    page = layers.MLP([16, 1], in_features=3)._repr_html_()
    assert "MLP(3→16→1)" in page
    assert "81 parameters, 81 of them trained" in page
    assert page.count("<tr") == 3
    assert "<table" not in layers.Linear(3)._repr_html_()


def test_a_graph_that_cannot_be_drawn_is_left_out(monkeypatch):
    y = Variable(1.0) * 2
    monkeypatch.setenv("PATH", "")
    assert "<svg" not in y._repr_html_()
    x = Variable(1.0)
    for _ in range(200):
        x = x * 2
    monkeypatch.undo()
    assert "<svg" not in x._repr_html_()
