"""The workloads' formulas, once for all libraries that look like NumPy, and Adam on arrays, which not all of them have.

`xp` is the library's namespace. Peers whose users write it in another way, with layers, do not use this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.workloads import Array


def rosenbrock(x0: Any, x1: Any) -> Any:
    return 100 * (x1 - x0**2) ** 2 + (x0 - 1) ** 2


def quartic(x: Any) -> Any:
    return x**4 - 2 * x**2


def sigmoid(xp: Any, x: Any) -> Any:
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def mlp(weights: Sequence[Any], x: Any, activation: Callable[[Any], Any]) -> Any:
    for i in range(0, len(weights) - 2, 2):
        x = activation(x @ weights[i] + weights[i + 1])
    return x @ weights[-2] + weights[-1]


def cross_entropy(xp: Any, z: Any, t: Any) -> Any:
    z = z - xp.max(z, axis=1, keepdims=True)
    return xp.mean(xp.log(xp.sum(xp.exp(z), axis=1)) - z[np.arange(len(t)), t])


def squared(xp: Any, y: Any, t: Any) -> Any:
    return xp.mean((y - t) ** 2)


def lstm_step(
    xp: Any, sigmoid: Callable[[Any], Any], parts: Sequence[Any], c: Any
) -> tuple[Any, Any]:
    """h and c after one time step; ``parts`` are those of x @ w_x + h @ w_h + b."""
    f, i, o, u = parts
    c = sigmoid(f) * c + sigmoid(i) * xp.tanh(u)
    return sigmoid(o) * xp.tanh(c), c


def lstm(
    xp: Any,
    sigmoid: Callable[[Any], Any],
    split: Callable[[Any], Any],
    weights: Sequence[Any],
    x: Any,
) -> list[Any]:
    """h of every time step; x (time, batch, in). ``split`` gives the parts for the gates, as is fastest there."""
    w_x, w_h, b = weights[:3]
    h = c = np.zeros((x.shape[1], w_h.shape[0]), np.float32)
    hs = []
    for now in x:
        h, c = lstm_step(xp, sigmoid, split(now @ w_x + h @ w_h + b), c)
        hs.append(h)
    return hs


def fused_terms(xp: Any, x: Any, w: Any, b: Any) -> Any:
    return xp.sum(xp.tanh(x * w + b) * sigmoid(xp, x) + xp.exp(-x * x))


class Adam:
    """Adam, or AdamW with ``decay``, in place on arrays."""

    def __init__(self, params: Sequence[Array], lr: float, decay: float = 0.0) -> None:
        self.params, self.lr, self.decay, self.t = params, lr, decay, 0
        self.state = [(np.zeros_like(p), np.zeros_like(p), np.empty_like(p)) for p in params]

    def update(self, grads: Sequence[Any]) -> None:
        self.t += 1
        scale = ((1 - 0.999**self.t) / 0.001) ** 0.5
        rate = self.lr * 0.1 / (1 - 0.9**self.t) * scale
        for p, g, (m, v, out) in zip(self.params, grads, self.state):
            m *= 0.9  # m and v are kept without the constant factors 0.1 and 0.001: two passes less
            m += g
            v *= 0.999
            np.multiply(g, g, out=out)
            v += out
            np.sqrt(v, out=out)
            out += 1e-8 * scale
            np.divide(m, out, out=out)
            out *= rate
            if self.decay:
                p *= 1 - self.lr * self.decay
            p -= out


DECAY = 0.01  # AdamW's, in W4
