"""State of every kind that a model, a loss or a hook may hold: a resumed run ends with the same bits, or is refused.

Each maker gives a trainer whose batches depend on one kind of state; files and settings are test_checkpoint.py's.
"""

import enum
import functools
import itertools
import random
import threading
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Trainer, Variable, callbacks, layers, optim
from minidl import functions as F

X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
T = X[:, :1]
Pair = namedtuple("Pair", "a b")
GLOBAL_RNG = np.random.default_rng(3)
calls = 0


def trainer(
    model: Any, loss: Any = F.mean_squared_error, hooks: Any = (), metrics: Any = None
) -> Trainer:
    return Trainer(model, optim.SGD(model, lr=0.05, hooks=hooks), loss, metrics)


class Held(layers.Layer):
    """Scales its output by a number that ``step``, called at each batch, makes of what ``start`` gave."""

    def __init__(self, start: Any, step: Any) -> None:
        self.inner, self.kept = layers.Linear(3, 1), start()
        self.step = step

    def forward(self, x: Any) -> Any:
        return self.inner(x) * (1 + 0.1 * float(self.step(self)))


def attribute(start: Any, step: Any) -> Any:
    return lambda: trainer(Held(start, step))


def number(layer: Any) -> float:
    layer.kept += 1
    return layer.kept


def entry(layer: Any) -> float:
    layer.kept["n"] = layer.kept.get("n", 0) + 1
    return layer.kept["n"]


def nested(layer: Any) -> float:
    layer.kept[1]["x"][0] += 1
    return layer.kept[1]["x"].sum()


def appended(layer: Any) -> float:
    layer.kept.append(len(layer.kept))
    return sum(layer.kept)


def text(layer: Any) -> float:
    layer.kept = layer.kept + "a"
    return len(layer.kept)


def first_call(layer: Any) -> float:
    if layer.kept is None:
        layer.kept = np.zeros(2)
    layer.kept += 1
    return layer.kept[0]


def new_attribute(layer: Any) -> float:
    layer.late = getattr(layer, "late", 0) + 1
    return layer.late


def pairs(counts: Any) -> float:
    counts[1, "a"] = counts.get((1, "a"), 0) + 1
    return counts[1, "a"]


def variable(layer: Any) -> float:
    layer.kept = layer.kept.detach() * 1.5
    return layer.kept.item()


def replaced_pair(layer: Any) -> float:
    layer.kept = layer.kept._replace(a=layer.kept.a + 1)
    return layer.kept.a


class Object:
    def __init__(self) -> None:
        self.mean, self.n = np.zeros(2), 0


class Slotted:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


@dataclass
class Data:
    n: int = 0
    seen: list[int] = field(default_factory=list)


def of_object(layer: Any) -> float:
    layer.kept.n += 1
    return layer.kept.n


def mean_of_object(layer: Any) -> float:
    layer.kept.mean = 0.5 * layer.kept.mean + 1
    return layer.kept.mean[0]


class Counting(layers.Layer):
    """Counts in an attribute of its class."""

    calls = 0

    def __init__(self) -> None:
        self.inner = layers.Linear(3, 1)

    def forward(self, x: Any) -> Any:
        Counting.calls += 1
        return self.inner(x) * (1 + 0.1 * Counting.calls)


def in_class() -> Trainer:
    Counting.calls = 0
    return trainer(Counting())


def function_model() -> Trainer:
    w, net, n = minidl.Parameter(np.ones((3, 1), np.float32)), Held(int, number), 0

    def model(x: Any) -> Any:
        nonlocal n
        n += 1
        return x @ w * (1 + 0.1 * n) + net(x)

    return Trainer(model, optim.SGD([w, *net.parameters()], lr=0.05), F.mean_squared_error)


def global_count() -> Trainer:
    global calls
    calls = 0

    def loss(y: Any, t: Any) -> Any:
        global calls
        calls += 1
        return F.mean_squared_error(y, t) * calls

    return trainer(layers.Linear(3, 1), loss)


def with_loss(loss: Any) -> Any:
    return lambda: trainer(layers.Linear(3, 1), loss())


def drawn(rng: Any, y: Any, t: Any) -> Any:
    return F.mean_squared_error(y, t) * float(rng.random())


def default_rng() -> Any:
    rng = np.random.default_rng(1)

    def loss(y: Any, t: Any, rng: Any = rng) -> Any:
        return drawn(rng, y, t)

    return loss


def keyword_rng() -> Any:
    rng = np.random.default_rng(1)

    def loss(y: Any, t: Any, *, rng: Any = rng) -> Any:
        return drawn(rng, y, t)

    return loss


