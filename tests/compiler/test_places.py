"""What calls leave for the next, in attributes, variables, dicts and lists: compiled, as eagerly.

Every program runs eagerly and compiled, side by side, with every call checked and with none.
"""

import copy
import dataclasses
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.compiler.agreement import same

Made = tuple[Callable[..., Any], Callable[[], Any]]  # the function, and what it leaves
PROGRAMS: list[Callable[[], Made]] = []
EAGER: list[Callable[[], Made]] = []


def prog(make: Callable[[], Made]) -> Callable[[], Made]:
    PROGRAMS.append(make)
    return make


def eager(make: Callable[[], Made]) -> Callable[[], Made]:
    EAGER.append(make)
    return make


def plain(x: Any) -> Any:
    """A copy of a nest, with arrays in place of Variables."""
    if isinstance(x, Variable | np.ndarray):
        return np.array(x.data if isinstance(x, Variable) else x)
    if isinstance(x, dict):
        return {key: plain(part) for key, part in x.items()}
    return type(x)(map(plain, x)) if isinstance(x, list | tuple) else copy.copy(x)


class Counted(layers.Layer):
    def __init__(self) -> None:
        self.inner = layers.Linear(4, 3)
        self.calls = 0
        self.samples = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.samples += x.shape[0]
        return self.inner(x)


def held(x: Any, *names: str) -> Callable[[], Any]:
    return lambda: [getattr(x, name) for name in names]


@prog
def counters() -> Made:
    model = Counted()
    return (lambda x, t: F.cross_entropy(model(x), t)), held(model, "calls", "samples")


@prog
def counter_in_a_step() -> Made:
    model = Counted()
    learner = optim.Adam(model, lr=0.01)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        learner.update()
        return loss

    return step, lambda: [model.calls, model.samples, learner.state_dict(), model.inner.w]


@prog
def counter_written_out() -> Made:
    class Model:
        calls = 0

        def __init__(self) -> None:
            self.calls = 0

        def loss(self, x: Any, t: Any) -> Any:
            self.calls = self.calls + 1
            return (x * x).sum()

    model = Model()
    return model.loss, held(model, "calls")


@prog
def nonlocal_counter() -> Made:
    calls = 0

    def f(x: Any, t: Any) -> Any:
        nonlocal calls
        calls += 1
        return x * 2

    return f, lambda: calls


@prog
def last_loss() -> Made:
    class Task:
        def __init__(self) -> None:
            self.model = layers.MLP([5, 3], in_features=4)
            self.learner = optim.SGD(self.model, lr=0.1)
            self.last = None
            self.size = 0

        def step(self, x: Any, t: Any) -> Any:
            self.learner.cleargrads()
            loss = F.cross_entropy(self.model(x), t)
            loss.backward()
            self.learner.update()
            self.last = loss
            self.size = len(x)
            return loss

    task = Task()
    return task.step, held(task, "last", "size")


@prog
def attention_weights_to_look_at() -> Made:
    class Attention(layers.Layer):
        def __init__(self) -> None:
            self.q = layers.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            self.weights = F.softmax(self.q(x) @ x.T)
            return self.weights @ x

    model = Attention()
    return (lambda x, t: model(x).sum()), lambda: getattr(model, "weights", None)


@prog
def hidden_by_hand() -> Made:
    class Cell(layers.Layer):
        def __init__(self) -> None:
            self.w = Parameter(np.full((4, 4), 0.1, np.float32))
            self.hidden = None

        def forward(self, x: Any) -> Any:
            if self.hidden is None:
                self.hidden = np.zeros_like(x)
            h = F.tanh(x + self.hidden @ self.w)
            self.hidden = h.detach()
            return h

    cell = Cell()
    return (lambda x, t: (cell(x) ** 2).sum()), held(cell, "hidden")


@prog
def moving_mean() -> Made:
    class Norm(layers.Layer):
        def __init__(self) -> None:
            self.w = Parameter(np.ones(4, np.float32))
            self.mean = np.zeros(4, np.float32)

        def forward(self, x: Any) -> Any:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            return (x - self.mean) * self.w

    norm = Norm()
    return (lambda x, t: (norm(x) ** 2).sum()), held(norm, "mean")


