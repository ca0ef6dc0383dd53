"""The functional transforms: values, nesting, what they return, what they leave alone.

The engine below them is tested in test_engine.py.
"""

import math
import warnings
from collections import OrderedDict, namedtuple
from functools import partial

import numpy as np
import pytest

import minidl
from minidl import Variable, grad, gradients, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from minidl import functions as F

A = np.array([[2.0, -1.0], [0.5, 3.0], [1.0, 1.0]])


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_arrays_and_lists_in_arrays_out():
    for x in ([1.0, 2.0], np.array([1.0, 2.0])):
        g = grad(lambda x: (x * x).sum())(x)
        assert type(g) is np.ndarray and g.tolist() == [2.0, 4.0]
    assert grad(lambda x: x * x)(3.0) == 6.0 and not isinstance(
        grad(lambda x: x * x)(3.0), Variable
    )
    assert grad(lambda x: (x * x).sum())(np.ones(2, np.float32)).dtype == np.float32
    assert isinstance(grad(lambda x: x * x)(Variable(3.0)), Variable)
    assert isinstance(grad(lambda x: x * x)(Variable(3.0, requires_grad=False)), Variable)


def test_argnums():
    f = lambda x, y, z: x * y**2 + z
    assert grad(f)(2.0, 3.0, 1.0) == 9.0 and grad(f, 1)(2.0, 3.0, 1.0) == 12.0
    assert grad(f, (0, 2))(2.0, 3.0, 1.0) == (9.0, 1.0) and grad(f, -1)(2.0, 3.0, 1.0) == 1.0
    value, (gx, gy) = value_and_grad(f, (0, 1))(2.0, 3.0, 1)
    assert (value, gx, gy) == (19.0, 9.0, 12.0)
    assert grad(lambda x, k=1: k * x)(2.0, k=5) == 5.0
    assert grad(f, (1, 1))(2.0, 3.0, 1.0) == (12.0, 12.0)
    with pytest.raises(TypeError, match="argnum 3"):
        grad(f, 3)(1.0, 1.0, 1.0)


def test_integers_raise():
    for transform in (grad, jacobian, hessian, value_and_grad):
        with pytest.raises(TypeError, match="int64"):
            transform(lambda x: x * x)(3)
    with pytest.raises(TypeError, match="int64"):
        hvp(lambda x: (x * x).sum())([1, 2], [1, 1])


def test_nested_levels_do_not_mix():
    assert grad(lambda x: x * grad(lambda y: x * y)(x))(3.0) == 6.0
    assert grad(lambda x: x * grad(lambda y: y * y * x)(2.0))(3.0) == 24.0
    assert grad(lambda x: grad(lambda y: x * y)(1.0) * x)(3.0) == 6.0
    assert grad(grad(grad(lambda x: x**4)))(2.0) == 48.0
    assert grad(lambda x: grad(lambda x: x**3)(x) + x)(2.0) == 13.0
    assert grad(lambda x: value_and_grad(lambda y: y * x)(x)[0])(3.0) == 6.0


def test_closing_over_a_parameter_keeps_the_graph():
    w = Variable(np.array([2.0, 3.0]))
    g = grad(lambda x: (w * x * x).sum())(np.array([1.0, 2.0]))
    assert isinstance(g, Variable) and g.requires_grad
    g.sum().backward()
    np.testing.assert_array_equal(w.grad.data, [2.0, 4.0])
    result = w * 2
    h = grad(lambda x: (result * x).sum())(np.ones(2))
    assert isinstance(h, Variable) and h.requires_grad
    with minidl.no_grad():
        assert type(grad(lambda x: (w * x * x).sum())(np.array([1.0, 2.0]))) is np.ndarray


def test_grad_is_never_touched():
    w, x = Variable(2.0), Variable(3.0)
    x.grad = np.array(7.0)
    grad(lambda x: w * x**2)(x), hessian(lambda x: w * x**2)(x), jvp(lambda x: w * x, x, 1.0)
    assert w.grad is None and x.grad.item() == 7.0


def test_work_inside_no_grad():
    with minidl.no_grad():
        assert grad(lambda x: x**3)(2.0) == 12.0
        assert hessian(lambda x: x**3)(2.0) == 12.0
        assert jvp(lambda x: x**3, 2.0, 1.0)[1] == 12.0
        assert not (Variable(1.0) * 2).requires_grad


