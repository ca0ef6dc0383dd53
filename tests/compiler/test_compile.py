"""minidl.compile: the same numbers as eagerly, at every call, whatever changes between the calls.

Single functions are run compiled by the catalogue's tests; the passes are tested in test_passes.py.
"""

import copy
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def same(a: Any, b: Any) -> None:
    a, b = (x.data if isinstance(x, Variable) else x for x in (a, b))
    assert np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype
    np.testing.assert_array_equal(a, b)


def close(a: Any, b: Any, rtol: float = 1e-5) -> None:
    a, b = (np.asarray(x.data if isinstance(x, Variable) else x) for x in (a, b))
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


# ---- training runs ----------------------------------------------------------------------------------------------


class Attention(layers.Layer):
    """Written by hand, as a user would."""

    def __init__(self) -> None:
        self.q, self.k, self.v, self.out = (layers.Linear(8) for _ in range(4))

    def forward(self, x: Any) -> Any:
        q, k, v = self.q(x), self.k(x), self.v(x)
        weights = F.softmax(q @ k.swapaxes(1, 2) / 8**0.5)
        return self.out(weights @ v).mean(axis=1)


class Cell(layers.Layer):
    """A recurrent cell in a Python loop."""

    def __init__(self) -> None:
        self.x, self.h, self.out = layers.Linear(6), layers.Linear(6, bias=False), layers.Linear(3)

    def forward(self, x: Any) -> Any:
        h = np.zeros((x.shape[0], 6), np.float32)
        for t in range(x.shape[1]):
            h = F.tanh(self.x(x[:, t]) + self.h(h))
        return self.out(h)


def dropout_net() -> Any:
    return layers.Sequential(layers.Linear(16), F.relu, layers.Dropout(0.5), layers.Linear(3))


def last(layer: Any) -> Any:
    return layers.Sequential(layer, layers.Linear(3))


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "mlp": (lambda: layers.MLP([16, 3]), (5, 4)),
    "mlp sigmoid": (lambda: layers.MLP([16, 8, 3], activation=F.sigmoid), (5, 4)),
    "mlp gelu": (lambda: layers.MLP([16, 3], activation=F.gelu), (5, 4)),
    "rnn": (lambda: last(layers.RNN(6, return_sequences=False)), (5, 4, 2)),
    "lstm": (lambda: last(layers.LSTM(6, return_sequences=False)), (5, 4, 2)),
    "gru": (lambda: last(layers.GRU(6, return_sequences=False)), (5, 4, 2)),
    "both": (lambda: last(layers.Bidirectional(layers.GRU(6, return_sequences=False))), (5, 4, 2)),
    "cell": (Cell, (5, 4, 2)),
    "attention": (Attention, (5, 4, 8)),
    "dropout": (dropout_net, (5, 4)),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda m: optim.SGD(m, lr=0.1),
    "momentum": lambda m: optim.Momentum(m, lr=0.05),
    "adam, clipped": lambda m: optim.Adam(m, lr=0.01, hooks=[optim.hooks.ClipGrad(0.1)]),
    "groups": lambda m: optim.RMSprop(
        [{"params": m.parameters()[:1], "momentum": 0.5}, {"params": m.parameters()[1:]}], lr=0.01
    ),
    "adamw, scheduled": lambda m: optim.AdamW(m, lr=lambda t: 0.01 / (1 + t)),
}


