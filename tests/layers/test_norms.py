"""LayerNorm and BatchNorm: PyTorch's numbers, their statistics, and what they refuse."""

import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Trainer, Variable, optim
from minidl import functions as F
from minidl.layers import BatchNorm, LayerNorm, Linear, Normalization, Sequential
from tests.common.foreign import foreign, inner

RNG = np.random.default_rng(0)
SEEN = RNG.normal(2, 3, size=(6, 3)).astype(np.float32)
SHAPES = [(6, 5), (4, 3, 5), (2, 3, 4, 5), (2, 1, 5)]


def by_features(torch, module, x):
    """A module of PyTorch's, whose features are axis 1, on an input whose features are the last."""
    if isinstance(module, torch.nn.LayerNorm):
        return module(x)
    return module(x.reshape(-1, x.shape[-1])).reshape(x.shape)


def pair(torch, kind):
    """A layer and a module with the same random parameters."""
    ours = kind(5, dtype=np.float64)
    name = "LayerNorm" if kind is LayerNorm else "BatchNorm1d"
    theirs = getattr(torch.nn, name)(5, dtype=torch.float64)
    for name, p in (("weight", ours.w), ("bias", ours.b)):
        value = RNG.normal(size=5)
        p.data = value
        getattr(theirs, name).data = torch.tensor(value)
    return ours, theirs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
@pytest.mark.parametrize("testing", [False, True])
def test_values_gradients_and_second_orders_are_pytorchs(kind, shape, testing):
    torch = pytest.importorskip("torch")
    ours, theirs = pair(torch, kind)
    theirs.train()
    for _ in range(2):  # so that the running statistics are others than at first
        seen = RNG.normal(2, 3, size=shape)
        ours(seen)
        by_features(torch, theirs, torch.tensor(seen))
    theirs.train(not testing)
    a = RNG.normal(1, 2, size=shape)
    u, v = RNG.normal(size=(2, *shape))
    x, s = Variable(a), torch.tensor(a, requires_grad=True)
    if testing:
        with minidl.test_mode():
            y = ours(x)
    else:
        y = ours(x)
    z = by_features(torch, theirs, s)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-11, atol=1e-12)
    wrt = [x, ours.w, ours.b]
    t_wrt = [s, theirs.weight, theirs.bias]
    first = minidl.gradients((y**2 * u).sum(), wrt, create_graph=True)
    t_first = torch.autograd.grad((z**2 * torch.tensor(u)).sum(), t_wrt, create_graph=True)
    for g, h in zip(first, t_first, strict=True):
        np.testing.assert_allclose(g.data, h.detach().numpy(), rtol=1e-9, atol=1e-10)
    second = minidl.gradients((first[0] * v).sum() + (first[1] ** 2).sum(), wrt)
    along = (t_first[0] * torch.tensor(v)).sum() + (t_first[1] ** 2).sum()
    t_second = torch.autograd.grad(along, t_wrt)
    for g, h in zip(second, t_second, strict=True):
        np.testing.assert_allclose(g.data, h.numpy(), rtol=1e-8, atol=1e-9)
    if kind is BatchNorm:
        np.testing.assert_allclose(ours.mean, theirs.running_mean.numpy(), rtol=1e-12)
        np.testing.assert_allclose(ours.var, theirs.running_var.numpy(), rtol=1e-12)


STORED = Path(__file__).parents[1] / "reference" / "torch_norms.npz"


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
def test_the_stored_numbers_are_met(kind):
    """Stored, so that it is seen without PyTorch too."""
    start = f"{kind.__name__}/"
    with np.load(STORED) as file:
        stored = {key.removeprefix(start): file[key] for key in file.files if key.startswith(start)}
    layer = kind(5, eps=1e-3, dtype=np.float64)
    layer.w.data, layer.b.data = stored["w"], stored["b"]
    for mode in ("training", "testing"):
        x = Variable(stored["x"])
        if mode == "training":
            y = layer(x)
        else:
            with minidl.test_mode():
                y = layer(x)
        wrt = [x, layer.w, layer.b]
        first = minidl.gradients((y**2 * stored["u"]).sum(), wrt, create_graph=True)
        along = (first[0] * stored["v"]).sum() + (first[1] ** 2).sum()
        second = minidl.gradients(along, wrt)
        results = {"y": y}
        for name, one, two in zip(["x", "w", "b"], first, second, strict=True):
            results |= {f"d{name}": one, f"dd{name}": two}
        for name, value in results.items():
            want = stored[f"{mode}/{name}"]
            np.testing.assert_allclose(value.data, want, rtol=1e-9, atol=1e-9, err_msg=name)
    for name in layer.buffers:
        np.testing.assert_allclose(getattr(layer, name), stored[name], rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 1.0])
