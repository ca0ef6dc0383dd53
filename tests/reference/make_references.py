"""Makes the reference numbers of this folder in PyTorch; the functions' are checked against JAX on the way.
It never imports minidl: the tests that compare minidl with the numbers are in `../test_references.py`."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional as TF
from torch.optim.lr_scheduler import CosineAnnealingLR

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
ORIGIN = f"PyTorch {torch.__version__}, JAX {jax.__version__}, NumPy {np.__version__}; float64, CPU"
rng = np.random.default_rng(20)


def normal(*shape):
    return rng.normal(size=shape)


def positive(*shape):
    return rng.uniform(0.3, 2.5, size=shape)


def write(name, cases):
    """One vector of all numbers, and a JSON text that names each case, its call and its arrays' shapes."""
    index = [
        {
            **{key: value for key, value in case.items() if isinstance(value, str)},
            "shapes": {
                key: np.shape(value) for key, value in case.items() if not isinstance(value, str)
            },
        }
        for case in cases
    ]
    arrays = [value for case in cases for value in case.values() if not isinstance(value, str)]
    numbers = np.concatenate([np.ravel(np.asarray(array, np.float64)) for array in arrays])
    assert np.isfinite(numbers).all()
    path, text = HERE / name, json.dumps(index)
    np.savez_compressed(path, origin=np.array(ORIGIN), index=np.array(text), numbers=numbers)
    print(
        f"{name}: {len(cases)} cases, {numbers.size} numbers, {path.stat().st_size} bytes; {ORIGIN}"
    )


# --- functions: minidl's call as text, the same function in PyTorch, sample inputs

MASK = [[True, False, False], [False, True, False]]
EXTREME = np.array([-1000.0, -40.0, -1.0, 0.5, 40.0, 1000.0])
TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])


def torch_where(condition, x, y):
    return torch.where(torch.tensor(condition), x, y)


def torch_cross_entropy(x, labels, **kwargs):
    return TF.cross_entropy(
        torch.movedim(x, -1, 1) if x.ndim > 2 else x, torch.tensor(labels), **kwargs
    )


def torch_binary_cross_entropy(y, t):
    return -(t * torch.log(y) + (1 - t) * torch.log1p(-y)).mean()  # PyTorch's own is off by 1e-12


