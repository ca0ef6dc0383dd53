"""Linear: values, weights drawn, lazy sizes, casts, and what bad input gets."""

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable
from minidl.layers import LSTM, MLP, Linear
from minidl.layers.initializers import normal_over_sqrt_in


def test_value_and_gradients():
    layer = Linear(3, 2, dtype=np.float64)
    layer.b.data = np.array([1.0, 2.0])
    x = Variable(np.arange(6.0).reshape(2, 3))
    y = layer(x)
    np.testing.assert_allclose(y.data, x.data @ layer.w.data + [1.0, 2.0], rtol=1e-15)
    y.backward()
    np.testing.assert_allclose(layer.w.grad.data, x.data.sum(axis=0)[:, None] * [1.0, 1.0])
    np.testing.assert_allclose(layer.b.grad.data, [2.0, 2.0])
    np.testing.assert_allclose(x.grad.data, np.tile(layer.w.data.sum(axis=1), (2, 1)))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)])
def test_any_leading_axes(shape):
    assert Linear(3, 2)(np.ones(shape)).shape == (*shape[:-1], 2)


def test_weights_are_drawn_from_the_seeded_generator_or_a_given_one():
    minidl.seed(0)
    first = Linear(3, 2)
    minidl.seed(0)
    np.testing.assert_array_equal(Linear(3, 2).w.data, first.w.data)
    drawn = np.random.default_rng(5).standard_normal((3, 2)) / np.sqrt(3)
    for dtype in (np.float32, np.float64):
        layer = Linear(3, 2, dtype=dtype, rng=np.random.default_rng(5))
        np.testing.assert_array_equal(layer.w.data, drawn.astype(dtype))
        assert layer.w.dtype == layer.b.dtype == dtype and not layer.b.data.any()
    assert abs(normal_over_sqrt_in((400, 100)).std() * 20 - 1) < 0.02


