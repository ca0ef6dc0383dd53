"""The Trainer: the loop over epochs and batches, and evaluation and prediction on the trained model.

What an update does lives in `optim`, what a batch is in `data`, what happens at the loop's events in `callbacks.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl.autograd.modes import no_grad, test_mode
from minidl.autograd.variable import Variable
from minidl.data.loader import DataLoader
from minidl.optim.checks import count
from minidl.optim.optimizer import Optimizer
from minidl.training.callbacks import Callback
from minidl.training.history import History
from minidl.training.progress import progress
from minidl.training.samples import Means, Metric, as_loader, as_validation, held_out, in_order, named
from minidl.training.states import States

Array = npt.NDArray[Any]
Data: TypeAlias = "npt.ArrayLike | DataLoader"
Target: TypeAlias = "npt.ArrayLike | None"


class Trainer:
    """Train a model: ``fit`` is the loop, ``train_step`` its cycle, ``evaluate`` and ``predict`` use the result.

    Args:
        model: a layer, or any function of a batch that returns a Variable.
        optimizer: of the model's parameters.
        loss: ``loss(prediction, t)``, a 0-d Variable, the mean over the samples of a batch.
        metrics: functions measured beside the loss, a list (named by their ``__name__``) or a dict by name;
            ``metric(prediction, t)`` gets arrays and returns a number, the mean over the samples.
        callbacks: see ``callbacks.Callback``.

    Attributes:
        stop: set it, from a callback, to end the fit after the update in progress.
        history: of the latest fit.

    Raises:
        TypeError: model, loss or a metric cannot be called, or a callback is none.
        ValueError: a metric's name is taken.

    >>> import minidl
    >>> from minidl import functions as F, layers, optim
    >>> minidl.seed(0)
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = layers.MLP([16, 1])
    >>> trainer = Trainer(model, optim.Adam(model, lr=0.01), F.mean_squared_error)
    >>> history = trainer.fit(x, x**2, epochs=100, verbose=0)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    >>> trainer.predict(x).shape
    (64, 1)
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        loss: Metric,
        metrics: Mapping[str, Metric] | Iterable[Metric] | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        for name, value in (("model", model), ("loss", loss)):
            if not callable(value):
                raise TypeError(f"Trainer: {name} is a {type(value).__name__}, wanted something to call")
        if not hasattr(optimizer, "update"):
            raise TypeError(f"Trainer: optimizer is a {type(optimizer).__name__}, wanted one of minidl.optim")
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.metrics = named(metrics)
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"Trainer: got the callback {callback!r}, wanted an instance of callbacks.Callback")
        self.stop = False
        self.history = History()

    # ---- training ------------------------------------------------------------------------------------

    def fit(
        self,
        data: Data,
        t: Target = None,
        *,
        epochs: int,
        validation: tuple[npt.ArrayLike, npt.ArrayLike] | DataLoader | float | None = None,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        accumulate: int = 1,
        truncate: int | None = None,
        verbose: int | str = "auto",
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

        Returns:
            A History: per epoch ``loss`` and the metrics, weighted by samples, measured as the model learns, before
            each batch's update; ``lr``, the rate of the epoch's first update; the same on
            validation data as ``val_loss``...

        Raises:
            ValueError, TypeError: bad arguments or data, a stateful model with shuffling or unequal batches,
                one-step input to a recurrent layer that is not stateful, a loss that is not a 0-d Variable.
            FloatingPointError: the loss is not finite; nothing was updated with it.
        """
        epochs, accumulate = count("fit: epochs", epochs), count("fit: accumulate", accumulate)
        states = States(self.model)
        if truncate is not None:
            truncate = count("fit: truncate", truncate)
            if accumulate > 1:
                raise ValueError("fit: got accumulate and truncate, wanted one of them: each says when to update")
            if not states.carried:
                raise ValueError("fit: truncate is for a model that carries its state: give a layer stateful=True")
        if isinstance(validation, float):
            data, t, validation = held_out(data, t, validation)
        loader = as_loader("fit", data, t, batch_size, shuffle, unsaid=True)
        states.check_data(loader, "fit")
        if validation is not None:
            validation = as_validation("fit: validation", validation, loader.batch_size)
            states.check_data(validation, "fit: validation")
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
                row = self._epoch(loader, states, accumulate, truncate, callbacks, where)
                row["lr"] = rate
                if validation is not None:
                    row |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
                self.history.rows.append(row)
                for callback in callbacks:
                    callback.on_epoch_end(epoch, row)
                if self.stop:
                    break
        finally:
            for callback in begun:
                callback.on_train_end()
        return self.history

    def train_step(self, x: Any, t: Any) -> float:
        """Learn from one batch: clear the gradients, forward, backward, update; return the loss.

        Carried states go on from the step before and are cut behind this one; ``model.reset_state()`` starts anew.

        Raises:
            ValueError, TypeError, FloatingPointError: as ``fit``.
        """
        states = States(self.model)
        self.optimizer.cleargrads()
        loss, value, _ = self._forward(x, t, states, "train_step: ")
        _backward(loss, states)
        self.optimizer.update()
        return value

    def _epoch(
        self,
        loader: DataLoader,
        states: States,
        accumulate: int,
        truncate: int | None,
        callbacks: Sequence[Callback],
        where: str,
    ) -> dict[str, float]:
        """Learn from every batch once; return the means over the samples."""
        means, number, batches = Means(), 0, iter(loader)
        states.start()
        while window := list(islice(batches, truncate or accumulate)):  # the batches of one update
            samples = sum(len(x) for x, _ in window)
            summed: Any = None
            self.optimizer.cleargrads()
            for i, (x, t) in enumerate(window, 1):
                for callback in callbacks:
                    callback.on_batch_begin(number)
                loss, value, prediction = self._forward(x, t, states, f"{where}batch {number + 1} of {len(loader)}: ")
                means.add(len(x), self._figures(value, prediction.data, t))
                if truncate is None:
                    _backward(loss, states, None if len(window) == 1 else len(x) / samples)
                else:
                    summed = loss if summed is None else summed + loss
                if i == len(window):
                    if truncate is not None:
                        _backward(summed, states)
                    self.optimizer.update()
                logs = means.result()
                for callback in callbacks:
                    callback.on_batch_end(number, logs)
                number += 1
            if self.stop:
                break
        return means.result()

    def _forward(self, x: Any, t: Any, states: States, where: str) -> tuple[Variable, float, Variable]:
        """The loss of a batch, as a Variable and as a finite number, and the prediction."""
        states.start_batch()
        prediction = self.model(x)
        if not isinstance(prediction, Variable):
            raise TypeError(f"{where}the model returned a {type(prediction).__name__}, wanted a Variable")
        states.check_batch(x, where)
        loss = self.loss(prediction, t)
        if not isinstance(loss, Variable):
            raise TypeError(f"{where}the loss returned a {type(loss).__name__}, wanted a 0-d Variable")
        if loss.ndim:
            raise ValueError(f"{where}the loss has shape {loss.shape}, wanted one number: take its mean")
        if not loss.requires_grad:
            raise ValueError(
                f"{where}the loss does not depend on anything that requires a gradient: the model has no "
                "parameters, all are frozen, or the graph was left (detach, no_grad)"
            )
        value = float(loss.item())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{where}the loss is {value}; nothing was updated with it. A smaller rate, optim.hooks.ClipGrad or "
                "scaled inputs may help; minidl.detect_anomaly() finds the function that gave it"
            )
        return loss, value, prediction

    def _figures(self, loss: Any, prediction: Array, t: Any) -> dict[str, float]:
        """The loss and the metrics of a batch, by name."""
        figures = {"loss": loss} | {name: metric(prediction, t) for name, metric in self.metrics.items()}
        for name, value in figures.items():
            if np.ndim(value):
                raise ValueError(f"{name} has shape {np.shape(value)}, wanted one number: take its mean")
            figures[name] = float(value)
        return figures

    # ---- using the model -----------------------------------------------------------------------------

    def evaluate(self, data: Data, t: Target = None, *, batch_size: int | None = None) -> dict[str, float]:
        """Return the loss and the metrics on other data, as means over the samples.

        Nothing is learned or disturbed: layers run in test mode, batches in order, and carried states start from
        nothing and are brought back afterwards.

        Args:
            data, t: samples and targets along axis 0, or a DataLoader of both, whose shuffling is left out.
            batch_size: of arrays; 32 if not said.

        Returns:
            ``{"loss": .., metric: ..}``.

        Raises:
            ValueError, TypeError: bad data, or unequal batches for a stateful model.

        >>> from minidl import functions as F, layers, optim
        >>> model = layers.Linear(2, 1)
        >>> trainer = Trainer(model, optim.SGD(model, lr=0.1), F.mean_squared_error)
        >>> trainer.evaluate(np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32))
        {'loss': 0.0}
        """
        loader = in_order(as_loader("evaluate", data, t, batch_size))
        means = Means()
        with self._evaluation("evaluate", loader) as model:
            for x, target in loader:
                prediction = model(x)
                loss = self.loss(prediction, target)
                means.add(len(x), self._figures(loss, np.asarray(prediction), target))
        return means.result()

    def predict(self, x: npt.ArrayLike, *, batch_size: int = 32) -> Array:
        """Return the model's output for every sample, in order, run as by ``evaluate``.

        Args:
            x: samples, along axis 0.
            batch_size: how many at once.

        Raises:
            ValueError, TypeError: bad data, or unequal batches for a stateful model.

        >>> from minidl import functions as F, layers, optim
        >>> model = layers.Linear(2, 1)
        >>> Trainer(model, optim.SGD(model, lr=0.1), F.mean_squared_error).predict(np.zeros((3, 2), np.float32))
        array([[0.],
               [0.],
               [0.]], dtype=float32)
        """
        if np.shape(x)[:1] == (0,):
            raise ValueError(f"predict: got no samples: x has shape {np.shape(x)}")
        loader = DataLoader(x, batch_size=batch_size, shuffle=False)
        with self._evaluation("predict", loader) as model:
            return np.concatenate([np.asarray(model(batch)) for (batch,) in loader])

    @contextmanager
    def _evaluation(self, name: str, loader: DataLoader) -> Iterator[Callable[[Array], Any]]:
        """Enter the modes and states of an evaluation, for the model as it is to be called there."""
        states = States(self.model)
        states.check_data(loader, name)

        def model(x: Array) -> Any:
            states.start_batch()
            prediction = self.model(x)
            states.check_batch(x, f"{name}: ")
            return prediction

        with no_grad(), test_mode(), states.apart():
            yield model


def _backward(loss: Variable, states: States, share: float | None = None) -> None:
    """Add the gradients of the loss, or of a share of it, and let go of its graph, behind carried states too."""
    loss.backward(share, retain_graph=states.carried)
    if states.carried:
        loss.unchain_backward()
