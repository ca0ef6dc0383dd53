"""What a program cannot do as the function does: it goes on eagerly, and says why.

Each function here is run compiled and eagerly, side by side, for several calls: the same results at
every call, and the same left behind.
"""

import collections
import contextvars
import copy
import dataclasses
import functools
import io
import random
import time
import types
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers
from minidl import functions as F
from minidl.compiler.agreement import same

X = np.array([1.0, -2.0, 3.0])
Made = tuple[
    Callable[[Any], Any], Callable[[int], object]
]  # the function, what happens between calls


def batches() -> Iterator[Any]:
    rng = np.random.default_rng(0)
    while True:
        yield rng.standard_normal(3)


def side_by_side(make: Callable[[], Made], calls: int = 12) -> Any:
    """Compiled as eagerly, at every call; the compiled function."""
    eager, between = make()
    twin, between_twin = make()
    compiled = minidl.compile(twin)
    for i, x in zip(range(calls), batches()):
        want = eager(x.copy())
        got = compiled(x.copy())
        assert same(got, want), f"call {i}: {got!r}, want {want!r}"
        between(i)
        between_twin(i)
    return compiled


def nothing(i: int) -> None:
    """Between calls."""


# ---- programs that go on eagerly ----------------------------------------------------------------


def counter() -> Made:
    calls = [0]

    def f(x: Any) -> Any:
        calls[0] += 1
        return x * calls[0]

    return f, nothing


def attribute() -> Made:
    class Model:
        seen = 0

        def loss(self, x: Any) -> Any:
            self.seen += 1
            self.last = x * self.seen
            return self.last.sum()

    return Model().loss, nothing


def running_mean() -> Made:
    mean = np.zeros(3)

    def f(x: Any) -> Any:
        mean.__imul__(0.9)
        mean.__iadd__(0.1 * np.asarray(x))
        return x - mean

    return f, nothing


def own_generator() -> Made:
    rng = np.random.default_rng(3)
    return lambda x: x + rng.normal(size=3), nothing


def python_generator() -> Made:
    rng = random.Random(3)
    return lambda x: x * rng.random(), nothing


def iterator() -> Made:
    numbers = iter(range(1000))
    return lambda x: x * next(numbers), nothing


def written_dict() -> Made:
    seen: dict[str, Any] = {}

    def f(x: Any) -> Any:
        seen["last"] = x
        return seen["last"] * len(seen)

    return f, nothing


def file_of_numbers() -> Made:
    text = io.StringIO("1\n2\n3\n4\n" * 10)
    return lambda x: x * float(text.readline()), nothing


def branch() -> Made:
    return lambda x: x * 2 if x.sum() > 0 else -x, nothing


def number() -> Made:
    return lambda x: x * float(x[0]), nothing


def text() -> Made:
    return lambda x: (x * 2, f"{x.sum():.3f}"), nothing


def loop_over_values() -> Made:
    return lambda x: [v * 2 for v in x.tolist()], nothing


def mask() -> Made:
    return lambda x: x[x > 0].sum(), nothing


def object_of_its_own() -> Made:
    class Result:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Result) and same(self.value, other.value)

        __hash__ = None  # type: ignore[assignment]  # as Python has it

    results = []

    def f(x: Any) -> Any:
        results.append(Result(x * 2))
        return results[-1].value

    return f, nothing


def type_of_an_array() -> Made:
    return lambda x: x * 2 if type(x) is np.ndarray else x * 3, nothing


def what_is_a_variable() -> Made:
    return lambda x: x.data * 2 if isinstance(x, Variable) else x * 3, nothing


def caught_error() -> Made:
    def f(x: Any) -> Any:
        try:
            return np.linalg.inv(np.diag(x) * (x.sum() > 0))
        except np.linalg.LinAlgError:
            return x * 0

    return f, nothing


