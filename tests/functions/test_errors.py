"""What bad input gets: an error at the call that made it, naming the function, the shapes and the dtypes."""

from typing import Any

import numpy as np
import pytest

from minidl import Variable, test_mode
from minidl import functions as F

test_mode.__test__ = False
v, w = Variable(np.ones((2, 3))), Variable(np.ones((4, 5), np.float32))
three = np.ones(3)

# (what is called, the error, what its message must have)
ERRORS: list[tuple[Any, type[Exception], list[str]]] = [
    # shapes that do not broadcast, multiply or fit
    (lambda: v + w, ValueError, ["add", "float64 (2, 3)", "float32 (4, 5)"]),
    (lambda: v - np.ones(2), ValueError, ["subtract", "(2, 3)", "(2,)"]),
    (lambda: v * w, ValueError, ["multiply", "(2, 3)", "(4, 5)"]),
    (lambda: v / w, ValueError, ["divide", "(2, 3)", "(4, 5)"]),
    (lambda: v**w, ValueError, ["power", "(2, 3)", "(4, 5)"]),
    (lambda: np.maximum(v, w), ValueError, ["maximum", "(2, 3)", "(4, 5)"]),
    (lambda: np.where(v > 0, w, 0), ValueError, ["where", "(2, 3)", "(4, 5)"]),
    (lambda: np.clip(v, w, None), ValueError, ["clip", "(2, 3)", "(4, 5)"]),
    (lambda: v > w, ValueError, ["greater", "(2, 3)", "(4, 5)"]),
    (lambda: v @ w, ValueError, ["matmul", "float64 (2, 3)", "float32 (4, 5)"]),
    (lambda: v @ 2.0, ValueError, ["matmul", "(2, 3)"]),
    (lambda: np.dot(v, w), ValueError, ["(2, 3)", "(4, 5)"]),
    (lambda: np.dot(v, np.ones((4, 5, 2))), ValueError, ["matmul", "(2, 3)", "(5, 8)"]),
    (
        lambda: F.linear(v, np.ones((4, 2)), np.ones(2)),
        ValueError,
        ["linear", "(2, 3)", "(4, 2)", "(2,)", "(in, out)"],
    ),
    (
        lambda: F.linear(v, np.ones((3, 2)), three),
        ValueError,
        ["linear", "(2, 3)", "(3, 2)", "(3,)"],
    ),
    (lambda: F.linear(v, np.ones((3, 2)), np.ones((2, 2))), ValueError, ["linear", "(2, 2)"]),
    (lambda: F.linear(v, np.ones((3, 2)), np.ones(1)), ValueError, ["linear", "(1,)"]),
    (lambda: F.linear(v, three), ValueError, ["linear", "(2, 3)", "(3,)"]),
    (lambda: F.linear(Variable(1.0), np.ones((1, 2))), ValueError, ["linear", "()", "(1, 2)"]),
    (lambda: v.reshape(4, 2), ValueError, ["reshape", "(2, 3)", "(4, 2)"]),
    (lambda: v.transpose(0, 0), ValueError, ["transpose", "(2, 3)", "(0, 0)"]),
    (lambda: np.squeeze(v, 0), ValueError, ["squeeze", "(2, 3)"]),
    (lambda: np.broadcast_to(v, (3, 2)), ValueError, ["broadcast_to", "(2, 3)", "(3, 2)"]),
    (lambda: F.sum_to(v, (2,)), ValueError, ["sum_to", "(2, 3)", "(2,)"]),
    (lambda: F.sum_to(v, (4, 2, 3)), ValueError, ["sum_to", "(2, 3)", "(4, 2, 3)"]),
    (lambda: np.concatenate([v, w]), ValueError, ["concatenate", "(2, 3)", "(4, 5)"]),
    (lambda: F.concatenate([]), ValueError, ["concatenate", "at least one"]),
    (lambda: F.stack([]), ValueError, ["stack", "at least one"]),
    (lambda: np.stack([v, w]), ValueError, ["stack", "(2, 3)", "(4, 5)"]),
    (lambda: np.split(v, 2, axis=1), ValueError, ["split", "(2, 3)"]),
    # axes and indices out of range
    (lambda: v.sum(2), np.exceptions.AxisError, ["sum", "axis 2", "(2, 3)"]),
    (lambda: np.mean(v, (0, 2)), np.exceptions.AxisError, ["mean", "axis 2", "(2, 3)"]),
    (lambda: np.swapaxes(v, 0, 5), np.exceptions.AxisError, ["swapaxes", "(2, 3)"]),
    (lambda: F.softmax(v, 3), np.exceptions.AxisError, ["softmax", "axis 3", "(2, 3)"]),
    (lambda: np.expand_dims(v, 9), np.exceptions.AxisError, ["expand_dims", "(2, 3)"]),
    (lambda: np.max(Variable(np.ones((0, 3)))), ValueError, ["max", "(0, 3)"]),
    (lambda: v[2], IndexError, ["getitem", "index 2", "(2, 3)"]),
    (lambda: v[0, 0, 0], IndexError, ["getitem", "too many indices", "(2, 3)"]),
    (lambda: v[np.array([0, 7])], IndexError, ["getitem", "index 7", "(2, 3)"]),
    (lambda: v[np.array([True, False, True])], IndexError, ["getitem", "boolean", "(2, 3)"]),
    (lambda: v[1.5], IndexError, ["getitem", "(2, 3)"]),
    (lambda: v[Variable(1.0)], IndexError, ["getitem", "(2, 3)"]),
    (lambda: v["a"], IndexError, ["getitem", "(2, 3)"]),
    (lambda: np.take(v, 6), IndexError, ["take", "6", "(2, 3)"]),
    (lambda: np.take(v, [0, 3], axis=1), IndexError, ["take", "3", "(2, 3)"]),
    (lambda: v.take(0, 2), np.exceptions.AxisError, ["take", "(2, 3)"]),
    (lambda: v.take([1.0], 0), TypeError, ["take", "float64"]),
    # losses
    *[
        (
            lambda loss=loss, y=y, t=t: loss(y, t),
            ValueError,
            [loss.__name__, str(y.shape), str(t.shape)],
        )
        for loss in (
            F.mean_squared_error,
            F.huber,
            F.binary_cross_entropy,
            F.binary_cross_entropy_with_logits,
        )
        for y, t in (
            (Variable(np.ones((4, 1))), np.ones(4)),
            (np.ones(4), np.ones((4, 1))),
            (v, np.ones((1, 3))),
            (v, np.ones(())),
        )
    ],
    *[
        (
            lambda loss=loss: loss(v, np.ones((2, 3), int)),
            TypeError,
            [loss.__name__, "int64", "float64"],
        )
        for loss in (
            F.mean_squared_error,
            F.huber,
            F.binary_cross_entropy,
            F.binary_cross_entropy_with_logits,
        )
    ],
    *[
        (lambda f=f, t=t: f(v, np.array(t)), ValueError, [f.__name__, *words])
        for f in (F.cross_entropy, F.accuracy)
        for t, words in (
            ([0, 3], ["label 3", "3 classes"]),
            ([-1, 0], ["label -1", "3 classes"]),
            ([0], ["(2,)", "(1,)"]),
            ([[0], [1]], ["(2,)", "(2, 1)"]),
            (0, ["(2, 3)", "()"]),
            ([0, 1, 2], ["(3,)", "(2, 3)"]),
        )
    ],
    *[
        (lambda f=f, t=t: f(v, np.array(t)), TypeError, [f.__name__, "integers", dtype])
        for f in (F.cross_entropy, F.accuracy)
        for t, dtype in (([0.0, 1.0], "float64"), ([True, False], "bool"), (["a", "b"], "<U1"))
    ],
    (
        lambda: F.cross_entropy(np.ones((2, 3), int), np.array([0, 1])),
        TypeError,
        ["cross_entropy", "int64"],
    ),
    (lambda: F.cross_entropy(Variable(1.0), np.array(0)), ValueError, ["cross_entropy", "()"]),
    (
        lambda: F.cross_entropy(np.ones(3), np.int64(5)),
        ValueError,
        ["cross_entropy", "label 5", "(3,)"],
    ),
    (lambda: F.cross_entropy(np.ones(3), 5), ValueError, ["cross_entropy", "label 5", "(3,)"]),
    (lambda: F.cross_entropy(v, np.array([0, -100]), ignore_index=1), ValueError, ["label -100"]),
    (lambda: F.cross_entropy(v, np.eye(2, 3)), TypeError, ["integers", "t.argmax(-1)"]),
    (lambda: F.cross_entropy(v, np.eye(2, 3, dtype=int)), ValueError, ["(2,)", "t.argmax(-1)"]),
    (
        lambda: F.cross_entropy(np.ones((2, 1)), np.array([0, 1])),
        ValueError,
        ["label 1", "1 classes", "binary_cross_entropy_with_logits"],
    ),
    (lambda: F.glu(v), ValueError, ["glu", "even", "(2, 3)"]),
    (lambda: np.exp(v, dtype=np.float32), TypeError, ["np.exp", "dtype"]),
    (lambda: np.add(v, 1, where=[True]), TypeError, ["np.add", "where"]),
    # settings
    *[
        (lambda r=r: F.dropout(v, r), ValueError, ["dropout", "[0, 1)", str(r)])
        for r in (1, 1.0, -0.1, 2, np.nan)
    ],
    (lambda: F.dropout(np.array([1, 2])), TypeError, ["dropout", "int64"]),
    (
        lambda: F.mask_fill(v, np.ones((2, 3)), 0.0),
        ValueError,
        ["mask_fill", "bools", "float64 (2, 3)"],
    ),
    (
        lambda: F.mask_fill(v, np.array([0, 1, 0]), 0.0),
        ValueError,
        ["mask_fill", "bools", "int64 (3,)"],
    ),
    (
        lambda: F.mask_fill(v, np.ones(2, bool), 0.0),
        ValueError,
        ["mask_fill", "(2, 3)", "bool (2,)"],
    ),
    (
        lambda: F.mask_fill(v, np.ones((1, 2, 3), bool), 0.0),
        ValueError,
        ["mask_fill", "(2, 3)", "(1, 2, 3)"],
    ),
    (lambda: F.mask_fill(v, v > 0, three), ValueError, ["mask_fill", "one number", "(3,)"]),
    (lambda: F.mask_fill(v, v > 0, Variable(1.0)), TypeError, ["mask_fill", "derivative"]),
    (lambda: np.where(v > 0, v), ValueError, ["where", "both x and y"]),
    (lambda: np.clip(v, 0, 1, min=0), ValueError, ["clip", "both"]),
    # NumPy's functions without a rule
    (lambda: np.histogram(v), TypeError, ["np.histogram", "no rule"]),
    (lambda: np.linalg.eigvals(v), TypeError, ["np.linalg.eigvals", "complex", "eigvalsh"]),
    (lambda: np.fft.rfft(v), TypeError, ["np.fft.rfft", "no rule", "complex"]),
    (lambda: np.matmul(v, v.T, axis=0), TypeError, ["matmul", "axis"]),
    (lambda: np.linalg.inv(v), np.linalg.LinAlgError, ["inv", "square", "(2, 3)"]),
    (lambda: np.linalg.solve(v, v), np.linalg.LinAlgError, ["solve", "square", "(2, 3)"]),
    (lambda: np.linalg.inv(Variable(np.zeros((2, 2)))), np.linalg.LinAlgError, ["inv", "Singular"]),
    (lambda: np.linalg.norm(v, "nuclear"), ValueError, ["norm", "'nuclear'"]),
    (lambda: np.linalg.norm(v, 2, axis=(0, 0)), ValueError, ["norm", "repeated axis"]),
    (lambda: np.linalg.qr(v.T, "complete"), TypeError, ["qr", "'complete'", "(3, 2)"]),
    (lambda: np.linalg.svd(v, hermitian=True), TypeError, ["svd", "hermitian"]),
    (lambda: np.linalg.tensorsolve(v, three), ValueError, ["tensorsolve", "(2, 3)", "(3,)"]),
    (lambda: F.solve_triangular(v, three, 3), ValueError, ["solve_triangular", "trans"]),
    (lambda: np.convolve(v[0], three, "middle"), ValueError, ["convolve", "'middle'"]),
    (lambda: np.convolve(v[0], []), ValueError, ["convolve", "empty"]),
    (lambda: np.tensordot(v, w), ValueError, ["tensordot", "(2, 3)", "(4, 5)"]),
    (lambda: np.einsum("ij,ij", v, w), ValueError, ["einsum", "(2, 3)", "(4, 5)"]),
    (lambda: np.einsum("ij,jk", v), ValueError, ["einsum"]),
    (lambda: np.einsum("ij", v, dtype=float), TypeError, ["einsum", "dtype"]),
    (lambda: np.add.reduceat(v, [0]), TypeError, ["np.add.reduceat", "no rule"]),
    (lambda: np.subtract.reduce(v), TypeError, ["np.subtract.reduce", "no rule"]),
    # what is no real number
    (lambda: Variable(np.array([1j])), TypeError, ["Variable", "complex128"]),
    (lambda: Variable(["a"]), TypeError, ["Variable", "<U1"]),
    (lambda: Variable([None]), TypeError, ["Variable", "object"]),
    (lambda: Variable([1, 2], requires_grad=True), TypeError, ["floating", "int64"]),
    (lambda: Variable([True], requires_grad=True), TypeError, ["floating", "bool"]),
    (lambda: v * np.array([1j, 2, 3]), TypeError, ["multiply", "complex128"]),
    (lambda: v * 1j, TypeError, ["multiply", "complex128"]),
    (lambda: v + np.array([None, 1, 2]), TypeError, ["add"]),
    (lambda: v + "a", TypeError, ["add"]),
    (lambda: v + None, TypeError, ["add"]),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), ERRORS, ids=[f"{i}-{w[0]}" for i, (_, _, w) in enumerate(ERRORS)]
)
def test_the_error_names_what_was_wrong(
    call: Any, error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message


def test_integer_variables_are_constants() -> None:
    n = Variable([1, 2, 3])
    assert not n.requires_grad and not (n * 2).requires_grad and (n * 2).dtype == np.int64
    y = np.exp(n) * Variable(three)
    y.backward()
    assert n.grad is None


def test_test_mode_checks_dropouts_arguments_all_the_same() -> None:
    with test_mode():
        assert F.dropout(v, 0.5) is v
        with pytest.raises(ValueError, match="dropout"):
            F.dropout(v, 1.5)
        with pytest.raises(TypeError, match="dropout"):
            F.dropout(np.array([1]))


def test_cross_entropy_warns_of_probabilities() -> None:
    t = np.array([0, 1])
    with pytest.warns(
        UserWarning, match="cross_entropy takes logits, but its input was made by softmax"
    ) as caught:
        F.cross_entropy(F.softmax(v), t)
    assert caught[0].filename == __file__
    F.cross_entropy(F.log_softmax(v), t)  # equal to its own logits: no warning
    F.cross_entropy(F.softmax(v) + 0, t)


def test_a_failed_call_leaves_nothing_recorded() -> None:
    x = Variable(three)
    with pytest.raises(ValueError, match="add"):
        x + np.ones(2)
    (x * 2).backward()
    assert x.grad.data.tolist() == [2, 2, 2]
