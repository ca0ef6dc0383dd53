"""ModelRunner: runs a model on batches, and decides when recurrent state is reset, carried or cut.

The states themselves, and the formulas of recurrent layers, live in `layers`; when batches come, in
`loop.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd.modes import no_grad, test_mode
from minidl.autograd.variable import Variable
from minidl.data.loader import DataLoader


class ModelRunner:
    """A model to run on batches, and its layers that carry something from call to call."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layers = model.sublayers() if hasattr(model, "sublayers") else []
        self.carrying = [layer for layer in self.layers if layer.carried]
        self.stateless = [layer for layer in self.carrying if not getattr(layer, "stateful", False)]
        self.stateful = len(self.stateless) < len(self.carrying)

    def reset(self) -> None:
        """Begin with no state at all: an epoch, or a pass over data of its own."""
        for layer in self.carrying:
            layer.reset_state()

    def forward(self, x: Any, call: Callable[[Any], Any] | None = None) -> Any:
        """Run the model, or ``call``, on a batch; only stateful layers go on from the last one.

        ValueError if another layer took it for one step of a sequence: it would learn nothing about
            time.
        """
        for layer in self.stateless:
            layer.reset_state()
        result = (call or self.model)(x)
        for layer in self.stateless:
            if getattr(layer, "steps", 0) == 1 and np.ndim(x) == 2:
                name = type(layer).__name__
                raise ValueError(
                    f"{name} took x of shape {np.shape(x)} for one step, and its state would be "
                    "lost at the next batch; give sequences (batch, time, in), or "
                    f"{name}(.., stateful=True) and shuffle=False"
                )
        return result

    def backward(self, loss: Variable, share: float | None = None) -> None:
        """Add the gradients of the loss, or of a share of it, and let go of its graph.

        That includes the graph behind the states that layers carry.
        """
        loss.backward(share, retain_graph=self.stateful)
        if self.stateful:
            loss.unchain_backward()

    def check(self, loader: DataLoader | None, where: str) -> None:
        """Raise ValueError if batches have to follow one another in time and cannot."""
        if loader is None or not self.stateful:
            return
        if loader.shuffle:
            raise ValueError(
                f"{where}: the model is stateful, each batch goes on where one ended: pass "
                "shuffle=False"
            )
        rest = loader.size % loader.batch_size
        if rest and not loader.drop_last and len(loader) > 1:
            raise ValueError(
                f"{where}: the model is stateful, with a state per sample of a batch, but the last "
                f"batch would have {rest} samples instead of {loader.batch_size}: use a batch_size "
                f"that divides {loader.size}, or a DataLoader with drop_last=True"
            )

    @contextmanager
    def evaluation(self, where: str, loader: DataLoader) -> Iterator[None]:
        """Record and learn nothing inside, without states at first; then bring them back."""
        self.check(loader, where)
        with self.keeping_states():
            self.reset()
            with no_grad(), test_mode():
                yield

    @contextmanager
    def keeping_states(self) -> Iterator[None]:
        """Bring back at the end what layers carry now, and their buffers."""
        saved = []
        for layer in self.layers:
            names = (*layer.carried, *layer.buffers)
            saved.append({name: getattr(layer, name) for name in names})
        try:
            yield
        finally:
            for layer, values in zip(self.layers, saved):
                vars(layer).update(values)
