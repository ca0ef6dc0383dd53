"""What the recurrent functions share: checks, the arrays that their loops go through, lengths.

The functions are in recurrent_rnn.py, recurrent_lstm.py and recurrent_gru.py.
"""

# How the loops are made, and why:
# - Inside a loop every array is (batch, features), and each gate has an array of its own, so that
#   all of them are contiguous: a strided column block takes two to three times as long.
# - Nothing is allocated there: at these sizes a new array costs as much as what is computed into
#   it. A call of NumPy costs 0.3 us, as much as a thousand numbers, so that what can be said of
#   several gates at once is one call.
# - Backwards, everything is linear in the gradients of the state: the factors are computed for many
#   steps at once, from saved values, and the loop only multiplies by them.
# - Views of all steps are made before a loop and handed out by zip: slicing in it costs more.
# - Features as rows, which other machines multiply faster, was slower by the transposes at both
#   ends.
# - Lengths leave the loops alone. Beyond its length the input of a row is zeros, so that whatever
#   stands there (NaN, even) is nowhere; its states there are computed, but no output shows them and
#   no gradient comes from them: the gradient of its last state enters at its own last step.

from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import host, is_foreign, to_kind_of
from minidl.common.checks import flag


def check(gates: int, x: Any, states: tuple[Any, ...], w_x: Any, w_h: Any, b: Any) -> None:
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


def as_lengths(lengths: Any, batch: int, time: int) -> Any:
    """The lengths as signed integers of NumPy's, None for none; raise unless they fit.

    There is one for each row, and all are from 1 to ``time``.
    """
    if lengths is None:
        return None
    lengths = np.asarray(host(lengths))
    want = f"an integer length for each row, ({batch},)"
    got = f"{lengths.dtype} {lengths.shape}"
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"want {want}, got {got}; a state is given to a layer's with_state")
    if lengths.shape != (batch,):
        raise ValueError(f"want {want}, got {got}")
    wrong = (lengths < 1) | (lengths > time)
    if wrong.any():
        raise ValueError(f"want lengths from 1 to {time}, got {lengths[wrong][0]}")
    return lengths.astype(np.int64)


# The same where it is recorded, so that compiled code looks at the lengths of each call.
recorded_lengths = differentiable(as_lengths, name="lengths")


def beyond(lengths: Any, x: Any) -> Any:
    """Where a row's sequence has ended, (batch, time, 1), as an array of the kind of x."""
    ended = np.arange(x.shape[1]) >= lengths[:, None]
    ended = ended[:, :, None]
    return to_kind_of(ended, x) if is_foreign(x) else ended


# ---- forward -------------------------------------------------------------------------------------


def step_inputs(x: Any, h: Any, dtype: Any, lengths: Any) -> Any:
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
    if lengths is not None:
        np.copyto(rows[:time, :, hidden:-1], 0, where=beyond(lengths, x).swapaxes(0, 1))
    return rows


def step_products(rows: Any, w: Any, steps: Any) -> tuple[Any, Any, Any]:
    """What a step calls for its product, with which weights, into which views: (function, w, out).

    ``w`` is (gates, rows, H), ``steps`` (time, gates, batch, H): a product for each gate. Where the
    batch is 1 they stand side by side as in one row, and one product of vectors takes half of the
    time.
    """
    time, gates, batch, hidden = steps.shape
    if batch != 1:
        return np.matmul, w, steps
    wide = w.swapaxes(0, 1).reshape(rows.shape[2], gates * hidden)
    return np.ndarray.dot, wide, steps.reshape(time, 1, gates * hidden)


def outputs(rows: Any, hidden: int, return_sequences: bool, lengths: Any) -> Any:
    """The hidden states, in memory of their own.

    ``rows`` stay as they are for the backward pass.
    """
    hs = rows[1:, :, :hidden]
    if not flag("return_sequences", return_sequences):
        return last_of(hs, lengths)
    y = hs.swapaxes(0, 1).copy()
    if lengths is not None:
        np.copyto(y, 0, where=beyond(lengths, y))
    return y


def last_of(states: Any, lengths: Any) -> Any:
    """Each row's last state, of those of all steps, (time, batch, H)."""
    if lengths is None:
        return states[-1].copy()
    return states[lengths - 1, np.arange(len(lengths))]


# ---- backward ------------------------------------------------------------------------------------


def output_gradients(g: Any, time: int, return_sequences: bool, lengths: Any) -> list[Any]:
    """The gradient that each step's h gets from outside, last step first.

    An array, or None for none.
    """
    if g is None or not return_sequences:
        return last_gradients(g, time, lengths)
    if lengths is not None:
        g = np.where(beyond(lengths, g), 0, g)
    return list(g.swapaxes(0, 1)[::-1])


def last_gradients(g: Any, time: int, lengths: Any) -> list[Any]:
    """The same of the gradient of the rows' last states, (batch, H)."""
    steps: list[Any] = [None] * time
    if g is None:
        return steps
    if lengths is None:
        steps[0] = g
        return steps
    for n in np.unique(lengths):
        steps[time - n] = np.where(lengths[:, None] == n, g, 0)
    return steps


def repeated(shape: tuple[int, int], times: int, dtype: Any) -> tuple[Any, Any, Any]:
    """Zeros, (batch, H); the same as that many blocks; and those to which they must be copied.

    Small blocks are multiplied by blocks in a third of the time of broadcasting. Where they are
    large, copying takes longer than it saves: the blocks are one memory, the copies None.
    """
    if shape[0] * shape[1] * dtype.itemsize > _SMALL:
        first = np.zeros(shape, dtype)
        return first, np.broadcast_to(first, (times, *shape)), None
    blocks = np.zeros((times, *shape), dtype)
    return blocks[0], blocks, blocks[1:]


_SMALL = 2**14  # bytes


def input_gradient(gz: Any, x: Any, w_x: Any) -> Any:
    """The gradient of x from those of all steps' projections of it, (time, batch, ..)."""
    batch, time, features = x.shape
    gz = gz.reshape(time * batch, w_x.shape[1])
    gx = gz @ w_x.T
    return gx.reshape(time, batch, features).swapaxes(0, 1)


def weight_gradient(gz: Any, rows: Any) -> Any:
    """The gradient of what all steps' rows of h, x and 1 are multiplied by: one product."""
    time, batch, width = gz.shape
    steps = rows[:time].reshape(time * batch, rows.shape[2])
    return steps.T @ gz.reshape(time * batch, width)


# ---- in the compositions -------------------------------------------------------------------------


def masked(x: Any, lengths: Any) -> tuple[Any, Any]:
    """``x`` with zeros beyond the lengths, and where that is, (batch, time, 1); None for nowhere."""
    if lengths is None:
        return x, None
    batch, time, _ = x.shape
    ended = beyond(recorded_lengths(lengths, batch, time), x)
    return np.where(ended, 0, x), ended


def unless(ended: Any, t: int, state: Any, new: Any) -> Any:
    """The new state, but ``state`` for the rows that have ended before step t."""
    return new if ended is None else np.where(ended[:, t], state, new)
