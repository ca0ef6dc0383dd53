"""Attention, as one function beside the plain composition that it equals.

Its heads and weights belong to minidl.layers.attention.
"""

import math
from typing import Any

import numpy as np

from minidl.autograd.function import differentiable
from minidl.common.arrays import to_kind_of
from minidl.functions.activation import softmax
from minidl.functions.masks import narrowed, widened

__all__ = ["attention"]


def _bias(q: Any, k: Any, v: Any, mask: Any, causal: bool) -> Any:
    """What is added to the scores: 0 where a query sees a key, else -inf; None if all see all.

    Raises unless all shapes fit together and all is floating.
    """
    for name, a in (("q", q), ("k", k), ("v", v)):
        if a.ndim < 2 or a.dtype.kind != "f":
            raise ValueError(f"want {name} floating (.., time, d), got {a.dtype} {a.shape}")
    if not isinstance(causal, bool | np.bool_):
        raise TypeError(f"want causal to be True or False, got {causal!r:.40}")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or 0 in k.shape[-2:]:
        what = "q (.., query, d), k (.., key, d) and v (.., key, e), d and key > 0"
        raise ValueError(f"want {what}, got {q.shape}, {k.shape} and {v.shape}")
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    shape = (*lead, q.shape[-2], k.shape[-2])
    seen = None
    if mask is not None:
        seen = _check_mask(mask, shape)
    if causal:
        past = to_kind_of(np.tri(shape[-2], shape[-1], dtype=np.bool_), q)
        seen = past if seen is None else seen & past
    if seen is None:
        return None
    return np.where(seen, 0, -math.inf).astype(q.dtype)


def _check_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    want = f"a mask of bools, True for what is seen, that broadcasts to {shape}"
    if getattr(mask, "dtype", None) != np.bool_:
        raise TypeError(f"want {want}, got {getattr(mask, 'dtype', mask)!r:.40}")
    lead = len(shape) - mask.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(mask.shape, shape[lead:])):
        raise ValueError(f"want {want}, got {mask.shape}")
    return mask


def _attention(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False) -> Any:
    """For each query the mean of the values ``v``, weighted by how well their keys fit it.

    ``softmax(q @ k.T / sqrt(d)) @ v``, the softmax over the keys that the query sees; a query that
    sees none gets zeros.

    Args:
        q: queries, floating (.., query, d).
        k: keys (.., key, d).
        v: values (.., key, e); leading axes of the three broadcast.
        mask: bools that broadcast to (.., query, key); True where the query sees the key.
        causal: whether query i sees the keys 0 .. i only.

    Returns (.., query, e). Raises ValueError for other shapes, and for what is not floating;
    TypeError for a mask that is not of bools.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> q, k, v = np.zeros((1, 4)), np.zeros((2, 4)), np.array([[1.0], [3.0]])
    >>> attention(q, k, v), attention(q, k, v, causal=True)
    (array([[2.]]), array([[1.]]))
    """
    bias = _bias(q, k, v, mask, causal)
    dtype = np.result_type(q.dtype, k.dtype, v.dtype)
    q = widened(q) * (1 / math.sqrt(q.shape[-1]))
    p = _softmax_in_place(q @ widened(k).swapaxes(-1, -2), bias)
    y = p @ widened(v)
    return (narrowed(y, v) if dtype == np.float16 else y), (p, q)


_MODERATE = 50.0  # of scores up to here the exponentials, and their sums, are far from the limits


def _softmax_in_place(scores: Any, bias: Any) -> Any:
    """``softmax(scores + bias)``. The largest of each row, the slowest of its steps, is sought only
    where the exponentials could leave the range.
    """
    moderate = scores.size and scores.min() > -_MODERATE and scores.max() < _MODERATE
    if bias is not None:
        scores += bias
    if not moderate:  # the least number stands for the -inf of rows that see nothing
        least = np.finfo(scores.dtype).min
        scores -= np.maximum.reduce(scores, -1, keepdims=True, initial=least)
    p = np.exp(scores, out=scores)
    total = p @ np.ones((p.shape[-1], 1), p.dtype)  # a fifth of the time of a sum
    total[total == 0] = 1
    p /= total
    return p


def _attention_joint(
    g: Any,
    y: Any,
    saved: Any,
    wanted: list[bool],
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    causal: bool = False,
) -> tuple[Any, ...]:
    p, scaled = saved
    gq = gk = gv = None
    g, k, v = [a.astype(p.dtype, copy=False) for a in (g, k, v)]
    if wanted[2]:
        gv = p.swapaxes(-1, -2) @ g
    if wanted[0] or wanted[1]:
        scores = g @ v.swapaxes(-1, -2)
        scores -= np.einsum("...k,...k->...", scores, p)[..., None]
        scores *= p
        gq = scores @ k
        gq *= 1 / math.sqrt(q.shape[-1])
        gk = scores.swapaxes(-1, -2) @ scaled
    return gq, gk, gv, None, None


def _attention_plain(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False) -> Any:
    bias = _bias(q, k, v, mask, causal)
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(-1, -2)
    if bias is not None:
        scores = scores + bias
    return softmax(scores) @ v


# fmt: off
attention = differentiable(_attention, joint=_attention_joint, saves=True, equals=_attention_plain, fresh=True)
# fmt: on
