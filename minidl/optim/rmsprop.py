"""RMSprop: steps divided by the root of the gradient's mean square.

optimizer.py decides which parameters are updated; buffer.py owns the arrays.
"""

from typing import Any, ClassVar

import numpy as np

from minidl.common.checks import flag, fraction, positive
from minidl.common.hints import refuse_unexpected
from minidl.optim.optimizer import Array, Hooks, Optimizer, Rate


class RMSprop(Optimizer):
    """RMSprop: ``v = alpha v + (1 - alpha) g^2``, then ``p = p - lr g / (sqrt(v) + eps)``.

    ``centered``: ``m = alpha m + (1 - alpha) g``, and ``v - m^2`` in place of ``v`` in the root.
    ``momentum`` mu: ``u = mu u + g / (sqrt(v) + eps)``, then ``p = p - lr u``.

    ``alpha`` and ``momentum`` are in [0, 1), ``eps`` is positive. Other args and raises as
    ``Optimizer``.

    Source: T. Tieleman and G. Hinton, Neural networks for machine learning, lecture 6.5, 2012; in
        the form of PyTorch.

    >>> from minidl import Variable
    >>> x = Variable([1.0, -20.0])
    >>> optimizer = RMSprop([x], lr=0.5, alpha=0.75)
    >>> (x * x).sum().backward()
    >>> optimizer.update()
    >>> x.data.round(6)
    array([  0., -19.])
    """

    state_names = ("v", "m", "u")
    settings: ClassVar = {
        "alpha": fraction,
        "eps": positive,
        "momentum": fraction,
        "centered": flag,
    }

    @refuse_unexpected
    def __init__(
        self,
        target: Any,
        lr: Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        hooks: Hooks = (),
    ) -> None:
        super().__init__(target, lr, hooks)
        self.alpha = alpha
        self.eps = eps
        self.momentum = momentum
        self.centered = centered

    def apply(
        self,
        p: Array,
        g: Array,
        out: Array,
        v: Array,
        m: Array,
        u: Array,
        *,
        t: int,
        lr: float,
        alpha: float,
        eps: float,
        momentum: float,
        centered: bool,
    ) -> None:
        np.multiply(g, g, out=out)
        out *= 1 - alpha
        v *= alpha
        v += out
        if centered:
            np.multiply(g, 1 - alpha, out=out)
            m *= alpha
            m += out
            np.multiply(m, m, out=out)
            np.subtract(v, out, out=out)
            np.sqrt(out, out=out)
        else:
            np.sqrt(v, out=out)
        out += eps
        np.divide(g, out, out=out)
        if momentum:
            u *= momentum
            u += out
            out[...] = u
        out *= lr
        p -= out
