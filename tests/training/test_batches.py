"""What a trainer takes as data: several inputs and outputs, weights, any iterable; and what it refuses."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Trainer, Variable, callbacks, layers, optim
from minidl import functions as F

Array = Any
RNG = np.random.default_rng(0)
A = RNG.standard_normal((12, 3))
B = RNG.standard_normal((12, 2))
T = A[:, :1] + B[:, :1]
W = np.array([1.0, 2, 0, 1, 3, 1, 1, 0.5, 2, 1, 4, 1])


class Two(layers.Layer):
    """Takes two inputs, by place or by name."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.first = layers.Linear(3, 1, dtype=np.float64, rng=rng)
        self.second = layers.Linear(2, 1, dtype=np.float64, rng=rng)

    def forward(self, a: Any, b: Any) -> Any:
        return self.first(a) + self.second(b)


class Heads(Two):
    """Returns a dict, or a tuple."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, a: Any, b: Any) -> Any:
        y = self.first(a)
        z = self.second(b)
        return {"y": y, "z": z} if self.kind is dict else (y, z)


def weighted_mse(y: Any, t: Any, weight: Any = None) -> Any:
    rows = np.mean((y - t) ** 2, axis=-1)
    return rows.mean() if weight is None else (rows * weight).sum() / np.maximum(weight.sum(), 1e-9)


def trainer(model: Any = None, loss: Any = weighted_mse, lr: float = 0.1, **more: Any) -> Trainer:
    model = Two() if model is None else model
    return Trainer(model, optim.SGD(model, lr=lr), loss, **more)


def one(**more: Any) -> Trainer:
    return trainer(layers.Linear(3, 1, dtype=np.float64, rng=np.random.default_rng(2)), **more)


def weights(of: Trainer) -> Array:
    return np.concatenate([p.data.ravel() for p in of.optimizer.params])


def cut(*trees: Any, size: int = 5) -> list[Any]:
    """Batches by hand."""
    loader = DataLoader(*trees, batch_size=size, shuffle=False)
    return list(loader)


# ---- inputs, outputs, targets ----------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [(A, B), {"b": B, "a": A}])
def test_inputs_as_a_tuple_or_dict(inputs: Any) -> None:
    model = Two()
    of = trainer(model)
    history = of.fit(inputs, T, epochs=2, batch_size=5, shuffle=False, verbose=0)
    by_hand = Two()
    optimizer = optim.SGD(by_hand, lr=0.1)
    for _ in range(2):
        for a, b, t in cut(A, B, T):
            optimizer.cleargrads()
            weighted_mse(by_hand(a, b), t).backward()
            optimizer.update()
    assert np.array_equal(
        weights(of), np.concatenate([p.data.ravel() for p in by_hand.parameters()])
    )
    assert history["loss"][1] < history["loss"][0]
    expected = by_hand(A, B).data
    assert np.allclose(of.predict(inputs), expected, atol=1e-15)
    assert np.allclose(of.predict(inputs, batch_size=5), expected, atol=1e-15)
    assert of.evaluate(inputs, T)["loss"] == pytest.approx(np.mean((expected - T) ** 2))
    assert of.find_lr(inputs, T, steps=5).losses
    assert of.train_step(inputs, T) == pytest.approx(np.mean((expected - T) ** 2))


@pytest.mark.parametrize("kind", [dict, tuple])
def test_outputs_and_targets_as_they_are(kind: type) -> None:
    def loss(y: Any, t: Any) -> Any:
        keys = ("y", "z") if kind is dict else (0, 1)
        assert type(y) is kind and type(t) is kind
        return sum(F.mean_squared_error(y[k], t[k]) for k in keys)

    def metric(y: Any, t: Any) -> float:
        assert type(y) is kind and type(t) is kind
        parts = y.values() if kind is dict else y
        assert all(type(part) is np.ndarray for part in parts)
        return 1.0

    targets: Any = {"y": T, "z": 2 * T} if kind is dict else (T, 2 * T)
    of = trainer(Heads(kind), loss, metrics={"m": metric})
    history = of.fit((A, B), targets, epochs=3, validation=((A, B), targets), verbose=0)
    assert history["loss"][2] < history["loss"][0] and history["val_m"] == [1.0] * 3
    found = of.predict((A, B), batch_size=5)
    assert type(found) is kind
    parts = list(found.values()) if kind is dict else list(found)
    assert [part.shape for part in parts] == [(12, 1), (12, 1)]
    expected = of.model(A, B)
    y = expected["y"] if kind is dict else expected[0]
    assert np.allclose(parts[0], y.data, atol=1e-15)


def test_a_fraction_of_trees_is_held_out() -> None:
    ours, theirs = trainer(), trainer()
    settings: Any = {"epochs": 2, "batch_size": 4, "shuffle": False, "verbose": 0}
    a = ours.fit({"a": A, "b": B}, T, W, validation=0.25, **settings)
    own = {"a": A[:9], "b": B[:9]}
    held = ({"a": A[9:], "b": B[9:]}, T[9:], W[9:])
    b = theirs.fit(own, T[:9], W[:9], validation=held, **settings)
    assert a == b and np.array_equal(weights(ours), weights(theirs))


@pytest.mark.parametrize("inputs", [(A, B), {"a": A, "b": B}])
def test_compiled_as_eagerly(inputs: Any) -> None:
    eager, compiled = trainer(), trainer(compile=True)
    for of in (eager, compiled):
        of.fit(inputs, T, W, epochs=2, batch_size=5, shuffle=False, verbose=0)
    assert np.allclose(weights(eager), weights(compiled), atol=1e-12)


# ---- weights ---------------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    """Means weigh by the sum of the weights, in losses and metrics, however the batches are cut."""

    def weighted(y: Array, t: Array, weight: Array) -> float:
        return float((np.abs(y - t)[:, 0] * weight).sum() / weight.sum())

    of = one(lr=1e-300, metrics={"weighted": weighted, "plain": lambda y, t: np.abs(y - t).mean()})
    y = of.model(A).data
    squares, distances = np.mean((y - T) ** 2, axis=1), np.abs(y - T)[:, 0]
    parts = [slice(0, 5), slice(5, 10), slice(10, 12)]
    plain = sum(W[p].sum() * distances[p].mean() for p in parts) / W.sum()
    for found in (
        of.fit(A, T, W, epochs=1, batch_size=5, shuffle=False, verbose=0).rows[0],
        of.evaluate(A, T, W, batch_size=5),
        of.evaluate(cut(A, T, W)),
        of.fit(cut(A, T, W), epochs=1, verbose=0).rows[0],
    ):
        assert found["loss"] == pytest.approx((W * squares).sum() / W.sum())
        assert found["weighted"] == pytest.approx((W * distances).sum() / W.sum())
        assert found["plain"] == pytest.approx(plain)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_accumulation_of_weighted_batches_is_the_big_batch(batch_size: int) -> None:
    ours, big = one(), one()
    settings: Any = {"epochs": 3, "shuffle": False, "verbose": 0}
    a = ours.fit(A, T, W, batch_size=batch_size, accumulate=12, **settings)
    b = big.fit(A, T, W, batch_size=12, **settings)
    assert np.allclose(weights(ours), weights(big), atol=1e-12)
    assert np.allclose(a["loss"], b["loss"], atol=1e-12)


def test_a_weight_of_zero_is_a_sample_left_out() -> None:
    ours, without = one(), one()
    w = np.array([1.0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    settings: Any = {"epochs": 2, "shuffle": False, "verbose": 0}
    loss = lambda y, t, weight=None: (
        F.mean_squared_error(y, t) if weight is None else zero(y, t, weight)
    )

    def zero(y: Any, t: Any, weight: Array) -> Any:
        return (((y - t) ** 2)[:, 0] * weight).sum() / np.maximum(weight.sum(), 1.0)

    ours.loss = without.loss = loss
    a = ours.fit(A, T, w, batch_size=3, accumulate=2, **settings)
    keep = w > 0
    b = without.fit(
        [(A[:3], T[:3]), (A[6:9], T[6:9]), (A[9:], T[9:])][:0] or cut(A[keep], T[keep], size=3),
        epochs=1,
        verbose=0,
    )
    assert a["loss"][0] > 0 and b["loss"][0] > 0
    assert ours.evaluate(A, T, w, batch_size=3)["loss"] == pytest.approx(
        ours.evaluate(A[keep], T[keep])["loss"]
    )


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (W[:5], r"fit: want arrays of one length.*got lengths \[12, 12, 5\]"),
        (-W, "fit: weight: want finite numbers of at least 0"),
        (np.where(W > 3, np.nan, W), "fit: weight: want finite numbers of at least 0"),
        (np.where(W > 3, np.inf, W), "fit: weight: want finite numbers of at least 0"),
        (["a"] * 12, "fit: weight: want finite numbers of at least 0"),
        ({"a": W}, "fit: weight: want finite numbers of at least 0"),
        (0 * W, "fit: weight: want some above 0, got 0 only"),
    ],
)
def test_bad_weights(weight: Any, message: str) -> None:
    of = one()
    before = weights(of)
    with pytest.raises(ValueError, match=message):
        of.fit(A, T, weight, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=message.replace("fit", "evaluate")):
        of.evaluate(A, T, weight)
    if "some above" not in message:
        with pytest.raises(ValueError, match=message.replace("fit", "train_step")):
            of.train_step(A, T, weight)
    assert np.array_equal(before, weights(of))


def test_a_metric_that_is_an_object_gets_weights_too() -> None:
    class Metric:
        def __eq__(self, other: object) -> bool:  # and so it has no hash
            return self is other

        def __call__(self, y: Array, t: Array, weight: Array | None = None) -> float:
            return -1.0 if weight is None else float(weight.sum())

    of = one(metrics={"m": Metric()})
    assert of.evaluate(A, T, W)["m"] == W.sum() and of.evaluate(A, T)["m"] == -1


def test_a_loss_without_weight() -> None:
    with pytest.raises(TypeError, match="weight"):
        one(loss=lambda y, t: F.mean_squared_error(y, t)).fit(A, T, W, epochs=1, verbose=0)


# ---- any iterable ----------------------------------------------------------------------------------


class Fresh:
    """Begins anew at each loop, and has no length and no state."""

    def __init__(self, *trees: Any, size: int = 5) -> None:
        self.trees, self.size = trees, size

    def __iter__(self) -> Iterator[Any]:
        yield from cut(*self.trees, size=self.size)


@pytest.mark.parametrize("make", [cut, Fresh])
@pytest.mark.parametrize("trees", [(A, T), (A, T, W), ((A, B), T), ({"a": A, "b": B}, T, W)])
def test_an_iterable_is_the_loader_of_its_batches(make: Any, trees: Any) -> None:
    of_loader, of_batches = (trainer() if len(trees[0]) == 2 else one() for _ in range(2))
    loader = DataLoader(*trees, batch_size=5, shuffle=False)
    settings: Any = {"epochs": 3, "accumulate": 2, "verbose": 0}
    a = of_loader.fit(loader, validation=loader, **settings)
    b = of_batches.fit(make(*trees), validation=make(*trees), **settings)
    assert a == b and np.array_equal(weights(of_loader), weights(of_batches))
    assert of_loader.evaluate(loader) == of_batches.evaluate(make(*trees))
    assert np.array_equal(of_loader.predict(loader), of_batches.predict(make(*trees)))
    assert (
        of_loader.find_lr(loader, steps=5).losses
        == of_batches.find_lr(make(*trees), steps=5).losses
    )


def test_lists_in_batches_are_arrays() -> None:
    of = one()
    batches = [[A[:5].tolist(), T[:5].tolist()], [A[5:], T[5:]]]
    of.fit(batches, epochs=1, verbose=0)
    again = one()
    again.fit([(A[:5], T[:5]), (A[5:], T[5:])], epochs=1, verbose=0)
    assert np.array_equal(weights(of), weights(again))


def test_a_generator_serves_one_epoch() -> None:
    of = one()
    assert len(of.fit(iter(cut(A, T)), epochs=1, verbose=0).rows) == 1
    assert of.evaluate(iter(cut(A, T)))["loss"] > 0 and of.predict(iter(cut(A, T))).shape == (12, 1)
    before = weights(of)
    with pytest.raises(
        ValueError, match=r"fit: a list_iterator can be gone through once, and 2 epochs"
    ):
        of.fit(iter(cut(A, T)), epochs=2, verbose=0)
    with pytest.raises(ValueError, match=r"fit: validation: a generator can be gone through once"):
        of.fit(A, T, epochs=2, validation=(b for b in cut(A, T)), verbose=0)
    with pytest.raises(
        ValueError, match="fit: fast_dev_run wants data that can be gone through again"
    ):
        of.fit(iter(cut(A, T)), epochs=1, fast_dev_run=True, verbose=0)
    with pytest.raises(ValueError, match="find_lr: it wants data that can be gone through again"):
        of.find_lr(iter(cut(A, T)))
    assert np.array_equal(before, weights(of)) and len(of.history.rows) == 1
    used = iter(cut(A, T))
    of.fit(used, epochs=1, verbose=0)
    before = weights(of)
    for call in (
        lambda: of.fit(used, epochs=1, verbose=0),
        lambda: of.evaluate(used),
        lambda: of.predict(used),
    ):
        with pytest.raises(ValueError, match=r"(fit|evaluate|predict): the data gave no batch"):
            call()
    assert np.array_equal(before, weights(of))


def test_an_iterable_that_cannot_be_iterated_again() -> None:
    class Once:
        def __init__(self) -> None:
            self.batches = iter(cut(A, T))

        def __iter__(self) -> Any:
            return self.batches

    of = one()
    with pytest.raises(ValueError, match="fit: the data gave no batch in epoch 2"):
        of.fit(Once(), epochs=3, verbose=0)
    assert len(of.history.rows) == 1
    with pytest.raises(ValueError, match="find_lr: the data gave no batch"):
        of.find_lr(Once(), steps=9)


def test_a_stream_without_end() -> None:
    of = one()
    history = of.fit(itertools.cycle(cut(A, T)), epochs=1, max_steps=7, verbose=0)
    assert of.steps == 7 and len(history.rows) == 1


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_without_a_number_of_batches(verbose: int, capsys: Any) -> None:
    one().fit(Fresh(A, T), epochs=2, verbose=verbose)
    captured = capsys.readouterr()
    shown = captured.err if verbose == 1 else captured.out
    assert "epoch 2/2" in shown and "loss" in shown and "None" not in shown


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([A, A], TypeError, r"want a pair x, t, a DataLoader or another iterable .* a list"),
        ([(A, T), A], TypeError, r"fit: batch 2: want \(inputs, targets\) or .*, got ndarray"),
        ([(A, T), (A,)], TypeError, "fit: batch 2: want .*, got 1 parts"),
        ([(A, T, W, W)], TypeError, "fit: batch 1: want .*, got 4 parts"),
        ([(A, T), {"x": A, "t": T}], TypeError, "fit: batch 2: want .*, got dict"),
        ([(A, T), (A, T[:3])], ValueError, r"fit: batch 2: want arrays of one length.* \[12, 3\]"),
        ([((A, B[:4]), T)], ValueError, r"fit: batch 1: want arrays of one length.* \[12, 4, 12\]"),
        ([(A, T, -W)], ValueError, "fit: batch 1: weight: want finite numbers of at least 0"),
        ([(A, T, W[:3])], ValueError, r"fit: batch 1: want arrays of one length"),
        ([(A[:0], T[:0])], ValueError, "fit: batch 1: want arrays of one length of at least 1"),
        ([(A, Variable(T))], TypeError, "fit: batch 1: targets: want a plain array"),
        ([(A, None)], TypeError, "fit: batch 1: targets: want an array, got None"),
        ([(A, {"a": object()})], TypeError, r"fit: batch 1: targets\['a'\]: "),
        (iter([]), ValueError, "fit: the data gave no batch in epoch 1"),
        ([(A, T, 0 * W)], ValueError, "fit: the data gave no batch in epoch 1, or weights of 0"),
        ([], TypeError, "fit: want a pair x, t"),
    ],
)
def test_bad_batches(batches: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        one().fit(batches, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        (((A, T),), {}, TypeError, "x without t: a tuple"),
        ((A,), {"weight": W}, TypeError, "x without t"),
        (
            (cut(A, T),),
            {"batch_size": 3},
            ValueError,
            "got a list and batch_size; the list has its",
        ),
        ((iter(cut(A, T)),), {"weight": W}, ValueError, "got a list_iterator and weight"),
        ((DataLoader(A, T), None, W), {}, ValueError, "got a DataLoader and weight"),
        (
            ({"c": A, "b": B}, T),
            {},
            TypeError,
            r"the model takes a, b; got a dict of c, b: .*'c'|miss",
        ),
        (({"a": A}, T), {}, TypeError, r"the model takes a, b; got a dict of a: .*'b'"),
        (((A, B, B), T), {}, TypeError, "3 were given|takes 3 positional|4 were given"),
        ((cut((A, B), T),), {"validation": 0.5}, ValueError, "a fraction as validation"),
        (((A, B), T), {"validation": (A,)}, TypeError, "fit: validation: want .*, got 1 parts"),
        ((DataLoader(A, T, W, W),), {}, ValueError, "got one of 4"),
    ],
)
def test_bad_data(arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    of = trainer()
    before = weights(of)
    with pytest.raises(error, match=message):
        of.fit(*arguments, **{"epochs": 1, "verbose": 0} | keywords)
    assert np.array_equal(before, weights(of))


@pytest.mark.parametrize("reduction", [lambda y, t: (y - t) ** 2, lambda y, t: np.abs(y - t)[:, 0]])
def test_a_loss_of_every_sample(reduction: Any) -> None:
    with pytest.raises(ValueError, match=r"the loss has shape .*, want one number: take its mean"):
        one(loss=reduction).fit(A, T, epochs=1, verbose=0)


# ---- a loss_of of one's own ------------------------------------------------------------------------


class Penalized(Trainer):
    def loss_of(self, batch: Any) -> Any:
        x, t, *weight = batch
        y = self.model(x)
        return weighted_mse(y, t, *weight) + 0.1 * (self.model.w**2).sum(), y


class Alone(Trainer):
    """Learns from inputs alone."""

    def loss_of(self, batch: Any) -> Any:
        (x,) = batch
        return np.mean(self.model(x) ** 2), None


def own(kind: Any, **more: Any) -> Trainer:
    model = layers.Linear(3, 1, dtype=np.float64, rng=np.random.default_rng(2))
    return kind(model, optim.SGD(model, lr=0.1), F.mean_squared_error, **more)


def test_an_overridden_loss_of() -> None:
    ours = own(Penalized, metrics={"m": lambda y, t: np.abs(y - t).mean()})
    history = ours.fit(A, T, W, epochs=2, batch_size=5, shuffle=False, accumulate=2, verbose=0)
    theirs = one(
        loss=lambda y, t, weight: weighted_mse(y, t, weight) + 0.1 * (theirs.model.w**2).sum()
    )
    expected = theirs.fit(A, T, W, epochs=2, batch_size=5, shuffle=False, accumulate=2, verbose=0)
    assert np.array_equal(weights(ours), weights(theirs)) and history["loss"] == expected["loss"]
    y = ours.model(A).data
    found = ours.evaluate(A, T)
    assert found["loss"] == pytest.approx(
        np.mean((y - T) ** 2) + 0.1 * (ours.model.w.data**2).sum()
    )
    assert found["m"] == pytest.approx(np.abs(y - T).mean())
    assert ours.train_step(A, T) == pytest.approx(found["loss"])


def test_a_loss_of_inputs_alone() -> None:
    of = own(Alone)
    for data in (A, DataLoader(A, batch_size=5), [(A[:5],), (A[5:],)]):
        history = of.fit(data, epochs=2, verbose=0)
        assert history["loss"][1] < history["loss"][0]
    assert of.evaluate(A)["loss"] == pytest.approx(np.mean(of.model(A).data ** 2))
    assert of.predict(A).shape == (12, 1) and of.find_lr(A, steps=5).losses
    assert of.train_step(A) > 0


def test_what_loss_of_must_give() -> None:
    with pytest.raises(ValueError, match="loss_of: want a prediction for the metrics m, got None"):
        own(Alone, metrics={"m": lambda y, t: 0.0}).fit(A, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="compile=True wants the Trainer's own loss_of"):
        own(Alone, compile=True)

    class Bare(Trainer):
        def loss_of(self, batch: Any) -> Any:
            return np.mean(self.model(batch[0]) ** 2)

    with pytest.raises(TypeError, match=r"loss_of: want \(loss, prediction or None\), got"):
        own(Bare).fit(A, epochs=1, verbose=0)


def test_a_loss_of_that_is_assigned() -> None:
    ours, theirs = one(), one(loss=lambda y, t: 2 * weighted_mse(y, t))
    ours.loss_of = lambda batch: (2 * weighted_mse(ours.model(batch[0]), batch[1]), None)  # type: ignore[method-assign]
    a = ours.fit(A, T, epochs=2, shuffle=False, verbose=0)
    b = theirs.fit(A, T, epochs=2, shuffle=False, verbose=0)
    assert a == b and np.array_equal(weights(ours), weights(theirs))
    compiled = one(compile=True)
    compiled.loss_of = ours.loss_of  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="compile=True wants the Trainer's own loss_of"):
        compiled.fit(A, T, epochs=1, verbose=0)


def test_the_attributes_of_a_trainer_are_known() -> None:
    assert set(vars(one())) == set(Trainer._own)


def test_what_is_not_finite_is_named() -> None:
    b = B.copy()
    b[7, 1] = np.inf
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"batch's x\['b'\] has inf at \(2, 1\)"),
    ):
        trainer().fit({"a": A, "b": b}, T, epochs=1, batch_size=5, shuffle=False, verbose=0)


# ---- resuming --------------------------------------------------------------------------------------


class Stateful(Fresh):
    """Draws an order for each epoch, and can say where it is: None between epochs."""

    def __init__(self, *trees: Any, seed: int = 0) -> None:
        super().__init__(*trees, size=3)
        self.rng, self.given, self.resumes = np.random.default_rng(seed), None, False
        self.order = np.zeros(4, int)

    def __iter__(self) -> Iterator[Any]:
        if not self.resumes:
            self.order, self.given = self.rng.permutation(4), 0
        self.resumes = False
        batches = list(super().__iter__())
        for i in range(self.given or 0, 4):
            self.given = i + 1
            yield batches[self.order[i]]
        self.given = None

    def state_dict(self) -> dict[str, Any]:
        return {"given": self.given, "order": self.order, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Any) -> None:
        self.given, self.order, self.resumes = (
            state["given"],
            state["order"],
            state["given"] is not None,
        )
        self.rng.bit_generator.state = state["rng"]


class Drawing(Fresh):
    """Draws an order for each epoch, and has no state of its own."""

    def __init__(self, *trees: Any, seed: int = 0) -> None:
        super().__init__(*trees, size=3)
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Any]:
        batches = list(super().__iter__())
        return iter([batches[i] for i in self.rng.permutation(4)])


def resumed(make: Any, steps: int, path: Path, **more: Any) -> tuple[Trainer, Trainer]:
    settings: Any = {"epochs": 3, "verbose": 0} | more
    whole = one()
    whole.fit(make(seed=1), **settings)
    one(callbacks=[callbacks.Checkpoint(path, every=1)]).fit(
        make(seed=1), max_steps=steps, **settings
    )
    again = one(callbacks=[callbacks.Checkpoint(path, every=1)])
    again.fit(make(seed=2), resume="auto", **settings)
    return whole, again


@pytest.mark.parametrize("steps", range(1, 12))
@pytest.mark.parametrize("trees", [(A, T), (A, T, W)])
def test_an_iterable_with_a_state_resumes_within_an_epoch(
    steps: int, trees: Any, tmp_path: Path
) -> None:
    whole, again = resumed(lambda seed: Stateful(*trees, seed=seed), steps, tmp_path / "run.npz")
    assert np.array_equal(weights(whole), weights(again)) and whole.history == again.history


@pytest.mark.parametrize("steps", [2, 4, 7, 8])
def test_an_iterable_without_a_state_is_saved_at_the_ends_of_epochs(
    steps: int, tmp_path: Path
) -> None:
    with pytest.warns(
        UserWarning, match=r"a Drawing, have no state_dict\(\): .* ends of epochs only"
    ):
        whole, again = resumed(lambda seed: Drawing(A, T, seed=seed), steps, tmp_path / "run.npz")
    if steps >= 4:
        assert np.array_equal(weights(whole), weights(again)) and whole.history == again.history
    assert again.steps == 12


def test_a_generator_serves_the_epoch_that_is_left(tmp_path: Path) -> None:
    def run(epochs: int, **more: Any) -> Trainer:
        of = one()
        of.fit((b for b in cut(A, T)), epochs=epochs, verbose=0, **more)
        of.save(tmp_path / "run.npz")
        return of

    run(1)
    second = run(2, resume=tmp_path / "run.npz")
    whole = one()
    whole.fit(cut(A, T), epochs=2, verbose=0)
    assert np.array_equal(weights(whole), weights(second)) and whole.history == second.history
    with pytest.raises(ValueError, match="once, and 2 epochs want"):
        run(4, resume=tmp_path / "run.npz")


def test_what_a_callback_saves_at_the_end_is_written(tmp_path: Path) -> None:
    class Last(callbacks.Callback):
        def on_train_end(self) -> None:
            self.trainer.save(tmp_path / "last.npz")

    of = one(callbacks=[callbacks.Checkpoint(tmp_path / "run.npz"), Last()])
    with pytest.warns(UserWarning, match="ends of epochs only"):
        of.fit(Drawing(A, T), epochs=3, max_steps=6, verbose=0)
    last, whole = one(), one()
    last.load(tmp_path / "last.npz")
    whole.load(tmp_path / "run.npz")
    assert last.optimizer.t == 6 and whole.optimizer.t == 4
    assert np.array_equal(weights(last), weights(of))


def test_a_loader_of_trees_resumes(tmp_path: Path) -> None:
    def run(**more: Any) -> Trainer:
        of = trainer(callbacks=[callbacks.Checkpoint(tmp_path / "run.npz", every=1)])
        loader = DataLoader({"a": A, "b": B}, T, W, batch_size=3)
        of.fit(loader, epochs=3, accumulate=2, verbose=0, **more)
        return of

    minidl.seed(1)
    whole = run()
    for steps in range(1, 6):
        minidl.seed(1)
        run(max_steps=steps)
        minidl.seed(2)
        again = run(resume="auto")
        assert np.array_equal(weights(whole), weights(again)) and whole.history == again.history


def test_a_checkpoint_within_an_epoch_of_data_without_a_state(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    of = one()
    of.fit(Drawing(A, T), epochs=2, max_steps=6, verbose=0)
    of.save(path)
    with pytest.raises(ValueError, match=r"saved within an epoch of data without a state_dict"):
        one().fit(Drawing(A, T), epochs=2, verbose=0, resume=path)
    again = one()
    again.load(path)
    assert np.array_equal(weights(again), weights(of))
    with pytest.raises(ValueError, match="it is of another trainer"):
        one().fit(A, T, epochs=2, verbose=0, resume=path)


def test_data_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    of = trainer()
    of.fit((A, B), T, epochs=1, verbose=0)
    of.save(path)
    with pytest.raises(
        ValueError, match=r"other data or settings: tree: got \(\(\*, \*\), \*\), want \({'a'"
    ):
        trainer().fit({"a": A, "b": B}, T, epochs=2, verbose=0, resume=path)
    with pytest.warns(UserWarning, match="data: other values"):
        trainer().fit((A, B + 1), T, epochs=2, verbose=0, resume=path)


# ---- other libraries -------------------------------------------------------------------------------


def test_a_real_pytorch_loader(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader as Loader
    from torch.utils.data import TensorDataset

    data = TensorDataset(*(torch.tensor(array, dtype=torch.float32) for array in (A, T, W)))
    model = layers.Linear(3, 1)
    of = Trainer(model, optim.Adam(model, lr=0.05), weighted_mse)
    torch.manual_seed(0)
    loader = Loader(data, batch_size=5, shuffle=True)
    history = of.fit(loader, epochs=20, validation=Loader(data, batch_size=12), verbose=0)
    assert history["loss"][-1] < history["loss"][0] and "val_loss" in history
    assert of.steps == 60 and model.w.dtype == np.float32
    assert of.predict(Loader(data, batch_size=5)).shape == (12, 1)
    assert of.evaluate(loader)["loss"] == pytest.approx(of.evaluate(A, T, W)["loss"], rel=1e-5)
    assert of.find_lr(loader, steps=5).losses
    of.callbacks.append(callbacks.Checkpoint(tmp_path / "run.npz", every=2))
    with pytest.warns(UserWarning, match=r"a DataLoader, have no state_dict\(\)"):
        of.fit(loader, epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="have no state_dict"):
        assert len(of.fit(loader, epochs=4, verbose=0, resume="auto").rows) == 4


@pytest.mark.parametrize("second", ["rows", "numbers", "as_targets"])
def test_pytorch_makes_a_list_of_a_tuple(second: str) -> None:
    """Its default_collate; all arrays of one shape could be taken for one array of two samples."""
    torch = pytest.importorskip("torch")
    shapes = {"rows": (12, 2), "numbers": (12,), "as_targets": (12, 3)}
    other = np.arange(np.prod(shapes[second]), dtype=np.float32).reshape(shapes[second])
    first = A.astype(np.float32)
    samples = list(zip(zip(first, other), zip(first, other)))
    seen: list[Any] = []

    class Both(layers.Layer):
        def __init__(self) -> None:
            self.inner = layers.Linear(3, 3)

        def forward(self, a: Any, b: Any) -> Any:
            seen.append((a.shape, b.shape))
            return self.inner(a), b

    def loss(y: Any, t: Any) -> Any:
        assert isinstance(t, tuple) and np.array_equal(y[1], t[1])
        return F.mean_squared_error(y[0], t[0])

    model = Both()
    of = Trainer(model, optim.SGD(model), loss)
    loader = torch.utils.data.DataLoader(samples, batch_size=4)
    of.fit(loader, epochs=1, validation=loader, verbose=0)
    assert seen == [((4, 3), (4, *other.shape[1:]))] * 6
    parts = of.predict(loader)
    assert np.array_equal(parts[1], other) and parts[0].shape == (12, 3)
    whole = of.evaluate((first, other), (first, other))["loss"]
    assert of.evaluate(loader)["loss"] == pytest.approx(whole, rel=1e-5)


def test_a_list_of_rows_is_one_array() -> None:
    model = layers.Linear(3, 1)
    of = Trainer(model, optim.SGD(model), F.mean_squared_error)
    of.fit([(list(A), list(T))], epochs=1, verbose=0)
    assert of.evaluate([(list(A), list(T))]) == of.evaluate(A, T)


def test_what_completion_shows_of_a_trainer() -> None:
    """What a subclass might call its own is free: only these names are taken."""
    methods = "evaluate find_lr fit load loss_of predict save train_step"
    parts = "callbacks loss metrics model optimizer ranks scale_targets"
    state = "dry_run history interrupted scaling steps stop"
    want = {*methods.split(), *parts.split(), *state.split()}
    assert {name for name in dir(one()) if not name.startswith("_")} == want


@pytest.mark.parametrize("name", ["forward", "measure", "figures", "scale", "run", "requests"])
def test_names_that_a_subclass_may_take(name: str, tmp_path: Path) -> None:
    """What it holds is state, and is resumed."""
    path = tmp_path / "run.npz"

    def fit(epochs: int, resume: Path | None = None) -> Any:
        kind = type("Own", (Trainer,), {"loss_of": loss_of})
        model = layers.Linear(3, 1, dtype=np.float64, rng=np.random.default_rng(2))
        of = kind(model, optim.SGD(model), weighted_mse)
        setattr(of, name, 0)
        of.fit(A, T, epochs=epochs, batch_size=5, shuffle=False, verbose=0, resume=resume)
        of.save(path)
        return of

    def loss_of(self: Any, batch: Any) -> Any:
        setattr(self, name, getattr(self, name) + 1)
        return weighted_mse(self.model(batch[0]), batch[1]) * getattr(self, name), None

    whole = fit(3)
    fit(1)
    again = fit(3, resume=path)
    assert getattr(whole, name) == getattr(again, name) == 9
    assert np.array_equal(weights(whole), weights(again))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ((A, T, 2.0), "fit: weight: want an axis of samples, got a float"),
        ((A, Variable(T)), "fit: targets: want a plain array"),
        ((A, T, Variable(W)), "fit: weight: want a plain array"),
        (({"a": A, "b": "text"}, T), r"fit: inputs\['b'\]: want"),
        (((), T), r"fit: inputs: want an array, got \(\)"),
    ],
)
def test_parts_are_named(data: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        one().fit(*data, epochs=1, verbose=0)


def test_inputs_alone_are_a_tuple_of_one() -> None:
    with pytest.raises(
        TypeError, match=r"predict: batch 1: want \(inputs,\), \(inputs, targets\) or"
    ):
        one().predict(iter([A]))
    assert np.array_equal(one().predict(iter([(A,)])), one().predict(A))


@pytest.mark.parametrize(
    "settings",
    [
        {"weight": -np.ones(12)},
        {"weight": np.zeros(12)},
        {"validation": (np.ones((12, 3)), np.ones((5, 2)))},
        {"validation": 5},
        {"verbose": 7},
        {"resume": "nowhere.npz"},
        {"batch_size": 0},
    ],
)
def test_a_refused_fit_draws_nothing(settings):
    model = layers.Linear(3, 2)
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error)
    minidl.seed(3)
    before = minidl.random.generator().bit_generator.state
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match="fit: "):
        trainer.fit(np.ones((12, 3)), np.ones((12, 2)), **{"epochs": 1, "verbose": 0} | settings)
    assert minidl.random.generator().bit_generator.state == before


def test_a_class_is_no_data():
    model = layers.Linear(3, 2)
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error)
    for call in (trainer.fit, trainer.evaluate):
        with pytest.raises(TypeError, match=f"{call.__name__}: .* got x without t: a type"):
            call(DataLoader, **({"epochs": 1} if call == trainer.fit else {}))
    with pytest.raises(TypeError, match="predict: "):
        trainer.predict(DataLoader)


def test_an_error_of_validation_says_so():
    model = layers.Linear(3, 2)
    trainer = Trainer(model, optim.SGD(model), F.mean_squared_error)
    with pytest.raises(ValueError, match="want input of shape") as found:
        trainer.fit(
            np.ones((4, 3)),
            np.ones((4, 2)),
            epochs=2,
            verbose=0,
            validation=(np.ones((4, 2)), np.ones((4, 2))),
        )
    assert found.value.__notes__ == ["fit: validation after epoch 1"]
