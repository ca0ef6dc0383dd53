"""Variable as an array, and the ways in which it could silently leave the graph.

Derivatives of functions are tested in tests/functions, the walk in test_engine.py.
"""

import copy
import math
import pickle

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable
from minidl import functions as F


def test_construction_and_properties():
    x = Variable([[1.0, 2.0], [3.0, 4.0]], name="x")
    assert (x.shape, x.ndim, x.size, x.dtype, x.name) == ((2, 2), 2, 4, np.float64, "x")
    assert x.requires_grad and x.grad is None and x.creator is None
    assert not Variable([1, 2]).requires_grad and not Variable([True]).requires_grad
    assert not Variable([1.0], requires_grad=False).requires_grad
    array = np.ones(3, np.float32)
    assert Variable(array).data is array
    assert isinstance(Variable(2.0).data, np.ndarray) and Variable(2.0).shape == ()


@pytest.mark.parametrize(
    "data", [1j, [1 + 2j], "text", [object()], None, np.array(["a"]), [[1.0], [1.0, 2.0]]]
)
def test_only_real_numbers(data):
    with pytest.raises((TypeError, ValueError)):
        Variable(data)


def test_integers_cannot_require_a_gradient():
    with pytest.raises(TypeError, match="int64"):
        Variable([1, 2], requires_grad=True)
    x = Variable([1, 2])
    with pytest.raises(TypeError, match="int64"):
        x.requires_grad = True


def test_a_variable_of_a_variable_is_refused():
    with pytest.raises(TypeError, match=r"\.data"):
        Variable(Variable(1.0))


OPERATORS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: a**b,
    lambda a, b: a @ b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a == b,
    lambda a, b: a != b,
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_with_every_kind_of_partner(operator):
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    want = operator(a, b)
    for left, right in [
        (Variable(a), Variable(b)),
        (Variable(a), b),
        (a, Variable(b)),
        (Variable(a), list(b)),
        (list(a), Variable(b)),
        (Variable(a), tuple(b)),
        (tuple(a), Variable(b)),
    ]:
        got = operator(left, right)
        assert type(got) is Variable
        np.testing.assert_array_equal(got.data, want)
        assert got.requires_grad == (want.dtype.kind == "f")


@pytest.mark.parametrize("scalar", [2, 2.0, True, np.float64(2), np.int64(2), np.float32(2)])
def test_scalars_on_both_sides(scalar):
    a = np.array([1.0, 4.0])
    for got, want in [
        (Variable(a) * scalar, a * scalar),
        (scalar * Variable(a), a * scalar),
        (scalar - Variable(a), scalar - a),
        (scalar / Variable(a), scalar / a),
        (scalar ** Variable(a), scalar**a),
        (Variable(a) ** scalar, a**scalar),
    ]:
        assert type(got) is Variable
        np.testing.assert_array_equal(got.data, want)


def test_python_numbers_keep_float32_and_0d():
    x = Variable(np.float32(3.0))
    y = (2 * x + 1) ** 2 / 3 - 0.5
    assert y.dtype == np.float32 and y.shape == ()
    y.backward()
    assert x.grad.dtype == np.float32 and x.grad.shape == () and isinstance(x.grad.data, np.ndarray)
    assert x.grad.item() == pytest.approx(2 * 7 * 2 / 3)


def test_methods():
    a = np.arange(6.0).reshape(2, 3)
    x = Variable(a)
    for got, want in [
        (x.sum(), a.sum()),
        (x.sum(0), a.sum(0)),
        (x.mean(1, keepdims=True), a.mean(1, keepdims=True)),
        (x.var(), a.var()),
        (x.max(axis=1), a.max(1)),
        (x.min(), a.min()),
        (x.reshape(3, 2), a.reshape(3, 2)),
        (x.reshape((3, 2)), a.reshape(3, 2)),
        (x.reshape(-1), a.reshape(-1)),
        (x.T, a.T),
        (x.transpose(), a.T),
        (x.transpose(1, 0), a.T),
        (x.transpose((1, 0)), a.T),
        (x.swapaxes(0, 1), a.T),
        (x.flatten(), a.ravel()),
        (x[:, None].squeeze(1), a),
        (x.clip(1, 4), a.clip(1, 4)),
        (x.take([0, 0]), a.take([0, 0])),
        (x.argmax(), a.argmax()),
        (x.argmin(1), a.argmin(1)),
        ((x > 1).any(), True),
        ((x > 1).all(0), (a > 1).all(0)),
        (abs(-x), a),
        (x.astype(np.float32), a.astype(np.float32)),
        (~(x > 1), ~(a > 1)),
        ((x > 1) & (x < 3), (a > 1) & (a < 3)),
        ((x > 1) | (x < 3), (a > 1) | (a < 3)),
        (x[1, ::2], a[1, ::2]),
    ]:
        assert type(got) is Variable
        np.testing.assert_array_equal(got.data, want)
        assert got.data.dtype == np.asarray(want).dtype