class Noisy:
    def __init__(self, rng: Any) -> None:
        self.rng = rng

    def loss(self, y: Any, t: Any) -> Any:
        return drawn(self.rng, y, t)


class NoisyClass:
    rng = np.random.default_rng(2)

    def __call__(self, y: Any, t: Any) -> Any:
        return drawn(self.rng, y, t)


def in_class_rng() -> Any:
    NoisyClass.rng = np.random.default_rng(2)
    return NoisyClass()


def global_rng() -> Any:
    GLOBAL_RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state
    return lambda y, t: drawn(GLOBAL_RNG, y, t)


def numpy_global() -> Any:
    np.random.seed(5)  # noqa: NPY002 - users do
    return lambda y, t: F.mean_squared_error(y, t) * np.random.rand()  # noqa: NPY002


def python_global() -> Any:
    random.seed(5)
    return lambda y, t: F.mean_squared_error(y, t) * random.random()


def python_method() -> Any:
    random.seed(5)
    draw = random.random
    return lambda y, t: F.mean_squared_error(y, t) * draw()


def spawning() -> Any:
    rng = np.random.default_rng(1)
    return lambda y, t: drawn(rng.spawn(1)[0], y, t)


def function_attribute() -> Any:
    def loss(y: Any, t: Any) -> Any:
        loss.n += 1  # type: ignore[attr-defined]
        return F.mean_squared_error(y, t) * loss.n  # type: ignore[attr-defined]

    loss.n = 0  # type: ignore[attr-defined]
    return loss


def mutable_default() -> Any:
    def loss(y: Any, t: Any, seen: Any = None) -> Any:
        seen.append(1)
        return F.mean_squared_error(y, t) * len(seen)

    return functools.partial(loss, seen=[])


class Curriculum:
    def __init__(self) -> None:
        self.alpha, self.averages = 1.0, {"loss": np.zeros(1)}

    def __call__(self, y: Any, t: Any) -> Any:
        self.alpha *= 0.9
        loss = F.mean_squared_error(y, t)
        self.averages["loss"] = 0.9 * self.averages["loss"] + loss.item()
        return loss * (self.alpha + float(self.averages["loss"][0]))


