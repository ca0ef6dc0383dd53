"""Compositions for C of functions whose own form is NumPy's: loops over time, losses of labels.

Where a function has a plain composition (``equals``) that serves, it is not repeated here. Of those
in ``FORWARDS`` the derivative stays the function's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.function import Function
from minidl.autograd.modes import MODE
from minidl.functions import activation, classification, masks, reduction, sequences
from minidl.functions.linalg import linear
from minidl.functions.recurrent_gru import gru_step
from minidl.functions.recurrent_lstm import lstm_step
from minidl.functions.recurrent_rnn import rnn_step


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
    def step(z: Any, state: Any) -> Any:
        h, c = state
        return lstm_step(z, h, c, w_h)

    hs, state = _run(step, x, (h, c), linear(x, w_x, b), lengths, return_sequences, (w_h,))
    return hs, state[1]


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
    def step(z: Any, state: Any) -> Any:
        return (rnn_step(z, state[0], w_h),)

    return _run(step, x, (h,), linear(x, w_x, b), lengths, return_sequences, (w_h,))[0]


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
    def step(z: Any, state: Any) -> Any:
        return (gru_step(z, state[0], w_h, b_h),)

    return _run(step, x, (h,), linear(x, w_x, b), lengths, return_sequences, (w_h, b_h))[0]


def _run(
    step: Callable[[Any, Any], Any],
    x: Any,
    state: tuple[Any, ...],
    z: Any,
    lengths: Any,
    return_sequences: bool,
    captured: tuple[Any, ...],
) -> tuple[Any, Any]:
    """The hidden states, all or the last, and the last state, of a step that gets projections z.

    Where a row has ended its state stays, and its hidden state is 0.
    """
    tracer: Any = MODE.get().tracer
    xs = [z.swapaxes(0, 1)]
    if lengths is not None:
        ended = sequences.beyond(_noticed(lengths, x.shape[1]), x)
        xs.append(ended.swapaxes(0, 1))

    def body(before: Any, now: Any) -> Any:
        new = step(now[0], tuple(before))
        if lengths is None:
            return new, new[:1]
        stays = [np.where(now[1], old, fresh) for old, fresh in zip(before, new)]
        return stays, [np.where(now[1], 0, new[0])]

    last, (hs,) = tracer.loop(body, state, xs, captured)
    return (hs.swapaxes(0, 1) if return_sequences else last[0]), last


def _noticed(lengths: Any, time: int) -> Any:
    """The lengths, looked up: one that is not from 1 to ``time`` is a place outside the table."""
    return F.getitem(np.arange(1, time + 1), np.where(lengths < 1, time, lengths - 1))


def _mean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    if a.dtype.kind != "f":
        a = a.astype(np.float64)
    total = reduction.sum(a, axis, keepdims=keepdims)
    return total / max(reduction.count(a, axis), 1)


def _var(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    if a.dtype.kind != "f":
        a = a.astype(np.float64)
    centred = a - _mean(a, axis, keepdims=True)
    squares = reduction.sum(centred * centred, axis, keepdims=keepdims)
    return squares / (reduction.count(a, axis) - ddof)


def _cross_entropy(x: Any, t: Any, ignore_index: int = -100) -> Any:
    """As the function, which counts the label's own probability apart where it is nearly 1."""
    classes = x.shape[-1]
    labels = t.reshape(-1)
    counted = labels != ignore_index
    labels = np.where(counted, labels, 0)
    z = activation._shifted(x, -1).reshape(-1, classes)
    e = np.exp(z)
    mine = labels[:, None] == np.arange(classes)
    others = np.where(mine, 0, e).sum(-1)
    places = np.where(labels < 0, classes, labels)  # outside: none is counted from the end
    picked = z[np.arange(labels.size), places]
    total = np.maximum(e.sum(-1), 0.5)  # of a row of nothing but -inf: its loss is infinite
    losses = np.where(picked == 0, np.log1p(others), np.log(total) - picked)
    count = np.maximum(counted.astype(x.dtype).sum(), 1)
    return np.where(counted, losses, 0).sum() / count, None


def _slope(x: Any, y: Any, scale: int) -> Any:
    """Of tanh from y alone; of sigmoid from y and what it lacks of 1, which x knows exactly."""
    return (1 - y) * (1 + y) if scale == 2 else y * F.sigmoid(-x)


FORWARDS: dict[Function, Callable[..., Any]] = {classification._plain_mean: _cross_entropy}
COMPOSITIONS: dict[Function, Callable[..., Any]] = {
    F.lstm: _lstm,
    F.rnn: _rnn,
    F.gru: _gru,
    F.mean: _mean,
    F.var: _var,
    masks._recorded_slope: _slope,
}
