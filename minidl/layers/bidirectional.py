"""Bidirectional: a recurrent layer run in both directions of time.

The layers that it runs are in recurrent.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import functions as F
from minidl.common.arrays import as_array
from minidl.layers.layer import Layer
from minidl.layers.recurrent import Recurrent, as_integers, pick_steps


class Bidirectional(Layer):
    """Both directions of a recurrent layer side by side: ``concatenate([first(x), second(x)])``.

    ``first`` is the layer that is given, ``second`` another of the same settings, whose weights are
    drawn after those of the first, from the same generator. It runs on the reversed sequence, and
    what it gives is put back in order. (batch, time, in) to (batch, time, 2H); where the layer has
    ``return_sequences=False``, each direction's last output side by side, (batch, 2H). With
    ``lengths``, as for ``RNN``, each row is reversed within its length.

    Raises TypeError for what is no RNN, LSTM or GRU; ValueError for a stateful one, for input that
    is one step, and what the layer raises.

    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997.

    >>> from minidl import layers
    >>> both = Bidirectional(layers.GRU(5))
    >>> both(np.ones((2, 7, 3)), lengths=[7, 4]).shape
    (2, 7, 10)
    """

    def __init__(self, layer: Recurrent) -> None:
        if not isinstance(layer, Recurrent):
            got = type(layer).__name__
            raise TypeError(f"Bidirectional: want an RNN, LSTM or GRU, got {got}")
        if layer.stateful:
            want = "a layer that is not stateful, as the past is the second one's future"
            raise ValueError(f"Bidirectional: want {want}, got {layer!r}")
        self.first = layer
        self.second = layer._sibling()

    def forward(self, x: Any, lengths: Any = None) -> Any:
        return self.with_state(x, None, lengths)[0]

    def with_state(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Return the outputs, and the pair of the first's and the second's last states.

        ``state``, if given, is such a pair. See the layer's own ``with_state``.
        """
        x = as_array(x, self)
        if x.ndim != 3:
            want = "input (batch, time, in)"
            raise ValueError(f"Bidirectional: want {want}, got {x.shape}")
        if state is None:
            state = (None, None)
        if not isinstance(state, tuple | list) or len(state) != 2:
            got = type(state).__name__
            raise TypeError(f"Bidirectional: want a pair of states, got {got}")
        start, start_of_second = state
        y, last = self.first.with_state(x, start, lengths)  # which checks the lengths
        turned = _reversed(x, lengths)
        y_second, last_of_second = self.second.with_state(turned, start_of_second, lengths)
        if self.second.return_sequences:
            y_second = _reversed(y_second, lengths)
        both = F.concatenate([y, y_second], axis=-1)
        return both, (last, last_of_second)


def _reversed(x: Any, lengths: Any) -> Any:
    """The steps of each row within its length the other way round; what is beyond stays."""
    if lengths is None:
        return x[:, ::-1]
    steps = np.arange(x.shape[1])
    ends = as_integers(lengths)
    ends = ends[:, None]
    places = np.where(steps < ends, ends - 1 - steps, steps)
    return pick_steps(x, places)
