"""Metrics: what a model is judged by, as one number of a batch; not differentiable.

Losses, which models learn from, are in loss.py, regression.py, probabilities.py, classification.py.
"""

from typing import Any, Literal

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import as_array, to_kind_of
from minidl.functions.classification import as_labels, check_classes
from minidl.functions.loss import as_pair
from minidl.functions.weighting import as_weight

__all__ = ["accuracy", "f1", "r2"]


def _weights(name: str, weight: Any, t: Any, shape: tuple[int, ...]) -> Any:
    """The weights of some targets as numbers of float64; 1 for each without."""
    weight = to_kind_of(np.ones(shape), t) if weight is None else weight
    return as_weight(f"{name}: weight", weight, shape, np.float64)


def _accuracy(x: Any, t: Any, weight: Any) -> Any:
    check_classes(t, x.shape[-1])
    right = x.argmax(-1) == t
    if weight is None:
        return right.mean()
    total = weight.sum()
    return (right * weight).sum() / np.where(total == 0, 1, total)


def _r2(y: Any, t: Any, weight: Any) -> Any:
    """In float64, a mean over the features of each row."""
    if len(t) < 2 or not weight.any():
        return np.float64(np.nan)
    y = y.astype(np.float64).reshape(len(y), -1)
    t = t.astype(np.float64).reshape(y.shape)
    w = weight[:, None] / weight.sum()
    rest = (w * np.square(t - y)).sum(0)
    spread = (w * np.square(t - (w * t).sum(0))).sum(0)
    constant = (t == t[0]).all(0)
    scores = 1 - rest / np.where(constant, 1, spread)
    return np.where(constant & (rest > 0), 0, scores).mean()


def _f1(x: Any, t: Any, weight: Any, average: str | None) -> Any:
    classes = x.shape[-1]
    check_classes(t, classes)
    t = t.reshape(-1)
    guess = x.argmax(-1).reshape(-1)
    w = weight.reshape(-1)
    hits = np.bincount(t, w * (guess == t), classes)
    both = np.bincount(t, w, classes) + np.bincount(guess, w, classes)
    if average == "micro":
        hits = hits.sum()
        both = both.sum()
    scores = 2 * hits / np.where(both == 0, 1, both)
    if average != "macro":
        return scores
    present = np.bincount(t, minlength=classes) + np.bincount(guess, minlength=classes) > 0
    return scores[present].mean() if present.any() else np.float64(0)


# fmt: off
_hits = differentiable(_accuracy, name="accuracy")
_explained = differentiable(_r2, name="r2")
_harmonic = differentiable(_f1, name="f1")
# fmt: on


def accuracy(x: Any, t: Any, *, weight: Any = None) -> Any:
    """The share of rows whose largest entry stands at the label: a number in [0, 1], not
    differentiable.

    Args:
        x: logits or probabilities (.., C).
        t: integer labels (..).
        weight: with how much each row counts, (..); default 1.

    Raises:
        TypeError, ValueError: as ``cross_entropy``.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    np.float64(0.5)
    """
    x, t = as_labels("accuracy", x, t)
    if weight is not None:
        weight = _weights("accuracy", weight, t, t.shape)
    return _hits(x, t, weight)


def r2(y: Any, t: Any, *, weight: Any = None) -> Any:
    """The share of the targets' variance that is explained, ``1 - sum (t - y)^2 / sum (t -
    mean(t))^2``, of each feature over all samples, and its mean over the features.

    1 at best, 0 for the mean of the targets, NaN of fewer than two samples, or of none with a
    weight. A feature whose targets are all equal counts 1 if predicted exactly, else 0, as in
    scikit-learn.

    Args:
        y: predictions, floating, (samples, ..).
        t: targets, floating, the same shape.
        weight: with how much each sample counts, (samples,); default 1.

    Raises what ``mean_squared_error`` raises.

    >>> r2(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    np.float64(0.5)
    """
    y, _ = as_pair("r2", y, t)
    t = as_array(t)  # not rounded to the dtype of y
    if y.ndim == 0:
        raise ValueError("r2: want predictions and targets (samples, ..), got ()")
    return _explained(y, t, _weights("r2", weight, t, t.shape[:1]))


def f1(
    x: Any,
    t: Any,
    *,
    average: Literal["macro", "micro"] | None = "macro",
    weight: Any = None,
) -> Any:
    """The harmonic mean of precision and recall of each class, ``2 tp / (2 tp + fp + fn)``, and the
    mean over the classes that occur among labels or predictions.

    Args:
        x: logits or probabilities (.., C).
        t: integer labels (..).
        average: "macro" for that mean, "micro" to count all classes' hits together, None for the
            score of each class, (C,), 0 where it does not occur.
        weight: with how much each row counts, (..); default 1.

    Raises:
        TypeError, ValueError: as ``cross_entropy``; another ``average``.

    >>> f1(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 0, 0])).round(4)
    np.float64(0.6667)
    """
    if average is not None and (not isinstance(average, str) or average not in ("macro", "micro")):
        raise ValueError(f'f1: want average "macro", "micro" or None, got {average!r}')
    x, t = as_labels("f1", x, t)
    return _harmonic(x, t, _weights("f1", weight, t, t.shape), average)