def test_what_does_not_depend_is_zero():
    assert grad(lambda x, y: y * 2.0, 0)(1.0, 3.0) == 0.0
    assert grad(lambda x: 3.0)(1.0) == 0.0
    assert grad(lambda x: (x > 0).sum() * 1.0)([1.0, 2.0]).tolist() == [0.0, 0.0]
    assert grad(grad(lambda x: 3 * x))(1.0) == 0.0
    assert hessian(lambda x: (A @ x).sum())([1.0, 2.0]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_leaving_the_graph_inside_a_transform_raises():
    for leave in (float, int, lambda x: x.item(), lambda x: np.asarray(x), lambda x: x.data * 2):
        with pytest.raises((RuntimeError, TypeError), match=r"graph"):
            grad(lambda x, leave=leave: leave(x * x))(3.0)
    assert grad(lambda x: x * 2 if x > 0 else x)(3.0) == 2.0
    assert (Variable(3.0) * 2).item() == 6.0


def test_scalar_results_only():
    for transform in (grad, value_and_grad, hessian):
        with pytest.raises(ValueError, match=r"\(2,\)"):
            transform(lambda x: x * x)([1.0, 2.0])


def test_vjp_and_jvp_against_the_jacobian():
    f = lambda x: np.tanh(A @ x)
    x, v, u = np.array([0.3, -0.4]), np.array([1.0, 2.0]), np.array([1.0, 0.5, -1.0])
    J = (1 - np.tanh(A @ x) ** 2)[:, None] * A
    y, pull = vjp(f, x)
    np.testing.assert_allclose(y, np.tanh(A @ x))
    np.testing.assert_allclose(pull(u)[0], u @ J)
    np.testing.assert_allclose(pull(u)[0], u @ J)
    y, dy = jvp(f, (x,), (v,))
    assert type(y) is np.ndarray and type(dy) is np.ndarray
    np.testing.assert_allclose(dy, J @ v)
    np.testing.assert_allclose(jacobian(f)(x), J)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        pull([1.0])
    with pytest.raises(ValueError, match=r"\(2,\)"):
        jvp(f, (x,), (u,))
    with pytest.raises(TypeError, match="tangents"):
        jvp(f, (x,), (v, v))


def test_jvp_of_several_arguments_and_of_linear_functions():
    y, dy = jvp(lambda a, b: a * b, (2.0, 3.0), (1.0, 10.0))
    assert (y, dy) == (6.0, 23.0)
    y, dy = jvp(lambda a: a * 2, 3.0, 1.0)
    assert (y, dy) == (6.0, 2.0)


def test_jvp_nests_and_keeps_the_graph():
    assert grad(lambda x: jvp(lambda y: y**3, x, 1.0)[1])(2.0) == pytest.approx(12.0)
    w = Variable(2.0)
    _, dy = jvp(lambda x: w * x * x, 3.0, 1.0)
    assert isinstance(dy, Variable)
    dy.backward()
    assert w.grad.item() == 6.0


def test_jacobians_have_both_shapes():
    J = jacobian(lambda x: x.reshape(-1)[:4] * 2)(np.ones((2, 3)))
    assert J.shape == (4, 2, 3) and J[1, 0, 1] == 2 and J.sum() == 8
    assert jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)
    assert jacobian(lambda x, y: x * y, 1)(2.0, 3.0) == 2.0


def test_hessian_and_hvp_of_rosenbrock():
    from scipy.optimize import rosen_der, rosen_hess

    x, v = np.array([-1.2, 1.0, 0.5]), np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(grad(rosenbrock)(x), rosen_der(x))
    np.testing.assert_allclose(hessian(rosenbrock)(x), rosen_hess(x))
    np.testing.assert_allclose(hvp(rosenbrock)(x, v), rosen_hess(x) @ v)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        hvp(rosenbrock)(x, v[:2])


def test_scipy_minimizes_with_them():
    from scipy.optimize import minimize

    def f(x, shift=0.0):
        return (100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2) + shift * 0

    start = np.array([0.0, 2.0])
    for settings in ({"hessp": hvp(f)}, {"hess": hessian(f)}):
        found = minimize(
            f, start, jac=grad(f), method="trust-ncg", options={"gtol": 1e-9}, **settings
        )
        assert found.success
        np.testing.assert_allclose(found.x, 1, atol=1e-6)
    found = minimize(f, start, args=(2.0,), jac=grad(f), hessp=hvp(f), method="trust-ncg")
    assert found.success


