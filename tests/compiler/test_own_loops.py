"""Steps without an optimizer, which read ``.grad`` and write ``.data``: compiled, and as eagerly.

Every program runs eagerly and compiled, side by side, with every call checked and with none.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.compiler.agreement import same

Step = Callable[..., Any]
Made = tuple[Step, Callable[[], Any]]  # the step, and what it leaves
RATE = 0.05
PROGRAMS: list[Callable[[], Made]] = []
EAGER: list[Callable[[], Made]] = []


def prog(make: Callable[[], Made]) -> Callable[[], Made]:
    PROGRAMS.append(make)
    return make


def eager(make: Callable[[], Made]) -> Callable[[], Made]:
    EAGER.append(make)
    return make


def left_in(*held: Any) -> Callable[[], Any]:
    """What is in Variables, gradients and optimizers."""

    def look() -> Any:
        found: list[Any] = []
        for x in held:
            if isinstance(x, Variable):
                grad = None if x.grad is None else x.grad.data.copy()
                found += [x.data.copy(), grad, x.requires_grad]
            else:
                found.append(x.state_dict())
        return found

    return look


def net() -> Any:
    return layers.MLP([6, 3], in_features=4)


def loss_of(model: Any, x: Any, t: Any) -> Any:
    return F.cross_entropy(model(x), t)


@prog
def rosenbrock() -> Made:
    x0, x1 = Variable(np.float64(-1.2)), Variable(np.float64(1.0))

    def step(x: Any, t: Any) -> Any:
        x0.cleargrad()
        x1.cleargrad()
        loss = 100 * (x1 - x0**2) ** 2 + (x0 - 1) ** 2
        loss.backward()
        x0.data -= 1e-3 * x0.grad
        x1.data -= 1e-3 * x1.grad
        return loss

    return step, left_in(x0, x1)


@prog
def gradient_descent() -> Made:
    model = net()

    def step(x: Any, t: Any) -> Any:
        model.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        for p in model.parameters():
            p.data -= RATE * p.grad.data
        return loss

    return step, left_in(*model.parameters())


@prog
def new_arrays() -> Made:
    model = net()

    def step(x: Any, t: Any) -> Any:
        model.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        for p in model.parameters():
            p.data = p.data - RATE * p.grad.data
        return loss

    return step, left_in(*model.parameters())


@prog
def decayed() -> Made:
    w = Parameter(np.ones((4, 3), np.float32))

    def step(x: Any, t: Any) -> Any:
        w.cleargrad()
        loss = F.cross_entropy(x @ w, t)
        loss.backward()
        w.data *= 0.99
        w.data -= RATE * w.grad
        return loss, (w * w).sum()

    return step, left_in(w)


@prog
def clipped_weights() -> Made:
    model = net()
    learner = optim.SGD(model, lr=0.5)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        learner.update()
        for p in model.parameters():
            p.data = np.clip(p.data, -0.1, 0.1)
        return loss

    return step, left_in(*model.parameters(), learner)


@prog
def clipped_in_place() -> Made:
    model = net()
    learner = optim.Adam(model, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        learner.update()
        for p in model.parameters():
            p.data[...] = np.clip(p.data, -0.1, 0.1)
        return loss

    return step, left_in(*model.parameters(), learner)


@prog
def clipped_into() -> Made:
    model = net()

    def step(x: Any, t: Any) -> Any:
        model.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        for p in model.parameters():
            np.subtract(p.data, RATE * p.grad.data, out=p.data)
            np.clip(p.data, -0.1, 0.1, out=p.data)
        return loss

    return step, left_in(*model.parameters())


@prog
def clipped_before_the_update() -> Made:
    model = net()
    learner = optim.Momentum(model, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        for p in model.parameters():
            p.data = np.clip(p.data, -0.3, 0.3)
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        learner.update()
        return loss

    return step, left_in(*model.parameters(), learner)


@prog
def averaged_weights() -> Made:
    model, mean = net(), net()
    learner = optim.SGD(model, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        learner.update()
        for avg, p in zip(mean.parameters(), model.parameters(), strict=True):
            avg.data = 0.9 * avg.data + 0.1 * p.data
        return loss

    return step, left_in(*model.parameters(), *mean.parameters())


@prog
def averaged_alone() -> Made:
    model, mean = net(), net()

    def step(x: Any, t: Any) -> None:
        for avg, p in zip(mean.parameters(), model.parameters(), strict=True):
            avg.data *= 0.9
            avg.data += 0.1 * p.data

    return step, left_in(*model.parameters(), *mean.parameters())


@prog
def clipped_gradients() -> Made:
    model = net()
    learner = optim.SGD(model, lr=0.5)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        norm = np.sqrt(sum((p.grad.data**2).sum() for p in model.parameters()))
        scale = np.minimum(1.0, 0.1 / (norm + 1e-6))
        for p in model.parameters():
            p.grad.data *= scale
        learner.update()
        return loss, norm

    return step, left_in(*model.parameters(), learner)


@prog
def gradients_assigned() -> Made:
    model = net()
    learner = optim.SGD(model, lr=0.5)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        for p in model.parameters():
            p.grad = p.grad * 0.5
        for p in model.parameters():
            p.grad = np.clip(p.grad.data, -0.1, 0.1)
        learner.update()
        return loss

    return step, left_in(*model.parameters(), learner)


@prog
def norm_as_a_metric() -> Made:
    model = net()
    learner = optim.Adam(model, lr=0.01)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        norms = [np.linalg.norm(p.grad.data) for p in model.parameters()]
        learner.update()
        return {"loss": loss, "norms": norms, "first": model.parameters()[0].grad}

    return step, left_in(*model.parameters(), learner)


@prog
def accumulated() -> Made:
    model = net()

    def step(x: Any, t: Any) -> Any:
        loss = loss_of(model, x, t)
        loss.backward()
        return loss, [(p.grad * p.grad).sum() for p in model.parameters()]

    return step, left_in(*model.parameters())


@prog
def momentum_of_ones_own() -> Made:
    model = net()
    velocity = [Variable(np.zeros(p.shape, p.dtype), False) for p in model.parameters()]

    def step(x: Any, t: Any) -> Any:
        model.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        for p, v in zip(model.parameters(), velocity, strict=True):
            v.data = 0.9 * v.data - RATE * p.grad.data
            p.data += v.data
        return loss

    return step, left_in(*model.parameters(), *velocity)


@prog
def two_steps_in_one() -> Made:
    w = Parameter(np.ones((4, 3)))

    def step(x: Any, t: Any) -> Any:
        losses = []
        for _ in range(2):
            w.cleargrad()
            loss = F.cross_entropy(x @ w, t)
            loss.backward()
            w.data -= RATE * w.grad.data
            losses.append(loss)
        return losses, w.data.sum()

    return step, left_in(w)


@prog
def critic() -> Made:
    model = net()
    learner = optim.SGD(model, lr=0.2)

    def step(x: Any, t: Any) -> Any:
        for _ in range(2):
            learner.cleargrads()
            loss = loss_of(model, x, t)
            loss.backward()
            learner.update()
            for p in model.parameters():
                p.data = np.clip(p.data, -0.2, 0.2)
        return loss

    return step, left_in(*model.parameters(), learner)


@prog
def elements() -> Made:
    w = Parameter(np.ones((4, 3), np.float32))

    def step(x: Any, t: Any) -> Any:
        w.cleargrad()
        loss = F.cross_entropy(x @ w, t)
        loss.backward()
        w.data[0] = 0
        w.data[1:, 0] = w.data[1:, 0] - 0.1 * w.grad.data[1:, 0]
        return loss

    return step, left_in(w)


@prog
def numbers_and_lists() -> Made:
    w, c = Variable(np.float32(2.0)), Variable(np.zeros(3), False)

    def step(x: Any, t: Any) -> Any:
        y = (w * x).sum()
        w.data = 3.0
        c.data = [1.0, 2.0, 3.0]
        c.data += x.sum()
        return y.data, w.data + 1

    return step, left_in(w, c)


@prog
def a_gradient_of_ones_own() -> Made:
    w = Parameter(np.ones((4, 3), np.float32))

    def step(x: Any, t: Any) -> Any:
        w.cleargrad()
        y = F.tanh(x @ w)
        y.backward(y.data - 0.5, retain_graph=True)
        w.data -= RATE * w.grad.data
        return y

    return step, left_in(w)


def with_rate(before: Callable[[Any], object], after: Callable[[Any], object]) -> Made:
    """A step that does something with its optimizer before and after the update."""
    model = net()
    learner = optim.Adam(model, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        first = before(learner)
        learner.cleargrads()
        loss = loss_of(model, x, t)
        loss.backward()
        learner.update()
        return loss, first, after(learner)

    look = left_in(*model.parameters(), learner)
    return step, lambda: [look(), learner.lr if not callable(learner.lr) else 0]


def set_rate(rate: Callable[[Any], Any]) -> Callable[[Any], None]:
    def run(learner: Any) -> None:
        learner.lr = rate(learner)

    return run


@prog
def rate_decays() -> Made:
    return with_rate(lambda o: None, set_rate(lambda o: o.lr * 0.9))


@prog
def rate_by_hand() -> Made:
    return with_rate(set_rate(lambda o: 0.1 / (1 + o.t) ** 0.5), lambda o: o.t)


@prog
def rate_is_set() -> Made:
    return with_rate(set_rate(lambda o: 0.05), lambda o: (o.lr, o.current_lr * 2))


@prog
def schedule_is_set() -> Made:
    schedule = lambda t: 0.1 / (1 + t)
    return with_rate(set_rate(lambda o: schedule), lambda o: o.current_lr)


@prog
def setting_is_read_and_set() -> Made:
    model = net()
    learner = optim.Momentum(model, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = loss_of(model, x, t) * (1 - learner.momentum)
        loss.backward()
        learner.update()
        learner.momentum = learner.momentum * 0.95
        return loss

    look = left_in(*model.parameters(), learner)
    return step, lambda: [look(), learner.momentum]


@prog
def loss_by_the_rate() -> Made:
    return with_rate(lambda o: None, lambda o: np.float32(2.0) * o.current_lr)


@eager
def count_that_decides() -> Made:
    return with_rate(lambda o: 1.0 if o.t > 3 else 2.0, lambda o: None)


@eager
def schedule_with_a_branch() -> Made:
    def before(learner: Any) -> None:
        learner.lr = 0.1 * min(1.0, learner.t / 3)

    return with_rate(before, lambda o: None)


# ---- what others may see, and what is left to eager code -----------------------------------------


@eager
def shared_memory() -> Made:
    w, v = Parameter(np.ones((4, 3))), Parameter(np.ones((4, 3)))

    def step(x: Any, t: Any) -> Any:
        w.cleargrad()
        loss = F.cross_entropy(x @ w, t)
        loss.backward()
        w.data -= RATE * w.grad.data
        v.data = w.data
        return loss

    return step, left_in(w, v)


@eager
def a_view_from_before() -> Made:
    w = Parameter(np.ones((4, 3)))

    def step(x: Any, t: Any) -> Any:
        first = w.data[0]
        w.data *= 0.9
        return first * 2

    return step, left_in(w)


@eager
def a_closed_over_view() -> Made:
    array = np.ones((4, 3))
    w = Parameter(array)

    def step(x: Any, t: Any) -> Any:
        w.data *= 0.9
        return x @ array

    return step, left_in(w)


@eager
def a_loss_with_a_graph() -> Made:
    w = Parameter(np.ones((4, 3)))

    def step(x: Any, t: Any) -> Any:
        w.data *= 0.9
        return F.cross_entropy(x @ w, t)

    return step, left_in(w)


@eager
def a_norm_that_decides() -> Made:
    w = Parameter(np.ones((4, 3)))

    def step(x: Any, t: Any) -> Any:
        w.cleargrad()
        loss = F.cross_entropy(x @ w, t)
        loss.backward()
        if np.linalg.norm(w.grad.data) > 0.1:
            w.data -= RATE * w.grad.data
        return loss

    return step, left_in(w)


def run(make: Callable[[], Made], check: Any) -> tuple[list[Any], Any]:
    """What 12 calls give and leave; ``check`` None: eagerly."""
    minidl.seed(0)
    rng = np.random.default_rng(0)
    step, look = make()
    f = step if check is None else minidl.compile(step, check=check)
    found = []
    for _ in range(12):
        x = rng.standard_normal((5, 4)).astype(np.float32)
        t = rng.integers(0, 3, 5)
        found.append((without_graphs(f(x, t)), look()))
    return found, f


def without_graphs(x: Any) -> Any:
    if isinstance(x, Variable):
        return np.array(x.data)
    if isinstance(x, dict):
        return {key: without_graphs(part) for key, part in x.items()}
    return type(x)(map(without_graphs, x)) if isinstance(x, list | tuple) else x


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
def test_it_goes_on_eagerly(make: Callable[[], Made]) -> None:
    with pytest.warns(UserWarning, match="goes on eagerly"):
        assert compare(make, "never").status().startswith("eager")


def test_older_graphs_are_stale_and_held_arrays_are_written_into() -> None:
    w = Parameter(np.ones((4, 3)))

    @minidl.compile
    def step(x: Any) -> Any:
        w.cleargrad()
        loss = (x @ w).sum()
        loss.backward()
        w.data -= RATE * w.grad.data
        return loss

    held = w.data
    for _ in range(5):
        old = (w * w).sum()
        step(np.ones((2, 4)))
        assert w.data is held
        with pytest.raises(RuntimeError, match="older value"):
            old.backward()


def test_memory_that_is_shared_later_is_noticed() -> None:
    def both(compile: bool) -> list[Any]:
        w, v = Parameter(np.ones(3)), Parameter(np.ones(3))

        def step(x: Any) -> Any:
            w.data *= 0.5
            return (v.data * x).sum()

        f = minidl.compile(step, check="never") if compile else step
        found = []
        for i in range(6):
            if i == 3:
                v.data = w.data
            found.append(f(np.ones(3)))
        return found

    with pytest.warns(UserWarning, match="goes on eagerly"):
        assert both(True) == both(False)


def test_gradients_left_in_arguments() -> None:
    def run(compile: bool) -> list[Any]:
        w = Parameter(np.ones((4, 3)))

        def step(x: Any, batch: dict[str, Any]) -> Any:
            w.cleargrad()
            loss = F.tanh(x @ w + batch["b"]).sum()
            loss.backward()
            batch["b"].data += 1.0
            return loss

        f = minidl.compile(step, check="raise") if compile else step
        rng = np.random.default_rng(0)
        found: list[Any] = []
        kept = Variable(rng.standard_normal(3))
        for i in range(10):
            x = Variable(rng.standard_normal((2, 4)))
            b = kept if i % 2 else Variable(rng.standard_normal(3))
            loss = f(x, {"b": b})
            found += [np.array(loss.data), x.grad.data, b.grad.data.copy(), b.data.copy()]
        if compile:
            assert "NumPy" in f.status()
        return found

    assert all(map(same, run(True), run(False)))


def test_numbers_of_ones_own_are_one_program() -> None:
    a, b = Variable(0.0), Variable(np.float64(2.0))

    def step() -> Any:
        a.cleargrad()
        b.cleargrad()
        loss = 100 * (b - a**2) ** 2 + (a - 1) ** 2
        loss.backward()
        a.data -= 1e-3 * a.grad.data
        b.data = b.data - 1e-3 * b.grad.data
        return loss

    f = minidl.compile(step)
    losses = [f().item() for _ in range(30)]
    assert losses[-1] < losses[0] and len(f.programs) == 1
