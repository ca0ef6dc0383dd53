"""The trainer: the same as the loop one writes by hand, exact weights for samples, and bad input named."""

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Trainer, Variable, layers, optim
from minidl import functions as F
from minidl.training.callbacks import Callback

Array = Any


def data(n: int = 50, dtype: Any = np.float64) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, 4)).astype(dtype)
    return x, (x[:, :1] * x[:, 1:2]).astype(dtype)


def mlp(dtype: Any = np.float64) -> layers.Layer:
    return layers.MLP(
        [16, 1], activation=np.tanh, in_features=4, dtype=dtype, rng=np.random.default_rng(0)
    )


def trainer(model: Any = None, **kwargs: Any) -> Trainer:
    model = mlp() if model is None else model
    return Trainer(model, optim.SGD(model, lr=0.1), F.mean_squared_error, **kwargs)


def weights(model: Any) -> list[Array]:
    return [p.data.copy() for p in model.parameters()]


def same(a: Any, b: Any, atol: float = 0.0) -> bool:
    return all(np.abs(p - q).max() <= atol for p, q in zip(weights(a), weights(b), strict=True))


# ---- learning ------------------------------------------------------------------------------------------


def test_it_learns_with_lazy_layers_and_float32() -> None:
    minidl.seed(0)
    x, t = data(200, np.float32)
    model = layers.MLP([32, 1])
    history = Trainer(model, optim.Adam(model, lr=0.01), F.mean_squared_error).fit(
        x, t, epochs=30, verbose=0
    )
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert all(p.dtype == np.float32 and p.grad.dtype == np.float32 for p in model.parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda m: optim.SGD(m, lr=0.1),
        lambda m: optim.Adam(m, lr=0.01),
        lambda m: optim.AdamW(m, lr=0.01),
        lambda m: optim.Momentum(m, lr=0.01),
    ],
)
def test_a_fit_is_the_loop_written_by_hand(make: Any) -> None:
    x, t = data()
    ours, theirs = mlp(), mlp()
    history = Trainer(ours, make(ours), F.mean_squared_error).fit(
        DataLoader(x, t, batch_size=16, seed=5), epochs=3, verbose=0
    )
    optimizer, loader, losses = make(theirs), DataLoader(x, t, batch_size=16, seed=5), []
    for _ in range(3):
        total = 0.0
        for bx, bt in loader:
            loss = F.mean_squared_error(theirs(bx), bt)
            optimizer.cleargrads()
            loss.backward()
            optimizer.update()
            total += len(bx) * loss.item()
        losses.append(total / len(x))
    assert same(ours, theirs)
    assert history["loss"] == losses


def test_arrays_are_shuffled_by_the_seeded_generator_and_nothing_else_is_drawn() -> None:
    x, t = data()
    results = []
    for validation in (None, (x, t)):
        minidl.seed(7)
        model = mlp()
        trainer(model).fit(x, t, epochs=2, validation=validation, verbose=0)
        results.append((weights(model), minidl.random.generator().random()))
    assert all(np.array_equal(a, b) for a, b in zip(results[0][0], results[1][0], strict=True))
    assert results[0][1] == results[1][1]
    minidl.seed(8)
    other = mlp()
    trainer(other).fit(x, t, epochs=2, verbose=0)
    assert not np.array_equal(weights(other)[0], results[0][0][0])


def test_train_step_alone() -> None:
    x, t = data()
    ours, theirs = mlp(), mlp()
    loss = trainer(ours).train_step(x, t)
    assert isinstance(loss, float)
    expected = F.mean_squared_error(theirs(x), t)
    expected.backward()
    optim.SGD(theirs, lr=0.1).update()
    assert loss == expected.item() and same(ours, theirs)


