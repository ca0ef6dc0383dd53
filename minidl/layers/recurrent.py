"""RNN, LSTM and GRU: one step with carried state, a whole sequence at once, or with states given.

The formulas are in functions/recurrent_*.py, both directions together in bidirectional.py. Cutting
the graph of a carried state is Variable.unchain_backward's; when to do so is the trainer's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from minidl import functions as F
from minidl.autograd import Parameter
from minidl.common.arrays import as_array, host, is_foreign, to_kind_of, zeros
from minidl.common.checks import flag
from minidl.common.hints import refuse_unexpected
from minidl.functions.recurrent_gru import gru_step
from minidl.functions.recurrent_lstm import lstm_step
from minidl.functions.recurrent_rnn import rnn_step
from minidl.layers.initializers import Initializer, normal_over_sqrt_in
from minidl.layers.layer import detach
from minidl.layers.weighted import Weighted


class Recurrent(Weighted):
    """What RNN, LSTM and GRU share: all but one step and the run over a sequence."""

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
        init: Initializer = normal_over_sqrt_in,
    ) -> None:
        name = type(self).__name__
        self.return_sequences = flag(f"{name}: return_sequences", return_sequences)
        self.stateful = flag(f"{name}: stateful", stateful)
        sizes = (features, in_features, out_features)
        self._init_parameters(*sizes, dtype, rng, init=init)
        self.reset_state()

    def _zero_state(self, batch: int) -> Any:
        """The state before the first step."""
        return zeros((batch, self.out_features), self.w_h.dtype, self.w_h)

    def _step(self, z: Any, state: Any) -> tuple[Any, Any]:
        """(output, new state) from ``z = x @ w_x + b`` of one time step and the state before."""
        raise NotImplementedError

    def _run(self, x: Any, state: Any, lengths: Any) -> tuple[Any, ...]:
        """The output for whole sequences from the state before, and what a state has besides h."""
        raise NotImplementedError

    def forward(self, x: Any, lengths: Any = None) -> Any:
        x = self._as_steps(x, lengths)
        batch = x.shape[0]
        if x.ndim == 2:
            before = self._carried_or_zero(batch)
            h, self.state = self._one_step(x, before)
            self.steps += 1
            return h
        if not self.stateful:
            zero = self._zero_state(batch)
            return self._run(x, zero, lengths)[0]
        if lengths is not None:
            what = "want no lengths where a state is carried on; got some"
            raise ValueError(f"{self!r}: {what}")
        before = detach(self._carried_or_zero(batch))
        y, after = self._sequence(x, before, None)
        self.state = detach(after)
        return y

    def _one_step(self, x: Any, state: Any) -> tuple[Any, Any]:
        """(output, new state) of one time step, (batch, in)."""
        z = F.linear(x, self.w_x, self.b)
        return self._step(z, state)

    def with_state(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Return the outputs, and the state after the last step: ``outputs, state``.

        It begins from the state that is given, zeros for None, and gradients flow through both: an
        encoder's state begins a decoder. The carried state is neither read nor changed. A state is
        ``h`` (batch, H), of an LSTM ``(h, c)``. ``x`` may be one step, (batch, in), too.

        Raises what a call raises; ValueError for a state of another shape, TypeError for one that
        is not floating or no pair where one is wanted.

        >>> encoder, decoder = LSTM(5), LSTM(5)
        >>> _, state = encoder.with_state(np.ones((2, 7, 3)), lengths=[7, 4])
        >>> outputs, _ = decoder.with_state(np.ones((2, 4, 6)), state)
        >>> outputs.shape
        (2, 4, 5)
        """
        x = self._as_steps(x, lengths)
        batch = x.shape[0]
        if state is None:
            state = self._zero_state(batch)
        else:
            state = self._as_state(state, batch)
        if x.ndim == 2:
            return self._one_step(x, state)
        return self._sequence(x, state, lengths)

    def _as_steps(self, x: Any, lengths: Any) -> Any:
        """The input: one step, which has no length, or sequences."""
        x = as_array(x, self)
        shape = x.shape
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[1] == 0):
            want = "input (batch, in) or (batch, time, in), time > 0"
            raise ValueError(f"{self!r}: want {want}, got {shape}")
        if lengths is not None and len(shape) == 2:
            want = "(batch, time, in) where lengths are given"
            raise ValueError(f"{self!r}: want {want}, got {shape}")
        return self._as_input(x, self.w_x)

    def _sequence(self, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
        """(output, state after the last step) of whole sequences."""
        y, *others = self._run(x, state, lengths)
        if not self.return_sequences:
            h = y
        elif lengths is None:
            h = y[:, -1]
        else:
            h = pick_steps(y, as_integers(lengths) - 1)
        if others:
            return y, (h, *others)
        return y, h

    def _as_state(self, state: Any, batch: int) -> Any:
        """A state that was given, checked, in the dtype that the layer computes in."""
        state = self._as_floating(state, self.w_h.dtype)
        if state.shape != (batch, self.out_features):
            want = f"a state of shape {(batch, self.out_features)}"
            raise ValueError(f"{self!r}: want {want}, got {state.shape}")
        return state

    def _carried_or_zero(self, batch: int) -> Any:
        if self.state is None:
            return self._zero_state(batch)
        h = self.state[0] if isinstance(self.state, tuple) else self.state
        if h.shape[0] != batch:
            what = f"the carried state is of a batch of {h.shape[0]}, the input of {batch}"
            hint = "call reset_state() before another batch size"
            raise ValueError(f"{self!r}: {what}; {hint}")
        return self.state

    def _sibling(self) -> Self:
        """Another layer of the same settings, with weights of its own."""
        other = copy.copy(self)
        sizes = ((), self.in_features, self.out_features)
        other._init_parameters(*sizes, self.dtype, self.rng, init=self.init)
        other.reset_state()
        return other

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text[:-1]}, stateful=True)" if self.stateful else text


