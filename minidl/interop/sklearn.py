"""scikit-learn's way to train an MLP of minidl's: MLPClassifier and MLPRegressor, for pipelines and grid search.

The layers, losses and steps are minidl's own; a training loop to build upon is training's. Needs
the extra ``sklearn``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import no_grad
from minidl.common.extras import install
from minidl.layers import MLP
from minidl.optim import Adam
from minidl.optim.schedules import cosine, warmup

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
except ImportError as _missing:
    _why = _missing

    class BaseEstimator:  # type: ignore[no-redef]  # stands where scikit-learn does not, and says so
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


# Chosen on digits, diabetes and five others, where they do as well as scikit-learn's in a fraction of the time.
BATCH, EPOCHS, STEPS = (
    64,
    20,
    200,
)  # samples a step; "auto" epochs: so many, and at least so many steps


class _MLP(BaseEstimator):
    """What both share: the settings, their checks, and the training."""

    _losses: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]  # without and with weights

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

    def _settings(self) -> tuple[list[int], Callable[[Any], Any]]:
        """The hidden sizes and the activation, all settings checked."""

        def want(fits: Any, name: str, what: str) -> None:
            if not fits:
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {what}, got {getattr(self, name)!r}"
                )

        def number(name: str, low: float, high: float = math.inf, whole: bool = False) -> bool:
            value, kinds = (
                getattr(self, name),
                (int, np.integer) if whole else (int, float, np.number),
            )
            return (
                isinstance(value, kinds)
                and not isinstance(value, bool)
                and bool(low <= value < high)
            )

        sizes = np.ravel(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        fit = all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in sizes
        )
        want(fit, "hidden_layer_sizes", "a list of positive integers, such as (100,)")
        names = isinstance(self.activation, str) and self.activation in ACTIVATIONS
        want(
            names or callable(self.activation),
            "activation",
            f"one of {', '.join(ACTIVATIONS)}, or a function",
        )
        want(number("alpha", 0), "alpha", "a number of at least 0")
        want(number("learning_rate_init", 5e-324), "learning_rate_init", "a positive number")
        want(
            self.max_iter == "auto" or number("max_iter", 1, whole=True),
            "max_iter",
            '"auto" or a positive integer',
        )
        want(number("n_iter_no_change", 1), "n_iter_no_change", "at least 1")
        want(number("tol", -math.inf), "tol", "a number")
        want(
            self.batch_size == "auto" or number("batch_size", 1, whole=True),
            "batch_size",
            '"auto" or at least 1',
        )
        want(number("validation_fraction", 5e-324, 1), "validation_fraction", "between 0 and 1")
        return [int(n) for n in sizes], ACTIVATIONS[self.activation] if names else self.activation

    def _train(
        self, x: Array, t: Array, outputs: int, weight: Array | None, stratify: Array | None
    ) -> None:
        """Make ``model_`` and train it on minibatches with Adam, its rate rising, then falling to zero."""
        from sklearn.utils import check_random_state

        (sizes, activation), name = self._settings(), type(self).__name__
        rng = np.random.default_rng(
            check_random_state(self.random_state).randint(2**31 - 1, size=4)
        )
        held = None
        if self.early_stopping:
            x, t, weight, held = self._split(x, t, weight, stratify, rng)
        n, (loss_of, loss_of_weighted) = len(x), self._losses
        size = min(BATCH if self.batch_size == "auto" else int(self.batch_size), n)
        steps = math.ceil(n / size)
        epochs = (
            max(EPOCHS, math.ceil(STEPS / steps)) if self.max_iter == "auto" else int(self.max_iter)
        )
        model = self.model_ = MLP(
            [*sizes, outputs], activation, in_features=x.shape[1], dtype=x.dtype, rng=rng
        )
        heft = (
            size if weight is None else size * float(weight.mean())
        )  # as if samples were repeated
        rate = cosine(float(self.learning_rate_init), steps * epochs)
        decay, weights = (
            float(self.alpha) / heft,
            [linear.w for linear in model.layers] if self.alpha > 0 else [],
        )
        optimizer = Adam(model.parameters(), lr=warmup(math.ceil(steps * epochs / 10), rate))
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = None if held is None else []
        best, best_state, waited = -math.inf, None, 0
        for epoch in range(1, epochs + 1):
            total = 0.0
            if self.shuffle and size < n:
                order = rng.permutation(n)
                x, t, weight = x[order], t[order], None if weight is None else weight[order]
            for i in range(0, n, size):
                batch = slice(i, i + size)
                if weight is None:
                    loss = loss_of(model(x[batch]), t[batch])
                elif weight[batch].any():
                    loss = loss_of_weighted(model(x[batch]), t[batch], weight[batch])
                else:
                    continue
                optimizer.cleargrads()
                loss.backward(retain_graph=False)
                for w in weights:  # not as a hook, which would take a sixth of the step
                    if w.grad is not None:
                        w.grad.data[...] += decay * w.data
                optimizer.update()
                total += float(loss) * min(size, n - i)
            if not math.isfinite(total):
                hint = "lower learning_rate_init, or scale X, as by make_pipeline(StandardScaler(), ..)"
                raise ValueError(
                    f"{name}: the loss is {total} in epoch {epoch}, the steps were too long: {hint}"
                )
            self.loss_curve_.append(total / n)
            said = f"{name}: epoch {epoch} of {epochs}, loss {total / n:.4g}"
            if held is not None and self.validation_scores_ is not None:
                score = self._score_of(*held)
                self.validation_scores_.append(score)
                said += f", validation score {score:.4g}"
                waited = 0 if score > best + self.tol else waited + 1
                if score > best:
                    best, best_state = score, model.state_dict()
            if self.verbose:
                print(said)
            if waited >= self.n_iter_no_change:
                break
        if best_state is not None:
            model.load_state_dict(best_state)
        model.cleargrads()
        self.n_iter_, self.loss_ = epoch, self.loss_curve_[-1]

    def _split(
        self,
        x: Array,
        t: Array,
        weight: Array | None,
        stratify: Array | None,
        rng: np.random.Generator,
    ) -> tuple[Array, Array, Array | None, tuple[Array, Array, Array | None]]:
        """The samples to train with, and those held back to score by."""
        from sklearn.model_selection import train_test_split

        seed, rows = int(rng.integers(2**31 - 1)), np.arange(len(x))
        own, other = train_test_split(
            rows, test_size=self.validation_fraction, random_state=seed, stratify=stratify
        )
        parts = (None, None) if weight is None else (weight[own], weight[other])
        return x[own], t[own], parts[0], (x[other], t[other], parts[1])

    def _score_of(self, x: Array, t: Array, weight: Array | None) -> float:
        """The score on samples held back: accuracy, or R^2."""
        raise NotImplementedError

    def _outputs(self, x: Any) -> Array:
        """What the model gives for new samples."""
        from sklearn.utils.validation import check_is_fitted, validate_data

        check_is_fitted(self)
        return self._run(validate_data(self, x, dtype=self.model_[0].dtype, reset=False))

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


def _weighted_cross_entropy(x: Any, t: Array, w: Array) -> Any:
    return (F.log_softmax(x)[np.arange(len(t)), t] * w).sum() * (-1 / float(w.sum()))


def _weighted_squared_error(y: Any, t: Array, w: Array) -> Any:
    d = y - t
    return (d * d * w[:, None]).sum() * (1 / (float(w.sum()) * t.shape[1]))


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
        """Train on samples (n, features) and their labels (n,), each with a weight if given; return the estimator."""
        from sklearn.utils.multiclass import check_classification_targets
        from sklearn.utils.validation import column_or_1d, validate_data

        x, y = validate_data(self, X, y, dtype=_dtype(X))
        y = column_or_1d(y, warn=True)
        if y.dtype == object and not all(isinstance(label, str) for label in y):
            other = next(label for label in y if not isinstance(label, str))
            raise ValueError(
                "Unknown label type: MLPClassifier wants labels that are all numbers or all text, got "
                f"objects such as {other!r}; for numbers say y.astype(int)"
            )
        check_classification_targets(y)
        weight = self._weight(sample_weight, x)
        self.classes_, t = np.unique(y, return_inverse=True)
        self._train(x, t, len(self.classes_), weight, t)
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return F.softmax(self._outputs(X))  # type: ignore[no-any-return]  # an array, as that is what it is given

    def predict(self, X: Any) -> Array:
        """The most likely class of each sample, (n,)."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]  # type: ignore[no-any-return]  # np.unique's

    def _score_of(self, x: Array, t: Array, weight: Array | None) -> float:
        return float(np.average(self._run(x).argmax(1) == t, weights=weight))

    _losses = (F.cross_entropy, _weighted_cross_entropy)


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron that estimates one number a sample, or several, trained by Adam on the squared error.

    Settings and attributes are those of ``MLPClassifier``. The targets are brought to mean 0 and
    deviation 1 for the training, and predictions back, so that their unit does not matter;
    ``loss_curve_`` is in those terms.

    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> model = MLPRegressor(random_state=0, max_iter=200).fit(x, 1000 * np.sin(x[:, 0]))
    >>> model.score(x, 1000 * np.sin(x[:, 0])) > 0.99
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples (n, features) and targets (n,) or (n, outputs), each with a weight if given."""
        from sklearn.utils.validation import validate_data

        x, y = validate_data(self, X, y, dtype=_dtype(X), multi_output=True, y_numeric=True)
        y = np.asarray(y, np.float64)
        weight = self._weight(sample_weight, x)
        t = y.reshape(len(y), -1)
        self._offset = np.average(t, axis=0, weights=weight)
        scale = np.sqrt(np.average((t - self._offset) ** 2, axis=0, weights=weight))
        self._scale, self._flat = np.where(scale > 0, scale, 1.0), y.ndim == 1
        self._train(x, ((t - self._offset) / self._scale).astype(x.dtype), t.shape[1], weight, None)
        return self

    def predict(self, X: Any) -> Array:
        """The estimate for each sample, (n,) or (n, outputs) as the targets were."""
        y = self._outputs(X) * self._scale + self._offset
        return y[:, 0] if self._flat else y

    def _score_of(self, x: Array, t: Array, weight: Array | None) -> float:
        from sklearn.metrics import r2_score

        return float(r2_score(t, self._run(x), sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    _losses = (F.mean_squared_error, _weighted_squared_error)


def _dtype(x: Any) -> Any:
    """What to compute in: float64 where all samples are one batch, and it costs nothing."""
    from sklearn.utils.validation import _num_samples

    return np.float64 if _num_samples(x) <= BATCH else np.float32