class Stateful:
    """Has a state_dict() of its own, and what a file cannot hold."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.n = 0

    def __call__(self, y: Any, t: Any) -> Any:
        self.n = next(self.numbers)
        return F.mean_squared_error(y, t) * (1 + self.n)

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state: Any) -> None:
        self.n = state["n"]
        self.numbers = itertools.count(self.n + 1)


def teacher() -> Any:
    net = layers.Linear(3, 1)
    net.freeze()

    def loss(y: Any, t: Any) -> Any:
        net.w.data = net.w.data * 0.9
        return F.mean_squared_error(y, t) + F.mean_squared_error(y, net(X[: len(t)]).data)

    return loss


class Noise:
    """A hook with a number and a generator."""

    def __init__(self) -> None:
        self.scale, self.rng = 1.0, random.Random(3)

    def __call__(self, gradients: Any) -> None:
        self.scale *= 0.9
        gradients.flat += self.scale * self.rng.gauss(0, 1)


class Augmented(DataLoader):
    """Adds noise to the samples, and counts."""

    def __init__(self) -> None:
        super().__init__(X, T, batch_size=4, seed=3)
        self.rng, self.n = np.random.default_rng(5), 0

    def __iter__(self) -> Any:
        for x, t in super().__iter__():
            self.n += 1
            yield x + self.rng.standard_normal(x.shape).astype(np.float32) / self.n, t


STATS = {"n": 0}
CONFIG = {"scale": 2.0}


def global_dict() -> Any:
    STATS["n"] = 0

    def loss(y: Any, t: Any) -> Any:
        STATS["n"] += 1
        return F.mean_squared_error(y, t) * STATS["n"] * CONFIG["scale"]

    return loss


class InClass:
    n = 0

    @classmethod
    def loss(cls, y: Any, t: Any) -> Any:
        cls.n += 1
        return F.mean_squared_error(y, t) * cls.n


def class_method() -> Any:
    InClass.n = 0
    return InClass.loss


def named_class() -> Any:
    InClass.n = 0

    def loss(y: Any, t: Any) -> Any:
        InClass.n += 1
        return F.mean_squared_error(y, t) * InClass.n

    return loss


class Cached(layers.Layer):
    """Keeps something in a dict of its class."""

    cache: ClassVar[dict[tuple[int, int], int]] = {}

    def __init__(self) -> None:
        self.inner = layers.Linear(3, 1)

    def forward(self, x: Any) -> Any:
        n = self.cache[len(x), 1] = self.cache.get((len(x), 1), 0) + 1
        return self.inner(x) * (1 + 0.1 * n)


def in_class_dict() -> Trainer:
    Cached.cache.clear()
    return trainer(Cached())


def two_optimizers() -> Any:
    w = minidl.Parameter(np.ones((1, 1), np.float32))
    other = optim.Adam([w], lr=0.1)

    def loss(y: Any, t: Any) -> Any:
        if y.requires_grad:
            other.cleargrads()
            F.mean_squared_error(y.data @ w, t).backward()
            other.update()
        return F.mean_squared_error(y @ w.data, t)

    return loss


class Chain:
    """A function in a Sequential, with a generator and a number."""

    def __init__(self) -> None:
        self.rng, self.n = np.random.default_rng(3), 0

    def __call__(self, x: Any) -> Any:
        self.n += 1
        return x * (1 + float(self.rng.random()) / self.n)


class OwnLoss(Trainer):
    """Has a generator, a number and a dict of its own."""

    def __init__(self, *parts: Any) -> None:
        self.rng, self.seen = np.random.default_rng(7), {"n": 0}
        super().__init__(*parts)
        self.scale = 1.0

    def loss_of(self, batch: Any) -> Any:
        x, t = batch
        self.seen["n"] += 1
        self.scale *= 0.9
        y = self.model(x)
        return F.mean_squared_error(y, t) * (self.scale + self.rng.random() / self.seen["n"]), y


def own_loss() -> Trainer:
    model = layers.Linear(3, 1)
    return OwnLoss(model, optim.SGD(model, lr=0.05), F.mean_squared_error)


def assigned_loss_of() -> Trainer:
    of, n, rng = trainer(layers.Linear(3, 1)), 0, np.random.default_rng(8)

    def loss_of(batch: Any) -> Any:
        nonlocal n
        n += 1
        y = of.model(batch[0])
        return F.mean_squared_error(y, batch[1]) * (1 + rng.random() / n), y

    of.loss_of = loss_of  # type: ignore[method-assign]
    return of


MAKERS = {
    "a trainer": own_loss,
    "a loss_of that is assigned": assigned_loss_of,
    "a global dict": with_loss(global_dict),
    "a class method": with_loss(class_method),
    "a class by its name": with_loss(named_class),
    "a dict of a class": in_class_dict,
    "two optimizers": with_loss(two_optimizers),
    "a function in a chain": lambda: trainer(layers.Sequential(layers.Linear(3, 1), Chain())),
    "a seed sequence": attribute(
        lambda: np.random.SeedSequence(1),
        lambda s: np.random.default_rng(s.kept.spawn(1)[0]).random(),
    ),
    "a dict by pairs": attribute(dict, lambda s: pairs(s.kept)),
    "a sampler of samples": lambda: trainer(layers.Linear(3, 1)),
    "a number": attribute(int, number),
    "NumPy's number": attribute(lambda: np.float32(0), number),
    "a dict": attribute(dict, entry),
    "an OrderedDict": attribute(OrderedDict, entry),
    "a defaultdict": attribute(lambda: defaultdict(int), entry),
    "a Counter": attribute(Counter, entry),
    "nested": attribute(lambda: [0, {"x": np.zeros(2), "y": (1, "a")}], nested),
    "a list": attribute(list, appended),
    "a deque": attribute(lambda: deque(maxlen=3), appended),
    "text": attribute(str, text),
    "none at first": attribute(lambda: None, first_call),
    "an attribute made later": attribute(lambda: None, new_attribute),
    "a Variable": attribute(lambda: Variable(1.0, requires_grad=False), variable),
    "a named tuple": attribute(lambda: Pair(0, "b"), replaced_pair),
    "a namespace": attribute(lambda: SimpleNamespace(n=0), of_object),
    "an object": attribute(Object, of_object),
    "an array in an object": attribute(Object, mean_of_object),
    "a dataclass": attribute(Data, of_object),
    "an object with slots": attribute(Slotted, of_object),
    "a generator": attribute(lambda: np.random.default_rng(1), lambda s: s.kept.random()),
    "Philox": attribute(
        lambda: np.random.Generator(np.random.Philox(1)), lambda s: s.kept.random()
    ),
    "MT19937": attribute(
        lambda: np.random.Generator(np.random.MT19937(1)), lambda s: s.kept.random()
    ),
    "a RandomState": attribute(lambda: np.random.RandomState(1), lambda s: s.kept.randn()),
    "Random": attribute(lambda: random.Random(1), lambda s: s.kept.gauss(0, 1)),
    "a method of a generator": attribute(
        lambda: np.random.default_rng(1).random, lambda s: s.kept()
    ),
    "a partial of it": attribute(
        lambda: functools.partial(np.random.default_rng(1).normal, 0.0, 1.0), lambda s: s.kept()
    ),
    "a generator in a dict": attribute(
        lambda: {"a": {"b": [np.random.default_rng(1)]}}, lambda s: s.kept["a"]["b"][0].random()
    ),
    "a class": in_class,
    "a function with a layer": function_model,
    "a global number": global_count,
    "a default": with_loss(default_rng),
    "a keyword's default": with_loss(keyword_rng),
    "a bound method": with_loss(lambda: Noisy(np.random.default_rng(4)).loss),
    "a partial": with_loss(lambda: functools.partial(drawn, np.random.default_rng(4))),
    "a generator of a class": with_loss(in_class_rng),
    "a global generator": with_loss(global_rng),
    "NumPy's own": with_loss(numpy_global),
    "Python's own": with_loss(python_global),
    "a method of Python's own": with_loss(python_method),
    "one that spawns others": with_loss(spawning),
    "a function's attribute": with_loss(function_attribute),
    "a list as default": with_loss(mutable_default),
    "a loss that is an object": with_loss(Curriculum),
    "a loss with a state of its own": with_loss(Stateful),
    "another layer": with_loss(teacher),
    "a hook": lambda: trainer(layers.Linear(3, 1), hooks=[Noise()]),
}


def end(of: Trainer) -> list[bytes]:
    return [p.data.tobytes() for p in of.optimizer.params] + [repr(of.history.rows).encode()]


class Stop(callbacks.Callback):
    """Saves and stops within the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if self.trainer.steps == 5:
            self.trainer.save(self.path)
            self.trainer.stop = True


