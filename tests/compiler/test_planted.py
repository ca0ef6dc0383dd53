"""Programs in which something changes between calls that is easily overlooked.

Each must give what it gives eagerly at every call, without the help of checks: compiled, or eagerly
with one warning.
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, layers
from minidl import functions as F
from minidl.compiler.agreement import same

# A function, the arguments of call number i, and what happens before that call.
Made = tuple[Callable[..., Any], Callable[[int], Any], Callable[[int], object]]
PROGRAMS: list[tuple[Callable[[], Made], bool]] = []
XS = np.random.default_rng(0).standard_normal((20, 4, 3)).astype(np.float32)


def planted(compiled: bool) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    def add(make: Callable[[], Made]) -> Callable[[], Made]:
        PROGRAMS.append((make, compiled))
        return make

    return add


def one(i: int) -> Any:
    return (XS[i].copy(),)


def nothing(i: int) -> None:
    pass


scale = 1.0


@planted(compiled=False)
def a_global_by_its_text() -> Made:
    def before(i: int) -> None:
        global scale
        scale = 1.0 + i // 3

    return lambda x: x * globals()["scale"], one, before


@planted(compiled=True)
def an_attribute_by_a_getter() -> Made:
    settings = types.SimpleNamespace(inner=types.SimpleNamespace(k=1.0))
    get = operator.attrgetter("inner.k")
    return lambda x: x * get(settings), one, lambda i: setattr(settings.inner, "k", 1.0 + i // 4)


@planted(compiled=True)
def a_method_by_a_caller() -> Made:
    class Settings:
        k = 1.0

        def scale(self) -> float:
            return self.k

    settings = Settings()
    call = operator.methodcaller("scale")
    return lambda x: x * call(settings), one, lambda i: setattr(settings, "k", 1.0 + i // 4)


@planted(compiled=False)
def a_module_by_its_text() -> Made:
    module: Any = types.ModuleType("of_a_test")
    sys.modules["of_a_test"] = module
    find = importlib.import_module
    return lambda x: x * find("of_a_test").k, one, lambda i: setattr(module, "k", 1.0 + i // 4)


@planted(compiled=False)
def whether_a_file_is_there() -> Made:
    path = f"{os.environ.get('TMPDIR', '/tmp')}/minidl_test_{os.getpid()}"

    def before(i: int) -> None:
        if i == 5:
            open(path, "w").close()
        if i == 10:
            os.remove(path)

    return lambda x: x * 2 if os.path.exists(path) else x * 3, one, before


@planted(compiled=False)
def the_name_of_the_thread() -> Made:
    thread = threading.current_thread()
    f = lambda x: x * len(threading.current_thread().name)
    return f, one, lambda i: setattr(thread, "name", "t" + "x" * (i // 4))


@planted(compiled=False)
def how_deep_calls_may_go() -> Made:
    limit = sys.getrecursionlimit()
    f = lambda x: x * sys.getrecursionlimit()
    return f, one, lambda i: sys.setrecursionlimit(limit + i // 4 if i < 15 else limit)


@planted(compiled=False)
def an_object_that_may_be_gone() -> Made:
    class Owner:
        pass

    owners = [Owner()]
    owner = weakref.ref(owners[0])
    f = lambda x: x * 2 if owner() is not None else x * 3
    return f, one, lambda i: owners.clear() if i == 6 else None


@planted(compiled=True)
def another_class() -> Made:
    class Double:
        def scale(self, x: Any) -> Any:
            return x * 2

    class Triple:
        def scale(self, x: Any) -> Any:
            return x * 3

    it: Any = Double()
    kinds = (Double, Triple)
    return lambda x: it.scale(x), one, lambda i: setattr(it, "__class__", kinds[i // 4 % 2])


@planted(compiled=True)
def what_a_mapping_makes_of_a_missing_key() -> Made:
    numbers = [1.0]

    class Settings(dict[str, float]):
        def __missing__(self, key: str) -> float:
            return numbers[0]

    settings = Settings()
    return lambda x: x * settings["k"], one, lambda i: numbers.__setitem__(0, 1.0 + i // 4)


@planted(compiled=True)
def the_name_of_a_parameter() -> Made:
    w = Parameter(np.ones(3, np.float32))
    f = lambda x: (x * w if w.name == "a" else x * 3 + w).sum()
    return f, one, lambda i: setattr(w, "name", "ab"[i // 4 % 2])


@planted(compiled=True)
def an_attribute_of_a_kind_of_parameter() -> Made:
    class Scaled(Parameter):
        scale = 1.0

    w = Scaled(np.ones(3, np.float32))
    return lambda x: (x * w * w.scale).sum(), one, lambda i: setattr(w, "scale", 1.0 + i // 4)


@planted(compiled=True)
def what_a_function_of_ones_own_closes_over() -> Made:
    numbers = [1.0]
    own = minidl.differentiable(lambda x: x * numbers[0], lambda g, y, x: g * numbers[0])
    gradient = minidl.grad(lambda x: (own(x) ** 2).sum())
    return lambda x: gradient(x), one, lambda i: numbers.__setitem__(0, 1.0 + i // 4)


@planted(compiled=False)
def whether_it_is_the_same_array() -> Made:
    w = XS[0].copy()
    arguments = lambda i: (w,) if i % 3 == 2 else one(i)
    return lambda x: x * 2 if x is w else x * 3, arguments, nothing


@planted(compiled=True)
def a_variable_that_comes_and_goes() -> Made:
    k = 2.0

    def f(x: Any) -> Any:
        try:
            return x * k
        except NameError:
            return x * 3

    def before(i: int) -> None:
        nonlocal k
        if i == 9:
            k = 4.0
        if i == 5:
            del k

    return f, one, before


@planted(compiled=True)
def a_global_in_place_of_a_builtin() -> Made:
    scope: dict[str, Any] = {}
    exec("def f(x): return x * abs(-2)", scope)

    def before(i: int) -> None:
        if i == 5:
            scope["abs"] = lambda x: 7
        if i == 9:
            del scope["abs"]

    return scope["f"], one, before


@planted(compiled=True)
def an_array_filled_from_its_own_parts() -> Made:
    def f(x: Any) -> Any:
        y = np.empty_like(x)
        y[0] = x[0]
        for i in range(1, len(x)):
            y[i] = 0.9 * y[i - 1] + x[i]
        y[1:] = y[:-1]
        return y

    return f, one, nothing


@planted(compiled=True)
def orthogonal_columns() -> Made:
    def f(x: Any) -> Any:
        q = x.copy()
        for i in range(3):
            for j in range(i):
                q[:, i] = q[:, i] - (q[:, j] * q[:, i]).sum() * q[:, j]
            q[:, i] = q[:, i] / np.sqrt((q[:, i] ** 2).sum())
        return q

    return f, one, nothing


@planted(compiled=False)
def a_view_of_what_is_written() -> Made:
    def f(x: Any) -> Any:
        y = x * 2
        rows = [y[1], y.T]
        y[1] = 7
        return y, rows[0] * 2, rows[1].sum()

    return f, one, nothing


@planted(compiled=False)
def a_view_that_is_in_a_graph() -> Made:
    w = Parameter(np.ones(3, np.float32))

    def f(x: Any) -> Any:
        y = x * 2
        loss = (y[0] * w * w).sum()
        y[0] = 5
        w.cleargrad()
        loss.backward()
        return w.grad

    return f, one, nothing


@planted(compiled=True)
def lists_of_arrays() -> Made:
    def f(x: Any) -> Any:
        a, b = np.split(x, 2)
        parts = np.array_split(a * b, 3, axis=1)
        return parts, a + b, [*map(np.sum, np.hsplit(x, 3))]

    return f, one, nothing


@planted(compiled=False)
def a_part_of_what_is_written() -> Made:
    def f(x: Any) -> Any:
        y = x * 2
        a, b = np.split(y, 2)
        a += 1
        return y, b

    return f, one, nothing


@planted(compiled=False)
def a_seed() -> Made:
    dropout = layers.Dropout(0.5)

    def f(x: Any) -> Any:
        minidl.seed(3)
        return dropout(x).sum()

    return f, one, nothing


@planted(compiled=False)
def how_numbers_are_printed() -> Made:
    f = lambda x: x * np.get_printoptions()["precision"]
    return f, one, lambda i: np.set_printoptions(precision=3 + i // 4 if i < 15 else 8)


@planted(compiled=False)
def a_view_of_bytes() -> Made:
    numbers = bytearray(b"\1")
    view = memoryview(numbers)
    return lambda x: x * view[0], one, lambda i: numbers.__setitem__(0, 1 + i // 4)


@planted(compiled=True)
def what_is_computed_once() -> Made:
    @functools.lru_cache
    def eye(n: int) -> Any:
        return np.eye(n, dtype=np.float32)

    return lambda x: x @ eye(3), one, nothing


@planted(compiled=False)
def the_type_of_an_array() -> Made:
    return lambda x: x * 2 if type(x).__name__ == "ndarray" else x * 3, one, nothing


@planted(compiled=False)
def a_table_of_types() -> Made:
    factors = {np.ndarray: 2, float: 3}
    return lambda d: d["x"] * factors[type(d["x"])], lambda i: ({"x": XS[i]},), nothing


@planted(compiled=True)
def types_of_nests() -> Made:
    def f(x: Any) -> Any:
        return sum(map(f, x)) if type(x) in (list, tuple) else x * 2

    return f, lambda i: ([XS[i], (XS[i], XS[0])],), nothing


@planted(compiled=True)
def whether_it_has_a_graph() -> Made:
    f = lambda x: x * 2 if hasattr(x, "backward") else x * 3
    return f, one, nothing


@planted(compiled=True)
def an_error_of_arrays() -> Made:
    def f(x: Any) -> Any:
        try:
            return x * float(x)
        except TypeError:
            return x * 3

    return f, one, nothing


@planted(compiled=False)
def what_stand_ins_do_not_take() -> Made:
    return lambda x: x * 1j, one, nothing


def outcomes(make: Callable[[], Made], check: Any) -> tuple[list[Any], Any]:
    minidl.seed(0)
    f, arguments, before = make()
    if check is not None:
        f = minidl.compile(f, check=check)
    results = []
    for i in range(16):
        before(i)
        results.append(f(*arguments(i)))
    return results, f


@pytest.mark.parametrize("check", ["never", "sparse"])
@pytest.mark.parametrize(
    ("make", "compiled"), PROGRAMS, ids=[make.__name__ for make, _ in PROGRAMS]
)
def test_as_eagerly(make: Callable[[], Made], compiled: bool, check: str) -> None:
    wanted, _ = outcomes(make, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results, f = outcomes(make, check)
    for a, b in zip(results, wanted, strict=True):
        assert same(a, b)
    assert f.status().startswith("eager") is not compiled
    assert len([w for w in caught if "eagerly" in str(w.message)]) == (not compiled)


@pytest.mark.parametrize("check", ["never", "sparse"])
def test_writes_into_nests_that_hold_no_arrays(check: Any) -> None:
    def append(x: Any, log: list[Any]) -> Any:
        log.append(x * 2)
        return log[-1] + len(log)

    def store(x: Any, log: dict[str, Any]) -> Any:
        log["y"] = x * 2
        return x + 1

    def rename(x: Any, log: dict[str, Any]) -> Any:
        key, value = log.popitem()
        log[key + "'"] = value
        return x * len(key)

    cases: list[tuple[Any, Any]] = [(append, []), (store, {}), (rename, {"a": 1})]
    for f, log in cases:
        mine = type(log)(log)
        compiled = minidl.compile(f, check=check)
        for i in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert same(compiled(XS[i], mine), f(XS[i], log))
            assert same(mine, log)
        assert "into its arguments" in compiled.status()


def test_a_nest_that_is_there_twice_stays_one() -> None:
    def f(a: list[Any], b: list[Any]) -> Any:
        a.append(1)
        return a[0] * len(b)

    x = [XS[0]]
    with pytest.warns(UserWarning, match="into its arguments"):
        assert same(minidl.compile(f)(x, x), XS[0] * 2)


def test_an_error_before_anything_happened_is_that_of_the_arrays() -> None:
    f = minidl.compile(lambda x: x.no_such_thing)
    with pytest.raises(AttributeError, match=r"'numpy.ndarray' object has no attribute 'no_such"):
        f(XS[0])


def test_a_call_that_did_something_is_not_made_again() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return x * 1j

    with pytest.raises(TypeError, match="complex"):
        minidl.compile(f)(XS[0])
    assert len(calls) == 1


def test_arrays_that_are_filled_part_by_part() -> None:
    def f(x: Any) -> Any:
        y = np.empty_like(x)
        for i in range(len(x)):
            y[i] = x[i] * 2
        return y

    small = minidl.compile(f)
    x = np.ones((40, 3), np.float32)
    for _ in range(3):
        assert same(small(x), f(x))
    assert small.status().startswith("program")
    with pytest.warns(UserWarning, match=r"part by part at .*: np\.stack the parts"):
        minidl.compile(f)(np.ones((100, 100), np.float32))


@pytest.mark.parametrize("check", ["never", "sparse"])
def test_steps_by_gradients(check: Any) -> None:
    def fit(compiled: bool) -> tuple[list[Any], Any, Any]:
        w, v = Parameter(np.ones((3, 1))), Parameter(np.ones(1))

        def step(x: Any) -> Any:
            loss = ((np.tanh(x @ w) + v) ** 2).mean()
            for p, g in zip((w, v), minidl.gradients(loss, [w, v]), strict=True):
                p.data = p.data - 0.1 * g.data
            return loss

        f = minidl.compile(step, check=check) if compiled else step
        return [f(XS[i]).item() for i in range(12)], w, f

    losses, w, _ = fit(compiled=False)
    again, v, f = fit(compiled=True)
    assert losses == again
    assert same(w.data, v.data)
    assert f.status().startswith("program")


def test_a_graph_that_goes_on_after_a_write() -> None:
    w, v = Parameter(np.ones(3, np.float32)), Parameter(np.ones(3, np.float32))

    def f(x: Any) -> Any:
        w.data = w.data * np.float32(0.9)
        return (x * v * w.data).sum()

    compiled = minidl.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(4):
            v.cleargrad()
            before = w.data.copy()
            compiled(XS[i]).backward()
            assert v.grad is not None
            assert np.allclose(v.grad.data, (XS[i] * before * np.float32(0.9)).sum(axis=0))


def test_checks_do_not_warn_twice() -> None:
    f = minidl.compile(lambda x: F.exp(x) / 0.0, check="always")
    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            f(XS[0])
        assert len(caught) == 1


def test_the_warning_names_the_function_and_the_error() -> None:
    def scaled(x: Any, by: complex) -> Any:
        return x * by

    said = r"scaled: it raises an error .* \(TypeError: .*complex.*\); it goes on eagerly"
    with pytest.warns(UserWarning, match=said):
        minidl.compile(functools.partial(scaled, by=1j))(XS[0])