@pytest.mark.parametrize(
    ("n", "batch_size", "accumulate"),
    [
        (48, 8, 2),
        (48, 8, 6),
        (50, 8, 3),
        (50, 7, 100),
        (9, 4, 2),
    ],
)
def test_accumulation_is_the_big_batch(n: int, batch_size: int, accumulate: int) -> None:
    x, t = data(n)
    ours, big = mlp(), mlp()
    a = trainer(ours).fit(
        x, t, epochs=3, batch_size=batch_size, accumulate=accumulate, shuffle=False, verbose=0
    )
    b = trainer(big).fit(
        x, t, epochs=3, batch_size=batch_size * accumulate, shuffle=False, verbose=0
    )
    assert same(ours, big, atol=1e-12)
    assert np.allclose(a["loss"], b["loss"], rtol=0, atol=1e-12)


def test_losses_and_metrics_weigh_every_sample_the_same() -> None:
    x, t = data(50)
    model = mlp()
    error = {"error": lambda y, t: abs(y - t).mean()}
    still = Trainer(model, optim.SGD(model, lr=1e-300), F.mean_squared_error, metrics=error)
    history = still.fit(x, t, epochs=1, batch_size=32, validation=(x, t), verbose=0)
    y = model(x).data
    for name, value in (("loss", np.mean((y - t) ** 2)), ("error", np.mean(abs(y - t)))):
        assert history[name][0] == pytest.approx(value, abs=1e-14)
        assert history[f"val_{name}"][0] == pytest.approx(value, abs=1e-14)
        assert still.evaluate(x, t, batch_size=7)[name] == pytest.approx(value, abs=1e-14)


def test_the_history_of_a_fit() -> None:
    x, t = data(50)
    t = (t[:, 0] > 0).astype(np.int64)
    model = layers.MLP([8, 2], in_features=4)
    rate = lambda step: 0.1 / (1 + step)
    learner = Trainer(model, optim.SGD(model, lr=rate), F.cross_entropy, metrics=[F.accuracy])
    history = learner.fit(x.astype(np.float32), t, epochs=3, validation=0.2, verbose=0)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert len(history.rows) == 3 and learner.history is history
    assert all(0 <= v <= 1 for v in history["accuracy"]) and history["lr"][0] > history["lr"][2]
    again = learner.fit(x.astype(np.float32), t, epochs=1, verbose=0)
    assert len(history.rows) == 3 and len(again.rows) == 1  # every fit has a history of its own
    assert learner.history is again


def test_a_fraction_is_held_out_from_the_end() -> None:
    x, t = data(50)
    ours, theirs = mlp(), mlp()
    minidl.seed(1)
    a = trainer(ours).fit(x.tolist(), t.tolist(), epochs=2, validation=0.3, verbose=0)
    minidl.seed(1)
    b = trainer(theirs).fit(x[:35], t[:35], epochs=2, validation=(x[35:], t[35:]), verbose=0)
    assert same(ours, theirs) and a == b


def test_a_function_is_a_model_too() -> None:
    w = minidl.Parameter([[0.0]] * 4)
    learner = Trainer(lambda x: x @ w, optim.SGD([w], lr=0.1), F.mean_squared_error)
    x = data()[0]
    history = learner.fit(x, x @ [[1.0], [2.0], [3.0], [4.0]], epochs=60, verbose=0)
    assert history["loss"][-1] < 1e-6
    assert np.allclose(w.data[:, 0], [1, 2, 3, 4], atol=1e-2)


# ---- evaluation and prediction -------------------------------------------------------------------------


class Watch(layers.Layer):
    """Passes on its input and notes in which mode it ran."""

    def __init__(self) -> None:
        self.inner, self.seen, self.fails = layers.Linear(4, 1, dtype=np.float64), [], False

    def forward(self, x: Any) -> Any:
        out = self.inner(F.dropout(x, 0.5))
        self.seen.append((out.requires_grad, len(x)))
        if self.fails:
            raise RuntimeError("made to fail")
        return out


