"""Momentum, plain and Nesterov's.

optimizer.py decides which parameters are updated; buffer.py owns the arrays.
"""

from typing import Any, ClassVar

import numpy as np

from minidl.common.checks import flag, fraction
from minidl.common.hints import refuse_unexpected
from minidl.optim.optimizer import Array, Hooks, Optimizer, Rate


class Momentum(Optimizer):
    """Momentum: ``v = mu * v - lr * g``, then ``p = p + v``.

    Nesterov's: ``p = p + mu * v - lr * g``.

    ``momentum`` is mu, in [0, 1). Other args and raises as ``Optimizer``. The rate is inside the
    velocity, as in the source; PyTorch multiplies by it afterwards, which differs when the rate
    changes.

    Source: I. Sutskever et al., On the importance of initialization and momentum in deep learning,
        2013.

    >>> from minidl import Variable
    >>> x = Variable(1.0)
    >>> optimizer = Momentum([x], lr=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.cleargrads()
    ...     (x * 1.0).backward()
    ...     optimizer.update()
    >>> x
    Variable(0.75)
    """

    state_names = ("v",)
    settings: ClassVar = {"momentum": fraction, "nesterov": flag}

    @refuse_unexpected
    def __init__(
        self,
        target: Any,
        lr: Rate = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        hooks: Hooks = (),
    ) -> None:
        super().__init__(target, lr, hooks)
        self.momentum = momentum
        self.nesterov = nesterov

    def apply(
        self,
        p: Array,
        g: Array,
        out: Array,
        v: Array,
        *,
        t: int,
        lr: float,
        momentum: float,
        nesterov: bool,
    ) -> None:
        np.multiply(g, lr, out=out)
        v *= momentum
        v -= out
        if nesterov:
            p -= out
            np.multiply(v, momentum, out=out)
            p += out
        else:
            p += v