@prog
def moving_mean_in_place() -> Made:
    class Norm(layers.Layer):
        def __init__(self) -> None:
            self.w = Parameter(np.ones(4, np.float32))
            self.mean = np.zeros(4, np.float32)

        def forward(self, x: Any) -> Any:
            self.mean *= 0.9
            self.mean += 0.1 * x.mean(0)
            return x * self.w

    norm = Norm()
    learner = optim.SGD(norm, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = (norm(x) ** 2).sum()
        loss.backward()
        learner.update()
        return loss

    return step, held(norm, "mean", "w")


@prog
def nonlocal_total() -> Made:
    total = np.zeros(4)

    def f(x: Any, t: Any) -> Any:
        nonlocal total
        total = total + x.sum(0)
        return x - total

    return f, lambda: total


@prog
def nonlocal_total_in_place() -> Made:
    total = np.zeros(4)

    def f(x: Any, t: Any) -> Any:
        nonlocal total
        total += x.sum(0)
        return total * 2

    return f, lambda: total


@prog
def entry_of_a_dict() -> Made:
    stats: dict[str, Any] = {"mean": np.zeros(4), "kind": "a"}

    def f(x: Any, t: Any) -> Any:
        stats["mean"] = 0.9 * stats["mean"] + 0.1 * x.mean(0)
        return x - stats["mean"]

    return f, lambda: stats


@prog
def entry_of_a_list() -> Made:
    state = [np.zeros(4)]

    def f(x: Any, t: Any) -> Any:
        state[0] = np.tanh(state[0] + x.mean(0))
        return state[0] * 2

    return f, lambda: state


TOTAL = np.zeros(4)
SEEN = 0


@prog
def globals_of_a_module() -> Made:
    global TOTAL, SEEN
    TOTAL, SEEN = np.zeros(4), 0

    def f(x: Any, t: Any) -> Any:
        global TOTAL, SEEN
        TOTAL = TOTAL * 0.5 + x.sum(0)
        SEEN += 1
        return TOTAL.sum()

    return f, lambda: (TOTAL, SEEN)


@prog
def pair_of_states() -> Made:
    class Cell:
        def __init__(self) -> None:
            self.state = (np.zeros(4, np.float32), Variable(np.zeros(4, np.float32), False))

        def step(self, x: Any, t: Any) -> Any:
            h, c = self.state
            h = F.tanh(h + x.sum(0))
            c = c * 0.5 + h
            self.state = (h, c)
            return c.sum()

    cell = Cell()
    return cell.step, held(cell, "state")


@prog
def batch_norm() -> Made:
    model = layers.Sequential(layers.Linear(4, 6), layers.BatchNorm(6), F.relu, layers.Linear(6, 3))
    norm = model.layers[1]
    return (lambda x, t: F.cross_entropy(model(x), t)), held(norm, "mean", "var")


@prog
def batch_norm_in_a_step() -> Made:
    model = layers.Sequential(layers.Linear(6), layers.BatchNorm(), F.relu, layers.Linear(3))
    learner = optim.Adam(model, lr=0.01)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        learner.update()
        return loss

    return step, lambda: [model.state_dict(), learner.state_dict()]


@prog
def batch_norm_of_plain_arrays() -> Made:
    norm = layers.BatchNorm(4)
    return (lambda x, t: norm(x * 2)), held(norm, "mean", "var")


@prog
def buffers_of_ones_own() -> Made:
    class Scale(layers.Layer):
        buffers = ("seen", "scale")

        def __init__(self) -> None:
            self.seen = np.array(0.0)
            self.scale = np.ones(4, np.float32)

        def forward(self, x: Any) -> Any:
            self.update_buffers(seen=self.seen + 1, scale=0.9 * self.scale + 0.1 * abs(x).max(0))
            return x / self.scale

    scale = Scale()
    return (lambda x, t: scale(x).sum()), held(scale, "seen", "scale")


# ---- what has to stay eager ----------------------------------------------------------------------


@prog
def adam_by_hand() -> Made:
    class Adam:
        def __init__(self, params: list[Any]) -> None:
            self.params = params
            self.m = {i: np.zeros(p.shape, p.dtype) for i, p in enumerate(params)}
            self.t = 0
            self.rate = 0.1

        def update(self) -> None:
            self.t += 1
            self.rate *= 0.99
            for i, p in enumerate(self.params):
                self.m[i] = 0.9 * self.m[i] + 0.1 * p.grad.data
                p.data -= self.rate * self.m[i] / (1 - 0.9**self.t)

    model = layers.MLP([5, 3], in_features=4)
    learner = Adam(model.parameters())

    def step(x: Any, t: Any) -> Any:
        model.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        learner.update()
        return loss

    return step, lambda: [learner.m, learner.t, learner.rate, *model.parameters()]


@prog
def arrays_in_lists_written_in_place() -> Made:
    model = layers.MLP([5, 3], in_features=4)
    means = [np.zeros(p.shape, p.dtype) for p in model.parameters()]

    def step(x: Any, t: Any) -> Any:
        model.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        for p, m in zip(model.parameters(), means, strict=True):
            m *= 0.9
            m += 0.1 * p.grad.data
            p.data -= 0.1 * m
        return loss.data

    return step, lambda: [means, *model.parameters()]


@prog
def closed_over_array_written_in_place() -> Made:
    mean = np.zeros(4, np.float32)

    def f(x: Any, t: Any) -> Any:
        mean[:] = 0.9 * mean + 0.1 * x.mean(0)
        return x - mean

    return f, lambda: mean


@prog
def baseline() -> Made:
    class Baseline:
        def __init__(self) -> None:
            self.mean = 0.0
            self.calls = [0, 1.5]

        def advantage(self, x: Any, t: Any) -> Any:
            reward = x.sum()
            result = reward - self.mean
            self.mean = 0.9 * self.mean + 0.1 * reward
            self.calls[0] += 1
            return result * self.calls[0]

    task = Baseline()
    return task.advantage, held(task, "mean", "calls")


@prog
def size_that_is_kept() -> Made:
    class Task:
        def __init__(self) -> None:
            self.n = 1

        def f(self, x: Any, t: Any) -> Any:
            self.n = x.shape[1]
            return x[:, : self.n - 1] * self.n

    task = Task()
    return task.f, held(task, "n")


@eager
def counter_that_decides() -> Made:
    class Model:
        def __init__(self) -> None:
            self.n = 0

        def loss(self, x: Any, t: Any) -> Any:
            self.n += 1
            return x * 2 if self.n == 3 else x

    model = Model()
    return model.loss, held(model, "n")


@prog
def counter_that_scales() -> Made:
    class Model:
        def __init__(self) -> None:
            self.n = 0

        def scale(self) -> int:
            return self.n

        def loss(self, x: Any, t: Any) -> Any:
            self.n += 1
            return x * self.scale()

    model = Model()
    return model.loss, held(model, "n")


@prog
def counter_read_by_name() -> Made:
    class Model:
        def __init__(self) -> None:
            self.n = 0

        def loss(self, x: Any, t: Any) -> Any:
            self.n += 1
            return x * getattr(self, "n")  # noqa: B009  # as users write it

    model = Model()
    return model.loss, held(model, "n")


@prog
def counter_multiplied() -> Made:
    class Model:
        def __init__(self) -> None:
            self.n = 1

        def loss(self, x: Any, t: Any) -> Any:
            self.n *= 2
            return x

    model = Model()
    return model.loss, held(model, "n")


@eager
def counter_of_a_schedule() -> Made:
    class Task:
        def __init__(self) -> None:
            self.n = 0
            self.model = layers.Linear(4, 3)
            self.learner = optim.SGD(self.model, lr=lambda t: 0.1 / (1 + self.n))

        def step(self, x: Any, t: Any) -> Any:
            self.n += 1
            self.learner.cleargrads()
            loss = F.cross_entropy(self.model(x), t)
            loss.backward()
            self.learner.update()
            return loss

    task = Task()
    return task.step, lambda: [task.n, task.model.w]


@eager
def attribute_that_a_hook_writes() -> Made:
    class Task:
        def __init__(self) -> None:
            self.norm = np.zeros(())
            self.model = layers.Linear(4, 3)
            self.learner = optim.SGD(self.model, lr=0.1, hooks=[self.hook])

        def hook(self, gradients: Any) -> None:
            self.norm = np.linalg.norm(gradients.flat)

        def step(self, x: Any, t: Any) -> Any:
            self.learner.cleargrads()
            loss = F.cross_entropy(self.model(x), t)
            loss.backward()
            self.learner.update()
            return loss, self.norm

    task = Task()
    return task.step, lambda: [task.norm, task.model.w]


@eager
def entry_that_a_schedule_reads() -> Made:
    stats = {"scale": np.ones(1)}
    model = layers.Linear(4, 3)
    learner = optim.SGD(model, lr=lambda t: 0.1 / float(stats["scale"][0]))

    def step(x: Any, t: Any) -> Any:
        stats["scale"] = stats["scale"] + 1
        learner.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        learner.update()
        return loss

    return step, lambda: [stats, model.w]


@prog
def nonlocal_counter_that_is_read() -> Made:
    calls = 0

    def f(x: Any, t: Any) -> Any:
        nonlocal calls
        calls += 1
        return x * calls

    return f, lambda: calls


@eager
def counter_in_a_copy() -> Made:
    @dataclasses.dataclass
    class Model:
        n: int = 0

        def loss(self, x: Any, t: Any) -> Any:
            self.n += 1
            return x * dataclasses.asdict(self)["n"]

    model = Model()
    return model.loss, held(model, "n")


@eager
def growing_list() -> Made:
    losses: list[Any] = []

    def f(x: Any, t: Any) -> Any:
        losses.append(x.sum())
        return losses[-1]

    return f, lambda: losses


def run(make: Callable[[], Made], check: Any) -> tuple[list[Any], Any]:
    """What 12 calls give and leave; ``check`` None: eagerly."""
    minidl.seed(0)
    rng = np.random.default_rng(0)
    function, look = make()
    f = function if check is None else minidl.compile(function, check=check)
    found = []
    for _ in range(12):
        x = rng.standard_normal((5, 4)).astype(np.float32)
        t = rng.integers(0, 3, 5)
        result = f(x, t)
        gradients = []
        learns = "learner" in (*function.__code__.co_freevars, *function.__code__.co_names)
        if not learns and getattr(result, "requires_grad", False):
            result.sum().backward()
            leaves = [c.cell_contents for c in function.__closure__ or ()]
            models = [m for m in leaves if isinstance(m, layers.Layer)]
            gradients = [p.grad for m in models for p in m.parameters()]
        found.append(plain([result, gradients, look()]))
    return found, f


def compare(make: Callable[[], Made], check: Any) -> Any:
    want = run(make, None)[0]
    got, f = run(make, check)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert same(a, b), f"call {i}: {a!r}, want {b!r}"
    return f


@pytest.mark.parametrize("check", ["raise", "never"])
@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_it_is_compiled_and_right(make: Callable[[], Made], check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "NumPy" in compare(make, check).status()


@pytest.mark.parametrize("make", EAGER, ids=lambda make: make.__name__)
def test_it_goes_on_eagerly_and_right(make: Callable[[], Made]) -> None:
    with pytest.warns(UserWarning, match="goes on eagerly|keeps changing"):
        compare(make, "never")


def test_an_output_that_others_set_is_written_again() -> None:
    class Model:
        def __init__(self) -> None:
            self.size = 0

        def loss(self, x: Any) -> Any:
            self.size = len(x)
            return x.sum()

    model = Model()
    f = minidl.compile(model.loss, check="never")
    for _ in range(4):
        model.size = -1
        f(np.ones(3))
        assert model.size == 3
    assert "NumPy" in f.status()


def test_an_array_written_in_place_stays_the_same_array() -> None:
    total = np.zeros(3)

    def f(x: Any) -> Any:
        nonlocal total
        total += x
        return total * 2

    compiled = minidl.compile(f, check="never")
    first = total
    for i in range(5):
        compiled(np.ones(3))
        assert total is first and total[0] == i + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(3):  # now an argument is the array that is written into
            assert compiled(total).tolist() == [(5 + 1 - 1) * 2.0 ** (i + 1) * 2] * 3


def test_states_that_share_an_array_go_on_sharing_it() -> None:
    class Model:
        def __init__(self) -> None:
            self.a, self.b = np.zeros(3), np.ones(3)

        def step(self, x: Any, tie: bool) -> Any:
            if tie:
                self.a = self.b
            self.b += x
            return self.a * 1.0

    def both(compile: bool) -> list[Any]:
        model = Model()
        step = minidl.compile(model.step, check="never") if compile else model.step
        return [step(np.full(3, float(i)), i % 3 == 0).tolist() for i in range(12)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert both(True) == both(False)


def test_what_is_left_with_its_graph_does_not_keep_older_ones() -> None:
    class Model(layers.Layer):
        def __init__(self) -> None:
            self.inner = layers.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            self.scores = self.inner(x)
            return self.scores * 2

    model = Model()
    f = minidl.compile(lambda x: model(x).sum(), check="never")
    x = np.ones((2, 4), np.float32)
    for _ in range(4):
        f(x)
    older = weakref.ref(model.scores)
    f(x)
    f(x)
    assert older() is None
    assert not any(v.shape == (2, 4) for v in f.program(x).inputs[1:])
    model.scores.sum().backward()
    assert model.inner.w.grad is not None


def test_errors_leave_states_as_they_were() -> None:
    norm = layers.BatchNorm(4)
    f = minidl.compile(lambda x, t: F.cross_entropy(norm(x), t))
    x, t = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), np.zeros(5, int)
    for _ in range(3):
        f(x, t)
    with pytest.raises((ValueError, IndexError)):
        f(x, t + 9)
    assert norm.mean.shape == (4,)
