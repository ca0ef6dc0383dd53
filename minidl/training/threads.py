"""How many BLAS threads a fit uses: one, unless the products of its model are large.

How the number is set and restored is in `common/threads.py`.
"""

from __future__ import annotations

from typing import Any

from minidl.common.threads import LARGE_PRODUCT, hold_one_thread, release_one_thread
from minidl.training.callbacks import Callback


def largest_product(model: Any, optimizer: Any, samples: int) -> int | None:
    """The multiplications of a batch with the largest weight; None while one has no shape."""
    own = hasattr(model, "parameters")
    params = model.parameters() if own else getattr(optimizer, "params", ())
    try:
        sizes = [p._raw.size for p in params if p._raw.ndim > 1]
    except (RuntimeError, AttributeError):  # one has no data yet
        return None
    return samples * max(sizes, default=0)


class FitThreads(Callback):
    """Choose once in a fit, from the shapes alone, so that a resumed one computes the same bits.

    Where weights are made at first use, the first update runs on one thread, and the choice follows
    it.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def on_train_begin(self) -> None:
        self.chosen = False
        self.holding = True
        hold_one_thread()
        self._choose()

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        if not self.chosen:
            self._choose()

    def on_train_end(self) -> None:
        self._release()

    def _choose(self) -> None:
        product = largest_product(self.trainer.model, self.trainer.optimizer, self.samples)
        if product is not None:
            self.chosen = True
            if product >= LARGE_PRODUCT:
                self._release()

    def _release(self) -> None:
        if self.holding:
            self.holding = False
            release_one_thread()