FUNCTIONS = [
    # elementwise
    ("F.add(x, y)", torch.add, {"x": normal(2, 3), "y": normal(3)}),
    ("x + 2.5 * y", lambda x, y: x + 2.5 * y, {"x": normal(2, 1, 3), "y": normal(4, 1)}),
    ("F.subtract(x, y)", torch.subtract, {"x": normal(3), "y": normal(2, 3)}),
    ("F.multiply(x, y)", torch.multiply, {"x": normal(2, 3), "y": normal(2, 1)}),
    ("F.divide(x, y)", torch.divide, {"x": normal(2, 3), "y": positive(1, 3)}),
    ("1.5 / x - x / 3", lambda x: 1.5 / x - x / 3, {"x": positive(4)}),
    ("F.negative(x)", torch.negative, {"x": normal(2, 3)}),
    ("F.power(x, y)", torch.pow, {"x": positive(2, 3), "y": normal(3)}),
    ("x ** 3", lambda x: x**3, {"x": normal(5)}),
    ("x ** 2", lambda x: x**2, {"x": np.array([-1.5, 0.0, 2.0])}),
    ("x ** -1.5", lambda x: x**-1.5, {"x": positive(5)}),
    ("2.0 ** x", lambda x: 2.0**x, {"x": normal(5)}),
    ("F.square(x)", torch.square, {"x": normal(2, 3)}),
    ("F.sqrt(x)", torch.sqrt, {"x": positive(2, 3)}),
    ("F.exp(x)", torch.exp, {"x": normal(2, 3)}),
    ("F.log(x)", torch.log, {"x": positive(2, 3)}),
    ("F.sin(x)", torch.sin, {"x": normal(2, 3)}),
    ("F.cos(x)", torch.cos, {"x": normal(2, 3)}),
    ("F.tan(x)", torch.tan, {"x": 0.5 * normal(2, 3)}),
    ("F.arctan(x)", torch.arctan, {"x": normal(2, 3)}),
    ("F.sinh(x) + F.cosh(x * x)", lambda x: torch.sinh(x) + torch.cosh(x * x), {"x": normal(2, 3)}),
    ("F.expm1(x)", torch.expm1, {"x": normal(2, 3)}),
    ("F.log1p(x)", torch.log1p, {"x": positive(2, 3)}),
    ("F.erf(x)", torch.erf, {"x": np.array([-30.0, -4.0, -1.1, 0.0, 1e-3, 0.6, 2.5, 6.0])}),
    ("F.tanh(x)", torch.tanh, {"x": normal(2, 3)}),
    ("F.tanh(x)", torch.tanh, {"x": EXTREME}),
    ("F.abs(x)", torch.abs, {"x": np.array([-1.5, -0.2, 0.0, 2.0])}),
    ("F.maximum(x, y)", torch.maximum, {"x": normal(2, 3), "y": normal(3)}),
    ("F.minimum(x, y)", torch.minimum, {"x": normal(2, 1), "y": normal(2, 3)}),
    ("F.maximum(x, 0.3) * x", lambda x: torch.maximum(x, torch.tensor(0.3)) * x, {"x": normal(6)}),
    (
        f"F.where(np.array({MASK}), x, y)",
        lambda x, y: torch_where(MASK, x, y),
        {"x": normal(2, 3), "y": normal(3)},
    ),
    (
        "F.where(x > 0, x * x, F.exp(x))",
        lambda x: torch.where(x > 0, x * x, torch.exp(x)),
        {"x": normal(6)},
    ),
    ("F.clip(x, -0.5, 0.8) ** 2", lambda x: torch.clip(x, -0.5, 0.8) ** 2, {"x": normal(3, 4)}),
    # reductions
    ("F.sum(x)", torch.sum, {"x": normal(2, 3)}),
    ("F.sum(x * x, axis=1)", lambda x: (x * x).sum(1), {"x": normal(2, 3)}),
    (
        "F.sum(x ** 3, axis=(0, -1), keepdims=True)",
        lambda x: (x**3).sum((0, 2), True),
        {"x": normal(2, 3, 2)},
    ),
    ("F.mean(x * x)", lambda x: (x * x).mean(), {"x": normal(2, 3)}),
    ("F.mean(x ** 3, axis=(0, 2))", lambda x: (x**3).mean((0, 2)), {"x": normal(2, 3, 2)}),
    ("F.var(x)", lambda x: torch.var(x, correction=0), {"x": normal(2, 3)}),
    ("F.var(x, axis=0)", lambda x: torch.var(x, 0, correction=0), {"x": normal(4, 3)}),
    (
        "F.var(x, axis=(0, 2), keepdims=True)",
        lambda x: torch.var(x, (0, 2), correction=0, keepdim=True),
        {"x": normal(2, 3, 2)},
    ),
    ("F.max(x) ** 2", lambda x: x.max() ** 2, {"x": normal(2, 3)}),
    ("F.max(x, axis=1) ** 2", lambda x: torch.amax(x, 1) ** 2, {"x": normal(2, 3)}),
    (
        "F.min(x ** 3, axis=(0, 2), keepdims=True)",
        lambda x: torch.amin(x**3, (0, 2), True),
        {"x": normal(2, 3, 2)},
    ),
    ("F.max(x, axis=1)", lambda x: torch.amax(x, 1), {"x": TIES}),
    ("F.min(x)", torch.amin, {"x": TIES}),
    # matrix products
    ("F.matmul(x, y)", torch.matmul, {"x": normal(3), "y": normal(3)}),
    ("x @ y", torch.matmul, {"x": normal(2, 3), "y": normal(3)}),
    ("x @ y", torch.matmul, {"x": normal(3), "y": normal(3, 2)}),
    ("F.matmul(x, y)", torch.matmul, {"x": normal(2, 3), "y": normal(3, 4)}),
    ("F.matmul(x, y)", torch.matmul, {"x": normal(2, 1, 2, 3), "y": normal(3, 3, 2)}),
    ("F.matmul(x, y)", torch.matmul, {"x": normal(3), "y": normal(2, 3, 2)}),
    ("F.matmul(x, y)", torch.matmul, {"x": normal(2, 2, 3), "y": normal(3)}),
    # shapes: squared, so that the second derivative says something
    ("F.reshape(x, (3, 2)) ** 2", lambda x: x.reshape(3, 2) ** 2, {"x": normal(2, 3)}),
    ("x.reshape(-1, 4) ** 2", lambda x: x.reshape(-1, 4) ** 2, {"x": normal(2, 2, 3)}),
    ("F.transpose(x) ** 2", lambda x: x.T**2, {"x": normal(2, 3)}),
    ("F.transpose(x, (2, 0, 1)) ** 2", lambda x: x.permute(2, 0, 1) ** 2, {"x": normal(2, 3, 2)}),
    ("x.T ** 2", lambda x: x.T**2, {"x": normal(2, 3)}),
    ("F.swapaxes(x, 0, 2) ** 2", lambda x: x.swapaxes(0, 2) ** 2, {"x": normal(2, 3, 2)}),
    ("F.expand_dims(x, 1) ** 2", lambda x: x[:, None] ** 2, {"x": normal(2, 3)}),
    ("F.squeeze(x, axis=1) ** 2", lambda x: x.squeeze(1) ** 2, {"x": normal(2, 1, 3)}),
    (
        "F.broadcast_to(x, (2, 2, 3)) ** 2",
        lambda x: torch.broadcast_to(x, (2, 2, 3)) ** 2,
        {"x": normal(2, 1)},
    ),
    ("F.sum_to(x, (3, 1)) ** 2", lambda x: x.sum_to_size(3, 1) ** 2, {"x": normal(2, 3, 2)}),
    (
        "F.concatenate([x, y * x[:1]], axis=0) ** 2",
        lambda x, y: torch.cat([x, y * x[:1]]) ** 2,
        {"x": normal(2, 3), "y": normal(1, 3)},
    ),
    (
        "F.concatenate((x, y), axis=-1) ** 3",
        lambda x, y: torch.cat((x, y), -1) ** 3,
        {"x": normal(2, 3), "y": normal(2, 1)},
    ),
    (
        "F.stack([x, y, x], axis=1) ** 2",
        lambda x, y: torch.stack([x, y, x], 1) ** 2,
        {"x": normal(3), "y": normal(3)},
    ),
    (
        "F.multiply(*F.split(x, 2, axis=1))",
        lambda x: torch.multiply(*x.tensor_split(2, 1)),
        {"x": normal(2, 4)},
    ),
    ("F.split(x, [1, 3])[1] ** 2", lambda x: x.tensor_split([1, 3])[1] ** 2, {"x": normal(4, 2)}),
    # indexing
    ("x[1] ** 2", lambda x: x[1] ** 2, {"x": normal(3, 2)}),
    ("x[0, -1] ** 2", lambda x: x[0, -1] ** 2, {"x": normal(3, 2)}),
    ("x[1:, ::2] ** 2", lambda x: x[1:, ::2] ** 2, {"x": normal(3, 3)}),
    ("x[::-1] ** 2", lambda x: x.flip(0) ** 2, {"x": normal(3, 2)}),
    ("x[..., None, 1] ** 2", lambda x: x[..., None, 1] ** 2, {"x": normal(2, 3)}),
    ("x[np.array([0, 2, 2, 0, -1])] ** 2", lambda x: x[[0, 2, 2, 0, -1]] ** 2, {"x": normal(3, 2)}),
    (
        "x[np.array([0, 1, 1]), np.array([2, 0, 0])] ** 2",
        lambda x: x[[0, 1, 1], [2, 0, 0]] ** 2,
        {"x": normal(2, 3)},
    ),
    (
        "x[:, np.array([[0, 1], [1, 1]])] ** 2",
        lambda x: x[:, torch.tensor([[0, 1], [1, 1]])] ** 2,
        {"x": normal(3, 2)},
    ),
    (f"x[np.array({MASK})] ** 2", lambda x: x[torch.tensor(MASK)] ** 2, {"x": normal(2, 3)}),
    (
        "F.take(x, np.array([2, 0, 2]), axis=1) ** 2",
        lambda x: x[:, [2, 0, 2]] ** 2,
        {"x": normal(2, 3)},
    ),
    # activations
    ("F.relu(x) * x", lambda x: TF.relu(x) * x, {"x": normal(2, 3)}),
    ("F.relu(x)", TF.relu, {"x": np.array([-2.0, 0.0, 3.0])}),
    ("F.sigmoid(x)", TF.sigmoid, {"x": normal(2, 3)}),
    ("F.sigmoid(x)", TF.sigmoid, {"x": EXTREME}),
    ("F.softmax(x)", lambda x: TF.softmax(x, -1), {"x": normal(2, 3)}),
    ("F.softmax(x, axis=0)", lambda x: TF.softmax(x, 0), {"x": normal(2, 3)}),
    ("F.softmax(x)", lambda x: TF.softmax(x, -1), {"x": EXTREME}),
    ("F.log_softmax(x)", lambda x: TF.log_softmax(x, -1), {"x": normal(2, 3)}),
    ("F.log_softmax(x, axis=0)", lambda x: TF.log_softmax(x, 0), {"x": normal(2, 3)}),
    ("F.log_softmax(x)", lambda x: TF.log_softmax(x, -1), {"x": EXTREME}),
    ("F.leaky_relu(x, 0.2) ** 2", lambda x: TF.leaky_relu(x, 0.2) ** 2, {"x": normal(2, 3)}),
    ("F.softplus(x)", TF.softplus, {"x": 2 * normal(2, 3)}),
    ("F.gelu(x)", TF.gelu, {"x": 2 * normal(2, 3)}),
    (
        "F.gelu(x, approximate=True)",
        lambda x: TF.gelu(x, approximate="tanh"),
        {"x": 2 * normal(2, 3)},
    ),
    (
        f"F.mask_fill(x, np.array({MASK}), -3.0) ** 2",
        lambda x: x.masked_fill(torch.tensor(MASK), -3.0) ** 2,
        {"x": normal(2, 3)},
    ),
    (
        f"F.softmax(F.mask_fill(x, np.array({MASK}), -np.inf))",
        lambda x: TF.softmax(x.masked_fill(torch.tensor(MASK), -torch.inf), -1),
        {"x": normal(2, 3)},
    ),
    # layers' functions and losses
    (
        "F.linear(x, w, b)",
        lambda x, w, b: TF.linear(x, w.T, b),
        {"x": normal(2, 3), "w": normal(3, 2), "b": normal(2)},
    ),
    ("F.linear(x, w)", lambda x, w: TF.linear(x, w.T), {"x": normal(2, 2, 3), "w": normal(3, 2)}),
    (
        "F.tanh(F.linear(x, w, b))",
        lambda x, w, b: torch.tanh(TF.linear(x, w.T, b)),
        {"x": normal(2, 2, 3), "w": normal(3, 2), "b": normal(2)},
    ),
    ("F.mean_squared_error(x, y)", TF.mse_loss, {"x": normal(2, 3), "y": normal(2, 3)}),
    (
        "F.huber(x, y, 0.7)",
        lambda x, y: TF.huber_loss(x, y, delta=0.7),
        {"x": normal(2, 3), "y": normal(2, 3)},
    ),
    (
        "F.binary_cross_entropy(F.sigmoid(x), np.array([0.0, 0.4, 1.0]))",
        lambda x: torch_binary_cross_entropy(TF.sigmoid(x), torch.tensor([0.0, 0.4, 1.0])),
        {"x": normal(3)},
    ),
    (
        "F.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0, 0.4, 0.4, 0.0, 1.0]))",
        lambda x: TF.binary_cross_entropy_with_logits(
            x, torch.tensor([0.0, 1.0, 0.4, 0.4, 0.0, 1.0])
        ),
        {"x": EXTREME},
    ),
    (
        "F.cross_entropy(x, np.array([2, 0]))",
        lambda x: torch_cross_entropy(x, [2, 0]),
        {"x": normal(2, 3)},
    ),
    (
        "F.cross_entropy(x, np.array([2, 0]))",
        lambda x: torch_cross_entropy(x, [2, 0]),
        {"x": np.array([[1000.0, 0.0, -1000.0], [3.0, 2.0, 900.0]])},
    ),
    (
        "F.cross_entropy(x, np.array([2, -100, 1, -100]))",
        lambda x: torch_cross_entropy(x, [2, -100, 1, -100]),
        {"x": normal(4, 3)},
    ),
    (
        "F.cross_entropy(x, np.array([[2, 1, 0], [1, 1, 2]]), ignore_index=1)",
        lambda x: torch_cross_entropy(x, [[2, 1, 0], [1, 1, 2]], ignore_index=1),
        {"x": normal(2, 3, 3)},
    ),
]


