"""Built-in hooks: functions that modify a step's gradients before the update.

When hooks are called is decided in optimizer.py.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from minidl.common.checks import number
from minidl.common.hints import refuse_unknown
from minidl.optim.gradients import StepGradients

__all__ = ["ClipGrad", "ClipValue", "WeightDecay"]


class WeightDecay:
    """Weight decay as a part of the gradient (L2): ``g = g + rate * p``, rate >= 0.

    For decay beside the gradient use ``AdamW``.

    >>> from minidl import Variable, optim
    >>> x = Variable([10.0])
    >>> optimizer = optim.SGD([x], lr=1.0, hooks=[WeightDecay(0.1)])
    >>> (x * 2.0).sum().backward()
    >>> optimizer.update()
    >>> x
    Variable([7.])
    """

    def __init__(self, rate: float) -> None:
        self.rate = number("WeightDecay: rate", rate)

    def __repr__(self) -> str:
        return f"WeightDecay({self.rate})"

    def __call__(self, gradients: StepGradients) -> None:
        for p, g in zip(gradients.params, gradients.grads, strict=True):
            g += self.rate * p._raw.astype(g.dtype, copy=False)


class ClipGrad:
    """Clipping by the global norm: all gradients times ``min(1, max_norm / norm)``.

    ``norm`` is that of all gradients together, ``max_norm`` is positive; ``last_norm`` is the norm
    before the latest clipping. Raises FloatingPointError, before anything is changed, if a gradient
    is not finite.

    Source: R. Pascanu et al., On the difficulty of training recurrent neural networks, 2013.

    >>> from minidl import Variable, optim
    >>> x = Variable([0.0, 0.0])
    >>> clip = ClipGrad(1.0)
    >>> optimizer = optim.SGD([x], lr=1.0, hooks=[clip])
    >>> (x * np.array([3.0, 4.0])).sum().backward()
    >>> optimizer.update()
    >>> x, clip.last_norm
    (Variable([-0.6, -0.8]), 5.0)
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = number("ClipGrad: max_norm", max_norm, positive=True)
        self.last_norm = 0.0

    def __repr__(self) -> str:
        return f"ClipGrad({self.max_norm})"

    def __call__(self, gradients: StepGradients) -> None:
        flat = gradients.flat
        largest = 0.0
        if flat.size:
            largest = max(flat.max().item(), -flat.min().item())
        if not math.isfinite(largest):
            raise not_finite("ClipGrad", gradients)
        scaled = flat.astype(np.float64)  # a float32 sum would lose half of the digits
        scaled /= largest or 1.0  # squares of large numbers would overflow, of small ones vanish
        root = math.sqrt((scaled @ scaled).item())
        self.last_norm = largest * root
        if self.last_norm > self.max_norm:
            flat *= self.max_norm / largest / root


class ClipValue:
    """Clipping of each element of the gradients: to ``limit`` at most, ``-limit`` at least.

    ``limit`` is positive. Raises FloatingPointError, before anything is changed, if a gradient is
    not finite.

    >>> from minidl import Variable, optim
    >>> x = Variable([0.0, 0.0])
    >>> optimizer = optim.SGD([x], lr=1.0, hooks=[ClipValue(2.0)])
    >>> (x * np.array([1.5, -4.0])).sum().backward()
    >>> optimizer.update()
    >>> x
    Variable([-1.5,  2. ])
    """

    def __init__(self, limit: float) -> None:
        self.limit = number("ClipValue: limit", limit, positive=True)

    def __repr__(self) -> str:
        return f"ClipValue({self.limit})"

    def __call__(self, gradients: StepGradients) -> None:
        flat = gradients.flat
        if not np.isfinite(flat).all():
            raise not_finite("ClipValue", gradients)
        np.clip(flat, -self.limit, self.limit, out=flat)


def not_finite(hook: str, gradients: StepGradients) -> FloatingPointError:
    """The error of a hook that meets an infinite or undefined gradient."""
    k = 0
    while np.isfinite(gradients.grads[k]).all():
        k += 1
    p = gradients.params[k]
    name = f"parameter {p.name or k}, {p.shape}"
    return FloatingPointError(f"{hook}: the gradient of {name}, is not finite")


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
