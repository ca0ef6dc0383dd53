"""compile(backend="c"): models and losses in C from Python, what they fall back to, and what they refuse."""

import pickle
import threading
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl import layers, optim
from minidl.compiler.native.toolchain import CompilerError

pytestmark = pytest.mark.usefixtures("compiler")


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def close(a: Any, b: Any) -> bool:
    return np.allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def in_c(function: Any, check: Any = "raise") -> Any:
    return minidl.compile(function, backend="c", check=check)


def test_a_model_in_c_is_the_model() -> None:
    model = layers.MLP([32, 10], in_features=8)
    program = in_c(model)
    with minidl.test_mode(), minidl.no_grad():
        for seed in range(4):
            x = numbers(1, 8, seed=seed)
            assert close(program(x).data, model(x).data)
    assert program.status().startswith("program 0: C, ")


def test_weights_are_read_at_each_call() -> None:
    model = layers.Linear(100, 100)
    f = in_c(lambda x: model(x), check="never")
    x = numbers(3, 100)
    f(x)
    model.w.data = numbers(100, 100, seed=7)
    assert close(f(x).data, model(x).data)
    model.w.data[...] = 2
    assert close(f(x).data, model(x).data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_and_their_gradients(dtype: Any) -> None:
    model = layers.Sequential(
        layers.Linear(7, 9, dtype=dtype), F.tanh, layers.Linear(9, 4, dtype=dtype)
    )
    program = in_c(lambda x, t: F.cross_entropy(model(x), t))
    t = np.array([0, 3, 1, 2, 0])
    for seed in range(4):
        x = numbers(5, 7, dtype=dtype, seed=seed)
        gradients = []
        for loss_of in (program, lambda x, t: F.cross_entropy(model(x), t)):
            model.cleargrads()
            loss_of(x, t).backward()
            gradients.append([p.grad.data for p in model.parameters()])
        assert all(map(close, *gradients))
    assert "C, " in program.status()


def test_a_wrong_label_is_the_error_that_it_is_eagerly() -> None:
    loss = in_c(lambda x, t: F.cross_entropy(x, t), check="never")
    x = numbers(3, 4)
    loss(x, np.array([0, 1, 2]))
    loss(x, np.array([0, 1, 3]))
    with pytest.raises(ValueError, match="label 4 is outside the 4 classes"):
        loss(x, np.array([0, 4, 2]))
    assert np.isfinite(loss(x, np.array([3, 1, 2])))


def test_arrays_in_any_order_of_memory() -> None:
    f = in_c(lambda x: (x * 2).sum(axis=0), check="never")
    x = numbers(200, 300)
    for y in (x, x.T.copy().T, np.repeat(x, 2, axis=1)[:, ::2], x[::-1]):
        assert close(f(y), (y * 2).sum(axis=0))


def test_numpy_computes_what_c_has_no_form_for() -> None:
    f = in_c(lambda x: np.exp(np.linalg.inv(x + 4 * np.eye(3))) * 2)
    for seed in range(3):
        x = numbers(3, 3, dtype=np.float64, seed=seed)
        assert close(f(x), np.exp(np.linalg.inv(x + 4 * np.eye(3))) * 2)
    assert "C, " in f.status()


def test_without_a_form_in_c_numpy_prints() -> None:
    f = in_c(lambda x: x * 2, check="never")
    x = np.ones(3, np.float16)
    assert f(x).dtype == np.float16 and f(x).dtype == np.float16
    assert "NumPy, as there is no form in C for float16" in f.status()


def test_results_are_never_written_again() -> None:
    f = in_c(lambda x: x + 1, check="never")
    first = f(np.zeros(4))
    f(np.ones(4))
    assert np.array_equal(first, np.ones(4))


def test_threads() -> None:
    f = in_c(lambda x: np.tanh(x) @ x, check="never")
    f(numbers(60, 60))
    wrong = []

    def run(seed: int) -> None:
        x = numbers(60, 60, seed=seed)
        want = np.tanh(x) @ x
        wrong.extend([i for i in range(50) if not np.allclose(f(x), want, rtol=1e-4, atol=1e-4)])

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_source_is_there_to_read() -> None:
    f = in_c(lambda x: np.exp(x) * 3)
    program = f.program(np.ones(5))
    assert "exp, multiply" in program.c and "exp_f64(" in program.c
    assert "in C" in str(program)


def test_no_compiler_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDL_CC", "no-such-compiler")
    with pytest.raises(CompilerError, match="MINIDL_CC"):
        minidl.compile(lambda x: x, backend="c")


def test_other_backends_are_refused() -> None:
    with pytest.raises(ValueError, match="backend: want one of"):
        minidl.compile(lambda x: x, backend="C")  # type: ignore[arg-type]


def step_of(make: Any, loss: Any, optimizer: Any) -> Any:
    """A whole training step of a model that is made anew."""
    minidl.seed(0)
    model = make()
    rule = optimizer(model)

    def step(x: Any, t: Any) -> Any:
        rule.cleargrads()
        y = loss(model(x), t)
        y.backward()
        rule.update()
        return y

    return model, rule, step


STEPS = {
    "MLP, SGD": (
        lambda: layers.MLP([6, 2], in_features=3, activation=F.sigmoid),
        F.mean_squared_error,
        lambda m: optim.SGD(m, lr=0.1),
        numbers(7, 3),
        numbers(7, 2),
    ),
    "MLP, Adam": (
        lambda: layers.MLP([40, 5], in_features=30),
        F.cross_entropy,
        optim.Adam,
        numbers(16, 30),
        np.arange(16) % 5,
    ),
    "LSTM": (
        lambda: layers.Sequential(layers.LSTM(2, 5), layers.Linear(5, 1)),
        F.mean_squared_error,
        lambda m: optim.SGD(m, lr=0.1),
        numbers(3, 6, 2),
        numbers(3, 6, 1),
    ),
    "GRU, last": (
        lambda: layers.Sequential(layers.GRU(2, 5, return_sequences=False), layers.Linear(5, 1)),
        F.mean_squared_error,
        optim.Adam,
        numbers(3, 6, 2),
        numbers(3, 1),
    ),
    "RNN": (
        lambda: layers.RNN(2, 5, dtype=np.float64),
        F.mean_squared_error,
        optim.Adam,
        numbers(3, 6, 2, dtype=np.float64),
        numbers(3, 6, 5, dtype=np.float64),
    ),
    "convolutions": (
        lambda: layers.Sequential(
            layers.Conv2d(1, 4, kernel=3, padding="same"),
            F.relu,
            layers.MaxPool2d(2),
            layers.Conv2d(4, 6, kernel=3, stride=2),
            layers.Flatten(),
            layers.Linear(6, 3),
        ),
        F.cross_entropy,
        optim.AdamW,
        numbers(4, 8, 8, 1),
        np.arange(4) % 3,
    ),
    "transformer": (
        lambda: layers.Sequential(
            layers.Embedding(9, 8),
            layers.TransformerBlock(2, 16, causal=True, features=8),
            layers.Linear(8, 9),
        ),
        F.cross_entropy,
        optim.AdamW,
        np.arange(10).reshape(2, 5) % 9,
        np.arange(10).reshape(2, 5) % 9,
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_whole_training_steps(name: str) -> None:
    make, loss, optimizer, x, t = STEPS[name]
    model, rule, step = step_of(make, loss, optimizer)
    losses = [step(x, t).data.item() for _ in range(8)]
    its_model, its_rule, its_step = step_of(make, loss, optimizer)
    program = in_c(its_step)
    its = [program(x, t).data.item() for _ in range(8)]
    np.testing.assert_allclose(its, losses, rtol=1e-4)
    assert "C, " in program.status(), program.status()
    assert its_rule.t == rule.t == 8
    for p, q in zip(model.parameters(), its_model.parameters(), strict=True):
        np.testing.assert_allclose(q.data, p.data, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(q.grad.data, p.grad.data, rtol=1e-2, atol=1e-4)


def test_nothing_is_written_after_a_wrong_label() -> None:
    make, loss, optimizer, x, t = STEPS["MLP, Adam"]
    model, rule, step = step_of(make, loss, optimizer)
    program = in_c(step, check="never")
    for _ in range(3):
        program(x, t)
    before = [p.data.copy() for p in model.parameters()]
    with pytest.raises(ValueError, match="label 9 is outside"):
        program(x, np.where(t == 2, 9, t))
    assert rule.t == 3
    assert all(np.array_equal(p.data, b) for p, b in zip(model.parameters(), before))
    program(x, t)
    assert rule.t == 4


class Rows(layers.Layer):
    """A GRU with a length for each row."""

    def __init__(self) -> None:
        self.gru = layers.GRU(2, 3, return_sequences=False)

    def forward(self, x: Any, n: Any) -> Any:
        return self.gru(x, lengths=n).sum()


LABELS = (lambda x, t: F.cross_entropy(x[:, 0], t), "label")


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(
    ("function", "words", "right", "wrong"),
    [
        (*LABELS, [0, 1], [[-1, 1], [0, 2]]),
        (Rows(), "lengths", [1, 4], [[0, 4], [1, 5], [-1, 4]]),
    ],
)
def test_wrong_labels_and_lengths_are_refused_as_eagerly(
    function: Any, words: str, right: Any, wrong: Any, gradient: bool
) -> None:
    program = in_c(function)
    x = minidl.Variable(numbers(2, 4, 2), requires_grad=gradient)
    for _ in range(3):
        program(x, np.array(right))
    assert program.status().startswith("program 0: C, ")
    for part in wrong:
        with pytest.raises(ValueError, match=words):
            program(x, np.array(part))


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (layers.LayerNorm(1), numbers(4, 1)),
        (layers.GRU(1, 1), numbers(1, 9, 1)),
        (layers.RNN(1, 2), numbers(1, 1, 1)),
        (layers.MultiHeadAttention(1, 2), numbers(2, 3, 2)),  # a gradient that is 0: the keys' bias
    ],
    ids=lambda part: type(part).__name__,
)
def test_sizes_of_one(model: Any, x: Any) -> None:
    program = in_c(model)
    for seed in range(3):
        gradients = []
        for f in (program, model):
            model.cleargrads()
            xs = minidl.Variable(numbers(*x.shape, seed=seed), requires_grad=True)
            y = f(xs)
            (y * np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)).sum().backward()
            gradients.append([xs.grad.data, *[p.grad.data for p in model.parameters()]])
        assert all(close(a, b) for a, b in zip(*gradients, strict=True))
    assert program.status().startswith("program 0: C, ")


def test_a_scan_is_a_loop_in_c_forwards_and_backwards() -> None:
    model = layers.MLP([8, 2], in_features=2, activation=F.tanh, dtype=np.float64)

    def loss(x: Any, inputs: Any) -> Any:
        def step(x: Any, u: Any) -> Any:
            x = x + 0.1 * model(x) + u
            return x, (x * x).sum(axis=-1)

        last, sizes = F.scan(step, x, inputs)
        return (last * last).mean() + sizes.mean()

    program = in_c(loss)
    x = numbers(3, 2, dtype=np.float64)
    inputs = numbers(40, 1, 2, dtype=np.float64)
    found = []
    for function in (loss, program, program, program):
        model.cleargrads()
        value = function(x, inputs)
        value.backward()
        found.append([value.data, *[p.grad.data for p in model.parameters()]])
    for its in found[1:]:
        assert all(np.allclose(a, b, rtol=1e-10) for a, b in zip(found[0], its, strict=True))
    assert "C, " in program.status(), program.status()
    assert len(program.programs[0].runner.code.c) < 100_000  # it does not grow with the length


def test_a_pickled_model_stays_in_c() -> None:
    model = pickle.loads(pickle.dumps(in_c(layers.Linear(3, 2), check="never")))
    with minidl.test_mode(), minidl.no_grad():
        model(numbers(2, 3))
    assert model.status().startswith("program 0: C, ")


def test_a_training_to_its_end_agrees(compiler: Any) -> None:
    # Loss and gradients become differences of nearly equal numbers: of these rounding is most.
    minidl.seed(0)
    model = layers.MLP([32, 3], in_features=8)
    optimizer = optim.Adam(model, lr=0.02)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 8)).astype(np.float32)
    t = x[:, :3].argmax(axis=1)

    def step(x: Any, t: Any) -> Any:
        optimizer.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        optimizer.update()
        return loss

    compiled = minidl.compile(step, backend="c", check="raise")
    losses = [compiled(x, t).item() for _ in range(600)]
    assert losses[-1] < 1e-3 and compiled.status().startswith("program 0: C")