def trajectory(
    compiled: bool, make: Any, optimizer_of: Any, shape: tuple[int, ...]
) -> tuple[list[Any], list[Any]]:
    minidl.seed(0)
    rng = np.random.default_rng(1)
    model = make()
    optimizer = optimizer_of(model)

    def loss_of(x: Any, t: Any) -> Any:
        return F.cross_entropy(model(x), t)

    run = minidl.compile(loss_of) if compiled else loss_of
    losses = []
    for _ in range(15):
        x, t = rng.standard_normal(shape).astype(np.float32), rng.integers(0, 3, shape[0])
        optimizer.cleargrads()
        loss = run(x, t)
        loss.backward()
        optimizer.update()
        losses.append(loss.data.copy())
    return losses, [p.data.copy() for p in model.parameters()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_training_follows_the_eager_run_bit_for_bit(model: str, optimizer: str) -> None:
    make, shape = MODELS[model]
    eager, compiled = (trajectory(c, make, OPTIMIZERS[optimizer], shape) for c in (False, True))
    for a, b in zip(eager[0] + eager[1], compiled[0] + compiled[1], strict=True):
        same(a, b)


def test_accumulating_and_clearing() -> None:
    model, x, t = layers.MLP([5, 2], in_features=3), normal(4, 3), np.array([0, 1, 0, 1])
    loss_of = minidl.compile(lambda x, t: F.cross_entropy(model(x), t))
    for _ in range(3):
        loss_of(x, t).backward()
    compiled = [p.grad.data for p in model.parameters()]
    model.cleargrads()
    for _ in range(3):
        F.cross_entropy(model(x), t).backward()
    for p, g in zip(model.parameters(), compiled, strict=True):
        same(p.grad, g)


# ---- results and what they are ----------------------------------------------------------------------------------


def test_arrays_give_arrays_and_variables_variables() -> None:
    f = minidl.compile(lambda x: F.exp(x) + 1)
    x = normal(3)
    assert type(f(x)) is np.ndarray
    same(f(x), np.exp(x) + 1)
    v = Variable(x, requires_grad=False)
    assert type(f(v)) is Variable and not f(v).requires_grad
    assert f(Variable(x)).requires_grad


def test_nested_arguments_and_results() -> None:
    f = minidl.compile(
        lambda a, *, b: {"sum": a[0] + b["x"], "both": (a[1] * 2, [a[0], "text", 3])}
    )
    a, b = (normal(2), normal(2)), {"x": normal(2)}
    for _ in range(2):
        y = f(a, b=b)
        same(y["sum"], a[0] + b["x"])
        same(y["both"][0], a[1] * 2)
        same(y["both"][1][0], a[0])
        assert y["both"][1][1:] == ["text", 3]


def test_results_are_never_overwritten() -> None:
    f = minidl.compile(lambda x: (x * 2, (x * 2).reshape(-1), x.T, x))
    x, z = normal(2, 3), normal(2, 3)
    first = f(x)
    copies = [np.array(y) for y in first]
    second = f(z)
    for y, c in zip(first, copies, strict=True):
        same(y, c)
    for y in second:
        y[...] = 7
    for y, want in zip(f(x), (x * 2, (x * 2).reshape(-1), x.T, x), strict=True):
        same(y, want)


def test_gradients_are_nobody_elses_memory() -> None:
    a, b = Variable(normal(3)), Variable(normal(3))
    f = minidl.compile(lambda a, b: (a + b).sum())
    f(a, b).backward()
    assert not np.shares_memory(a.grad.data, b.grad.data)
    a.grad.data[...] = 9
    f(a, b).backward()
    same(b.grad, np.full(3, 2, np.float32))
    same(a.grad, np.full(3, 10, np.float32))


def test_two_results_at_once_and_backward_in_any_order() -> None:
    p = Parameter(normal(3))
    f = minidl.compile(lambda x: (F.tanh(p * x) ** 2).sum())
    xs = [normal(3) for _ in range(4)]
    losses = [f(x) for x in xs]
    for k in (2, 0, 3, 1):
        p.cleargrad()
        losses[k].backward()
        got = p.grad.data
        p.cleargrad()
        (F.tanh(p * xs[k]) ** 2).sum().backward()
        same(got, p.grad)


def test_a_second_backward_and_higher_orders_are_eager() -> None:
    x = Variable(normal(3, dtype=np.float64))
    f = minidl.compile(lambda x: (F.tanh(x) ** 3).sum())
    y = f(x)
    y.backward()
    once = x.grad.data.copy()
    y.backward()
    close(x.grad, 2 * once, 1e-12)
    x.cleargrad()
    f(x).backward(create_graph=True)
    slope = x.grad
    x.cleargrad()
    slope.sum().backward()
    second = x.grad.data.copy()
    x.cleargrad()
    (F.tanh(x) ** 3).sum().backward(create_graph=True)
    slope = x.grad
    x.cleargrad()
    slope.sum().backward()
    close(second, x.grad, 1e-12)


def test_several_results_of_which_some_are_used() -> None:
    x = Variable(normal(3, dtype=np.float64))
    f = minidl.compile(lambda x: (F.exp(x), F.sin(x), x.argmax()))
    for pick in (0, 1):
        y = f(x)
        y[pick].sum().backward()
        got, _ = x.grad.data, x.cleargrad()
        (F.exp(x), F.sin(x))[pick].sum().backward()
        close(got, x.grad, 1e-12)
        x.cleargrad()
    assert int(f(x)[2]) == int(x.data.argmax())


def test_dropout_draws_anew_from_the_same_stream_even_for_a_second_backward() -> None:
    x = Variable(np.ones((50, 4), np.float32))
    f = minidl.compile(lambda x: F.dropout(x, 0.5))
    minidl.seed(3)
    ys = [f(x).data.copy() for _ in range(3)]
    minidl.seed(3)
    for y in ys:
        same(F.dropout(x, 0.5), y)
    y = f(x)
    y.sum().backward()
    first, _ = x.grad.data.copy(), x.cleargrad()
    y.sum().backward()
    same(x.grad, first)
    same(first, y)
    with minidl.test_mode():
        same(f(x), x)


# ---- what may change between the calls --------------------------------------------------------------------------


def test_parameters_are_read_afresh() -> None:
    model, x = layers.Linear(3, 2), normal(4, 3)
    f = minidl.compile(lambda x: model(x).sum())
    for _ in range(3):
        same(f(x), model(x).sum())
        model.w.data = normal(3, 2)
        model.b.data += 1
    model.w = Parameter(normal(3, 2))
    same(f(x), model(x).sum())
    model.w = Parameter(normal(3, 7))
    model.b = None
    same(f(x), model(x).sum())
    model.to(dtype=np.float64)
    same(f(x), model(x).sum())


def test_freezing() -> None:
    model, x = layers.Linear(3, 2), normal(4, 3)
    f = minidl.compile(lambda x: model(x).sum())
    f(x).backward()
    model.cleargrads()
    model.w.requires_grad = False
    f(x).backward()
    assert model.w.grad is None
    same(model.b.grad, np.full(2, 4, np.float32))
    model.unfreeze()
    f(x).backward()
    assert model.w.grad is not None


SCALE = np.array([1.0, 2.0])
FACTOR = 3.0


def test_closures_globals_and_settings() -> None:
    global SCALE, FACTOR
    offset, kind = np.zeros(2), "plus"

    class Net(layers.Layer):
        def __init__(self) -> None:
            self.power, self.inner = 2, [1.0]

        def forward(self, x: Any) -> Any:
            return x**self.power * self.inner[0]

    net = Net()

    def g(x: Any) -> Any:
        y = net(x) * SCALE * FACTOR
        return y + offset if kind == "plus" else y - offset

    f, x = minidl.compile(g), np.array([1.5, -2.0])
    same(f(x), g(x))
    offset[0] = 5.0
    same(f(x), g(x))
    offset = np.array([7.0, 7.0])
    same(f(x), g(x))
    kind = "minus"
    same(f(x), g(x))
    SCALE = SCALE + 1
    same(f(x), g(x))
    FACTOR = 4.0
    same(f(x), g(x))
    net.power = 3
    same(f(x), g(x))
    net.inner[0] = 0.5
    same(f(x), g(x))
    net.inner = [2.0]
    same(f(x), g(x))


def test_settings_of_classes_and_modules(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings_of_mine.py").write_text("rate = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    import settings_of_mine  # type: ignore[import-not-found]  # written above

    class Config:
        factor = 3.0

    class Net(layers.Layer):
        offset = 1.0

        def forward(self, x: Any, *, shift: Any = (0.5,)) -> Any:
            return x * Config.factor + self.offset + shift[0]

    net, chosen = Net(), {1, 2}

    def g(x: Any) -> Any:
        return net(x) * settings_of_mine.rate * len(chosen)

    f, x = minidl.compile(g), np.ones(2)
    same(f(x), g(x))
    Config.factor = 4.0
    same(f(x), g(x))
    Net.offset = 2.0
    same(f(x), g(x))
    settings_of_mine.rate = 5.0
    same(f(x), g(x))
    chosen.add(3)
    same(f(x), g(x))


def test_signed_zeros_and_nan_as_arguments() -> None:
    f, scale = minidl.compile(lambda x, k: x * k + np.copysign(1.0, k)), [0.0]
    for k in (0.0, -0.0, float("nan"), float("nan"), 1.0):
        np.testing.assert_array_equal(f(np.ones(1), k), np.ones(1) * k + np.copysign(1.0, k))
    g = minidl.compile(lambda x: np.copysign(1.0, scale[0]) + x)
    for scale[0] in (0.0, -0.0, 0.0):
        same(g(np.ones(1)), np.copysign(1.0, scale[0]) + np.ones(1))
    assert len(f.programs) == 2  # the second reads the number


def test_objects_with_counters_and_compiled_functions_inside() -> None:
    class Experiment:
        def __init__(self) -> None:
            self.model, self.seen, self.scale = layers.Linear(3, 2), 0, 1.0
            self.loss = minidl.compile(self._loss)
            self.double = minidl.compile(lambda x: self.loss(x) * 2)

        def _loss(self, x: Any) -> Any:
            return self.model(x).sum() * self.scale

    work, x = Experiment(), normal(2, 3)
    for _ in range(20):
        work.seen += 1
        same(work.loss(x), work._loss(x))
        same(work.double(x), work._loss(x) * 2)
    assert len(work.loss.programs) == 1
    work.scale = 2.0
    same(work.loss(x), work._loss(x))
    same(work.double(x), work._loss(x) * 2)


def test_one_array_in_two_places_that_part_ways() -> None:
    a = b = np.array([1.0, 2.0])
    f = minidl.compile(lambda x: x * a + b)
    same(f(a), a * a + b)  # the argument, too
    x = np.array([5.0, 5.0])
    same(f(x), x * a + b)
    a = np.array([3.0, 4.0])
    same(f(x), x * a + b)
    p = q = Variable([1.0, 2.0])
    g = minidl.compile(lambda x: (x * p * p * q).sum())
    g(p).backward()
    close(p.grad, 4 * p.data**3, 1e-12)
    p.cleargrad()
    x = Variable([2.0, 2.0])
    g(x).backward()
    close(x.grad, p.data**3, 1e-12)
    p = Variable([3.0, 3.0])
    close(g(x), (x.data * p.data**2 * q.data).sum(), 1e-12)


def test_slots() -> None:
    class Box:
        __slots__ = ("rate", "weights")

    box = Box()
    box.rate, box.weights = 2.0, np.ones(2)
    f, x = minidl.compile(lambda x: x * box.rate + box.weights), np.ones(2)
    same(f(x), x * 2 + 1)
    box.rate = 3.0
    same(f(x), x * 3 + 1)
    box.weights = np.zeros(2)
    same(f(x), x * 3)


def test_models_as_arguments() -> None:
    f = minidl.compile(lambda model, x: model(x).sum())
    x = normal(2, 3)
    net = layers.Sequential(layers.Linear(3, 4), F.tanh)
    for model in (net, layers.Linear(3, 2), net, layers.LSTM(4), layers.LSTM(4)):
        for _ in range(3):
            got, state = f(model, x).data, getattr(model, "state", None)
            if state is not None:
                assert state[0].shape == (2, 4)
                continue
            same(got, model(x).sum())
    net.layers[1] = F.relu
    same(f(net, x), net(x).sum())


def test_shapes_dtypes_and_python_values_have_programs_of_their_own() -> None:
    f = minidl.compile(lambda x, k: x * k)
    for x in (normal(3), normal(2, 2), normal(3, dtype=np.float64), np.float32(2), np.array(2.0)):
        for k in (2, 2.0, True):
            same(f(x, k), x * k)


def test_always_new_shapes_end_in_eager_with_one_warning() -> None:
    f = minidl.compile(lambda x: (x * x).sum())
    xs = [normal(n) for n in range(1, 40)]
    with pytest.warns(UserWarning, match="eagerly") as caught:
        ys = [f(x) for x in xs]
    assert len(caught) == 1
    for x, y in zip(xs, ys, strict=True):
        same(y, (x * x).sum())


def test_modes() -> None:
    x = Variable(normal(3))
    f = minidl.compile(lambda x: x * 2)
    assert f(x).requires_grad
    with minidl.no_grad():
        assert not f(x).requires_grad
    with minidl.detect_anomaly(), np.errstate(divide="ignore"), pytest.raises(FloatingPointError):
        minidl.compile(lambda x: F.log(x))(Variable(np.zeros(2)))
    assert f(x).requires_grad
    with minidl.no_grad():
        y = minidl.compile(lambda x: x * 3)(x)
    assert not y.requires_grad


def test_no_grad_and_detach_inside() -> None:
    x = Variable(normal(3))

    def g(x: Any) -> Any:
        with minidl.no_grad():
            fixed = x * 2
        return (x * fixed * x.detach()).sum()

    minidl.compile(g)(x).backward()
    got, _ = x.grad.data, x.cleargrad()
    g(x).backward()
    same(got, x.grad)


def test_stale_graphs_raise() -> None:
    p = Parameter(normal(3))
    y = minidl.compile(lambda: (p * p).sum())()
    p.data = normal(3)
    with pytest.raises(RuntimeError, match="older value"):
        y.backward()


def test_carried_state() -> None:
    for layer in (
        layers.LSTM(4, return_sequences=True, stateful=True),
        layers.LSTM(4),
        layers.RNN(4),
    ):
        x = [normal(2, 3, 2) if layer.stateful else normal(2, 2) for _ in range(4)]
        minidl.seed(0)
        layer(x[0])
        layer.reset_state()
        f = minidl.compile(lambda x, layer=layer: layer(x).sum())
        got, states = [], []
        for part in x:
            y = f(part)
            got.append(y.data.copy())
            states.append([np.array(getattr(s, "data", s)) for s in _flat(layer.state)])
        y.backward()
        grads = [p.grad.data.copy() for p in layer.parameters()]
        layer.cleargrads()
        layer.reset_state()
        for part, want, state in zip(x, got, states, strict=True):
            y = layer(part).sum()
            close(want, y)
            for a, b in zip(state, _flat(layer.state), strict=True):
                close(a, b)
        y.backward()
        for p, g in zip(layer.parameters(), grads, strict=True):
            close(g, p.grad)


def _flat(state: Any) -> list[Any]:
    return list(state) if isinstance(state, tuple) else [state]


# ---- what cannot be recorded ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        bool,
        float,
        int,
        lambda v: v.item(),
        lambda v: v.data,
        np.asarray,
        lambda v: [1, 2][v],
        lambda v: np.array([1.0]) @ v.data,
        lambda v: 1 if v > 0 else 2,
    ],
)
def test_reading_a_value_goes_on_eagerly_and_names_the_line(read: Any) -> None:
    for x in (np.ones(2), Variable(np.ones(2), requires_grad=False)):
        eager = lambda x: x * 3.0 if read(x.sum()) else x
        f = minidl.compile(eager)
        try:
            want = eager(x)
        except Exception as error:
            with pytest.raises(type(error)):
                f(x)
            continue
        with pytest.warns(UserWarning, match=r"is read at .*test_compile\.py:\d+.*eagerly"):
            same(f(x), want)
        same(f(2 * x), eager(2 * x))
        assert "is read" in f.status()
        with pytest.raises(RuntimeError, match="is read"):
            minidl.compile(eager, check="raise")(x)
    same(minidl.compile(lambda x: x + 1)(np.ones(2)), np.full(2, 2.0))


