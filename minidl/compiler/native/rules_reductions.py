"""What reductions over axes are in C, and the places of extrema."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minidl import functions as F
from minidl.compiler.native.arrays import Array, NotInC
from minidl.compiler.native.lowering import Lowering, lowers
from minidl.compiler.program import Step
from minidl.functions import cumulative

_KINDS = {F.sum: "sum", F.max: "max", F.min: "min", F.any: "max", F.all: "min"}


@lowers(*_KINDS)
def _reduced(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x, *rest = operands
    axis = rest[0] if rest else step.settings.get("axis")
    if step.settings.keys() - {"keepdims", "axis"} or len(rest) > 1:
        raise NotInC(f"{step.name} with these settings")
    ndim = len(x.shape)
    axes = range(ndim) if axis is None or ndim == 0 else normalize_axis_tuple(axis, ndim)
    if step.function in (F.any, F.all):
        x = low.text("{0} != 0", [x], x.shape, np.dtype(bool))
    elif x.dtype != step.out.dtype:  # counts of bools
        x = low.text("{0}", [x], x.shape, step.out.dtype)
    return low.reduce(_KINDS[step.function], x, axes).view(step.out.shape)


@lowers(cumulative._prod)
def _prod(low: Lowering, step: Step, operands: list[Any]) -> Array:
    x = operands[0]
    return low.reduce("prod", x, [len(x.shape) - 1]).view(step.out.shape)


@lowers(F.argmax, F.argmin)
def _place_of_extreme(low: Lowering, step: Step, operands: list[Any]) -> Array:
    """The first place of the extreme: the least of the places where it stands."""
    x, *rest = operands
    axis = rest[0] if rest else step.settings.get("axis")
    if step.settings.keys() - {"axis", "keepdims"} or len(rest) > 1:
        raise NotInC(f"{step.name} with these settings")
    if axis is None or not x.shape:
        x = low.reshaped(x, (x.size,))
        axis = 0
    axis %= len(x.shape)
    best = low.reduce("max" if step.function is F.argmax else "min", x, [axis])
    over = best.view(
        (*best.shape[:axis], 1, *best.shape[axis:]),
        (*best.strides[:axis], 0, *best.strides[axis:]),
    ).broadcast(x.shape)
    text = f"{{0}} == {{1}} || {{0}} != {{0}} ? {{x{axis}}} : {x.shape[axis]}"
    places = low.text(text, [x, over], x.shape, step.out.dtype)
    return low.reduce("min", places, [axis]).view(step.out.shape)
