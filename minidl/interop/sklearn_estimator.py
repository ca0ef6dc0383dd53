"""Estimator: any layer of minidl's as an estimator of scikit-learn's.

How a Trainer trains it is in `sklearn_training.py`. Needs the extra ``sklearn``.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.common import random
from minidl.interop.sklearn_training import (
    Samples,
    TrainedEstimator,
    available_if,
    encode_labels,
    read_labels,
)
from minidl.layers import Layer
from minidl.optim import Adam
from minidl.training.trainer import Trainer

__all__ = ["Estimator"]

Array = npt.NDArray[Any]
_drawing = threading.RLock()  # fits in threads share minidl's generator, which each seeds


class Estimator(TrainedEstimator):
    """Any layer as an estimator: trained by a ``Trainer``, used like scikit-learn's own.

    ``fit`` trains a copy of the model, ``model_``, from the weights that the model has; those it
    does not have yet are drawn. So the model given stays as it is, and every fit, and every clone
    in a search, begins with the same one. The loss says what it is for: with ``F.cross_entropy``
    the estimator is a classifier, whose model gives a logit for each class; y are any labels,
    ``predict`` gives labels, ``predict_proba`` probabilities, ``score`` the accuracy. With other
    losses it is a regressor: ``predict`` gives the model's output, (n,) where that is (n, 1) and y
    was (n,), and ``score`` is R^2.

    Args:
        model: a layer that takes one array (n, ..); or a function from the number of classes, or of
            targets of a sample, to a new one.
        loss: as for ``Trainer``; with ``sample_weight`` it is called with ``weight=``.
        optimizer: a class of minidl's, or a function from the model to an optimizer.
        lr: its rate; None for what it is by default.
        epochs, batch_size, shuffle, metrics: as for ``Trainer`` and its ``fit``; metrics are in
            ``history_``.
        classifier: whether it is one; None: as the loss says.
        dtype: what X, and a regressor's y, are converted to; None leaves them as they are, such as
            integers for ``Embedding``.
        random_state: a seed, or a generator as scikit-learn wants it, of all that the fit draws;
            weights that the model has before, as layers of known sizes do, are not drawn again.
        verbose: print every epoch.

    In a search, settings such as ``lr``, and whole models, ``{"model": [MLP([8, 1]), ..]}``, can be
    tried; not a part of a model. ``fit`` raises ValueError for settings out of range, a model with
    another number of outputs than there are classes, and a loss that becomes infinite or nan.

    >>> from minidl import layers
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    >>> model = layers.Sequential(layers.Linear(32), F.relu, layers.Linear(2))
    >>> estimator = Estimator(model, F.cross_entropy, lr=0.01, epochs=30, random_state=0)
    >>> estimator.fit(x, y).predict([[1, 2], [-1, 2]])
    array(['same', 'other'], dtype='<U5')
    """

    _rate = "lr"

    def __init__(
        self,
        model: Any,
        loss: Any,
        *,
        optimizer: Any = Adam,
        lr: Any = None,
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        metrics: Any = None,
        classifier: bool | None = None,
        dtype: Any = "float32",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.metrics = metrics
        self.classifier = classifier
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _check_settings(self) -> None:
        what = "a layer, or a function that makes one"
        self._want("model", callable(self.model) and not isinstance(self.model, type), what)
        self._want("loss", callable(self.loss), "a function")
        self._want("optimizer", callable(self.optimizer), "a class, or a function of the model")
        self._want_count("epochs")
        self._want_count("batch_size")
        self._want_flags("shuffle", *(() if self.classifier is None else ("classifier",)))

    @property
    def _loss(self) -> Callable[..., Any]:
        return self.loss  # type: ignore[no-any-return]  # checked by fit

    def _form_of_inputs(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "allow_nd": True}

    def _classifies(self) -> bool:
        if self.classifier is not None:
            return bool(self.classifier)
        loss = self.loss
        while isinstance(loss, partial):
            loss = loss.func
        return loss is F.cross_entropy

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples (n, ..) and labels or targets, each with a weight if given."""
        self._begin()
        x, y = self._read(X, y)
        weight = self._weight(sample_weight, x)
        seed, order = self._seeds()
        bits = np.random.default_rng(seed).bit_generator.state
        with _drawing, random.repeating_draws({random.generator(): bits}):
            model = self._new_model(y)
            settings = {} if self.lr is None else {"lr": self.lr}
            trainer = Trainer(model, self.optimizer(model, **settings), self.loss, self.metrics)
            y = self._match(y, trainer.predict(x[:1]))
            data = Samples(x, y, weight).that_count().loader(self.batch_size, self.shuffle, order)
            try:
                self._learn(trainer, data, self.epochs)
            except TypeError as error:
                kind = "classifier" if self._classifies() else "regressor"
                error.add_note(f"Estimator: is a {kind}: y are {y.dtype}; see classifier=")
                raise
        self.history_ = trainer.history
        return self

    def _new_model(self, y: Array) -> Layer:
        """A copy of the model, or one that is made for so many outputs."""
        if isinstance(self.model, Layer):
            return copy.deepcopy(self.model)
        outputs = len(self.classes_) if self._classifies() else math.prod(y.shape[1:])
        model = self.model(outputs)
        if not isinstance(model, Layer):
            raise TypeError(f"Estimator: model: want a function that makes a layer, got {model!r}")
        return model

    def _read(self, x: Any, y: Any) -> tuple[Array, Array]:
        """Samples, and targets; of a classifier the places of labels in ``classes_``."""
        from sklearn.utils import check_consistent_length
        from sklearn.utils.validation import validate_data

        of_x = self._form_of_inputs()
        of_y = {"dtype": None, "allow_nd": True, "ensure_2d": False}
        if not self._classifies():
            of_y["dtype"] = self.dtype
            if np.asarray(y).dtype.kind in "US":
                raise ValueError(
                    "Estimator: y: want numbers for a regressor, got text; for labels say "
                    "classifier=True"
                )
        x, y = validate_data(self, x, y, validate_separately=(of_x, of_y))
        check_consistent_length(x, y)
        if not self._classifies():
            return x, y
        y, indicator = read_labels("Estimator", y)
        if indicator:
            raise ValueError(
                "Estimator: y: want labels (n,) for a classifier, got an indicator matrix; say "
                "classifier=False and use binary_cross_entropy_with_logits"
            )
        self.classes_ = np.unique(y)
        return x, encode_labels("Estimator", y, self.classes_)

    def _match(self, y: Array, output: Any) -> Array:
        """The targets as they fit the model's output for a sample."""
        shape = np.shape(output) if isinstance(output, np.ndarray) else ()
        self._flat = not self._classifies() and y.ndim == 1 and shape == (1, 1)
        if self._classifies() and shape != (1, len(self.classes_)):
            raise ValueError(
                f"Estimator: model: want an output for each of {len(self.classes_)} classes, "
                f"(1, {len(self.classes_)}) for a sample, got {shape}"
            )
        return y[:, None] if self._flat else y

    def predict(self, X: Any) -> Any:
        """The class of each sample, (n,); or the model's output."""
        y = self._outputs(X)
        if self._classifies():
            best = y.argmax(1)
            return self.classes_[best]
        return y[:, 0] if self._flat else y

    @available_if(_classifies)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        y = self._outputs(X).astype(np.float64)
        p: Array = F.softmax(y)
        return p

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy of a classifier, else R^2."""
        from sklearn.metrics import accuracy_score, r2_score

        measure = accuracy_score if self._classifies() else r2_score
        return float(measure(y, self.predict(X), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier" if self._classifies() else "regressor"
        if self._classifies():
            tags.classifier_tags = ClassifierTags()
        else:
            tags.regressor_tags = RegressorTags()
            tags.target_tags.multi_output = True
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        return tags
