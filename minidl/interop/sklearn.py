"""scikit-learn's way to train an MLP of minidl's: MLPClassifier and MLPRegressor.

Layers, losses and optimizer are minidl's own. The loop is not the Trainer's: a fit takes two thirds
to three quarters of its time, as there is nothing to resume. Needs the extra ``sklearn``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import no_grad
from minidl.common.extras import install
from minidl.common.threads import threads_for
from minidl.layers import MLP
from minidl.optim import Adam
from minidl.optim.schedules import cosine, warmup
from minidl.training.threads import largest_product

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
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


__all__ = ["MLPClassifier", "MLPRegressor"]

Array = npt.NDArray[Any]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": F.relu,
    "tanh": F.tanh,
    "logistic": F.sigmoid,
    "identity": operator.pos,
    "gelu": F.gelu,
}

# Chosen on digits, diabetes and five other data sets, where they do as well as scikit-learn's in a
# fraction of the time: samples a step, and "auto" epochs: so many, and at least so many steps.
BATCH = 64
EPOCHS = 20
STEPS = 200


class Samples(NamedTuple):
    """Inputs, targets, and weights if there are any."""

    x: Array
    t: Array
    weight: Array | None

    def take(self, rows: Any) -> Samples:
        weight = None if self.weight is None else self.weight[rows]
        return Samples(self.x[rows], self.t[rows], weight)

    def that_count(self) -> Samples:
        """Those whose weight is not zero."""
        if self.weight is None:
            return self
        return self.take(self.weight > 0)


class Learner:
    """Trains a model on minibatches by Adam, with an L2 penalty on the weights: epoch by epoch."""

    def __init__(
        self,
        model: MLP,
        loss: Callable[[Any, Samples], Any],
        rate: Callable[[int], float],
        decay: float,
        rng: np.random.Generator | None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.decay = decay
        self.rng = rng  # None: every epoch in the same order
        self.optimizer = Adam(model.parameters(), lr=rate)
        self.weights = [layer.w for layer in model.layers] if decay else []

    def epoch(self, samples: Samples, size: int) -> tuple[Samples, float]:
        """Learn from all samples once; return them in the order used, and the mean loss."""
        n = len(samples.x)
        if self.rng is not None and size < n:
            samples = samples.take(self.rng.permutation(n))
        total = 0.0
        for start in range(0, n, size):
            batch = samples.take(slice(start, start + size))
            total += self.step(batch) * len(batch.x)
        return samples, total / n

    def step(self, batch: Samples) -> float:
        loss = self.loss(self.model(batch.x), batch)
        self.optimizer.cleargrads()
        loss.backward(retain_graph=False)
        for w in self.weights:  # not as a hook, which would take a sixth of the step
            if w.grad is not None:
                w.grad.data[...] += self.decay * w.data
        self.optimizer.update()
        return float(loss.item())


class Best:
    """The best score on samples held back, the weights of that time, and how long it has stood."""

    def __init__(self, tol: float) -> None:
        self.tol = tol
        self.score = -math.inf
        self.state: dict[str, Array] = {}
        self.waited = 0

    def update(self, score: float, model: MLP) -> None:
        self.waited += 1
        if score > self.score + self.tol:
            self.waited = 0
        if score > self.score:
            self.score = score
            self.state = model.state_dict()


class _MLP(BaseEstimator):
    """What both share: the settings, their checks, and the training."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        alpha: float = 1e-4,
        batch_size: Any = "auto",
        learning_rate_init: float = 0.01,
        max_iter: Any = "auto",
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def _check_settings(self) -> None:
        names = ", ".join(ACTIVATIONS)
        sizes = "a list of positive integers, such as (100,)"
        self._want("hidden_layer_sizes", self._sizes() is not None, sizes)
        self._want("activation", self._activation() is not None, f"one of {names}, or a function")
        self._want_number("alpha", "a number of at least 0")
        self._want_number("learning_rate_init", "a positive number", positive=True)
        self._want_integer("max_iter", '"auto" or a positive integer')
        self._want_number("n_iter_no_change", "at least 1", least=1)
        self._want_number("tol", "a number", least=-math.inf)
        self._want_integer("batch_size", '"auto" or at least 1')
        self._want_number("validation_fraction", "between 0 and 1", positive=True, below=1)

    def _want(self, name: str, fits: Any, what: str) -> None:
        if not fits:
            got = getattr(self, name)
            raise ValueError(f"{type(self).__name__}: {name} must be {what}, got {got!r}")

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

    def _want_integer(self, name: str, what: str) -> None:
        value = getattr(self, name)
        self._want(name, value == "auto" or _is_positive_integer(value), what)

    def _sizes(self) -> Any:
        """The sizes of the hidden layers, a list; None if they are no such sizes."""
        sizes = np.ravel(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not all(map(_is_positive_integer, sizes)):
            return None
        return [int(n) for n in sizes]

    def _activation(self) -> Any:
        """The function; None if it is none."""
        if isinstance(self.activation, str):
            return ACTIVATIONS.get(self.activation)
        return self.activation if callable(self.activation) else None

    def _train(self, samples: Samples, outputs: int, stratify: Array | None) -> None:
        """Make ``model_`` and train it by Adam, its rate rising at first, then falling to zero."""
        from sklearn.utils import check_random_state

        self._check_settings()
        seed = check_random_state(self.random_state).randint(2**31 - 1, size=4)
        rng = np.random.default_rng(seed)
        held = None
        if self.early_stopping:
            samples, held = self._split(samples, stratify, rng)
        samples = samples.that_count()
        size, epochs = self._plan(len(samples.x))
        self.model_ = MLP(
            [*self._sizes(), outputs],
            self._activation(),
            in_features=samples.x.shape[1],
            dtype=samples.x.dtype,
            rng=rng,
        )
        steps = math.ceil(len(samples.x) / size) * epochs
        rate = cosine(float(self.learning_rate_init), steps)
        learner = Learner(
            self.model_,
            self._loss,
            warmup(math.ceil(steps / 10), rate),
            float(self.alpha) / _effective_batch(samples, size),
            rng if self.shuffle else None,
        )
        product = largest_product(self.model_, learner.optimizer, size) or 0
        with threads_for(product):
            self._fit(learner, samples, held, size, epochs)

    def _fit(
        self, learner: Learner, samples: Samples, held: Samples | None, size: int, epochs: int
    ) -> None:
        """Train for some epochs, or until the score on samples held back stays."""
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = None if held is None else []
        best = Best(self.tol)
        for epoch in range(1, epochs + 1):
            samples, loss = learner.epoch(samples, size)
            if not math.isfinite(loss):
                raise ValueError(
                    f"{type(self).__name__}: the loss is {loss} in epoch {epoch}, the steps were "
                    "too long: lower learning_rate_init, or scale X, as by "
                    "make_pipeline(StandardScaler(), ..)"
                )
            self.loss_curve_.append(loss)
            text = f"{type(self).__name__}: epoch {epoch} of {epochs}, loss {loss:.4g}"
            if held is not None and self.validation_scores_ is not None:
                score = self._score_of(held)
                self.validation_scores_.append(score)
                best.update(score, self.model_)
                text += f", validation score {score:.4g}"
            if self.verbose:
                print(text)
            if best.waited >= self.n_iter_no_change:
                break
        if best.state:
            self.model_.load_state_dict(best.state)
        self.model_.cleargrads()
        self.n_iter_ = epoch
        self.loss_ = self.loss_curve_[-1]

    def _plan(self, n: int) -> tuple[int, int]:
        """Samples a step, and epochs."""
        size = BATCH if self.batch_size == "auto" else int(self.batch_size)
        size = min(size, n)
        if self.max_iter != "auto":
            return size, int(self.max_iter)
        steps = math.ceil(n / size)
        return size, max(EPOCHS, math.ceil(STEPS / steps))

    def _split(
        self, samples: Samples, stratify: Array | None, rng: np.random.Generator
    ) -> tuple[Samples, Samples]:
        """The samples to train with, and those held back to score by."""
        from sklearn.model_selection import train_test_split

        own, other = train_test_split(
            np.arange(len(samples.x)),
            test_size=self.validation_fraction,
            random_state=int(rng.integers(2**31 - 1)),
            stratify=stratify,
        )
        return samples.take(own), samples.take(other)

    def _loss(self, prediction: Any, batch: Samples) -> Any:
        """The loss of a batch, weighted if it has weights."""
        raise NotImplementedError

    def _score_of(self, samples: Samples) -> float:
        """The score on samples held back: accuracy, or R^2."""
        raise NotImplementedError

    def _outputs(self, x: Any) -> Array:
        """What the model gives for new samples."""
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self)
        dtype = self.model_[0].dtype
        return self._run(validate_data(self, x, dtype=dtype, reset=False))

    def _run(self, x: Array) -> Array:
        with no_grad():
            return self.model_(x).data  # type: ignore[no-any-return]  # a layer gives what it likes

    @staticmethod
    def _weight(weight: Any, x: Array) -> Array | None:
        from sklearn.utils.validation import _check_sample_weight

        if weight is None:
            return None
        weight = _check_sample_weight(weight, x, dtype=x.dtype, ensure_non_negative=True)
        if not weight.any():
            raise ValueError("all of sample_weight is zero: nothing is left to train with")
        return weight  # type: ignore[no-any-return]  # scikit-learn has no types


