"""Checks of what a Trainer is made of, and of what its model, loss and metrics give.

Checks of data are in `batches.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import array_of, host
from minidl.common.callers import warn_user
from minidl.data.loader import DataLoader
from minidl.functions.classification import cross_entropy
from minidl.training.batches import Batches
from minidl.training.callbacks import Callback

IGNORED = -100  # what cross_entropy ignores unless it is told another label

Metric = Callable[..., Any]
Metrics: TypeAlias = Mapping[str, Metric] | Iterable[Metric] | None


def name_metrics(metrics: Metrics) -> dict[str, Metric]:
    """The metrics by name."""
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        metrics = [metrics] if callable(metrics) else as_list("metrics", metrics, "functions")
        pairs = [(getattr(metric, "__name__", ""), metric) for metric in metrics]
    for i, (name, metric) in enumerate(pairs):
        if not callable(metric) or isinstance(metric, type):
            raise _type_error("metrics", metric, "functions of prediction and t")
        if name in ("", "loss", "lr", *(other for other, _ in pairs[:i])) or name.startswith(
            "val_"
        ):
            raise ValueError(
                f"Trainer: a metric cannot be called {name!r}, empty or taken; give a dict of names"
            )
    return dict(pairs)


def as_list(name: str, values: Any, of: str) -> list[Any]:
    """What was given as several, None for none; TypeError for what cannot be gone through."""
    if values is not None and not isinstance(values, list | tuple | set | dict | Iterator):
        raise _type_error(name, values, f"{of}, in a list")
    return list(values or ())


def check_backend(compile: Any) -> str | None:
    """What a cycle is compiled to, "numpy" or "c"; None if it is not."""
    if isinstance(compile, str) and compile == "c":
        return compile
    if not isinstance(compile, bool | np.bool_):
        raise TypeError(f'Trainer: compile: want True, False or "c", got {compile!r}')
    return "numpy" if compile else None


def check_optimizer(optimizer: Any) -> Any:
    """The optimizer; TypeError for what is none."""
    if isinstance(optimizer, type):
        raise _type_error("optimizer", optimizer, f"an instance, as {optimizer.__name__}(model)")
    if not (hasattr(optimizer, "update") and hasattr(optimizer, "cleargrads")):
        raise _type_error("optimizer", optimizer, "one of minidl.optim, as optim.Adam(model)")
    return optimizer


def check_parts(model: Any, optimizer: Any, callbacks: list[Any]) -> None:
    """Raise TypeError or ValueError for what a Trainer cannot be made of."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise _type_error("callbacks", callback, "instances of callbacks.Callback")
        _warn_of_unknown_events(callback)
    own = model.parameters() if hasattr(model, "parameters") else []
    if own and set(own).isdisjoint(getattr(optimizer, "params", own)):
        raise ValueError(
            "Trainer: the optimizer has none of the model's parameters; is it another model's?"
        )


def _warn_of_unknown_events(callback: Callback) -> None:
    """Warn of methods such as Keras's on_train_batch_end, which nobody would call."""
    events = [name for name in dir(Callback) if name.startswith("on_")]
    for name in dir(callback):
        if name.startswith("on_") and name not in events:
            kind = type(callback).__name__
            warn_user(f"Trainer: {kind}.{name} is no event of a fit, which are {', '.join(events)}")


def check_model(model: Any) -> Any:
    """The model; TypeError for what is none."""
    if isinstance(model, type):
        raise _type_error("model", model, f"an instance, as {model.__name__}(..)")
    if isinstance(model, list | tuple):
        raise _type_error("model", model, "a layer or function: layers.Sequential(..) of these")
    if not callable(model):
        raise _type_error("model", model, "a layer, or a function of a batch")
    return model


def check_loss_value(loss: Any) -> None:
    """Raise TypeError or ValueError for what cannot be learned from."""
    if not isinstance(loss, Variable):
        raise TypeError(f"the loss returned a {type(loss).__name__}, want a 0-d Variable")
    if loss.ndim:
        raise ValueError(f"the loss has shape {loss.shape}, want one number: take its mean")
    if not loss.requires_grad:
        raise ValueError(
            "the loss does not depend on anything that requires a gradient: no parameters, all "
            "frozen, or the graph was left (detach, no_grad)"
        )


def check_loss(loss: Any) -> Any:
    """The loss; TypeError for what is none."""
    if isinstance(loss, type) or not callable(loss):
        raise _type_error("loss", loss, "a function of prediction and t, as F.mean_squared_error")
    return loss


OF_PARTS = {
    "model": check_model,
    "loss": check_loss,
    "metrics": name_metrics,
    "optimizer": check_optimizer,
}


def _type_error(name: str, value: Any, wanted: str) -> TypeError:
    if isinstance(value, type):
        got = f"the class {value.__name__}"
    else:
        got = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
    return TypeError(f"Trainer: {name}: want {wanted}, got {got}")


def warn_of_ignored_samples(loss: Any, data: Batches, why: str) -> None:
    """Warn if ``cross_entropy`` ignores some labels, where means are put together."""
    if loss is not cross_entropy or not isinstance(data.source, DataLoader):
        return
    if np.any(np.asarray(host(data.source.arrays[1])) == IGNORED):
        warn_user(
            f"fit: some labels are {IGNORED}, which cross_entropy ignores, but {why}: each part "
            "counts with all of its samples, so the result differs from that of one batch; leave "
            "such samples out of the data",
        )


def weighs(metric: Metric) -> bool:
    """Whether a metric has an argument ``weight``."""
    try:
        return "weight" in inspect.signature(metric).parameters
    except (TypeError, ValueError):  # some built-in functions do not say
        return False


def to_float(name: str, value: Any) -> float:
    """What a loss or metric gave, as a float."""
    value = array_of(value)
    if np.ndim(value):
        raise ValueError(f"{name}: want one number, got shape {np.shape(value)}: take its mean")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: want a number, got {value!r}") from error
