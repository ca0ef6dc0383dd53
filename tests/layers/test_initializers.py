"""Initializers: their distributions, fans, and what layers do with them."""

import numpy as np
import pytest

import minidl
from minidl import initializers
from minidl.layers import MLP, BatchNorm, Embedding, LayerNorm, Linear

SHAPES = [(400, 300), (300, 400), (3, 40, 100), (3, 5, 40, 60)]
EVERY = [getattr(initializers, n) for n in initializers.__all__ if n not in ("ones", "zeros")]


def fans(shape):
    places = np.prod(shape[:-2], dtype=int)
    return places * shape[-2], places * shape[-1]


DEVIATIONS = {
    "normal": lambda fan_in, fan_out: 1.0,
    "truncated_normal": lambda fan_in, fan_out: 0.8796256610342398,
    "normal_over_sqrt_in": lambda fan_in, fan_out: fan_in**-0.5,
    "he_normal": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
    "he_uniform": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
    "xavier_normal": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "xavier_uniform": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "orthogonal": lambda fan_in, fan_out: None,
}


@pytest.mark.parametrize("init", EVERY)
@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_deviation(init, shape):
    w = init(shape, np.float64, np.random.default_rng(0))
    assert w.shape == shape and w.dtype == np.float64
    want = DEVIATIONS[init.__name__](*fans(shape))
    if want is None:  # columns, or rows, of length 1
        want = max(np.prod(shape[:-1]), shape[-1]) ** -0.5
    assert abs(w.std() / want - 1) < 0.03 and abs(w.mean()) < 0.03 * want
    if "uniform" in init.__name__:
        bound = 3**0.5 * want
        assert abs(w).max() <= bound and abs(w).max() > 0.98 * bound
        assert abs((w**4).mean() / (bound**4 / 5) - 1) < 0.03  # its fourth moment
    elif "normal" in init.__name__ and init is not initializers.truncated_normal:
        assert abs((w**4).mean() / (3 * want**4) - 1) < 0.1


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (3, 2, 5), (2, 2, 2, 9), (1, 1)])
def test_orthogonal(shape):
    w = initializers.orthogonal(shape, np.float64, np.random.default_rng(0), gain=2.0)
    q = w.reshape(-1, shape[-1]) / 2
    if q.shape[0] < q.shape[1]:
        q = q.T
    np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-12)


def test_orthogonal_matrices_have_no_preferred_sign():
    signs = [initializers.orthogonal((2, 2))[0, 0] > 0 for _ in range(200)]
    assert 60 < sum(signs) < 140


def test_the_truncated_one():
    w = initializers.truncated_normal((20000,), np.float64, np.random.default_rng(0), std=0.1)
    assert abs(w).max() <= 0.2 and (abs(w) > 0.19).any()


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal", "he_uniform", "he_normal"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pytorch_has_the_same_deviations(name, shape):
    torch = pytest.importorskip("torch")
    places = range(2, len(shape))
    theirs = torch.empty(shape[-1], shape[-2], *shape[:-2])  # (out, in, kernel..)
    getattr(torch.nn.init, name.replace("he_", "kaiming_") + "_")(theirs)
    ours = getattr(initializers, name)(shape)
    assert ours.transpose(-1, -2, *[i - 2 for i in places]).shape == tuple(theirs.shape)
    assert abs(ours.std() / theirs.std().item() - 1) < 0.04


@pytest.mark.parametrize("init", EVERY)
def test_seeds_and_dtypes(init):
    minidl.seed(3)
    first = init((4, 5))
    minidl.seed(3)
    again = init((4, 5), np.float64)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again.astype(np.float32))
    assert not np.array_equal(init((4, 5)), first)
    with pytest.raises(TypeError, match=rf"{init.__name__}: want rng to be a generator"):
        init((4, 5), rng=3)


@pytest.mark.parametrize(
    "name", [f.__name__ for f in EVERY if f.__name__ not in ("normal", "truncated_normal")]
)
def test_shapes_without_fans(name):
    shapes = [(), (0, 3)] + ([(3,)] if name != "normal_over_sqrt_in" else [])
    for shape in shapes:
        with pytest.raises(ValueError, match=f"{name}: want a shape"):
            getattr(initializers, name)(shape)


@pytest.mark.parametrize(
    "name", [f.__name__ for f in EVERY if f.__name__ not in ("normal", "truncated_normal")]
)
@pytest.mark.parametrize("shape", [(-3, 3), (3, -1, 2), (2.0, 3), ("a", 2), 3, None])
def test_lengths_that_are_none(name, shape):
    with pytest.raises(ValueError, match=f"{name}: want a shape"):
        getattr(initializers, name)(shape)


@pytest.mark.parametrize("init", EVERY)
@pytest.mark.parametrize("dtype", [int, bool, complex, None, "words"])
def test_drawn_numbers_are_floating(init, dtype):
    with pytest.raises(TypeError, match=f"^{init.__name__}: want a floating dtype"):
        init((3, 4), dtype)


SCALED = [("normal", "std"), ("truncated_normal", "std"), ("orthogonal", "gain")]
SCALED += [("xavier_normal", "gain"), ("xavier_uniform", "gain")]


@pytest.mark.parametrize(("name", "setting"), SCALED)
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "a", None, True])
def test_scales_that_are_none(name, setting, value):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: {setting} must be"):
        getattr(initializers, name)((3, 4), **{setting: value})
    assert not getattr(initializers, name)((3, 4), **{setting: 0}).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_begin_finite(value):
    for kind in (Linear, Embedding):
        with pytest.raises(ValueError, match=f"{kind.__name__}: want init to give finite numbers"):
            kind(3, 2, init=lambda shape, dtype, rng: np.full(shape, value))


@pytest.mark.parametrize("init", EVERY)
def test_layers_take_them(init):
    rng = np.random.default_rng(7)
    layer = Linear(6, rng=rng, init=init)
    layer(np.ones((2, 4)))
    np.testing.assert_array_equal(layer.w.data, init((4, 6), rng=np.random.default_rng(7)))
    mlp = MLP([3, 2], in_features=4, rng=np.random.default_rng(7), init=init)
    np.testing.assert_array_equal(mlp[0].w.data, init((4, 3), rng=np.random.default_rng(7)))
    table = Embedding(5, 3, rng=np.random.default_rng(7), init=init)
    np.testing.assert_array_equal(table.w.data, init((5, 3), rng=np.random.default_rng(7)))


def test_ones_of_the_users_own():
    layer = Linear(2, 3, init=lambda shape, dtype, rng: np.full(shape, 0.5), dtype=np.float64)
    assert (layer.w.data == 0.5).all() and not layer.b.data.any()
    with pytest.raises(
        ValueError, match=r"Linear: want init to give numbers of shape \(2, 3\), got"
    ):
        Linear(2, 3, init=lambda shape, dtype, rng: np.ones(3))
    for bad in ("he_normal", 0.1, np.ones((2, 3)), None):
        with pytest.raises(TypeError, match="Linear: want init to be a function"):
            Linear(2, 3, init=bad)


def test_constants():
    assert (initializers.ones((2, 3)) == 1).all() and initializers.ones((2,)).dtype == np.float32
    assert not Linear(3, 2, init=initializers.zeros).w.data.any()


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
def test_norms_take_them(kind):
    init = initializers.normal
    layer = kind(5, dtype=np.float64, rng=np.random.default_rng(7), init=init)
    np.testing.assert_array_equal(layer.w.data, init((5,), np.float64, np.random.default_rng(7)))
    assert (kind(5).w.data == 1).all() and not layer.b.data.any()
