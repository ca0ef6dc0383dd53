"""What an array is: of whichever library, by position, whole, or refused in words."""

import array
import enum
import importlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, grad, layers
from minidl import functions as F
from minidl.common.arrays import READY, as_array, as_operand

VALUES = [10.0, 20.0, 30.0]


class ByArray:
    """An object that only NumPy's ``__array__`` reaches."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(VALUES)


class ByLabel(ByArray):
    """A stand-in for a pandas Series: computes by label, skips what is missing, has a dtype of its own."""

    dtype = "label"
    shape = (3,)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        if any(isinstance(x, Variable) for x in inputs):
            return NotImplemented
        raise AssertionError("computed with by its own rules")

    def __mul__(self, other: Any) -> Any:
        return NotImplemented if getattr(other, "__pandas_priority__", 0) > 3000 else "by label"

    __add__ = __sub__ = __truediv__ = __pow__ = __mul__

    def sum(self, *args: Any) -> Any:
        raise AssertionError("its own sum")


class ByInterface:
    """An object that describes its memory."""

    memory = np.array(VALUES)
    __array_interface__ = memory.__array_interface__


class ByDLPack:
    """An object that only DLPack reaches."""

    def __dlpack__(self, **settings: Any) -> Any:
        return np.array(VALUES).__dlpack__(**settings)

    def __dlpack_device__(self) -> Any:
        return np.array(VALUES).__dlpack_device__()


KINDS: list[Any] = [
    lambda: list(VALUES),
    lambda: tuple(VALUES),
    lambda: [np.float64(x) for x in VALUES],
    lambda: [np.array(x) for x in VALUES],
    lambda: range(10, 31, 10),
    lambda: memoryview(np.array(VALUES)),
    lambda: array.array("d", VALUES),
    lambda: np.array(VALUES).view(np.recarray),
    ByArray,
    ByLabel,
    ByInterface,
    ByDLPack,
    lambda: importlib.import_module("pandas").Series(VALUES, index=[2, 1, 0]),
    lambda: importlib.import_module("pandas").Index(VALUES),
    lambda: importlib.import_module("polars").Series(VALUES),
    lambda: importlib.import_module("xarray").DataArray(VALUES),
    lambda: importlib.import_module("torch").tensor(VALUES),
]
A = [1.0, 2.0, 3.0]


def made(make: Any) -> Any:
    try:
        return make()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_is_taken_by_position_everywhere(make: Any) -> None:
    x, a = made(make), Variable(A)
    assert Variable(x).data.tolist() == VALUES
    for product in (a * x, np.multiply(a, x), F.multiply(x, a), F.multiply(x, A)):
        assert np.asarray(getattr(product, "data", product)).tolist() == [10.0, 40.0, 90.0]
    assert (a - x).data.tolist() == [-9.0, -18.0, -27.0] and (a < x).data.all()
    assert np.where(a > 1.5, a, x).data.tolist() == [10.0, 2.0, 3.0]  # type: ignore[attr-defined]  # a Variable
    for f, want in (
        (F.sum, 60.0),
        (F.mean, 20.0),
        (F.max, 30.0),
        (F.softmax, None),
        (F.relu, VALUES),
    ):
        y = f(x)
        assert isinstance(y, np.ndarray | np.generic)  # arrays in, arrays out
        assert want is None or y.tolist() == want
    assert F.mean_squared_error(a, as_array(x).astype(float)).item() == 378.0
    assert np.concatenate([a, x]).shape == F.stack([a, x]).reshape(-1).shape == (6,)
    (a * x).sum().backward(2.0)
    assert a.grad is not None and a.grad.data.tolist() == [20.0, 40.0, 60.0]
    if as_array(x).dtype.kind == "f":
        if not isinstance(x, list | tuple):  # which are trees of arguments
            assert grad(lambda z: (z * z).sum())(x).tolist() == [20.0, 40.0, 60.0]
        assert layers.Linear(3, 2, dtype=np.float64)(x).shape == (2,)
        b = Variable(A)
        b.data = as_array(x).astype(np.float64)
        b.backward(x)
        assert b.data.tolist() == VALUES and b.grad is not None and b.grad.data.tolist() == VALUES
    [(batch,)] = minidl.DataLoader(x, batch_size=3, shuffle=False)
    assert type(batch) is np.ndarray and batch.tolist() == VALUES


@pytest.mark.parametrize("make", [*KINDS[:5], *KINDS[6:10], *KINDS[12:14], KINDS[16]])
def test_on_the_left_of_an_operator(make: Any) -> None:
    x = made(make)
    a = Variable(A)
    results = [x * a, x - a, x / a, x**a]
    results.append(x + a)
    for y, f in zip(results, (np.multiply, np.subtract, np.divide, np.power, np.add), strict=True):
        assert type(y) is Variable and y.requires_grad
        assert np.allclose(y.data, f(np.array(VALUES), np.array(A)))


def test_missing_values_stay_missing() -> None:
    pd = pytest.importorskip("pandas")
    for x in (pd.Series([1.0, np.nan, 3.0]), pd.DataFrame({"a": [1.0, np.nan]})):
        for y in (Variable(x).sum(), F.sum(x), F.mean(Variable(x)), F.mean(x), F.max(x)):
            assert np.isnan(np.asarray(getattr(y, "data", y)))
    frame = pd.DataFrame({"b": [1.0, 2.0], "a": [3.0, 4.0]})
    w = Variable([[1.0], [10.0]])
    assert np.matmul(w.T, frame.T).data.tolist() == [[31.0, 42.0]]  # type: ignore[attr-defined]  # a Variable


def test_tensors_share_their_memory() -> None:
    torch = pytest.importorskip("torch")
    t = torch.zeros(3)
    x = Variable(t)
    t[1] = 5.0
    assert x.data.tolist() == [0.0, 5.0, 0.0]
    for bad, words in [
        (torch.ones(3, requires_grad=True), r"tensor\.detach\(\)"),
        (torch.ones(3, dtype=torch.bfloat16), r"x\.float\(\)"),
        (torch.eye(3).to_sparse(), "to_dense"),
        (torch.ones(3, dtype=torch.complex64), "complex64"),
        ([torch.ones(2, requires_grad=True)], r"tensor\.detach\(\)"),
    ]:
        for call in (Variable, lambda bad: Variable(1.0) * bad, F.exp, F.sum, grad(F.sum)):
            with pytest.raises(TypeError, match=words):
                call(bad)


class Quantity(np.ndarray):
    """A subclass that computes with units."""

    def __array_ufunc__(self, *args: Any, **settings: Any) -> Any:
        raise AssertionError("computed with by its own rules")


MASKED = np.ma.array(VALUES, mask=[0, 1, 0])
REFUSED = [
    (MASKED, "mask"),
    ([MASKED], "mask"),
    ([[1.0], [np.ma.masked]], "mask"),
    (np.array(VALUES).view(Quantity), "Quantity"),
    ("text", "text"),
    (["a", "b"], "text"),
    (b"bytes", "text"),
    (1j, "complex"),
    ([1j], "complex"),
    ({"a": 1.0}, "dict"),
    ({1.0}, "set"),
    ((x for x in VALUES), "generator"),
    (object(), "object"),
    ([None], "object"),
    (Fraction(1, 2), "Fraction"),
    ([[1.0], [1.0, 2.0]], "one length"),
    (np.datetime64("2020-01-01"), "."),
    (np, "module"),
    (float, "type"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_more_or_less_than_numbers_is_refused_in_words(value: Any, words: str) -> None:
    a = Variable(A)
    for name, call in [
        ("Variable", lambda: Variable(value)),
        ("multiply", lambda: a * value),
        (
            "multiply",
            lambda: np.multiply(a, 1.0) if isinstance(value, str) else F.multiply(a, value),
        ),
        ("", lambda: F.exp(value)),
        ("mean_squared_error", lambda: F.mean_squared_error(a, value)),
        ("" if isinstance(value, dict | list) else "grad", lambda: grad(F.sum)(value)),
        ("Linear", lambda: layers.Linear(3, 2)(value)),
    ]:
        if name == "multiply" and isinstance(value, str):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        if not isinstance(value, np.generic):
            assert words in str(caught.value) and str(caught.value).startswith(name)


def test_a_forward_may_not_return_another_kind() -> None:
    for result, words in [
        (MASKED, "mask"),
        ([1.0], "list"),
        (2.0, "float"),
        (ByArray(), "ByArray"),
    ]:
        f = minidl.differentiable(lambda x, y=result: y, lambda g, y, x: g, name="f")
        with pytest.raises(TypeError, match=f"f: .*{words}"):
            f(Variable(A))
    f = minidl.differentiable(lambda x: x.view(np.recarray), lambda g, y, x: g)
    assert type(f(Variable([A])).data) is np.ndarray


def test_numbers_keep_their_dtype_weak() -> None:
    class Level(enum.IntEnum):
        TWO = 2

    class Number(float):
        pass

    x = Variable(np.ones(2, np.float32))
    for number in (2, 2.0, True, Level.TWO, Number(2.0)):
        assert (x * number).dtype == np.float32 and type(as_operand(number)) in READY
    assert as_operand(None) is None and as_array(2.0).dtype == np.float64


def test_nothing_is_copied_that_is_an_array() -> None:
    a = np.ones(2)
    assert as_array(a) is a and np.shares_memory(as_array(a.view(np.recarray)), a)
    x = Variable(a)
    assert as_array(x) is x and x.data is a