@pytest.mark.parametrize(
    "use",
    [
        lambda x, n: np.repeat(x, n),
        lambda x, n: np.tile(x, n),
        lambda x, n: np.roll(x, n),
        lambda x, n: np.delete(x, n),
        lambda x, n: np.insert(x, n, 1.0),
        lambda x, n: np.pad(x, n),
        lambda x, n: x * np.allclose(n, 1),
        lambda x, n: x * np.array_equal(n, n),
        lambda x, n: np.compress(n > 0, x),
        lambda x, n: F.index_set(x, n > 0, x[:1]),
        lambda x, n: x[n > 0] * 2.0,
        lambda x, n: np.nonzero(x)[0] * 2,
        lambda x, n: np.split(x, n)[0],
        lambda x, n: Variable(x) * 2,
        lambda x, n: x.tobytes(),
        lambda x, n: f"{x}",
        lambda x, n: x.sort(),
        lambda x, n: x.fill(3.0),
        lambda x, n: np.copyto(x, 5.0),
        lambda x, n: x.__setitem__(0, 5.0),
        lambda x, n: [np.ones(1) + v for v in x.tolist()],
    ],
)
def test_counts_and_answers_are_never_frozen(use: Any) -> None:
    """What decides on a shape, or leaves the program, or writes, goes on as eagerly, with a word."""
    x = np.ones(2)
    n = np.array([1, 0])
    other = np.array([3.0, 2.0]), np.array([0, 1])
    wanted = [use(*copied) for copied in map(copy.deepcopy, ((x, n), other))]
    f = minidl.compile(use)
    with pytest.warns(UserWarning, match=r"test_compile\.py:\d+.*goes on eagerly"):
        got = f(x, n)
    for a, b in zip((got, f(*other)), wanted, strict=True):
        np.testing.assert_equal(
            getattr(a, "data", a) if isinstance(a, Variable) else a,
            b.data if isinstance(b, Variable) else b,
        )
        assert type(a) is type(b)


