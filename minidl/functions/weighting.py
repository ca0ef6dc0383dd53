"""What all losses share: from a loss for each element or row to one number, with weights or without.

The losses themselves are in loss.py, regression.py, probabilities.py and classification.py.
"""

from typing import Any, Literal

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import as_array
from minidl.common.callers import warn_user
from minidl.functions.activation import softmax

__all__: list[str] = []

Reduction = Literal["mean", "sum", "none"]
_HALF = np.dtype(np.float16)


def in_wide_steps(loss: Any, *arrays: Any) -> Any:
    """``loss(*arrays)``; of float16 in float32, as squares of errors and sums leave its range."""
    if arrays[0].dtype != _HALF:
        return loss(*arrays)
    wide = [a.astype(np.float32) if a.dtype == _HALF else a for a in arrays]
    return loss(*wide).astype(_HALF)


def _check(weight: Any) -> Any:
    # Not all(..): of a comparison with NaN min and max are NaN, and the comparison is False.
    if weight.size and not (weight.min() >= 0 and weight.max() < np.inf):
        good = np.isfinite(weight) & (weight >= 0)
        bad = weight[~good].reshape(-1)[0]
        raise ValueError(f"want finite numbers of at least 0, got {bad}")
    return weight


# fmt: off
_checked = differentiable(_check, lambda g, y, weight: g, name="weight")
# fmt: on


def as_weight(whose: str, weight: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The weight in the dtype of a loss; an error unless it has that shape and good numbers."""
    weight = as_array(weight, whose)
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"{whose}: want real numbers, got {weight.dtype}")
    if weight.shape != shape:
        raise ValueError(f"{whose}: want shape {shape}, got {weight.shape}")
    try:
        with np.errstate(over="ignore"):  # what is beyond the range of that dtype is refused
            return _checked(weight.astype(dtype))
    except ValueError as error:
        raise ValueError(f"{whose}: {error.__cause__}") from None


def is_mean(reduction: Any) -> bool:
    """Whether it is the "mean"; what is no text is none, whatever it is equal to."""
    return isinstance(reduction, str) and reduction == "mean"


def reduce_loss(
    name: str, losses: Any, reduction: Reduction, weight: Any = None, counts: Any = None
) -> Any:
    """The mean or sum of ``losses``, or, for "none", each as it is: times its weight, if any.

    Args:
        name: of the function, for errors.
        losses: one for each element or row, any shape.
        reduction: "mean" is ``sum(w l) / sum(w)``, and 0 where no w is above 0.
        weight: w, of the leading axes of ``losses``, for all that stands behind; default 1.
        counts: with how much each of ``losses``, in which it is a factor already, counts in the
            mean: class weights, and 0 for what is ignored; default 1.

    Raises ValueError for another reduction, and for weights of another shape, negative or not
    finite.
    """
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        want = '"mean", "sum" or "none"'
        raise ValueError(f"{name}: want reduction {want}, got {reduction!r}")
    if weight is not None:
        w = _expand(name, weight, losses)
        losses = losses * w
        counts = np.broadcast_to(w, losses.shape) if counts is None else counts * w
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return total
    if counts is None:
        return total / max(losses.size, 1)
    count = counts.sum()
    return total / np.where(count == 0, 1, count)


def _expand(name: str, weight: Any, losses: Any) -> Any:
    """The weight with an axis of length 1 for each of the last axes that it does not cover."""
    shape = losses.shape
    weight = as_array(weight, f"{name}: weight")
    axes = weight.ndim
    if axes > len(shape) or (axes == 0 and shape != ()):
        want = f"one for each of the leading axes of {shape}"
        raise ValueError(f"{name}: weight: want {want}, got shape {weight.shape}")
    weight = as_weight(f"{name}: weight", weight, shape[:axes], losses.dtype)
    return weight.reshape(shape[:axes] + (1,) * (len(shape) - axes))


def warn_of_softmax(name: str, x: Any, want: str) -> None:
    """Warn if ``x`` is probabilities, made by softmax, where the loss takes something else."""
    if getattr(getattr(x, "creator", None), "function", None) is softmax:
        warn_user(f"{name} takes {want}, but its input was made by softmax")
