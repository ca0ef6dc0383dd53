"""F.scan in C: a loop whose body is one turn, its gradient a loop backwards, both as eagerly."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl import layers, optim
from minidl.compiler.native.code import NativeProgram

pytestmark = pytest.mark.usefixtures("compiler")
LENGTH = 7
Loss = Callable[..., Any]


def numbers(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


W = numbers(3, 3, seed=1) / 2
U = numbers(3, 3, seed=2) / 2
H = numbers(2, 3, seed=3)
XS = numbers(LENGTH, 2, 3, seed=4)


def gated(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """A GRU cell by hand: gates, a candidate, and what is kept; outputs are states."""

    def step(h: Any, x: Any) -> Any:
        z = F.sigmoid(x @ w + h @ u)
        candidate = np.tanh(x @ u + (z * h) @ w)
        new = (1 - z) * h + z * candidate
        return new, new

    last, ys = F.scan(step, h, xs)
    return last.sum() + (ys * ys).sum()


def two_states(w: Any, u: Any, h: Any, xs: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        h, c = state
        c = c * F.sigmoid(h @ w) + x
        return (np.tanh(c), c), (c @ u, h)

    (h, c), (a, b) = F.scan(step, (h, h * 2), xs)
    return (h * c).sum() + (a * b).mean()


def last_alone(w: Any, u: Any, h: Any, xs: Any) -> Any:
    return (F.scan(lambda h, x: (np.sin(h @ w) + x @ u, None), h, xs)[0] ** 2).sum()


def outputs_alone(w: Any, u: Any, h: Any, xs: Any) -> Any:
    return (F.scan(lambda h, x: (np.sin(h @ w), h * x), h, xs)[1] ** 2).sum()


def used_before_and_after(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """Captured values and the first state have gradients from elsewhere, too."""
    last, _ = F.scan(lambda h, x: (np.tanh(h @ w + x), None), h * w.sum(), xs)
    return (last @ w * h).sum() + (w * u).sum()


def rows_and_numbers(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """Slices without axes, a state that is a number, reductions, a mean and a maximum."""
    times = np.linspace(0.0, 1.0, LENGTH).astype(w.dtype)

    def step(state: Any, row: Any) -> Any:
        h, total = state
        x, t = row
        h = F.softmax(h @ w + t * x, axis=-1)
        return (h, total + h.max() * t), np.mean(h - x, axis=0)

    (h, total), ys = F.scan(step, (h, xs[0, 0, 0]), (xs, times))
    return total * (h * u[:2]).sum() + ys.var()


def other_layers(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """Indices, joins, shapes and counting in a turn."""

    def step(state: Any, x: Any) -> Any:
        h, n = state
        parts = np.concatenate([h[:, 1:], x[:, :1] * n], axis=1)
        return (np.where(parts > 0, parts @ w, parts @ u), n + 1), h.reshape(-1)[::2]

    (h, n), ys = F.scan(step, (h, xs[0, 0, 0]), xs)
    return (h * n).sum() + (ys**3).sum()


def nested(w: Any, u: Any, h: Any, xs: Any) -> Any:
    def outer(h: Any, x: Any) -> Any:
        h, ys = F.scan(lambda g, y: (np.tanh(g @ w) * y + h, g), h @ u, xs[:3])
        return h + x, ys.sum(axis=0)

    last, ys = F.scan(outer, h, xs)
    return (last**2).sum() + ys.mean()


def two_loops(w: Any, u: Any, h: Any, xs: Any) -> Any:
    h, ys = F.scan(lambda h, x: (np.tanh(h @ w + x), h), h, xs)
    h, zs = F.scan(lambda h, x: (np.tanh(h @ u + x), h + x), h, ys[::-1])
    return (h * zs[2]).sum() + (ys * zs).mean()


def shared_products(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """A weight that several products of a turn share, with shapes of all kinds."""

    def step(h: Any, x: Any) -> Any:
        a = F.linear(h, w, u[0])
        b = F.linear(np.tanh(a), w, u[1])
        return a * b + x, x[0] @ w @ u[2]

    h, ys = F.scan(step, h, xs / 4)
    return h.sum() + ys.sum()


def given_twice(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """What a turn captures is also what the loop goes along, and the state begins as it."""
    last, _ = F.scan(lambda h, x: (h * 0.5 + x * xs[:3].sum(axis=0), None), xs[0], xs)
    rows, _ = F.scan(lambda g, row: (np.tanh(g @ w) * row, None), w, w)
    return (last @ u * h).sum() + (rows * u).sum()


def outputs_that_are_inputs(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """Outputs that nobody reads, one that is an input, and one that is the same at all times."""
    twice = u * 2

    def step(h: Any, x: Any) -> Any:
        return np.tanh(h @ w + x), (h * 2, x, twice * 2, np.exp(x))

    last, (_, rows, same, _) = F.scan(step, h, xs)
    return last.sum() + (rows * xs).sum() + (same[1:] * u).sum()


def turned_states(w: Any, u: Any, h: Any, xs: Any) -> Any:
    """States that are views, of other states and of results, and outputs that are views."""

    def step(state: Any, x: Any) -> Any:
        a, b, row = state
        product = np.tanh(a @ w)
        both = np.concatenate([product, b + x.sum()], axis=0)
        return (both[:3].T, a, both[4]), (product.T, both[1:3], product)

    (a, b, row), (ys, zs, same) = F.scan(step, ((w * 2).T, (u * 2).T, h[0] * 2), xs)
    return (a @ b @ row).sum() + (ys * same).sum() + (zs**2).sum()


LOSSES: list[Loss] = [
    *(gated, two_states, last_alone, outputs_alone, used_before_and_after, rows_and_numbers),
    *(other_layers, nested, two_loops, shared_products),
    *(given_twice, outputs_that_are_inputs, turned_states),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_losses_and_gradients(loss: Loss, dtype: Any) -> None:
    program = minidl.compile(minidl.value_and_grad(loss, (0, 1, 2, 3)), backend="c", check="never")
    data = [a.astype(dtype) for a in (W, U, H, XS)]
    tolerance = 1e-10 if dtype == np.float64 else 2e-4
    for scale in (1, 0.5, -1):
        args = [a * dtype(scale) for a in data]
        value, gradients = program(*args)
        want, its = minidl.value_and_grad(loss, (0, 1, 2, 3))(*args)
        np.testing.assert_allclose(value, want, rtol=tolerance)
        for g, w in zip(gradients, its, strict=True):
            assert g.dtype == w.dtype
            np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance * np.abs(w).max())
    assert ": C, " in program.status(), program.status()
    assert _loops(program.program(*data)) >= 2


def _loops(program: Any) -> int:
    """How many loops over time there are, in programs that are in C as a whole."""
    assert isinstance(program, NativeProgram) and not program.calls
    return len(re.findall(rf"ptrdiff_t t\w* = (0; t\w* < {LENGTH}|{LENGTH - 1};)", program.c))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_of_few_columns(dtype: Any) -> None:
    """Forward and both gradients, over long rows and long sums."""
    x = numbers(24, 32, dtype=dtype, seed=5)
    w = numbers(32, 3, dtype=dtype, seed=6)
    g = numbers(24, 3, dtype=dtype, seed=7)
    f = minidl.value_and_grad(lambda x, w, g: (np.tanh(x @ w) * g).sum(), (0, 1))
    program = minidl.compile(f, backend="c", check="never")
    program(x, w, g)  # it is recorded
    value, gradients = program(x, w, g)
    assert ": C, " in program.status()
    want, its = f(x, w, g)
    bound = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(value, want, rtol=bound)
    for got, g in zip(gradients, its, strict=True):
        np.testing.assert_allclose(got, g, rtol=bound, atol=bound * np.abs(g).max())


def test_a_turn_draws_anew_each_time() -> None:
    def loss(w: Any, xs: Any) -> Any:
        last, _ = F.scan(lambda h, x: (F.dropout(np.tanh(h @ w + x), 0.5), None), xs[0], xs)
        return (last**2).sum()

    program = minidl.compile(minidl.value_and_grad(loss, (0, 1)), backend="c", check="never")
    for seed in range(3):
        minidl.seed(seed)
        value, gradients = program(W, XS)
        minidl.seed(seed)
        want, its = minidl.value_and_grad(loss, (0, 1))(W, XS)
        np.testing.assert_allclose(value, want)
        for g, w in zip(gradients, its, strict=True):
            np.testing.assert_allclose(g, w)
    assert ": C, " in program.status(), program.status()


class Cell(layers.Layer):
    """A recurrent layer by hand."""

    def __init__(self, count: int, dtype: Any = np.float32) -> None:
        self.w = minidl.Parameter(numbers(count, count, dtype=dtype) / count)
        self.b = minidl.Parameter(np.zeros(count, dtype))

    def forward(self, xs: Any) -> Any:
        """The last state."""
        return F.scan(lambda h, x: (np.tanh(h @ self.w + x + self.b), None), xs[0] * 0, xs)[0]


def test_whole_steps() -> None:
    """The loss is handed out, its gradients and the update belong to the program."""
    trained = []
    xs = numbers(LENGTH, 4, 5, dtype=np.float32)
    t = numbers(4, 5, dtype=np.float32, seed=1)
    for backend in ("numpy", "c"):
        cell = Cell(5)
        rule = optim.Adam(cell, lr=0.01)

        def step(x: Any, t: Any, cell: Any = cell, rule: Any = rule) -> Any:
            rule.cleargrads()
            loss = F.mean_squared_error(cell(x), t)
            loss.backward()
            rule.update()
            return loss

        program = minidl.compile(step, backend=backend)
        losses = [program(xs, t).data.item() for _ in range(20)]
        trained.append([np.array(losses), cell.w.data, cell.b.data])
    assert ": C, " in program.status(), program.status()
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_compiling_does_not_take_longer_for_long_sequences() -> None:
    texts = []
    cell = Cell(5)
    for length in (100, 1000):
        xs = np.zeros((length, 2, 5), np.float32)
        f = minidl.compile(lambda xs: (cell(xs) ** 2).sum(), backend="c")
        f(xs)
        texts.append(f.program(xs).c.count("\n"))
    assert texts[0] == texts[1] < 1000


def test_loops_of_python_that_are_too_long_for_a_compiler_stay_in_numpy() -> None:
    def run(x: Any) -> Any:
        for _ in range(1600):
            x = np.cos(x)
        return x

    program = minidl.compile(run, backend="c", check="never")
    x = numbers(3)
    program(x)
    np.testing.assert_allclose(program(x), run(x))
    assert "NumPy, as there is no form in C for 1600 steps one after the other" in program.status()