@pytest.mark.parametrize("use", [np.bincount, np.unique, lambda n: np.cumsum(n.reshape(2, 2), 0)])
def test_calls_whose_shapes_change_are_right(use: Any) -> None:
    f = minidl.compile(lambda x, n: use(n) * x.sum(), check="never")
    x = np.arange(3.0)
    for n in ([1, 0, 1, 3], [0, 0, 1, 3], [2, 2, 2, 2], [0, 1, 2, 3]):
        same(f(x, np.array(n)), use(np.array(n)) * x.sum())


def test_numbers_of_its_own_may_decide_on_shapes() -> None:
    program = minidl.compile(lambda x: np.repeat(x, [1, 2]) * 2.0)
    for factor in (1.0, 2.0):
        same(program(factor * np.ones(2)), factor * np.full(3, 2.0))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: np.histogram(x, 3)[0],
        lambda x: np.frompyfunc(abs, 1, 1)(x),
        lambda x: np.unwrap(x),
        lambda x: np.bitwise_count(x.astype(int)),
    ],
)
def test_what_has_no_rule_is_a_call(use: Any) -> None:
    f = minidl.compile(lambda x: use(x))
    for x in (np.arange(4.0), np.array([5.0, -2.0, 0.0, 9.0]), np.ones(4)):
        np.testing.assert_array_equal(f(x), use(x))