def test_gradients_of_leaves_and_results():
    x = Variable(2.0)
    h = x * x
    y = h * h + x
    gx, gh = gradients(y, [x, h])
    assert (gx.item(), gh.item()) == (33.0, 8.0) and x.grad is None and not gx.requires_grad
    [g] = gradients(y, [x], create_graph=True)
    [gg] = gradients(g, [x])
    assert gg.item() == 48.0
    assert float(gradients(y, [Variable(1.0)])[0]) == 0.0
    assert float(gradients(y, [x], 2.0)[0]) == 66.0
    for bad in (x, [Variable(1)], [np.ones(1)]):
        with pytest.raises(ValueError, match="gradients"):
            gradients(y, bad)
    with pytest.raises(ValueError, match="graph"):
        gradients(Variable(1), [x])


def test_gradients_of_one_array_are_not_aliased():
    a, b = Variable([1.0]), Variable([2.0])
    ga, gb = gradients(a + b, [a, b])
    ga.data[0] = 5
    assert gb.data[0] == 1


def test_only_what_leads_to_the_targets_is_computed():
    def never(g, y, x):
        raise AssertionError("this gradient is not wanted")

    guarded = minidl.differentiable(lambda x: x * 1.0, never, name="guarded")
    w, x = Variable(2.0), Variable(3.0)
    [g] = gradients(guarded(w) * x, [x])
    assert g.item() == 2.0
    assert grad(lambda z: guarded(w) * z)(3.0).item() == 2.0


def test_variables_made_inside_stay_inside():
    inside = []

    def f(x):
        inside.append(Variable(np.full(2, 3.0)))
        return (x * inside[-1]).sum() * inside[-1][0]

    g = grad(f)(np.ones(2))
    assert type(g) is np.ndarray and g.tolist() == [9.0, 9.0]
    assert jacobian(lambda x: x * Variable(2.0))(np.ones(2)).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert inside[0].grad is None
    w = Variable(2.0)  # and one from outside beside it
    g = grad(lambda x: x * w * Variable(5.0))(1.0)
    assert isinstance(g, Variable) and gradients(g, [w])[0].item() == 5.0


def test_gradcheck_finds_mistakes():
    wrong = [
        minidl.differentiable(np.sin.__call__, lambda g, y, x: -g * np.cos(x), name="sign"),
        minidl.differentiable(lambda x: x**3, lambda g, y, x: 2 * g * x**2, name="factor"),
        minidl.differentiable(lambda x: x.sum(), lambda g, y, x: g * x / x.size, name="total"),
    ]
    for f in wrong:
        with pytest.raises(AssertionError, match=f"derivative 1 of {f.name}"):
            minidl.gradcheck(f, np.array([0.5, 0.7]))


def test_gradcheck_finds_a_missing_second_derivative():
    """A rule that captures an array is right once and silently wrong twice: order 2 is the default."""
    kept = {}

    def forward(x):
        kept["y"] = np.exp(x)
        return kept["y"]

    impure = minidl.differentiable(forward, lambda g, y, x: g * kept["y"], name="impure")
    assert minidl.gradcheck(impure, [0.1, 0.2], order=1)
    with pytest.raises(AssertionError, match="derivative 2 of impure"):
        minidl.gradcheck(impure, [0.1, 0.2])


def test_gradcheck_wants_float64():
    with pytest.raises(TypeError, match="float32"):
        minidl.gradcheck(np.tanh, np.ones(2, np.float32))
    with pytest.raises(TypeError, match="int64"):
        minidl.gradcheck(np.tanh, [1, 2])
    assert minidl.gradcheck(F.cross_entropy, np.eye(3), np.array([0, 1, 1]), ignore_index=0)
    assert minidl.gradcheck(lambda x: np.split(np.sin(x), 2), [1.0, 2.0])


def test_tangents_and_vectors_keep_their_graph():
    x = np.array([1.0, 3.0])
    square = lambda z: z**2
    assert grad(lambda v: jvp(square, (x,), (v * 2,))[1].sum())(np.ones(2)).tolist() == [4.0, 12.0]
    assert isinstance(jvp(square, (x,), (Variable([1.0, 1.0]),))[1], Variable)
    assert grad(lambda v: (hvp(lambda z: (z**3).sum())(x, v)).sum())(np.ones(2)).tolist() == [
        6.0,
        18.0,
    ]
    assert grad(lambda u: vjp(square, x)[1](u)[0].sum())(np.ones(2)).tolist() == [2.0, 6.0]


