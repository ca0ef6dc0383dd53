"""MultiHeadAttention, TransformerBlock and PositionalEncoding: against PyTorch, masks, sizes, errors.

What holds for every layer is in test_every_layer.py; attention itself in tests/functions.
"""

import numpy as np
import pytest

import minidl
from minidl import Variable, layers, optim
from minidl import functions as F
from minidl.interop.torch import load_torch_state_dict, torch_state_dict
from minidl.layers import MultiHeadAttention, PositionalEncoding, TransformerBlock

rng = np.random.default_rng(5)
X = rng.normal(size=(3, 5, 8))
CONTEXT = rng.normal(size=(3, 7, 8))
LENGTHS = np.array([5, 2, 4])
PADDING = np.arange(5) < LENGTHS[:, None, None]  # (batch, 1, key)


def second_orders(f, *arrays):
    """The value, the first gradients of its squares' sum, and the gradients of these gradients' sines."""
    xs = [Variable(a) for a in arrays]
    y = f(*xs)
    first = minidl.gradients((y * y).sum(), xs, create_graph=True)
    second = minidl.gradients(sum(np.sin(g).sum() for g in first), xs)
    return [v.data for v in (y, *first, *second)]


def torch_second_orders(torch, f, *arrays):
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # has second orders
        y = f(*xs)
    first = torch.autograd.grad((y * y).sum(), xs, create_graph=True)
    second = torch.autograd.grad(sum(g.sin().sum() for g in first), xs)
    return [v.detach().numpy() for v in (y, *first, *second)]


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_pytorchs(bias, causal):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(8, 2, bias=bias, batch_first=True, dtype=torch.float64)
    if bias:
        torch.nn.init.normal_(theirs.in_proj_bias)
        torch.nn.init.normal_(theirs.out_proj.bias)
    ours = MultiHeadAttention(2, bias=bias, dtype=np.float64)
    load_torch_state_dict(ours, theirs.state_dict())
    hidden = torch.tensor(~np.tri(5, dtype=bool)) if causal else None
    padding = torch.tensor(~PADDING[:, 0])

    def theirs_of(x):
        y = theirs(x, x, x, key_padding_mask=padding, attn_mask=hidden, need_weights=True)
        return y[0]

    assert_close(
        second_orders(lambda x: ours(x, mask=PADDING, causal=causal), X),
        torch_second_orders(torch, theirs_of, X),
    )
    assert_close(
        second_orders(ours, X, CONTEXT),
        torch_second_orders(torch, lambda x, c: theirs(x, c, c)[0], X, CONTEXT),
    )
    theirs.load_state_dict({k: torch.tensor(a) for k, a in torch_state_dict(ours).items()})
    again = MultiHeadAttention(2, bias=bias, dtype=np.float64)
    load_torch_state_dict(again, theirs.state_dict())
    np.testing.assert_array_equal(again(X).data, ours(X).data)