def test_evaluation_records_nothing_and_runs_in_test_mode_and_in_order() -> None:
    x, t = data(10)
    model = Watch()
    learner = trainer(model)
    expected = x @ model.inner.w.data + model.inner.b.data  # no dropout
    assert np.allclose(learner.predict(x, batch_size=4), expected, atol=1e-15)
    assert model.seen == [(False, 4), (False, 4), (False, 2)]
    assert learner.predict(x, batch_size=100).shape == (10, 1)
    loader = DataLoader(x, t, batch_size=3, shuffle=True, seed=0)
    same = DataLoader(x, t, batch_size=3, shuffle=True, seed=0)
    assert learner.evaluate(loader)["loss"] == pytest.approx(
        np.mean((expected - t) ** 2), abs=1e-14
    )
    for (a, _), (b, _) in zip(
        loader, same, strict=True
    ):  # evaluating does not change the orders to come
        np.testing.assert_array_equal(a, b)
    assert model.inner.w.grad is None


def test_modes_come_back_when_evaluation_fails() -> None:
    x, t = data(10)
    model = Watch()
    learner = trainer(model)
    for call in (learner.evaluate, lambda x, t: learner.predict(x)):
        model.fails = True
        with pytest.raises(RuntimeError, match="made to fail") as caught:
            call(x, t)
        model.fails = False
        ones = np.ones((1000, 4))
        assert model(ones).requires_grad and np.any(F.dropout(ones, 0.5) == 0)
        del caught
    learner.loss = lambda y, t: 1 / 0
    with pytest.raises(ZeroDivisionError):
        learner.evaluate(x, t)
    assert model(x).requires_grad


