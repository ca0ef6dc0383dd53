"""Weights of PyTorch's norms and embeddings, in and out."""

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl.interop.torch import load_torch_state_dict, torch_state_dict
from minidl.layers import (
    BatchNorm,
    Conv2d,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    Normalization,
    Sequential,
)

torch = pytest.importorskip("torch")
nn = torch.nn
RNG = np.random.default_rng(0)


def theirs():
    module = nn.Sequential(
        *(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2))
    )
    for _ in range(3):
        module(torch.tensor(RNG.normal(2, 3, size=(8, 3)).astype(np.float32)))
    for p in module.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return module.eval()


def ours():
    return Sequential(Linear(5), BatchNorm(), F.tanh, LayerNorm(), Linear(2))


X = RNG.normal(size=(6, 3)).astype(np.float32)


def test_in_and_out():
    module = theirs()
    model = ours()
    load_torch_state_dict(model, module.state_dict())
    with minidl.test_mode():
        y = model(X).data
    np.testing.assert_allclose(y, module(torch.tensor(X)).detach().numpy(), rtol=1e-4, atol=1e-5)
    back = theirs()
    state = {name: torch.from_numpy(a) for name, a in torch_state_dict(model).items()}
    back.load_state_dict(state)
    np.testing.assert_allclose(back(torch.tensor(X)).detach().numpy(), y, rtol=1e-4, atol=1e-5)


def test_embeddings_and_layers_that_pytorch_does_not_have():
    module = nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4))
    model = Sequential(Embedding(7, 4), LayerNorm(4))
    load_torch_state_dict(model, module.state_dict())
    x = np.array([[1, 6], [0, 1]])
    z = module(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model(x).data, z, rtol=1e-5, atol=1e-6)
    scaled = Sequential(Normalization().adapt(X), *ours().layers)
    before = scaled[0].mean.copy()
    load_torch_state_dict(scaled, nn.Sequential(nn.Identity(), *theirs()).state_dict())
    np.testing.assert_array_equal(scaled[0].mean, before)
    load_torch_state_dict(Sequential(Normalization(), Linear(2)), nn.Linear(3, 2).state_dict())


def test_what_differs_is_listed_and_nothing_is_changed():
    model = ours()
    model(X)
    before = model.state_dict()
    others = nn.Sequential(
        *(nn.Linear(3, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Tanh()),
        *(nn.LayerNorm(5, bias=False), nn.Linear(5, 2)),
    )
    with pytest.raises(
        ValueError, match=r"BatchNorm\(5\) wants weight, bias, running_mean, running"
    ) as e:
        load_torch_state_dict(model, others.state_dict())
    assert "LayerNorm(5) wants weight, bias, got weight (5,)" in str(e.value)
    with pytest.raises(
        ValueError, match=r"layers\.1\.mean: want float32 \(5,\), got float32 \(4,\)"
    ):
        load_torch_state_dict(model, theirs().state_dict() | {"1.running_mean": torch.zeros(4)})
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_users_layer_with_buffers():
    class Scaled(minidl.layers.Layer):
        buffers = ("running",)

        def __init__(self):
            self.gain = minidl.Parameter(np.ones(3, np.float32))
            self.running = np.zeros(3, np.float32)

    model = Scaled()
    load_torch_state_dict(model, {"gain": torch.full((3,), 2.0), "running": torch.ones(3)})
    assert model.running.tolist() == [1.0] * 3
    assert set(torch_state_dict(model)) == {"gain", "running"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_norms_between_a_convolution_and_a_flattened_linear(first, second):
    ours = [
        *([Conv2d(4, kernel=3)] + [BatchNorm()] * first + [F.relu, Flatten()]),
        *([BatchNorm()] * second + [Linear(2)]),
    ]
    theirs = [
        *([nn.Conv2d(3, 4, 3)] + [nn.BatchNorm2d(4)] * first + [nn.ReLU(), nn.Flatten()]),
        *([nn.BatchNorm1d(4 * 3 * 2)] * second + [nn.Linear(4 * 3 * 2, 2)]),
    ]
    module = nn.Sequential(*theirs)
    x = RNG.normal(size=(5, 5, 4, 3)).astype(np.float32)
    images = torch.tensor(x.transpose(0, 3, 1, 2))
    for p in module.parameters():
        p.data += 0.3 * torch.randn_like(p)
    for _ in range(3):
        module(images)
    module.eval()
    model = Sequential(*ours)
    load_torch_state_dict(model, module.state_dict())
    z = module(images).detach().numpy()
    with minidl.test_mode():
        np.testing.assert_allclose(model(x).data, z, rtol=1e-4, atol=1e-5)
    back = {name: torch.from_numpy(a) for name, a in torch_state_dict(model).items()}
    for name, value in module.state_dict().items():
        if "num_batches" not in name:
            np.testing.assert_allclose(back[name].numpy(), value.numpy(), rtol=1e-6, err_msg=name)
