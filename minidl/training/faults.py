"""Faults: what is said of a loss or gradient that is not finite: step, parameter, function.

When it is looked for is decided in `trainer.py`; anomaly detection itself lives in `autograd`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.autograd.modes import detect_anomaly
from minidl.common.arrays import as_array
from minidl.common.pytree import flatten, paths
from minidl.training.runner import ModelRunner, bring_back

if TYPE_CHECKING:
    from minidl.training.batches import Batch
    from minidl.training.trainer import Trainer

HINT = "Try a smaller rate, optim.hooks.ClipGrad, scaled inputs"


class NotFinite(Exception):
    """A loss or gradient is not finite; nothing was updated with it. What it holds is its array."""


def want_finite_loss(loss: Any) -> None:
    """Raise NotFinite for a loss that is not finite."""
    if not math.isfinite(loss.item()):
        raise NotFinite(loss)


def want_finite(*gradients: Any) -> None:
    """Raise NotFinite for the first gradient that is not finite."""
    for x in gradients:
        if math.isfinite(np.vdot(x, x).item()):  # quicker than to look at each, but it may overflow
            continue
        if not np.isfinite(x).all().item():
            raise NotFinite(x)


def gradients_of(optimizer: Any) -> list[Any]:
    """The gradients that are there for an update."""
    params = optimizer._params  # as cleargrads() left them: asking again takes longer
    return [g for p in params if (g := p.grad) is not None]


def explain(
    found: NotFinite, trainer: Trainer, runner: ModelRunner, batch: Batch
) -> FloatingPointError:
    """The error for what is not finite, which says where it comes from."""
    runner.forget_batch()
    what = _name(trainer, found.args[0])
    return _fault(trainer, what, find_cause(trainer, runner, batch))


def _name(trainer: Trainer, x: Any) -> str:
    """What is not finite: the gradient of a parameter, by name, or the loss."""
    names = {id(q): name for name, q in getattr(trainer.model, "named_parameters", list)()}
    for i, p in enumerate(trainer.optimizer._params):
        if p._grad is not None and p._grad._raw is x:
            name = f"{names.get(id(p), p.name or i)} {p.shape}"
            return f"the gradient of parameter {name} is not finite"
    return f"the loss is {x.item()}"


def _fault(trainer: Trainer, what: str, cause: str) -> FloatingPointError:
    step = f"at update {trainer.optimizer.t + 1}; nothing was updated with it"
    return FloatingPointError(f"{what} {step}. {cause}{HINT}")


def find_cause(trainer: Trainer, runner: ModelRunner, batch: Batch) -> str:
    """Where what is not finite comes from: the data, a parameter, or a function and its line."""
    for tree, name in zip(batch, ("x", "t", "weight")):
        leaves, structure = flatten(tree)
        for array, path in zip(map(as_array, leaves), paths(structure, name), strict=True):
            if array.dtype.kind in "fc" and not (finite := np.isfinite(array)).all():
                place = tuple(np.argwhere(~finite)[0].tolist())
                return f"The batch's {path} has {array[place].item()} at {place}. "
    for name, p in getattr(trainer.model, "named_parameters", list)():
        if not np.isfinite(p.data).all():
            return f"Parameter {name} {p.shape} was not finite before. "
    grads = [(p, p._grad) for p in trainer.optimizer.params]  # which stay for the user to look at
    trainer.optimizer.cleargrads()
    before = runner.states()
    try:
        with detect_anomaly(), np.errstate(all="ignore"):
            loss, _ = runner.run(trainer.loss_of, trainer._scale(batch))
            loss.backward()
    except FloatingPointError as error:
        return f"In it, {error}. "
    except Exception:  # whatever else happens here, it is not what is to be told
        return ""
    finally:
        bring_back(before)
        for p, g in grads:
            p._grad = g
    return ""