class JaxFunctions:
    """minidl's function names, spelled in JAX: a second opinion on what each call means."""

    def __getattr__(self, name):
        return getattr(jnp if hasattr(jnp, name) else jax.nn, name)

    def abs(self, x):
        return x * jnp.sign(x)  # jnp.abs has slope 1 at 0

    def erf(self, x):
        return jax.scipy.special.erf(x)

    def gelu(self, x, approximate=False):
        return jax.nn.gelu(x, approximate=approximate)

    def mask_fill(self, x, mask, value):
        return jnp.where(mask, value, x)

    def linear(self, x, w, b=0.0):
        return x @ w + b

    def sum_to(self, x, shape):
        lead = x.ndim - len(shape)
        axes = tuple(range(lead)) + tuple(lead + i for i, size in enumerate(shape) if size == 1)
        return x.sum(axes).reshape(shape)

    def mean_squared_error(self, x, y):
        return jnp.mean((x - y) ** 2)

    def huber(self, x, y, delta):
        d = abs(x - y)
        return jnp.mean(jnp.where(d <= delta, d * d / 2, delta * (d - delta / 2)))

    def binary_cross_entropy(self, y, t):
        return -jnp.mean(t * jnp.log(y) + (1 - t) * jnp.log1p(-y))

    def binary_cross_entropy_with_logits(self, x, t):
        return -jnp.mean(t * jax.nn.log_sigmoid(x) + (1 - t) * jax.nn.log_sigmoid(-x))

    def cross_entropy(self, x, labels, ignore_index=-100):
        kept = labels != ignore_index
        logs = jnp.take_along_axis(jax.nn.log_softmax(x), np.where(kept, labels, 0)[..., None], -1)[
            ..., 0
        ]
        return -jnp.where(kept, logs, 0).sum() / kept.sum()


