"""Adam: steps scaled by moments of the gradient.

optimizer.py decides which parameters are updated; buffer.py owns the arrays.
"""

import math
from typing import Any, ClassVar

import numpy as np

from minidl.common.checks import fractions, positive
from minidl.common.hints import refuse_unexpected
from minidl.optim.optimizer import Array, Hooks, Optimizer, Rate


class Adam(Optimizer):
    """Adam: steps scaled by the moments of the gradient.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, and with both corrected for their start
    at zero, ``p = p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)``.

    ``betas`` are (b1, b2), each in [0, 1); ``eps`` is positive. Other args and raises as
    ``Optimizer``.

    Source: D. Kingma and J. Ba, Adam: a method for stochastic optimization, 2015, algorithm 1.

    >>> from minidl import Variable
    >>> x = Variable([1.0, -20.0])
    >>> optimizer = Adam([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.update()
    >>> x.data.round(6)
    array([  0.5, -19.5])
    """

    state_names = ("m", "v")
    state_settings = ("betas",)
    settings: ClassVar = {"betas": fractions, "eps": positive}

    @refuse_unexpected
    def __init__(
        self,
        target: Any,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        hooks: Hooks = (),
    ) -> None:
        super().__init__(target, lr, hooks)
        self.betas = betas
        self.eps = eps

    def apply(
        self,
        p: Array,
        g: Array,
        out: Array,
        m: Array,
        v: Array,
        *,
        t: int,
        lr: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        # m and v are kept as sums, without the constant factors (1 - b): two passes less. With
        # these, and corrected, the root of v is ``scale`` times that of its sum, so that eps and
        # the step are divided by it instead.
        b1, b2 = betas
        scale = math.sqrt((1 - b2) / (1 - b2**t))
        m *= b1
        m += g
        np.multiply(g, g, out=out)
        v *= b2
        v += out
        np.sqrt(v, out=out)
        out += eps / scale
        np.divide(m, out, out=out)
        out *= lr * (1 - b1) / (1 - b1**t) / scale
        p -= out