def as_integers(lengths: Any) -> Any:
    """Lengths that have been checked, to reckon with: signed, and of NumPy."""
    lengths = host(lengths) if is_foreign(lengths) else as_array(lengths)
    return lengths.astype(np.int64)


def pick_steps(x: Any, places: Any) -> Any:
    """``x[i, places[i]]`` of each row i: a step, or several in another order."""
    rows = np.arange(x.shape[0])
    if places.ndim > 1:
        rows = rows[:, None]
    if is_foreign(x):
        rows = to_kind_of(rows, x)
        places = to_kind_of(places, x)
    return x[rows, places]


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

    ``layer(x, lengths)`` runs padded sequences: row i has ``lengths[i]`` steps, an integer from 1
    to time. What stands beyond is not looked at; the outputs there are zeros, the last output is
    that at the length, and gradients are those of the rows run alone. ``with_state`` takes and
    returns states.

    Args:
        features: ``H``, or ``in, H``; with ``H`` alone the layer learns ``in`` at first use.
        in_features, out_features: the same by keyword.
        return_sequences: whether a sequence gives all steps, or only the last one, ``(batch, H)``.
        stateful: whether a sequence begins where the one before ended.
        dtype, rng, init: as for ``Linear``.

    Raises, besides what ``Linear`` raises, ValueError for another number of axes, no time steps, a
    carried state of another batch size, and lengths beyond the time axis, below 1, of another shape
    than (batch,), of one step, or of a stateful layer; TypeError for lengths that are no integers.

    Source: Elman, "Finding structure in time", 1990.

    >>> rnn = RNN(3, 5)
    >>> rnn(np.ones((2, 7, 3))).shape, rnn(np.ones((2, 3))).shape
    ((2, 7, 5), (2, 5))
    """

    def _step(self, z: Any, state: Any) -> tuple[Any, Any]:
        h = rnn_step(z, state, self.w_h)
        return h, h

    def _run(self, x: Any, state: Any, lengths: Any) -> tuple[Any, ...]:
        weights = (self.w_x, self.w_h, self.b)
        y = F.rnn(x, state, *weights, lengths, return_sequences=self.return_sequences)
        return (y,)


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

    def _run(self, x: Any, state: Any, lengths: Any) -> tuple[Any, ...]:
        weights = (self.w_x, self.w_h, self.b)
        y, c = F.lstm(x, *state, *weights, lengths, return_sequences=self.return_sequences)
        return y, c

    def _as_state(self, state: Any, batch: int) -> Any:
        if not isinstance(state, tuple | list) or len(state) != 2:
            got = type(state).__name__
            raise TypeError(f"{self!r}: want a state (h, c), got {got}")
        h = super()._as_state(state[0], batch)
        c = super()._as_state(state[1], batch)
        return h, c


class GRU(Recurrent):
    """A gated recurrent unit: gates choose how much of the state is reset, and how much is kept.

    ``r, z = sigmoid(x @ w_x + h @ w_h + b)``, ``n = tanh(x @ w_xn + b_n + r * (h @ w_hn + b_h))``,
    ``h = (1 - z) * n + z * h``, with ``w_x`` (in, 3H) and ``w_h`` (H, 3H), for r, z and n in this
    order, drawn as N(0, 1)/sqrt of their first length, and ``b`` (3H) and ``b_h`` (H) zero. Input,
    arguments and errors are as for ``RNN``; ``.state`` is the carried ``h``, or None.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; with the
    reset gate behind the product, as PyTorch and cuDNN have it.

    >>> gru = GRU(5)
    >>> gru(np.ones((2, 7, 3)), lengths=[7, 4]).shape, gru
    ((2, 7, 5), GRU(3→5))
    """

    _gates = 3
    _biases = ("b", "b_h")
    b_h: Parameter

    def _init_parameters(self, *arguments: Any, **settings: Any) -> None:
        super()._init_parameters(*arguments, **settings)
        zero = np.zeros(self.out_features, self.dtype)
        self.b_h = Parameter(zero, name="b_h")

    def _step(self, z: Any, state: Any) -> tuple[Any, Any]:
        h = gru_step(z, state, self.w_h, self.b_h)
        return h, h

    def _run(self, x: Any, state: Any, lengths: Any) -> tuple[Any, ...]:
        weights = (self.w_x, self.w_h, self.b, self.b_h)
        y = F.gru(x, state, *weights, lengths, return_sequences=self.return_sequences)
        return (y,)
