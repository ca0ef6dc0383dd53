"""What Trainer is given, checked and brought into one form: metrics by name, data as a DataLoader.

What is done with it is in `trainer.py`; what a batch is, in `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from minidl.autograd.variable import Variable
from minidl.common.arrays import array_of, host
from minidl.common.callers import warn_user
from minidl.data.loader import DataLoader
from minidl.functions.classification import cross_entropy
from minidl.training.callbacks import Callback

IGNORED = -100  # what cross_entropy ignores unless it is told another label

Metric = Callable[[Any, Any], Any]
Metrics: TypeAlias = Mapping[str, Metric] | Iterable[Metric] | None


def name_metrics(metrics: Metrics) -> dict[str, Metric]:
    """The metrics by name."""
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        metrics = [metrics] if callable(metrics) else metrics
        pairs = [(getattr(metric, "__name__", ""), metric) for metric in metrics or ()]
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


def check_parts(model: Any, optimizer: Any, loss: Any, callbacks: list[Any]) -> None:
    """Raise TypeError or ValueError for what a Trainer cannot be made of."""
    check_model(model)
    if isinstance(optimizer, type):
        raise _type_error("optimizer", optimizer, f"an instance, as {optimizer.__name__}(model)")
    if not hasattr(optimizer, "update"):
        raise _type_error("optimizer", optimizer, "one of minidl.optim, as optim.Adam(model)")
    check_loss(loss)
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


def check_model(model: Any) -> None:
    """Raise TypeError for what is no model."""
    if isinstance(model, type):
        raise _type_error("model", model, f"an instance, as {model.__name__}(..)")
    if isinstance(model, list | tuple):
        raise _type_error("model", model, "a layer or function: layers.Sequential(..) of these")
    if not callable(model):
        raise _type_error("model", model, "a layer, or a function of a batch")


def check_prediction(prediction: Any) -> None:
    """Raise TypeError for what a model should not return."""
    if not isinstance(prediction, Variable):
        raise TypeError(f"the model returned a {type(prediction).__name__}, want a Variable")


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


def explain_batch(error: Exception, loader: DataLoader) -> None:
    """Add to the error of a prediction what it took for a batch."""
    shape = loader.arrays[0].shape
    error.args = (
        f"{error}; predict took x of shape {shape} for a batch of {loader.size} samples; of one "
        "sample make a batch: x[None]",
    )


def check_loss(loss: Any) -> None:
    """Raise TypeError for what is no loss."""
    if isinstance(loss, type) or not callable(loss):
        raise _type_error("loss", loss, "a function of prediction and t, as F.mean_squared_error")


def _type_error(name: str, value: Any, wanted: str) -> TypeError:
    if isinstance(value, type):
        got = f"the class {value.__name__}"
    else:
        got = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
    return TypeError(f"Trainer: {name}: want {wanted}, got {got}")


def warn_of_ignored_samples(loss: Any, t: Any, why: str) -> None:
    """Warn if ``cross_entropy`` ignores some of these labels, where means are put together."""
    if loss is cross_entropy and np.any(np.asarray(host(t)) == IGNORED):
        warn_user(
            f"fit: some labels are {IGNORED}, which cross_entropy ignores, but {why}: each part "
            "counts with all of its samples, so the result differs from that of one batch; leave "
            "such samples out of the data",
        )


def measure_batch(
    metrics: Mapping[str, Metric], loss: Any, prediction: Any, t: Any
) -> dict[str, float]:
    """The loss and the metrics of a batch, by name."""
    numbers = {"loss": to_float("loss", loss)}
    for name, metric in metrics.items():
        numbers[name] = to_float(name, metric(prediction, t))
    return numbers


def to_float(name: str, value: Any) -> float:
    """What a loss or metric gave, as a float."""
    value = array_of(value)
    if np.ndim(value):
        raise ValueError(f"{name}: want one number, got shape {np.shape(value)}: take its mean")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: want a number, got {value!r}") from error


def as_loader(
    where: str,
    data: Any,
    t: Any,
    batch_size: int | None,
    shuffle: bool | None = None,
    in_order: bool = False,
) -> DataLoader:
    """The loader, or a copy that does not shuffle, or one of the arrays."""
    if not isinstance(data, DataLoader):
        if t is None:
            raise TypeError(
                f"{where}: want a pair x, t or a DataLoader, got x without t: "
                f"a {type(data).__name__}"
            )
        return make_loader(
            where,
            data,
            t,
            batch_size=batch_size,
            shuffle=not in_order if shuffle is None else shuffle,
        )
    settings = {"t": t, "batch_size": batch_size, "shuffle": shuffle}
    if extra := [name for name, value in settings.items() if value is not None]:
        raise ValueError(
            f"{where}: got a DataLoader and {', '.join(extra)}; the loader has its own"
        )
    if len(data.arrays) != 2:
        raise ValueError(
            f"{where}: want a DataLoader of two arrays, DataLoader(x, t), "
            f"got one of {len(data.arrays)}"
        )
    return data.in_order() if in_order else data


def make_loader(
    where: str, *arrays: Any, batch_size: int | None = None, shuffle: bool = False
) -> DataLoader:
    """A DataLoader of the arrays, whose complaints come from where it was asked for."""
    try:
        return DataLoader(
            *arrays, batch_size=32 if batch_size is None else batch_size, shuffle=shuffle
        )
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {str(error).removeprefix('DataLoader: ')}") from error


def fit_loaders(
    data: Any, t: Any, batch_size: int | None, shuffle: bool | None, validation: Any
) -> tuple[DataLoader, DataLoader | None]:
    """The loaders of the data to fit, and of those to validate with if there are any."""
    if isinstance(validation, float):
        data, t, validation = split_off_validation(data, t, validation)
    own = as_loader("fit", data, t, batch_size, shuffle)
    if validation is None:
        return own, None
    return own, as_validation_loader(validation, own.batch_size)


def split_off_validation(data: Any, t: Any, fraction: float) -> tuple[Any, Any, tuple[Any, Any]]:
    """Training samples, their targets, and the last fraction of both as a pair."""
    if isinstance(data, DataLoader):
        raise ValueError(
            "fit: a fraction as validation needs data as arrays; give a pair or a DataLoader"
        )
    x, t = as_loader("fit", data, t, None, in_order=True).arrays
    if not 0 < fraction < 1 or round(len(x) * fraction) in (0, len(x)):
        raise ValueError(
            "fit: validation: want a fraction that leaves both parts samples, "
            f"got {fraction!r} of {len(x)}"
        )
    first = len(x) - round(len(x) * fraction)
    return x[:first], t[:first], (x[first:], t[first:])


def as_validation_loader(data: Any, batch_size: int) -> DataLoader:
    """Validation data, a pair or a DataLoader, as a loader in order."""
    pair = isinstance(data, tuple | list) and len(data) == 2
    x, t = data if pair else (data, None)
    return as_loader("fit: validation", x, t, batch_size if pair else None, in_order=True)
