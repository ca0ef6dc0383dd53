"""Adagrad: steps divided by the root of the sum of all squared gradients.

optimizer.py decides which parameters are updated; buffer.py owns the arrays.
"""

from typing import Any, ClassVar

import numpy as np

from minidl.common.checks import number, positive
from minidl.common.hints import refuse_unexpected
from minidl.optim.optimizer import Array, Hooks, Optimizer, Rate


class Adagrad(Optimizer):
    """Adagrad: ``s = s + g^2``, then ``p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)``.

    ``s`` is ``initial_accumulator_value`` at first, which is at least 0, as is ``lr_decay``;
    ``eps`` is positive. Other args and raises as ``Optimizer``.

    Source: J. Duchi et al., Adaptive subgradient methods for online learning and stochastic
        optimization, 2011; in the form of PyTorch.

    >>> from minidl import Variable
    >>> x = Variable([1.0, -20.0])
    >>> optimizer = Adagrad([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.update()
    >>> x.data.round(6)
    array([  0.5, -19.5])
    """

    state_names = ("s",)
    settings: ClassVar = {
        "lr_decay": number,
        "initial_accumulator_value": number,
        "eps": positive,
    }

    @refuse_unexpected
    def __init__(
        self,
        target: Any,
        lr: Rate = 0.01,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        hooks: Hooks = (),
    ) -> None:
        super().__init__(target, lr, hooks)
        self.lr_decay = lr_decay
        self.initial_accumulator_value = initial_accumulator_value
        self.eps = eps

    def apply(
        self,
        p: Array,
        g: Array,
        out: Array,
        s: Array,
        *,
        t: int,
        lr: float,
        lr_decay: float,
        initial_accumulator_value: float,
        eps: float,
    ) -> None:
        # s is kept without its initial value, as every state begins at zero.
        np.multiply(g, g, out=out)
        s += out
        np.add(s, initial_accumulator_value, out=out)
        np.sqrt(out, out=out)
        out += eps
        np.divide(g, out, out=out)
        out *= lr / (1 + (t - 1) * lr_decay)
        p -= out