def function_case(call, torch_function, inputs):
    """Value, gradient of sum(value * u), and gradient of sum(gradient * v): PyTorch's, JAX's agreeing."""
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs.values()]
    value = torch_function(*tensors)
    u = normal(*value.shape)
    vs = [normal(*array.shape) for array in inputs.values()]
    first = torch.autograd.grad((value * torch.tensor(u)).sum(), tensors, create_graph=True)
    projection = sum((g * torch.tensor(v)).sum() for g, v in zip(first, vs, strict=True))
    second = torch.autograd.grad(projection + 0 * sum(x.sum() for x in tensors), tensors)
    result = [value, *first, *second]

    def jax_value(*xs):
        return eval(call, {"F": JaxFunctions(), "np": np, **dict(zip(inputs, xs, strict=True))})

    def jax_first(*xs):
        return jax.grad(lambda xs: jnp.sum(jax_value(*xs) * u))(xs)

    def jax_projection(xs):
        return sum(jnp.sum(g * v) for g, v in zip(jax_first(*xs), vs, strict=True))

    arrays = [jnp.asarray(array) for array in inputs.values()]
    opinion = [jax_value(*arrays), *jax_first(*arrays), *jax.grad(jax_projection)(arrays)]
    result = [tensor.detach().numpy() for tensor in result]
    for ours, theirs in zip(result, opinion, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12, err_msg=call)

    n = len(inputs)
    parts = {"u": u, "value": result[0]}
    for name, v, g, h in zip(inputs, vs, result[1 : 1 + n], result[1 + n :], strict=True):
        parts |= {
            f"input {name}": inputs[name],
            f"v {name}": v,
            f"first {name}": g,
            f"second {name}": h,
        }
    return {"call": call, **parts}


