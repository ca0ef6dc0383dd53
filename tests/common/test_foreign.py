"""minidl on arrays that are not NumPy's: a strict class of the tests' own and, where there is a GPU, CuPy's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Trainer, Variable, layers, optim
from minidl import functions as F
from minidl.common import arrays as backend
from minidl.layers.pool import Pool
from minidl.optim import hooks
from tests.common.foreign import Array, foreign, inner
from tests.functions.catalogue import ROWS, Row, outputs
from tests.layers.test_every_layer import ROWS as EVERY_LAYER


@dataclass(frozen=True)
class Kind:
    """A library of arrays: how a test makes one of NumPy's, and looks into it."""

    name: str
    array: type
    make: Callable[[Any], Any]
    look: Callable[[Any], Any]
    rtol: float = 1e-12


def kinds() -> list[Kind]:
    found = [Kind("foreign", Array, foreign, inner)]
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount():
            found.append(Kind("cupy", cupy.ndarray, cupy.asarray, cupy.asnumpy, 1e-9))
    except Exception:  # not installed, or no driver: test_cupy_is_looked_at says so
        pass
    return found


KINDS = kinds()
NUMPY = Kind("numpy", np.ndarray, np.array, np.array)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)


def test_cupy_is_looked_at() -> None:
    cupy = pytest.importorskip(
        "cupy", reason="the same tests on a GPU need CuPy", exc_type=ImportError
    )
    if len(KINDS) == 1:
        pytest.skip(f"CuPy {cupy.__version__} found no GPU")


# ---- the catalogue ----------------------------------------------------------------------------------------------


def moved(value: Any, kind: Kind) -> Any:
    """An argument with every array in it made one of this kind."""
    if isinstance(value, np.ndarray):
        return kind.make(value)
    return tuple(moved(v, kind) for v in value) if isinstance(value, tuple) else value


def arguments(
    row: Row, kind: Kind, wrap: Any = lambda x: x
) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """All arguments, those that are differentiated once more, and settings."""
    still = 1 if row.function is F.split else -1  # where to cut is no data
    args = [a if i == still else moved(a, kind) for i, a in enumerate(row.args)]
    for i in row.places:
        args[i] = wrap(kind.make(row.args[i]))
    return args, [args[i] for i in row.places], {k: moved(v, kind) for k, v in row.settings.items()}


def apply(row: Row, args: list[Any], settings: dict[str, Any]) -> Any:
    return row.via(row.function, *args) if row.via else row.function(*args, **settings)


def weighted(ys: list[Any], kind: Kind, seed: int) -> Any:
    rng, total = np.random.default_rng(seed), 0.0
    for y in ys:
        total = total + (y * kind.make(rng.uniform(0.5, 1.5, y.shape).astype(y.dtype))).sum()
    return total


def derivatives(row: Row, kind: Kind) -> list[Any]:
    """Value, gradients, and the gradients of a weighted sum of these."""
    args, xs, settings = arguments(row, kind, Variable)
    ys = outputs(apply(row, args, settings))
    found = [y.data for y in ys]
    weighted(ys, kind, 1).backward()
    found += [x.grad.data for x in xs]
    for x in xs:
        x.cleargrad()
    weighted(ys, kind, 1).backward(create_graph=True)
    gradients = [x.grad for x in xs]
    for x in xs:
        x.cleargrad()
    twice = weighted(gradients, kind, 2)
    if twice.requires_grad:
        twice.backward()
    missing = [kind.make(np.zeros(x.shape)) for x in xs]
    return (
        found
        + [g.data for g in gradients]
        + [m if x.grad is None else x.grad.data for x, m in zip(xs, missing)]
    )


def assert_same(got: list[Any], want: list[Any], kind: Kind) -> None:
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert type(g) is kind.array and (g.shape, g.dtype) == (w.shape, w.dtype)
        np.testing.assert_allclose(kind.look(g), w, rtol=kind.rtol, atol=1e-13)


@every_kind
@pytest.mark.parametrize(
    "row", [r for r in ROWS if r.derived and r.foreign], ids=lambda r: f"{r.name}-{r.label}"
)
def test_derivatives_of_the_first_two_orders(row: Row, kind: Kind) -> None:
    assert_same(derivatives(row, kind), derivatives(row, NUMPY), kind)


@every_kind
@pytest.mark.parametrize("row", [r for r in ROWS if r.foreign], ids=lambda r: f"{r.name}-{r.label}")
def test_arrays_in_arrays_out(row: Row, kind: Kind) -> None:
    args, _, settings = arguments(row, kind)
    if any(type(a) is kind.array or isinstance(a, tuple) for a in args):
        got, want = outputs(apply(row, args, settings)), outputs(row(*row.samples))
        assert_same(got, [np.asarray(w) for w in want], kind)


