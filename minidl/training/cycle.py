"""The cycle of a batch: loss, gradients, update; one function, called as it is or compiled.

When it is called, and how far it goes, is in `loop.py`; what a loss is made of, in `trainer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from minidl.autograd.modes import demand
from minidl.autograd.variable import Variable
from minidl.common.pytree import map_leaves
from minidl.training import checks, faults
from minidl.training.batches import Batch
from minidl.training.runner import backward, check_steps

LossOf = Callable[[Batch], Any]


# How far a cycle goes: a window of batches whose losses are summed has one backward for all, and an
# update that hooks or other ranks have a part in is no affair of the cycle.
Until = Literal["loss", "gradients", "update"]


def evaluate_loss(loss_of: LossOf, stateless: Sequence[Any], batch: Batch) -> tuple[Any, Any]:
    """The loss of a batch, and the prediction or None."""
    result = loss_of(batch)
    check_steps(stateless, batch[0])
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss_of: want (loss, prediction or None), got {result!r:.60}")
    return result


def train_batch(
    loss_of: LossOf,
    stateless: Sequence[Any],
    optimizer: Any,
    stateful: bool,
    batch: Batch,
    until: Until,
    fresh: bool = True,
    share: np.float64 | None = None,
) -> tuple[Any, Any]:
    """The loss and the prediction of a batch, with gradients and an update as far as it is to go.

    The gradients are those of the loss, or of a ``share`` of it, and are added to those that are
    there, unless it begins ``fresh``. Raises NotFinite, with nothing updated, for a loss or
    gradient that is not finite.
    """
    if fresh:
        optimizer.cleargrads()
    loss, prediction = evaluate_loss(loss_of, stateless, batch)
    checks.check_loss_value(loss)
    demand(faults.want_finite_loss, loss)
    if until == "loss":
        return loss, map_leaves(_detach, prediction)
    backward(loss, stateful, share)
    if until == "update":
        demand(faults.want_finite, *faults.gradients_of(optimizer))
        optimizer.update()
    return loss, prediction


def _detach(y: Any) -> Any:
    return y.detach() if isinstance(y, Variable) else y
