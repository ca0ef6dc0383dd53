"""BatchNorm: every feature with mean 0 and variance 1 in the batch, then scaled and shifted.

The formula and its derivative are in functions/normalization.py; what is shared with LayerNorm is
in scaled.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd.modes import current
from minidl.autograd.transforms import as_plain
from minidl.common.arrays import to_kind_of
from minidl.common.checks import number
from minidl.common.hints import refuse_unexpected
from minidl.functions.normalization import batch_moments
from minidl.layers.initializers import Initializer, ones
from minidl.layers.scaled import Scaled
from minidl.layers.values import Shape


class BatchNorm(Scaled):
    """Normalizes each feature over all other axes; under ``test_mode`` by running statistics.

    ``y = (x - mean) / sqrt(var + eps) * w + b``; ``w`` (features) is one and ``b`` (features) zero
    at first. In training, mean and variance (of the population) are the batch's, and the buffers
    ``mean`` and ``var``, at first 0 and 1, move towards them: ``mean = (1 - momentum) * mean +
    momentum * batch mean``, and so ``var``, with the unbiased variance. Shapes: ``(.., features)``,
    images too, to the same.

    Args:
        features: how many; None to learn it at first use.
        momentum: of what is new in the running statistics, in [0, 1].
        eps: a number of at least 0.
        dtype: floating, of the parameters; floating input is cast to it.
        rng, init: of ``w``, should it not be one: see ``Linear``.

    Raises ValueError for another number of features and, in training, for a single sample; TypeError
    for input that is not floating.

    Source: Ioffe, Szegedy, "Batch normalization", 2015; PyTorch's running statistics.

    >>> layer = BatchNorm()
    >>> layer(np.array([[1.0], [3.0]])).data.round(2), layer.mean, layer.var.round(2)
    (array([[-1.],
           [ 1.]], dtype=float32), array([0.2], dtype=float32), array([1.1], dtype=float32))
    """

    buffers: ClassVar[Sequence[str]] = ("mean", "var")
    mean: Any
    var: Any

    @refuse_unexpected
    def __init__(
        self,
        features: int | None = None,
        momentum: float = 0.1,
        eps: float = 1e-5,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: Initializer = ones,
    ) -> None:
        self.momentum = number("BatchNorm: momentum", momentum)
        if self.momentum > 1:
            raise ValueError(f"BatchNorm: momentum: want a number in [0, 1], got {momentum}")
        self.mean = None
        self.var = None
        self._init_scale(features, eps, dtype, rng, init)

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        return {**super()._lazy_shapes, "mean": (None,), "var": (None,)}

    def _draw_weights(self, in_features: int, like: Any = None) -> None:
        super()._draw_weights(in_features, like)
        dtype = np.result_type(self.dtype, np.float32)
        for name, first in (("mean", np.zeros), ("var", np.ones)):
            if getattr(self, name) is None:
                setattr(self, name, to_kind_of(first(in_features, dtype), like))

    def _check_first(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape[:-1]) < 2 and not current().testing:
            hint = "evaluate inside minidl.test_mode(); DataLoader(.., drop_last=True) has no rest of 1"
            raise ValueError(
                f"{self!r}: want more than one sample to train on, got {shape}; {hint}"
            )

    def forward(self, x: Any) -> Any:
        x = self._as_input(x, self.w)
        if self.mean is None:  # they were taken back, say after an evaluation
            self._draw_weights(x.shape[-1], x)
        if current().testing:
            # By functions, not operators of plain arrays, which a compiled function does not see.
            scale = self.w / F.sqrt(F.add(self.var, self.eps))
            y = (x - self.mean) * scale + self.b
            return self._as_floating(y, x.dtype)
        self._check_first(x.shape)
        n = x.size // x.shape[-1]
        mean, var = batch_moments(as_plain(x))
        new = self.momentum
        self.update_buffers(
            mean=(1 - new) * self.mean + new * mean,
            var=(1 - new) * self.var + new * n / (n - 1) * var,
        )
        return F.batch_norm(x, self.w, self.b, mean, var, eps=self.eps)