def test_a_representation_that_says_how_it_runs() -> None:
    f = minidl.compile(cubic)
    assert re.fullmatch(r"<compiled <function cubic at 0x\w+>: 0 programs>", repr(f))
    f(np.ones(2))
    assert repr(f).endswith(": 1 program>")
    f(np.ones(3))
    assert repr(f).endswith(": 2 programs>")


def test_backward_of_an_argument_inside() -> None:
    f = minidl.compile(lambda x: (x * x).sum().backward(), check="raise")
    x = Variable(np.ones(2))
    for i in range(4):
        f(x)
        same(x.grad, np.full(2, 2.0 * (i + 1)))
        f(Variable(np.zeros(2)))
    assert "NumPy" in f.status()


def test_errors_of_the_function_come_through_and_leave_nothing() -> None:
    f = minidl.compile(lambda x, w: x @ w)
    with pytest.raises(ValueError, match="matmul"):
        f(np.ones((2, 3)), np.ones((2, 3)))
    same(f(np.ones((2, 3)), np.ones((3, 2))), np.full((2, 2), 3.0))


# ---- functional code --------------------------------------------------------------------------------------------


def cubic(x: Any) -> Any:
    return (x**3).sum() + F.sin(x).sum()


@pytest.mark.parametrize("x", [np.array([0.3, -1.2]), np.float64(0.7), np.array(2.0)])
def test_transforms(x: Any) -> None:
    for f in (
        minidl.grad(cubic),
        minidl.grad(lambda z: minidl.grad(cubic)(z).sum()),
        minidl.value_and_grad(cubic),
        lambda z: minidl.hvp(cubic)(z, z),
        lambda z: minidl.vjp(F.exp, z)[1](z * 2)[0],
        lambda z: minidl.jvp(F.tanh, (z,), (z,))[1],
    ):
        compiled = minidl.compile(f)
        for at in (x, x * 2, x):
            want, got = f(at), compiled(at)
            for a, b in zip(*(y if type(y) is tuple else (y,) for y in (want, got)), strict=True):
                assert type(a) is type(b) or np.ndim(a) == 0
                np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-13)