EAGER = [
    type_of_an_array,
    what_is_a_variable,
    caught_error,
    running_mean,
    own_generator,
    python_generator,
    iterator,
]
EAGER += [file_of_numbers, branch, number, text, loop_over_values, mask, object_of_its_own]


@pytest.mark.parametrize("make", EAGER, ids=lambda make: make.__name__)
def test_it_goes_on_eagerly_with_one_warning(make: Callable[[], Made]) -> None:
    with pytest.warns(UserWarning, match="goes on eagerly") as caught:
        compiled = side_by_side(make)
    assert len([w for w in caught if "goes on eagerly" in str(w.message)]) == 1
    assert compiled.status().startswith("eager: ")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (time.time, "time.time"),
        (time.perf_counter, "time.perf_counter"),
        (lambda: uuid.uuid4().int % 7, "uuid.uuid4"),
        (lambda: len(Path(__file__).read_text()), "open"),
        (lambda: np.random.rand(), "random generator"),  # noqa: NPY002  # as users write it
        (random.random, "random generator"),
    ],
)
def test_clocks_files_and_dice_are_named(read: Callable[[], float], name: str) -> None:
    f = minidl.compile(lambda x: x * read())
    with pytest.warns(UserWarning, match=name):
        f(X)
    assert f(X).shape == (3,)


# ---- ordinary programs, which are compiled ------------------------------------------------------