def torch_block(torch):
    block = torch.nn.TransformerEncoderLayer(
        8, 2, 12, 0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return block


def test_a_block_is_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = torch_block(torch)
    ours = TransformerBlock(2, causal=True, dtype=np.float64)
    load_torch_state_dict(ours, theirs.state_dict())
    hidden = torch.tensor(~np.tri(5, dtype=bool))
    assert_close(
        second_orders(ours, X),
        torch_second_orders(torch, lambda x: theirs(x, src_mask=hidden), X),
    )
    assert repr(ours.mlp) == "MLP(8→12→8)"


def test_gradients_of_a_blocks_weights_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = torch_block(torch)
    ours = TransformerBlock(2, dtype=np.float64)
    load_torch_state_dict(ours, theirs.state_dict())
    (theirs(torch.tensor(X)) ** 2).sum().backward()
    (ours(X) ** 2).sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    want = TransformerBlock(2, dtype=np.float64)
    load_torch_state_dict(want, gradients)  # a gradient is laid out as its weight is
    for p, q in zip(ours.parameters(), want.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.data, q.data, rtol=1e-9, atol=1e-10)


def test_blocks_in_lists_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Linear(3, 8, dtype=torch.float64),
            "blocks": torch.nn.TransformerEncoder(
                torch_block(torch), 2, enable_nested_tensor=False
            ),
            "head": torch.nn.Linear(8, 2, dtype=torch.float64),
        }
    )

    class Net(layers.Layer):
        def __init__(self):
            self.embed = layers.Linear(8, dtype=np.float64)
            self.blocks = [TransformerBlock(2, dtype=np.float64) for _ in range(2)]
            self.head = layers.Linear(2, dtype=np.float64)

        def forward(self, x):
            x = self.embed(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    ours = Net()
    load_torch_state_dict(ours, theirs.state_dict())
    x = torch.tensor(X[..., :3].copy())
    want = theirs["head"](theirs["blocks"](theirs["embed"](x)))
    np.testing.assert_allclose(ours(x.numpy()).data, want.detach().numpy(), rtol=1e-9)


def test_a_block_goes_to_a_module_with_its_names_and_back():
    torch = pytest.importorskip("torch")
    ours = TransformerBlock(2, features=8, hidden=12)
    parts = {
        "norm_1": torch.nn.LayerNorm(8),
        "attention": torch.nn.MultiheadAttention(8, 2),
        "norm_2": torch.nn.LayerNorm(8),
        "mlp": torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.GELU(), torch.nn.Linear(12, 8)),
    }
    theirs = torch.nn.ModuleDict(parts)
    theirs.load_state_dict({k: torch.tensor(a) for k, a in torch_state_dict(ours).items()})
    again = TransformerBlock(2)
    load_torch_state_dict(again, theirs.state_dict())
    np.testing.assert_array_equal(again(X).data, ours(X).data)


def test_masks_of_every_kind():
    layer = MultiHeadAttention(2, 8, dtype=np.float64)
    alone = [layer(x[None, :n]).data[0] for x, n in zip(X, LENGTHS)]
    together = layer(X, mask=PADDING).data
    for y, want, n in zip(together, alone, LENGTHS):
        np.testing.assert_allclose(y[:n], want, rtol=1e-12)
    every_head = np.broadcast_to(PADDING[:, None], (3, 2, 5, 5))
    np.testing.assert_array_equal(layer(X, mask=every_head).data, together)
    past = np.tri(5, dtype=bool)
    np.testing.assert_array_equal(layer(X, mask=past).data, layer(X, causal=True).data)
    np.testing.assert_array_equal(layer(X, mask=past.tolist()).data, layer(X, causal=True).data)
    np.testing.assert_allclose(
        layer(X[0], mask=PADDING[0]).data, layer(X, mask=PADDING).data[0], rtol=1e-12
    )


def test_padding_of_a_block_and_its_gradients():
    block = TransformerBlock(2, dtype=np.float64)
    x = Variable(X)
    y = block(x, mask=PADDING)
    (y * PADDING.swapaxes(1, 2)).sum().backward()
    for i, n in enumerate(LENGTHS):
        v = Variable(X[i, :n])
        block(v).sum().backward()
        np.testing.assert_allclose(x.grad.data[i, :n], v.grad.data, rtol=1e-9, atol=1e-12)
        assert not x.grad.data[i, n:].any()


def test_a_causal_block_does_not_look_ahead():
    block = TransformerBlock(2, causal=True)
    changed = X.copy()
    changed[:, 3:] += 1
    a, b = block(X).data, block(changed).data
    np.testing.assert_array_equal(a[:, :3], b[:, :3])
    assert not np.allclose(a[:, 3:], b[:, 3:])


def test_sizes_are_learned_and_known():
    block = TransformerBlock(2, hidden=3)
    assert repr(block.mlp) == "MLP(?→?→?)" and all(p.lazy for p in block.parameters())
    optimizer = optim.SGD(block, lr=0.1)
    block(X).sum().backward()
    optimizer.update()
    assert repr(block.mlp) == "MLP(8→3→8)"
    known = TransformerBlock(2, features=8)
    assert not any(p.lazy for p in known.parameters()) and repr(known.mlp) == "MLP(8→32→8)"
    names = [name for name, _ in known.named_parameters()]
    assert names[:2] == ["norm_1.w", "norm_1.b"] and "mlp.layers.1.b" in names
    assert {f"attention.{kind}_{part}" for kind in "wb" for part in "qkvo"} <= set(names)
    assert "8→32" in known.summary(X) and "heads=2" in known.summary(X)
    assert known.attention.w_q.shape == (8, 8) and known.attention.b_o.shape == (8,)


