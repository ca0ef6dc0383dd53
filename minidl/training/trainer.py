"""The Trainer: the loop over epochs and batches, and evaluation and prediction on the trained model.

What an update does lives in `optim`, what a batch is in `data`, what happens at the loop's events in `callbacks.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Variable
from minidl.data.loader import DataLoader
from minidl.optim.checks import count
from minidl.optim.optimizer import Optimizer
from minidl.training.callbacks import Callback
from minidl.training.history import History
from minidl.training.progress import progress
from minidl.training.states import States

Metric = Callable[[Any, Any], Any]


class Trainer:
    """Train a model: ``fit`` is the loop, ``train_step`` its cycle, ``evaluate`` and ``predict`` use the result.

    Args:
        model: a layer, or any function of a batch that returns a Variable.
        optimizer: of the model's parameters.
        loss: ``loss(prediction, t)``, a 0-d Variable, the mean over the samples of a batch.
        metrics: functions measured beside the loss, a list (named by their ``__name__``) or a dict by name;
            ``metric(prediction, t)`` gets arrays and returns a number, the mean over the samples.
        callbacks: see ``callbacks.Callback``; one may set ``trainer.stop``. ``trainer.history`` is the latest fit's.

    Raises TypeError for what cannot be called or is no callback, ValueError for a metric's name that is taken and for
    an optimizer that has none of the model's parameters.

    >>> import minidl
    >>> from minidl import functions as F, layers, optim
    >>> minidl.seed(0)
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = layers.MLP([16, 1])
    >>> trainer = Trainer(model, optim.Adam(model, lr=0.01), F.mean_squared_error)
    >>> history = trainer.fit(x, x**2, epochs=100, verbose=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0], trainer.evaluate(x, x**2)["loss"] < 0.01
    (True, True)
    >>> trainer.predict(x).shape
    (64, 1)
    """

    def __init__(
        self, model: Any, optimizer: Optimizer, loss: Metric,
        metrics: Mapping[str, Metric] | Iterable[Metric] | None = None, callbacks: Iterable[Callback] = (),
    ) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.metrics, self.callbacks = _named(metrics), list(callbacks)
        self.stop, self.history = False, History()
        for name, value, right, wanted in (
            ("model", model, callable(model), "something to call"),
            ("loss", loss, callable(loss), "something to call"),
            ("optimizer", optimizer, hasattr(optimizer, "update"), "one of minidl.optim"),
            *(("a callback", c, isinstance(c, Callback), "an instance of callbacks.Callback") for c in self.callbacks),
        ):
            if not right:
                raise TypeError(f"Trainer: {name} is a {type(value).__name__}, wanted {wanted}")
        own = model.parameters() if hasattr(model, "parameters") else []
        if own and set(own).isdisjoint(getattr(optimizer, "params", own)):
            raise ValueError("Trainer: the optimizer has none of the model's parameters; is it another model's?")

    def fit(
        self, data: Any, t: Any = None, *, epochs: int, validation: Any = None, batch_size: int | None = None,
        shuffle: bool | None = None, accumulate: int = 1, truncate: int | None = None, verbose: int | str = "auto",
    ) -> History:
        """Train for some epochs and return their history; call it again to train on.

        Args:
            data, t: samples and targets, along axis 0; or a DataLoader of both.
            epochs: how often to go through the data.
            validation: evaluated after every epoch: a pair (x, t), a DataLoader, or the fraction of ``data`` to
                hold out for it, taken from the end before any shuffling.
            batch_size, shuffle: of the data given as arrays; 32 and True if not said.
            accumulate: batches whose gradients make one update, equal to that of one batch of all their samples.
            truncate: for one-step input to a stateful model: batches, as consecutive steps in time, whose losses
                are summed and then differentiated, the graph behind them cut. The last, shorter window too.
            verbose: 0 silent, 1 a bar, 2 a line per epoch; "auto" is a bar on a terminal or notebook, else lines.

        Returns a History: per epoch ``loss`` and the metrics, means over all samples, measured as the model learns,
        before each update; the same on validation data as ``val_loss``..; ``lr``, the rate of the epoch's first update.
        A loss that leaves samples out (``cross_entropy`` with ``ignore_index``) still counts with all of its batch's,
        in these means and with ``accumulate``.

        Raises ValueError or TypeError for bad arguments or data, a stateful model with shuffling or unequal batches,
        one-step input to a recurrent layer that is not stateful, a loss that is not a 0-d Variable; FloatingPointError
        for a loss that is not finite, when nothing was updated with it.
        """
        epochs, window, states = count("fit: epochs", epochs), count("fit: accumulate", accumulate), States(self.model)
        if truncate is not None:
            if window > 1:
                raise ValueError("fit: got accumulate and truncate, wanted one of them: each says when to update")
            window = count("fit: truncate", truncate)
            if not states.stateful:
                raise ValueError("fit: truncate is for a model that carries its state: give a layer stateful=True")
        if isinstance(validation, float):
            data, t, validation = _held_out(data, t, validation)
        loader = _loader("fit", data, t, batch_size, shuffle)
        states.check(loader, "fit")
        if validation is not None:
            pair = isinstance(validation, tuple | list) and len(validation) == 2
            vx, vt = validation if pair else (validation, None)
            validation = _loader("fit: validation", vx, vt, loader.batch_size if pair else None, in_order=True)
            states.check(validation, "fit: validation")
        callbacks = [*progress(verbose, epochs, len(loader)), *self.callbacks]

        self.stop, self.history = False, History()
        begun: list[Callback] = []
        try:
            for callback in callbacks:
                callback.trainer = self
                begun.append(callback)
                callback.on_train_begin()
            for epoch in range(epochs):
                for callback in callbacks:
                    callback.on_epoch_begin(epoch)
                if self.stop:
                    break
                rate = float(self.optimizer.current_lr)
                where = f"fit: epoch {epoch + 1} of {epochs}, "
                row = self._epoch(loader, states, window, truncate is not None, callbacks, where)
                if validation is not None:
                    row |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
                row["lr"] = rate
                self.history.rows.append(row)
                for callback in callbacks:
                    callback.on_epoch_end(epoch, row)
                if self.stop:
                    break
        finally:
            for callback in begun:
                callback.on_train_end()
        return self.history

    def _epoch(
        self, loader: DataLoader, states: States, window: int, summed: bool, callbacks: Sequence[Callback], where: str
    ) -> dict[str, float]:
        """Learn from every batch once, with an update per window of batches; return the means over the samples.

        A window's loss is the sum of its batches' losses, or their mean over the samples.
        """
        batches, number, means = iter(loader), 0, Means()
        states.reset()
        while together := list(islice(batches, window)):
            samples = sum(len(x) for x, _ in together)
            total: Any = 0.0
            self.optimizer.cleargrads()
            for i, (x, t) in enumerate(together, 1):
                for callback in callbacks:
                    callback.on_batch_begin(number)
                loss, prediction = self._forward(x, t, states, f"{where}batch {number + 1} of {len(loader)}: ")
                logs = means.add(len(x), self._figures(loss, prediction.data, t))
                total = total + loss if summed else loss
                if i == len(together) or not summed:
                    states.backward(total, None if summed or len(x) == samples else len(x) / samples)
                if i == len(together):
                    self.optimizer.update()
                for callback in callbacks:
                    callback.on_batch_end(number, logs)
                number += 1
            if self.stop:
                break
        return logs

    def train_step(self, x: Any, t: Any) -> float:
        """Learn from one batch: clear the gradients, forward, backward, update; return the loss. Raises as ``fit``.

        Carried states go on from the step before and are cut behind this one; ``model.reset_state()`` starts anew.
        """
        states = States(self.model)
        self.optimizer.cleargrads()
        loss, _ = self._forward(x, t, states, "train_step: ")
        states.backward(loss)
        self.optimizer.update()
        return float(loss.item())

    def _forward(self, x: Any, t: Any, states: States, where: str) -> tuple[Variable, Variable]:
        """The loss of a batch, which can be learned from, and the prediction."""
        prediction = states.forward(x, where)
        if not isinstance(prediction, Variable):
            raise TypeError(f"{where}the model returned a {type(prediction).__name__}, wanted a Variable")
        loss = self.loss(prediction, t)
        if not isinstance(loss, Variable):
            raise TypeError(f"{where}the loss returned a {type(loss).__name__}, wanted a 0-d Variable")
        if loss.ndim:
            raise ValueError(f"{where}the loss has shape {loss.shape}, wanted one number: take its mean")
        if not loss.requires_grad:
            why = "no parameters, all frozen, or the graph was left (detach, no_grad)"
            raise ValueError(f"{where}the loss does not depend on anything that requires a gradient: {why}")
        if not math.isfinite(loss.item()):
            hint = "a smaller rate, ClipGrad, scaled inputs; minidl.detect_anomaly() finds the function that gave it"
            raise FloatingPointError(f"{where}the loss is {loss.item()}; nothing was updated with it. Try {hint}")
        return loss, prediction

    def _figures(self, loss: Any, prediction: Any, t: Any) -> dict[str, float]:
        """The loss and the metrics of a batch, by name."""
        figures = {"loss": loss} | {name: metric(prediction, t) for name, metric in self.metrics.items()}
        for name, value in figures.items():
            if np.ndim(value):
                raise ValueError(f"{name} has shape {np.shape(value)}, wanted one number: take its mean")
        return {name: float(value) for name, value in figures.items()}

    def evaluate(self, data: Any, t: Any = None, *, batch_size: int | None = None) -> dict[str, float]:
        """Return the loss and the metrics on other data by name, as means over the samples.

        Nothing is learned or disturbed: layers run in test mode, batches in order, and carried states start from
        nothing and are brought back afterwards. Arguments are as for ``fit``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        loader, states, means = _loader("evaluate", data, t, batch_size, in_order=True), States(self.model), Means()
        with states.evaluation("evaluate", loader):
            for x, target in loader:
                prediction = states.forward(x, "evaluate: ")
                figures = self._figures(self.loss(prediction, target), np.asarray(prediction), target)
                result = means.add(len(x), figures)
        return result

    def predict(self, x: npt.ArrayLike, *, batch_size: int = 32) -> npt.NDArray[Any]:
        """Return the model's output for every sample ``x`` along axis 0, in order, run as by ``evaluate``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        loader, states = _batches("predict", x, batch_size=batch_size), States(self.model)
        with states.evaluation("predict", loader):
            return np.concatenate([np.asarray(states.forward(batch, "predict: ")) for (batch,) in loader])


class Means:
    """Means over all samples so far of figures that are means over a batch each."""

    def __init__(self) -> None:
        self.samples, self.sums = 0, {}  # type: int, dict[str, float]

    def add(self, samples: int, figures: dict[str, float]) -> dict[str, float]:
        """Add the figures of a batch of so many samples; return the means by name."""
        self.samples += samples
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + samples * value
        return {name: total / self.samples for name, total in self.sums.items()}


def _named(metrics: Mapping[str, Metric] | Iterable[Metric] | None) -> dict[str, Metric]:
    """The metrics by name."""
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        metrics = [metrics] if callable(metrics) else metrics
        pairs = [(getattr(metric, "__name__", ""), metric) for metric in metrics or ()]
    for i, (name, metric) in enumerate(pairs):
        if not callable(metric):
            raise TypeError(f"Trainer: the metric {metric!r} cannot be called")
        if name in ("", "loss", "lr", *(other for other, _ in pairs[:i])) or name.startswith("val_"):
            raise ValueError(f"Trainer: a metric cannot be called {name!r}, empty or taken; give a dict of names")
    return dict(pairs)


def _loader(
    where: str, data: Any, t: Any, batch_size: int | None, shuffle: bool | None = None, in_order: bool = False
) -> DataLoader:
    """The loader, or a copy that does not shuffle, or one of the arrays."""
    if not isinstance(data, DataLoader):
        if t is None:
            raise TypeError(f"{where}: got x without t: a {type(data).__name__}, wanted a pair x, t or a DataLoader")
        return _batches(where, data, t, batch_size=batch_size, shuffle=not in_order if shuffle is None else shuffle)
    given = (("t", t), ("batch_size", batch_size), ("shuffle", shuffle))
    if extra := [name for name, value in given if value is not None]:
        raise ValueError(f"{where}: got a DataLoader and {', '.join(extra)}; the loader has its own")
    if len(data.arrays) != 2:
        raise ValueError(f"{where}: got a DataLoader of {len(data.arrays)} arrays, wanted two: DataLoader(x, t)")
    loader = copy(data) if in_order else data  # so that the original's orders to come stay as they are
    loader.shuffle &= not in_order
    return loader


def _batches(where: str, *arrays: Any, batch_size: int | None = None, shuffle: bool = False) -> DataLoader:
    """A DataLoader of the arrays, whose complaints come from where it was asked for."""
    try:
        return DataLoader(*arrays, batch_size=32 if batch_size is None else batch_size, shuffle=shuffle)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {str(error).removeprefix('DataLoader: ')}") from error


def _held_out(data: Any, t: Any, fraction: float) -> tuple[Any, Any, tuple[Any, Any]]:
    """Training samples, their targets, and the last fraction of both as a pair."""
    if isinstance(data, DataLoader):
        raise ValueError("fit: a fraction as validation needs data as arrays; give a pair or a DataLoader instead")
    x, t = _loader("fit", data, t, None, in_order=True).arrays
    if not 0 < fraction < 1 or round(len(x) * fraction) in (0, len(x)):
        raise ValueError(f"fit: got validation={fraction!r} of {len(x)} samples, wanted a part with neither part empty")
    kept = len(x) - round(len(x) * fraction)
    return x[:kept], t[:kept], (x[kept:], t[kept:])