def test_numpys_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # the legacy generator is what is tested
    Linear(3, 2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_input_size_learned_at_first_use():
    lazy, known = (
        Linear(2, rng=np.random.default_rng(0)),
        Linear(3, 2, rng=np.random.default_rng(0)),
    )
    w = lazy.w
    assert (
        repr(lazy) == "Linear(?→2)"
        and w.lazy
        and lazy.in_features is None
        and repr(w) == "Parameter(no data yet)"
    )
    for read in (lambda: w.data, lambda: w.shape, lambda: w.sum(), lambda: w + 1):
        with pytest.raises(RuntimeError, match=r"w of Linear\(\?→2\) has no data yet"):
            read()
    held = lazy.parameters()  # as an optimizer made before first use holds them
    lazy(np.ones((5, 3))).backward()
    assert lazy.w is w and held == [w, lazy.b] and w.grad is not None and w.name == "w"
    assert repr(lazy) == "Linear(3→2)" and lazy.in_features == 3
    np.testing.assert_array_equal(w.data, known.w.data)


def test_a_bad_first_input_draws_nothing():
    layer = Linear(2)
    with pytest.raises(TypeError):
        layer(np.ones((5, 3), int))
    for x in (np.float32(1.0), np.ones((5, 0))):
        with pytest.raises(
            ValueError, match=r"Linear\(\?→2\): want input of shape \(\.\., in\), got"
        ):
            layer(x)
    assert layer.w.lazy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_it_computes_in_the_dtype_of_its_parameters(dtype, given):
    layer, x = Linear(3, 2, dtype=dtype), Variable(np.ones((5, 3), given))
    y = layer(x)
    y.backward()
    assert y.dtype == layer.w.grad.dtype == layer.b.grad.dtype == dtype and x.grad.dtype == given
    assert layer(x.data).dtype == dtype


def test_no_bias():
    layer = Linear(3, 2, bias=False)
    assert layer.b is None and [n for n, _ in layer.named_parameters()] == ["w"]
    assert repr(layer) == "Linear(3→2, bias=False)"
    np.testing.assert_array_equal(
        layer(np.ones((1, 3))).data[0], layer.w.data.sum(axis=0, dtype=np.float32)
    )


@pytest.mark.parametrize("features", [(), (0,), (3, -1), (1, 2, 3), (2.5,), ("a", 2), (None, 3)])
def test_sizes_that_are_none(features):
    with pytest.raises(ValueError, match=r"Linear: want Linear\(out\) or Linear\(in, out\)"):
        Linear(*features)


def test_numpy_integers_are_sizes():
    assert repr(Linear(np.int64(3), np.uint8(2))) == "Linear(3→2)"


def test_a_dtype_that_is_not_floating():
    with pytest.raises(TypeError, match="Linear: want a floating dtype, got int64"):
        Linear(3, 2, dtype=int)


@pytest.mark.parametrize(
    "x", [np.ones((5, 3), int), Variable([[1, 2, 3]]), [[1, 2, 3]], np.ones((1, 3), bool)]
)
def test_integers_are_refused(x):
    with pytest.raises(
        TypeError, match=r"Linear\(3→2\): want floating input, got (int64|bool) \(\d, 3\)"
    ):
        Linear(3, 2)(x)


@pytest.mark.parametrize("x", [np.ones((5, 4)), np.ones(()), Variable(np.ones((3, 2)))])
def test_another_number_of_features(x):
    with pytest.raises(ValueError, match=r"Linear\(3→2\): want input of shape \(\.\., 3\), got "):
        Linear(3, 2)(x)


def test_parameters_given_by_hand():
    layer = Linear(2)
    layer.w.data = np.ones((3, 2))
    layer.w.name = "w"
    assert repr(layer) == "Linear(3→2)" and isinstance(layer.w, Parameter)


@pytest.mark.parametrize(
    "rng", [0, 7, np.random, "seed"]
)  # 0 above all: falsy, it would be the default unnoticed
def test_rng_is_a_generator(rng):
    with pytest.raises(
        TypeError,
        match=r"Linear: want rng to be a generator such as np\.random\.default_rng\(0\), got",
    ):
        Linear(3, 2, rng=rng)


@pytest.mark.parametrize("value", [np.ones((3, 2), np.float64), np.float64(2.0), [[1.0, 2.0]]])
def test_casting_leaves_the_input_alone(value):
    layer, x = Linear(2), np.atleast_2d(value).astype(np.float64)
    before = x.copy()
    layer(x)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: Linear(in_features=3, out_features=2), "Linear(3→2)"),
        (lambda: Linear(2, in_features=3), "Linear(3→2)"),
        (lambda: Linear(3, out_features=2), "Linear(3→2)"),
        (lambda: Linear(out_features=2, bias=False), "Linear(?→2, bias=False)"),
        (lambda: LSTM(in_features=3, out_features=2, stateful=True), "LSTM(3→2, stateful=True)"),
    ],
)
def test_sizes_by_keyword(make, shown):
    assert repr(make()) == shown


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(),
        lambda: Linear(in_features=3),
        lambda: Linear(1, 2, out_features=3),
        lambda: Linear(1, 2, in_features=3),
        lambda: Linear(out_features=0),
        lambda: Linear(in_features=2.5, out_features=1),
        lambda: Linear(True),
        lambda: Linear([3, 2]),
        lambda: Linear(3, 2, True),
    ],
)
def test_sizes_that_are_none_by_keyword(make):
    with pytest.raises(
        ValueError, match=r"Linear: want Linear\(out\) or Linear\(in, out\), positive"
    ):
        make()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((4, 3), int), TypeError, r"got int64 \(4, 3\); write x\.astype\(np\.float32\)"),
        (np.ones((4, 3), bool), TypeError, r"got bool .*; write x\.astype"),
        (np.ones((4, 3), complex), TypeError, r"got complex128 \(4, 3\)$"),
        (np.float64(3.0), ValueError, r"want input of shape \(\.\., 3\), got \(\)"),
        (np.ones((4, 5)), ValueError, r"want input of shape \(\.\., 3\), got \(4, 5\)$"),
        (np.ones((4, 3, 1)), ValueError, r"got \(4, 3, 1\); write x\.reshape\(len\(x\), -1\)"),
        (np.ones((4, 0)), ValueError, r"got \(4, 0\)"),
    ],
)
def test_bad_input_in_words(x, error, message):
    with pytest.raises(error, match=r"^Linear\(3→2\): .*" + message):
        Linear(3, 2)(x)
    lazy = Linear(2)
    if x.shape[-1:] in [(), (0,)] or error is TypeError:
        with pytest.raises(error, match=r"^Linear\(\?→2\): "):
            lazy(x)
        assert lazy.w.lazy  # nothing was drawn


def test_images_in_an_mlp_say_what_to_write():
    with pytest.raises(ValueError, match=r"got \(5, 8, 8\); write x\.reshape\(len\(x\), -1\)"):
        MLP([16, 10], in_features=64)(np.ones((5, 8, 8)))


@pytest.mark.parametrize("dtype", [int, complex, None, "nonsense"])
def test_dtypes_that_are_not_floating(dtype):
    with pytest.raises(TypeError, match="Linear: want a floating dtype, got"):
        Linear(3, 2, dtype=dtype)