def test_variables_as_settings_of_comparisons():
    assert bool(np.any(Variable([1.0, 2.0]) > 1, where=Variable([True, False]))) is False


def test_sequence_and_numbers():
    x = Variable([1.0, 2.0, 3.0])
    assert len(x) == 3 and [v.item() for v in x] == [1.0, 2.0, 3.0]
    assert all(v.requires_grad for v in x)
    assert (
        x[1].item() == 2.0
        and int(x[2].item()) == 3
        and bool(x[0] > 0)
        and math.floor(x[0].item()) == 1
    )
    assert [10, 20, 30][Variable(2)] == 30 and np.arange(4)[Variable([1, 3])].tolist() == [1, 3]
    assert (
        f"{x.sum():.2f}" == "6.00" and "Variable" in f"{x}" and repr(x) == "Variable([1., 2., 3.])"
    )
    with pytest.raises(ValueError, match=r"\(3,\)"):
        float(x)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        bool(x)
    with pytest.raises(TypeError):
        len(Variable(1.0))


def test_hash_is_identity():
    x, y = Variable([1.0]), Variable([1.0])
    assert len({x, y, x}) == 2


def test_indexing_by_recorded_results():
    x = Variable([3.0, 1.0, 2.0])
    y = x[x.argmax()] * 2 + x[x > 1.5].sum() + x[x.argmin() : 2].sum()
    y.backward()
    np.testing.assert_array_equal(x.grad.data, [3.0, 1.0, 1.0])


# ---- never silently off the graph -------------------------------------------------------------------


def test_asarray_raises_for_what_requires_a_gradient():
    x = Variable([1.0, 2.0])
    for leave in (
        np.asarray,
        np.array,
        lambda v: np.asarray([v, v]),
        lambda v: np.add(np.ones(2), v, out=np.ones(2)),
    ):
        with pytest.raises(TypeError, match=r"\.data"):
            leave(x)
    array = np.ones(2)
    with pytest.raises(TypeError, match=r"\.data"):
        array += x
    np.testing.assert_array_equal(array, 1)


def test_constants_are_arrays_where_arrays_are_wanted():
    c = Variable([1.0, 2.0], requires_grad=False)
    array = np.ones(2)
    array += c
    array -= 0.5 * c
    np.testing.assert_array_equal(array, [1.5, 2.0])
    np.testing.assert_array_equal(np.asarray(c), [1.0, 2.0])
    np.testing.assert_array_equal(np.add(c, 1, out=np.empty(2)), [2.0, 3.0])


def test_update_by_hand():
    x = Variable([1.0, 2.0])
    (x * x).sum().backward()
    x.data -= 0.1 * x.grad
    np.testing.assert_allclose(x.data, [0.8, 1.6])
    z = Variable(1.0)
    (z * z).backward()
    z.data -= 0.1 * z.grad
    assert z.data == pytest.approx(0.8) and z.dtype == np.float64


def test_assignment_into_a_variable():
    x = Variable([1.0, 2.0])
    for target in (x, x * 2, Variable([1.0], requires_grad=False)):
        with pytest.raises(TypeError, match=r"np\.where"):
            target[0] = 5.0
    assert x.data[0] == 1.0


def test_in_place_operators():
    p = Variable([1.0])
    for statement in ("p -= p", "p += 1", "p *= 2", "p /= 2", "p **= 2", "p @= p"):
        with pytest.raises(TypeError, match=r"\.data"):
            exec(statement, {"p": p})
    loss = total = p * 2
    loss += p * p
    loss -= 1.0
    assert total.data == [2.0] and loss.data == [2.0]
    loss.backward()
    assert p.grad.data == [4.0]
    constant = Variable([1.0], requires_grad=False)
    constant *= 3
    assert constant.data == [3.0]


def test_numpy_functions_without_a_rule_are_named():
    x = Variable([1.0, 2.0])
    for call, name in [
        (np.linalg.eigvals, "eigvals"),
        (np.fft.fft, "fft"),
        (np.arctan2.reduce, "arctan2.reduce"),
        (np.histogram, "histogram"),
    ]:
        with pytest.raises(TypeError, match=name):
            call(x)