# --- trajectories: model, loss and optimizer as minidl's text; data; initial weights, losses, final weights

HOOKS = {
    "": (None, 0.0),
    "WeightDecay(0.02)": (None, 0.02),
    "ClipGrad(0.15)": (0.15, 0.0),
    "ClipGrad(0.15), WeightDecay(0.02)": (0.15, 0.02),
}
OPTIMIZERS = {
    "SGD(model, lr=0.1": (torch.optim.SGD, {"lr": 0.1}),
    "Momentum(model, lr=0.1, momentum=0.9": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "Momentum(model, lr=0.1, momentum=0.9, nesterov=True": (
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "Adam(model, lr=0.02": (torch.optim.Adam, {"lr": 0.02}),
    "Adam(model, lr=0.02, betas=(0.8, 0.95), eps=1e-4": (
        torch.optim.Adam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4},
    ),
    "AdamW(model, lr=0.02, weight_decay=0.01": (
        torch.optim.AdamW,
        {"lr": 0.02, "weight_decay": 0.01},
    ),
}
# Those without hooks or another model.
MORE_OPTIMIZERS = {
    "RMSprop(model, lr=0.01": (torch.optim.RMSprop, {"lr": 0.01}),
    "RMSprop(model, lr=0.01, alpha=0.8, eps=1e-4, momentum=0.5, centered=True": (
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.8, "eps": 1e-4, "momentum": 0.5, "centered": True},
    ),
    "Adagrad(model, lr=0.1": (torch.optim.Adagrad, {"lr": 0.1}),
    "Adagrad(model, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.2, eps=1e-6": (
        torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-6},
    ),
}


