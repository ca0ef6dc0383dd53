"""Losses of probabilities and of two classes: binary cross-entropies, hinge, Kullback-Leibler.

Those of integer labels are in classification.py.
"""

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import as_array
from minidl.common.checks import number
from minidl.functions.activation import relu, sigmoid
from minidl.functions.loss import as_pair
from minidl.functions.weighting import Reduction, in_wide_steps, reduce_loss, warn_of_softmax

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "hinge",
    "kl_divergence",
]


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


def binary_cross_entropy(
    y: Any,
    t: Any,
    *,
    eps: float = 1e-12,
    reduction: Reduction = "mean",
    weight: Any = None,
) -> Any:
    """The mean of ``-(t log(y) + (1 - t) log(1 - y))``; for logits use
    ``binary_cross_entropy_with_logits``.

    Args:
        y: probabilities in [0, 1], floating, any shape.
        t: targets in [0, 1], floating, the same shape; cast to y's dtype.
        eps: how far y is kept away from 0 and 1 (from 1 at least the smallest step of its dtype).
            The gradient is that at the value so moved: large, never 0, where a prediction is wrong
            and sure.
        reduction, weight: as for ``mean_squared_error``.

    Raises:
        ValueError: the shapes differ; probabilities or targets are not in [0, 1].
        TypeError: integers.

    >>> binary_cross_entropy(np.array([0.5]), np.array([1.0]))
    np.float64(0.6931471805599453)
    """
    y, t = as_pair("binary_cross_entropy", y, t)
    eps = number("binary_cross_entropy: eps", eps, below=0.5)

    def loss(y: Any, t: Any) -> Any:
        y = _inside(y, t, eps)
        losses = -(t * np.log(y) + (1 - t) * np.log1p(-y))
        return reduce_loss("binary_cross_entropy", losses, reduction, weight)

    return in_wide_steps(loss, y, t)


def binary_cross_entropy_with_logits(
    x: Any, t: Any, *, reduction: Reduction = "mean", weight: Any = None
) -> Any:
    """``binary_cross_entropy(sigmoid(x), t)``, to full precision for any x.

    Args:
        x: logits, floating, any shape.
        t: targets in [0, 1], floating, the same shape; cast to x's dtype.
        reduction, weight: as for ``mean_squared_error``.

    Raises as ``binary_cross_entropy``.

    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 1.0])).round(4)
    np.float64(0.3466)
    """
    name = "binary_cross_entropy_with_logits"
    x, t = as_pair(name, x, t)
    return in_wide_steps(
        lambda x, t: reduce_loss(name, _logistic_losses(x, t), reduction, weight), x, t
    )


def _margin(y: Any, t: Any) -> Any:
    wrong = np.absolute(t) != 1
    if wrong.any():
        bad = t[wrong].reshape(-1)[0]
        raise ValueError(f"want targets -1 and 1, got {bad}; of 0 and 1 write 2 * t - 1")
    return t * y


# fmt: off
_margins = differentiable(_margin, lambda g, m, y, t: g * t, None, name="hinge")
# fmt: on


def hinge(y: Any, t: Any, *, reduction: Reduction = "mean", weight: Any = None) -> Any:
    """The mean of ``max(0, 1 - t y)``: of a support vector machine (Cortes and Vapnik 1995).

    Where ``t y`` is 1 the slope is 0. Of the targets there is no derivative.

    Args:
        y: scores, floating, any shape.
        t: targets -1 or 1, floats or integers, the same shape.
        reduction, weight: as for ``mean_squared_error``.

    Raises what ``mean_squared_error`` raises, and ValueError for other targets.

    >>> hinge(np.array([0.5, 2.0, 2.0]), np.array([1, 1, -1]))
    np.float64(1.1666666666666667)
    """
    t = as_array(t, "hinge")
    y, t = as_pair("hinge", y, t + 0.0 if t.dtype.kind in "iu" else t)
    return in_wide_steps(
        lambda y, t: reduce_loss("hinge", relu(1 - _margins(y, t)), reduction, weight), y, t
    )


def _check_target(p: Any) -> Any:
    _check_unit("probabilities p", p, "; the first argument is the logarithms, log_q")
    return p


# fmt: off
_target = differentiable(_check_target, lambda g, y, p: g, name="kl_divergence")
# fmt: on


def kl_divergence(log_q: Any, p: Any, *, reduction: Reduction = "mean", weight: Any = None) -> Any:
    """The divergence of q from p, ``sum(p (log p - log_q))`` over the last axis (Kullback and
    Leibler 1951), and the mean over the rest. Where p is 0 it adds nothing, nor has it a slope.

    Args:
        log_q: logarithms of the predicted probabilities, as of ``log_softmax``, (.., C).
        p: probabilities, floating, the same shape; cast to the dtype of log_q.
        reduction, weight: of the sums, (..).

    Raises:
        ValueError: the shapes differ; p is not in [0, 1]; a number in place of a row.
        TypeError: integers.

    Warns if log_q was made by ``softmax``.

    >>> kl_divergence(np.log([[0.5, 0.5]]), np.array([[1.0, 0.0]]))
    np.float64(0.6931471805599453)
    """
    warn_of_softmax("kl_divergence", log_q, "logarithms, of log_softmax,")
    log_q, p = as_pair("kl_divergence", log_q, p)
    if p.ndim == 0:
        raise ValueError("kl_divergence: want log_q and p of shape (.., C), got ()")

    def loss(log_q: Any, p: Any) -> Any:
        p = _target(p)
        absent = p == 0
        some = np.where(absent, 1, p)
        parts = some * (np.log(some) - np.where(absent, 0, log_q))
        return reduce_loss("kl_divergence", parts.sum(-1), reduction, weight)

    return in_wide_steps(loss, log_q, p)
