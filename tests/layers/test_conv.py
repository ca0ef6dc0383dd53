"""Convolution and pooling layers: PyTorch's numbers, sizes, and refusals of what does not fit.

What holds for every layer is in test_every_layer.py.
"""

import numpy as np
import pytest

from minidl import Variable, layers
from minidl import functions as F
from minidl.layers import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    MaxPool1d,
    MaxPool2d,
)


def test_weights_are_normal_over_the_root_of_the_terms():
    conv = Conv2d(20, 30, kernel=5, groups=2, rng=np.random.default_rng(0))
    assert conv.w.shape == (5, 5, 10, 30) and conv.b.shape == (30,) and not conv.b.data.any()
    assert abs(conv.w.data.std() * np.sqrt(250) - 1) < 0.02


def test_input_features_are_learned_once():
    conv = Conv1d(6, kernel=3, groups=3)
    assert conv.in_features is None and repr(conv) == "Conv1d(?→6, kernel=3, groups=3)"
    assert conv(np.ones((2, 5, 9))).shape == (2, 3, 6)
    assert conv.in_features == 9 and conv.w.shape == (3, 3, 6)
    with pytest.raises(ValueError, match=r"Conv1d\(9→6.* want input \(batch, time, 9\), got"):
        conv(np.ones((2, 5, 6)))


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv2d(3, 16, kernel=3), "Conv2d(3→16, kernel=3)"),
        (
            Conv2d(4, 8, kernel=(3, 1), stride=2, padding="same", dilation=(1, 2), bias=False),
            "Conv2d(4→8, bias=False, kernel=(3, 1), stride=2, padding='same', dilation=(1, 2))",
        ),
        (Conv1d(2, 4, kernel=1, padding=2, groups=2), "Conv1d(2→4, kernel=1, padding=2, groups=2)"),
        (MaxPool2d(2), "MaxPool2d(2)"),
        (
            AvgPool2d((3, 2), stride=1, padding=(1, 0)),
            "AvgPool2d((3, 2), stride=1, padding=(1, 0))",
        ),
    ],
)
def test_they_print_what_was_given(layer, text):
    assert repr(layer) == text
    assert repr(eval(text.replace("→", ", ", 1), vars(layers))) == text


def test_a_convolution_of_one_place_is_a_linear_layer():
    conv = Conv2d(3, 5, kernel=1)
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    want = F.linear(x, conv.w.data[0, 0], conv.b.data)
    np.testing.assert_allclose(conv(x).data, want, rtol=1e-5, atol=1e-6)


def test_global_average_and_flatten():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    np.testing.assert_allclose(GlobalAvgPool()(x), x.mean((1, 2)))
    np.testing.assert_allclose(GlobalAvgPool()(x[:, 0]), x[:, 0].mean(1))
    assert Flatten()(x).shape == (2, 12) and Flatten()(x[:0]).shape == (0, 12)
    assert Flatten()(np.ones(3)).shape == (3, 1)