def test_a_transform_of_a_transform_of_arrays_gives_arrays():
    for result in (
        grad(lambda x: grad(lambda y: y * y * x)(1.0))(2.0),
        grad(lambda x: hessian(lambda y: y**3 * x)(x))(2.0),
        grad(lambda x: (Variable([1.0, 2.0]) * x).sum())(2.0),
        jacobian(lambda x: vjp(lambda y: y * x, x)[1](np.ones(2))[0])(np.ones(2)),
    ):
        assert not isinstance(result, Variable)


def test_gradients_without_a_graph_inside_a_transform():
    def by_hand(x):
        (x**3).backward()
        return x.grad

    for f in (by_hand, lambda x: gradients(x**3, [x])[0]):
        with pytest.raises(RuntimeError, match="create_graph=True"):
            grad(f)(2.0)
    assert grad(lambda x: gradients(x**3, [x], create_graph=True)[0])(2.0) == 12.0
    with pytest.raises(
        TypeError, match="floating result; the function's result is of type Variable of dtype int64"
    ):
        grad(lambda x: x.argmax())(np.ones(3))
    with pytest.raises(TypeError, match="argnum"):
        jacobian(lambda x: x, (0, 1))(1.0)


# ---- nested dicts, lists and tuples -------------------------------------------------------------

Line = namedtuple("Line", "slope offset")
TREE = {"w": [np.array([1.0, 2.0]), np.array(3.0)], "b": (np.array([0.5, -1.0]),)}


def energy(p):
    return (p["w"][0] ** 2 * p["b"][0]).sum() * p["w"][1]


def as_tree(flat):
    return {"w": [flat[:2], flat[2]], "b": (flat[3:],)}


FLAT = np.array([1.0, 2.0, 3.0, 0.5, -1.0])


def flat_of(tree):
    leaves = [np.ravel(x) for x in (*tree["w"], *tree["b"])]
    return np.concatenate(leaves)


def test_gradients_of_trees_have_their_form():
    g = grad(energy)(TREE)
    assert list(g) == ["w", "b"] and type(g["w"]) is list and type(g["b"]) is tuple
    np.testing.assert_allclose(flat_of(g), grad(lambda x: energy(as_tree(x)))(FLAT))
    value, again = value_and_grad(energy)(TREE)
    assert value == energy(TREE)
    np.testing.assert_array_equal(flat_of(again), flat_of(g))
    pair = grad(lambda p, x: energy(p) * x, (0, 1))(TREE, 2.0)
    assert type(pair) is tuple and pair[1] == energy(TREE)
    np.testing.assert_allclose(flat_of(pair[0]), 2 * flat_of(g))


def test_kinds_of_trees():
    line = grad(lambda p: p.slope * 2 + p.offset**2)(Line(1.0, 3.0))
    assert line == Line(2.0, 6.0) and type(line) is Line
    ordered = grad(lambda p: p["b"] * p["a"])(OrderedDict(b=2.0, a=3.0))
    assert type(ordered) is OrderedDict and list(ordered.items()) == [("b", 3.0), ("a", 2.0)]
    assert grad(lambda p: p[0] * p[1])((2.0, 3.0)) == (3.0, 2.0)
    assert grad(lambda p: p["x"].sum())({"x": [1.0, 2.0], "nothing": None, "none": []}) == {
        "x": pytest.approx([1.0, 1.0]),
        "nothing": None,
        "none": [],
    }
    unused = grad(lambda p: p["a"] * 2)({"a": 1.0, "b": np.ones(2, np.float32)})
    assert unused["b"].tolist() == [0.0, 0.0] and unused["b"].dtype == np.float32


def test_variables_in_trees_keep_the_graph():
    w = Variable([1.0, 2.0])
    g = grad(lambda p: (p["w"] ** 3).sum())({"w": w})
    assert isinstance(g["w"], Variable)
    g["w"].sum().backward()
    np.testing.assert_allclose(w.grad.data, [6.0, 12.0])
    assert grad(lambda x: grad(lambda p: p[0] ** 2 * p[1])((x, x))[0])(3.0) == 12.0


