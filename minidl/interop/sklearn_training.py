"""What scikit-learn's estimators share: a fit by a Trainer, and how settings are checked.

What each makes of labels and targets is in `sklearn.py` and `sklearn_estimator.py`.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from minidl.common.extras import install
from minidl.data.loader import DataLoader
from minidl.layers import MLP, Layer
from minidl.optim import Adam
from minidl.optim.optimizer import Optimizer, Rate
from minidl.training.callbacks import Callback
from minidl.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.metaestimators import available_if
except ImportError as _missing:
    _why = _missing

    class BaseEstimator:  # type: ignore[no-redef]  # in place of scikit-learn's: says it is missing
        def __new__(cls, *_: Any, **__: Any) -> Self:
            name = f"minidl.sklearn.{cls.__name__}"
            raise ImportError(f"{name} needs scikit-learn: {install('sklearn')}") from _why

        def __init_subclass__(cls) -> None:
            cls.__doc__ = (cls.__doc__ or "").partition(">>>")[0]  # the example could not run

    class ClassifierMixin:  # type: ignore[no-redef]
        pass

    class RegressorMixin:  # type: ignore[no-redef]
        pass

    def available_if(_: Any) -> Callable[[Any], Any]:
        return lambda method: method


__all__ = [
    "ClassifierMixin",
    "HeldOut",
    "RegressorMixin",
    "RidgeAdam",
    "Samples",
    "TrainedEstimator",
    "available_if",
    "encode_labels",
    "is_count",
    "read_labels",
]

Array = npt.NDArray[Any]
Score = Callable[[Array, "Samples"], float]
ROWS = 1024  # a batch of a prediction


class Samples(NamedTuple):
    """Inputs, targets, and weights if there are any."""

    x: Array
    t: Array
    weight: Array | None = None

    def take(self, rows: Any) -> Samples:
        weight = None if self.weight is None else self.weight[rows]
        return Samples(self.x[rows], self.t[rows], weight)

    def that_count(self) -> Samples:
        """Those whose weight is not zero."""
        if self.weight is None:
            return self
        return self.take(self.weight > 0)

    def loader(self, batch_size: int, shuffle: bool, seed: int) -> DataLoader:
        parts = self if self.weight is not None else self[:2]
        return DataLoader(*parts, batch_size=batch_size, shuffle=shuffle, seed=seed)


class RidgeAdam(Adam):
    """Adam with an L2 penalty ``decay / 2 * sum(w**2)`` on an MLP's weights, not its biases."""

    def __init__(self, model: MLP, lr: Rate, decay: float) -> None:
        super().__init__(model.parameters(), lr)  # as a list: nothing is looked up at a step
        self.decay = decay
        self.weights = [layer.w for layer in model.layers]

    def update(self) -> None:
        # Not as a hook, for which all gradients are first copied into one array.
        if self.decay:
            for w in self.weights:
                if w.grad is not None:
                    g = w.grad.data
                    g += self.decay * w.data
        super().update()


class HeldOut(Callback):
    """Measures a ``score`` on samples held back, after every epoch."""

    def __init__(self, samples: Samples, score: Score) -> None:
        self.samples = samples
        self.score = score

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        prediction = self.trainer.predict(self.samples.x, batch_size=ROWS)
        if not np.isfinite(prediction).all():
            raise FloatingPointError("a prediction for the samples held back is not finite")
        logs["score"] = self.score(prediction, self.samples)


