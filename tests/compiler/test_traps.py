"""What once went wrong, or nearly: programs must not serve where they would give another number than eager code.

What minidl.compile is for is tested in test_compile.py.
"""

import collections
import copy
import warnings
from typing import Any, ClassVar

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers
from minidl import functions as F

C = minidl.compile
ONES = np.ones(2)


def test_results_without_axes_are_no_views_of_buffers() -> None:
    f = C(lambda x: (x * 2).sum(keepdims=True).reshape(()))
    assert [float(y) for y in [f(np.full(3, float(i))) for i in range(3)]] == [0, 6, 12]
    p, gradients = Parameter(2.0), []
    g = C(lambda x: (p.reshape(1, 1) * x).sum())
    for i in range(4):
        p.cleargrad()
        g(np.full((1, 1), float(i))).backward()
        gradients.append(p.grad)
    assert [float(v) for v in gradients] == [0, 1, 2, 3]


def test_what_no_derivative_reaches_has_no_gradient() -> None:
    w, b = Parameter(ONES), Parameter(ONES.copy())
    C(lambda x: (x * w).sum() + (b.detach() * 2).sum())(ONES).backward()
    assert b.grad is None and w.grad is not None
    w.cleargrad()
    both = C(lambda x: ((x * w).sum(), (x * b).sum()))(ONES)
    both[0].backward()
    assert b.grad is None and w.grad is not None
    y = C(lambda x: (x * w).sum() + (b.detach() * 2).sum())(ONES)
    w.cleargrad()
    y.backward(create_graph=True)
    assert b.grad is None


def test_outputs_that_are_not_used_count_for_nothing() -> None:
    w = Parameter(np.array([0.0, 1.0]))
    C(lambda x: ((x * w).sum(), np.sqrt(w).sum()))(ONES)[0].backward()
    assert w.grad.data.tolist() == [1, 1]


def test_keyword_arguments_do_not_stay() -> None:
    f = C(lambda x, flag=False: x * 100 if flag else x)
    assert [float(y[0]) for y in (f(ONES, flag=True), f(ONES, flag=True), f(ONES))] == [100, 100, 1]


def test_powers_of_integers() -> None:
    f = C(lambda x: x**2.0)
    for x in (np.array([100, 5], np.int8), np.array([2**40])):
        np.testing.assert_array_equal(f(x), x**2.0)


class Counting(layers.Layer):
    carried: ClassVar[Any] = {"n": 0, "sums": None}

    def __init__(self) -> None:
        self.n: int = 0
        self.sums: Any = None

    def forward(self, x: Any) -> Any:
        self.n += 1
        self.sums = {"all": x if self.sums is None else self.sums["all"] + x}
        return self.sums["all"] / self.n


def test_carried_numbers_and_dicts() -> None:
    a, b = Counting(), Counting()
    f = C(lambda x: a(x))
    for i in range(6):
        np.testing.assert_array_equal(f(ONES * i), b(ONES * i))
    assert a.n == b.n == 6


def test_what_writes_to_what_it_closes_over() -> None:
    def steps(f: Any, h: list[Any]) -> list[float]:
        return [float(np.asarray(f(np.ones(1)))[0]) for _ in range(4)]

    h = [np.zeros(1)]

    def f(x: Any) -> Any:
        h[0] = np.tanh(h[0] + x)
        return h[0]

    want = steps(f, h)
    h[0] = np.zeros(1)
    compiled = C(f)
    assert steps(compiled, h) == want  # the entry is an input and an output of the program
    assert "NumPy" in compiled.status()

    class Net(layers.Layer):
        def __init__(self) -> None:
            self.inner = layers.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            self.last = self.inner(x)
            return self.last * 2

    net = Net()
    run = C(lambda x: net(x))
    for k in range(6):
        run(np.full((1, 2), k, np.float32))
        np.testing.assert_array_equal(net.last.data, net.inner(np.full((1, 2), k, np.float32)).data)
    assert "NumPy" in run.status()


