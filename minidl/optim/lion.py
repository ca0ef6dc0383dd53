"""Lion: steps of one size, in the direction of a sign.

optimizer.py decides which parameters are updated; buffer.py owns the arrays.
"""

from typing import Any, ClassVar

import numpy as np

from minidl.common.checks import fractions, number
from minidl.common.hints import refuse_unexpected
from minidl.optim.optimizer import Array, Hooks, Optimizer, Rate


class Lion(Optimizer):
    """Lion: ``p = p - lr (sign(b1 m + (1 - b1) g) + weight_decay p)``, then
    ``m = b2 m + (1 - b2) g``.

    ``betas`` are (b1, b2), each in [0, 1); ``weight_decay`` is at least 0. The rate wants to be
    three to ten times smaller than Adam's. Other args and raises as ``Optimizer``.

    Source: X. Chen et al., Symbolic discovery of optimization algorithms, 2023, algorithm 2.

    >>> from minidl import Variable
    >>> x = Variable([1.0, -20.0])
    >>> optimizer = Lion([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.update()
    >>> x
    Variable([  0.5, -19.5])
    """

    state_names = ("m",)
    settings: ClassVar = {"betas": fractions, "weight_decay": number}

    @refuse_unexpected
    def __init__(
        self,
        target: Any,
        lr: Rate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        hooks: Hooks = (),
    ) -> None:
        super().__init__(target, lr, hooks)
        self.betas = betas
        self.weight_decay = weight_decay

    def apply(
        self,
        p: Array,
        g: Array,
        out: Array,
        m: Array,
        *,
        t: int,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        b1, b2 = betas
        np.multiply(m, b1 / (1 - b1), out=out)  # a factor of both does not change the sign
        out += g
        np.sign(out, out=out)
        out *= lr
        p *= 1 - lr * weight_decay
        p -= out
        np.multiply(g, 1 - b2, out=out)
        m *= b2
        m += out