def torch_mlp(activation):
    def forward(x, w0, b0, w1, b1):
        return TF.linear(activation(TF.linear(x, w0.T, b0)), w1.T, b1)

    return forward


def torch_rnn(x, w_x, w_h, b, w, c):
    state = torch.zeros(1, len(x), len(w_h))
    h, _ = torch.rnn_tanh(x, state, [w_x.T, w_h.T, b, 0 * b], True, 1, 0.0, True, False, True)
    return TF.linear(h[:, -1], w.T, c)


def torch_lstm(x, w_x, w_h, b, w, c):
    def gates(a):  # minidl's f, i, o, u are PyTorch's i, f, g, o
        f, i, o, u = a.chunk(4, -1)
        return torch.cat([i, f, u, o], -1)

    state = torch.zeros(1, len(x), len(w_h))
    h, _, _ = torch.lstm(
        x,
        (state, state),
        [gates(w_x).T, gates(w_h).T, gates(b), 0 * b],
        True,
        1,
        0.0,
        True,
        False,
        True,
    )
    return TF.linear(h[:, -1], w.T, c)


def weights(*shapes):
    return [normal(*shape) * (0.1 if len(shape) == 1 else shape[0] ** -0.5) for shape in shapes]


MLP = (4, 8), (8,), (8, 3), (3,)
RNN = (3, 5), (5, 5), (5,), (5, 2), (2,)
LSTM = (3, 20), (5, 20), (20,), (5, 2), (2,)
LABELS = rng.integers(0, 3, size=16)
# minidl's model and loss, PyTorch's, parameters, inputs and targets
MODELS = {
    "mlp tanh": (
        "MLP([8, 3], activation=F.tanh, dtype=np.float64)",
        "mean_squared_error",
        torch_mlp(torch.tanh),
        TF.mse_loss,
        weights(*MLP),
        normal(16, 4),
        normal(16, 3),
    ),
    "mlp relu": (
        "MLP([8, 3], activation=F.relu, dtype=np.float64)",
        "cross_entropy",
        torch_mlp(torch.relu),
        TF.cross_entropy,
        weights(*MLP),
        normal(16, 4),
        LABELS,
    ),
    "rnn": (
        "Last(RNN(3, 5, dtype=np.float64), Linear(5, 2, dtype=np.float64))",
        "mean_squared_error",
        torch_rnn,
        TF.mse_loss,
        weights(*RNN),
        normal(4, 6, 3),
        normal(4, 2),
    ),
    "lstm": (
        "Last(LSTM(3, 5, dtype=np.float64), Linear(5, 2, dtype=np.float64))",
        "mean_squared_error",
        torch_lstm,
        TF.mse_loss,
        weights(*LSTM),
        normal(4, 6, 3),
        normal(4, 2),
    ),
}