def setting() -> Made:
    settings = {"rate": 1.0, "kind": "plus"}

    def between(i: int) -> None:
        settings["rate"] = float(i // 3)
        settings["kind"] = "plus" if i < 6 else "minus"

    def f(x: Any) -> Any:
        return x + settings["rate"] if settings["kind"] == "plus" else x - settings["rate"]

    return f, between


def closed_over_array() -> Made:
    offset = np.zeros(3)

    def between(i: int) -> None:
        nonlocal offset
        if i % 2:
            offset = np.full(3, float(i))
        else:
            offset[0] = i

    return lambda x: x * 2 + offset, between


def arithmetic_on_a_closed_over_array() -> Made:
    scale = np.ones(3)

    def between(i: int) -> None:
        scale[:] = i // 4

    return lambda x: x * np.exp(scale), between


def counts_that_are_closed_over() -> Made:
    counts = np.array([1, 0, 2])

    def between(i: int) -> None:
        nonlocal counts
        if i % 3 == 0:
            counts = np.roll(counts, 1)
        elif i % 3 == 1:
            counts[:] = counts[::-1].copy()

    return lambda x: np.repeat(x, counts) * 2.0, between


def edges_that_are_closed_over() -> Made:
    edges = np.array([-1.0, 0.0, 1.0])

    def between(i: int) -> None:
        nonlocal edges
        edges = edges + 0.25

    return lambda x: np.histogram(x, edges)[0], between


def computed_attribute() -> Made:
    config = types.SimpleNamespace(a=1.0, b=2.0)
    name = "a"

    def between(i: int) -> None:
        nonlocal name
        name = "b" if i % 2 else "a"
        config.a = float(i // 4)

    return lambda x: x * getattr(config, name), between


def slots_beside_a_dict() -> Made:
    class Base:
        __slots__ = ("rate",)

    class Config(Base):
        pass

    config = Config()
    config.rate = 2.0
    return lambda x: x * config.rate, lambda i: setattr(config, "rate", float(i // 4))


def dict_subclass() -> Made:
    class Settings(dict[str, float]):
        pass

    settings = Settings(rate=1.0)
    return lambda x: x * settings["rate"], lambda i: settings.update(rate=float(i // 4))


def partial_keywords() -> Made:
    def scale(x: Any, k: float = 1.0) -> Any:
        return x * k

    f = functools.partial(scale, k=2.0)
    return lambda x: f(x), lambda i: f.keywords.update(k=float(i // 4))


def context_variable() -> Made:
    rate = contextvars.ContextVar("rate", default=1.0)
    return lambda x: x * rate.get(), lambda i: rate.set(float(i // 4)) and None


def form_of_a_closed_over_variable() -> Made:
    p = Parameter(np.ones(3))

    def between(i: int) -> None:
        p.requires_grad = i % 2 == 0

    return lambda x: x * 2 if p.requires_grad else x * 3, between


Pair = collections.namedtuple("Pair", "a b")


def results_in_objects() -> Made:
    def f(x: Any) -> Any:
        ordered = collections.OrderedDict(z=x, a=x + 1)
        return [Pair(x * 2, "text"), {"k": (x.sum(), 3)}, ordered, collections.deque([x], 4), None]

    return f, nothing


@dataclasses.dataclass
class Output:
    loss: Any
    name: str = "mean"


def results_in_dataclasses() -> Made:
    return lambda x: Output(x.sum()), nothing


def in_place_on_its_own() -> Made:
    def f(x: Any) -> Any:
        y = x * 2
        y += x
        y **= 2
        return y

    return f, nothing


def signed_zero() -> Made:
    sign = [0.0]
    return lambda x: np.copysign(x, sign[0]), lambda i: sign.__setitem__(0, -0.0 if i % 2 else 0.0)


def dropout() -> Made:
    generator = np.random.default_rng(5)
    return lambda x: F.dropout(x, 0.5, rng=generator), nothing


def bytes_and_bools() -> Made:
    return lambda x: (F.sigmoid((x > 0).astype(np.uint8)), F.sigmoid(x > 0)), nothing


def numbers_of_numpy() -> Made:
    n = np.float32(2.5)
    return lambda x: (x[0] * 2.0, n + 1, x.astype(np.float32).sum() * n), nothing


def asks_what_it_is() -> Made:
    def f(x: Any) -> Any:
        return x * 2 if isinstance(x, np.ndarray) and isinstance(x.sum(), float) else x * 3

    return f, nothing


def list_of_models() -> Made:
    minidl.seed(0)
    nets = [layers.Linear(3, 3, dtype=np.float64) for _ in range(2)]
    return lambda x: sum(net(x).sum() for net in nets), lambda i: nets.reverse() if i == 5 else None


def errors_of_numpy() -> Made:
    def f(x: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return np.log(x) + np.sqrt(x)

    return f, nothing


ORDINARY = [
    errors_of_numpy,
    setting,
    closed_over_array,
    arithmetic_on_a_closed_over_array,
    computed_attribute,
]
ORDINARY += [slots_beside_a_dict, dict_subclass, partial_keywords, context_variable]
ORDINARY += [form_of_a_closed_over_variable, results_in_objects, results_in_dataclasses]
ORDINARY += [in_place_on_its_own, signed_zero, bytes_and_bools, numbers_of_numpy, asks_what_it_is]
ORDINARY += [
    written_dict,
    list_of_models,
    dropout,
    counts_that_are_closed_over,
    edges_that_are_closed_over,
]


@pytest.mark.parametrize("make", ORDINARY, ids=lambda make: make.__name__)
def test_ordinary_programs_are_compiled(make: Callable[[], Made]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = side_by_side(make)
    assert "NumPy" in compiled.status()


def test_settings_may_change_for_ever() -> None:
    settings = {"rate": 0.0}
    f = minidl.compile(lambda x: x * settings["rate"])
    for i in range(600):
        settings["rate"] = float(i // 20)
        assert f(X).tolist() == (X * settings["rate"]).tolist()
    assert "eager" not in f.status()


def test_numbers_of_numpy_are_no_settings() -> None:
    f = minidl.compile(lambda x, k: x * k)
    for i in range(40):
        assert f(X, np.float64(i)).tolist() == (X * i).tolist()
    assert f.status().count("program") == 1


def test_arguments_that_are_one_object() -> None:
    f = minidl.compile(lambda a, b: a * 2 if a is b else a + b)
    for _ in range(3):
        assert f(X, X).tolist() == (X * 2).tolist()
        assert f(X, X.copy()).tolist() == (X + X).tolist()


def test_arguments_written_into_are_written_into() -> None:
    def f(batch: dict[str, Any]) -> Any:
        batch["y"] = batch["x"] * 2
        return batch["y"].sum()

    compiled = minidl.compile(f)
    first = {"x": X}
    with pytest.warns(UserWarning, match="writes into its arguments"):
        compiled(first)
    assert first["y"].tolist() == (X * 2).tolist()
    for i in range(3):
        batch = {"x": X * i}
        assert compiled(batch) == (X * i * 2).sum()
        assert batch["y"].tolist() == (X * i * 2).tolist()


def test_arrays_in_dataclass_arguments() -> None:
    @dataclasses.dataclass
    class Batch:
        x: Any
        scale: float = 2.0

    f = minidl.compile(lambda batch: (batch.x * batch.scale).sum())
    for i in range(4):
        assert f(Batch(X * i)) == (X * i * 2).sum()
        assert f(Batch(X * i, 3.0)) == (X * i * 3).sum()
    assert f.status().count("program") == 2


# ---- nothing twice, nothing lost ----------------------------------------------------------------


def test_the_first_call_runs_once() -> None:
    runs: list[Any] = []

    def f(x: Any) -> Any:
        print_into(runs, "run")
        return x * 2

    compiled = minidl.compile(f, check="never")
    compiled(X)
    assert len(runs) == 1


def print_into(runs: list[Any], word: str) -> None:
    runs += [word]


def test_lazy_weights_are_drawn_once() -> None:
    def weights(compile: bool) -> list[Any]:
        minidl.seed(0)
        net = layers.Sequential(layers.Linear(4), F.tanh, layers.Linear(2))
        f = minidl.compile(lambda x: net(x).sum()) if compile else lambda x: net(x).sum()
        for _ in range(3):
            f(np.ones((2, 3), np.float32))
        return [p.data for p in net.parameters()]

    for a, b in zip(weights(False), weights(True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_in_the_middle_is_the_eager_one_and_changes_nothing() -> None:
    minidl.seed(0)
    cell = layers.RNN(3, 4)

    def f(x: Any, t: Any) -> Any:
        return F.cross_entropy(F.dropout(cell(x), 0.5), t)

    compiled = minidl.compile(f)
    x = np.ones((2, 3), np.float32)
    for _ in range(4):
        compiled(x, np.array([0, 1]))
    before = cell.state.data.copy()
    stream = copy.deepcopy(minidl.random.generator())
    with pytest.raises((ValueError, IndexError)):
        compiled(x, np.array([0, 9]))
    cell.reset_state()
    assert before.shape == (2, 4)
    compiled(x, np.array([0, 1]))
    assert minidl.random.generator().bit_generator.state != stream.bit_generator.state


def test_methods_do_not_keep_their_objects() -> None:
    import gc
    import weakref

    class Net:
        def __init__(self) -> None:
            self.net = layers.Linear(3, 2)

        @minidl.compile
        def loss(self, x: Any) -> Any:
            return self.net(x).sum()

    gc.disable()
    try:
        net = Net()
        for _ in range(3):
            net.loss(np.ones((2, 3), np.float32))
        gone = weakref.ref(net)
        del net
        assert gone() is None
    finally:
        gc.enable()


def test_a_compiled_model_is_a_model() -> None:
    model = layers.MLP([4, 2], in_features=3)
    compiled = minidl.compile(model)
    x = np.ones((2, 3), np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(x).data, model(x).data)
    assert isinstance(compiled, layers.MLP)
    assert compiled.parameters() == model.parameters()
    assert compiled.state_dict().keys() == model.state_dict().keys()
    assert "NumPy" in compiled.status()
    assert "Linear" in str(compiled.summary())