@every_kind
def test_lists_and_numbers_beside_them(kind: Kind) -> None:
    x = Variable(kind.make(np.arange(6.0).reshape(2, 3)))
    (x * [1.0, 2.0, 3.0] + 1).sum().backward(1.0)
    np.testing.assert_array_equal(kind.look(x.grad.data), [[1.0, 2.0, 3.0]] * 2)
    constant = kind.make(np.ones((2, 3)))
    for y in (constant * x, x * constant, np.float64(1.0) * x, np.multiply(constant, x)):
        assert type(y) is Variable and type(y.data) is kind.array
    x.data = [[0.0] * 3] * 2
    assert type(x.data) is kind.array and "0." in repr(x) and "0." in x._repr_html_()
    with pytest.raises(TypeError):
        np.asarray(Variable(constant, requires_grad=False))
    with pytest.raises(TypeError):
        x * np.ones((2, 3))  # moving it in silence is what nobody wants


@every_kind
def test_transforms(kind: Kind) -> None:
    def f(x: Any) -> Any:
        return np.tanh(x) * x.sum()

    x, v = np.array([0.3, -0.5, 1.0]), np.array([1.0, 0.5, 2.0])
    for transformed, args in (
        (minidl.grad(lambda x: f(x).sum()), (x,)),
        (minidl.jacobian(f), (x,)),
        (minidl.hvp(lambda x: f(x).sum()), (x, v)),
        (minidl.hessian(lambda x: f(x).sum()), (x,)),
        (lambda x, v: minidl.jvp(f, (x,), (v,))[1], (x, v)),
        (lambda x: minidl.vjp(f, x)[1]([1.0, 2.0, 3.0])[0], (x,)),
        (minidl.jacobian(f), (x[:0],)),
    ):
        assert_same([transformed(*map(kind.make, args))], [transformed(*args)], kind)
    assert minidl.gradcheck(f, kind.make(x))
    with minidl.detect_anomaly():
        f(Variable(kind.make(x))).sum().backward()


@every_kind
def test_elements_picked_twice(kind: Kind) -> None:
    x, picked = Variable(kind.make(np.zeros((2, 3)))), kind.make(np.array([[0, 0], [1, 0]]))
    (x[picked] * kind.make(np.arange(12.0).reshape(2, 2, 3))).sum().backward()
    np.testing.assert_array_equal(kind.look(x.grad.data), [[12.0, 15.0, 18.0], [6.0, 7.0, 8.0]])
    with pytest.raises(ValueError, match="label 3 is outside the 3 classes"):
        F.cross_entropy(x, kind.make(np.array([0, 3])))


# ---- layers, optimizers, training -------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("layer", [layers.RNN, layers.LSTM, layers.GRU])
@pytest.mark.parametrize("stateful", [False, True])
def test_recurrent_layers(layer: Any, stateful: bool, kind: Kind) -> None:
    def run(kind: Kind, move: bool) -> list[Any]:
        minidl.seed(0)
        model = layer(4, stateful=stateful, dtype=np.float64)
        if move:
            model.to(kind.make(np.zeros(0)))
        rng = np.random.default_rng(0)
        found = []
        for shape in ((2, 5, 3), (2, 5, 3)) if stateful else ((2, 5, 3), (2, 3), (2, 3)):
            y = model(kind.make(rng.standard_normal(shape)))
            (y * y).sum().backward()
            found += [y.data] + [p.grad.data for p in model.parameters()]
        return found

    for move in (False, True):
        assert_same(run(kind, move), run(NUMPY, False), kind)


@every_kind
@pytest.mark.parametrize("layer", [layers.RNN, layers.LSTM, layers.GRU])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_on_padded_rows(layer: Any, both: bool, kind: Kind) -> None:
    def run(kind: Kind, lengths: Any) -> list[Any]:
        minidl.seed(0)
        model = layer(4, dtype=np.float64)
        if both:
            model = layers.Bidirectional(model)
        x = kind.make(np.random.default_rng(0).standard_normal((3, 5, 3)))
        y, state = model.with_state(x, lengths=lengths)
        flat = [*state] if isinstance(state, tuple) else [state]
        while any(isinstance(part, tuple) for part in flat):
            flat = [p for part in flat for p in (part if isinstance(part, tuple) else (part,))]
        ((y * y).sum() + sum((s * s).sum() for s in flat)).backward()
        return [y.data, *(s.data for s in flat), *(p.grad.data for p in model.parameters())]

    for lengths in ([2, 5, 1], np.array([2, 5, 1]), kind.make(np.array([2, 5, 1]))):
        assert_same(run(kind, lengths), run(NUMPY, [2, 5, 1]), kind)


