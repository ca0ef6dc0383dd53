"""AdamW: Adam with weight decay beside the moments.

Decay as a part of the gradient is the hook WeightDecay in hooks.py.
"""

from typing import Any, ClassVar

from minidl.common.checks import number
from minidl.common.hints import refuse_unexpected
from minidl.optim.adam import Adam
from minidl.optim.optimizer import Array, Hooks, Rate


class AdamW(Adam):
    """AdamW: ``p = p - lr * weight_decay * p``, then Adam's step.

    ``weight_decay`` is at least 0. Other args and raises as ``Adam``.

    Source: I. Loshchilov and F. Hutter, Decoupled weight decay regularization, 2019.

    >>> from minidl import Variable
    >>> x = Variable([100.0])
    >>> optimizer = AdamW([x], lr=0.5, weight_decay=0.1)
    >>> (x * 0.0).sum().backward()
    >>> optimizer.update()
    >>> x
    Variable([95.])
    """

    settings: ClassVar = {**Adam.settings, "weight_decay": number}

    @refuse_unexpected
    def __init__(
        self,
        target: Any,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        hooks: Hooks = (),
    ) -> None:
        super().__init__(target, lr, betas, eps, hooks)
        self.weight_decay = weight_decay

    def apply(  # type: ignore[override]  # it has a setting more
        self, p: Array, *args: Any, lr: float, weight_decay: float, **settings: Any
    ) -> None:
        p *= 1 - lr * weight_decay
        super().apply(p, *args, lr=lr, **settings)