def test_unsupported_keywords_are_refused():
    x = Variable([1.0, 2.0])
    for call, name in [
        (lambda: np.exp(x, dtype=np.float32), "dtype"),
        (lambda: np.add(x, x, where=[True, False]), "where"),
        (lambda: np.concatenate([x], out=np.zeros(2)), "out"),
        (lambda: F.exp(x, out=None), "out"),
        (lambda: np.sum(x, out=np.zeros(3)), "out"),
        (lambda: F.clip(x, 0, maximum=3), "maximum"),
    ]:
        with pytest.raises(TypeError, match=name):
            call()


def test_other_frameworks_words():
    x = Variable([1.0])
    for word, ours in [
        ("numpy", r"\.data"),
        ("zero_grad", "cleargrad"),
        ("view", "reshape"),
        ("step", "update"),
    ]:
        with pytest.raises(AttributeError, match=ours):
            getattr(x, word)
    assert not hasattr(x, "no_such_thing")


def test_complex_and_object_partners_are_refused():
    x = Variable([1.0])
    for partner in (1j, np.array([1j]), "a", np.array([object()]), {}):
        with pytest.raises(TypeError):
            x * partner


def test_a_variable_where_no_derivative_exists_is_refused():
    rule = lambda g, y, x, k=1.0: g * k / (k + abs(x)) ** 2
    softsign = minidl.differentiable(lambda x, k=1.0: x / (k + abs(x)), rule)
    with pytest.raises(TypeError, match="first 1 arguments"):
        softsign(Variable(1.0), Variable(2.0))
    with pytest.raises(TypeError, match="first 1 arguments"):
        softsign(Variable(1.0), k=Variable(2.0))


# ---- its value ---------------------------------------------------------------------------------------


def test_data_of_results_cannot_be_assigned():
    y = Variable([1.0]) * 2
    with pytest.raises(ValueError, match="leaves"):
        y.data = np.ones(1)
    with pytest.raises(ValueError, match="leaves"):
        y.requires_grad = False


def test_data_keeps_dtype_and_gradient_shape():
    x = Variable(np.ones(2, np.float32))
    x.data = [3, 4]
    assert x.dtype == np.float32
    with pytest.raises(TypeError, match="float64"):
        x.data = np.ones(2)
    with pytest.raises(TypeError, match=r"\.data"):
        x.data = Variable(np.ones(2, np.float32))
    x.sum().backward()
    with pytest.raises(ValueError, match="cleargrad"):
        x.data = np.ones(3, np.float32)
    x.cleargrad()
    x.data = np.ones(3, np.float32)
    assert x.shape == (3,)


def test_assigning_grad_is_checked():
    x = Variable(np.ones(2, np.float32))
    x.grad = np.ones(2, np.float32)
    assert type(x.grad) is Variable and not x.grad.requires_grad
    with pytest.raises(ValueError, match="float32"):
        x.grad = np.ones(2)
    with pytest.raises(ValueError, match=r"\(2,\)"):
        x.grad = np.ones(3, np.float32)
    x.grad = None
    assert x.grad is None


def test_detach_shares_memory_and_stops_gradients():
    x = Variable([1.0, 2.0])
    y = x * 2
    d = y.detach()
    assert not d.requires_grad and np.shares_memory(d.data, y.data)
    (d * x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2.0, 4.0])


def test_copies_and_pickles():
    x = Parameter([1.0, 2.0], name="w")
    x.sum().backward()
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(other) is Parameter and other.name == "w" and other.requires_grad
        np.testing.assert_array_equal(other.data, x.data)
        np.testing.assert_array_equal(other.grad.data, x.grad.data)
        other.data[0] = 9
        assert x.data[0] == 1
        (other * 2).sum().backward()
    assert x.grad.data.tolist() == [1.0, 1.0]
    lazy = copy.deepcopy(Parameter(None, name="late"))
    assert lazy.lazy and lazy.name == "late" and lazy.requires_grad
    with pytest.raises(TypeError, match="detach"):
        copy.deepcopy(x * 2)


def test_lazy_parameters():
    p = Parameter(None, name="w of Linear(?→10)")
    assert p.lazy and p.requires_grad and "no data" in repr(p)
    for read in (
        lambda: p.data,
        lambda: p.shape,
        lambda: p + 1,
        lambda: np.exp(p),
        lambda: F.linear([[1.0]], p),
    ):
        with pytest.raises(RuntimeError, match="Linear"):
            read()
    p.data = np.ones((2, 10), np.float32)
    assert not p.lazy and p.dtype == np.float32


@pytest.mark.parametrize("data", [[1, 2], True, np.arange(3, dtype=np.uint8)])
def test_a_parameter_that_could_not_be_trained_is_refused(data):
    with pytest.raises(TypeError, match="only floating data can require a gradient, got"):
        minidl.Parameter(data)
    assert not minidl.Parameter(data, requires_grad=False).requires_grad
