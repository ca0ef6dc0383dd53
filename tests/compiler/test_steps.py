"""Whole training steps: the same bits as eagerly, at every call, in everything that a step leaves."""

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.compiler.agreement import same

Step = Callable[..., Any]
Made = tuple[Step, list[Any], list[Any]]  # the step, its models, its optimizers


def state_of(models: list[Any], optimizers: list[Any], result: Any) -> list[Any]:
    found: list[Any] = [np.asarray(x.data if isinstance(x, Variable) else x) for x in flat(result)]
    for model in models:
        for p in model.parameters():
            found.append(None if p.lazy else p.data.copy())
            found.append(None if p.grad is None else p.grad.data.copy())
        for layer in model.sublayers():
            found += [getattr(layer, name) for name in layer.carried]
    found += [optimizer.state_dict() for optimizer in optimizers]
    return [x.data if isinstance(x, Variable) else x for x in found]


def flat(result: Any) -> list[Any]:
    if isinstance(result, dict):
        result = tuple(result.values())
    return [x for part in result for x in flat(part)] if isinstance(result, tuple) else [result]


def trajectory(
    make: Callable[[], Made], shape: tuple[int, ...], compile: bool
) -> tuple[list[Any], Any]:
    minidl.seed(0)
    rng = np.random.default_rng(1)
    step, models, optimizers = make()
    run = minidl.compile(step) if compile else step
    found = []
    for _ in range(25):
        x = rng.standard_normal(shape).astype(np.float32)
        t = rng.integers(0, 3, shape[0])
        found.append(state_of(models, optimizers, run(x, t)))
    return found, run


def side_by_side(make: Callable[[], Made], shape: tuple[int, ...] = (5, 4)) -> Any:
    want, _ = trajectory(make, shape, False)
    got, run = trajectory(make, shape, True)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        for mine, its in zip(a, b, strict=True):
            assert same(mine, its), f"call {i}: {mine!r}, want {its!r}"
    return run


def usual(model: Any, optimizer: Any) -> Step:
    def step(x: Any, t: Any) -> Any:
        optimizer.cleargrads()
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        optimizer.update()
        return loss

    return step


def mlp() -> Any:
    return layers.MLP([16, 3])


def dropout_net() -> Any:
    return layers.Sequential(layers.Linear(16), F.relu, layers.Dropout(0.5), layers.Linear(3))