def test_dropout_of_what_is_added():
    block = TransformerBlock(2, dropout=0.5, dtype=np.float64)
    with minidl.test_mode():
        assert np.array_equal(block(X).data, block(X).data)
    assert not np.array_equal(block(X).data, block(X).data)


def test_positional_encoding():
    y = PositionalEncoding()(np.zeros((2, 6, 5), np.float32))
    t, i = np.arange(6)[:, None], np.arange(5)
    angles = t / 10000 ** (2 * (i // 2) / 5)
    np.testing.assert_allclose(y[1], np.where(i % 2, np.cos(angles), np.sin(angles)), atol=1e-6)
    assert y.dtype == np.float32
    x = Variable(X)
    PositionalEncoding()(x).sum().backward()
    assert (x.grad.data == 1).all()
    with pytest.raises(TypeError, match="floating"):
        PositionalEncoding()(np.ones((2, 3), int))
    with pytest.raises(ValueError, match=r"want input \(.., time, features\), got \(3,\)"):
        PositionalEncoding()(np.ones(3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: MultiHeadAttention(3, 8), ValueError, ["3 heads do not divide 8 features"]),
        (lambda: MultiHeadAttention(3)(X), ValueError, ["3 heads do not divide 8 features"]),
        (lambda: TransformerBlock(3)(X), ValueError, ["3 heads do not divide 8 features"]),
        (lambda: MultiHeadAttention(0), ValueError, ["heads"]),
        (lambda: MultiHeadAttention(2.0), TypeError, ["heads"]),
        (lambda: MultiHeadAttention(2, 8)(X[..., :6]), ValueError, ["(.., 8)", "(3, 5, 6)"]),
        (lambda: MultiHeadAttention(2)(X[0, 0]), ValueError, ["(.., time, features)", "(8,)"]),
        (
            lambda: MultiHeadAttention(2)(X, CONTEXT[:2]),
            ValueError,
            ["context (3, time, 8)", "(2, 7, 8)"],
        ),
        (lambda: MultiHeadAttention(2)(X, CONTEXT[..., :4]), ValueError, ["(.., 8)", "(3, 7, 4)"]),
        (lambda: MultiHeadAttention(2)(X, mask=PADDING[:, 0]), ValueError, ["mask", "(3, 5)"]),
        (lambda: MultiHeadAttention(2)(X, mask=PADDING * 1), TypeError, ["mask of bools", "int64"]),
        (lambda: MultiHeadAttention(2)(X.astype(int)), TypeError, ["floating"]),
        (lambda: TransformerBlock(2, hidden=0), ValueError, ["TransformerBlock: hidden"]),
        (lambda: TransformerBlock(2, dropout=1.0), ValueError, ["rate"]),
        (lambda: TransformerBlock(2)(X, mask=np.ones((3, 4, 5), bool)), ValueError, ["mask"]),
        (lambda: TransformerBlock(2, num_heads=4), TypeError, ["num_heads"]),
    ],
)
def test_what_does_not_fit(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_weights_of_another_module():
    torch = pytest.importorskip("torch")
    other = torch.nn.MultiheadAttention(8, 2, kdim=4, vdim=4)
    with pytest.raises(ValueError, match="nothing was changed"):
        load_torch_state_dict(MultiHeadAttention(2), other.state_dict())
    with pytest.raises(ValueError, match="nothing was changed"):
        load_torch_state_dict(
            MultiHeadAttention(2, bias=False), torch.nn.MultiheadAttention(8, 2).state_dict()
        )


def test_a_model_learns_to_copy():
    """Attention is what it takes: the answer stands three steps before."""
    minidl.seed(0)
    data = np.random.default_rng(0).integers(0, 6, size=(64, 9))
    model = layers.Sequential(
        layers.Embedding(6, 16),
        PositionalEncoding(),
        TransformerBlock(2, causal=True),
        layers.Linear(6),
    )
    optimizer = optim.Adam(model, lr=0.01)
    for _ in range(120):
        optimizer.cleargrads()
        loss = F.cross_entropy(model(data)[:, 3:], data[:, :-3])
        loss.backward()
        optimizer.update()
    assert loss.item() < 0.1
