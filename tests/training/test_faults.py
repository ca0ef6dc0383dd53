"""Losses and gradients that are not finite: stopped at once, with the step, the parameter and the function named."""

from typing import Any

import numpy as np
import pytest

from minidl import Trainer, layers, optim
from minidl import functions as F
from minidl.optim import hooks

X = np.random.default_rng(0).standard_normal((12, 3))
T = X[:, :1]


class Root(layers.Layer):
    """Takes a square root, whose derivative at 0 is infinite."""

    def __init__(self) -> None:
        self.inner = layers.Linear(3, 1, dtype=np.float64)

    def forward(self, x: Any) -> Any:
        return np.sqrt(self.inner(x) ** 2)


def weights(of: Trainer) -> list[Any]:
    return [p.data.copy() for p in of.optimizer.params]


def trainer(model: Any, loss: Any = F.mean_squared_error, **keywords: Any) -> Trainer:
    return Trainer(model, optim.SGD(model, lr=0.1, **keywords), loss)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_is_not_finite(accumulate: int) -> None:
    x = X.copy()
    x[8] = 0  # with the bias at zero its output is exactly 0
    of = trainer(Root())
    of.model.inner.b.requires_grad = False
    message = (
        r"the gradient of parameter inner\.w \(3, 1\) is not finite at "
        rf"update {4 - accumulate}; nothing was updated with it\. In it, the derivative of sqrt for argument 0, "
        r"applied at .*test_faults\.py:\d+, gave an infinity\. Try a smaller rate.*\nfit: epoch 1 of 1, batch 3 of 3"
    )
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        of.fit(x, T, epochs=1, batch_size=4, shuffle=False, accumulate=accumulate, verbose=0)
    assert all(np.isfinite(w).all() for w in weights(of)) and of.steps == 3 - accumulate
    before = weights(of)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"^the gradient of parameter"),
    ):
        of.train_step(x, T)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(of)))


def test_a_function_that_gives_what_is_not_finite() -> None:
    of = trainer(layers.Linear(3, 1, dtype=np.float64), lambda y, t: np.log(y * 0).mean())
    message = r"the loss is -inf at update 1; .* In it, log gave an infinity at .*test_faults"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        of.fit(X, T, epochs=1, verbose=0)


def test_data_that_are_not_finite() -> None:
    x, t = X.copy(), T.copy()
    x[5, 1] = np.inf
    t[7] = np.nan
    of = trainer(layers.Linear(3, 1, dtype=np.float64))
    with np.errstate(all="ignore"):
        with pytest.raises(
            FloatingPointError, match=r"(?s)The batch's x has inf at \(1, 1\)\. Try.*batch 2 of 3"
        ):
            of.fit(x, T, epochs=1, batch_size=4, shuffle=False, verbose=0)
        with pytest.raises(FloatingPointError, match=r"The batch's t has nan at \(3, 0\)\. Try"):
            of.fit(X, t, epochs=1, batch_size=4, shuffle=False, verbose=0)


def test_a_parameter_that_was_not_finite_before() -> None:
    of = trainer(layers.Linear(3, 1, dtype=np.float64))
    of.model.w.data = np.full((3, 1), np.nan)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"Parameter w \(3, 1\) was not finite"),
    ):
        of.fit(X, T, epochs=1, verbose=0)


def test_large_gradients_are_no_fault() -> None:
    """The quick look adds squares, which overflow in float32 where no gradient does."""
    model = layers.Linear(3, 1)
    of = trainer(model, lambda y, t: (y * np.float32(1e25)).sum(), hooks=[hooks.ClipGrad(1.0)])
    of.fit(X.astype(np.float32), T, epochs=1, verbose=0)
    assert of.steps == 1


def test_a_state_that_is_carried_is_not_lost_by_looking_for_the_cause() -> None:
    model = layers.Sequential(
        layers.RNN(3, 4, stateful=True, dtype=np.float64), layers.Linear(4, 1, dtype=np.float64)
    )
    of = trainer(model, lambda y, t: np.log(y.mean() * 0))
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        of.train_step(X, T)
    assert model.layers[0].steps == 1
