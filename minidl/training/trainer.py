"""The Trainer: the loop over epochs and batches, and evaluation and prediction on the trained model.

What an update does lives in `optim`, what a batch is in `data`, what happens at the loop's events in `callbacks.py`.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.modes import current
from minidl.autograd.variable import Variable
from minidl.common import random
from minidl.common.arrays import array_of
from minidl.common.checks import count, number
from minidl.common.memory import keep_freed_memory
from minidl.common.threads import threads_for
from minidl.data.loader import DataLoader
from minidl.distributed.ranks import ranks
from minidl.files.atomic import check_suffix
from minidl.optim.optimizer import Optimizer
from minidl.training import checkpoint, faults, inputs, snapshot
from minidl.training.callbacks import Callback, Checkpoint
from minidl.training.history import History, check_row
from minidl.training.progress import progress
from minidl.training.rates import Rates, find_rates
from minidl.training.run import Means, Run, signals
from minidl.training.states import States, compiled
from minidl.training.threads import FitThreads, largest_product

DRY = 3  # batches of a fast_dev_run


class Trainer:
    """Train a model: ``fit`` is the loop, ``train_step`` its cycle, ``evaluate`` and ``predict`` use the result.

    Args:
        model: a layer, or any function of a batch that returns a Variable.
        optimizer: of the model's parameters.
        loss: ``loss(prediction, t)``, a 0-d Variable, the mean over the samples of a batch.
        metrics: functions measured beside the loss, a list (named by their ``__name__``) or a dict by name;
            ``metric(prediction, t)`` gets arrays and returns a number, the mean over the samples.
        callbacks: see ``callbacks.Callback``; one may set ``trainer.stop``.
        compile: run forward and backward through ``minidl.compile``.
        distributed: whether all processes that mpiexec started train one model (docs/scaling.md); or a communicator.

    ``history`` is the latest fit's, ``steps`` the number of its updates so far, ``interrupted`` the name of the signal
    that ended it, or None, ``dry_run`` whether it is a ``fast_dev_run``, ``ranks`` the processes (rank, size, first).

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
        self,
        model: Any,
        optimizer: Optimizer,
        loss: inputs.Metric,
        metrics: inputs.Metrics = None,
        callbacks: Iterable[Callback] = (),
        compile: bool = False,
        distributed: Any = False,
    ) -> None:
        inputs.check(model, optimizer, loss, callbacks := list(callbacks))
        self._compiling, self._model, self._loss = bool(compile), model, loss
        self._compile()
        self.optimizer, self.callbacks = optimizer, callbacks
        self._metrics = inputs.named(metrics)
        self.ranks = ranks(distributed, optimizer)
        self.stop, self._looping, self.history = False, False, History()
        self.interrupted: str | None = None
        self._settings: snapshot.Settings | None = None  # what it was made with, in the latest fit
        self.dry_run, self.run = False, None  # type: bool, Run | None
        self._requests: list[
            tuple[Path, Any]
        ] = []  # checkpoints to be written when the state is whole

    def _compile(self) -> None:
        self.compile = compiled(self._model, self._loss) if self._compiling else None

    @property
    def model(self) -> Any:
        """What is trained. Can be assigned, with an optimizer of its parameters."""
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        inputs.check_model(model)
        self._model = model
        self._compile()

    @property
    def loss(self) -> inputs.Metric:
        """The function that is made small. Can be assigned."""
        return self._loss

    @loss.setter
    def loss(self, loss: inputs.Metric) -> None:
        inputs.check_loss(loss)
        self._loss = loss
        self._compile()

    @property
    def metrics(self) -> dict[str, inputs.Metric]:
        """The metrics by name. Can be assigned, as a list too."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: inputs.Metrics) -> None:
        self._metrics = inputs.named(metrics)

    def __repr__(self) -> str:
        loss = getattr(self.loss, "__name__", repr(self.loss))
        settings = [repr(self.model), repr(self.optimizer), f"loss={loss}"]
        if self.metrics:
            settings.append(f"metrics={list(self.metrics)}")
        if self.callbacks:
            settings.append(f"callbacks={[type(callback).__name__ for callback in self.callbacks]}")
        if self._compiling:
            settings.append("compile=True")
        return f"Trainer({', '.join(settings)})"

    @property
    def steps(self) -> int:
        """The number of updates of the latest fit, those before it was resumed included."""
        return 0 if self.run is None else self.run.updates

    @property
    def writes(self) -> bool:
        """Whether this process writes files: of several only the first one, in a dry run none."""
        return self.ranks.first and not self.dry_run

    def fit(
        self,
        data: Any,
        t: Any = None,
        *,
        epochs: int,
        validation: Any = None,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        accumulate: int = 1,
        truncate: int | None = None,
        verbose: int | str = "auto",
        max_steps: int | None = None,
        max_time: float | None = None,
        fast_dev_run: bool = False,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for some epochs and return their history; call it again to train on.

        Args:
            data, t: samples and targets, along axis 0; or a DataLoader of both.
            epochs: how often to go through the data, with ``resume`` in all.
            validation: evaluated after every epoch: a pair (x, t), a DataLoader, or the fraction of ``data`` to
                hold out for it, taken from the end before any shuffling.
            batch_size, shuffle: of the data given as arrays; 32 and True if not said.
            accumulate: batches whose gradients make one update, equal to that of one batch of all their samples.
            truncate: for one-step input to a stateful model: batches, as consecutive steps in time, whose losses
                are summed and then differentiated, the graph behind them cut. The last, shorter window too.
            verbose: 0 silent, 1 a bar, 2 a line per epoch; "auto" is a bar on a terminal or notebook, else lines.
            max_steps, max_time: updates, with ``resume`` in all, and seconds of this call, after which to stop.
            fast_dev_run: try everything on three batches: one epoch, no file written, and the model afterwards as it
                was before.
            resume: a file of ``save`` or ``callbacks.Checkpoint`` to go on from; "auto" is the Checkpoint's newest
                that is whole, or a new beginning where there is none. Model, optimizer, callbacks, data and settings
                have to be made as they were; then the fit ends bit for bit where it would have without a break.

        Ctrl-C and SIGTERM end the batch in progress, write what a Checkpoint is there for, or else the file of
        ``resume``, and return the history, the broken-off epoch in its last row; a second Ctrl-C raises at once.

        Returns a History: per epoch ``loss`` and the metrics, means over all samples, measured as the model learns,
        before each update; the same on validation data as ``val_loss``..; ``lr``, the rate of the epoch's first update.
        A loss that leaves samples out (``cross_entropy`` with ``ignore_index``) still counts with all of its batch's,
        in these means, with ``accumulate`` and with several ranks; where these would differ from one batch, labels of
        -100 are warned of. While it runs, BLAS has one thread if the model is small (docs/speed.md).

        Raises ValueError or TypeError for bad arguments or data, a stateful model with shuffling or unequal batches,
        one-step input to a recurrent layer that is not stateful, a loss that is not a 0-d Variable, a checkpoint that
        is damaged or of something else; FloatingPointError for a loss or gradient that is not finite, when nothing was
        updated with it, naming the step, the parameter and the function; OSError if a checkpoint cannot be written.
        """
        drawn = random.generator().bit_generator.state
        epochs, window, states = (
            count("fit: epochs", epochs),
            count("fit: accumulate", accumulate),
            States(self.model),
        )
        max_steps = None if max_steps is None else count("fit: max_steps", max_steps)
        max_time = None if max_time is None else number("fit: max_time", max_time)
        if truncate is not None:
            if window > 1:
                raise ValueError(
                    "fit: got accumulate and truncate, wanted one of them: each says when to update"
                )
            window = count("fit: truncate", truncate)
            if not states.stateful:
                raise ValueError(
                    "fit: truncate is for a model that carries its state: give a layer stateful=True"
                )
        if isinstance(validation, float):
            data, t, validation = inputs.held_out(data, t, validation)
        loader = inputs.loader("fit", data, t, batch_size, shuffle)
        states.check(loader, "fit")
        if validation is not None:
            validation = inputs.validation_loader(validation, loader.batch_size)
            states.check(validation, "fit: validation")
        if fast_dev_run:
            epochs, max_steps, resume, loader = 1, DRY, None, copy(loader)
        if current().testing:
            warnings.warn(
                "fit: called inside test_mode(), so that layers such as Dropout act as in evaluation",
                stacklevel=2,
            )
        if window > 1 or self.ranks.size > 1:
            why = "batches make up one update" if window > 1 else "ranks share a batch"
            inputs.warn_of_ignored_samples(self.loss, loader.arrays[1], why)
        keep_freed_memory()
        self.ranks.split(loader, validation)
        shown = [
            FitThreads(loader.batch_size),
            *progress(verbose if self.ranks.first else 0, epochs, len(loader)),
        ]
        files = [c.versions() for c in self.callbacks if isinstance(c, Checkpoint)]
        found = self.ranks.share(lambda: checkpoint.find_checkpoint(resume, files, "fit: resume"))

        run = Run(
            loader,
            epochs,
            window,
            truncate is not None,
            max_steps,
            max_time,
            found[0] if found else None,
        )
        run.distributed = self.ranks.size > 1
        previous, self.run = (self.run, self._settings, self.history), run
        before: dict[str, Any] = {}
        try:
            self._settings = snapshot.Settings(self, None if found is None else self._settings)
            if found is not None:
                before = snapshot.restore(self, found[1], f"fit: resume: {found[0]}")
        except BaseException:
            self.run, self._settings, _ = previous
            raise
        self.stop, self.interrupted, self.dry_run = False, None, fast_dev_run
        self.history = History([dict(row) for row in found[1]["history"]] if found else None)
        self._looping = True
        try:
            with (
                snapshot.restoring(self, states, loader, drawn) if fast_dev_run else nullcontext(),
                signals(run),
            ):
                self._loop(run, states, shown, validation, found, before)
                self._write()  # what on_train_end asked for
                self.ranks.share(lambda: None)  # nobody goes on before the first has written
            previous = None if fast_dev_run else run, self._settings, self.history
        except snapshot.Refused:
            raise
        except BaseException:
            previous = None if fast_dev_run else run, self._settings, self.history
            raise
        finally:
            self.ranks.left()
            self._looping, self._requests, self.interrupted = False, [], run.interrupted
            self._settings.end(self)
            self.run, self._settings, self.history = previous
        return self.history

    def _loop(
        self,
        run: Run,
        states: States,
        shown: list[Callback],
        validation: DataLoader | None,
        found: tuple[Path, dict[str, Any]] | None,
        before: dict[str, Any],
    ) -> None:
        """Train epoch by epoch, from wherever the run is, and tell the callbacks."""
        callbacks, begun = [*shown, *self.callbacks], list[Callback]()
        try:
            for callback in callbacks:
                callback.trainer = self
                begun.append(callback)
                callback.on_train_begin()
            if (
                found is not None
            ):  # again, as a callback may have drawn random numbers, or changed the model
                snapshot.restore(self, found[1], f"fit: resume: {found[0]}", before)
                self.ranks.agree(self, run)
            snapshot.broadcast_state(self, states, run)
            while run.epoch < run.epochs and not self.stop:
                for callback in (
                    callbacks if run.fresh else shown
                ):  # one that goes on has begun before
                    callback.on_epoch_begin(run.epoch)
                if self.ranks.any(self.stop):
                    break
                if run.fresh:
                    run.rate = float(self.optimizer.current_lr)
                row = self._epoch(
                    run, states, callbacks, f"fit: epoch {run.epoch + 1} of {run.epochs}, "
                )
                if validation is not None and run.interrupted is None:
                    row |= {
                        f"val_{name}": value
                        for name, value in self._evaluate("evaluate", validation, run).items()
                    }
                row["lr"] = run.rate
                if run.distributed:
                    self.ranks.agree(self, run)
                if run.interrupted is not None:
                    if run.cut is None:  # it came during validation
                        self._break_off(run)
                    self.history.rows.append(row)
                    break
                self.history.rows.append(row)
                for callback in callbacks:
                    callback.on_epoch_end(run.epoch, row)
                    check_row(row, type(callback).__name__)
                if run.cut is None:
                    run.next_epoch()
                self._write()
                self.ranks.agree(self, run)
                if run.interrupted is not None:
                    self._request(run)
                    self._write()
        finally:
            for callback in begun:
                callback.on_train_end()

    def _epoch(
        self, run: Run, states: States, callbacks: Sequence[Callback], where: str
    ) -> dict[str, float]:
        """Learn from every batch left once, with an update per window of them; return the means over the samples.

        A window's loss is the sum of its batches' losses, or their mean over the samples.
        """
        if run.fresh:
            states.reset()
        batches, number, of = iter(run.loader), run.batches, len(run.loader)
        while together := list(islice(batches, run.window)):
            sizes = [run.loader.samples(number + i) for i in range(len(together))]
            samples = sum(sizes)
            total: Any = 0.0
            self.optimizer.cleargrads()
            for i, ((x, t), n) in enumerate(zip(together, sizes), 1):
                for callback in callbacks:
                    callback.on_batch_begin(number)
                here = f"{where}batch {number + 1} of {of}: "
                loss, prediction = self._forward(x, t, states, here)
                run.means.add(n, inputs.figures(self.metrics, loss, prediction.data, t))
                total = total + loss if run.summed else loss
                if i == len(together) or not run.summed:
                    states.backward(total, None if run.summed or n == samples else n / samples)
                if i == len(together):
                    faults.check_gradients(self, states, x, t, here)
                    self.ranks.update(self, run, samples)
                    run.count(i)
                logs = run.means.now()
                for callback in callbacks:
                    callback.on_batch_end(number, logs)
                number += 1
            if self.ranks.ends(self, run) and (number < of or run.interrupted is not None):
                self._break_off(run)
                break
            if self._requests:
                self._write()
        return run.means.now()

    def _break_off(self, run: Run) -> None:
        """Note, and write where it is wanted, the state within an epoch that goes on only when it is resumed."""
        history = [dict(row) for row in self.history.rows]
        run.cut = {"callbacks": snapshot.callback_states(self), "history": history}
        self._request(run)
        self._write()

    def _request(self, run: Run) -> None:
        """Let the checkpoints of a run that ends here be written, and say so if a signal ended it."""
        before = len(self._requests)
        for callback in self.callbacks:
            if isinstance(callback, Checkpoint):
                callback.request()
        if run.interrupted is not None:
            if len(self._requests) == before and run.path is not None:
                self._requests.append((run.path, None))
            saved = (
                ", ".join(str(path) for path, _ in self._requests)
                or "nothing, as there is no Checkpoint"
            )
            place = f"after {run.updates} updates, in epoch {min(run.epoch + 1, run.epochs)} of {run.epochs}"
            if self.ranks.first:
                print(f"fit: {run.interrupted}: ends {place}; saved: {saved}", file=sys.stderr)

    def save(
        self, path: str | os.PathLike[str], *, before_replace: Callable[[], None] | None = None
    ) -> None:
        """Write a checkpoint, an ``.npz`` file with all that ``fit(.., resume=path)`` needs to go on exactly.

        It holds parameters, what layers carry, their arrays and numbers, the optimizer's state and rate, the states of
        callbacks, hooks and schedules that have a ``state_dict()``, the history, the loader's order and position, and
        every random generator in the model, the loss, the metrics, the hooks and the callbacks. Called during a fit, by
        a callback, it writes when the update in progress is made and all callbacks were told; ``before_replace`` is
        called before the new file takes the old one's place.

        Raises ValueError for another suffix, OSError if it could not be written (the old file is still there),
        TypeError for a state that is more than numbers, text and arrays.
        """
        self._requests.append((check_suffix(path, "Trainer.save", ".npz"), before_replace))
        if not self._looping:
            self._write()

    def load(self, path: str | os.PathLike[str]) -> None:
        """Put back model, optimizer, generators and history from a checkpoint, to use them; ``fit`` can go on from it.

        Raises FileNotFoundError if it is not there; ValueError, with nothing changed, if it is damaged or of another
        model or optimizer.
        """
        if self._looping:
            raise RuntimeError(
                "Trainer.load: a fit is in progress; load before, or fit with resume="
            )
        file = check_suffix(path, "Trainer.load", ".npz")
        tree = checkpoint.read(file, "Trainer.load")
        run, self.run = self.run, None
        try:
            snapshot.restore(self, tree, f"Trainer.load: {path}")
        except BaseException:
            self.run = run
            raise
        self.history = History(tree["history"])

    def _write(self) -> None:
        """Write the checkpoints asked for, now that the state is whole."""
        wanted, self._requests = self._requests, []
        if wanted and self.writes:
            tree = snapshot.capture(self)
            for path, before_replace in dict(wanted).items():
                checkpoint.save(tree, path, before_replace)

    def find_lr(
        self,
        data: Any,
        t: Any = None,
        *,
        start: float = 1e-6,
        end: float = 10.0,
        steps: int = 100,
        batch_size: int | None = None,
    ) -> Rates:
        """Train with a rate that grows from ``start`` to ``end`` and note the losses; then all is as it was before.

        Returns ``Rates``: ``rates``, ``losses``, the ``suggestion``, where the smoothed loss falls steepest, and
        ``plot(path)``. It ends early when the loss is four times its least and above the first, or not finite.
        Raises as ``fit``.

        Source: L. Smith, Cyclical learning rates for training neural networks, 2017, section 3.3.
        """
        return self.ranks.share(lambda: find_rates(self, data, t, start, end, steps, batch_size))

    def train_step(self, x: Any, t: Any) -> float:
        """Learn from one batch: clear the gradients, forward, backward, update; return the loss. Raises as ``fit``.

        Carried states go on from the step before and are cut behind this one; ``model.reset_state()`` starts anew.
        """
        states = States(self.model)
        self.optimizer.cleargrads()
        loss, _ = self._forward(x, t, states, "train_step: ")
        states.backward(loss)
        faults.check_gradients(self, states, x, t, "train_step: ")
        self.ranks.update(self, None, len(x))
        return float(loss.item())

    def _forward(self, x: Any, t: Any, states: States, where: str) -> tuple[Variable, Variable]:
        """The loss of a batch, which can be learned from, and the prediction."""
        both = states.forward(x, where, self.compile and (lambda x: self.compile(x, t)))
        prediction, loss = both if self.compile else (both, None)
        if not isinstance(prediction, Variable):
            raise TypeError(
                f"{where}the model returned a {type(prediction).__name__}, wanted a Variable"
            )
        loss = self.loss(prediction, t) if loss is None else loss
        if not isinstance(loss, Variable):
            raise TypeError(
                f"{where}the loss returned a {type(loss).__name__}, wanted a 0-d Variable"
            )
        if loss.ndim:
            raise ValueError(
                f"{where}the loss has shape {loss.shape}, wanted one number: take its mean"
            )
        if not loss.requires_grad:
            why = "no parameters, all frozen, or the graph was left (detach, no_grad)"
            raise ValueError(
                f"{where}the loss does not depend on anything that requires a gradient: {why}"
            )
        if not math.isfinite(loss.item()):
            raise faults.bad_loss(self, states, loss.item(), x, t, where)
        return loss, prediction

    def evaluate(
        self, data: Any, t: Any = None, *, batch_size: int | None = None
    ) -> dict[str, float]:
        """Return the loss and the metrics on other data by name, as means over the samples.

        Nothing is learned or disturbed: layers run in test mode, batches in order, and carried states start from
        nothing and are brought back afterwards. Arguments are as for ``fit``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        return self._evaluate(
            "evaluate", inputs.loader("evaluate", data, t, batch_size, in_order=True)
        )

    def _evaluate(self, where: str, loader: DataLoader, run: Run | None = None) -> dict[str, float]:
        """The means on a loader's batches, of a run's signal or dry run only the first ones."""
        states, means = States(self.model), Means()
        with self._threads(loader.batch_size), states.evaluation(where, loader):
            for i, (x, t) in enumerate(
                islice(loader, DRY if run is not None and self.dry_run else None)
            ):
                prediction = states.forward(x, f"{where}: ")
                loss = self.loss(prediction, t)
                means.add(
                    loader.samples(i), inputs.figures(self.metrics, loss, array_of(prediction), t)
                )
                if run is not None and run.signalled is not None:
                    break
        self.ranks.total(means, run)
        return means.now()

    def _threads(self, samples: int) -> AbstractContextManager[None]:
        """One BLAS thread, if batches of so many samples make small products."""
        return threads_for(largest_product(self.model, self.optimizer, samples) or 0)

    def predict(self, x: npt.ArrayLike, *, batch_size: int = 32) -> npt.NDArray[Any]:
        """Return the model's output for every sample ``x`` along axis 0, in order, run as by ``evaluate``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        loader, states = inputs.batches("predict", x, batch_size=batch_size), States(self.model)
        with self._threads(loader.batch_size), states.evaluation("predict", loader):
            try:
                parts = [array_of(states.forward(batch, "predict: ")) for (batch,) in loader]
                if loader.arrays[0].ndim == 1 and sum(map(np.size, parts)) % loader.size:
                    raise ValueError(f"the model gave an output of shape {np.shape(parts[0])}")
            except (ValueError, TypeError) as error:
                raise type(error)(
                    f"{error}; predict took x of shape {np.shape(x)} for a batch of {loader.size} samples; of one "
                    "sample make a batch: x[None]"
                ) from error
            return np.concatenate(parts)
