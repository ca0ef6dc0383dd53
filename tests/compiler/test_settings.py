"""Settings that change between calls, wherever they are: compiled, and as eagerly at every call.

What cannot be watched is in test_prevention.py, whose programs go on eagerly.
"""

import argparse
import os
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import layers, optim

Changes = Iterator[None]
Made = tuple[Callable[[Any], Any], Callable[[], Changes]]  # a function, and how its setting changes

x = np.linspace(-1, 1, 20).reshape(5, 4)


def attribute_of_a_function() -> Made:
    def scale(y: Any) -> Any:
        return y * scale.k  # type: ignore[attr-defined]

    scale.k = 2.0  # type: ignore[attr-defined]

    def change() -> Changes:
        scale.k = 3.0  # type: ignore[attr-defined]
        yield

    return lambda x: scale(x), change


def attribute_that_is_not_there_yet() -> Made:
    held = types.SimpleNamespace()

    def f(x: Any) -> Any:
        try:
            return x * held.k
        except AttributeError:
            return x

    def change() -> Changes:
        held.k = 3.0
        yield
        del held.k
        yield

    return f, change


def attribute_of_a_class_that_is_not_there_yet() -> Made:
    class Held:
        pass

    held: Any = Held()

    def f(x: Any) -> Any:
        try:
            return x * held.k
        except AttributeError:
            return x

    def change() -> Changes:
        Held.k = 3.0  # type: ignore[attr-defined]
        yield

    return f, change


def arguments_of_a_script() -> Made:
    args = argparse.Namespace(k=2.0, more={"b": 1.0})

    def change() -> Changes:
        args.k = 3.0
        yield
        args.more["b"] = 5.0
        yield

    return lambda x: x * args.k + args.more["b"], change


def event() -> Made:
    event = threading.Event()

    def change() -> Changes:
        event.set()
        yield

    return lambda x: x * 2 if event.is_set() else x, change


def class_of_a_class() -> Made:
    class Kind(type):
        k = 2.0

    class Held(metaclass=Kind):
        pass

    def change() -> Changes:
        Kind.k = 3.0
        yield

    return lambda x: x * Held.k, change


def objects_in_a_set() -> Made:
    class Held:
        k = 2.0

    held = {Held()}

    def change() -> Changes:
        for h in held:
            h.k = 3.0
        yield

    return lambda x: sum(x * h.k for h in held), change


def environment() -> Made:
    os.environ["MINIDL_TEST_K"] = "2"

    def change() -> Changes:
        os.environ["MINIDL_TEST_K"] = "3"
        yield
        del os.environ["MINIDL_TEST_K"]
        os.environ["MINIDL_TEST_K"] = "4"
        yield

    return lambda x: x * float(os.environ["MINIDL_TEST_K"]), change


def command_line() -> Made:
    def change() -> Changes:
        sys.argv.append("more")
        yield
        sys.argv.pop()
        yield

    return lambda x: x * len(sys.argv), change


def places_read_and_used() -> Made:
    places = np.array([0, 1])

    def change() -> Changes:
        places[1] = 3
        yield

    return lambda x: x[places].sum() + x[:, : places[1]].sum(), change


def keys_that_are_equal() -> Made:
    held: dict[Any, float] = {1: 2.0}

    def change() -> Changes:
        held.clear()
        held[True] = 2.0
        yield

    return lambda x: x * sum(v * len(str(k)) for k, v in held.items()), change


@pytest.mark.parametrize(
    "make",
    [
        attribute_of_a_function,
        attribute_that_is_not_there_yet,
        attribute_of_a_class_that_is_not_there_yet,
        arguments_of_a_script,
        event,
        class_of_a_class,
        objects_in_a_set,
        environment,
        command_line,
        places_read_and_used,
        keys_that_are_equal,
    ],
)
@pytest.mark.parametrize("check", ["never", "raise"])
def test_a_setting_is_that_of_the_call(make: Callable[[], Made], check: Any) -> None:
    f, change = make()
    compiled = minidl.compile(f, check=check)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            np.testing.assert_array_equal(compiled(x), f(x))
        for _ in change():
            for _ in range(2):
                np.testing.assert_array_equal(compiled(x), f(x))
    assert "program 1" in compiled.status()


