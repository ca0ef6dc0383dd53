"""Losses of labels and of probabilities, and accuracy. All are means.

The losses of numbers, and the checks that all share, are in loss.py.
"""

import math
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import array_of, as_array, is_foreign, to_kind_of
from minidl.common.callers import warn_user
from minidl.functions.activation import log_softmax, sigmoid, softmax
from minidl.functions.loss import as_number, as_pair, in_range

__all__ = [
    "accuracy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
]


def _labels(name: str, x: Any, t: Any) -> tuple[Any, Any]:
    """Logits and labels of fitting kinds and shapes; what the labels are, the functions look at."""
    x = as_array(x, name)
    t = as_array(t, name)
    one_hot = "; of one-hot rows give t.argmax(-1)" if t.ndim and t.shape == x.shape else ""
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {t.dtype}{one_hot}")
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: logits must be floating, got {x.dtype}")
    if x.ndim == 0 or t.shape != x.shape[:-1]:
        problem = f"{name}: for logits {x.shape} want labels {x.shape[:-1]}, got {t.shape}{one_hot}"
        if t.ndim and t.shape[:1] == x.shape[:1] and t.ndim < x.ndim - 1:
            problem += (
                f"; if there is one label a sample, it is the logits that want the shape {(*t.shape, x.shape[-1])}: "
                "flatten the model's input to (samples, features)"
            )
        raise ValueError(problem)
    return x, t


def _check_classes(labels: Any, classes: int) -> None:
    bad = (labels < 0) | (labels >= classes)
    if bad.any().item():
        raise ValueError(f"label {labels[bad][0].item()} is outside the {classes} classes")


def _rows(x: Any, t: Any, ignore_index: int) -> tuple[Any, Any, Any, Any]:
    """The counted rows of ``x``, where they stand (None.

    All count), and index and label to pick from each.
    """
    x = x.reshape(math.prod(t.shape), x.shape[-1])
    t = t.reshape(-1)
    if ignore_index < 0 <= np.bitwise_or.reduce(t, initial=0):  # no label is negative
        return x, None, np.arange(len(t)), t
    where = (t != ignore_index).nonzero()[
        0
    ]  # the others are not even looked at: they may hold anything
    _check_classes(t[where], x.shape[1])
    return x[where], where, np.arange(len(where)), t[where]


_SURE = 2.0**-10


def _cross_entropy(x: Any, t: Any, ignore_index: int = -100) -> tuple[Any, Any]:
    z, where, rows, labels = _rows(x, t, ignore_index)
    # A row of only -inf, all masked, stays so, its loss is inf; any other has 1 <= s.
    z = z - np.maximum.reduce(z, 1, keepdims=True, initial=np.finfo(z.dtype).min)
    e = np.exp(z)
    s = np.add.reduce(e, 1, keepdims=True)
    np.maximum(s, 0.5, out=s)
    try:
        picked = z[rows, labels]
    except IndexError:
        _check_classes(labels, z.shape[1])
        raise
    # not log(s) + max - x: beside a large max it would lose its digits
    losses = np.log(s)[:, 0] - picked
    sure = None
    if len(losses) and losses[losses.argmin()] < _SURE:  # a third of the time of min
        # The label's own 1 in s leaves no digits of the others, of which the loss is made: add them
        # up alone.
        sure = (losses < _SURE).nonzero()[0]
        others = e[sure]
        others[np.arange(len(sure)), labels[sure]] = 0
        rest = np.add.reduce(others, 1)
        losses[sure] = np.log1p(rest)
        sure = sure, labels[sure], rest / s[sure, 0]
    return np.add.reduce(losses) / max(len(rows), 1), (e, s, where, rows, labels, sure)


def _cross_entropy_joint(
    g: Any, y: Any, saved: Any, wanted: list[bool], x: Any, t: Any, ignore_index: int = -100
) -> tuple[Any, None]:
    """softmax(x) minus one-hot(t), over the number of counted rows; 0 for ignored ones."""
    if saved is None:  # x is a Variable
        return _recorded_gradient(g, x, t, ignore_index), None
    e, s, where, rows, labels, sure = saved
    scale = g / max(len(rows), 1)
    gx = e * (scale / s)
    gx[rows, labels] -= scale
    if sure is not None:
        sure_rows, sure_labels, others = sure
        gx[sure_rows, sure_labels] = others * -scale  # p - 1, when p is nearly 1
    if where is not None:
        counted = gx
        gx = np.zeros_like(x, shape=(t.size, x.shape[-1]))
        gx[where] = counted
    return gx.reshape(x.shape), None


def _recorded_gradient(g: Any, x: Any, t: Any, ignore_index: int) -> Any:
    """The same of a Variable, with a graph of its own."""
    labels = t[..., None]
    classes = np.arange(x.shape[-1])
    counted = labels != ignore_index
    gx = softmax(x) - (labels == classes).astype(x.dtype)
    if type(counted) is not np.ndarray or not counted.all():
        gx = np.where(counted, gx, 0)
    return gx * (g / np.maximum(counted.astype(x.dtype).sum(), 1))


def _plain_cross_entropy(x: Any, t: Any, ignore_index: int) -> Any:
    """The same without indices, for arrays that are not NumPy's.

    The gradient comes from the rules.
    """
    t = array_of(t)
    classes = to_kind_of(np.arange(x.shape[-1]), x)
    counted = t != ignore_index
    _check_classes(np.where(counted, t, 0), x.shape[-1])
    picked = np.where((t[..., None] == classes) & counted[..., None], log_softmax(x), 0)
    return -picked.sum() / np.maximum(counted.sum().astype(x.dtype), 1)


