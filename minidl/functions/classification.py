"""Losses of integer labels: cross-entropy, of logits, and negative log-likelihood, of logarithms.

Losses of probabilities and of two classes are in probabilities.py, accuracy in metrics.py.
"""

import math
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import as_array, is_foreign, to_kind_of
from minidl.common.checks import number
from minidl.functions.activation import log_softmax, softmax
from minidl.functions.weighting import (
    Reduction,
    as_weight,
    in_wide_steps,
    is_mean,
    reduce_loss,
    warn_of_softmax,
)

__all__ = ["cross_entropy", "negative_log_likelihood"]


def as_labels(name: str, x: Any, t: Any) -> tuple[Any, Any]:
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
            shape = (*t.shape, x.shape[-1])
            problem += (
                f"; if there is one label a sample, it is the logits that want the shape {shape}: "
                "flatten the model's input to (samples, features)"
            )
        raise ValueError(problem)
    return x, t


def check_classes(labels: Any, classes: int) -> None:
    bad = (labels < 0) | (labels >= classes)
    if bad.any().item():
        one = "; with one output use binary_cross_entropy_with_logits" if classes == 1 else ""
        raise ValueError(f"label {labels[bad][0].item()} is outside the {classes} classes{one}")


# Two forms of one loss. With every option it is composed, in ``_composed``; the plain call, which
# is in nearly every step of training, is one function that keeps what its derivative needs. Both
# derivatives of that one are below: by arrays, and, with a graph, by the softmax. Through the
# composition, as ``equals``, a Hessian-vector product of a small MLP took 16 to 20% longer.


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
    check_classes(t[where], x.shape[1])
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
        check_classes(labels, z.shape[1])
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


# fmt: off
_plain_mean = differentiable(_cross_entropy, joint=_cross_entropy_joint, saves=True, name="cross_entropy", fresh=True)
# fmt: on


def _target_rows(t: Any, like: Any, ignore_index: int) -> Any:
    """A row for each label: 1 at its class, else 0; of zeros where it is ignored."""
    counted = t != ignore_index
    check_classes(np.where(counted, t, 0), like.shape[-1])
    classes = to_kind_of(np.arange(like.shape[-1]), t)
    return ((t[..., None] == classes) & counted[..., None]).astype(like.dtype)


# fmt: off
_targets = differentiable(_target_rows, name="cross_entropy")
# fmt: on


def _composed(
    name: str,
    log_p: Any,
    t: Any,
    ignore_index: int,
    class_weight: Any,
    smoothing: float = 0.0,
) -> tuple[Any, Any]:
    """The loss of each label, and with how much it counts in the mean."""
    classes = log_p.shape[-1]
    target = _targets(t, log_p, ignore_index)
    spread = target.sum(-1, keepdims=True)
    if class_weight is not None:
        weights = as_weight(f"{name}: class_weight", class_weight, (classes,), log_p.dtype)
        target = target * weights
        spread = spread * weights
    counts = target.sum(-1)
    if smoothing:
        target = (1 - smoothing) * target + (smoothing / classes) * spread
    return -(target * np.where(target == 0, 0, log_p)).sum(-1), counts


def cross_entropy(
    x: Any,
    t: Any,
    ignore_index: int = -100,
    *,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
    reduction: Reduction = "mean",
    weight: Any = None,
) -> Any:
    """The mean of ``-log softmax(x)[t]`` over the rows that are not ignored; 0 if all are.

    Args:
        x: logits, floating (.., C); not probabilities (a warning if softmax made them).
        t: integer labels (..), in [0, C) or ``ignore_index``.
        ignore_index: the label of rows that do not count.
        label_smoothing: the share s, in [0, 1], of the target that is spread evenly over all
            classes: each row's loss is ``(1 - s)`` times its own, plus s times the mean of
            ``-log softmax(x)`` over the classes.
        class_weight: a number for each class, (C,), by which rows of that label count (and terms of
            the spread): the mean is ``sum(w l) / sum(w)``, w that of the label.
        reduction: "sum" for the sum, "none" for each row by itself, 0 where it is ignored.
        weight: of the leading axes of t, by which rows count besides.

    Raises:
        TypeError: labels are not integers, or logits not floating.
        ValueError: shapes do not match, a label is out of range, weights are negative or not
            finite.

    >>> cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    np.float64(0.6931471805599453)
    """
    x, t = as_labels("cross_entropy", x, t)
    warn_of_softmax("cross_entropy", x, "logits")
    plain = weight is None and class_weight is None and is_mean(reduction)
    sharp = type(label_smoothing) in (float, int) and label_smoothing == 0
    if plain and sharp and not is_foreign(x):
        return in_wide_steps(lambda x: _plain_mean(x, t, ignore_index), x)
    smoothing = number("cross_entropy: label_smoothing", label_smoothing)
    if smoothing > 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {smoothing}")

    def loss(x: Any) -> Any:
        losses, counts = _composed(
            "cross_entropy", log_softmax(x), t, ignore_index, class_weight, smoothing
        )
        return reduce_loss("cross_entropy", losses, reduction, weight, counts)

    return in_wide_steps(loss, x)


def negative_log_likelihood(
    log_p: Any,
    t: Any,
    ignore_index: int = -100,
    *,
    class_weight: Any = None,
    reduction: Reduction = "mean",
    weight: Any = None,
) -> Any:
    """The mean of ``-log_p[t]``: ``cross_entropy`` of what ``log_softmax`` gave.

    Args:
        log_p: logarithms of probabilities, floating (.., C); not probabilities (a warning if
            softmax made them).
        t, ignore_index, class_weight, reduction, weight: as for ``cross_entropy``.

    Raises as ``cross_entropy``.

    >>> negative_log_likelihood(np.log([[0.25, 0.75]]), np.array([0]))
    np.float64(1.3862943611198906)
    """
    name = "negative_log_likelihood"
    log_p, t = as_labels(name, log_p, t)
    warn_of_softmax(name, log_p, "logarithms, of log_softmax,")

    def loss(log_p: Any) -> Any:
        losses, counts = _composed(name, log_p, t, ignore_index, class_weight)
        return reduce_loss(name, losses, reduction, weight, counts)

    return in_wide_steps(loss, log_p)
