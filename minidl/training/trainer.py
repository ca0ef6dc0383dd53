"""The Trainer: what a fit is given, checked; one step; evaluation and prediction.

The loop is in `loop.py`, what an update does in `optim`, what a batch is in `data`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minidl.autograd.modes import current
from minidl.common import random
from minidl.common.arrays import array_of
from minidl.common.callers import warn_user
from minidl.common.checks import count, flag
from minidl.common.hints import TRAINER_WORDS, refuse_assignment, refuse_unexpected
from minidl.common.pytree import map_leaves
from minidl.common.threads import threads_for
from minidl.optim.optimizer import Optimizer
from minidl.training import checks, faults
from minidl.training.batches import (
    Batch,
    Batches,
    as_batch,
    check_epochs,
    count_of,
    explain_batch,
    join_predictions,
    read_batches,
    read_fit_data,
)
from minidl.training.callbacks import Callback
from minidl.training.cycle import Until, evaluate_loss, train_batch
from minidl.training.history import History
from minidl.training.loop import FitLoop
from minidl.training.lr_finder import LRCurve, find_lr
from minidl.training.processes import processes
from minidl.training.progress import progress_callbacks
from minidl.training.run import Run, RunningMeans, signals
from minidl.training.runner import ModelRunner, call_model
from minidl.training.threads import FitThreads, largest_product

if TYPE_CHECKING:
    from minidl.checkpoints.file import Loaded
    from minidl.checkpoints.snapshot import Start
    from minidl.layers.normalization import Normalization

DRY_RUN = 3  # batches of a fast_dev_run


class Trainer:
    """Train a model: ``fit`` is the loop, ``train_step`` its cycle.

    ``evaluate`` and ``predict`` use the result.

    Args:
        model: a layer, or any function of a batch's inputs, that returns a Variable, or a tuple or
            dict of them.
        optimizer: of the model's parameters.
        loss: ``loss(prediction, t)``, a 0-d Variable, the mean over the samples of a batch; called
            with ``weight=`` where samples have weights. ``loss_of`` may be overridden instead.
        metrics: functions measured beside the loss, a list (named by their ``__name__``) or a dict
            by name; ``metric(prediction, t)`` gets arrays and returns a number, the mean over the
            samples; one that has an argument ``weight`` gets the weights.
        callbacks: see ``callbacks.Callback``; one may set ``trainer.stop``.
        compile: compile the cycle of a batch, with its backward and update, by ``minidl.compile``;
            "c": to C, which needs a C compiler; the training then is the same to rounding.
        scale_targets: learn mean and deviation of the floating targets in the first fit, and train
            on scaled ones. Losses are of these; ``predict`` and metrics are in the users' units.
        distributed: whether all processes that mpiexec started train one model (docs/scaling.md);
            or a communicator.

    ``model``, ``loss``, ``metrics`` and ``optimizer`` can be assigned, a model with an optimizer of
    its parameters. ``history`` is the latest fit's, ``steps`` the number of its updates so far,
    ``interrupted`` the name of the signal that ended it, or None, ``dry_run`` whether it is a
    ``fast_dev_run``, ``scaling`` what was learned of the targets, or None, ``ranks`` the processes
    (rank, size, first).

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

    metrics: Any  # by name; may be assigned as a list, too
    _own: ClassVar[Sequence[str]] = (  # the attributes that are no subclass's
        *("model", "loss", "metrics", "optimizer", "callbacks", "ranks", "_run", "history", "stop"),
        *("dry_run", "interrupted", "_requests", "scale_targets", "scaling"),
        *("_backend", "_program", "_looping", "_start"),
    )

    @refuse_unexpected
    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        loss: checks.Metric,
        metrics: checks.Metrics = None,
        callbacks: Callback | Iterable[Callback] = (),
        compile: bool | str = False,
        distributed: Any = False,
        scale_targets: bool = False,
    ) -> None:
        if isinstance(callbacks, Callback):
            callbacks = [callbacks]
        callbacks = checks.as_list("callbacks", callbacks, "instances of callbacks.Callback")
        self._backend = checks.check_backend(compile)
        self.model = model
        self.loss = loss
        self.metrics = metrics
        self.optimizer = optimizer
        checks.check_parts(model, optimizer, callbacks)
        if self._backend:
            self._compile(self.loss_of)
        self.callbacks = callbacks
        self.ranks = processes(distributed, optimizer)
        self.scale_targets = flag("Trainer: scale_targets", scale_targets)
        self.scaling: Normalization | None = None  # of the targets, once it is learned
        self.stop = self.dry_run = self._looping = False
        self.history = History()
        self._run: Run | None = None
        self.interrupted: str | None = None
        self._start: Start | None = None  # what it was made with, in the latest fit
        self._requests: list[tuple[Path, Any]] = []  # files to be written when the state is whole

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a model, a loss, an optimizer or metrics, whenever they are assigned."""
        refuse_assignment(self, name, TRAINER_WORDS)
        if name in checks.OF_PARTS:
            value = checks.OF_PARTS[name](value)
            self._program: Any = None  # of the parts before
        super().__setattr__(name, value)

    @property
    def _owns_loss_of(self) -> bool:
        """Whether ``loss_of`` is the one of this class."""
        return getattr(self.loss_of, "__func__", None) is Trainer.loss_of

    @property
    def _least(self) -> int:
        """How many parts a batch must have: inputs and targets, unless loss_of is overridden."""
        return 2 if self._owns_loss_of else 1

    def __repr__(self) -> str:
        loss = getattr(self.loss, "__name__", repr(self.loss))
        settings = [repr(self.model), repr(self.optimizer), f"loss={loss}"]
        if self.metrics:
            settings.append(f"metrics={list(self.metrics)}")
        if self.callbacks:
            settings.append(f"callbacks={[type(callback).__name__ for callback in self.callbacks]}")
        if self._backend:
            settings.append('compile="c"' if self._backend == "c" else "compile=True")
        if self.scale_targets:
            settings.append("scale_targets=True")
        return f"Trainer({', '.join(settings)})"

    @property
    def steps(self) -> int:
        """The number of updates of the latest fit, those before it was resumed included."""
        return 0 if self._run is None else self._run.updates

    @property
    def _writes(self) -> bool:
        """Whether this process writes files: of several only the first one, in a dry run none."""
        return self.ranks.first and not self.dry_run

    @refuse_unexpected
    def fit(
        self,
        data: Any,
        t: Any = None,
        weight: Any = None,
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
            data, t, weight: samples, targets and weights of samples, along axis 0; or a DataLoader
                of these, or any other iterable of batches ``(inputs, targets)`` or ``(inputs,
                targets, weight)``. Inputs that are a tuple become the model's arguments, a dict its
                keywords; targets may be tuples and dicts, too.
            epochs: how often to go through the data, with ``resume`` in all; one, of an iterator.
            validation: evaluated after every epoch: a tuple (x, t) or (x, t, weight), a DataLoader
                or other iterable, or the fraction of ``data`` to hold out for it, taken from the
                end before any shuffling.
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
        the rate of the epoch's first update. In every mean, and in ``accumulate``, a batch counts
        with the number of its samples, or the sum of their weights. A loss that leaves samples out
        (``cross_entropy`` with ``ignore_index``) still counts with all of its batch's; where
        several batches or ranks would then differ from one batch, labels of -100 are warned of.
        While it runs, BLAS has one thread if the model is small (docs/speed.md).

        Raises ValueError or TypeError for bad arguments or data, a stateful model with shuffling or
        unequal batches, one-step input to a recurrent layer that is not stateful, a loss that is
        not a 0-d Variable, a checkpoint that is damaged or of something else; FloatingPointError
        for a loss or gradient that is not finite, when nothing was updated with it, naming the
        step, the parameter and the function; OSError if a checkpoint cannot be written.
        """
        from minidl.checkpoints.snapshot import restoring

        runner = ModelRunner(self.model)
        epochs = count("fit: epochs", epochs)
        window = _window(accumulate, truncate, runner)
        settings = {"batch_size": batch_size, "shuffle": shuffle, "least": self._least}
        with random.undone_by_errors() as drawn:  # a refused fit has drawn nothing
            given, validation = read_fit_data(data, t, weight, validation, settings)
            runner.check(given, validation)
            if flag("fit: fast_dev_run", fast_dev_run):
                epochs = 1
                max_steps = DRY_RUN
                resume = None
                given = given.twin("fast_dev_run")
            scaling = self._learn_scaling(given)
            self._warn(given, window)
            self.ranks.split(given, validation)
            shown = progress_callbacks(verbose if self.ranks.first else 0, epochs, given.number)
            checkpoint = self.ranks.share(lambda: self._find_checkpoint(resume))
            check_epochs(epochs - (checkpoint.epoch if checkpoint else 0), given, validation)

        run = Run(given, epochs, window, truncate is not None, max_steps, max_time)
        run.path = checkpoint and checkpoint.path
        run.distributed = self.ranks.size > 1
        loop = FitLoop(self, run, runner, [FitThreads(given.batch_size), *shown], validation)
        with self._fitting(run, checkpoint, fast_dev_run, drawn):
            untouched = restoring(self, drawn)
            with untouched if fast_dev_run else nullcontext(), signals(run):
                loop.start(lambda: self._resume(run, runner, checkpoint, scaling))
                self._write_requested(at_end=True)  # what on_train_end asked for
                self.ranks.share(lambda: None)  # nobody goes on before the first has written
        return self.history

    def _find_checkpoint(self, resume: Any) -> Loaded | None:
        """What to go on from, if anything."""
        from minidl.checkpoints.file import find_checkpoint

        files = [callback.resume_files() for callback in self.callbacks]
        return find_checkpoint(resume, list(filter(None, files)), "fit: resume")

    def _learn_scaling(self, data: Batches) -> Normalization | None:
        """What scales the targets, if they are to be scaled and it is not known yet."""
        if not self.scale_targets or self.scaling is not None:
            return self.scaling
        from minidl.training.scaling import learn_scaling

        return learn_scaling(data)

    def _warn(self, data: Batches, window: int) -> None:
        """Say what would go on silently and is hardly meant."""
        if current().testing:
            warn_user(
                "fit: called inside test_mode(), so layers such as Dropout act as in evaluation",
            )
        if window > 1 or self.ranks.size > 1:
            why = "batches make up one update" if window > 1 else "ranks share a batch"
            checks.warn_of_ignored_samples(self.loss, data, why)
        if not data.resumable and any(callback.resume_files() for callback in self.callbacks):
            warn_user(
                f"fit: the data, a {type(data.source).__name__}, have no state_dict(): checkpoints "
                "are written at the ends of epochs only, and of an order that the data draw they "
                "hold NumPy's and Python's generators only"
            )

    @contextmanager
    def _fitting(
        self, run: Run, checkpoint: Loaded | None, dry_run: bool, drawn: Any
    ) -> Iterator[None]:
        """Be in a fit, from a checkpoint if there is one.

        A fit that a checkpoint refuses leaves the trainer as it was, minidl's generator at
        ``drawn``.
        """
        from minidl.checkpoints.snapshot import Refused, Start, is_plain

        previous = {name: vars(self)[name] for name in ("_run", "_start", "history")}

        def undo() -> None:
            vars(self).update(previous)
            random.generator().bit_generator.state = drawn

        self._run = run
        try:
            if checkpoint is not None:
                self._start = Start(self, before=self._start)
                self._start.restore(checkpoint.tree, f"fit: resume: {checkpoint.path}")
            else:
                self._start = None if is_plain(self) else Start(self)
        except BaseException:
            undo()
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
            undo()
            raise
        finally:
            self.ranks.leave()
            self._looping = False
            self._requests = []
            self.interrupted = run.interrupted
            if dry_run:
                self._run = None

    def _resume(
        self,
        run: Run,
        runner: ModelRunner,
        checkpoint: Loaded | None,
        scaling: Normalization | None,
    ) -> None:
        """Put back what a checkpoint holds, and let all ranks begin with the same state."""
        from minidl.checkpoints import snapshot

        if checkpoint is not None and self._start is not None:
            where = f"fit: resume: {checkpoint.path}"
            self._start.restore_again(checkpoint.tree, where)
            self.ranks.agree(self, run)
        if self.scaling is None:
            self.scaling = scaling
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

        self._requests.append((check_suffix(path, "Trainer.save", ".npz"), before_replace))
        if not self._looping:
            self._write_requested()

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
        run = self._run
        self._run = None
        try:
            Start(self, before=self._start).restore(tree, f"Trainer.load: {path}")
        except BaseException:
            self._run = run
            raise
        self.history = History(tree["history"])

    def _write_requested(self, at_end: bool = False) -> None:
        """Write the checkpoints asked for, now that the state is whole; of data without a state
        only between epochs, and at the end of a fit.
        """
        if not self._requests:
            return
        if self._looping and not at_end and self._run is not None and not self._run.can_be_saved:
            return
        wanted = dict(self._requests)
        self._requests = []
        if self._writes:
            from minidl.checkpoints.file import save
            from minidl.checkpoints.snapshot import capture

            tree = capture(self)
            for path, before_replace in wanted.items():
                save(tree, path, before_replace)

    def find_lr(
        self,
        data: Any,
        t: Any = None,
        weight: Any = None,
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
        arrays = (data, t, weight)
        settings = {"batch_size": batch_size, "least": self._least}
        return self.ranks.share(lambda: find_lr(self, arrays, settings, start, end, steps))

    def train_step(self, x: Any, t: Any = None, weight: Any = None) -> float:
        """Learn from one batch: clear the gradients, forward, backward, update; return the loss.

        Raises as ``fit``.

        Carried states go on from the step before and are cut behind this one;
        ``model.reset_state()`` forgets them.
        """
        given = [part for part in (x, t, weight) if part is not None]
        batch = as_batch("train_step", given, self._least)
        runner = ModelRunner(self.model)
        until = self._until(last=True)
        loss, _ = self._learn(batch, runner, until)
        if until != "update":
            self._update(batch, runner, count_of(batch))
        return float(loss.item())

    def loss_of(self, batch: Batch) -> tuple[Any, Any]:
        """The loss of a batch, a 0-d Variable, and the prediction for the metrics.

        A subclass may compute both in another way; what it does with a batch, ``(inputs,
        targets)`` or ``(inputs, targets, weight)``, is its own affair. A loss is the mean over the
        samples, by their weights. The prediction may be None where there are no metrics.
        ``evaluate`` calls it too, without recording.
        """
        return loss_of_batch(self.model, self.loss, batch)

    def _until(self, last: bool) -> Until:
        """How far the cycle of a batch goes: to the update if it is the last one, and alone."""
        optimizer = self.optimizer
        usual = getattr(type(optimizer), "update", None) is Optimizer.update
        alone = last and usual and self.ranks.size == 1 and not optimizer.hooks
        return "update" if alone else "gradients"

    def _learn(self, batch: Batch, runner: ModelRunner, until: Until, *how: Any) -> tuple[Any, Any]:
        """Go through the cycle of a batch; the loss and the prediction."""
        cycle = self._cycle(runner)
        try:
            return runner.run(cycle, runner.stateful, self._scale(batch), until, *how)
        except faults.NotFinite as found:
            raise faults.explain(found, self, runner, batch) from None

    def _cycle(self, runner: ModelRunner) -> Callable[..., tuple[Any, Any]]:
        """The cycle of a batch, a program if it is to be compiled."""
        if not self._backend:
            return partial(train_batch, self.loss_of, runner.stateless, self.optimizer)
        if self._program is None or not self._owns_loss_of:  # which is refused
            loss_of = partial(loss_of_batch, self.model, self.loss)
            cycle = partial(train_batch, loss_of, runner.stateless, self.optimizer)
            self._program = self._compile(cycle)
        return self._program  # type: ignore[no-any-return]  # called as the function is

    def _update(
        self, batch: Batch, runner: ModelRunner, samples: float, run: Run | None = None
    ) -> None:
        """Update with the gradients that are there, where the cycle has not."""
        try:
            faults.want_finite(*[g._raw for g in faults.gradients_of(self.optimizer)])
        except faults.NotFinite as found:
            raise faults.explain(found, self, runner, batch) from None
        self.ranks.update(self, run, samples)

    def _compile(self, function: Callable[..., Any]) -> Any:
        """A function as a program, if it computes the loss as it is computed here."""
        from minidl.compiler import compile

        if not self._owns_loss_of:
            raise ValueError(
                "Trainer: compile=True wants the Trainer's own loss_of; in one that is overridden, "
                "call what minidl.compile gave of a function"
            )
        return compile(function, backend=self._backend)  # type: ignore[arg-type]  # checked

    def _figures(self, loss: Any, prediction: Any, batch: Batch) -> dict[str, float]:
        """The loss and the metrics of a batch, by name."""
        numbers = {"loss": checks.to_float("loss", loss)}
        if self.metrics and prediction is None:
            names = ", ".join(self.metrics)
            raise ValueError(f"loss_of: want a prediction for the metrics {names}, got None")
        if self.metrics:
            prediction = self._in_users_units(prediction)
        for name, metric in self.metrics.items():
            settings = {"weight": batch[2]} if len(batch) > 2 and checks.weighs(metric) else {}
            value = metric(prediction, *batch[1:2], **settings)
            numbers[name] = checks.to_float(name, value)
        return numbers

    def _scale(self, batch: Batch) -> Batch:
        """The batch as it is trained on: with scaled targets, if they are to be."""
        if not self.scale_targets:
            return batch
        inputs, targets, *weight = batch
        return inputs, self._known_scaling()(targets), *weight

    def _in_users_units(self, prediction: Any) -> Any:
        """The arrays of a prediction, scaled as targets are given."""
        arrays = map_leaves(array_of, prediction)
        return self._known_scaling().inverse(arrays) if self.scale_targets else arrays

    def _known_scaling(self) -> Normalization:
        if self.scaling is None:
            raise RuntimeError("Trainer: scale_targets: what scales is learned by a fit: fit first")
        return self.scaling

    def evaluate(
        self, data: Any, t: Any = None, weight: Any = None, *, batch_size: int | None = None
    ) -> dict[str, float]:
        """Return the loss and the metrics on other data by name, as means over the samples.

        Nothing is learned or disturbed: layers run in test mode, batches in order, and carried
        states start from nothing and are brought back afterwards. Arguments and means are as for
        ``fit``.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        given = read_batches(
            "evaluate", data, t, weight, least=self._least, in_order=True, batch_size=batch_size
        )
        return self._measure(given)

    def _measure(self, data: Batches, run: Run | None = None) -> dict[str, float]:
        """The means over some data, of a run's signal or dry run only the first batches."""
        runner = ModelRunner(self.model)
        runner.check(data)
        means = RunningMeans()
        most = DRY_RUN if run is not None and self.dry_run else None

        loss_of = partial(evaluate_loss, self.loss_of, runner.stateless)

        def add_batches() -> None:
            for batch, samples in islice(data.read(), most):
                loss, prediction = runner.run(loss_of, self._scale(batch))
                means.add(samples, self._figures(loss, prediction, batch))
                if run is not None and run.signalled is not None:
                    break

        with self._threads(data.batch_size):
            runner.evaluate(add_batches)
        self.ranks.total(means, run)
        if not means.samples:
            raise ValueError(f"{data.where}: the data gave no batch, or weights of 0 only")
        return means.now()

    def predict(self, x: Any, *, batch_size: int | None = None) -> Any:
        """Return the model's output for every sample along axis 0 of ``x``, run as by ``evaluate``.

        ``x`` may be a tuple or dict of arrays, as in ``fit``, or an iterable of batches, whose
        inputs are taken. The result is an array, or a tuple or dict of them where the model gives
        that.

        Raises ValueError or TypeError for bad data, or unequal batches for a stateful model.
        """
        data = read_batches("predict", x, least=1, in_order=True, batch_size=batch_size)
        runner = ModelRunner(self.model)
        runner.check(data)

        def predictions() -> list[Any]:
            return [self._in_users_units(runner.predict(batch[0])) for batch, _ in data.read()]

        with self._threads(data.batch_size):
            try:
                return join_predictions(runner.evaluate(predictions), data)
            except (ValueError, TypeError) as error:
                explain_batch(error, data)
                raise

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


def loss_of_batch(model: Any, loss: Any, batch: Batch) -> tuple[Any, Any]:
    """The loss of a batch and the model's prediction."""
    inputs, targets, *weight = batch
    prediction = call_model(model, inputs)
    if isinstance(prediction, np.ndarray) and current().recording:
        raise TypeError("the model returned a ndarray, want a Variable")
    if weight:
        return loss(prediction, targets, weight=weight[0]), prediction
    return loss(prediction, targets), prediction
