"""ModelRunner: runs a model on batches, and decides when recurrent state is reset, carried or cut.

The states themselves, and the formulas of recurrent layers, live in `layers`; when batches come, in
`loop.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from minidl.autograd.modes import Switch
from minidl.autograd.variable import Variable
from minidl.common.pytree import flatten
from minidl.data.loader import DataLoader
from minidl.training.batches import Batches, first_array

T = TypeVar("T")
Saved = list[tuple[Any, dict[str, Any]]]  # layers, and attributes of theirs


def call_model(model: Any, inputs: Any) -> Any:
    """``model(x)`` of an array, ``model(*inputs)`` of a tuple, ``model(**inputs)`` of a dict."""
    if isinstance(inputs, tuple):
        return model(*inputs)
    if isinstance(inputs, dict):
        return _call_by_names(model, inputs)
    return model(inputs)


def _call_by_names(model: Any, inputs: dict[str, Any]) -> Any:
    function = getattr(model, "forward", model)
    try:
        inspect.signature(function).bind(**inputs)
    except TypeError as error:
        names = ", ".join(inspect.signature(function).parameters)
        got = ", ".join(map(str, inputs))
        raise TypeError(f"the model takes {names}; got a dict of {got}: {error}") from None
    return model(**inputs)


def check_steps(stateless: Iterable[Any], inputs: Any) -> None:
    """ValueError if a layer without a lasting state took inputs for one step of a sequence: it
    would learn nothing about time.
    """
    for layer in stateless:
        if getattr(layer, "steps", 0) == 1 and np.ndim(first_array(inputs)) == 2:
            name = type(layer).__name__
            raise ValueError(
                f"{name} took x of shape {np.shape(first_array(inputs))} for one step, and "
                "its state would be lost at the next batch; give sequences (batch, time, in), "
                f"or {name}(.., stateful=True) and shuffle=False"
            )


def backward(loss: Variable, stateful: bool, share: Any = None) -> None:
    """Add the gradients of a loss, and let go of its graph, with what is behind carried states."""
    loss.backward(share, retain_graph=stateful)
    if stateful:
        loss.unchain_backward()


class ModelRunner:
    """A model to run on batches, and its layers that carry something from call to call."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layers = model.sublayers() if hasattr(model, "sublayers") else []
        self.carrying = [layer for layer in self.layers if layer.carried]
        self.buffered = [layer for layer in self.layers if layer.buffers]
        self._before: Saved = []
        self.stateless = [layer for layer in self.carrying if not getattr(layer, "stateful", False)]
        self.stateful = len(self.stateless) < len(self.carrying)

    def reset(self) -> None:
        """Begin with no state at all: an epoch, or a pass over data of its own."""
        for layer in self.carrying:
            layer.reset_state()

    def predict(self, inputs: Any) -> Any:
        """Run the model on the inputs of a batch."""
        y = self.run(call_model, self.model, inputs)
        check_steps(self.stateless, inputs)
        return y

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of a batch; only stateful layers go on from the last one."""
        self._before = [_attributes(layer, layer.buffers) for layer in self.buffered]
        for layer in self.stateless:
            layer.reset_state()
        return function(*args)

    def check(self, *data: Batches | None) -> None:
        """Raise ValueError if batches have to follow one another in time and cannot."""
        for batches in filter(None, data):
            if self.stateful and isinstance(batches.source, DataLoader):
                self._check_order(batches.where, batches.source)

    def _check_order(self, where: str, loader: DataLoader) -> None:
        if loader.shuffle:
            raise ValueError(
                f"{where}: the model is stateful, each batch goes on where one ended: pass "
                "shuffle=False"
            )
        rest = loader.size % loader.batch_size
        if rest and not loader.drop_last and len(loader) > 1:
            raise ValueError(
                f"{where}: the model is stateful, with a state per sample of a batch, but the "
                f"last batch would have {rest} samples instead of {loader.batch_size}: use a "
                f"batch_size that divides {loader.size}, or a DataLoader with drop_last=True"
            )

    def cut_states(self) -> None:
        """Make constants of what layers carry: no graph is behind it any more."""
        states = [getattr(layer, name) for layer in self.carrying for name in layer.carried]
        for x in flatten(states)[0]:
            if isinstance(x, Variable):
                x.unchain()

    def evaluate(self, function: Callable[[], T]) -> T:
        """What a function gives that runs the model: without recording or learning anything,
        without states at first, which are then brought back.
        """
        before = self.states()
        self.reset()
        try:
            with Switch(recording=False, testing=True):  # no_grad and test_mode
                return function()
        finally:
            bring_back(before)

    def states(self) -> Saved:
        """What layers carry now, and their buffers."""
        return [_attributes(layer, (*layer.carried, *layer.buffers)) for layer in self.layers]

    def forget_batch(self) -> None:
        """Take out of the buffers what the last batch wrote: it is a bad one."""
        bring_back(self._before)


def _attributes(layer: Any, names: Iterable[str]) -> tuple[Any, dict[str, Any]]:
    return layer, {name: getattr(layer, name) for name in names}


def bring_back(saved: Saved) -> None:
    """Let layers have what they had."""
    for layer, values in saved:
        layer.__dict__.update(values)