class TrainedEstimator(BaseEstimator):
    """An estimator that a Trainer trains. What ends in ``_`` it has when it is fitted."""

    _rate: ClassVar[str]  # the name of the setting
    random_state: Any
    verbose: bool
    model_: Layer
    loss_curve_: list[float]
    _optimizer: Optimizer

    def _check_settings(self) -> None:
        """Raise ValueError for settings that do not fit."""
        raise NotImplementedError

    @property
    def _loss(self) -> Callable[..., Any]:
        raise NotImplementedError

    def _begin(self, partial: bool = False) -> bool:
        """Check the settings; return whether to go on with the model there is, or forget it."""
        self._check_settings()
        if partial or getattr(self, "warm_start", False):
            return hasattr(self, "model_")
        self.__dict__.pop("model_", None)  # what fails leaves no model beside another's labels
        return False

    def _seeds(self) -> list[int]:
        """Two seeds: to draw weights with, and to shuffle with."""
        from sklearn.utils import check_random_state

        seeds: list[int] = check_random_state(self.random_state).randint(2**31 - 1, size=2).tolist()
        return seeds

    def _learn(
        self, trainer: Trainer, data: DataLoader, epochs: int, going_on: bool = False
    ) -> None:
        """Train, and note what the fit was like; ``going_on``, after the epochs before."""
        before = self.loss_curve_ if going_on else []
        try:
            history = trainer.fit(data, epochs=epochs, verbose=2 if self.verbose else 0)
        except FloatingPointError as error:
            raise ValueError(
                f"{type(self).__name__}: {error}. Here: lower {self._rate}, or scale X, as by "
                "make_pipeline(StandardScaler(), ..)"
            ) from error
        if trainer.interrupted is not None:  # so that a search ends with the fit
            signal.raise_signal(signal.Signals[trainer.interrupted])
        trainer.model.cleargrads()
        self.model_ = trainer.model
        self._optimizer = trainer.optimizer
        self.loss_curve_ = [*before, *history["loss"]]
        self.n_iter_ = len(self.loss_curve_)
        self.loss_ = self.loss_curve_[-1]

    def _form_of_inputs(self) -> dict[str, Any]:
        """What inputs have to be, as scikit-learn's ``check_array`` is told."""
        raise NotImplementedError

    def _outputs(self, x: Any) -> Any:
        """What the model gives for new samples, run as by ``Trainer.predict``."""
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self, "model_")
        x = validate_data(self, x, reset=False, **self._form_of_inputs())
        return Trainer(self.model_, self._optimizer, self._loss).predict(x, batch_size=ROWS)

    def _weight(self, weight: Any, x: Array) -> Array | None:
        """Weights of samples, checked."""
        from sklearn.utils.validation import _check_sample_weight

        if weight is None:
            return None
        weight = _check_sample_weight(weight, x, ensure_non_negative=True)
        self._check_weight("sample_weight", weight)
        return weight  # type: ignore[no-any-return]  # scikit-learn has no types

    def _check_weight(self, name: str, weight: Array) -> None:
        if not weight.any():
            name = f"{type(self).__name__}: {name}"
            raise ValueError(f"{name}: want some samples of a weight above 0, got none")

    def _want(self, name: str, fits: Any, what: str) -> None:
        """Raise ValueError for a setting that does not fit, as scikit-learn does."""
        if not fits:
            got = getattr(self, name)
            raise ValueError(f"{type(self).__name__}: {name}: want {what}, got {got!r}")

    def _want_number(
        self,
        name: str,
        what: str,
        least: float = 0,
        positive: bool = False,
        below: float = math.inf,
    ) -> None:
        value = getattr(self, name)
        fits = isinstance(value, int | float | np.number)
        if isinstance(value, bool) or (fits and positive and value <= 0):
            fits = False
        self._want(name, fits and least <= value < below, what)

    def _want_flags(self, *names: str) -> None:
        for name in names:
            self._want(name, isinstance(getattr(self, name), bool | np.bool_), "True or False")

    def _want_count(self, name: str, auto: bool = False) -> None:
        value = getattr(self, name)
        what = 'an int of at least 1, or "auto"' if auto else "an int of at least 1"
        self._want(name, is_count(value) or (auto and value == "auto"), what)


def is_count(n: Any) -> bool:
    """Whether it is a whole number of at least 1."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        return False
    return bool(n > 0)


def read_labels(who: str, y: Any) -> tuple[Array, bool]:
    """Labels (n,); or an indicator matrix (n, labels) of 0 and 1, and whether it is one.

    Raises ValueError for what are no labels.
    """
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import column_or_1d

    if hasattr(y, "toarray"):  # scikit-learn takes sparse indicators
        y = y.toarray()
    y = np.asarray(y)
    others = [label for label in y.ravel() if not isinstance(label, str)]
    if y.dtype == object and others:
        raise ValueError(
            f"Unknown label type: {who} wants labels that are all numbers or all text, "
            f"got objects such as {others[0]!r}; for numbers say y.astype(int)"
        )
    check_classification_targets(y)
    kind = type_of_target(y)
    if kind == "multiclass-multioutput":
        raise ValueError(
            f"{who}: y: want labels (n,) or an indicator matrix of 0 and 1, got a matrix "
            f"{y.shape} of more than two classes"
        )
    if kind == "multilabel-indicator":
        return y, True
    return column_or_1d(y, warn=True), False


def encode_labels(who: str, y: Array, classes: Array) -> Array:
    """The place of each label in the sorted classes; ValueError for a label that is none."""
    unseen = np.setdiff1d(y, classes)
    if unseen.size:
        raise ValueError(f"{who}: y: want labels of {classes}, got {unseen[:5]} too")
    return np.searchsorted(classes, y)
