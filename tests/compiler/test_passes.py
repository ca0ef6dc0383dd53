"""Passes, one at a time: what each leaves out, and that the rest computes the same.

Whole compiled functions are tested in test_compile.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import functions as F
from minidl.autograd.modes import Switch
from minidl.compiler import passes
from minidl.compiler.derivative import Recorder
from minidl.compiler.printer import Code
from minidl.compiler.program import Program, Value
from minidl.compiler.standin import stand_in


def recorded(f: Callable[..., Any], *args: Any) -> Program:
    """The program of a function of arrays, as it is before any pass."""
    recorder = Recorder({})
    arrays = [stand_in(a, recorder.add_input("argument", a, i)) for i, a in enumerate(args)]
    with Switch(tracer=recorder):
        result = f(*arrays)
    assert recorder.stopped is None
    results = result if isinstance(result, tuple) else (result,)
    inputs = [x.value for x in recorder.inputs]
    return Program(inputs, [recorder.operand(r) for r in results], recorder.steps)


def names(program: Program) -> list[str]:
    return [step.name for step in program.steps]


def run(program: Program, *args: Any) -> Any:
    code = Code(program)
    return code.forward(args, code.arena())[0]


X = np.array([[1.5, -2.0], [0.25, 3.0]])


def test_dead_code() -> None:
    program = recorded(lambda x: (F.exp(x), F.sin(F.cos(x)))[0], X)
    assert names(program) == ["exp", "cos", "sin"]
    assert names(passes.without_dead_code(program)) == ["exp"]


def test_duplicates() -> None:
    program = recorded(lambda x: F.exp(x * 2) + F.exp(x * 2) + F.exp(x * 2.0), X)
    found = passes.without_duplicates(program)
    assert names(found) == [
        "multiply",
        "exp",
        "add",
        "multiply",
        "exp",
        "add",
    ]  # 2 and 2.0 are not the same
    np.testing.assert_array_equal(run(found, X)[0], np.exp(X * 2) + np.exp(X * 2) + np.exp(X * 2))


def test_random_numbers_are_no_duplicates() -> None:
    minidl.seed(0)
    program = recorded(lambda x: F.dropout(x, 0.5) + F.dropout(x, 0.5), X)
    assert len(passes.without_duplicates(program).inputs) == 3  # x, and two draws


def test_constants() -> None:
    number = np.float64(3.0)

    def f(x: Any) -> Any:
        return x * F.multiply(minidl.autograd.modes.MODE.get().tracer.number(number), 2.0)

    program = recorded(f, X)
    assert names(program) == ["multiply", "multiply"]
    found = passes.with_constants_folded(program)
    assert names(found) == ["multiply"] and found.steps[0].operands[1] == 6.0


@pytest.mark.parametrize(
    ("f", "left"),
    [
        (lambda x: x * 1 + 1.0 * x, ["add"]),
        (lambda x: (x / 1) ** 1 + 1, ["add"]),
        (lambda x: np.negative(np.negative(x)) * 2, ["multiply"]),
        (lambda x: x.T.T * 2, ["multiply"]),
        (lambda x: x.T.swapaxes(0, 1) * 2, ["multiply"]),
        (lambda x: x.reshape(2, 2) * 2, ["multiply"]),
        (lambda x: x + 0, ["add"]),  # -0.0 + 0 is not -0.0
        (lambda x: x * 0, ["multiply"]),  # nor are infinities 0
        (lambda x: x - x, ["subtract"]),
        (lambda x: x[:, :1] * 1, ["getitem"]),
    ],
)
def test_tidying_is_exact(f: Any, left: list[str]) -> None:
    program = recorded(f, X)
    found = passes.without_dead_code(passes.tidied(program))
    assert names(found) == left
    for x in (X, np.array([[-0.0, np.inf], [np.nan, 1e-320]])):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(run(found, x)[0], f(x))
            assert (np.signbit(run(found, x)[0]) == np.signbit(f(x))).all()


def test_broadcasts_are_left_to_the_next_function() -> None:
    program = recorded(lambda x, y: np.broadcast_to(y, (2, 2)) * x, X, np.array([2.0, 3.0]))
    found = passes.without_dead_code(passes.without_broadcasts(program))
    assert names(found) == ["multiply"]
    np.testing.assert_array_equal(run(found, X, np.array([2.0, 3.0]))[0], X * [2.0, 3.0])
    alone = recorded(
        lambda y, z: np.broadcast_to(y, (2, 2)) * z, np.array([2.0, 3.0]), np.array([[1.0], [2.0]])
    )
    assert names(passes.without_dead_code(passes.without_broadcasts(alone))) == [
        "broadcast_to",
        "multiply",
    ]


def test_buffers_are_shared_and_nothing_is_overwritten() -> None:
    def f(x: Any) -> Any:
        y = x
        for k in range(20):
            y = F.tanh(y * (k + 2)) + x
        return y

    program = passes.optimized(recorded(f, X))
    code = Code(program)
    assert len(program.steps) == 60 and code.nbytes <= 2 * X.nbytes
    x = X.copy()
    np.testing.assert_array_equal(code.forward((x,), code.arena())[0][0], f(X))
    np.testing.assert_array_equal(x, X)


def test_random_programs_compute_the_same() -> None:
    """Steps drawn at random, so that values live and die in every order, forward and backward."""
    unary: list[Any] = [
        F.tanh,
        F.sigmoid,
        F.relu,
        lambda v: v.T.reshape(v.shape),
        lambda v: v * 0.5,
        lambda v: -v,
        lambda v: v[::-1],
        lambda v: F.softmax(v),
        lambda v: v - v.mean(axis=0),
        lambda v: v**2 * 0.1,
    ]
    binary: list[Any] = [
        lambda a, b: a + b,
        lambda a, b: a * b * 0.5,
        lambda a, b: np.maximum(a, b),
        lambda a, b: a @ b.T @ b * 0.1,
        lambda a, b: np.where(a > b, a, b),
        lambda a, b: a - b.sum(axis=0),
    ]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        plan = [
            (rng.integers(3), rng.integers(100), rng.integers(100), rng.integers(100))
            for _ in range(25)
        ]

        def f(x: Any, plan: Any = plan) -> Any:
            values = [x]
            for kind, which, i, j in plan:
                a, b = values[i % len(values)], values[j % len(values)]
                values.append(
                    binary[which % len(binary)](a, b) if kind == 0 else unary[which % len(unary)](a)
                )
            return sum((v * v).mean() for v in values[-4:])

        compiled = minidl.compile(f)
        for _ in range(2):
            x = minidl.Variable(rng.standard_normal((4, 4)))
            want, got = f(x), compiled(x)
            np.testing.assert_allclose(got.data, want.data, rtol=1e-12)
            got.backward()
            gradient, _ = x.grad.data, x.cleargrad()
            want.backward()
            np.testing.assert_allclose(gradient, x.grad.data, rtol=1e-9, atol=1e-12)


def test_values_are_named_in_order() -> None:
    program = passes.optimized(recorded(lambda x: F.exp(x) + 1, X))
    assert str(program).splitlines() == [
        "inputs: x0 float64 (2, 2)",
        "forward:",
        "  v0 = exp(x0)  # float64 (2, 2)",
        "  v1 = add(v0, 1)  # float64 (2, 2)",
        "  return v1",
    ]
    assert isinstance(program.outputs[0], Value)
