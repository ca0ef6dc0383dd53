"""rnn: a simple recurrent network over whole sequences, and its plain composition.

Weights, the carried state and one step at a time belong to minidl.layers.recurrent.
"""

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.functions import sequences
from minidl.functions.linalg import linear
from minidl.functions.shape import stack

# fmt: off
__all__ = [
    "rnn",
]
# fmt: on


def _rnn(
    x: Any,
    h: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    lengths: Any = None,
    *,
    return_sequences: bool = True,
) -> Any:
    """A simple recurrent network run over whole sequences, as one recorded application.

    ``h = tanh(x[:, t] @ w_x + h @ w_h + b)`` for every t.

    Args:
        x: (batch, time, in), time > 0; like all others floating.
        h: the hidden state before the first step, (batch, H).
        w_x, w_h, b: weights (in, H) and (H, H), and bias (H).
        lengths: None, or how many steps each row has, integers (batch,) from 1 to time: beyond them
            it gives zeros, and its last h is that at its length.
        return_sequences: whether h after every step is returned, (batch, time, H), or after the
            last, (batch, H).

    Returns h in the dtype that NumPy promotes the arguments to. Raises ValueError for other shapes
    and lengths, TypeError for arrays that are not floating.

    Source: Elman, "Finding structure in time", 1990.

    >>> rnn(np.ones((2, 7, 3)), np.zeros((2, 5)), np.ones((3, 5)), np.ones((5, 5)), np.zeros(5)).shape
    (2, 7, 5)
    """
    sequences.check(1, x, (h,), w_x, w_h, b)
    lengths = sequences.as_lengths(lengths, *x.shape[:2])
    dtype = np.result_type(x, h, w_x, w_h, b)
    hidden = h.shape[1]
    rows = sequences.step_inputs(x, h, dtype, lengths)
    w = np.concatenate((w_h, w_x, b[None]), dtype=dtype)
    z = np.empty(h.shape, dtype)
    for row, h_new in zip(rows, rows[1:, :, :hidden]):
        row.dot(w, z)
        np.tanh(z, h_new)
    return sequences.outputs(rows, hidden, return_sequences, lengths), (rows, lengths)


def _rnn_joint(
    g: Any,
    y: Any,
    saved: Any,
    wanted: list[bool],
    x: Any,
    h: Any,
    w_x: Any,
    w_h: Any,
    *_: Any,
    return_sequences: bool = True,
) -> tuple[Any, ...]:
    """Backwards through time. Before a step is passed, gh is the gradient of its h."""
    rows, lengths = saved  # only read: there may be a second backward
    batch, hidden = h.shape
    time = x.shape[1]
    hs = rows[1:, :, :hidden]
    gz = hs * hs
    np.subtract(1, gz, gz)  # tanh's slopes, each of which becomes the gradient of its step's input
    w = w_h.T.astype(rows.dtype, order="C")
    gh = np.zeros((batch, hidden), rows.dtype)
    for g_out, gz_now in zip(
        sequences.output_gradients(g, time, return_sequences, lengths), gz[::-1]
    ):
        if g_out is not None:
            np.add(gh, g_out, gh)
        np.multiply(gh, gz_now, gz_now)
        gz_now.dot(w, gh)
    gx = sequences.input_gradient(gz, x, w_x) if wanted[0] else None
    gw_x = gw_h = gb = None
    if any(wanted[2:5]):
        gw = sequences.weight_gradient(gz, rows)
        gw_h = gw[:hidden]
        gw_x = gw[hidden:-1]
        gb = gw[-1]
    return gx, gh, gw_x, gw_h, gb


def _rnn_plain(
    x: Any,
    h: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    lengths: Any = None,
    *,
    return_sequences: bool = True,
) -> Any:
    sequences.check(1, x, (h,), w_x, w_h, b)
    x, ended = sequences.masked(x, lengths)
    hs = []
    for t in range(x.shape[1]):
        new = rnn_step(linear(x[:, t], w_x, b), h, w_h)
        h = sequences.unless(ended, t, h, new)
        hs.append(sequences.unless(ended, t, 0, new))
    return stack(hs, axis=1) if return_sequences else h


def rnn_step(z: Any, h: Any, w_h: Any) -> Any:
    """``h`` after one step, from the input's projection ``z = x @ w_x + b`` and ``h`` before."""
    return np.tanh(z + h @ w_h)


# fmt: off
rnn = differentiable(_rnn, joint=_rnn_joint, saves=True, equals=_rnn_plain, fresh=True)
# fmt: on
