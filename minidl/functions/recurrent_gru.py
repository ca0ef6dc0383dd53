"""gru: a gated recurrent unit over whole sequences, and the plain composition it equals.

Weights, the carried state and one step at a time belong to minidl.layers.recurrent.
"""

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.functions import sequences
from minidl.functions.activation import sigmoid
from minidl.functions.linalg import linear
from minidl.functions.shape import split, stack

# fmt: off
__all__ = [
    "gru",
]
# fmt: on

# A step saves four arrays (batch, H) as one: s, r, z, n, where s = h w_hn + b_h.
# - r and z stand together, so that one exp, one add and one division make sigmoids of both.
# - What n gets of x is no part of s: it is one product for all steps before the loop.
# Backwards all that a step gives is a multiple of the gradient of its h: the gradients of s, r, z
# and n's input, in this order, so that those of w_h (s, r, z) stand together, and those of w_x (r,
# z, n); and what comes to the h before without them.


def _gru(
    x: Any,
    h: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    b_h: Any,
    lengths: Any = None,
    *,
    return_sequences: bool = True,
) -> Any:
    """A gated recurrent unit run over whole sequences, as one recorded application.

    ``r, z = sigmoid(x[:, t] @ w_x + h @ w_h + b)``, ``n = tanh(x[:, t] @ w_xn + b_n + r (h @ w_hn +
    b_h))``, ``h = (1 - z) n + z h``, for every t.

    Args:
        x: (batch, time, in), time > 0; like all others floating.
        h: the hidden state before the first step, (batch, H).
        w_x, w_h, b: weights (in, 3H) and (H, 3H), and bias (3H), of r, z and n in this order.
        b_h: the bias of what r gates, (H).
        lengths: None, or how many steps each row has, integers (batch,) from 1 to time: beyond them
            it gives zeros, and its last h is that at its length.
        return_sequences: whether h after every step is returned, (batch, time, H), or after the
            last, (batch, H).

    Returns h in the dtype that NumPy promotes the arguments to. Raises ValueError for other shapes
    and lengths, TypeError for arrays that are not floating.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; with the
    reset gate behind the product, as PyTorch and cuDNN have it.

    >>> weights = np.ones((3, 15)), np.ones((5, 15)), np.zeros(15), np.zeros(5)
    >>> gru(np.ones((2, 7, 3)), np.zeros((2, 5)), *weights).shape
    (2, 7, 5)
    """
    _check(x, h, w_x, w_h, b, b_h)
    lengths = sequences.as_lengths(lengths, *x.shape[:2])
    dtype = np.result_type(x, h, w_x, w_h, b, b_h)
    batch, time, _ = x.shape
    hidden = h.shape[1]
    rows = sequences.step_inputs(x, h, dtype, lengths)
    w = np.concatenate((w_h, w_x, b[None]), dtype=dtype)
    w_r, w_z, w_n = w.reshape(-1, 3, hidden).swapaxes(0, 1)
    w_s = np.concatenate((w_n[:hidden], np.zeros_like(w_x[:, :hidden]), b_h[None]), dtype=dtype)
    w = np.stack([w_s, -w_r, -w_z])  # sigmoid(z) = 1 / (1 + exp(-z))
    steps = np.empty((time, 4, batch, hidden), dtype)
    steps[:, 3] = rows[:time, :, hidden:] @ w_n[hidden:]
    product, w, srz = _product(rows, w, steps[:, :3], np.isfinite(x).all())
    part = np.empty((batch, hidden), dtype)
    one = np.array(1, dtype)
    with np.errstate(over="ignore"):  # where exp is infinite, the gate is 0
        for row, h_old, h_new, out, s, gates, r, z, n in zip(
            rows,
            rows[:, :, :hidden],
            rows[1:, :, :hidden],
            srz,
            steps[:, 0],
            steps[:, 1:3],
            steps[:, 1],
            steps[:, 2],
            steps[:, 3],
        ):
            product(row, w, out)
            np.exp(gates, gates)
            np.add(gates, one, gates)
            np.reciprocal(gates, gates)
            np.multiply(r, s, part)
            np.add(n, part, n)
            np.tanh(n, n)
            np.subtract(h_old, n, part)
            np.multiply(z, part, part)
            np.add(n, part, h_new)
    return sequences.outputs(rows, hidden, return_sequences, lengths), (rows, steps, lengths)


def _product(rows: Any, w: Any, steps: Any, finite: Any) -> tuple[Any, Any, Any]:
    """As ``sequences.step_products``; where x is infinite, s takes no part of it: not 0 times it."""
    if finite:
        return sequences.step_products(rows, w, steps)

    def product(row: Any, w: Any, out: Any) -> None:
        np.matmul(row, w, out)
        hidden = out.shape[2]
        np.matmul(row[:, :hidden], w[0, :hidden], out[0])
        np.add(out[0], w[0, -1], out[0])

    return product, w, steps


