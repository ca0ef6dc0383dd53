"""Recurrent layers' whole sequences as one function each, lstm and rnn, beside the plain
compositions they equal.

Weights, the carried state and one step at a time belong to minidl.layers.recurrent.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.functions.activation import sigmoid
from minidl.functions.linalg import linear
from minidl.functions.shape import split, stack

# fmt: off
__all__ = [
    "lstm", "rnn",
]
# fmt: on

# How the loops are made, and why:
# - Inside a loop every array is (batch, features), and each gate has an array of its own, so that all of
#   them are contiguous: a strided column block takes two to three times as long.
# - Nothing is allocated there: at these sizes a new array costs as much as what is computed into it.
# - Views of all steps are made before a loop and handed out by zip: slicing in it would cost as much again.
# - Features as rows, which other machines multiply faster, was slower by the transposes at both ends.


def _check(gates: int, x: Any, states: tuple[Any, ...], w_x: Any, w_h: Any, b: Any) -> None:
    """Raise unless all shapes fit together and all is floating."""
    hidden = w_h.shape[0] if w_h.ndim == 2 else 0
    width = gates * hidden
    shapes_of_weights = ((x.shape[-1], width), (hidden, width)) if x.ndim == 3 else None
    if (w_x.shape, w_h.shape) != shapes_of_weights or x.shape[1] == 0:
        columns = "H" if gates == 1 else f"{gates}H"
        raise ValueError(
            f"want x (batch, time, in) with time > 0, w_x (in, {columns}) and w_h (H, {columns})"
        )
    if b.shape != (width,) or any(s.shape != (x.shape[0], hidden) for s in states):
        raise ValueError(f"want states of shape {(x.shape[0], hidden)} and b of {(width,)}")
    if any(a.dtype.kind != "f" for a in (x, *states, w_x, w_h, b)):
        raise TypeError("want floating arrays")


def _step_inputs(x: Any, h: Any, dtype: Any) -> Any:
    """What each step multiplies by the weights, time first: its h, its x and a 1 side by side.

    Only the first h is filled in; each step writes the next. So one product a step gives the hidden
    and input projections and the bias, already added up, and one product over all steps gives the
    gradients of all weights.
    """
    batch, time, features = x.shape
    hidden = h.shape[1]
    rows = np.empty((time + 1, batch, hidden + features + 1), dtype)
    rows[0, :, :hidden] = h
    rows[:time, :, hidden:-1] = x.swapaxes(0, 1)
    rows[:time, :, -1] = 1
    return rows


def _outputs(rows: Any, hidden: int, return_sequences: bool) -> Any:
    """The hidden states, in memory of their own.

    ``rows`` stay as they are for the backward pass.
    """
    return (
        rows[1:, :, :hidden].swapaxes(0, 1).copy()
        if return_sequences
        else rows[-1, :, :hidden].copy()
    )


def _output_gradients(g: Any, time: int, return_sequences: bool) -> list[Any]:
    """The gradient that each step's h gets from outside, last step first.

    An array, or None for none.
    """
    if g is None:
        return [None] * time
    return list(g.swapaxes(0, 1)[::-1]) if return_sequences else [g] + [None] * (time - 1)


def _weight_gradients(
    gz: Any, rows: Any, wanted: list[bool], x: Any, w_x: Any, hidden: int
) -> tuple[Any, ...]:
    """Gradients of x, w_x, w_h and b from those of every step's pre-activations, (time, batch,
    ..).
    """
    time, batch, width = gz.shape
    gz = gz.reshape(time * batch, width)
    gx = gw_x = gw_h = gb = None
    if wanted[0]:
        gx = (gz @ w_x.T).reshape(time, batch, x.shape[2]).swapaxes(0, 1)
    if any(wanted[-3:]):
        gw = rows[:time].reshape(time * batch, rows.shape[2]).T @ gz
        gw_h = gw[:hidden]
        gw_x = gw[hidden:-1]
        gb = gw[-1]
    return gx, gw_x, gw_h, gb


# ---- lstm ----------------------------------------------------------------------------------------

# A step saves six arrays (batch, H) as one, in this order: i, f, o, u, c before it, and tanh(c) after it.
# - i, f, o, u stand first, so that one product writes all their inputs, and one tanh serves all four.
# - i, f, o stand together, so that one multiply and one add turn their tanh into sigmoids.
# - Each of i, f, o stands three places before the factor it gates (u, c, tanh(c)), so that the products
#   i u, f c and o tanh(c) are one multiplication of two blocks, in the backward pass as well.
_ORDER = [1, 0, 2, 3]  # where i, f, o, u are in the weights
_CACHED = 2**18  # bytes of steps that are worked on at once


def _lstm(
    x: Any, h: Any, c: Any, w_x: Any, w_h: Any, b: Any, *, return_sequences: bool = True
) -> Any:
    """A long short-term memory run over whole sequences, as one recorded application.

    ``f, i, o, u = split(x[:, t] @ w_x + h @ w_h + b, 4)``, ``c = sigmoid(f) c + sigmoid(i)
    tanh(u)``, ``h = sigmoid(o) tanh(c)``, for every t.

    Args:
        x: (batch, time, in), time > 0; like all others floating.
        h, c: hidden state and cell before the first step, (batch, H).
        w_x, w_h, b: weights (in, 4H) and (H, 4H), and bias (4H), gates in the order f, i, o, u.
        return_sequences: whether h after every step is returned, (batch, time, H), or after the
            last, (batch, H).

    Returns h and, after the last step, c (batch, H), in the dtype that NumPy promotes the arguments
    to. Raises ValueError for other shapes, TypeError for arrays that are not floating.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; with the forget gate of
    Gers, Schmidhuber, Cummins, "Learning to forget", 2000.

    >>> zero = np.zeros((2, 5))
    >>> h, c = lstm(np.ones((2, 7, 3)), zero, zero, np.ones((3, 20)), np.ones((5, 20)), np.zeros(20))
    >>> h.shape, c.shape
    ((2, 7, 5), (2, 5))
    """
    _check(4, x, (h, c), w_x, w_h, b)
    dtype = np.result_type(x, h, c, w_x, w_h, b)
    batch, time, _ = x.shape
    hidden = h.shape[1]
    rows = _step_inputs(x, h, dtype)
    # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2: the first half is taken of the weights.
    half = np.array(0.5, dtype)
    w = np.concatenate((w_h, w_x, b[None])).reshape(-1, 4, hidden).swapaxes(0, 1)
    w = np.stack([w[gate] * (1 if gate == 3 else half) for gate in _ORDER])
    steps = np.empty((time, 6, batch, hidden), dtype)
    last = np.empty((batch, hidden), dtype)
    parts = np.empty((2, batch, hidden), dtype)
    new, old = parts  # i u and f c, whose sum is the next c
    steps[0, 4] = c
    for row, h_new, z, gates, i_f, u_c, o, tanh_c, c_new in zip(
        rows,
        rows[1:, :, :hidden],
        steps[:, :4],
        steps[:, :3],
        steps[:, :2],
        steps[:, 3:5],
        steps[:, 2],
        steps[:, 5],
        [*steps[1:, 4], last],
    ):
        np.matmul(row, w, z)
        np.tanh(z, z)
        np.multiply(gates, half, gates)
        np.add(gates, half, gates)
        np.multiply(i_f, u_c, parts)
        np.add(new, old, c_new)
        np.tanh(c_new, tanh_c)
        np.multiply(o, tanh_c, h_new)
    return (_outputs(rows, hidden, return_sequences), last), (rows, steps)


def _slopes(steps: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield what each step's gradients are multiplied by, last step first, as views that the next
    ones reuse.

    Four arrays a step: the slopes of c by the inputs of i and f (two in one), of h by the input of
    o, of c by the input of u, and of h by c. They depend on saved values only, on no other step's
    gradient, so they are computed for as many steps at once as stay in the cache.
    """
    time, _, batch, hidden = steps.shape
    length = min(max(_CACHED // max(steps[0].nbytes, 1), 1), time)
    buffers = np.empty((2, length, 3, batch, hidden), steps.dtype)
    slopes = np.empty((length, 5, batch, hidden), steps.dtype)
    for end in range(time, 0, -length):
        some = steps[max(end - length, 0) : end]
        products, squares = buffers[:, : len(some)]
        out = slopes[: len(some)]
        gates = some[:, :3]
        others = some[:, 3:]
        np.multiply(gates, others, products)  # i u, f c, o tanh(c)
        np.multiply(products, gates, squares)
        np.subtract(products, squares, out[:, :3])  # i u (1 - i), ..
        np.multiply(products[:, ::2], others[:, ::2], squares[:, :2])
        np.subtract(gates[:, ::2], squares[:, :2], out[:, 3:])  # i (1 - u^2), o (1 - tanh(c)^2)
        yield from zip(out[::-1, :2], out[::-1, 2], out[::-1, 3], out[::-1, 4])


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
    b: Any,
    *,
    return_sequences: bool = True,
) -> tuple[Any, ...]:
    """Backwards through time. Before a step is passed, gh and gc are the gradients of its h and c.

    ``gh`` comes from outside and from the next step's product, ``gc`` from the next step's f; gz
    collects the gradients of every step's z, of which those of the weights are one product in the
    end.
    """
    rows, steps = saved  # only read: there may be a second backward
    time, _, batch, hidden = steps.shape
    gz = np.empty((time, batch, 4 * hidden), rows.dtype)
    gates = gz.reshape(time, batch, 4, hidden).swapaxes(1, 2)[::-1]
    w = w_h.T.astype(rows.dtype, order="C")
    gh, gc = np.zeros((2, batch, hidden), rows.dtype)
    if g[1] is not None:
        gc += g[1]
    part = np.empty((batch, hidden), rows.dtype)
    # gz of one step: three writes to what is contiguous and a copy cost less than three to columns
    # of gz.
    now = np.empty((4, batch, hidden), rows.dtype)
    now_i_f = now[1::-1]
    now_o = now[2]
    now_u = now[3]
    for g_out, (i_f_slope, o_slope, u_slope, c_slope), f, gz_gates, gz_now in zip(
        _output_gradients(g[0], time, return_sequences),
        _slopes(steps),
        steps[::-1, 1],
        gates,
        gz[::-1],
    ):
        if g_out is not None:
            np.add(gh, g_out, gh)
        np.multiply(gh, c_slope, part)
        np.add(gc, part, gc)
        np.multiply(gc, i_f_slope, now_i_f)
        np.multiply(gh, o_slope, now_o)
        np.multiply(gc, u_slope, now_u)
        gz_gates[...] = now
        np.multiply(gc, f, gc)
        np.dot(gz_now, w, gh)
    gx, *gw = _weight_gradients(gz, rows, wanted, x, w_x, hidden)
    return gx, gh, gc, *gw


def _lstm_plain(
    x: Any, h: Any, c: Any, w_x: Any, w_h: Any, b: Any, *, return_sequences: bool = True
) -> Any:
    _check(4, x, (h, c), w_x, w_h, b)
    hs = []
    for t in range(x.shape[1]):
        h, c = lstm_step(linear(x[:, t], w_x, b), h, c, w_h)
        hs.append(h)
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


# ---- rnn -----------------------------------------------------------------------------------------


def _rnn(x: Any, h: Any, w_x: Any, w_h: Any, b: Any, *, return_sequences: bool = True) -> Any:
    """A simple recurrent network run over whole sequences, as one recorded application.

    ``h = tanh(x[:, t] @ w_x + h @ w_h + b)`` for every t.

    Args:
        x: (batch, time, in), time > 0; like all others floating.
        h: the hidden state before the first step, (batch, H).
        w_x, w_h, b: weights (in, H) and (H, H), and bias (H).
        return_sequences: whether h after every step is returned, (batch, time, H), or after the
            last, (batch, H).

    Returns h in the dtype that NumPy promotes the arguments to. Raises ValueError for other shapes,
    TypeError for arrays that are not floating.

    Source: Elman, "Finding structure in time", 1990.

    >>> rnn(np.ones((2, 7, 3)), np.zeros((2, 5)), np.ones((3, 5)), np.ones((5, 5)), np.zeros(5)).shape
    (2, 7, 5)
    """
    _check(1, x, (h,), w_x, w_h, b)
    dtype = np.result_type(x, h, w_x, w_h, b)
    hidden = h.shape[1]
    rows = _step_inputs(x, h, dtype)
    w = np.concatenate((w_h, w_x, b[None]), dtype=dtype)
    z = np.empty(h.shape, dtype)
    for row, h_new in zip(rows, rows[1:, :, :hidden]):
        np.dot(row, w, z)
        np.tanh(z, h_new)
    return _outputs(rows, hidden, return_sequences), rows


def _rnn_joint(
    g: Any,
    y: Any,
    rows: Any,
    wanted: list[bool],
    x: Any,
    h: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    *,
    return_sequences: bool = True,
) -> tuple[Any, ...]:
    batch, hidden = h.shape
    time = x.shape[1]
    gz = np.empty((time, batch, hidden), rows.dtype)
    w = w_h.T.astype(rows.dtype, order="C")
    gh, slope = np.zeros((2, batch, hidden), rows.dtype)
    for g_out, h_new, gz_now in zip(
        _output_gradients(g, time, return_sequences), rows[:0:-1, :, :hidden], gz[::-1]
    ):
        if g_out is not None:
            np.add(gh, g_out, gh)
        np.multiply(h_new, h_new, slope)
        np.subtract(1, slope, slope)
        np.multiply(gh, slope, gz_now)
        np.dot(gz_now, w, gh)
    gx, *gw = _weight_gradients(gz, rows, wanted, x, w_x, hidden)
    return gx, gh, *gw


def _rnn_plain(x: Any, h: Any, w_x: Any, w_h: Any, b: Any, *, return_sequences: bool = True) -> Any:
    _check(1, x, (h,), w_x, w_h, b)
    hs = []
    for t in range(x.shape[1]):
        h = rnn_step(linear(x[:, t], w_x, b), h, w_h)
        hs.append(h)
    return stack(hs, axis=1) if return_sequences else h


def rnn_step(z: Any, h: Any, w_h: Any) -> Any:
    """``h`` after one step, from the input's projection ``z = x @ w_x + b`` and ``h`` before."""
    return np.tanh(z + h @ w_h)


# fmt: off
rnn = differentiable(_rnn, joint=_rnn_joint, saves=True, equals=_rnn_plain, fresh=True)
# fmt: on
