"""SGD: the plain step against the gradient.

optimizer.py decides which parameters are updated; buffer.py owns the arrays.
"""

import numpy as np

from minidl.optim.optimizer import Array, Optimizer


class SGD(Optimizer):
    """Gradient descent: ``p = p - lr * g``; args and raises as ``Optimizer``.

    Source: H. Robbins and S. Monro, A stochastic approximation method, 1951.

    >>> from minidl import Variable
    >>> x = Variable([1.0, 2.0])
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.update()
    >>> x
    Variable([0.5, 1. ])
    """

    def apply(self, p: Array, g: Array, out: Array, *, t: int, lr: float) -> None:
        np.multiply(g, lr, out=out)
        p -= out
