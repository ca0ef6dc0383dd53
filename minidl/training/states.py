"""What training has to know about layers that carry a state: which they are, when it starts anew, when it is cut.

The states themselves, and the formulas of recurrent layers, live in `layers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.data.loader import DataLoader


class States:
    """The layers of a model that carry something from call to call (``Layer.carried``), recurrent ones above all."""

    def __init__(self, model: Any) -> None:
        sublayers = model.sublayers() if hasattr(model, "sublayers") else []
        self.layers = [layer for layer in sublayers if layer.carried]

    @property
    def carried(self) -> bool:
        """Whether a state goes on from batch to batch."""
        return any(_stateful(layer) for layer in self.layers)

    def start(self) -> None:
        """Begin with no state at all: an epoch, or a pass over data of its own."""
        for layer in self.layers:
            layer.reset_state()

    def start_batch(self) -> None:
        """Forget what the batch before left behind, where it is not to be carried."""
        for layer in self.layers:
            if not _stateful(layer):
                layer.reset_state()

    def check_batch(self, x: Any, where: str) -> None:
        """Raise ValueError if a layer took the batch for one step of a sequence without being told to go on.

        It would train, on sequences of length one, and learn nothing about time.
        """
        for layer in self.layers:
            if not _stateful(layer) and getattr(layer, "steps", 0) == 1 and np.ndim(x) == 2:
                kind = type(layer).__name__
                raise ValueError(
                    f"{where}{kind} took x of shape {np.shape(x)} for one step, and its state would be lost at "
                    f"the next batch; give sequences (batch, time, in), or make it {kind}(.., stateful=True) and "
                    "train with shuffle=False"
                )

    def check_data(self, loader: DataLoader, name: str) -> None:
        """Raise ValueError if the batches of a loader cannot follow one another in time."""
        if not self.carried:
            return
        if loader.shuffle:
            raise ValueError(
                f"{name}: the model is stateful, so one batch goes on where the last one ended, and shuffling would "
                "mix up the order: pass shuffle=False"
            )
        rest = loader.size % loader.batch_size
        if rest and not loader.drop_last and len(loader) > 1:
            raise ValueError(
                f"{name}: the model is stateful and its state has one row per sample of a batch, but the last batch "
                f"would have {rest} samples instead of {loader.batch_size}: use a batch_size that divides "
                f"{loader.size}, or DataLoader(.., drop_last=True)"
            )

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Put the states aside inside, so that a pass over other data starts without one; then bring them back."""
        saved = [(layer, {name: getattr(layer, name) for name in layer.carried}) for layer in self.layers]
        self.start()
        try:
            yield
        finally:
            for layer, carried in saved:
                vars(layer).update(carried)


def _stateful(layer: Any) -> bool:
    return getattr(layer, "stateful", False)