def trajectory_case(model, optimizer, hooks="", *, steps=25, schedule=None):
    text, loss_name, forward, loss_function, initial, x, t = MODELS[model]
    make, kwargs = (OPTIMIZERS | MORE_OPTIMIZERS)[optimizer]
    max_norm, decay = HOOKS[hooks]
    own_decay = (
        decay and make is not torch.optim.AdamW
    )  # AdamW's argument is another thing: by hand, below
    params = [torch.tensor(w, requires_grad=True) for w in initial]
    updater = make(params, **kwargs, **({"weight_decay": decay} if own_decay else {}))
    scheduler = schedule and schedule(updater)
    losses, clipped = [], 0
    for _ in range(steps):
        updater.zero_grad()
        loss = loss_function(forward(torch.tensor(x), *params), torch.tensor(t))
        loss.backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in params))
        if max_norm is not None and norm > max_norm:  # clip_grad_norm_ without its 1e-6
            clipped += 1
            for p in params:
                p.grad *= max_norm / norm
        if decay and not own_decay:
            for p in params:
                p.grad += decay * p.detach()
        updater.step()
        if scheduler:
            scheduler.step()
        losses.append(loss.item())
    assert max_norm is None or clipped > 0, (model, optimizer, losses)
    rate = f"lr={kwargs['lr']}"
    call = (
        optimizer.replace(rate, f"lr=schedules.cosine({kwargs['lr']}, {steps})")
        if schedule
        else optimizer
    )
    if hooks:
        call += ", hooks=[" + ", ".join(f"hooks.{hook}" for hook in hooks.split(", ")) + "]"
    case = {
        "model": text,
        "loss": loss_name,
        "optimizer": call + ")",
        "x": x,
        "t": t,
        "losses": losses,
    }
    case |= {f"initial {i}": w for i, w in enumerate(initial)}
    return case | {f"final {i}": p.detach().numpy() for i, p in enumerate(params)}


def trajectories():
    for model in ("mlp tanh", "mlp relu"):
        for optimizer in OPTIMIZERS:
            for hook in HOOKS:
                yield trajectory_case(model, optimizer, hook)
    for optimizer in ("SGD(model, lr=0.1", "Adam(model, lr=0.02"):
        yield trajectory_case("mlp tanh", optimizer, schedule=lambda o: CosineAnnealingLR(o, 25))
    for model in ("rnn", "lstm"):
        yield trajectory_case(model, "Adam(model, lr=0.02", steps=15)
        yield trajectory_case(model, "SGD(model, lr=0.1", "ClipGrad(0.15)", steps=15)
    for optimizer in MORE_OPTIMIZERS:
        yield trajectory_case("mlp tanh", optimizer)


if __name__ == "__main__":
    write("functions.npz", [function_case(*case) for case in FUNCTIONS])
    write("trajectories.npz", list(trajectories()))
