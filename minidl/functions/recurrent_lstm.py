"""lstm: long short-term memory over whole sequences, and the plain composition it equals.

Weights, the carried state and one step at a time belong to minidl.layers.recurrent.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.functions import sequences
from minidl.functions.activation import sigmoid
from minidl.functions.linalg import linear
from minidl.functions.shape import split, stack

# fmt: off
__all__ = [
    "lstm",
]
# fmt: on

# A step saves six arrays (batch, H) as one, in this order: 1 / i, 1 / f, 1 / o, u, c before it, and
# tanh(c) after it.
# - Those of i, f, o, u stand first, so that one product writes all their inputs.
# - Those of i, f, o stand together, so that one exp and one add serve all three: of the sigmoid 1 /
#   (1 + exp(-z)) the denominator is kept, by which what the gate multiplies is divided.
# - Each of them stands three places before that (u, c, tanh(c)), so that i u and f c are one
#   division of two blocks, and so on in the backward pass.
_ORDER = [1, 0, 2, 3]  # where i, f, o, u are in the weights, whose order is f, i, o, u
# Backwards a step gives six arrays as one: the gradient of the c before it, those of u's, i's, f's
# and o's input, and a part of the gradient of its own c. The first four are multiples of the
# gradient of c, the last two of that of h.
_BACKWARD = [3, 1, 0, 2]  # where u, i, f, o are in the weights
_WEIGHTS = [2, 1, 3, 0]  # where f, i, o, u are in that order
_CACHED = 2**18  # bytes of steps that are worked on at once


def _lstm(
    x: Any,
    h: Any,
    c: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    lengths: Any = None,
    *,
    return_sequences: bool = True,
) -> Any:
    """A long short-term memory run over whole sequences, as one recorded application.

    ``f, i, o, u = split(x[:, t] @ w_x + h @ w_h + b, 4)``, ``c = sigmoid(f) c + sigmoid(i)
    tanh(u)``, ``h = sigmoid(o) tanh(c)``, for every t.

    Args:
        x: (batch, time, in), time > 0; like all others floating.
        h, c: hidden state and cell before the first step, (batch, H).
        w_x, w_h, b: weights (in, 4H) and (H, 4H), and bias (4H), gates in the order f, i, o, u.
        lengths: None, or how many steps each row has, integers (batch,) from 1 to time: beyond them
            it gives zeros, and its last h and c are those at its length.
        return_sequences: whether h after every step is returned, (batch, time, H), or after the
            last, (batch, H).

    Returns h and, after the last step, c (batch, H), in the dtype that NumPy promotes the arguments
    to. Raises ValueError for other shapes and lengths, TypeError for arrays that are not floating.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; with the forget gate of
    Gers, Schmidhuber, Cummins, "Learning to forget", 2000.

    >>> zero = np.zeros((2, 5))
    >>> h, c = lstm(np.ones((2, 7, 3)), zero, zero, np.ones((3, 20)), np.ones((5, 20)), np.zeros(20))
    >>> h.shape, c.shape
    ((2, 7, 5), (2, 5))
    """
    sequences.check(4, x, (h, c), w_x, w_h, b)
    lengths = sequences.as_lengths(lengths, *x.shape[:2])
    dtype = np.result_type(x, h, c, w_x, w_h, b)
    batch, time, _ = x.shape
    hidden = h.shape[1]
    rows = sequences.step_inputs(x, h, dtype, lengths)
    w = np.concatenate((w_h, w_x, b[None]), dtype=dtype).reshape(-1, 4, hidden)
    w = np.stack([w[:, gate] for gate in _ORDER])
    w[:3] *= -1
    # One step more than there are: the last c.
    steps = np.empty((time + 1, 6, batch, hidden), dtype)
    steps[0, 4] = c
    product, w, zs = sequences.step_products(rows, w, steps[:time, :4])
    parts = np.empty((2, batch, hidden), dtype)
    new, old = parts  # i u and f c, whose sum is the next c
    one = np.array(1, dtype)
    with np.errstate(over="ignore"):  # where exp is infinite, the gate is 0
        for row, h_new, z, gates, u, i_f, u_c, o, tanh_c, c_new in zip(
            rows,
            rows[1:, :, :hidden],
            zs,
            steps[:, :3],
            steps[:, 3],
            steps[:, :2],
            steps[:, 3:5],
            steps[:, 2],
            steps[:, 5],
            steps[1:, 4],
        ):
            product(row, w, z)
            np.exp(gates, gates)
            np.add(gates, one, gates)
            np.tanh(u, u)
            np.divide(u_c, i_f, parts)
            np.add(new, old, c_new)
            np.tanh(c_new, tanh_c)
            np.divide(tanh_c, o, h_new)
    hs = sequences.outputs(rows, hidden, return_sequences, lengths)
    return (hs, sequences.last_of(steps[1:, 4], lengths)), (rows, steps, lengths)


def _slopes(steps: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what each step's gradients are multiplied by, last step first, as views that the next
    ones reuse.

    Two arrays a step: what is a multiple of the gradient of c (4, batch, H), and of that of h (2,
    batch, H), in the order said above. They depend on saved values only, on no other step's
    gradient, so they are computed for as many steps at once as stay in the cache.

    From saved outputs: where a gate, u or tanh(c) is nearly 1, its slope is as exact as the
    difference from 1, as PyTorch's is, not to all digits as those of F.sigmoid and F.tanh are.
    """
    time, _, batch, hidden = steps.shape
    length = min(max(_CACHED // max(steps[0].nbytes, 1), 1), time)
    buffers = np.empty((2, length, 3, batch, hidden), steps.dtype)
    slopes = np.empty((length, 6, batch, hidden), steps.dtype)
    for end in range(time, 0, -length):
        some = steps[max(end - length, 0) : end]
        products, squares = buffers[:, : len(some)]
        out = slopes[: len(some)]
        gates = some[:, :3]  # 1 / i, 1 / f, 1 / o
        others = some[:, 3:]
        np.divide(others, gates, products)  # i u, f c, o tanh(c)
        np.divide(products, gates, squares)
        np.subtract(products, squares, out[:, 2:5])  # i u (1 - i), ..
        rest = squares[:, :2]
        np.multiply(others[:, ::2], others[:, ::2], rest)
        np.subtract(1, rest, rest)
        np.divide(rest, gates[:, ::2], out[:, 1::4])  # i (1 - u^2), o (1 - tanh(c)^2)
        np.reciprocal(gates[:, 1], out[:, 0])
        yield from zip(out[::-1, :4], out[::-1, 4:])


def _lstm_joint(
    g: Any,
    y: Any,
    saved: Any,
    wanted: list[bool],
    x: Any,
    h: Any,
    c: Any,
    w_x: Any,
    w_h: Any,
    *_: Any,
    return_sequences: bool = True,
) -> tuple[Any, ...]:
    rows, steps, lengths = saved  # only read: there may be a second backward
    batch, time, _ = x.shape
    hidden = h.shape[1]
    gz = np.empty((time, batch, 4 * hidden), rows.dtype)
    gh, gc = _back_through_time(
        sequences.output_gradients(g[0], time, return_sequences, lengths),
        sequences.last_gradients(g[1], time, lengths),
        _slopes(steps[:time]),
        gz,
        _in_order(w_h, _BACKWARD).T.astype(rows.dtype, order="C"),
    )
    gx = sequences.input_gradient(gz, x, _in_order(w_x, _BACKWARD)) if wanted[0] else None
    gw_x = gw_h = gb = None
    if any(wanted[3:6]):
        gw = _in_order(sequences.weight_gradient(gz, rows), _WEIGHTS)
        gw_h = gw[:hidden]
        gw_x = gw[hidden:-1]
        gb = gw[-1]
    return gx, gh, gc, gw_x, gw_h, gb


def _back_through_time(
    gh_given: list[Any], gc_given: list[Any], slopes: Iterable[tuple[Any, Any]], gz: Any, w: Any
) -> tuple[Any, Any]:
    """Fill in gz, the gradients of every step's z, and return those of the first h and c.

    Before a step is passed, gh and gc are the gradients of its h and c: from outside, and gh from
    the next step's product, gc from the next step's f.
    """
    time, batch, width = gz.shape
    state = (batch, width // 4)
    gates = gz.reshape(time, batch, 4, width // 4).swapaxes(1, 2)
    gh, gh_blocks, gh_copies = sequences.repeated(state, 2, gz.dtype)
    gc, gc_blocks, gc_copies = sequences.repeated(state, 4, gz.dtype)
    # Writes to what is contiguous and a copy cost less than writes to columns of gz.
    now = np.zeros((6, *state), gz.dtype)
    now_by_c = now[:4]
    now_by_h = now[4:]
    gc_before = now[0]
    now_z = now[1:5]
    part = now[5]
    for g_h, g_c, (by_c, by_h), gz_gates, gz_now in zip(
        gh_given, gc_given, slopes, gates[::-1], gz[::-1]
    ):
        if g_h is not None:
            np.add(gh, g_h, gh)
        if g_c is not None:
            np.add(gc_before, g_c, gc_before)
        if gh_copies is not None:
            gh_copies[...] = gh
        np.multiply(gh_blocks, by_h, now_by_h)
        np.add(gc_before, part, gc)
        if gc_copies is not None:
            gc_copies[...] = gc
        np.multiply(gc_blocks, by_c, now_by_c)
        gz_gates[...] = now_z
        gz_now.dot(w, gh)
    return gh, gc_before


def _in_order(w: Any, order: list[int]) -> Any:
    """The columns of the four gates in another order."""
    gates = np.split(w, 4, axis=1)
    return np.concatenate([gates[place] for place in order], axis=1)


def _lstm_plain(
    x: Any,
    h: Any,
    c: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    lengths: Any = None,
    *,
    return_sequences: bool = True,
) -> Any:
    sequences.check(4, x, (h, c), w_x, w_h, b)
    x, ended = sequences.masked(x, lengths)
    hs = []
    for t in range(x.shape[1]):
        h_new, c_new = lstm_step(linear(x[:, t], w_x, b), h, c, w_h)
        h = sequences.unless(ended, t, h, h_new)
        c = sequences.unless(ended, t, c, c_new)
        hs.append(sequences.unless(ended, t, 0, h_new))
    return (stack(hs, axis=1) if return_sequences else h), c


def lstm_step(z: Any, h: Any, c: Any, w_h: Any) -> tuple[Any, Any]:
    """``(h, c)`` after one step, from the input's projection ``z = x @ w_x + b`` and ``(h, c)``
    before.
    """
    f, i, o, u = split(z + h @ w_h, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
    return sigmoid(o) * np.tanh(c), c


# fmt: off
lstm = differentiable(_lstm, joint=_lstm_joint, saves=True, equals=_lstm_plain, fresh=True)
# fmt: on
