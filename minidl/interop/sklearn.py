"""scikit-learn's way to train an MLP of minidl's: MLPClassifier and MLPRegressor.

How a Trainer trains them is in `sklearn_training.py`. Needs the extra ``sklearn``.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.interop.sklearn_training import (
    ClassifierMixin,
    HeldOut,
    RegressorMixin,
    RidgeAdam,
    Samples,
    TrainedEstimator,
    encode_labels,
    is_count,
    read_labels,
)
from minidl.layers import MLP
from minidl.optim.schedules import cosine, warmup
from minidl.training.callbacks import Callback, EarlyStopping
from minidl.training.trainer import Trainer

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


class _MLP(TrainedEstimator):
    """What both share: the settings, their checks, and the training."""

    _rate = "learning_rate_init"
    model_: MLP

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
        warm_start: bool = False,
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
        self.warm_start = warm_start
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
        self._want_count("max_iter", auto=True)
        self._want_count("n_iter_no_change")
        self._want_number("tol", "a number of at least 0")
        self._want_count("batch_size", auto=True)
        self._want_number("validation_fraction", "between 0 and 1", positive=True, below=1)
        self._want_flags("shuffle", "warm_start", "early_stopping")

    def _sizes(self) -> Any:
        """The sizes of the hidden layers, a list; None if they are no such sizes."""
        sizes = np.ravel(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not all(map(is_count, sizes)):
            return None
        return [int(n) for n in sizes]

    def _activation(self) -> Any:
        """The function; None if it is none."""
        if isinstance(self.activation, str):
            return ACTIVATIONS.get(self.activation)
        return self.activation if callable(self.activation) else None

    def _dtype(self, x: Any, going_on: bool) -> Any:
        """What to compute in: float64 where all samples are one batch, and it costs nothing."""
        from sklearn.utils.validation import _num_samples

        if going_on:
            return self.model_[0].dtype
        return np.float64 if _num_samples(x) <= BATCH else np.float32

    def _form_of_inputs(self) -> dict[str, Any]:
        return {"dtype": self.model_[0].dtype}

    def _train(self, samples: Samples, outputs: int, going_on: bool, stratify: bool) -> None:
        """Train by Adam, its rate rising at first, then falling to zero."""
        seed, order = self._seeds()
        samples = samples.that_count()
        callbacks: list[Callback] = []
        if self.early_stopping:
            samples, held = self._split(samples, stratify, order)
            stopping = EarlyStopping("score", self.n_iter_no_change, self.tol, "max")
            callbacks = [HeldOut(held, self._score_of), stopping]
        size, epochs = self._plan(len(samples.x))
        if going_on:
            model = self._same_model(copy.deepcopy(self.model_))
        else:
            model = self._new_model(samples.x, outputs, seed)
        steps = math.ceil(len(samples.x) / size) * epochs
        rate = warmup(math.ceil(steps / 10), cosine(float(self.learning_rate_init), steps))
        optimizer = RidgeAdam(model, rate, self._decay(samples, size))
        trainer = Trainer(model, optimizer, self._loss, callbacks=callbacks)
        self._learn(trainer, samples.loader(size, self.shuffle, order), epochs, going_on)
        optimizer.lr = float(self.learning_rate_init)  # for partial_fit; a schedule is not pickled
        self.validation_scores_ = trainer.history["score"] if callbacks else None

    def _train_once(self, samples: Samples, outputs: int, going_on: bool) -> None:
        """Train for one epoch, at a constant rate, going on from the optimizer's state."""
        self._want("early_stopping", not self.early_stopping, "False for partial_fit")
        seed, order = self._seeds()
        samples = samples.that_count()
        size, _ = self._plan(len(samples.x))
        optimizer: Any
        if going_on:
            model = self._same_model(self.model_)
            optimizer = self._optimizer
        else:
            model = self._new_model(samples.x, outputs, seed)
            optimizer = RidgeAdam(model, 0.0, 0.0)
        optimizer.lr = float(self.learning_rate_init)
        optimizer.decay = self._decay(samples, size)
        trainer = Trainer(model, optimizer, self._loss)
        self._learn(trainer, samples.loader(size, self.shuffle, order), 1, going_on)

    def _new_model(self, x: Array, outputs: int, seed: int) -> MLP:
        return MLP(
            [*self._sizes(), outputs],
            self._activation(),
            in_features=x.shape[1],
            dtype=x.dtype,
            rng=np.random.default_rng(seed),
        )

    def _same_model(self, model: MLP) -> MLP:
        """The model to go on with, if it has the sizes that the settings say."""
        sizes = [layer.out_features for layer in model.layers[:-1]]
        self._want("hidden_layer_sizes", sizes == self._sizes(), f"{sizes} as in the fit before")
        model.activation = self._activation()
        return model

    def _plan(self, n: int) -> tuple[int, int]:
        """Samples a step, and epochs."""
        size = BATCH if self.batch_size == "auto" else int(self.batch_size)
        size = min(size, n)
        if self.max_iter != "auto":
            return size, int(self.max_iter)
        steps = math.ceil(n / size)
        return size, max(EPOCHS, math.ceil(STEPS / steps))

    def _decay(self, samples: Samples, size: int) -> float:
        """The penalty's share of a step: samples count by weight, as if they were repeated."""
        weight = 1.0 if samples.weight is None else float(samples.weight.mean())
        return float(self.alpha) / (size * weight)

    def _split(self, samples: Samples, stratify: bool, seed: int) -> tuple[Samples, Samples]:
        """The samples to train with, and those held back to score by."""
        from sklearn.model_selection import train_test_split

        own, other = train_test_split(
            np.arange(len(samples.x)),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=samples.t if stratify else None,
        )
        return samples.take(own), samples.take(other)

    def _score_of(self, prediction: Array, samples: Samples) -> float:
        """The score on samples held back: accuracy, or R^2."""
        raise NotImplementedError