OPTIMIZERS: list[Any] = [
    lambda m: optim.SGD(m, lr=0.1),
    lambda m: optim.SGD(m, lr=0.1, hooks=[hooks.WeightDecay(0.1), hooks.ClipGrad(0.1)]),
    lambda m: optim.Momentum(m, lr=0.1),
    lambda m: optim.Momentum(m, lr=0.1, nesterov=True),
    lambda m: optim.Adam(m, lr=0.1),
    lambda m: optim.AdamW(m, lr=0.1),
    lambda m: optim.RMSprop(m, lr=0.1, momentum=0.5, centered=True),
    lambda m: optim.Adagrad(m, lr=0.1, initial_accumulator_value=0.1),
    lambda m: optim.Lion(m, lr=0.1),
    lambda m: optim.Adam(
        [{"params": m[0][0], "lr": 0.3}, {"params": m[0][-1]}], hooks=hooks.ClipValue(0.1)
    ),
]


@every_kind
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_optimizers_also_when_the_model_moves(make: Any, kind: Kind) -> None:
    def run(homes: list[Kind]) -> list[Any]:
        minidl.seed(0)
        model = layers.Sequential(
            layers.MLP([5, 3], in_features=4, dtype=np.float64), layers.Dropout(0.2)
        )
        optimizer, rng = make(model), np.random.default_rng(0)
        for kind in homes:
            if type(model.parameters()[0].data) is not kind.array:
                model.to(kind.make(np.zeros(0)))
            x, t = kind.make(rng.standard_normal((8, 4))), kind.make(rng.integers(0, 3, 8))
            optimizer.cleargrads()
            F.cross_entropy(model(x), t).backward()
            optimizer.update()
            state = optimizer.state_dict()
            assert all(type(a) is kind.array for name, a in state.items() if name[-1] in "mv")
            optimizer.load_state_dict({name: backend.host(a) for name, a in state.items()})
        return [p.data for p in model.parameters()]

    assert_same(run([kind] * 4), run([NUMPY] * 4), kind)
    assert_same(run([NUMPY, kind, kind, NUMPY, NUMPY, kind]), run([NUMPY] * 6), kind)
    assert_same(run([kind, kind, NUMPY]), run([NUMPY] * 3), NUMPY)


@every_kind
@pytest.mark.parametrize(("make", "shape", "out"), EVERY_LAYER)
def test_every_layer_works_or_says_why_not(
    make: Any, shape: tuple[int, ...], out: tuple[int, ...], kind: Kind
) -> None:
    """Windows are views by NumPy's strides: convolutions and pooling refuse other arrays."""
    layer = make(dtype=np.float64)
    x = np.random.default_rng(0).normal(size=shape)
    with minidl.test_mode():
        layer(x)
        layer.reset_state()
        want = layer(Variable(x))
    layer.to(kind.make(np.zeros(0)))
    own = Variable(kind.make(x))
    if any(isinstance(part, layers.Conv1d | layers.Conv2d | Pool) for part in layer.sublayers()):
        with pytest.raises(TypeError, match=r"(conv|pool): want an array of NumPy's, got one of"):
            layer(own)
        return
    with minidl.test_mode():
        got = layer(own)
    assert type(got.data) is kind.array and got.shape == out
    np.testing.assert_allclose(kind.look(got.data), want.data, rtol=1e3 * kind.rtol, atol=1e-9)
    (got * got).sum().backward()
    assert type(own.grad.data) is kind.array