def recurrent(kind: Any, **settings: Any) -> Any:
    return layers.Sequential(kind(6, return_sequences=False, **settings), layers.Linear(3))


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "mlp": (mlp, (5, 4)),
    "sigmoid": (lambda: layers.MLP([8, 3], activation=F.sigmoid), (5, 4)),
    "gelu": (lambda: layers.MLP([8, 3], activation=F.gelu), (5, 4)),
    "dropout": (dropout_net, (5, 4)),
    "rnn": (lambda: recurrent(layers.RNN), (5, 4, 2)),
    "lstm": (lambda: recurrent(layers.LSTM), (5, 4, 2)),
    "stateful": (lambda: recurrent(layers.LSTM, stateful=True), (5, 4, 2)),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda m: optim.SGD(m, lr=0.1),
    "momentum": lambda m: optim.Momentum(m, lr=0.05),
    "adam, clipped": lambda m: optim.Adam(m, lr=0.01, hooks=[optim.hooks.ClipGrad(0.1)]),
    "adamw, scheduled": lambda m: optim.AdamW(m, lr=lambda t: 0.01 / (1 + t)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_models_and_optimizers(model: str, optimizer: str) -> None:
    make, shape = MODELS[model]

    def made() -> Made:
        net = make()
        learner = OPTIMIZERS[optimizer](net)
        return usual(net, learner), [net], [learner]

    assert "NumPy" in side_by_side(made, shape).status()


@pytest.mark.parametrize("inside", [False, True], ids=["update outside", "update inside"])
def test_accumulating_over_several_calls(inside: bool) -> None:
    def run(compile: bool) -> list[Any]:
        minidl.seed(0)
        net = mlp()
        learner = optim.Adam(net)

        def part(x: Any, t: Any, last: bool) -> Any:
            loss = F.cross_entropy(net(x), t)
            loss.backward()
            if last and inside:
                learner.update()
                learner.cleargrads()
            return loss

        part = minidl.compile(part) if compile else part
        found = []
        rng = np.random.default_rng(1)
        for i in range(24):
            x = rng.standard_normal((5, 4)).astype(np.float32)
            loss = part(x, np.array([0, 1, 2, 0, 1]), i % 3 == 2)
            if i % 3 == 2 and not inside:
                learner.update()
                learner.cleargrads()
            found.append(state_of([net], [learner], loss))
        if compile:
            assert "NumPy" in part.status()
        return found

    for mine, its in zip(run(True), run(False), strict=True):
        assert all(map(same, mine, its))


def two_backwards() -> Made:
    net = mlp()
    learner = optim.SGD(net, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        first = F.cross_entropy(net(x), t)
        first.backward()
        second = F.cross_entropy(net(x * 0.5), t)
        second.backward()
        learner.update()
        return {"first": first, "second": second}

    return step, [net], [learner]


def two_optimizers() -> Made:
    one = layers.MLP([8, 3])
    other = layers.MLP([8, 3])
    learners = [optim.SGD(one, lr=0.1), optim.Adam(other, lr=0.01)]

    def step(x: Any, t: Any) -> Any:
        for learner in learners:
            learner.cleargrads()
        loss = F.cross_entropy(one(x), t)
        loss.backward()
        learners[0].update()
        after = F.cross_entropy(one(x) + other(x), t)  # with the new parameters
        other.cleargrads()
        after.backward()
        learners[1].update()
        return loss, after

    return step, [one, other], learners


def two_steps_in_one() -> Made:
    net = mlp()
    learner = optim.Adam(net, lr=0.01)
    once = usual(net, learner)

    def step(x: Any, t: Any) -> Any:
        return once(x, t), once(x + 1, t)

    return step, [net], [learner]


def clearing_at_the_end() -> Made:
    net = mlp()
    learner = optim.Momentum(net, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        loss = F.cross_entropy(net(x), t)
        loss.backward()
        learner.update()
        net.cleargrads()
        return loss

    return step, [net], [learner]


def frozen_for_a_while() -> Made:
    net = layers.MLP([8, 3], in_features=4)
    learner = optim.Adam(net, lr=0.01)
    calls = [0]
    run = usual(net, learner)

    def step(x: Any, t: Any) -> Any:
        return run(x, t)

    net.layers[0].freeze()
    calls[0] += 1
    return step, [net], [learner]


def gradients_inside() -> Made:
    net = layers.MLP([8, 3], activation=F.tanh, in_features=4)
    learner = optim.SGD(net, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        slope = minidl.grad(lambda z: F.cross_entropy(net(z), t))(x)
        loss = F.cross_entropy(net(x), t) + (slope * slope).sum() * 0.1
        loss.backward()
        learner.update()
        return loss

    return step, [net], [learner]


def parameter_of_its_own() -> Made:
    p = Parameter(np.ones(4, np.float32))
    net = layers.Linear(4, 3)
    learner = optim.SGD([p, *net.parameters()], lr=0.1)

    def step(x: Any, t: Any) -> Any:
        p.cleargrad()
        net.cleargrads()
        loss = F.cross_entropy(net(x * p), t) + (p * p).sum()
        loss.backward()
        learner.update()
        return loss, (p * 2).sum()

    return step, [net], [learner]


STEPS = [two_backwards, two_optimizers, two_steps_in_one, clearing_at_the_end, frozen_for_a_while]
STEPS += [gradients_inside, parameter_of_its_own]


@pytest.mark.parametrize("make", STEPS, ids=lambda make: make.__name__)
def test_steps_of_other_forms(make: Callable[[], Made]) -> None:
    assert "NumPy" in side_by_side(make).status()


def test_freezing_between_calls() -> None:
    def run(compile: bool) -> list[Any]:
        minidl.seed(0)
        net = layers.MLP([8, 3], in_features=4)
        learner = optim.SGD(net, lr=0.1)
        step = usual(net, learner)
        step = minidl.compile(step) if compile else step
        x, t, found = np.ones((2, 4), np.float32), np.array([0, 1]), []
        for i in range(12):
            net.layers[0].w.requires_grad = i % 4 != 3
            found.append(state_of([net], [learner], step(x, t)))
        return found

    for mine, its in zip(run(True), run(False), strict=True):
        assert all(map(same, mine, its))


def test_an_error_of_data_changes_nothing() -> None:
    net = layers.MLP([8, 3], in_features=4)
    learner = optim.Adam(net)
    step = minidl.compile(usual(net, learner))
    x = np.ones((2, 4), np.float32)
    for _ in range(5):
        step(x, np.array([0, 1]))
    before = [p.data.copy() for p in net.parameters()]
    t = learner.t
    with pytest.raises(ValueError, match="label 7"):
        step(x, np.array([0, 7]))
    assert learner.t == t
    assert all(np.array_equal(p.data, a) for p, a in zip(net.parameters(), before, strict=True))
    step(x, np.array([0, 1]))
    assert learner.t == t + 1


def test_older_graphs_are_stale_after_a_step() -> None:
    net = layers.Linear(4, 3)
    learner = optim.SGD(net, lr=0.1)
    step = minidl.compile(usual(net, learner))
    x, t = np.ones((2, 4), np.float32), np.array([0, 1])
    for _ in range(4):
        old = F.cross_entropy(net(x), t)
        step(x, t)
        with pytest.raises(RuntimeError, match="older value"):
            old.backward()


def test_gradients_that_were_read_stay() -> None:
    net = layers.Linear(4, 3)
    learner = optim.SGD(net, lr=0.1)
    step = minidl.compile(usual(net, learner))
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(6):
        step(rng.standard_normal((2, 4)).astype(np.float32), np.array([0, 1]))
        kept.append((net.w.grad.data, net.w.grad.data.copy()))
    assert all(np.array_equal(a, b) for a, b in kept)
    assert not np.shares_memory(net.w.grad.data, net.b.grad.data)


def test_a_hook_is_called_once_for_each_call() -> None:
    calls: list[int] = []
    net = layers.Linear(4, 3)
    learner = optim.SGD(net, lr=0.1, hooks=[lambda g: calls.append(len(g.params))])
    step = minidl.compile(usual(net, learner), check="never")
    for _ in range(6):
        step(np.ones((2, 4), np.float32), np.array([0, 1]))
    assert calls == [2] * 6


def test_a_state_with_its_graph_goes_on_eagerly() -> None:
    cell = layers.RNN(4, 3)
    learner = optim.SGD(cell, lr=0.1)

    def step(x: Any, t: Any) -> Any:
        learner.cleargrads()
        loss = F.cross_entropy(cell(x), t)
        loss.backward()
        return loss

    with pytest.warns(UserWarning, match="keeps its graph"):
        minidl.compile(step)(np.ones((2, 4), np.float32), np.array([0, 1]))


def test_truncated_backpropagation() -> None:
    def made() -> Made:
        cell = layers.LSTM(4, 3)
        learner = optim.Adam(cell, lr=0.01)

        def step(x: Any, t: Any) -> Any:
            learner.cleargrads()
            loss = F.cross_entropy(cell(x), t)
            loss = loss + F.cross_entropy(cell(x * 2), t)
            loss.backward()
            loss.unchain_backward()
            learner.update()
            return loss

        return step, [cell], [learner]

    assert "NumPy" in side_by_side(made).status()


def test_planted_dependencies_are_found_and_the_eager_outcome_stands() -> None:
    def run(compile: bool) -> list[Any]:
        minidl.seed(0)
        net = layers.Linear(4, 3)
        learner = optim.Adam(net, lr=0.01)
        noise = iter(np.linspace(0.5, 2.0, 100))
        factor = {"now": 1.0}.get  # a method of a dict that nobody else sees

        def step(x: Any, t: Any) -> Any:
            learner.cleargrads()
            loss = F.cross_entropy(net(x * hidden()), t) * factor("now")
            loss.backward()
            learner.update()
            return loss

        def hidden() -> Any:
            return np.float32(noise.__next__())

        step = minidl.compile(step) if compile else step
        x, t = np.ones((2, 4), np.float32), np.array([0, 1])
        return [state_of([net], [learner], step(x, t)) for _ in range(8)]

    want = run(False)
    with pytest.warns(UserWarning, match="goes on eagerly"):
        got = run(True)
    for mine, its in zip(got, want, strict=True):
        assert all(map(same, mine, its))


@pytest.mark.parametrize("whole", [False, True], ids=["loss", "step"])
def test_nothing_stays_with_the_collector_off(whole: bool) -> None:
    gc.disable()
    try:
        w = Parameter(np.ones((4, 3), np.float32))
        learner = optim.SGD([w], lr=0.1)

        def loss_of(x: Any, t: Any) -> Any:
            return F.cross_entropy(x @ w, t)

        def step(x: Any, t: Any) -> Any:
            learner.cleargrads()
            loss = loss_of(x, t)
            loss.backward()
            learner.update()
            return loss

        run = minidl.compile(step if whole else loss_of)
        for _ in range(4):
            loss = run(np.ones((2, 4), np.float32), np.array([0, 1]))
        gone = [weakref.ref(run), weakref.ref(run.programs[0])]
        del run, loss
        assert [r() for r in gone] == [None, None]
    finally:
        gc.enable()


class Mean:
    """A hook with a state of its own."""

    def __init__(self, notes: list[float]) -> None:
        self.notes = notes
        self.sum = np.zeros(1)
        self.count = 0

    def __call__(self, gradients: Any) -> None:
        self.count += 1
        self.sum += np.linalg.norm(gradients.flat)
        self.notes.append(float(self.sum[0] / self.count))


def note(notes: list[float]) -> Callable[[Any], None]:
    return lambda gradients: notes.append(float(np.linalg.norm(gradients.flat)))


def noise(notes: list[float]) -> Callable[[Any], None]:
    rng = np.random.default_rng(0)

    def hook(gradients: Any) -> None:
        gradients.flat += rng.normal(size=gradients.flat.shape)

    return hook


def clip_weights(notes: list[float]) -> Callable[[Any], None]:
    def hook(gradients: Any) -> None:
        for p in gradients.params:
            p.data = np.clip(p.data, -0.1, 0.1)

    return hook


def drop_one(notes: list[float]) -> Callable[[Any], None]:
    def hook(gradients: Any) -> None:
        notes.append(len(gradients.params))
        gradients.params = gradients.params[1:]
        gradients.grads = gradients.grads[1:]

    return hook


@pytest.mark.parametrize(
    "hooks", [[note], [Mean], [noise], [clip_weights], [drop_one], [noise, Mean, drop_one, note]]
)
def test_hooks_are_called_once_per_call_checked_or_not(hooks: list[Any]) -> None:
    def train(compiled: bool) -> list[Any]:
        minidl.seed(0)
        model = layers.MLP([3, 2], in_features=4)
        notes: list[float] = []
        optimizer = optim.Adam(model, lr=0.05, hooks=[make(notes) for make in hooks])

        def step(x: Any) -> Any:
            optimizer.cleargrads()
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.update()
            return loss

        run = minidl.compile(step, check="always") if compiled else step
        for i in range(6):
            run(np.full((5, 4), i + 1, np.float32))
        if compiled:
            assert not run.status().startswith("eager")  # type: ignore[attr-defined]
        return [*notes, *[p.data for p in model.parameters()], *optimizer.state_dict().values()]

    for a, b in zip(train(True), train(False), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- what an update depends on -------------------------------------------------------------------


def steps_of_one(source: Any, ps: list[Any], **settings: Any) -> tuple[Any, Any]:
    optimizer = optim.SGD(source, 0.1, **settings)

    def step(x: Any) -> Any:
        optimizer.cleargrads()
        loss = sum([(p * x).sum() for p in ps])
        loss.backward()
        optimizer.update()
        return loss

    return minidl.compile(step, check="never"), optimizer


def test_the_first_program_serves_from_the_second_call_on() -> None:
    p = Parameter(np.ones(3))
    step, _ = steps_of_one([p], [p])
    for _ in range(3):
        step(np.ones(3))
    assert len(step.programs) == 1
    np.testing.assert_allclose(p.data, 0.7)


def test_a_model_of_ones_own_may_give_other_parameters() -> None:
    class Model:
        def __init__(self) -> None:
            self.of_now = [Parameter(np.ones(3))]

        def parameters(self) -> list[Any]:
            return self.of_now

    model = Model()
    first = model.of_now[0]
    step, _ = steps_of_one(model, [first])
    for _ in range(3):
        step(np.ones(3))
    other = Parameter(np.ones(3))
    other.grad = np.ones(3)
    model.of_now = [first, other]
    step(np.ones(3))  # clears the gradient of the new one, too
    np.testing.assert_allclose((first.data, other.data), ((0.6,) * 3, (1.0,) * 3))
    assert other.grad is None


def test_hooks_rates_and_loaded_states_are_those_of_the_call() -> None:
    def freeze(gradients: Any) -> None:
        gradients.flat[:] = 0.0

    p = Parameter(np.ones(3))
    step, optimizer = steps_of_one([p], [p])
    step(np.ones(3))
    optimizer.lr = 0.2
    step(np.ones(3))
    np.testing.assert_allclose(p.data, 0.7)
    optimizer.hooks.append(freeze)
    step(np.ones(3))
    np.testing.assert_allclose(p.data, 0.7)
    optimizer.hooks.clear()
    state = optimizer.state_dict()
    optimizer.load_state_dict({**state, "t": 40})
    p.data = np.zeros(3)
    step(np.ones(3))
    np.testing.assert_allclose(p.data, -0.2)
    assert optimizer.t == 41


def test_a_gradient_that_another_program_left_is_used_or_cleared_as_eagerly() -> None:
    p, other = Parameter(np.ones(3)), Parameter(np.ones(3))
    optimizer = optim.SGD([p, other], 0.1)

    @minidl.compile
    def step(x: Any) -> Any:
        p.cleargrad()
        loss = (p * x).sum()
        loss.backward()
        optimizer.update()
        return loss

    for i in range(4):
        if i == 2:
            other.grad = np.ones(3)
        step(np.ones(3))
    np.testing.assert_allclose((p.data, other.data), ((0.6,) * 3, (0.8,) * 3))


def test_a_graph_over_the_old_values_is_stale_after_a_compiled_step() -> None:
    p = Parameter(np.ones(3))
    step, _ = steps_of_one([p], [p])
    step(np.ones(3))
    old = (p * p).sum()
    step(np.ones(3))
    with pytest.raises(RuntimeError, match="new"):
        old.backward()


def test_an_optimizer_with_an_update_of_its_own_is_called_once() -> None:
    class Counting(optim.SGD):
        count = 0

        def update(self) -> None:
            super().update()
            self.count += 1

    p = Parameter(np.ones(3))
    optimizer = Counting([p], 0.1)

    @minidl.compile
    def step(x: Any) -> Any:
        optimizer.cleargrads()
        loss = (p * x).sum()
        loss.backward()
        optimizer.update()
        return loss

    with pytest.warns(UserWarning, match="update of its own"):
        step(np.ones(3))
    step(np.ones(3))
    assert optimizer.count == optimizer.t == 2
    np.testing.assert_allclose(p.data, 0.8)


def test_a_gradient_that_is_an_argument_is_copied() -> None:
    p = Parameter(np.ones(3))
    step, _ = steps_of_one([p], [p])
    for _ in range(2):
        x = np.ones(3)
        step(x)
        p.grad.data[:] = 7.0
        np.testing.assert_array_equal(x, 1.0)


def test_numbers_overflow_as_eagerly_and_update_once() -> None:
    """Python's floats raise where NumPy has infinities; the program turns to NumPy's in time."""
    found = []
    for run in (lambda f: f, lambda f: minidl.compile(f, check="never")):
        p = Variable(1.0)
        optimizer = optim.SGD([p], 1.0)

        def step(p: Any = p, optimizer: Any = optimizer) -> Any:
            optimizer.cleargrads()
            loss = p**4
            loss.backward()
            optimizer.update()
            return loss

        call = run(step)
        with np.errstate(all="ignore"):
            values = [call().item() for _ in range(3)]
            p.data = np.array(1e100)
            values += [call().item() for _ in range(3)]
        found.append((values, optimizer.t))
    np.testing.assert_equal(found[0], found[1])
    assert found[0][1] == 6


def test_checks_see_the_sign_of_zero_and_no_other_nan() -> None:
    assert not same(np.array([0.0]), np.array([-0.0]))
    assert not same(np.float32(0.0), np.float32(-0.0))
    assert same(np.array([np.nan, -0.0]), np.array([-np.nan, -0.0]))


def peak_of(run: Step, x: Any, t: Any) -> float:
    """The most memory of a later call, with what is there before, in MB."""
    for _ in range(4):
        loss = run(x, t)
    tracemalloc.reset_peak()
    loss = run(x, t)
    assert loss.item() > 0
    return tracemalloc.get_traced_memory()[1] / 1e6


def test_a_compiled_step_takes_no_more_memory_than_eagerly_with_the_collector_off() -> None:
    x = np.ones((32, 300), np.float32)
    t = np.zeros(32, np.int64)
    peaks = []
    gc.collect()
    gc.disable()
    try:
        for how in (lambda f: f, lambda f: minidl.compile(f, check="never")):
            model = layers.MLP([400, 400, 10])
            step = how(usual(model, optim.Adam(model, 1e-3)))
            tracemalloc.start()
            peaks.append(peak_of(step, x, t))
            tracemalloc.stop()
    finally:
        gc.enable()
    assert peaks[1] < 1.05 * peaks[0] + 0.3  # of text and steps


def test_a_recording_lets_go_of_its_arrays_with_the_collector_off() -> None:
    net = recurrent(layers.LSTM)
    learner = optim.SGD(net, lr=0.1)
    step = minidl.compile(usual(net, learner), check="never")
    x = np.zeros((50, 200, 2), np.float32)
    t = np.zeros(50, int)
    gc.collect()
    gc.disable()
    try:
        step(x[:, :2], t)  # the weights are made
        tracemalloc.start()
        step(x, t)
        step(x, t)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert "200, 2" in step.status()
    assert held < peak / 10


def test_a_parameter_without_axes_is_a_number_as_eagerly() -> None:
    """The square of an array without axes has other last bits than that of a number."""
    found = []
    for how in (lambda f: f, lambda f: minidl.compile(f, check="never")):
        p = Variable(np.float32(0.1))
        q = Variable(np.ones(1, np.float32))
        optimizer = optim.SGD([p, q], 0.3)

        def step(p: Any = p, q: Any = q, optimizer: Any = optimizer) -> Any:
            optimizer.cleargrads()
            first = p[None]
            loss = ((p**3 - q) ** 2).sum()
            loss.backward()
            optimizer.update()
            return loss, first

        call = how(step)
        found.append([x.item() for _ in range(40) for x in call()])
    assert found[0] == found[1]