class MLPClassifier(ClassifierMixin, _MLP):
    """A multi-layer perceptron that tells classes apart, trained by Adam on the cross-entropy.

    Settings are called as in ``sklearn.neural_network.MLPClassifier``, with defaults that train in
    fewer, larger steps. It computes in float32; up to 64 samples in float64, where one step sees
    them all and a sample's weight of 2 is the same as the sample twice. ``model_`` is the trained
    ``minidl.layers.MLP``.

    Targets may be an indicator matrix (n, labels) of 0 and 1 as well, each column a label by
    itself, trained on the binary cross-entropy; then ``predict`` gives such a matrix, and
    ``predict_proba`` the probability of each label.

    Args:
        hidden_layer_sizes: an integer for each hidden layer, or one.
        activation: "relu", "tanh", "logistic", "identity", "gelu", or a function of minidl's.
        alpha: strength of the L2 penalty, ``alpha / 2 * sum(w**2)`` over the number of samples a
            step.
        batch_size: samples a step; "auto" is 64, or all if there are fewer.
        learning_rate_init: Adam's rate at its highest: it rises for a tenth of the steps, then
            falls to 0 on a cosine. ``partial_fit`` uses it as it is.
        max_iter: epochs; "auto" is 20, or more if that were fewer than 200 steps.
        shuffle: whether each epoch has another order.
        random_state: a seed, or a generator as scikit-learn wants it.
        early_stopping, validation_fraction: whether to hold back samples, and which share, and to
            keep the weights that do best on them.
        tol, n_iter_no_change: with ``early_stopping``, training ends when so many epochs in a row
            have not improved the score on those samples by so much.
        verbose: print every epoch.
        warm_start: whether ``fit`` starts from the weights of the fit before.
        class_weight: how much samples of a class count, a dict with a number for every class; or
            "balanced", where all classes count the same. It multiplies ``sample_weight``.

    ``fit`` raises ValueError for settings out of range, and if the loss becomes infinite or nan.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    >>> MLPClassifier(random_state=0, learning_rate_init=0.01).fit(x, y).predict([[1, 2], [-1, 2]])
    array(['same', 'other'], dtype='<U5')
    """

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
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
        )
        self.class_weight = class_weight

    def _check_settings(self) -> None:
        super()._check_settings()
        weight = self.class_weight
        fits = isinstance(weight, dict) if not isinstance(weight, str) else weight == "balanced"
        self._want("class_weight", weight is None or fits, 'None, a dict or "balanced"')

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples (n, features) and labels (n,), each with a weight if given."""
        going_on = self._begin()
        samples = self._read(X, y, sample_weight, None, going_on)
        self._train(samples, len(self.classes_), going_on, stratify=not self._multilabel)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on samples that are not all there are, or of a stream.

        ``classes`` are those of all calls, wanted in the first one unless ``y`` is an indicator
        matrix. It goes on where the call before, or ``fit``, ended; the rate is constant.
        """
        going_on = self._begin(partial=True)
        if self.class_weight == "balanced":
            raise ValueError(
                "MLPClassifier.partial_fit: class_weight: want a dict, as the balance of samples "
                'to come is not known, got "balanced"'
            )
        if classes is None and not going_on:
            _, indicator = read_labels("MLPClassifier", y)
            if not indicator:
                raise ValueError("classes must be passed on the first call to partial_fit.")
        samples = self._read(X, y, sample_weight, classes, going_on)
        self._train_once(samples, len(self.classes_), going_on)
        return self

    def _read(self, x: Any, y: Any, weight: Any, classes: Any, going_on: bool) -> Samples:
        """The samples to train with; sets the classes, or checks that they are those before."""
        from sklearn.utils.validation import validate_data

        who = "MLPClassifier"
        dtype = self._dtype(x, going_on)
        x, y = validate_data(self, x, y, dtype=dtype, multi_output=True, reset=not going_on)
        y, indicator = read_labels(who, y)
        weight = self._weight(weight, x)
        known = np.arange(y.shape[1]) if indicator else np.unique(y if classes is None else classes)
        if not going_on:
            self.classes_ = known
            self._multilabel = indicator
        elif indicator != self._multilabel or (
            (indicator or classes is not None) and not np.array_equal(known, self.classes_)
        ):
            raise ValueError(
                f"{who}: want the classes of the fit before, {self.classes_}, got {known}"
            )
        t = y.astype(x.dtype) if indicator else encode_labels(who, y, self.classes_)
        return Samples(x, t, self._weigh_classes(t, weight))

    def _weigh_classes(self, t: Array, weight: Array | None) -> Array | None:
        """The weights of samples, times those of their classes."""
        if self.class_weight is None:
            return weight
        self._want("class_weight", not self._multilabel, "None for an indicator matrix")
        if weight is None:
            weight = np.ones(len(t))
        if isinstance(self.class_weight, dict):
            of_class = self._numbers_of_classes()
        else:  # balanced
            counts = np.bincount(t, weight, len(self.classes_))
            of_class = counts.sum() / np.count_nonzero(counts) / np.where(counts, counts, 1)
        weight = weight * of_class[t]
        self._check_weight("class_weight", weight)
        return weight

    def _numbers_of_classes(self) -> Array:
        missing = [label for label in self.classes_.tolist() if label not in self.class_weight]
        self._want("class_weight", not missing, f"a weight for every class, also for {missing}")
        of_class = np.array([self.class_weight[label] for label in self.classes_.tolist()])
        good = of_class.dtype.kind in "fiu" and np.isfinite(of_class).all() and of_class.min() >= 0
        self._want("class_weight", good, "finite numbers of at least 0")
        return of_class

    @property
    def _loss(self) -> Callable[..., Any]:
        return F.binary_cross_entropy_with_logits if self._multilabel else F.cross_entropy

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        x = self._outputs(X).astype(np.float64)  # so that its logarithm has all digits
        p: Array = F.sigmoid(x) if self._multilabel else F.softmax(x)
        return p

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of ``predict_proba``, to full precision."""
        x = self._outputs(X).astype(np.float64)
        log_p: Array = F.log_sigmoid(x) if self._multilabel else F.log_softmax(x)
        return log_p

    def predict(self, X: Any) -> Array:
        """The most likely class of each sample, (n,), or an indicator matrix (n, labels)."""
        return self._decide(self._outputs(X))

    def _decide(self, outputs: Array) -> Array:
        if self._multilabel:
            return (outputs > 0).astype(np.int64)
        best = outputs.argmax(1)
        return self.classes_[best]  # type: ignore[no-any-return]  # np.unique's

    def _score_of(self, prediction: Array, samples: Samples) -> float:
        if self._multilabel:
            right = ((prediction > 0) == samples.t).all(1)
        else:
            right = prediction.argmax(1) == samples.t
        return float(np.average(right, weights=samples.weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron that estimates numbers, trained by Adam on the squared error.

    Settings and attributes are those of ``MLPClassifier``, but for ``class_weight``. The targets,
    of which each sample may have several, are brought to mean 0 and deviation 1 for the training,
    and predictions back, so that their unit does not matter; ``loss_curve_`` is in those terms.
    What goes on with a model, ``partial_fit`` or ``warm_start``, keeps the scale of the first call.

    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> model = MLPRegressor(random_state=0, max_iter=200).fit(x, 1000 * np.sin(x[:, 0]))
    >>> model.score(x, 1000 * np.sin(x[:, 0])) > 0.99
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples (n, features), targets (n,) or (n, outputs), and weights if given."""
        going_on = self._begin()
        samples = self._read(X, y, sample_weight, going_on)
        self._train(samples, samples.t.shape[1], going_on, stratify=False)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on samples that are not all there are, or of a stream.

        It goes on where the call before, or ``fit``, ended; the rate is constant, and so is the
        scale of the targets, which is that of the first call.
        """
        going_on = self._begin(partial=True)
        samples = self._read(X, y, sample_weight, going_on)
        self._train_once(samples, samples.t.shape[1], going_on)
        return self

    def _read(self, x: Any, y: Any, weight: Any, going_on: bool) -> Samples:
        """The samples to train with, their targets scaled; learns the scale in the first call."""
        from sklearn.utils.validation import validate_data

        settings = {"multi_output": True, "y_numeric": True, "reset": not going_on}
        x, y = validate_data(self, x, y, dtype=self._dtype(x, going_on), **settings)
        y = np.asarray(y, np.float64)
        weight = self._weight(weight, x)
        t = y.reshape(len(y), -1)
        if not going_on:
            with np.errstate(over="ignore", invalid="ignore"):
                self._offset = np.average(t, axis=0, weights=weight)
                squares = (t - self._offset) ** 2
                scale = np.sqrt(np.average(squares, axis=0, weights=weight))
            if not np.isfinite(scale).all():
                raise ValueError("MLPRegressor: y: want targets whose squares are finite")
            self._scale = np.where(scale > 0, scale, 1.0)
            self._flat = y.ndim == 1
        elif t.shape[1] != len(self._scale):
            raise ValueError(
                f"MLPRegressor: y: want {len(self._scale)} targets for a sample, as in the fit "
                f"before, got {t.shape[1]}"
            )
        t = ((t - self._offset) / self._scale).astype(x.dtype)
        return Samples(x, t, weight)

    @property
    def _loss(self) -> Callable[..., Any]:
        return F.mean_squared_error

    def predict(self, X: Any) -> Array:
        """The estimate for each sample, (n,) or (n, outputs) as the targets were."""
        y: Array = self._outputs(X) * self._scale + self._offset
        return y[:, 0] if self._flat else y

    def _score_of(self, prediction: Array, samples: Samples) -> float:
        from sklearn.metrics import r2_score

        return float(r2_score(samples.t, prediction, sample_weight=samples.weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
