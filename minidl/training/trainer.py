"""The Trainer: what a fit is given, checked; one step; evaluation and prediction.

The loop is in `loop.py`, what an update does in `optim`, what a batch is in `data`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.modes import current
from minidl.autograd.variable import Variable
from minidl.common import random
from minidl.common.arrays import array_of
from minidl.common.callers import warn_user
from minidl.common.checks import count, number
from minidl.common.hints import refuse_unexpected
from minidl.common.threads import threads_for
from minidl.data.loader import DataLoader
from minidl.optim.optimizer import Optimizer
from minidl.training import faults, inputs
from minidl.training.callbacks import Callback
from minidl.training.history import History
from minidl.training.loop import FitLoop
from minidl.training.lr_finder import LRCurve, find_lr
from minidl.training.processes import processes
from minidl.training.progress import progress_callbacks
from minidl.training.run import Run, RunningMeans, signals
from minidl.training.runner import ModelRunner
from minidl.training.threads import FitThreads, largest_product

if TYPE_CHECKING:
    from minidl.checkpoints.file import Loaded
    from minidl.checkpoints.snapshot import Start

DRY_RUN = 3  # batches of a fast_dev_run


class Trainer:
    """Train a model: ``fit`` is the loop, ``train_step`` its cycle.

    ``evaluate`` and ``predict`` use the result.

    Args:
        model: a layer, or any function of a batch that returns a Variable.
        optimizer: of the model's parameters.
        loss: ``loss(prediction, t)``, a 0-d Variable, the mean over the samples of a batch.
        metrics: functions measured beside the loss, a list (named by their ``__name__``) or a dict
            by name; ``metric(prediction, t)`` gets arrays and returns a number, the mean over the
            samples.
        callbacks: see ``callbacks.Callback``; one may set ``trainer.stop``.
        compile: run forward and backward through ``minidl.compile``.
        distributed: whether all processes that mpiexec started train one model (docs/scaling.md);
            or a communicator.

    ``history`` is the latest fit's, ``steps`` the number of its updates so far, ``interrupted`` the
    name of the signal that ended it, or None, ``dry_run`` whether it is a ``fast_dev_run``,
    ``ranks`` the processes (rank, size, first).

    Raises TypeError for what cannot be called or is no callback, ValueError for a metric's name
    that is taken and for an optimizer that has none of the model's parameters.

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

    @refuse_unexpected
    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        loss: inputs.Metric,
        metrics: inputs.Metrics = None,
        callbacks: Callback | Iterable[Callback] = (),
        compile: bool = False,
        distributed: Any = False,
    ) -> None:
        callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        inputs.check_parts(model, optimizer, loss, callbacks)
        self._model = model
        self._loss = loss
        self._metrics = inputs.name_metrics(metrics)
        self._compiling = bool(compile)
        self._compile()
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.ranks = processes(distributed, optimizer)
        self.stop = self.dry_run = self._looping = False
        self.history = History()
        self.run: Run | None = None
        self.interrupted: str | None = None
        self._start: Start | None = None  # what it was made with, in the latest fit
        self.requests: list[tuple[Path, Any]] = []  # files to be written when the state is whole

    def _compile(self) -> None:
        """Make the program of prediction and loss; the prediction is for metrics only."""
        self.compile: Any = None
        if self._compiling:
            from minidl.compiler import compile

            model = self._model
            loss = self._loss

            def both(x: Any, t: Any) -> Any:
                y = model(x)
                return y.detach() if isinstance(y, Variable) else y, loss(y, t)

            self.compile = compile(both)

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
        self._metrics = inputs.name_metrics(metrics)

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

    @refuse_unexpected
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
            validation: evaluated after every epoch: a pair (x, t), a DataLoader, or the fraction of
                ``data`` to hold out for it, taken from the end before any shuffling.
            batch_size, shuffle: of the data given as arrays; 32 and True if not said.
            accumulate: batches whose gradients make one update, equal to that of one batch of all
                their samples.
            truncate: for one-step input to a stateful model: batches, as consecutive steps in time,
                whose losses are summed and then differentiated, the graph behind them cut. The
                last, shorter window too.
            verbose: 0 silent, 1 a bar, 2 a line per epoch; "auto" is a bar on a terminal or
                notebook, else lines.
            max_steps, max_time: updates, with ``resume`` in all, and seconds of this call, after
                which to stop.
            fast_dev_run: try everything on three batches: one epoch, no file written, and the model
                afterwards as it was before.
            resume: a file of ``save`` or ``callbacks.Checkpoint`` to go on from; "auto" is the
                Checkpoint's newest that is whole, or a new beginning where there is none. Model,
                optimizer, callbacks, data and settings have to be made as they were; then the fit
                ends bit for bit where it would have without a break. Other settings are named in a
                warning, or refused where going on makes no sense.

        Ctrl-C and SIGTERM end the batch in progress, write the checkpoints of callbacks.Checkpoint,
        or else the file of ``resume``, and return the history, the broken-off epoch in its last
        row; a second Ctrl-C raises at once.

        Returns a History: per epoch ``loss`` and the metrics, means over all samples, measured as
        the model learns, before each update; the same on validation data as ``val_loss``..; ``lr``,
        the rate of the epoch's first update. A loss that leaves samples out (``cross_entropy`` with
        ``ignore_index``) still counts with all of its batch's, in these means, with ``accumulate``
        and with several ranks; where these would differ from one batch, labels of -100 are warned
        of. While it runs, BLAS has one thread if the model is small (docs/speed.md).

        Raises ValueError or TypeError for bad arguments or data, a stateful model with shuffling or
        unequal batches, one-step input to a recurrent layer that is not stateful, a loss that is
        not a 0-d Variable, a checkpoint that is damaged or of something else; FloatingPointError
        for a loss or gradient that is not finite, when nothing was updated with it, naming the
        step, the parameter and the function; OSError if a checkpoint cannot be written.
        """
        from minidl.checkpoints.snapshot import restoring

        drawn = random.generator().bit_generator.state
        runner = ModelRunner(self.model)
        epochs = count("fit: epochs", epochs)
        window = _window(accumulate, truncate, runner)
        max_steps = None if max_steps is None else count("fit: max_steps", max_steps)
        max_time = None if max_time is None else number("fit: max_time", max_time)
        loader, validation = inputs.fit_loaders(data, t, batch_size, shuffle, validation)
        runner.check(loader, "fit")
        runner.check(validation, "fit: validation")
        if fast_dev_run:
            epochs = 1
            max_steps = DRY_RUN
            resume = None
            loader = copy(loader)
        self._warn(loader, window)
        self.ranks.split(loader, validation)
        shown = progress_callbacks(verbose if self.ranks.first else 0, epochs, len(loader))
        checkpoint = self.ranks.share(lambda: self._find_checkpoint(resume))

        run = Run(loader, epochs, window, truncate is not None, max_steps, max_time)
        run.path = checkpoint.path if checkpoint else None
        run.distributed = self.ranks.size > 1
        loop = FitLoop(self, run, runner, [FitThreads(loader.batch_size), *shown], validation)
        with self._fitting(run, checkpoint, fast_dev_run):
            untouched = restoring(self, runner, loader, drawn)
            with untouched if fast_dev_run else nullcontext(), signals(run):
                loop.start(lambda: self._resume(run, runner, checkpoint))
                self.write_requested()  # what on_train_end asked for
                self.ranks.share(lambda: None)  # nobody goes on before the first has written
        return self.history

    def _find_checkpoint(self, resume: Any) -> Loaded | None:
        """What to go on from, if anything."""
        from minidl.checkpoints.file import find_checkpoint

        files = [callback.resume_files() for callback in self.callbacks]
        return find_checkpoint(resume, list(filter(None, files)), "fit: resume")

    def _warn(self, loader: DataLoader, window: int) -> None:
        """Say what would go on silently and is hardly meant."""
        if current().testing:
            warn_user(
                "fit: called inside test_mode(), so layers such as Dropout act as in evaluation",
            )
        if window > 1 or self.ranks.size > 1:
            why = "batches make up one update" if window > 1 else "ranks share a batch"
            inputs.warn_of_ignored_samples(self.loss, loader.arrays[1], why)

    @contextmanager
    def _fitting(self, run: Run, checkpoint: Loaded | None, dry_run: bool) -> Iterator[None]:
        """Be in a fit, from a checkpoint if there is one.

        A fit that a checkpoint refuses leaves the trainer as it was.
        """
        from minidl.checkpoints.snapshot import Refused, Start, is_plain

        previous: Any = self.run, self._start, self.history
        self.run = run
        self._start = None
        try:
            if checkpoint is not None:
                self._start = Start(self, before=previous[1])
                self._start.restore(checkpoint.tree, f"fit: resume: {checkpoint.path}")
            elif not is_plain(self):
                self._start = Start(self)
        except BaseException:
            self.run, self._start, _ = previous
            raise
        self.stop = False
        self.interrupted = None
        self.dry_run = dry_run
        rows = checkpoint.tree["history"] if checkpoint else []
        self.history = History([dict(row) for row in rows])
        self._looping = True
        try:
            yield
        except Refused:
            self.run, self._start, self.history = previous
            raise
        finally:
            self.ranks.leave()
            self._looping = False
            self.requests = []
            self.interrupted = run.interrupted
            if dry_run:
                self.run = None

    def _resume(self, run: Run, runner: ModelRunner, checkpoint: Loaded | None) -> None:
        """Put back what a checkpoint holds, and let all ranks begin with the same state."""
        from minidl.checkpoints import snapshot

        if checkpoint is not None and self._start is not None:
            where = f"fit: resume: {checkpoint.path}"
            self._start.restore_again(checkpoint.tree, where)
            self.ranks.agree(self, run)
        snapshot.broadcast_state(self, runner, run)

    def save(
        self, path: str | os.PathLike[str], *, before_replace: Callable[[], None] | None = None
    ) -> None:
        """Write a checkpoint: an ``.npz`` file from which ``fit(.., resume=path)`` goes on exactly.

        It holds parameters, the optimizer's state and rate, the history, the loader's order and
        position, what layers, the loss, metrics and hooks keep (numbers, text, arrays, containers
        of these, random generators), and what has a ``state_dict()``. Called during a fit, by a
        callback, it writes when the update in progress is made and all callbacks were told;
        ``before_replace`` is called before the new file takes the old one's place.

        Raises ValueError for another suffix, OSError if it could not be written (the old file is
        still there), TypeError, naming it, for what the next batches may depend on and a file
        cannot hold, such as an iterator.
        """
        from minidl.files.atomic import check_suffix

        self.requests.append((check_suffix(path, "Trainer.save", ".npz"), before_replace))
        if not self._looping:
            self.write_requested()

    def load(self, path: str | os.PathLike[str]) -> None:
        """Put back model, optimizer, generators and history from a checkpoint; ``fit`` can go on.

        Other settings are named in a warning, as by ``fit(.., resume=path)``. Raises
        FileNotFoundError if it is not there; ValueError, with nothing changed, if it is damaged or
        of another model or optimizer.
        """
        if self._looping:
            raise RuntimeError(
                "Trainer.load: a fit is in progress; load before, or fit with resume="
            )
        from minidl.checkpoints.file import read
        from minidl.checkpoints.snapshot import Start

        tree = read(path, "Trainer.load")
        run = self.run
        self.run = None
        try:
            Start(self, before=self._start).restore(tree, f"Trainer.load: {path}")
        except BaseException:
            self.run = run
            raise
        self.history = History(tree["history"])

    def write_requested(self) -> None:
        """Write the checkpoints asked for, now that the state is whole."""
        wanted = self.requests
        self.requests = []
        if wanted and self.writes:
            from minidl.checkpoints.file import save
            from minidl.checkpoints.snapshot import capture

            tree = capture(self)
            for path, before_replace in dict(wanted).items():
                save(tree, path, before_replace)

    def find_lr(
        self,
        data: Any,
        t: Any = None,
        *,
        start: float = 1e-6,
        end: float = 10.0,
        steps: int = 100,
        batch_size: int | None = None,
    ) -> LRCurve:
        """Train with a rate that grows from ``start`` to ``end``, then put all back as it was.

        Returns an ``LRCurve``: ``rates``, ``losses``, the ``suggestion``, where the smoothed loss
        falls steepest, and ``plot(path)``. It ends early when the loss is four times its least and
        above the first, or not finite. Raises as ``fit``.

        Source: L. Smith, Cyclical learning rates for training neural networks, 2017, section 3.3.
        """
        return self.ranks.share(lambda: find_lr(self, data, t, start, end, steps, batch_size))

    def train_step(self, x: Any, t: Any) -> float:
        """Learn from one batch: clear the gradients, forward, backward, update; return the loss.

        Raises as ``fit``.

        Carried states go on from the step before and are cut behind this one;
        ``model.reset_state()`` forgets them.
        """
        runner = ModelRunner(self.model)
        self.optimizer.cleargrads()
        loss, _ = self.forward(x, t, runner)
        runner.backward(loss)
        faults.check_gradients(self, runner, x, t)
        self.ranks.update(self, None, len(x))
        return float(loss.item())

    def forward(self, x: Any, t: Any, runner: ModelRunner) -> tuple[Variable, Variable]:
        """The loss of a batch, checked so that it can be learned from, and the prediction."""
        if self.compile:
            prediction, loss = runner.forward(x, lambda x: self.compile(x, t))
            inputs.check_prediction(prediction)
        else:
            prediction = runner.forward(x)
            inputs.check_prediction(prediction)
            loss = self.loss(prediction, t)
        inputs.check_loss_value(loss)
        if not math.isfinite(loss.item()):
            raise faults.bad_loss(self, runner, loss.item(), x, t)
        return loss, prediction

    def evaluate(
        self, data: Any, t: Any = None, *, batch_size: int | None = None
    ) -> dict[str, float]:
        """Return the loss and the metrics on other data by name, as means over the samples.

        Nothing is learned or disturbed: layers run in test mode, batches in order, and carried
        states start from nothing and are brought back afterwards. Arguments are as for ``fit``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        loader = inputs.as_loader("evaluate", data, t, batch_size, in_order=True)
        return self.measure("evaluate", loader)

    def measure(self, where: str, loader: DataLoader, run: Run | None = None) -> dict[str, float]:
        """The means on a loader's batches, of a run's signal or dry run only the first ones."""
        runner = ModelRunner(self.model)
        means = RunningMeans()
        most = DRY_RUN if run is not None and self.dry_run else None
        with self._threads(loader.batch_size), runner.evaluation(where, loader):
            for i, (x, t) in enumerate(islice(loader, most)):
                prediction = runner.forward(x)
                loss = self.loss(prediction, t)
                figures = inputs.measure_batch(self.metrics, loss, array_of(prediction), t)
                means.add(loader.samples(i), figures)
                if run is not None and run.signalled is not None:
                    break
        self.ranks.total(means, run)
        return means.now()

    def predict(self, x: npt.ArrayLike, *, batch_size: int = 32) -> npt.NDArray[Any]:
        """Return the model's output for every sample along axis 0 of ``x``, run as by ``evaluate``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        loader = inputs.make_loader("predict", x, batch_size=batch_size)
        runner = ModelRunner(self.model)
        with self._threads(loader.batch_size), runner.evaluation("predict", loader):
            try:
                parts = [array_of(runner.forward(batch)) for (batch,) in loader]
                if loader.arrays[0].ndim == 1 and sum(map(np.size, parts)) % loader.size:
                    raise ValueError(f"the model gave an output of shape {np.shape(parts[0])}")
            except (ValueError, TypeError) as error:
                inputs.explain_batch(error, loader)
                raise
            return np.concatenate(parts)

    def _threads(self, samples: int) -> AbstractContextManager[None]:
        """One BLAS thread, if batches of so many samples make small products."""
        return threads_for(largest_product(self.model, self.optimizer, samples) or 0)


def _window(accumulate: int, truncate: int | None, runner: ModelRunner) -> int:
    """How many batches make an update."""
    window = count("fit: accumulate", accumulate)
    if truncate is None:
        return window
    truncate = count("fit: truncate", truncate)
    if window > 1:
        raise ValueError(
            "fit: accumulate and truncate: want one of them, as each says when to update, got both"
        )
    if not runner.stateful:
        raise ValueError(
            "fit: truncate: want a model that carries its state: give a layer stateful=True"
        )
    return truncate