def test_jacobian_and_hessian() -> None:
    for f in (minidl.jacobian(lambda z: F.exp(z) * z.sum()), minidl.hessian(cubic)):
        for x in (normal(3, dtype=np.float64), normal(3, dtype=np.float64)):
            np.testing.assert_allclose(minidl.compile(f)(x), f(x), rtol=1e-13)


def test_compiled_inside_transforms_and_transforms_of_models() -> None:
    inner = minidl.compile(lambda x: (F.tanh(x) ** 2).sum())
    x = normal(3, dtype=np.float64)
    np.testing.assert_allclose(
        minidl.grad(inner)(x), minidl.grad(lambda x: (F.tanh(x) ** 2).sum())(x), rtol=1e-13
    )
    model = layers.Linear(3, 1, dtype=np.float64)
    slope = minidl.grad(lambda x: F.tanh(model(x)).sum())

    def penalty(x: Any) -> Any:
        return (slope(x) ** 2).sum()

    minidl.compile(penalty)(x).backward()
    got = [p.grad.data for p in model.parameters()]
    model.cleargrads()
    penalty(x).backward()
    for p, g in zip(model.parameters(), got, strict=True):
        np.testing.assert_allclose(g, p.grad.data, rtol=1e-13)


def test_gradients_without_a_graph_are_constants() -> None:
    x = Variable(normal(3, dtype=np.float64))

    def f(x: Any) -> Any:
        [g] = minidl.gradients((x**3).sum(), [x])
        return (g * x).sum()

    minidl.compile(f)(x).backward()
    got, _ = x.grad.data, x.cleargrad()
    f(x).backward()
    np.testing.assert_allclose(got, x.grad.data, rtol=1e-13)


