"""Defining one's own functions: rules, settings, joint rules, several outputs, fused functions.

minidl's own functions are tested in tests/functions.
"""

import numpy as np
import pytest

import minidl
from minidl import Variable, differentiable
from minidl import functions as F
from minidl.autograd.protocols import REGISTRY


def test_a_function_of_ones_own():
    softsign = differentiable(
        lambda x: x / (1 + np.abs(x)), lambda g, y, x: g / (1 + abs(x)) ** 2, name="softsign"
    )
    x = np.array([-2.0, 0.5])
    assert type(softsign(x)) is np.ndarray
    assert minidl.gradcheck(softsign, x, order=3)
    assert softsign(Variable(x)).creator.name == "softsign"


def test_two_arguments_and_a_setting():
    @np.vectorize
    def unused(x):
        return x

    def _blend(a, b, share=0.5, *, power=1):
        return share * a**power + (1 - share) * b

    blend = differentiable(
        _blend,
        lambda g, y, a, b, share=0.5, *, power=1: g * (share * power * a ** (power - 1)),
        lambda g, y, a, b, share=0.5, *, power=1: g * (1 - share),
    )
    a, b = np.array([[1.0], [2.0]]), np.array([3.0, 4.0])
    assert blend.name == "blend"
    for settings in ({}, {"share": 0.3}, {"power": 3}, {"share": 0.1, "power": 2}):
        assert minidl.gradcheck(lambda a, b, s=settings: blend(a, b, **s), a, b)
    x = Variable(b)
    np.testing.assert_array_equal(blend(b=x, a=a).data, _blend(a, b))
    with pytest.raises(TypeError, match="'colour'"):
        blend(a, x, colour=1)
    with pytest.raises(TypeError, match="twice"):
        blend(a, x, b=x)
    with pytest.raises(TypeError, match="'a' is missing"):
        blend(b=x)


def test_only_wanted_gradients_are_computed():
    def never(g, y, a, b):
        raise AssertionError("nobody wants this gradient")

    f = differentiable(lambda a, b: a * b, never, lambda g, y, a, b: g * a)
    w = Variable([2.0])
    f(np.array([3.0]), w).backward()
    assert w.grad.data == [3.0]


def test_a_joint_rule_is_told_what_is_wanted():
    asked = []

    def joint(g, y, wanted, a, b):
        asked.append(list(wanted))
        return g * b, g * a

    f = differentiable(lambda a, b: a * b, joint=joint)
    w = Variable([2.0])
    f(np.array([3.0]), w).backward()
    f(w, w).backward()
    assert w.grad.data == [7.0] and asked == [[False, True], [True, True]]
    assert minidl.gradcheck(f, [1.0, 2.0], [3.0, 4.0])


def _norm_forward(x):
    n = np.sqrt((x * x).sum(-1, keepdims=True))
    return x / n, n


normalize = differentiable(
    _norm_forward,
    joint=lambda g, y, n, wanted, x: ((g - y * (g * y).sum(-1, keepdims=True)) / n,),
    saves=True,
    equals=lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
    name="normalize",
)


def test_a_fused_function_that_saves():
    x = np.array([[3.0, 4.0], [1.0, -1.0]])
    np.testing.assert_allclose(normalize(x), x / np.linalg.norm(x, axis=-1, keepdims=True))
    assert minidl.gradcheck(normalize, x, order=3)
    assert minidl.gradcheck(lambda x: normalize(x * normalize(x)), x)
    v = Variable(x)
    normalize(v).backward(np.ones((2, 2)), create_graph=True)
    fused = v.grad.data
    v.cleargrad()
    normalize.equals(v).backward(np.ones((2, 2)))
    np.testing.assert_allclose(fused, v.grad.data, atol=1e-15)


def test_several_outputs():
    polar = differentiable(
        lambda x, y: (np.sqrt(x * x + y * y), np.arctan(y / x)),
        joint=lambda g, out, wanted, x, y: (
            (0 if g[0] is None else g[0] * x / out[0])
            - (0 if g[1] is None else g[1] * y / out[0] ** 2),
            (0 if g[0] is None else g[0] * y / out[0])
            + (0 if g[1] is None else g[1] * x / out[0] ** 2),
        ),
        name="polar",
    )
    x, y = np.array([1.0, 2.0]), np.array([0.5, 1.5])
    assert minidl.gradcheck(polar, x, y)
    assert minidl.gradcheck(lambda x, y: polar(x, y)[0], x, y)
    assert minidl.gradcheck(lambda x, y: polar(x, y)[1] * polar(x, y)[1], x, y)
    r, angle = polar(Variable(x), y)
    assert r.creator.name == "polar[0]" and angle.requires_grad
    assert type(polar(x, y)[0]) is np.ndarray


def test_a_function_without_rules_is_recorded_as_a_constant():
    step = differentiable(lambda x: (x > 0) * 1.0, name="heaviside")
    y = step(Variable([1.0, -1.0]))
    assert type(y) is Variable and not y.requires_grad


def test_errors_name_the_function_and_what_it_got():
    x = Variable(np.ones((2, 3), np.float32))
    for call, name, kind in [
        (lambda: x + np.ones((4, 5)), r"add: .*float32 \(2, 3\), float64 \(4, 5\)", ValueError),
        (lambda: x @ np.ones((2, 3)), r"matmul: .*float32 \(2, 3\), float64 \(2, 3\)", ValueError),
        (lambda: F.reshape(x, (4,)), r"reshape: .*float32 \(2, 3\)", ValueError),
        (lambda: x.sum(5), r"sum: .*axis 5", ValueError),
        (lambda: x[7], r"getitem: .*\(2, 3\)", IndexError),
        (lambda: F.exp(x, x), "exp: ", TypeError),
    ]:
        with pytest.raises(kind, match=name):
            call()


def test_registering_for_a_numpy_function(monkeypatch):
    x = Variable([0.5, 0.1])
    monkeypatch.delitem(REGISTRY, np.arcsinh)  # restored afterwards
    with pytest.raises(TypeError, match="arcsinh"):
        np.arcsinh(x)
    arcsinh = differentiable(np.arcsinh, lambda g, y, x: g / (1 + x * x) ** 0.5)
    assert minidl.gradcheck(np.arcsinh, x.data) and arcsinh.name == "arcsinh"


def test_variables_as_settings_and_wrong_forwards():
    scale = differentiable(lambda x, *, k=1.0: x * k, lambda g, y, x, *, k=1.0: g * k, name="scale")
    with pytest.raises(TypeError, match=r"scale.*'k'"):
        scale(Variable([1.0]), k=Variable(2.0))
    assert scale(Variable([1.0]), k=Variable(2.0, requires_grad=False)).data == [2.0]
    for forward in (lambda x: 1.0, lambda x: [1.0]):
        with pytest.raises(TypeError, match="wrong: the forward returned"):
            differentiable(forward, lambda g, y, x: g, name="wrong")(Variable([1.0]))


def test_code_that_is_run_in_no_module_may_define_functions() -> None:
    names: dict[str, object] = {}
    exec(
        "import numpy as np, minidl\n"
        "double = minidl.differentiable(lambda x: 2 * x, lambda g, y, x: 2 * g)",
        names,
    )
    assert minidl.grad(names["double"])(3.0) == 2.0
