"""MovingAverage: a second set of weights, the average of those that training went through.

What an update does is in `optim`; which weights a model has, in `layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minidl.autograd.variable import Variable
from minidl.common.arrays import to_kind_of
from minidl.common.checks import count, flag, number
from minidl.optim.buffer import wide_dtype
from minidl.training.callbacks import Callback


class MovingAverage(Callback):
    """The exponential average of the weights: ``a = decay a + (1 - decay) w`` after every update.

    It begins as the weights after a fit's first update, as PyTorch's ``AveragedModel``; those of a
    parameter that comes later, as they are then. Training goes on with the weights themselves, and
    these are the model's after the fit: ``with average.applied():`` evaluates, predicts or saves
    with the average, ``average.apply()`` gives it to the model for good. What layers keep besides,
    such as running statistics, is as training left it.

    ``decay`` is in [0, 1). With ``evaluate`` the validation of a fit measures the average; what
    ``EarlyStopping`` brings back are still the weights, while a checkpoint holds both.

    Raises ValueError or TypeError for bad settings.

    >>> import numpy as np
    >>> from minidl import Trainer, functions as F, layers, optim
    >>> model, average = layers.Linear(1, 1), MovingAverage(decay=0.5)
    >>> trainer = Trainer(model, optim.SGD(model), F.mean_squared_error, callbacks=[average])
    >>> x = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    >>> history = trainer.fit(x, x, epochs=2, verbose=0)
    >>> with average.applied():
    ...     error = trainer.evaluate(x, x)["loss"]
    """

    def __init__(self, decay: float = 0.999, evaluate: bool = False) -> None:
        self.decay = number("MovingAverage: decay", decay, below=1)
        self.evaluate = flag("MovingAverage: evaluate", evaluate)
        self._averages: dict[Variable, Any] = {}
        self._weights: dict[Variable, Any] = {}  # the model's own, during a validation
        self._steps = 0

    def on_train_begin(self) -> None:
        self._averages = {}
        self._steps = self.trainer.steps

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if self.trainer.steps == self._steps:  # it was a part of an update
            return
        self._steps = self.trainer.steps
        for p in self.trainer.optimizer.params:
            if p.lazy:
                continue
            a = self._averages.get(p)
            w = p.data.astype(wide_dtype(p.dtype))
            if a is None or a.shape != w.shape:
                self._averages[p] = w
            else:
                w *= 1 - self.decay
                a *= self.decay
                a += w

    def apply(self) -> None:
        """Give the model the average in place of its weights.

        Raises RuntimeError before the first update.
        """
        if not self._averages:
            raise RuntimeError("MovingAverage: want a fit with an update before, got none")
        for p, a in self._averages.items():
            p.data = to_kind_of(a.astype(p.dtype), p)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the average in place of the weights, which are back afterwards, whatever happens."""
        weights = self._weights_now()
        self.apply()
        try:
            yield
        finally:
            _give_back(weights)

    def on_validation_begin(self) -> None:
        if self.evaluate and self._averages:
            self._weights = self._weights_now()
            self.apply()

    def on_validation_end(self) -> None:
        _give_back(self._weights)
        self._weights = {}

    def _weights_now(self) -> dict[Variable, Any]:
        return {p: p.data for p in self._averages}

    def state_dict(self) -> dict[str, Any]:
        averages: list[Any] = []
        if self._averages:
            averages += map(self._averages.get, self.trainer.optimizer.params)
        copies = [None if a is None else a.copy() for a in averages]
        return {"steps": self._steps, "averages": copies}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        steps = count("MovingAverage: steps", state["steps"], least=0)
        averages: dict[Variable, Any] = {}
        params = self.trainer.optimizer.params
        if state["averages"]:
            for p, a in zip(params, state["averages"], strict=True):
                if a is not None and a.shape != p.shape:
                    raise ValueError(f"MovingAverage: want an average {p.shape}, got {a.shape}")
                if a is not None:
                    averages[p] = to_kind_of(a.astype(wide_dtype(p.dtype)), p)
        self._averages = averages
        self._steps = steps


def _give_back(weights: Mapping[Variable, Any]) -> None:
    for p, w in weights.items():
        p.data = w