def test_names_and_order_of_keywords() -> None:
    compiled = minidl.compile(lambda *a, **k: {n: y * len(a) for n, y in k.items()}, check="never")
    for _ in range(2):
        assert list(compiled(x, a0=x, MISS=x, k1=x)) == ["a0", "MISS", "k1"]
        assert list(compiled(x, k1=x, a0=x)) == ["k1", "a0"]
        assert list(compiled(**{"two words": x, "class": x})) == ["two words", "class"]
    assert "program 2" in compiled.status()


def test_what_is_made_is_free_of_stand_ins() -> None:
    made = minidl.compile(lambda x: lambda: x * 2)
    with pytest.warns(UserWarning, match="holds a function"):
        assert type(made(x)()) is np.ndarray
    assert type(made(x)()) is np.ndarray


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x, k={}: x * k.get(id(x), 1), "id of an object"),
        (lambda x: x * 2 if 1.0 in x else x, "in the values"),
        (lambda x: x * 2 if np.geterr()["divide"] == "ignore" else x, "geterr"),
        (lambda x: x * float(os.getenv("MINIDL_TEST_J", "2")), "getenv"),
    ],
)
def test_what_is_asked_for_is_named(f: Any, said: str) -> None:
    compiled = minidl.compile(f)
    with pytest.warns(UserWarning, match=said):
        np.testing.assert_array_equal(compiled(x), f(x))


def test_a_long_list_of_objects_is_left_to_eager_code() -> None:
    held = [[1.0] for _ in range(2000)]
    compiled = minidl.compile(lambda x: x * held[1500][0])
    with pytest.warns(UserWarning, match="too long to watch"):
        compiled(x)
    held[1500][0] = 3.0
    np.testing.assert_array_equal(compiled(x), 3 * x)


def test_an_object_that_refuses_unknown_names_with_another_error() -> None:
    class Settings:
        def __getattr__(self, name: str) -> float:
            return {"k": 2.0}[name]

    settings = Settings()
    compiled = minidl.compile(lambda x: x * settings.k)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(x), 2 * x)


def test_a_step_with_batch_norm_goes_on_eagerly() -> None:
    def weights(compiled: bool) -> list[Any]:
        minidl.seed(0)
        model = layers.Sequential(layers.Linear(4, 3), layers.BatchNorm(3), layers.Linear(3, 2))
        optimizer = optim.Adam(model)

        def step(x: Any) -> Any:
            optimizer.cleargrads()
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.update()
            return loss

        train = minidl.compile(step) if compiled else step
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i in range(5):
                train(np.float32(i) + x.astype(np.float32))
        return [*model.state_dict().values()]

    for a, b in zip(weights(True), weights(False), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: a,
        lambda a: a.copy(),
        lambda a: {"a": a.T, "b": [a * 1]},
        lambda a: a.astype(np.float32),
    ],
)
def test_an_array_without_axes_stays_an_array(f: Any) -> None:
    compiled = minidl.compile(f, check="never")
    for i in range(3):
        assert repr(compiled(np.array(float(i)))) == repr(f(np.array(float(i))))
    assert compiled.status().startswith("program 0")


def test_an_argument_without_axes_is_written_into() -> None:
    def count(n: Any) -> Any:
        n += 1
        return n * 2

    compiled = minidl.compile(count)
    n = np.array(0.0)
    with pytest.warns(UserWarning, match="writes into an array"):
        assert compiled(n) == 2
    assert compiled(n) == 4
    assert n == 2


def test_adding_a_graph_into_an_array_is_refused_as_eagerly() -> None:
    p = minidl.Parameter(np.ones(3))

    def add(y: Any) -> Any:
        total = y * 1
        total += p
        return total.sum()

    for f in (add, minidl.compile(add)):
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with pytest.raises(TypeError, match="would leave the graph"):
                    f(np.ones(3))