def _is_positive_integer(n: Any) -> bool:
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        return False
    return bool(n > 0)


def _effective_batch(samples: Samples, size: int) -> float:
    """Samples a step, counted by weight: as if samples were repeated."""
    if samples.weight is None:
        return size
    return size * float(samples.weight.mean())


def _weighted_cross_entropy(x: Any, t: Array, w: Array) -> Any:
    picked = F.log_softmax(x)[np.arange(len(t)), t]
    total = float(w.sum())
    return (picked * w).sum() * (-1 / total)


def _weighted_squared_error(y: Any, t: Array, w: Array) -> Any:
    d = y - t
    total = float(w.sum()) * t.shape[1]
    return (d * d * w[:, None]).sum() * (1 / total)


class MLPClassifier(ClassifierMixin, _MLP):
    """A multi-layer perceptron that tells classes apart, trained by Adam on the cross-entropy.

    Settings are called as in ``sklearn.neural_network.MLPClassifier``, with defaults that train in
    fewer, larger steps. It computes in float32; up to 64 samples in float64, where one step sees
    them all and a sample's weight of 2 is the same as the sample twice. ``model_`` is the trained
    ``minidl.layers.MLP``.

    Args:
        hidden_layer_sizes: an integer for each hidden layer, or one.
        activation: "relu", "tanh", "logistic", "identity", "gelu", or a function of minidl's.
        alpha: strength of the L2 penalty, ``alpha / 2 * sum(w**2)`` over the number of samples a
        step.
        batch_size: samples a step; "auto" is 64, or all if there are fewer.
        learning_rate_init: Adam's rate at its highest: it rises for a tenth of the steps, then
        falls to 0 on a cosine.
        max_iter: epochs; "auto" is 20, or more if that were fewer than 200 steps.
        shuffle: whether each epoch has another order.
        random_state: a seed, or a generator as scikit-learn wants it.
        early_stopping, validation_fraction: whether to hold back samples, and which share, and to
            keep the weights that do best on them.
        tol, n_iter_no_change: with ``early_stopping``, training ends when so many epochs in a row
            have not improved the score on those samples by so much.
        verbose: print every epoch.

    ``fit`` raises ValueError for settings out of range, and if the loss becomes infinite or nan.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    >>> MLPClassifier(random_state=0, learning_rate_init=0.01).fit(x, y).predict([[1, 2], [-1, 2]])
    array(['same', 'other'], dtype='<U5')
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples (n, features) and labels (n,), each with a weight if given."""
        from sklearn.utils.multiclass import check_classification_targets
        from sklearn.utils.validation import column_or_1d, validate_data

        x, y = validate_data(self, X, y, dtype=_dtype(X))
        y = column_or_1d(y, warn=True)
        others = [label for label in y if not isinstance(label, str)]
        if y.dtype == object and others:
            raise ValueError(
                "Unknown label type: MLPClassifier wants labels that are all numbers or all text, "
                f"got objects such as {others[0]!r}; for numbers say y.astype(int)"
            )
        check_classification_targets(y)
        weight = self._weight(sample_weight, x)
        self.classes_, t = np.unique(y, return_inverse=True)
        self._train(Samples(x, t, weight), len(self.classes_), stratify=t)
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return F.softmax(self._outputs(X))  # type: ignore[no-any-return]  # an array of an array

    def predict(self, X: Any) -> Array:
        """The most likely class of each sample, (n,)."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]  # type: ignore[no-any-return]  # np.unique's

    def _loss(self, prediction: Any, batch: Samples) -> Any:
        if batch.weight is None:
            return F.cross_entropy(prediction, batch.t)
        return _weighted_cross_entropy(prediction, batch.t, batch.weight)

    def _score_of(self, samples: Samples) -> float:
        right = self._run(samples.x).argmax(1) == samples.t
        return float(np.average(right, weights=samples.weight))


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron that estimates numbers, trained by Adam on the squared error.

    Settings and attributes are those of ``MLPClassifier``. The targets are brought to mean 0 and
    deviation 1 for the training, and predictions back, so that their unit does not matter;
    ``loss_curve_`` is in those terms.

    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> model = MLPRegressor(random_state=0, max_iter=200).fit(x, 1000 * np.sin(x[:, 0]))
    >>> model.score(x, 1000 * np.sin(x[:, 0])) > 0.99
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples (n, features), targets (n,) or (n, outputs), and weights if given."""
        from sklearn.utils.validation import validate_data

        x, y = validate_data(self, X, y, dtype=_dtype(X), multi_output=True, y_numeric=True)
        y = np.asarray(y, np.float64)
        weight = self._weight(sample_weight, x)
        t = y.reshape(len(y), -1)
        self._offset = np.average(t, axis=0, weights=weight)
        squares = (t - self._offset) ** 2
        scale = np.sqrt(np.average(squares, axis=0, weights=weight))
        self._scale = np.where(scale > 0, scale, 1.0)
        self._flat = y.ndim == 1
        t = ((t - self._offset) / self._scale).astype(x.dtype)
        self._train(Samples(x, t, weight), t.shape[1], stratify=None)
        return self

    def predict(self, X: Any) -> Array:
        """The estimate for each sample, (n,) or (n, outputs) as the targets were."""
        y = self._outputs(X) * self._scale + self._offset
        return y[:, 0] if self._flat else y

    def _loss(self, prediction: Any, batch: Samples) -> Any:
        if batch.weight is None:
            return F.mean_squared_error(prediction, batch.t)
        return _weighted_squared_error(prediction, batch.t, batch.weight)

    def _score_of(self, samples: Samples) -> float:
        from sklearn.metrics import r2_score

        estimates = self._run(samples.x)
        return float(r2_score(samples.t, estimates, sample_weight=samples.weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _dtype(x: Any) -> Any:
    """What to compute in: float64 where all samples are one batch, and it costs nothing."""
    from sklearn.utils.validation import _num_samples

    return np.float64 if _num_samples(x) <= BATCH else np.float32
