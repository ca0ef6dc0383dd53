"""minidl against the PyTorch that is installed, on inputs of random shapes; skipped where there is none.
Numbers that are stored, and that need no other system, are compared in `test_references.py`."""

import numpy as np
import pytest

import minidl
from minidl import Variable, optim
from minidl import functions as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

SEEDS = range(3)


def broadcastable(rng, count):
    """Shapes that broadcast against each other, of different numbers of axes, some of them empty."""
    full = rng.integers(0, 5, size=rng.integers(0, 4))
    for _ in range(count):
        shape = np.where(rng.random(full.size) < 0.3, 1, full)
        yield tuple(int(size) for size in shape[rng.integers(0, full.size + 1) :])


def matrices(rng, _):
    """Shapes that multiply: vectors, matrices, stacks of matrices."""
    n, m, k = (int(size) for size in rng.integers(1, 6, size=3))
    lead = (*broadcastable(rng, 2),)
    yield (m,) if rng.random() < 0.3 else (*lead[0], n, m)
    yield (m,) if rng.random() < 0.3 else (*lead[1], m, k)


def full(*axes):
    """Shapes of a given number of axes, none of them empty."""

    def shapes(rng, count):
        sizes = rng.integers(1, 6, size=max(axes))
        for _ in range(count):
            yield tuple(int(size) for size in sizes[: rng.choice(axes)])

    return shapes


def layer(rng, _):
    n, m, k, lead = (int(size) for size in rng.integers(1, 6, size=4))
    yield from ((lead, n, m), (m, k), (k,))