def test_running_statistics_by_hand(momentum):
    layer = BatchNorm(momentum=momentum, dtype=np.float64)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = RNG.normal(5, 2, size=(7, 2, 3))
        layer(x)
        mean = (1 - momentum) * mean + momentum * x.mean((0, 1))
        var = (1 - momentum) * var + momentum * x.var((0, 1), ddof=1)
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.var, var, rtol=1e-12)
    with minidl.test_mode():
        np.testing.assert_allclose(layer(x).data, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-11)


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dtypes(kind, dtype):
    layer = kind(dtype=dtype)
    a = RNG.normal(3, 2, size=(6, 4)).astype(dtype)
    x = Variable(a)
    y = layer(x)
    (y * a).sum().backward()
    assert y.dtype == x.grad.dtype == layer.w.grad.dtype == layer.b.grad.dtype == dtype
    wide = kind(dtype=np.float64)
    x64 = Variable(a.astype(np.float64))
    y64 = wide(x64)
    (y64 * a.astype(np.float64)).sum().backward()
    tolerance = 5e-3 if dtype == np.float16 else 1e-5
    for got, want in [(y, y64), (x.grad, x64.grad), (layer.w.grad, wide.w.grad)]:
        np.testing.assert_allclose(got.data, want.data, rtol=tolerance, atol=tolerance)
    with minidl.test_mode():
        assert layer(x).dtype == dtype
    if kind is BatchNorm:
        assert layer.mean.dtype == np.result_type(dtype, np.float32) == layer.var.dtype
        assert layer.to(dtype=np.float64).mean.dtype == np.float64


def test_float16_does_not_overflow_on_the_way():
    x = np.array([[300.0, -300.0, 0.0], [0.0, 300.0, -300.0]], np.float16)
    for layer in (LayerNorm(dtype=np.float16), BatchNorm(dtype=np.float16)):
        assert abs(layer(x).data).max() < 2