@pytest.mark.parametrize("name", MAKERS)
def test_resumed_exactly(name: str, tmp_path: Path) -> None:
    def make(seed: int) -> Trainer:
        minidl.seed(seed)
        return MAKERS[name]()

    def fit(of: Trainer, **more: Any) -> None:
        data = (Augmented(),) if name == "a sampler of samples" else (X, T)
        settings = {} if len(data) == 1 else {"batch_size": 4}
        of.fit(*data, epochs=3, verbose=0, **settings | more)

    path = tmp_path / "run.npz"
    whole = make(1)
    fit(whole)
    again = make(1)
    fit(again)
    assert end(again) == end(whole)
    first = make(1)
    first.callbacks.append(Stop(path))
    fit(first)
    resumed = make(2)
    fit(resumed, resume=path)
    assert end(resumed) == end(whole)


class Phase(enum.Enum):
    WARM, MAIN = range(2)


def next_phase(layer: Any) -> float:
    layer.kept = Phase.MAIN
    return layer.kept.value


def swap(layer: Any) -> float:
    layer.kept = F.tanh
    return 0.0


def late_object(layer: Any) -> float:
    layer.kept = layer.kept or Object()
    return 0.0


def late_attribute(layer: Any) -> float:
    layer.late = vars(layer).get("late") or Object()
    return 0.0


def late_generator(layer: Any) -> float:
    layer.kept = layer.kept or np.random.default_rng(1)
    return layer.kept.random()


class Change(callbacks.Callback):
    def __init__(self, change: Any) -> None:
        self.change = change

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.change(self.trainer)


def changing(change: Any) -> Trainer:
    model = layers.Linear(3, 1)
    return Trainer(model, optim.AdamW(model), F.mean_squared_error, callbacks=[Change(change)])


def lists(*parts: Any) -> Any:
    return attribute(lambda: list(parts), lambda s: 0.0)


def generate() -> Any:
    yield from itertools.repeat(1.0)