def test_products_with_trees():
    flat = lambda f: lambda x: f(as_tree(x))
    vector = np.array([1.0, -2.0, 0.5, 2.0, 3.0])
    many = lambda p: {"e": energy(p), "s": [p["w"][0] * p["b"][0]]}
    y, pull = vjp(many, TREE)
    assert y["e"] == energy(TREE) and type(y["s"]) is list
    (g,) = pull({"s": [np.array([1.0, 2.0])], "e": 0.5})
    want = grad(flat(lambda p: 0.5 * energy(p) + (many(p)["s"][0] * [1.0, 2.0]).sum()))(FLAT)
    np.testing.assert_allclose(flat_of(g), want)
    y, dy = jvp(many, (TREE,), (as_tree(vector),))
    J = jacobian(flat(energy))(FLAT)
    np.testing.assert_allclose(dy["e"], J @ vector)
    np.testing.assert_allclose(dy["s"][0], jacobian(flat(lambda p: many(p)["s"][0]))(FLAT) @ vector)
    H = hessian(flat(energy))(FLAT)
    np.testing.assert_allclose(flat_of(hvp(energy)(TREE, as_tree(vector))), H @ vector)


def test_jacobians_and_hessians_of_trees():
    J = jacobian(lambda p: {"y": p["w"][0] * p["w"][1]})(TREE)
    np.testing.assert_allclose(J["y"]["w"][0], np.eye(2) * 3)
    np.testing.assert_allclose(J["y"]["w"][1], [1.0, 2.0])
    assert J["y"]["b"][0].shape == (2, 2) and not J["y"]["b"][0].any()
    H = hessian(lambda p: energy(p))(TREE)
    want = hessian(lambda x: energy(as_tree(x)))(FLAT)
    np.testing.assert_allclose(H["w"][0]["b"][0], want[:2, 3:])
    np.testing.assert_allclose(H["b"][0]["w"][1], want[3:, 2])
    blocks = hessian(lambda x, y: x * x * y, (0, 1))(3.0, 2.0)
    assert blocks == ((4.0, 6.0), (6.0, 0.0))


def test_a_result_given_twice_counts_twice():
    y, pull = vjp(lambda x: [x * x] * 2, 3.0)
    assert y == [9.0, 9.0] and pull([1.0, 10.0]) == (66.0,)
    same = lambda x: (x, x, 2 * x)
    assert vjp(same, 3.0)[1]((1.0, 10.0, 100.0)) == (211.0,)
    assert jvp(same, 3.0, 1.0)[1] == (1.0, 1.0, 2.0) and jacobian(same)(3.0) == (1.0, 1.0, 2.0)


def test_what_comes_besides():
    def f(p):
        hidden = p["w"] * 2
        return hidden**2, {"hidden": hidden, "name": "f", "count": 3}

    g, aux = grad(f, has_aux=True)({"w": 3.0})
    assert g == {"w": 24.0} and aux == {"hidden": 6.0, "name": "f", "count": 3}
    assert not isinstance(aux["hidden"], Variable)
    (value, aux), g = value_and_grad(f, has_aux=True)({"w": 3.0})
    assert (value, aux["hidden"], g["w"]) == (36.0, 6.0, 24.0)
    w = Variable(2.0)
    _, aux = grad(lambda x: (x * x, w * x), has_aux=True)(3.0)
    assert isinstance(aux, Variable) and aux.requires_grad
    with pytest.raises(TypeError, match=r"\(result, aux\), got Variable"):
        grad(lambda x: x * x, has_aux=True)(3.0)
    with pytest.raises(ValueError, match=r"want a scalar result, got \(\*, \*\)"):
        grad(lambda x: (x * x, 1.0))(3.0)


def test_errors_name_the_place_in_the_tree():
    def f(x, p):
        return x

    with pytest.raises(TypeError, match=r"grad\(f\): argument 1\['n'\]\[0\].* int64"):
        grad(f, 1)(1.0, {"w": 1.0, "n": [np.array(3)]})
    with pytest.raises(TypeError, match=r"result\['a'\]\[1\] is of type ndarray of dtype int"):
        vjp(lambda x: {"a": [x, np.arange(2)]}, 1.0)
    with pytest.raises(ValueError, match=r"tangent\[0\]\['a'\] has shape \(2,\), want \(\)"):
        jvp(lambda p: p["a"], ({"a": 1.0},), ({"a": np.ones(2)},))
    with pytest.raises(ValueError, match=r"vector: want {'a': \*}, got \*"):
        hvp(lambda p: p["a"] ** 2)({"a": 1.0}, 1.0)
    with pytest.raises(ValueError, match=r"seed gradient: want \(\*, \*\), got \*"):
        vjp(lambda x: (x, x), 1.0)[1](1.0)


# ---- what leaves the graph, and constants ------------------------------------------------------------------------

CONSTANTS = {
    "float": 2.0,
    "int": 2,
    "NumPy number": np.float64(2.0),
    "float32": np.float32(2.0),
    "array": np.array(2.0),
    "constant": Variable(2.0, requires_grad=False),
}