@every_kind
@pytest.mark.parametrize("compile", [False, True])
def test_training(compile: bool, kind: Kind, tmp_path: Any) -> None:
    def run(kind: Kind) -> tuple[Any, ...]:
        minidl.seed(0)
        rng = np.random.default_rng(0)
        x = kind.make(rng.standard_normal((40, 6, 3)))
        t = kind.make(rng.integers(0, 3, 40))
        model = layers.Sequential(
            layers.LSTM(4, return_sequences=False, dtype=np.float64), layers.Linear(3)
        )
        model.to(dtype=np.float64)
        optimizer = optim.Adam(model, lr=0.05, hooks=[hooks.ClipGrad(0.5)])
        trainer = Trainer(model, optimizer, F.cross_entropy, metrics=[F.accuracy], compile=compile)
        rows = trainer.fit(
            x, t, epochs=3, validation=0.2, batch_size=8, accumulate=2, verbose=0
        ).rows
        path = tmp_path / f"{kind.name}.npz"
        trainer.save(path)
        trainer.fit(
            x, t, epochs=4, validation=0.2, batch_size=8, accumulate=2, verbose=0, resume=path
        )
        minidl.save(model, path)
        model.load_state_dict(minidl.load(path))
        return rows + trainer.history.rows, trainer.evaluate(x, t), trainer.predict(x), model

    rows, figures, prediction, model = run(NUMPY)
    its_rows, its_figures, its_prediction, its_model = run(kind)
    for got, want in zip([*its_rows, its_figures], [*rows, figures], strict=True):
        assert got == pytest.approx(want, rel=1e3 * kind.rtol)
    np.testing.assert_allclose(kind.look(its_prediction), prediction, rtol=1e-6)
    assert {type(p.data) for p in its_model.parameters()} == {kind.array}
    its_model.to("cpu")
    assert {type(p.data) for p in its_model.parameters()} == {np.ndarray}
    assert "parameters" in its_model.summary()


@every_kind
def test_a_carried_state_comes_back_where_it_was(kind: Kind, tmp_path: Any) -> None:
    x, t = kind.make(np.ones((8, 3), np.float32)), kind.make(np.zeros((8, 2), np.float32))
    model = layers.Sequential(layers.LSTM(3, 4, stateful=True), layers.Linear(4, 2)).to(x)
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error)
    trainer.fit(x, t, epochs=1, batch_size=4, shuffle=False, verbose=0)
    trainer.save(tmp_path / "state.npz")
    before = model[0].state
    model.reset_state()
    trainer.load(tmp_path / "state.npz")
    assert_same([v.data for v in model[0].state], [kind.look(v.data) for v in before], kind)
    x = kind.make(np.ones((4, 3), np.float32))
    assert type(model(x).data) is kind.array
    assert {type(a) for a in minidl.torch_state_dict(model).values()} == {np.ndarray}


@every_kind
def test_a_compiled_function_runs_eagerly(kind: Kind) -> None:
    w = Variable(kind.make(np.ones(3)))
    for f, args in (
        (minidl.compile(lambda x: (x * x).sum()), (w,)),
        (minidl.compile(lambda: (w * w).sum()), ()),
    ):
        w.cleargrad()
        for _ in range(2):
            f(*args).backward()
        np.testing.assert_array_equal(kind.look(w.grad.data), [4.0] * 3)
    assert type(f().data) is kind.array


@every_kind
def test_a_bad_value_is_explained(kind: Kind) -> None:
    model = layers.Linear(3, 1, dtype=np.float64).to(kind.make(np.zeros(0)))
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error)
    with pytest.raises(FloatingPointError, match=r"The batch's x has nan at \(1, 2\)"):
        trainer.train_step(
            kind.make(np.array([[0.0] * 3, [0.0, 0.0, np.nan]])), kind.make(np.zeros((2, 1)))
        )


def test_where_a_layer_can_move() -> None:
    model = layers.Linear(3, 2)
    with pytest.raises(ValueError, match="want 'cpu', 'cuda' or an array"):
        model.to("tpu")
    if len(KINDS) == 2:
        assert type(model.to("cuda").w.data) is KINDS[1].array
    model.to("cpu")
    assert type(model.w.data) is np.ndarray
    lazy = layers.Linear(2)
    lazy(
        foreign(np.ones((4, 3), np.float32))
    )  # weights come to be where the first input is, and the bias follows
    assert {type(p.data) for p in lazy.parameters()} == {Array}


# ---- the strict class is strict ---------------------------------------------------------------------------------


def test_the_strict_array_refuses() -> None:
    x, one = foreign(np.ones((2, 3))), foreign(1.0)
    for convert in (
        np.asarray,
        np.array,
        float,
        int,
        list,
        np.add.reduce,
        hash,
        lambda x: x.max(initial=0),
    ):
        with pytest.raises(TypeError):
            convert(one)
    for mix in (
        lambda a: x + a,
        lambda a: a + x,
        lambda a: np.where(x > 0, a, x),
        lambda a: np.add(x, x, out=a),
    ):
        with pytest.raises(TypeError):
            mix(np.ones(3))
    with pytest.raises(TypeError):
        x[0] = np.ones(3)
    for index in ([0], np.array([0])):
        with pytest.raises(IndexError):
            x[index]
    with pytest.raises(ValueError, match="truth"):
        bool(x)
    assert (
        bool(one) and type(x.sum()) is Array and type(x[0, 0]) is Array and type(np.sum(x)) is Array
    )