REFUSED = {
    "an iterator": (attribute(lambda: iter(range(99)), lambda s: next(s.kept)), "model.kept is a"),
    "a generator function's": (attribute(generate, lambda s: next(s.kept)), "model.kept is a gen"),
    "itertools": (attribute(itertools.count, lambda s: next(s.kept)), "model.kept is a count"),
    "in a list": (lists(zip([1], [2])), r"model\.kept\.0 is a zip"),
    "a deque of objects": (attribute(lambda: deque([Object()]), lambda s: 0.0), "is a deque"),
    "array": (attribute(lambda: array("d", [1.0]), lambda s: 0.0), "is an array"),
    "a bytearray": (attribute(bytearray, lambda s: 0.0), "is a bytearray"),
    "a masked array": (attribute(lambda: np.ma.array([1.0], mask=True), lambda s: 0.0), "Masked"),
    "objects": (attribute(lambda: np.array([object()]), lambda s: 0.0), "is a ndarray"),
    "the system's": (attribute(random.SystemRandom, lambda s: 0.0), "is a SystemRandom"),
    "in a closure": (
        with_loss(
            lambda: (lambda n: lambda y, t: F.mean_squared_error(y, t) * (1 + next(n)))(
                itertools.count()
            )
        ),
        r"loss\.n is a count",
    ),
    "an enum that changed": (attribute(lambda: Phase.WARM, next_phase), "was Phase.WARM when"),
    "a function that changed": (attribute(lambda: F.relu, swap), "was relu when"),
    "an object made later": (attribute(lambda: None, late_object), r"model\.kept"),
    "an attribute with an object made later": (
        attribute(lambda: None, late_attribute),
        r"model\.late is new",
    ),
    "a generator made later": (attribute(lambda: None, late_generator), r"model\.kept is new"),
    "weight decay that changes": (
        lambda: changing(lambda of: setattr(of.optimizer, "weight_decay", 0.5)),
        r"optimizer\.weight_decay was 0\.01 when",
    ),
    "a hook that is added": (
        lambda: changing(lambda of: of.optimizer.hooks.append(Noise())),
        "hooks was ",
    ),
    "another loss": (lambda: changing(lambda of: setattr(of, "loss", F.huber)), "loss was mean_"),
    "in a callback": (
        lambda: with_callback(itertools.count()),
        r"callbacks\.0\.kept is a count",
    ),
    "a deque in a callback": (lambda: with_callback(deque([1])), r"callbacks\.0\.kept is a deque"),
}


class Keeps(callbacks.Callback):
    def __init__(self, kept: Any) -> None:
        self.kept = kept


def with_callback(kept: Any) -> Trainer:
    of = trainer(layers.Linear(3, 1))
    of.callbacks.append(Keeps(kept))
    return of


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_the_first_save(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    of, path = make(), tmp_path / "run.npz"
    of.callbacks.append(callbacks.Checkpoint(path, every=2))
    with pytest.raises(TypeError, match=f"Trainer.save: the next batches may .*{message}"):
        of.fit(X, T, epochs=3, batch_size=4, verbose=0)
    assert of.steps == 2 and list(tmp_path.iterdir()) == []


encode = itertools.count()  # globals that no checkpoint can hold
decode = zip([1], [2])


class Named(layers.Layer):
    """Has an attribute, and a method, of the name of a global."""

    def __init__(self) -> None:
        self.encode = layers.Linear(3, 1)

    def decode(self, x: Any) -> Any:
        return [part.decode for part in ()] or x

    def forward(self, x: Any) -> Any:
        return self.decode(self.encode(x))


class Uses(Named):
    """Uses the global itself, in a function within."""

    def forward(self, x: Any) -> Any:
        return (lambda: self.encode(x) + 0.0 * next(encode))()


@pytest.mark.parametrize("kind", [Named, Uses])
def test_an_attribute_is_no_global(kind: Any, tmp_path: Path) -> None:
    of = trainer(kind())
    of.fit(X, T, epochs=1, batch_size=4, verbose=0)
    if kind is Named:
        of.save(tmp_path / "run.npz")
    else:
        with pytest.raises(TypeError, match=r"forward\.encode is a count"):
            of.save(tmp_path / "run.npz")


def test_a_set_of_objects_is_told_once(tmp_path: Path) -> None:
    of = attribute(lambda: {object()}, lambda s: 0.0)()
    of.callbacks.append(callbacks.Checkpoint(tmp_path / "run.npz"))
    with pytest.warns(UserWarning, match="what it holds is not saved: model.kept is a set") as told:
        of.fit(X, T, epochs=3, batch_size=4, verbose=0)
    assert len(told) == 1


@pytest.mark.parametrize(
    "kept",
    [
        print,
        Path("a"),
        np.float32,
        threading.Lock(),
        np.dtype(float),
        F.relu,
        "text",
        None,
        range(3),
        Phase.WARM,
    ],
)
def test_what_holds_no_state_is_left_alone(kept: Any, tmp_path: Path) -> None:
    of = attribute(lambda: kept, lambda s: 0.0)()
    of.callbacks.append(callbacks.Checkpoint(tmp_path / "run.npz"))
    of.fit(X, T, epochs=2, batch_size=4, verbose=0)
    of.load(tmp_path / "run.npz")
    assert of.model.kept is kept or of.model.kept == kept