def test_cross_entropy_of_second_order_sees_new_labels() -> None:
    f = minidl.compile(lambda x, t: minidl.hvp(lambda z: F.cross_entropy(z, t))(x, x))
    for labels in ([0, 1, 2], [2, 2, -100]):
        x, t = normal(3, 4, dtype=np.float64), np.array(labels)
        want = minidl.hvp(lambda z, t=t: F.cross_entropy(z, t))(x, x)
        np.testing.assert_allclose(f(x, t), want, rtol=1e-12, atol=1e-15)


# ---- numbers ----------------------------------------------------------------------------------------------------


def test_scalar_programs_where_python_would_raise() -> None:
    f = minidl.compile(lambda x, y: x / y + x**-2 + y**200)
    for x, y in ((1.0, 2.0), (1.0, 0.0), (0.0, 1.0), (1e300, 1e300), (-3.0, 2.5)):
        a, b = np.float64(x), np.float64(y)
        with np.errstate(all="ignore"):
            same(f(a, b), a / b + a**-2 + b**200)


def test_large_arrays_go_block_by_block() -> None:
    n = 200_001
    x, w = Variable(normal(n)), Variable(normal(3, 66_667))

    def g(x: Any, w: Any) -> Any:
        return (F.tanh(x * 2) * F.sigmoid(x) - F.relu(x) ** 2).sum() + F.exp(-w * w).sum()

    f = minidl.compile(g)
    for threads in (1, 2):
        minidl.set_num_threads(threads)
        y = f(x, w)
        y.backward()
        got, _, _ = (x.grad.data, w.grad.data), x.cleargrad(), w.cleargrad()
        want = g(x, w)
        want.backward()
        close(y, want)
        same(got[0], x.grad)
        same(got[1], w.grad)
        x.cleargrad(), w.cleargrad()
    minidl.set_num_threads(1)
    strided = normal(n * 2)[::2]
    close(minidl.compile(lambda x: (F.tanh(x) * 2).sum())(strided), (np.tanh(strided) * 2).sum())