images = np.ones((2, 4, 5, 3))
REFUSED = [
    (
        lambda: Conv2d(3, 16, 3),
        TypeError,
        r"Conv2d: want a kernel by its name: Conv2d\(3, 16, kern",
    ),
    (lambda: Conv2d(3, 16, kernel_size=3), TypeError, "kernel_size.*'kernel'"),
    (lambda: Conv2d(3, 16, kernel=0), ValueError, "Conv2d: kernel must be at least 1"),
    (lambda: Conv2d(3, 16, kernel=2.0), TypeError, "Conv2d: kernel must be an int"),
    (lambda: Conv2d(3, 16, kernel=(3, 3, 3)), ValueError, "a number or 2 of them"),
    (lambda: Conv1d(3, 16, kernel=(3, 3)), ValueError, "Conv1d: kernel: want a number or 1"),
    (lambda: Conv2d(3, 16, kernel=3, stride=0), ValueError, "stride must be at least 1"),
    (lambda: Conv2d(3, 16, kernel=3, dilation=0), ValueError, "dilation must be at least 1"),
    (lambda: Conv2d(3, 16, kernel=3, padding=-1), ValueError, "padding must be at least 0"),
    (lambda: Conv2d(3, 16, kernel=3, padding="full"), ValueError, "'valid', 'same' or numbers"),
    (lambda: Conv2d(3, 16, kernel=3, groups=0), ValueError, "groups must be at least 1"),
    (lambda: Conv2d(4, 6, kernel=3, groups=4), ValueError, "do not divide the 6 features out"),
    (lambda: Conv2d(3, 6, kernel=3, groups=2), ValueError, "do not divide the 3 features in"),
    (lambda: Conv2d(6, kernel=3, groups=2)(images), ValueError, "do not divide the 3 features in"),
    (lambda: Conv2d(0, 6, kernel=3), ValueError, "positive integers"),
    (lambda: Conv2d(6, kernel=3)(images[0]), ValueError, r"width, in\), got \(4, 5, 3\)"),
    (lambda: Conv2d(1, 6, kernel=3)(images[..., 0]), ValueError, r"write x\[\.\.\., None\]"),
    (lambda: Conv2d(4, 6, kernel=3)(images), ValueError, r"write x.transpose\(0, 2, 3, 1\)"),
    (lambda: Conv2d(3, 6, kernel=5)(images), ValueError, r"want at least .*\(5, 5\), got \(4, 5\)"),
    (
        lambda: Conv2d(3, 6, kernel=2, dilation=4)(images),
        ValueError,
        r"\(5, 5\) with padding, for a window of \(2, 2\), got",
    ),
    (lambda: Conv2d(3, 6, kernel=3)(images.astype(int)), TypeError, "floating"),
    (lambda: MaxPool2d(0), ValueError, "MaxPool2d: size must be at least 1"),
    (lambda: MaxPool2d(2, padding=2), ValueError, "at most half of the size"),
    (lambda: MaxPool2d(2, padding="same"), ValueError, "padding: want 'valid'"),
    (lambda: MaxPool2d(2)(images[0]), ValueError, r"MaxPool2d\(2\): want input \(batch, height"),
    (lambda: MaxPool1d(2)(images), ValueError, r"want input \(batch, time, features\)"),
    (
        lambda: AvgPool1d(7)(images[0]),
        ValueError,
        r"avg_pool: want .*\(7,\) with padding.* got \(5,\)",
    ),
    (
        lambda: MaxPool1d(2, padding=1)(images[0, :, :0]),
        ValueError,
        r"at least one place.*\(0,\) and \(2,\) of",
    ),
    (lambda: Conv1d(2, kernel=3, padding=2)(images[0, :, :0]), ValueError, "at least one place"),
    (lambda: MaxPool2d(kernel_size=2), TypeError, r"'kernel_size'.*size=2"),
    (lambda: MaxPool2d(2)(images.astype(int)), TypeError, "max_pool: want floating"),
    (lambda: GlobalAvgPool()(images[0, 0]), ValueError, r"want input \(batch, .., features\)"),
    (lambda: GlobalAvgPool()(images.astype(int)), TypeError, "floating"),
    (lambda: Flatten()(np.float32(1)), ValueError, "want input"),
    (lambda: F.conv(images, np.ones((3, 3, 3))), ValueError, "conv: want x"),
    (lambda: F.conv(images, np.ones((3, 3, 2, 4))), ValueError, r"x \(\.\., in\)"),
    (lambda: F.conv(images, np.ones((3, 3, 1, 4)), groups=3), ValueError, "divided by groups=3"),
    (lambda: F.conv(images, np.ones((3, 3, 3, 4)), np.ones(3)), ValueError, r"want b \(4,\)"),
    (lambda: F.conv(images, np.ones((3, 0, 3, 4))), ValueError, "not empty"),
    (lambda: F.conv(images.astype(np.uint8), np.ones((3, 3, 3, 4))), TypeError, "floating"),
    (lambda: F.conv(images, np.ones((3, 3, 3, 4)), strides=2), TypeError, "'stride'"),
    (lambda: F.max_pool(images[0, 0], 2), ValueError, "max_pool: want x"),
    (lambda: F.max_pool(images, (2, 2, 2)), ValueError, "size: want a number or 2"),
]


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED)
def test_refusals(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_a_refused_input_leaves_a_lazy_layer_lazy():
    conv = Conv2d(6, kernel=3, groups=2)
    with pytest.raises(ValueError, match="do not divide"):
        conv(images)
    assert conv.in_features is None
    assert conv(images[..., :2]).shape == (2, 2, 3, 6)


def test_memory_is_of_the_size_of_its_arrays():
    import tracemalloc

    x = np.ones((8, 64, 64, 16), np.float32)
    conv = Conv2d(16, 16, kernel=5, padding="same")
    conv(x[:1])
    tracemalloc.start()
    a = Variable(x)
    conv(a).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * x.nbytes  # columns of all windows would be 25 times x


# ---- PyTorch -------------------------------------------------------------------------------------

CASES = [
    {"kernel": 3},
    {"kernel": 3, "padding": "same"},
    {"kernel": 4, "padding": "same", "dilation": 2},
    {"kernel": 3, "padding": 2, "stride": 2},
    {"kernel": 3, "padding": 1, "stride": 3, "dilation": 2, "groups": 2},
    {"kernel": 2, "groups": 4},
    {"kernel": 3, "out": 4, "groups": 4, "padding": 1},
    {"kernel": 3, "out": 4, "groups": 4, "padding": 1, "stride": 2, "dilation": 2},
    {"kernel": 1, "stride": 2, "padding": 1, "bias": False},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_convolutions_equal_pytorchs(settings, axes, dtype):
    torch = pytest.importorskip("torch")
    settings = {"bias": True, **settings}
    out = settings.pop("out", 8)
    conv = (Conv1d, Conv2d)[axes - 1](4, out, **settings, dtype=dtype)
    theirs = {**settings, "kernel_size": settings["kernel"]}
    del theirs["kernel"]
    twin = (torch.nn.Conv1d, torch.nn.Conv2d)[axes - 1](4, out, **theirs)
    twin = twin.to(torch.float64 if dtype == np.float64 else torch.float32)
    load(conv, twin)
    compare(conv, twin, (2, 9, 8)[: axes + 1], dtype, conv.parameters(), list(twin.parameters()))


def load(model, twin):
    import minidl

    minidl.load_torch_state_dict(model, twin.state_dict())


@pytest.mark.parametrize("args", [(2,), (3, 1), (3, 2, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("name", ["MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"])
def test_pools_equal_pytorchs(name, args):
    torch = pytest.importorskip("torch")
    lengths = (2, 9, 8) if name.endswith("2d") else (2, 9)
    ours, theirs = getattr(layers, name)(*args), getattr(torch.nn, name)(*args)
    for rounded in (False, True):  # with ties
        compare(ours, theirs, lengths, np.float64, [], [], rounded)


def compare(ours, theirs, lengths, dtype, params, their_params, rounded=False):
    """Values, gradients, and gradients of gradients, of the input and of all parameters."""
    import torch

    import minidl

    rng = np.random.default_rng(1)
    x = rng.normal(size=(*lengths, 4)).astype(dtype)
    x = x.round() if rounded else x
    tol = {"rtol": 1e-10, "atol": 1e-10} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    a = Variable(x)
    b = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    y, z = ours(a), theirs(b)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data, np.moveaxis(numbers(z), 1, -1), **tol)
    factors = rng.uniform(0.5, 1.5, y.shape).astype(dtype)
    loss = (y * y * factors).sum()
    other = (z * z * torch.from_numpy(np.moveaxis(factors, -1, 1).copy())).sum()
    for _ in range(2):
        got = minidl.gradients(loss, [a, *params], create_graph=True)
        want = torch.autograd.grad(other, [b, *their_params], create_graph=True)
        np.testing.assert_allclose(got[0].data, np.moveaxis(numbers(want[0]), 1, -1), **tol)
        for g, h in zip(got[1:], want[1:], strict=True):
            same = numbers(h) if h.ndim == 1 else np.moveaxis(numbers(h), (0, 1), (-1, -2))
            np.testing.assert_allclose(g.data, same, **tol)
        loss = sum((g * g).sum() for g in got) / y.size
        other = sum((g * g).sum() for g in want) / y.size


def numbers(tensor):
    return tensor.detach().numpy()