# ---- memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mlp", "stateful", "truncate"])
def test_memory_stays_flat_with_the_collector_off(kind: str) -> None:
    model: Any = mlp()
    keywords: dict[str, Any] = {}
    if kind != "mlp":
        model = layers.Sequential(layers.LSTM(4, 8, stateful=True), layers.Linear(8, 1))
        model.to(dtype=np.float64)
        keywords = {"truncate": 3} if kind == "truncate" else {}
    learner = trainer(model)
    x, t = data(64)
    sizes = []

    class Measure(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            sizes.append(tracemalloc.get_traced_memory()[0])

    learner.callbacks.append(Measure())
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        learner.fit(x, t, epochs=16, batch_size=4, shuffle=False, verbose=0, **keywords)
    finally:
        tracemalloc.stop()
        gc.enable()
    assert (
        sizes[-1] - sizes[4] < 60_000
    )  # 176 steps later; one leaked graph a step would be ten times as much


# ---- bad input -----------------------------------------------------------------------------------------

X, T = data(10)
LOADER = DataLoader(X, T, seed=0)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((X, T[:9]), {}, ValueError, r"fit: .*lengths \[10, 9\]"),
        ((X,), {}, TypeError, "x without t"),
        ((X[:0], T[:0]), {}, ValueError, r"got lengths \[0, 0\]"),
        ((np.zeros(()), T), {}, ValueError, "want an axis of samples"),
        ((Variable(X), T), {}, TypeError, "Variable"),
        ((X, T), {"epochs": 0}, ValueError, "fit: epochs must be at least 1"),
        ((X, T), {"epochs": 1.5}, TypeError, "fit: epochs must be an int, got 1.5"),
        ((X, T), {"epochs": True}, TypeError, "fit: epochs must be an int, got True"),
        ((X, T), {"accumulate": 0}, ValueError, "fit: accumulate must be at least 1"),
        ((X, T), {"truncate": 0}, ValueError, "fit: truncate must be at least 1"),
        ((X, T), {"truncate": 3}, ValueError, "stateful=True"),
        ((X, T), {"truncate": 3, "accumulate": 2}, ValueError, "accumulate and truncate"),
        ((X, T), {"verbose": "loud"}, ValueError, "verbose: .*'loud'"),
        ((X, T), {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ((LOADER, T), {}, ValueError, "a DataLoader and t"),
        ((LOADER,), {"batch_size": 3}, ValueError, "a DataLoader and batch_size"),
        ((LOADER,), {"shuffle": False}, ValueError, "a DataLoader and shuffle"),
        ((DataLoader(X),), {}, ValueError, "want a DataLoader of .*got one of 1"),
        ((LOADER,), {"validation": 0.5}, ValueError, "a fraction as validation"),
        ((X, T), {"validation": 1.0}, ValueError, "validation: .*1.0"),
        ((X, T), {"validation": 0.01}, ValueError, "validation: .*0.01"),
        ((X, T), {"validation": X}, TypeError, "want a pair .*ndarray"),
        ((X, T), {"validation": (X, T[:3])}, ValueError, r"fit: validation: .*lengths \[10, 3\]"),
    ],
)
def test_bad_arguments(arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    model = mlp()
    before = weights(model)
    with pytest.raises(error, match=message):
        trainer(model).fit(*arguments, **{"epochs": 1, "verbose": 0} | keywords)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True))


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"model": 3}, TypeError, "Trainer: model: want a layer, .*got a int"),
        ({"model": layers.MLP}, TypeError, "model: want an instance, .*got the class MLP"),
        ({"model": [layers.Linear(1)]}, TypeError, r"model: want .*Sequential\(.*got a list"),
        ({"optimizer": F.mean_squared_error}, TypeError, "optimizer: want .*got a function"),
        (
            {"optimizer": optim.Adam},
            TypeError,
            r"want an instance, as Adam\(model\), got the class",
        ),
        ({"optimizer": "adam"}, TypeError, "optimizer: want .*got 'adam'"),
        ({"loss": "mse"}, TypeError, "loss: want a function .*got 'mse'"),
        ({"loss": Callback}, TypeError, "loss: want a function .*got the class Callback"),
        ({"loss": Variable(1.0)}, TypeError, "loss: want a function .*got a Variable"),
        ({"metrics": ["accuracy"]}, TypeError, "metrics: want functions .*got 'accuracy'"),
        ({"metrics": [Callback]}, TypeError, "metrics: want functions .*got the class"),
        ({"metrics": 5}, TypeError, "Trainer: metrics: want functions, in a list, got a int"),
        ({"metrics": np.ones(2)}, TypeError, "Trainer: metrics: want functions, in a list"),
        ({"callbacks": True}, TypeError, "Trainer: callbacks: want instances .* in a list"),
        ({"callbacks": len}, TypeError, "Trainer: callbacks: want instances .* in a list"),
        ({"optimizer": {"lr": 1}}, TypeError, "Trainer: optimizer: want one of .* got a dict"),
        ({"compile": "C"}, TypeError, 'Trainer: compile: want True, False or "c"'),
        ({"scale_targets": 1}, TypeError, "Trainer: scale_targets: want True or False"),
        ({"callbacks": [Callback]}, TypeError, "callbacks: want instances .*got the class"),
        ({"metrics": [F.accuracy, F.accuracy]}, ValueError, "'accuracy'"),
        ({"metrics": {"loss": F.accuracy}}, ValueError, "'loss'"),
        ({"metrics": {"val_x": F.accuracy}}, ValueError, "'val_x'"),
        ({"callbacks": [print]}, TypeError, "callback"),
    ],
)
def test_bad_parts(keywords: Any, error: type[Exception], message: str) -> None:
    model = mlp()
    parts = {
        "model": model,
        "optimizer": optim.SGD(model, lr=0.1),
        "loss": F.mean_squared_error,
    } | keywords
    with pytest.raises(error, match=message):
        Trainer(**parts)