# fmt: off
_fused_cross_entropy = differentiable(_cross_entropy, joint=_cross_entropy_joint, saves=True, name="cross_entropy",
                                      fresh=True)
# fmt: on


def cross_entropy(x: Any, t: Any, ignore_index: int = -100) -> Any:
    """The mean of ``-log softmax(x)[t]`` over the rows that are not ignored; 0 if all are.

    Args:
        x: logits, floating (.., C); not probabilities (a warning if softmax made them).
        t: integer labels (..), in [0, C) or ``ignore_index``.
        ignore_index: the label of rows that do not count.

    Raises:
        TypeError: labels are not integers, or logits not floating.
        ValueError: shapes do not match, or a label is out of range.

    >>> cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    np.float64(0.6931471805599453)
    """
    x, t = _labels("cross_entropy", x, t)
    if getattr(getattr(x, "creator", None), "function", None) is softmax:
        warn_user(
            "cross_entropy takes logits, but its input was made by softmax",
        )
    loss = _plain_cross_entropy if is_foreign(x) else _fused_cross_entropy
    return in_range(loss, x, t, ignore_index)


def _check_unit(what: str, values: Any, hint: str = "") -> None:
    """An error unless all values are in [0, 1] (or NaN, which the loss shows)."""
    if values.size:
        low = values.min()
        high = values.max()
        if low < 0 or high > 1:
            raise ValueError(f"want {what} in [0, 1], got {low if low < 0 else high}{hint}")


def _probabilities(y: Any, t: Any, eps: float) -> Any:
    """``y`` kept off 0 and 1, whose logarithms are infinite.

    The gradient passes as if it were not.
    """
    hint = "; for logits use binary_cross_entropy_with_logits"
    _check_unit("probabilities", y, hint)
    _check_unit("targets", t)
    limits = np.finfo(y.dtype)
    return np.clip(y, max(eps, float(limits.smallest_normal)), 1 - max(eps, float(limits.epsneg)))


def _logistic(x: Any, t: Any) -> Any:
    """``-(t log(sigmoid(x)) + (1 - t) log(sigmoid(-x)))`` of each: |x| times the weight of the side
    it is not on, plus what either side leaves. No difference of large numbers, no 0 times infinity.
    """
    _check_unit("targets", t)
    size = np.absolute(x)
    wrong = np.where(x > 0, 1 - t, t)
    return wrong * np.where(wrong == 0, 0, size) + np.log1p(np.exp(-size))


# fmt: off
_inside = differentiable(_probabilities, lambda g, out, y, t, eps: g, None, name="binary_cross_entropy")
_logistic_losses = differentiable(_logistic, lambda g, y, x, t: g * ((1 - t) * sigmoid(x) - t * sigmoid(-x)),
                                             lambda g, y, x, t: -g * x, name="binary_cross_entropy_with_logits")
# fmt: on


def _log_loss(y: Any, t: Any, eps: float) -> Any:
    y = _inside(y, t, eps)
    return -(t * np.log(y) + (1 - t) * np.log1p(-y)).mean()


def binary_cross_entropy(y: Any, t: Any, *, eps: float = 1e-12) -> Any:
    """The mean of ``-(t log(y) + (1 - t) log(1 - y))``; for logits use
    ``binary_cross_entropy_with_logits``.

    Args:
        y: probabilities in [0, 1], floating, any shape.
        t: targets in [0, 1], floating, the same shape; cast to y's dtype.
        eps: how far y is kept away from 0 and 1 (from 1 at least the smallest step of its dtype).
            The gradient is that at the value so moved: large, never 0, where a prediction is wrong
            and sure.

    Raises:
        ValueError: the shapes differ; probabilities or targets are not in [0, 1].
        TypeError: integers.

    >>> binary_cross_entropy(np.array([0.5]), np.array([1.0]))
    np.float64(0.6931471805599453)
    """
    y, t = as_pair("binary_cross_entropy", y, t)
    eps = as_number("binary_cross_entropy: eps", eps)
    if not 0 <= eps < 0.5:
        raise ValueError(f"binary_cross_entropy: eps must be in [0, 0.5), got {eps}")
    return in_range(_log_loss, y, t, eps)


def binary_cross_entropy_with_logits(x: Any, t: Any) -> Any:
    """``binary_cross_entropy(sigmoid(x), t)``, to full precision for any x.

    Args:
        x: logits, floating, any shape.
        t: targets in [0, 1], floating, the same shape; cast to x's dtype.

    Raises as ``binary_cross_entropy``.

    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 1.0])).round(4)
    np.float64(0.3466)
    """
    x, t = as_pair("binary_cross_entropy_with_logits", x, t)
    return in_range(lambda x, t: _logistic_losses(x, t).mean(), x, t)


def _accuracy(x: Any, t: Any) -> Any:
    _check_classes(t, x.shape[-1])
    return (x.argmax(-1) == t).mean()


# fmt: off
_hits = differentiable(_accuracy, name="accuracy")
# fmt: on


def accuracy(x: Any, t: Any) -> Any:
    """The share of rows whose largest entry stands at the label: a number in [0, 1], not
    differentiable.

    Args:
        x: logits or probabilities (.., C).
        t: integer labels (..).

    Raises:
        TypeError, ValueError: as ``cross_entropy``.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    np.float64(0.5)
    """
    return _hits(*_labels("accuracy", x, t))
