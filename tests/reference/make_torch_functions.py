"""Makes torch_functions.npz: losses with options, attention and activations, as PyTorch computes them.

It needs PyTorch, and never imports minidl. The format is that of functions.npz: see README.md.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as TF

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(21)
LABELS = [0, 3, -100, 2, 2, 1]
CLASSES = [0.2, 1.5, 0.0, 3.0]
WEIGHT = [0.5, 2.0, 1.0, 0.0, 1.0, 3.0]
MASK = [[True, False, True, True], [True, True, False, False], [False, False, False, True]]


def normal(*shape):
    return rng.normal(size=shape)


def cross_entropies():
    labels = torch.tensor(LABELS)
    for options in (
        {"class_weight": CLASSES},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.3, "class_weight": CLASSES},
        {"label_smoothing": 0.1, "class_weight": CLASSES, "reduction": "sum"},
        {"label_smoothing": 0.2, "class_weight": CLASSES, "reduction": "none"},
    ):
        theirs = dict(options)
        if "class_weight" in theirs:
            theirs["weight"] = torch.tensor(theirs.pop("class_weight"))
        ours = ", ".join(f"{name}={value!r}" for name, value in options.items())
        yield (
            f"F.cross_entropy(x, np.array({LABELS}), {ours})",
            lambda x, theirs=theirs: TF.cross_entropy(x, labels, **theirs),
            {"x": 2 * normal(6, 4)},
        )
    yield (
        f"F.cross_entropy(x, np.array({LABELS}), class_weight={CLASSES}, weight={WEIGHT})",
        lambda x: weighted(x, labels),
        {"x": 2 * normal(6, 4)},
    )
    yield (
        f"F.negative_log_likelihood(F.log_softmax(x), np.array({LABELS}), class_weight={CLASSES})",
        lambda x: TF.nll_loss(TF.log_softmax(x, -1), labels, torch.tensor(CLASSES)),
        {"x": normal(6, 4)},
    )


def weighted(x, labels):
    """Sample weights beside class weights: a mean by the product of both."""
    losses = TF.cross_entropy(x, labels, torch.tensor(CLASSES), reduction="none")
    counts = torch.tensor(CLASSES)[labels.clamp(min=0)] * (labels >= 0)
    w = torch.tensor(WEIGHT)
    return (w * losses).sum() / (w * counts).sum()


def losses():
    two = {"x": normal(3, 4), "y": normal(3, 4)}
    yield "F.mean_absolute_error(x, y)", TF.l1_loss, two
    yield (
        "F.huber(x, y, 0.7, reduction='sum')",
        lambda x, y: TF.huber_loss(x, y, delta=0.7, reduction="sum"),
        two,
    )
    yield (
        "F.kl_divergence(F.log_softmax(x), F.softmax(y))",
        lambda x, y: TF.kl_div(TF.log_softmax(x, -1), TF.softmax(y, -1), reduction="batchmean"),
        two,
    )
    yield (
        "F.cosine_distance(x, y, reduction='none')",
        lambda x, y: 1 - TF.cosine_similarity(x, y, -1),
        two,
    )
    yield (
        "F.mean_squared_error(x, y, weight=[1.0, 0.0, 2.5])",
        lambda x, y: ((x - y) ** 2).mean(1) @ torch.tensor([1.0, 0.0, 2.5]) / 3.5,
        two,
    )


def attentions():
    qkv = {"q": normal(2, 3, 5), "k": normal(2, 4, 5), "v": normal(2, 4, 2)}
    past = torch.ones(3, 4, dtype=torch.bool).tril()
    for call, mask in (
        ("F.attention(q, k, v)", None),
        ("F.attention(q, k, v, causal=True)", past),
        (f"F.attention(q, k, v, np.array({MASK}))", torch.tensor(MASK)),
    ):
        yield (
            call,
            lambda q, k, v, mask=mask: TF.scaled_dot_product_attention(q, k, v, attn_mask=mask),
            qkv,
        )


def activations():
    x = {"x": 2 * normal(2, 6)}
    for name in ("elu", "selu", "silu", "mish", "softsign"):
        yield f"F.{name}(x)", getattr(TF, name), x
    yield "F.elu(x, 0.4)", lambda x: TF.elu(x, 0.4), x
    yield "F.log_sigmoid(x)", TF.logsigmoid, x
    yield "F.hard_tanh(x) ** 2", lambda x: TF.hardtanh(x) ** 2, x
    yield "F.hard_sigmoid(3 * x) ** 2", lambda x: (TF.relu6(3 * x + 3) / 6) ** 2, x
    yield "F.glu(x)", TF.glu, x


def case(call, function, inputs):
    """Value, gradient of sum(value * u), and gradient of sum(gradient * v)."""
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs.values()]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # has second orders
        value = function(*tensors)
    u = normal(*value.shape)
    first = torch.autograd.grad((value * torch.tensor(u)).sum(), tensors, create_graph=True)
    vs = [normal(*array.shape) for array in inputs.values()]
    along = sum((g * torch.tensor(v)).sum() for g, v in zip(first, vs, strict=True))
    second = torch.autograd.grad(along + 0 * sum(x.sum() for x in tensors), tensors)
    arrays = {"u": u, "value": value.detach().numpy()}
    for name, v, g, h in zip(inputs, vs, first, second, strict=True):
        arrays |= {f"input {name}": inputs[name], f"v {name}": v}
        arrays |= {f"first {name}": g.detach().numpy(), f"second {name}": h.numpy()}
    return call, arrays


def main():
    rows = [*cross_entropies(), *losses(), *attentions(), *activations()]
    cases = [case(*row) for row in rows]
    index = [
        {"call": call, "shapes": {k: a.shape for k, a in arrays.items()}} for call, arrays in cases
    ]
    numbers = np.concatenate([np.ravel(a) for _, arrays in cases for a in arrays.values()])
    assert np.isfinite(numbers).all()
    np.savez_compressed(
        Path(__file__).with_name("torch_functions.npz"),
        origin=np.array(f"PyTorch {torch.__version__}, NumPy {np.__version__}; float64, CPU"),
        index=np.array(json.dumps(index)),
        numbers=numbers,
    )
    print(f"torch_functions.npz: {len(cases)} cases, {numbers.size} numbers")


if __name__ == "__main__":
    main()
