"""What training has to know about layers that carry a state: which they are, when it starts anew, when it is cut.

The states themselves, and the formulas of recurrent layers, live in `layers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd.modes import no_grad, test_mode
from minidl.autograd.variable import Variable
from minidl.data.loader import DataLoader


def compiled(model: Any, loss: Any) -> Any:
    """Prediction and loss of a batch as one program; the prediction is for metrics only."""
    from minidl.compiler import compile

    def both(x: Any, t: Any) -> Any:
        prediction = model(x)
        return prediction.detach() if isinstance(prediction, Variable) else prediction, loss(
            prediction, t
        )

    return compile(both)


class States:
    """A model to run on batches, and its layers that carry something from call to call (``Layer.carried``)."""

    def __init__(self, model: Any) -> None:
        self.model = model
        sublayers = model.sublayers() if hasattr(model, "sublayers") else []
        self.layers = [layer for layer in sublayers if layer.carried]
        self.forgetful = [layer for layer in self.layers if not getattr(layer, "stateful", False)]
        self.stateful = len(self.forgetful) < len(
            self.layers
        )  # whether a state goes on from batch to batch

    def reset(self) -> None:
        """Begin with no state at all: an epoch, or a pass over data of its own."""
        for layer in self.layers:
            layer.reset_state()

    def forward(self, x: Any, where: str, call: Any = None) -> Any:
        """Run the model, or ``call``, on a batch, which only stateful layers begin where the last one ended.

        ValueError if another layer took it for one step of a sequence: it would learn nothing about time.
        """
        for layer in self.forgetful:
            layer.reset_state()
        prediction = (call or self.model)(x)
        for layer in self.forgetful:
            if getattr(layer, "steps", 0) == 1 and np.ndim(x) == 2:
                kind = type(layer).__name__
                raise ValueError(
                    f"{where}{kind} took x of shape {np.shape(x)} for one step, and its state would be lost at the "
                    f"next batch; give sequences (batch, time, in), or {kind}(.., stateful=True) and shuffle=False"
                )
        return prediction

    def backward(self, loss: Variable, share: float | None = None) -> None:
        """Add the gradients of the loss, or of a share of it, and let go of its graph, behind carried states too."""
        loss.backward(share, retain_graph=self.stateful)
        if self.stateful:
            loss.unchain_backward()

    def check(self, loader: DataLoader, where: str) -> None:
        """Raise ValueError if the batches of a loader cannot follow one another in time and have to."""
        if self.stateful and loader.shuffle:
            raise ValueError(
                f"{where}: the model is stateful, each batch goes on where one ended: pass shuffle=False"
            )
        rest = loader.size % loader.batch_size
        if self.stateful and rest and not loader.drop_last and len(loader) > 1:
            raise ValueError(
                f"{where}: the model is stateful, with a state per sample of a batch, but the last batch would have "
                f"{rest} samples instead of {loader.batch_size}: use a batch_size that divides {loader.size}, or a "
                "DataLoader with drop_last=True"
            )

    @contextmanager
    def evaluation(self, where: str, loader: DataLoader) -> Iterator[None]:
        """Record and learn nothing inside, and begin with no state; then bring back the states there were."""
        self.check(loader, where)
        saved = [
            (layer, {name: getattr(layer, name) for name in layer.carried}) for layer in self.layers
        ]
        self.reset()
        try:
            with no_grad(), test_mode():
                yield
        finally:
            for layer, carried in saved:
                vars(layer).update(carried)