def test_layers_made_at_first_use() -> None:
    class Late(layers.Layer):
        def __init__(self) -> None:
            self.inner: Any = None

        def forward(self, x: Any) -> Any:
            self.inner = self.inner or layers.Linear(3)
            return self.inner(x)

    net = Late()
    f = C(lambda x: net(x).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            x = np.random.default_rng(0).standard_normal((2, 2)).astype(np.float32)
            np.testing.assert_array_equal(f(x).data, net(x).sum().data)
    assert f.programs


def test_program_uses_up_no_random_numbers() -> None:
    f, x = C(lambda x: F.dropout(x, 0.5).sum()), np.ones(50)
    minidl.seed(5)
    f.program(x)
    minidl.seed(0)
    got = [float(f(x)) for _ in range(3)]
    minidl.seed(0)
    assert got == [float(F.dropout(x, 0.5).sum()) for _ in range(3)]


def test_writing_into_an_argument_is_as_eagerly() -> None:
    def f(x: Any) -> Any:
        x += 1
        return x

    x = np.ones(2)
    g = C(f)
    with pytest.warns(UserWarning, match="writes into an array"):
        y = g(x)
    assert y is x and x.tolist() == [2, 2]
    assert g(x).tolist() == [3, 3]
    assert C(f)(Variable(ONES, requires_grad=False)).data.tolist() == [2, 2]


def test_writing_into_what_it_made_itself_is_compiled() -> None:
    def f(x: Any) -> Any:
        z = x * 2
        z += 1
        z *= x
        return z

    g = C(f)
    for x in (ONES, ONES * 3, ONES * 4):
        np.testing.assert_array_equal(g(x), f(x))
    assert "NumPy" in g.status()


def test_large_settings_are_no_duplicates() -> None:
    g = minidl.differentiable(
        lambda x, *, w=None: x * w, lambda g, y, x, *, w=None: g * w, name="weighted"
    )
    a = np.zeros(3000)
    b = a.copy()
    b[1500] = 7
    assert float(C(lambda x: g(x, w=a).sum() + g(x, w=b).sum())(np.ones(3000))) == 7


# ---- guards -----------------------------------------------------------------------------------------------------


class K:
    rate = 2.0


class D(K):
    pass


LATE = [0]


def changing(change: Any, f: Any, *, undo: Any = None) -> None:
    compiled = C(f)
    np.testing.assert_array_equal(compiled(ONES), f(ONES))
    change()
    try:
        np.testing.assert_array_equal(compiled(ONES), f(ONES))
    finally:
        if undo:
            undo()


def test_attributes_that_come_later() -> None:
    k, d = K(), D()
    changing(lambda: setattr(k, "rate", 3.0), lambda x: x * k.rate)
    changing(lambda: setattr(D, "rate", 3.0), lambda x: x * d.rate, undo=lambda: delattr(D, "rate"))
    changing(lambda: setattr(k, "late", 5.0), lambda x: x * getattr(k, "late", 1.0))
    changing(lambda: setattr(d, "late", 5.0), lambda x: x * (d.late if hasattr(d, "late") else 1.0))


def test_globals_that_come_later() -> None:
    def f(x: Any) -> Any:
        try:
            return x * COMES_LATER  # type: ignore[name-defined]
        except NameError:
            return x

    changing(
        lambda: globals().update(COMES_LATER=3.0), f, undo=lambda: globals().pop("COMES_LATER")
    )


def test_dicts_with_the_same_values_under_other_keys() -> None:
    d: dict[str, float] = {"a": 1.0}
    changing(lambda: (d.clear(), d.update(b=1.0)), lambda x: x * (2 if "a" in d else 5))
    e, one, two = {"a": 1.0}, 1.0, 2.0
    e.update(a=one, b=two)
    changing(lambda: (e.clear(), e.update(b=one, a=two)), lambda x: x * e["a"])
    net = {"first": layers.Linear(2, 2), "second": layers.Linear(2, 2)}
    changing(
        lambda: net.update(first=net["second"], second=net["first"]),
        lambda x: net["second"](F.tanh(net["first"](x.astype(np.float32)))).detach().sum() * 1,
    )


def test_containers_of_other_kinds() -> None:
    for made in (collections.deque([2.0]), collections.UserList([2.0])):
        changing(lambda made=made: made.__setitem__(0, 3.0), lambda x, made=made: x * made[0])
    named = collections.UserDict(rate=2.0)
    changing(lambda: named.update(rate=3.0), lambda x: x * named["rate"])


def test_functions_whose_defaults_change() -> None:
    def inner(x: Any, k: float = 2.0) -> Any:
        return x * k

    changing(lambda: setattr(inner, "__defaults__", (3.0,)), lambda x: inner(x))


# ---- kinds of functions and arguments ---------------------------------------------------------------------------


def test_arguments_equal_but_not_the_same() -> None:
    class Equal:
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    f = C(lambda x, how: x * how.rate)
    assert [float(f(ONES, how)[0]) for how in (Equal(2.0), Equal(3.0))] == [2, 3]


def test_rules_that_make_arrays() -> None:
    h = minidl.differentiable(lambda x: x * 1.0, lambda g, y, x: g * np.arange(3.0), name="h")
    x = Variable(np.ones(3))
    C(lambda x: (h(x) * 2).sum())(x).backward()
    assert x.grad.data.tolist() == [0, 2, 4]


def test_subclasses_of_arrays_go_eagerly() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    assert C(lambda x: x * 2)(masked).mask.tolist() == [False, True]


def test_namedtuples() -> None:
    Pair = collections.namedtuple("Pair", "a b")
    found = C(lambda p: Pair(p.a * 2, p.b))(Pair(ONES, 3))
    assert type(found) is Pair and found.a.tolist() == [2, 2] and found.b == 3


def test_methods_and_copies() -> None:
    class Net(layers.Layer):
        def __init__(self) -> None:
            self.scale = 2.0

        @minidl.compile
        def loss(self, x: Any) -> Any:
            return (x * self.scale).sum()

    net = Net()
    assert float(net.loss(ONES)) == 4
    net.scale = 3.0
    assert float(net.loss(ONES)) == 6
    net.compiled = C(lambda x: x * 2)  # type: ignore[attr-defined]
    assert copy.deepcopy(net).compiled(ONES).tolist() == [2, 2]


def test_numbers_of_numpy_as_settings() -> None:
    f = C(lambda x, axis: x.sum(axis))
    x = Variable(np.ones((2, 3)))
    f(x, np.int64(1)).sum().backward()
    assert f(x, np.int64(0)).shape == (3,) and x.grad.shape == (2, 3)


def test_float_programs_give_numpys_numbers() -> None:
    f = C(minidl.grad(lambda x, y: x * 10**20 + y**9))
    assert type(f(np.float64(1.0), np.float64(2.0))) is np.float64
    assert type(C(minidl.grad(lambda x: x * 3.0))(np.float64(1.0))) is np.float64


def test_outputs_of_constants_are_constants() -> None:
    p, v = Parameter(ONES), Variable(ONES, requires_grad=False)
    found = C(lambda v: ((p * v).sum(), v * 2))(v)
    assert found[0].requires_grad and not found[1].requires_grad


def test_generators_are_refused() -> None:
    def many(x: Any) -> Any:
        yield x

    with pytest.raises(TypeError, match="generator"):
        C(many)


def test_masks_that_are_closed_over_may_change() -> None:
    mask = np.array([True, False, True])
    f, x = C(lambda x: x[mask] * 2), Variable(np.arange(3.0))
    for change in (
        lambda: None,
        lambda: mask.__setitem__(1, True),
        lambda: mask.__setitem__(0, False),
    ):
        change()
        np.testing.assert_array_equal(f(x).data, x.data[mask] * 2)
        x.cleargrad()
        f(x).backward()
        np.testing.assert_array_equal(x.grad.data, mask * 2.0)
    mask = np.array([False, False, True])
    np.testing.assert_array_equal(f(x).data, x.data[mask] * 2)