@pytest.mark.parametrize(
    ("model", "loss", "error", "message"),
    [
        (None, lambda y, t: (y - t) ** 2, ValueError, r"shape \(10, 1\), want one number"),
        (None, lambda y, t: 1.0, TypeError, "loss returned a float"),
        (None, lambda y, t: (y.detach() * 1).sum(), ValueError, "does not depend"),
        (lambda x: x, F.mean_squared_error, TypeError, "model returned a ndarray"),
    ],
)
def test_bad_models_and_losses(model: Any, loss: Any, error: type[Exception], message: str) -> None:
    parameters = mlp()
    learner = Trainer(model or parameters, optim.SGD(parameters, lr=0.1), loss)
    with pytest.raises(error, match=message):
        learner.fit(X, T, epochs=1, verbose=0)
    with pytest.raises(error, match=message):
        learner.train_step(X, T)


def test_evaluation_of_bad_data() -> None:
    learner = trainer()
    with pytest.raises(ValueError, match=r"evaluate: .*lengths \[10, 9\]"):
        learner.evaluate(X, T[:9])
    with pytest.raises(ValueError, match=r"evaluate: want arrays .* got lengths \[0, 0\]"):
        learner.evaluate(X[:0], T[:0])
    with pytest.raises(ValueError, match="predict: want arrays"):
        learner.predict(X[:0])
    learner.metrics = {"odd": lambda y, t: y}
    with pytest.raises(ValueError, match="odd: want one number, got shape"):
        learner.evaluate(X, T)
    learner.metrics = {"odd": lambda y, t: "good"}
    with pytest.raises(TypeError, match="odd: want a number, got 'good'"):
        learner.evaluate(X, T)


@pytest.mark.parametrize("sample", [X[0], X.astype(np.float32)[0]])
def test_a_sample_is_no_batch(sample: Array) -> None:
    with pytest.raises(
        ValueError, match=r"shape \(4,\) for a batch of 4 .*make a batch: x\[None\]"
    ):
        trainer().predict(sample)


def test_images_want_flattening() -> None:
    model = layers.MLP([16, 10])
    learner = Trainer(model, optim.SGD(model), F.cross_entropy)
    with pytest.raises(ValueError, match=r"logits \(20, 8, 10\) .*shape \(20, 10\): flatten"):
        learner.fit(np.ones((20, 8, 8), np.float32), np.zeros(20, int), epochs=1, verbose=0)


# ---- what would do nothing, or another thing ------------------------------------------------------------


@pytest.mark.parametrize("compile", [False, True])
def test_parts_assigned_later_are_used(compile: bool) -> None:
    learner = trainer(compile=compile)
    learner.fit(X, T, epochs=1, verbose=0)
    learner.loss = lambda y, t: F.mean_squared_error(y, t) * 0.0 + 7.0
    assert learner.fit(X, T, epochs=1, verbose=0)["loss"] == [7.0]
    learner.loss = F.mean_squared_error
    learner.model = layers.Linear(4, 1, dtype=np.float64)
    learner.optimizer = optim.SGD(learner.model, lr=0.1)
    before = weights(learner.model)
    learner.fit(X, T, epochs=1, verbose=0)
    assert not np.array_equal(weights(learner.model)[0], before[0])
    learner.metrics = [F.mean_squared_error]
    assert "mean_squared_error" in learner.evaluate(X, T)
    with pytest.raises(TypeError, match="loss: want a function"):
        learner.loss = "mse"  # type: ignore[assignment]
    with pytest.raises(TypeError, match="model: want an instance"):
        learner.model = layers.MLP


def test_a_trainer_shows_what_it_is_made_of() -> None:
    text = repr(trainer(metrics=[F.mean_squared_error], callbacks=[Callback()]))
    assert text == (
        "Trainer(MLP(4→16→1), SGD(lr=0.1; parameters: 4, updates: 0), loss=mean_squared_error, "
        "metrics=['mean_squared_error'], callbacks=['Callback'])"
    )


class Scaled(layers.Layer):
    """Has a scale that no layer collects."""

    def __init__(self) -> None:
        self.linear = layers.Linear(4, 1, dtype=np.float64)
        self.scale = Variable(np.ones(1))

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.scale