# ---- threads ----------------------------------------------------------------------------------------------------


def test_many_threads() -> None:
    p = normal(20)
    f = minidl.compile(lambda x: (F.tanh(x * p) ** 2).sum())
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            x = Variable(rng.standard_normal(20).astype(np.float32))
            f(x).backward()
            got, _ = x.grad.data, x.cleargrad()
            (F.tanh(x * p) ** 2).sum().backward()
            if not np.array_equal(got, x.grad.data):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_reentrance() -> None:
    @minidl.compile
    def f(x: Any, depth: int) -> Any:
        return x if depth == 0 else f(x * 2, depth - 1) + 1

    same(f(np.ones(2), 3), np.full(2, 11.0))


def test_as_a_decorator_and_printed() -> None:
    @minidl.compile
    def half(x: Any) -> Any:
        """Half of it."""
        return x * 0.5

    assert half.__name__ == "half" and half.__doc__ == "Half of it."
    text = str(half.program(np.ones((2, 3))))
    assert "multiply(x0, 0.5)" in text and "float64 (2, 3)" in text


def test_memory_stays_flat() -> None:
    model, x, t = layers.MLP([64, 3], in_features=32), normal(128, 32), RNG.integers(0, 3, 128)
    f, optimizer = (
        minidl.compile(lambda x, t: F.cross_entropy(model(x), t)),
        optim.SGD(model, lr=0.01),
    )
    for _ in range(10):
        optimizer.cleargrads()
        f(x, t).backward()
        optimizer.update()
    [recording] = f.programs
    assert len(recording.runner.pool) <= 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            f(x, t)  # without a backward its buffers come back when the result goes
    assert len(recording.runner.pool) <= 4


# ---- the trainer ------------------------------------------------------------------------------------------------


def fitted(compile: bool, kind: str) -> tuple[list[Any], list[Any]]:
    minidl.seed(0)
    rng = np.random.default_rng(1)
    make, shape = MODELS[kind]
    model = make()
    x, t = rng.standard_normal((22, *shape[1:])).astype(np.float32), rng.integers(0, 3, 22)
    trainer = minidl.Trainer(
        model, optim.Adam(model, lr=0.01), F.cross_entropy, [F.accuracy], compile=compile
    )
    history = trainer.fit(x, t, epochs=3, batch_size=5, validation=(x, t), accumulate=2, verbose=0)
    return [history[k] for k in ("loss", "accuracy", "val_loss")], [
        p.data for p in model.parameters()
    ]


@pytest.mark.parametrize("kind", ["mlp", "lstm", "dropout"])
def test_the_trainer_compiled_trains_the_same(kind: str) -> None:
    (a, p), (b, q) = fitted(False, kind), fitted(True, kind)
    assert a == b
    for one, other in zip(p, q, strict=True):
        same(one, other)


def test_a_stateful_model_compiled_in_the_trainer() -> None:
    results = []
    for compile in (False, True):
        minidl.seed(0)
        model = layers.Sequential(layers.LSTM(4, stateful=True), layers.Linear(1))
        x = np.sin(np.arange(60, dtype=np.float32)).reshape(2, 30, 1)
        trainer = minidl.Trainer(
            model, optim.SGD(model, lr=0.05), F.mean_squared_error, compile=compile
        )
        for k in range(0, 30, 6):
            trainer.train_step(x[:, k : k + 6], x[:, k : k + 6])
        results.append([p.data for p in model.parameters()])
    for one, other in zip(*results, strict=True):
        close(one, other)


def test_an_assignment_into_an_array_is_as_eagerly():
    @minidl.compile
    def f(x):
        z = np.zeros(3)
        z[0] = x[0]
        return z.sum() * x.sum()

    with pytest.warns(UserWarning, match=r"is read at .*test_compile\.py:\d+"):
        assert f(np.ones(3)) == 3
    assert f(np.full(3, 2.0)) == 12
