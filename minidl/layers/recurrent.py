"""RNN and LSTM: one step with carried state, or a whole sequence at once. The formulas are in
functions/recurrent.py.

Cutting the graph of a carried state is Variable.unchain_backward's; when to do so is the trainer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common.arrays import as_array, zeros
from minidl.common.hints import refuse_unexpected
from minidl.functions.recurrent import lstm_step, rnn_step
from minidl.layers.layer import detach
from minidl.layers.weighted import Weighted


class Recurrent(Weighted):
    """What RNN and LSTM share: all but one step and the run over a sequence."""

    carried: ClassVar[Mapping[str, Any]] = {"state": None, "steps": 0}
    _counted: ClassVar[tuple[str, ...]] = ("steps",)  # carried, but nothing computed depends on it
    _weights = ("w_x", "w_h")
    w_x: Parameter
    w_h: Parameter
    state: Any  # what the last step left, with its graph
    steps: int  # one-step calls since reset_state()

    @refuse_unexpected
    def __init__(
        self,
        *features: int,
        in_features: int | None = None,
        out_features: int | None = None,
        return_sequences: bool = True,
        stateful: bool = False,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.return_sequences = return_sequences
        self.stateful = stateful
        self._init_parameters(features, in_features, out_features, dtype, rng)
        self.reset_state()

    def _zero_state(self, batch: int) -> Any:
        """The state before the first step."""
        return zeros((batch, self.out_features), self.w_h.dtype, self.w_h)

    def _step(self, z: Any, state: Any) -> tuple[Any, Any]:
        """(output, new state) from ``z = x @ w_x + b`` of one time step and the state before."""
        raise NotImplementedError

    def _run(self, x: Any, state: Any) -> tuple[Any, Any]:
        """(output, new state) of a whole sequence from the state before it."""
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        x = as_array(x, self)
        shape = x.shape
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[1] == 0):
            want = "input (batch, in) or (batch, time, in), time > 0"
            raise ValueError(f"{self!r}: want {want}, got {shape}")
        x = self._as_input(x, self.w_x)
        if len(shape) == 3:
            return self._sequence(x)
        state = self._carried_or_zero(shape[0])
        h, self.state = self._step(F.linear(x, self.w_x, self.b), state)
        self.steps += 1
        return h

    def _sequence(self, x: Any) -> Any:
        if not self.stateful:
            return self._run(x, self._zero_state(x.shape[0]))[0]
        y, state = self._run(x, detach(self._carried_or_zero(x.shape[0])))
        self.state = detach(state)
        return y

    def _carried_or_zero(self, batch: int) -> Any:
        if self.state is None:
            return self._zero_state(batch)
        h = self.state[0] if isinstance(self.state, tuple) else self.state
        if h.shape[0] != batch:
            what = f"the carried state is of a batch of {h.shape[0]}, the input of {batch}"
            hint = "call reset_state() before another batch size"
            raise ValueError(f"{self!r}: {what}; {hint}")
        return self.state

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text[:-1]}, stateful=True)" if self.stateful else text


class RNN(Recurrent):
    """A recurrent layer: what it gives at one step enters the next.

    ``h = tanh(x @ w_x + h @ w_h + b)``, with ``w_x`` (in, H) and ``w_h`` (H, H) drawn as N(0,
    1)/sqrt of their first length and ``b`` (H) zero.

    2-D input ``(batch, in)`` is one step and gives ``(batch, H)``; the state is carried, with its
    graph, to the next call, until ``reset_state()``. 3-D input ``(batch, time, in)`` is a sequence
    and gives ``(batch, time, H)``; it runs from a zero state and neither reads nor changes the
    carried one, or, if ``stateful``, begins at the carried one and carries its last, both without a
    graph. ``.state`` is the carried ``h``, or None; ``.steps`` counts the one-step calls since
    ``reset_state()``.

    Args:
        features: ``H``, or ``in, H``; with ``H`` alone the layer learns ``in`` at first use.
        in_features, out_features: the same by keyword.
        return_sequences: whether a sequence gives all steps, or only the last one, ``(batch, H)``.
        stateful: whether a sequence begins where the one before ended.
        dtype, rng: as for ``Linear``.

    Raises, besides what ``Linear`` raises, ValueError for another number of axes, no time steps,
    and a carried state of another batch size.

    Source: Elman, "Finding structure in time", 1990.

    >>> rnn = RNN(3, 5)
    >>> rnn(np.ones((2, 7, 3))).shape, rnn(np.ones((2, 3))).shape
    ((2, 7, 5), (2, 5))
    """

    def _step(self, z: Any, state: Any) -> tuple[Any, Any]:
        h = rnn_step(z, state, self.w_h)
        return h, h

    def _run(self, x: Any, state: Any) -> tuple[Any, Any]:
        whole = self.return_sequences
        y = F.rnn(x, state, self.w_x, self.w_h, self.b, return_sequences=whole)
        return y, y[:, -1] if whole and self.stateful else y


class LSTM(Recurrent):
    """Long short-term memory: a recurrent layer with a cell that gates fill, keep and show.

    ``f, i, o, u = split(x @ w_x + h @ w_h + b)``, ``c = sigmoid(f) * c + sigmoid(i) * tanh(u)``,
    ``h = sigmoid(o) * tanh(c)``, with ``w_x`` (in, 4H) and ``w_h`` (H, 4H) drawn as N(0, 1)/sqrt of
    their first length and ``b`` (4H) zero. Input, arguments and errors are as for ``RNN``;
    ``.state`` is the carried ``(h, c)``, or None.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; with the forget gate of
    Gers, Schmidhuber, Cummins, "Learning to forget", 2000.

    >>> lstm = LSTM(5, return_sequences=False)
    >>> lstm(np.ones((2, 7, 3))).shape, lstm
    ((2, 5), LSTM(3→5))
    """

    _gates = 4

    def _zero_state(self, batch: int) -> Any:
        return (super()._zero_state(batch),) * 2

    def _step(self, z: Any, state: Any) -> tuple[Any, Any]:
        state = lstm_step(z, state[0], state[1], self.w_h)
        return state[0], state

    def _run(self, x: Any, state: Any) -> tuple[Any, Any]:
        h, c = state
        whole = self.return_sequences
        y, c = F.lstm(x, h, c, self.w_x, self.w_h, self.b, return_sequences=whole)
        return y, (y[:, -1] if whole and self.stateful else y, c)