def test_large_offsets_keep_their_digits():
    x = (1e4 + np.random.default_rng(3).normal(size=(5000, 4))).astype(np.float32)
    wide = x.astype(np.float64)
    layer = BatchNorm(momentum=1.0)
    y = layer(x).data
    np.testing.assert_allclose(layer.mean, wide.mean(0), rtol=6e-8)  # half a digit of float32
    np.testing.assert_allclose(layer.var, wide.var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(y, (wide - wide.mean(0)) / wide.std(0), atol=6e-4)
    constant = np.full((3000, 4), 1234.567, np.float32)
    layer(constant)
    assert (layer.var >= 0).all() and (layer.var < 1e-6).all()


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
def test_what_is_refused(kind):
    layer = kind(3)
    with pytest.raises(
        ValueError, match=r"Norm\(3\): want input of shape \(\.\., 3\), got \(2, 4\)"
    ):
        layer(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"want input of shape \(\.\., 3\), got \(2, 1\)"):
        layer(np.ones((2, 1)))
    with pytest.raises(TypeError, match="want floating input, got int64"):
        layer(np.ones((2, 3), int))
    with pytest.raises(ValueError, match=r"want input of shape \(\.\., in\), got \(\)"):
        kind()(np.float32(1.0))
    for bad in (0, -1):
        with pytest.raises(ValueError, match="features must be at least 1"):
            kind(bad)
    for bad in ((3, 4), 2.0, "3"):
        with pytest.raises(TypeError, match="features must be an int"):
            kind(bad)
    with pytest.raises(ValueError, match="eps must be in"):
        kind(3, eps=-1.0)
    with pytest.raises(TypeError, match="floating dtype"):
        kind(3, dtype=int)
    assert repr(kind()) == f"{kind.__name__}(?)" and repr(layer) == f"{kind.__name__}(3)"


def test_a_single_sample_in_training():
    layer = BatchNorm(3)
    for shape in [(1, 3), (3,), (1, 1, 3), (0, 3)]:
        with pytest.raises(ValueError, match=r"BatchNorm\(3\): want more than one sample to train"):
            layer(np.ones(shape))
        with minidl.test_mode():
            assert layer(np.ones(shape)).shape == shape
    assert not layer.mean.any()
    assert layer(np.ones((1, 5, 3))).shape == (1, 5, 3)
    for momentum in (-0.1, 1.5):
        with pytest.raises(ValueError, match="momentum"):
            BatchNorm(3, momentum=momentum)


def test_statistics_are_written_while_training_only():
    layer = BatchNorm(3)
    assert BatchNorm(3, dtype=np.float16).var.dtype == np.float32
    x = RNG.normal(size=(8, 3))
    with minidl.no_grad():
        batch = layer(x)
    with minidl.test_mode():
        layer(x)
    assert not layer.mean.any() and (layer.var == 1).all()
    np.testing.assert_allclose(batch.data.mean(0), 0, atol=1e-6)  # by the batch, all the same
    minidl.recompute(layer)(Variable(x.astype(np.float32))).sum().backward()
    np.testing.assert_allclose(layer.mean, 0.1 * x.mean(0), rtol=1e-5)
    layer.reset_state()
    layer.freeze()
    layer(x)
    np.testing.assert_allclose(layer.mean, 0.19 * x.mean(0), rtol=1e-5)  # frozen: only w and b


def test_lazy_ones_learn_and_load():
    layer = BatchNorm()
    optimizer = optim.SGD(layer, lr=0.1)
    with pytest.raises(RuntimeError, match=r"w of BatchNorm\(\?\) has no data yet"):
        layer.state_dict()
    layer(RNG.normal(size=(4, 3))).sum().backward()
    optimizer.update()
    other = BatchNorm()
    other.load_state_dict(layer.state_dict())
    assert repr(other) == "BatchNorm(3)"
    np.testing.assert_array_equal(other.var, layer.var)
    with pytest.raises(ValueError, match=r"mean: want float32 \(3,\), got float64 \(4,\)"):
        other.load_state_dict(layer.state_dict() | {"mean": np.ones(4)})


def test_a_trained_model_with_a_checkpoint(tmp_path):
    def net():
        return Sequential(Linear(4), BatchNorm(), F.relu, LayerNorm(), Linear(1))

    x = RNG.normal(3, 2, size=(64, 3)).astype(np.float32)
    t = x.sum(1, keepdims=True)
    runs = []
    minidl.seed(0)
    start = net()
    start(x[:4])
    weights = start.state_dict()
    for resume in (False, True):
        model = net()
        model.load_state_dict(weights)
        trainer = Trainer(model, optim.Adam(model, lr=0.05), F.mean_squared_error)
        if resume:
            trainer.fit(x, t, epochs=5, batch_size=16, shuffle=False, verbose=0)
            trainer.save(tmp_path / "run.npz")
            model = net()
            model(x[:4])
            trainer = Trainer(model, optim.Adam(model, lr=0.05), F.mean_squared_error)
        path = tmp_path / "run.npz" if resume else None
        history = trainer.fit(x, t, epochs=10, batch_size=16, shuffle=False, verbose=0, resume=path)
        assert history["loss"][-1] < history["loss"][0] / 2
        runs.append(model.state_dict())
    for name, value in runs[0].items():
        np.testing.assert_array_equal(runs[1][name], value)


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
def test_as_onnx(tmp_path, kind):
    runtime = pytest.importorskip("onnxruntime")
    from minidl import onnx

    model = Sequential(Linear(3, 4), kind(), F.tanh, Linear(2))
    x = RNG.normal(1, 2, size=(5, 6, 3)).astype(np.float32)
    for _ in range(3):
        model(x)
    session = runtime.InferenceSession(onnx.export(model, tmp_path / "model.onnx", x))
    more = RNG.normal(size=(2, 9, 3)).astype(np.float32)
    with minidl.test_mode():
        expected = model(more).data
    np.testing.assert_allclose(session.run(None, {"input": more})[0], expected, atol=1e-5)


def test_the_fused_functions_are_their_compositions():
    for name in ("layer_norm", "batch_norm"):
        function = getattr(F, name)
        a = RNG.normal(size=(4, 3, 5))
        arrays = [a, *RNG.normal(size=(2, 5))]
        one, two = [[Variable(x) for x in arrays] for _ in range(2)]
        y, z = function(*one, eps=0.1), function.equals(*two, eps=0.1)
        np.testing.assert_allclose(y.data, z.data, rtol=1e-12)
        (y * a).sum().backward()
        (z * a).sum().backward()
        for p, q in zip(one, two):
            np.testing.assert_allclose(p.grad.data, q.grad.data, rtol=1e-10, atol=1e-12)


def test_in_compiled_functions():
    model, twin = [Sequential(Linear(3, 4), BatchNorm(4), Linear(4, 1)) for _ in range(2)]
    twin.load_state_dict(model.state_dict())
    x = RNG.normal(1, 2, size=(32, 3)).astype(np.float32)
    t = x.sum(1, keepdims=True)
    fitted = []
    for net, compile in ((model, True), (twin, False)):
        trainer = Trainer(net, optim.SGD(net, lr=0.01), F.mean_squared_error, compile=compile)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.fit(x, t, epochs=2, batch_size=8, shuffle=False, verbose=0)
        fitted.append(net.state_dict())
    for name, value in fitted[0].items():
        np.testing.assert_array_equal(fitted[1][name], value)
    evaluate = minidl.compile(lambda x: model(x))
    for _ in range(3):  # the program reads the statistics at each call
        with minidl.test_mode(), minidl.no_grad():
            np.testing.assert_array_equal(np.asarray(evaluate(x)), np.asarray(model(x)))
        model(x)


def test_a_users_buffer_in_a_compiled_function():
    class Count(minidl.layers.Layer):
        buffers = ("calls",)

        def __init__(self):
            self.calls = np.array(0)

        def forward(self, x):
            self.update_buffers(calls=self.calls + 1)
            return x * 2

    count = Count()
    f = minidl.compile(lambda x: count(x), check="raise")
    list(map(f, [np.ones(3)] * 5))
    assert count.calls == 5
    assert "NumPy" in f.status()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_batch_leaves_the_statistics_of_a_fit(value):
    model = Sequential(Linear(3, 4), BatchNorm(4), Linear(4, 1))
    trainer = Trainer(model, optim.SGD(model, lr=0.01), F.mean_squared_error)
    x = RNG.normal(size=(8, 3)).astype(np.float32)
    t = x.sum(1, keepdims=True)
    trainer.train_step(x, t)
    before = model.state_dict()
    bad = x.copy()
    bad[0, 0] = value
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        trainer.train_step(bad, t)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_an_evaluation_before_the_first_training():
    model = Sequential(Linear(4), BatchNorm(), Linear(1))
    trainer = Trainer(model, optim.Adam(model, lr=0.01), F.mean_squared_error)
    x = RNG.normal(size=(8, 3)).astype(np.float32)
    t = x.sum(1, keepdims=True)
    trainer.evaluate(x, t)
    trainer.predict(x)
    trainer.fit(x, t, epochs=1, verbose=0)
    assert model[1].mean.any()
    partly = BatchNorm()
    partly.load_state_dict({"w": np.full(3, 2.0)}, strict=False)
    np.testing.assert_allclose(partly(x).data, 2 * BatchNorm()(x).data, rtol=1e-6)


@pytest.mark.parametrize("make", [LayerNorm, BatchNorm, lambda n: Normalization().adapt(SEEN)])
@pytest.mark.parametrize("testing", [False, True])
def test_arrays_of_other_libraries(make, testing):
    layer, twin = make(3), make(3)
    x, theirs = Variable(SEEN), Variable(foreign(SEEN))
    twin.to(foreign(np.zeros(1)))
    with minidl.test_mode() if testing else nullcontext():
        y, z = layer(x), twin(theirs)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(inner(z.data), y.data, atol=1e-5)
    np.testing.assert_allclose(inner(theirs.grad.data), x.grad.data, atol=1e-4)
    for name, value in layer.state_dict().items():
        np.testing.assert_allclose(inner(twin.state_dict()[name]), value, atol=1e-6)