# minidl's, PyTorch's, how many inputs, their shapes, whether they must be positive
FUNCTIONS = {
    "add": (F.add, torch.add, 2, broadcastable),
    "subtract": (F.subtract, torch.subtract, 2, broadcastable),
    "multiply": (F.multiply, torch.multiply, 2, broadcastable),
    "divide": (F.divide, torch.divide, 2, broadcastable, "positive"),
    "power": (F.power, torch.pow, 2, broadcastable, "positive"),
    "maximum": (F.maximum, torch.maximum, 2, broadcastable),
    "minimum": (F.minimum, torch.minimum, 2, broadcastable),
    "where": (
        lambda x, y, z: F.where(x > y, x * y, z),
        lambda x, y, z: torch.where(x > y, x * y, z),
        3,
        broadcastable,
    ),
    "sqrt": (F.sqrt, torch.sqrt, 1, broadcastable, "positive"),
    "log": (F.log, torch.log, 1, broadcastable, "positive"),
    "exp": (F.exp, torch.exp, 1, broadcastable),
    "tanh": (F.tanh, torch.tanh, 1, broadcastable),
    "sigmoid": (F.sigmoid, torch.sigmoid, 1, broadcastable),
    "gelu": (F.gelu, TF.gelu, 1, broadcastable),
    "elu": (F.elu, TF.elu, 1, broadcastable),
    "selu": (F.selu, TF.selu, 1, broadcastable),
    "silu": (F.silu, TF.silu, 1, broadcastable),
    "mish": (F.mish, TF.mish, 1, broadcastable),
    "softsign": (F.softsign, TF.softsign, 1, broadcastable),
    "log_sigmoid": (F.log_sigmoid, TF.logsigmoid, 1, broadcastable),
    "hard_tanh": (F.hard_tanh, TF.hardtanh, 1, broadcastable),
    "hard_sigmoid": (F.hard_sigmoid, lambda x: TF.relu6(x + 3) / 6, 1, broadcastable),
    "glu": (lambda x: F.glu(x, 0), lambda x: TF.glu(x, 0), 1, lambda rng, _: [(4, 3)]),
    "logsumexp": (lambda x: F.logsumexp(x, -1), lambda x: torch.logsumexp(x, -1), 1, full(1, 2)),
    "erf": (F.erf, torch.erf, 1, broadcastable),
    "erfc": (F.erfc, torch.erfc, 1, broadcastable),
    "exp2": (F.exp2, torch.exp2, 1, broadcastable),
    "log2": (F.log2, torch.log2, 1, broadcastable, "positive"),
    "log10": (F.log10, torch.log10, 1, broadcastable, "positive"),
    "reciprocal": (F.reciprocal, torch.reciprocal, 1, broadcastable, "positive"),
    "arcsinh": (F.arcsinh, torch.asinh, 1, broadcastable),
    "arctan": (F.arctan, torch.atan, 1, broadcastable),
    "arctan2": (F.arctan2, torch.atan2, 2, broadcastable),
    "hypot": (F.hypot, torch.hypot, 2, broadcastable),
    "logaddexp": (F.logaddexp, torch.logaddexp, 2, broadcastable),
    "logaddexp2": (F.logaddexp2, torch.logaddexp2, 2, broadcastable),
    "mod": (F.mod, torch.remainder, 2, broadcastable, "positive"),
    "fmod": (F.fmod, torch.fmod, 2, broadcastable, "positive"),
    "fmax": (F.fmax, torch.fmax, 2, broadcastable),
    "fmin": (F.fmin, torch.fmin, 2, broadcastable),
    "copysign": (F.copysign, torch.copysign, 2, broadcastable),
    "sinc": (F.sinc, torch.sinc, 1, broadcastable),
    "abs sin": (lambda x: F.abs(F.sin(x)), lambda x: torch.abs(torch.sin(x)), 1, broadcastable),
    "sum": (lambda x: F.sum(x**3, axis=0), lambda x: torch.sum(x**3, 0), 1, full(1, 2, 3)),
    "mean": (lambda x: F.mean(x**3, axis=-1), lambda x: torch.mean(x**3, -1), 1, full(1, 2, 3)),
    "var": (lambda x: F.var(x, axis=0), lambda x: torch.var(x, 0, correction=0), 1, full(1, 2, 3)),
    "max": (lambda x: F.max(x, axis=-1) ** 2, lambda x: torch.amax(x, -1) ** 2, 1, full(1, 2, 3)),
    "transpose": (
        lambda x: F.transpose(x, (2, 0, 1)) ** 3,
        lambda x: x.permute(2, 0, 1) ** 3,
        1,
        full(3),
    ),
    "matmul": (F.matmul, torch.matmul, 2, matrices),
    "linear": (F.linear, lambda x, w, b: TF.linear(x, w.T, b), 3, layer),
    "softmax": (F.softmax, lambda x: TF.softmax(x, -1), 1, full(1, 2, 3)),
    "log_softmax": (F.log_softmax, lambda x: TF.log_softmax(x, -1), 1, full(1, 2, 3)),
    "mean_squared_error": (F.mean_squared_error, TF.mse_loss, 2, full(2)),
    "a small net": (
        lambda x, w, b: F.log_softmax(F.tanh(x @ w + b) / F.sum(w * w)),
        lambda x, w, b: TF.log_softmax(torch.tanh(x @ w + b) / (w * w).sum(), -1),
        3,
        layer,
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name, seed):
    ours, theirs, count, shapes, *positive = FUNCTIONS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    arrays = [rng.normal(size=shape) for shape in shapes(rng, count)]
    if positive:
        arrays = [0.2 + np.abs(array) for array in arrays]
    xs = [Variable(array) for array in arrays]
    ts = [torch.tensor(array, requires_grad=True) for array in arrays]
    y, s = ours(*xs), theirs(*ts)
    u, vs = rng.normal(size=y.shape), [rng.normal(size=array.shape) for array in arrays]

    first = minidl.gradients(F.sum(y * u), xs, create_graph=True)
    first_t = torch.autograd.grad((s * torch.tensor(u)).sum(), ts, create_graph=True)
    along = sum(F.sum(g * v) for g, v in zip(first, vs)) + sum(F.sum(x) for x in xs) * 0.0
    along_t = (
        sum((g * torch.tensor(v)).sum() for g, v in zip(first_t, vs)) + sum(t.sum() for t in ts) * 0
    )
    second, second_t = minidl.gradients(along, xs), torch.autograd.grad(along_t, ts)

    fused = minidl.gradients(F.sum(y * u), xs)
    for a, b in zip([y, *fused, *first, *second], [s, *first_t, *first_t, *second_t], strict=True):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_cross_entropy_with_ignored_labels(seed):
    rng = np.random.default_rng(seed)
    n, classes = rng.integers(2, 9, size=2)
    logits, labels = 5 * rng.normal(size=(n, classes)), rng.integers(0, classes, size=n)
    labels[rng.random(n) < 0.3] = -100
    labels[0] = 0
    x, t = Variable(logits), torch.tensor(logits, requires_grad=True)
    y, s = F.cross_entropy(x, labels), TF.cross_entropy(t, torch.tensor(labels))
    y.backward()
    s.backward()
    np.testing.assert_allclose(y.data, s.item(), rtol=1e-12)
    np.testing.assert_allclose(x.grad.data, t.grad.numpy(), rtol=1e-10, atol=1e-14)


OPTIMIZERS = {
    "SGD": ({"lr": 0.1}, torch.optim.SGD),
    "Momentum": ({"lr": 0.02, "momentum": 0.8}, torch.optim.SGD),
    "Adam": ({"lr": 0.02, "betas": (0.7, 0.9)}, torch.optim.Adam),
    "AdamW": ({"lr": 0.02, "weight_decay": 0.1}, torch.optim.AdamW),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_in_either_precision(name, dtype):
    rng = np.random.default_rng(0)
    kwargs, theirs = OPTIMIZERS[name]
    start, goal = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=(5, 3)).astype(dtype)
    p, t = minidl.Parameter(start.copy()), torch.tensor(start, requires_grad=True)
    ours, other = getattr(optim, name)([p], **kwargs), theirs([t], **kwargs)
    for _ in range(20):
        ours.cleargrads()
        other.zero_grad()
        F.sum((p - goal) ** 4).backward()
        ((t - torch.tensor(goal)) ** 4).sum().backward()
        ours.update()
        other.step()
    assert p.dtype == dtype
    np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=100 * np.finfo(dtype).eps * 20)