@pytest.mark.parametrize("given", [lambda m: m, lambda m: m.parameters()])
def test_parameters_that_are_not_found_are_told(given: Any) -> None:
    model = Scaled()
    with pytest.warns(UserWarning, match=r"Scaled: .scale. is a Variable, which is not trained"):
        Trainer(model, optim.SGD(given(model)), F.mean_squared_error)


def test_a_fit_inside_test_mode_is_told() -> None:
    with minidl.test_mode(), pytest.warns(UserWarning, match=r"fit: called inside test_mode"):
        trainer().fit(X, T, epochs=1, verbose=0)


def test_ignored_labels_and_accumulation_are_told() -> None:
    model = layers.Linear(4, 3, dtype=np.float64)
    learner = Trainer(model, optim.SGD(model), F.cross_entropy)
    labels = np.zeros(len(X), int)
    learner.fit(X, labels, epochs=1, accumulate=2, verbose=0)
    labels[3] = -100
    learner.fit(X, labels, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match=r"-100, which cross_entropy ignores, but batches"):
        learner.fit(X, labels, epochs=1, accumulate=2, verbose=0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_stops_at_once(accumulate: int) -> None:
    x, t = data(40)
    x[25] = np.nan
    model = mlp()
    learner = trainer(model)
    with pytest.raises(
        FloatingPointError, match=r"(?s)the loss is nan.*fit: epoch 1 of 2, batch 3 of 4"
    ):
        learner.fit(x, t, epochs=2, batch_size=10, shuffle=False, accumulate=accumulate, verbose=0)
    twin = mlp()
    trainer(twin).fit(
        x[:20], t[:20], epochs=1, batch_size=10, shuffle=False, accumulate=accumulate, verbose=0
    )
    assert same(model, twin)  # what came before is learned, this batch is not
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        learner.train_step(x, t)
    assert same(model, twin)


def test_an_interrupt_leaves_no_mode_behind() -> None:
    x, t = data(10)
    model = Watch()

    class Interrupt(Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(model, callbacks=[Interrupt()]).fit(x, t, epochs=1, verbose=0)
    assert model(x).requires_grad


def test_an_optimizer_of_another_model() -> None:
    model, other = layers.Linear(3, 1), layers.Linear(3, 1)
    with pytest.raises(ValueError, match="another model"):
        Trainer(model, optim.SGD(other), F.mean_squared_error)
    Trainer(model, optim.SGD([model.w]), F.mean_squared_error)


def test_one_metric_needs_no_list() -> None:
    model = layers.Linear(3, 2)
    learner = Trainer(model, optim.SGD(model), F.cross_entropy, F.accuracy)
    assert list(learner.evaluate(np.ones((4, 3), np.float32), np.zeros(4, int))) == [
        "loss",
        "accuracy",
    ]


@pytest.mark.parametrize("name", ["metric", "callback", "criterion", "optim", "lr"])
def test_what_would_change_nothing_cannot_be_assigned(name: str) -> None:
    learner = trainer()
    with pytest.raises(AttributeError, match=f"Trainer: assigning '{name}' would change nothing: "):
        setattr(learner, name, 1)

    class Mine(Trainer):
        criterion = None

    mine = Mine(learner.model, learner.optimizer, learner.loss)
    mine.criterion = learner.loss  # type: ignore[assignment]  # a subclass's own


def test_an_optimizer_that_is_assigned_is_used() -> None:
    learner = trainer()
    with pytest.raises(TypeError, match="Trainer: optimizer: want an instance"):
        learner.optimizer = optim.SGD  # type: ignore[assignment]  # the class
    learner.optimizer = optim.SGD(learner.model, lr=0.0)
    before = [p.data.copy() for p in learner.model.parameters()]
    learner.fit(X, T, epochs=1, verbose=0)
    assert learner.optimizer.t == learner.steps > 0
    assert all(np.array_equal(a, p.data) for a, p in zip(before, learner.model.parameters()))
