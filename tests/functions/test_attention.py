"""Attention: against PyTorch where it is installed, masks, rows that see nothing, errors.

What holds for every function is in test_catalogue.py; the layers are tested in tests/layers.
"""

import itertools
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable
from minidl import functions as F
from tests.functions.test_losses import assert_same, derivatives, torch_derivatives

rng = np.random.default_rng(3)
Q, K, V = (
    rng.normal(size=(2, 3, 5, 4)),
    rng.normal(size=(2, 3, 6, 4)),
    rng.normal(size=(2, 3, 6, 2)),
)
MASK = rng.random((2, 1, 5, 6)) < 0.6
MASK[..., 0] = True  # PyTorch has NaN where a query sees nothing


@pytest.mark.parametrize("mask", [None, MASK, MASK[0, 0]])
@pytest.mark.parametrize("causal", [False, True])
def test_it_is_pytorchs(mask: Any, causal: bool) -> None:
    torch = pytest.importorskip("torch")
    seen = np.ones((5, 6), bool) if mask is None else mask
    if causal:
        seen = seen & np.tri(5, 6, dtype=bool)

    def theirs(q: Any, k: Any, v: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=torch.tensor(seen)
        )

    ours = derivatives(lambda q, k, v: F.attention(q, k, v, mask, causal), Q, K, V)
    assert_same(ours, torch_derivatives(theirs, Q, K, V))


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_it_is_its_composition(scale: float, dtype: Any) -> None:
    near = 8 * float(np.finfo(dtype).eps)
    results = []
    for attention in (F.attention, F.attention.equals):
        xs = [Variable((a * s).astype(dtype)) for a, s in ((Q, scale), (K, 1), (V, 1))]
        y = attention(*xs, MASK, True)
        (y * y).sum().backward()
        assert y.dtype == xs[0].grad.dtype == dtype
        results.append([y.data, *(x.grad.data for x in xs)])
    for fused, plain in zip(*results, strict=True):
        size = np.absolute(plain).max()
        np.testing.assert_allclose(fused, plain, rtol=near * scale, atol=near * (10 * size + 1e-3))


def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_gradient() -> None:
    mask = MASK.copy()
    mask[0, 0, 2] = False
    for scale in (1.0, 1000.0):
        for create_graph in (False, True):
            q, k, v = Variable(Q * scale), Variable(K), Variable(V)
            y = F.attention(q, k, v, mask)
            y.backward(create_graph=create_graph)
            assert not y.data[0, :, 2].any() and not q.grad.data[0, :, 2].any()
            assert np.isfinite(k.grad.data).all() and np.isfinite(v.grad.data).all()
    nothing = F.attention(Variable(Q), Variable(K), Variable(V), np.zeros((1, 1), bool))
    nothing.backward()
    assert not nothing.data.any()


def test_what_is_masked_has_no_influence() -> None:
    k, v = K.copy(), V.copy()
    k[:, :, 4:] = 1e30
    v[:, :, 4:] = -7
    seen = np.arange(6) < 4
    np.testing.assert_allclose(
        F.attention(Q, k, v, seen), F.attention(Q, K[:, :, :4], V[:, :, :4]), rtol=1e-12
    )
    np.testing.assert_array_equal(
        F.attention(Q, K, V, causal=True)[:, :, :4],
        F.attention(Q[:, :, :4], K, V, causal=True),
    )


def test_nan_stays_where_it_is() -> None:
    q = Q.copy()
    q[0, 0, 1] = np.nan
    y = F.attention(q, K, V)
    assert np.isnan(y[0, 0, 1]).all() and np.isnan(y).sum() == 2


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((Q[..., :3], K, V), ValueError, ["(2, 3, 5, 3)", "(2, 3, 6, 4)"]),
        ((Q, K, V[:, :, :5]), ValueError, ["(2, 3, 6, 4)", "(2, 3, 5, 2)"]),
        ((Q[0, 0, 0], K, V), ValueError, ["want q floating (.., time, d)", "(4,)"]),
        ((Q, K.astype(int), V), ValueError, ["want k floating", "int64"]),
        ((Q, K, V, np.ones((5, 6))), TypeError, ["mask of bools", "float64"]),
        ((Q, K, V, [[0, 1, 1, 1, 1, 1]] * 5), TypeError, ["mask of bools", "int64"]),
        ((Q, K, V, None, MASK), TypeError, ["causal"]),
        ((Q, K, V, True), TypeError, ["mask of bools", "True"]),
        ((Q, K, V, np.ones((6, 5), bool)), ValueError, ["(2, 3, 5, 6)", "(6, 5)"]),
        ((Q, K, V, np.ones((1, 2, 3, 5, 6), bool)), ValueError, ["(1, 2, 3, 5, 6)"]),
        ((Q[:, :2], K, V), ValueError, ["attention"]),
        ((Q, K[:, :, :0], V[:, :, :0]), ValueError, ["key > 0"]),
    ],
)
def test_what_does_not_fit(arguments: Any, error: type[Exception], words: list[str]) -> None:
    q, *others = arguments
    with pytest.raises(error, match="attention: ") as caught:
        F.attention(Variable(q), *others)
    for word in words:
        assert word in str(caught.value)


def test_the_composition_runs_with_masks_that_are_variables() -> None:
    compiled = minidl.compile(lambda q, k, v, m: F.attention(q, k, v, m > 0))
    for seed in range(3):
        m = np.random.default_rng(seed).normal(size=(5, 6))
        np.testing.assert_array_equal(compiled(Q, K, V, m), F.attention(Q, K, V, m > 0))


@pytest.mark.parametrize("kinds", list(itertools.product("efd", repeat=3)), ids="".join)
def test_dtypes_as_numpy_promotes(kinds: tuple[str, ...]) -> None:
    q, k, v = [np.ones((2, 3, 4), kind) for kind in kinds]
    y = F.attention(q, k, v)
    assert y.dtype == F.attention.equals(q, k, v).dtype == np.result_type(q, k, v)
    leaves = [Variable(a) for a in (q, k, v)]
    F.attention(*leaves).sum().backward()
    assert [x.grad.dtype for x in leaves] == [a.dtype for a in (q, k, v)]