@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)
def test_a_constant_result_has_gradient_zero_whatever_its_type(constant):
    def f(x):
        return constant

    x = np.array([1.0, 3.0])
    assert grad(f)(x).tolist() == [0.0, 0.0]
    value, slope = value_and_grad(f)(x)
    assert value == 2.0 and slope.tolist() == [0.0, 0.0]
    y, pull = vjp(f, x)
    assert y == 2.0 and pull(np.ones_like(np.asarray(y)))[0].tolist() == [0.0, 0.0]
    assert [float(v) for v in jvp(f, (x,), (x,))] == [2.0, 0.0]
    assert jacobian(f)(x).tolist() == [0.0, 0.0]
    assert hessian(f)(x).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert hvp(f)(x, x).tolist() == [0.0, 0.0]
    assert grad(lambda z: grad(f)(z).sum() + z.sum())(x).tolist() == [1.0, 1.0]


def test_arrays_of_constants():
    assert jacobian(lambda x: np.ones(3))(1.0).tolist() == [0.0, 0.0, 0.0]
    assert jvp(lambda x: np.ones((2, 1)), (1.0,), (1.0,))[1].tolist() == [[0.0], [0.0]]
    for result in (None, "text", np.arange(3), True, np.array([1j]), object()):
        with pytest.raises((TypeError, ValueError), match="grad"):
            grad(lambda x, y=result: y)(1.0)


def by_assignment(x):
    z = np.zeros(3)
    z[0] = x[0] * x[0]
    return z.sum()


def by_adding(x):
    z = np.zeros(3)
    z[1] += x[1]
    return z.sum()


def by_a_flat_index(x):
    z = np.zeros((2, 2))
    z[1, 0] = x.sum()
    return z.sum()


LEAVING = {
    "assignment": by_assignment,
    "+=": by_adding,
    "2-D": by_a_flat_index,
    "math": lambda x: math.exp(x[0]),
    "fromiter": lambda x: np.fromiter((v * v for v in x), float).sum(),
    "full": lambda x: np.full(2, x[0]).sum(),
    "array": lambda x: np.array([x[0], x[1]]).sum(),
    "float64": lambda x: np.float64(x[0]),
    "float": lambda x: float(x[0]),
    "int": lambda x: int(x[0]),
    "sum of floats": lambda x: sum(map(float, x)),
    "fsum": lambda x: math.fsum(x),
    "complex": lambda x: complex(x[0]).real,
    "data": lambda x: (x.data**2).sum(),
    "item": lambda x: x[0].item(),
    "tolist": lambda x: sum(x.data.tolist()) + np.float64(0),
}


@pytest.mark.parametrize("f", LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize(
    "transform", [grad, value_and_grad, jacobian, hessian, lambda f: partial(vjp, f)]
)
def test_a_value_that_leaves_the_graph_in_a_transform_says_so(f, transform):
    with pytest.raises(
        (RuntimeError, TypeError), match=r"leave the graph|left the graph|no rule"
    ) as caught:
        transform(f)(np.array([1.0, 2.0]))
    assert "setting an array element" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["assignment", "+=", "2-D", "math", "fromiter", "fsum", "float", "int", "complex"]
)
def test_outside_transforms_it_is_warned_of_once_a_line(name):
    x = Variable([1.0, 2.0])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            LEAVING[name](x)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert "x.item()" in str(seen[0].message) and "np.stack" in str(seen[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LEAVING[name](x.detach())  # a constant has no graph to leave
        assert x[0].item() == 1.0 and f"{x[0]:.1f}" == "1.0"


def test_scipy_calls_float_too():
    integrate = pytest.importorskip("scipy.integrate")
    x = Variable(2.0)
    with pytest.warns(UserWarning, match=r"x\.item\(\)") as seen:
        integrate.quad(lambda t: x * t, 0, 1)
    assert {w.filename for w in seen} == {__file__}
    with pytest.raises(RuntimeError, match="leave the graph"):
        grad(lambda x: integrate.quad(lambda t: x * t, 0, 1)[0])(2.0)


def test_gradients_in_a_prediction_names_grad():
    x = Variable(2.0)
    with minidl.no_grad():
        y = x * x
        for ask in (lambda: gradients(y, [x]), lambda: gradients(y, [y])):
            with pytest.raises(ValueError, match=r"no_grad\(\).*minidl\.grad"):
                ask()
        assert grad(lambda x: x * x)(2.0) == 4.0