def _check(x: Any, h: Any, w_x: Any, w_h: Any, b: Any, b_h: Any) -> None:
    sequences.check(3, x, (h,), w_x, w_h, b)
    if b_h.shape != (h.shape[1],):
        raise ValueError(f"want b_h of shape {(h.shape[1],)}")
    if b_h.dtype.kind != "f":
        raise TypeError("want floating arrays")


def _slopes(rows: Any, steps: Any) -> Any:
    """What the gradients of a step's s, r, z, n and h before are per gradient of its h.

    (time, 5, batch, H), from saved outputs, as in lstm.
    """
    time, _, batch, hidden = steps.shape
    s, r, z, n = steps.swapaxes(0, 1)
    slopes = np.empty((time, 5, batch, hidden), steps.dtype)
    by_s, by_r, by_z, by_n, by_h = slopes.swapaxes(0, 1)
    by_h[...] = z
    np.subtract(1, z, by_z)
    np.multiply(n, n, by_n)
    np.subtract(1, by_n, by_n)
    np.multiply(by_n, by_z, by_n)  # (1 - n^2) (1 - z)
    np.multiply(by_z, z, by_z)
    np.subtract(rows[:time, :, :hidden], n, by_s)
    np.multiply(by_z, by_s, by_z)  # (h - n) z (1 - z)
    np.multiply(by_n, r, by_s)
    np.multiply(by_s, s, by_r)
    np.multiply(by_r, 1 - r, by_r)  # (1 - n^2) (1 - z) s r (1 - r)
    return slopes


def _gru_joint(
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
    rows, steps, lengths = saved  # only read: there may be a second backward
    batch, time, _ = x.shape
    hidden = h.shape[1]
    gz = np.empty((time, batch, 4 * hidden), rows.dtype)
    gh = _back_through_time(
        sequences.output_gradients(g, time, return_sequences, lengths),
        _slopes(rows, steps),
        gz,
        _rotated(w_h, 2 * hidden).T.astype(rows.dtype, order="C"),
    )
    gz_x = gz[:, :, hidden:]
    gx = sequences.input_gradient(gz_x, x, w_x) if wanted[0] else None
    gw_x = gw_h = gb = gb_h = None
    if any(wanted[2:6]):
        gw = sequences.weight_gradient(gz_x, rows[:, :, hidden:])
        gw_x = gw[:-1]
        gb = gw[-1]
        gw = sequences.weight_gradient(gz[:, :, : 3 * hidden], rows)
        gw_h = _rotated(gw[:hidden], hidden)
        gb_h = gw[-1, :hidden]
    return gx, gh, gw_x, gw_h, gb, gb_h


def _back_through_time(gh_given: list[Any], slopes: Any, gz: Any, w: Any) -> Any:
    """Fill in gz, the gradients of every step's s, r, z and n, and return that of the first h.

    Before a step is passed, gh is the gradient of its h, from outside and from the next step.
    """
    time, batch, width = gz.shape
    state = (batch, width // 4)
    gates = gz.reshape(time, batch, 4, width // 4).swapaxes(1, 2)
    of_h = gz[:, :, : w.shape[0]]
    gh, gh_blocks, gh_copies = sequences.repeated(state, 5, gz.dtype)
    now = np.empty((5, *state), gz.dtype)
    now_z = now[:4]
    rest = now[4]
    for g_h, by_h, gz_gates, gz_now in zip(gh_given, slopes[::-1], gates[::-1], of_h[::-1]):
        if g_h is not None:
            np.add(gh, g_h, gh)
        if gh_copies is not None:
            gh_copies[...] = gh
        np.multiply(gh_blocks, by_h, now)
        gz_gates[...] = now_z
        gz_now.dot(w, gh)
        np.add(gh, rest, gh)
    return gh


def _rotated(w: Any, first: int) -> Any:
    """The first columns put behind the others: s, r, z as r, z, n; by 2 H the other way round."""
    return np.concatenate((w[:, first:], w[:, :first]), axis=1)


def _gru_plain(
    x: Any,
    h: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    b_h: Any,
    lengths: Any = None,
    *,
    return_sequences: bool = True,
) -> Any:
    _check(x, h, w_x, w_h, b, b_h)
    x, ended = sequences.masked(x, lengths)
    hs = []
    for t in range(x.shape[1]):
        new = gru_step(linear(x[:, t], w_x, b), h, w_h, b_h)
        h = sequences.unless(ended, t, h, new)
        hs.append(sequences.unless(ended, t, 0, new))
    return stack(hs, axis=1) if return_sequences else h


def gru_step(a: Any, h: Any, w_h: Any, b_h: Any) -> Any:
    """``h`` after one step, from the input's projection ``a = x @ w_x + b`` and ``h`` before."""
    a_r, a_z, a_n = split(a, 3, axis=1)
    h_r, h_z, h_n = split(h @ w_h, 3, axis=1)
    z = sigmoid(a_z + h_z)
    n = np.tanh(a_n + sigmoid(a_r + h_r) * (h_n + b_h))
    return n + z * (h - n)


# fmt: off
gru = differentiable(_gru, joint=_gru_joint, saves=True, equals=_gru_plain, fresh=True)
# fmt: on
