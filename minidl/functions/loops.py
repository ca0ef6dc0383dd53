"""Loops that call a function again and again: scan, which carries a state, and along axes.

Whole recurrent layers as single functions are in recurrent.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.composition import composition
from minidl.autograd.modes import MODE
from minidl.common.arrays import as_array
from minidl.common.pytree import (
    Structure,
    describe,
    flatten,
    is_numbers,
    leaves_like,
    paths,
    unflatten,
)
from minidl.functions.joining import unstack

# fmt: off
__all__ = [
    "apply_along_axis", "apply_over_axes", "scan",
]
# fmt: on


def scan(step: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: Any) -> tuple[Any, Any]:
    """Call ``state, y = step(state, x)`` for each ``x`` along the first axis of ``xs``, in order.

    Args:
        step: gives the next state and one output.
        state: the first one; arrays, or a nested dict, list or tuple of them, of shapes that stay.
        xs: an array, or a nested dict, list or tuple of arrays that all have the same first axis.

    Returns:
        The last state, and the outputs stacked along a new first axis (None for outputs None).

    Raises ValueError if there are no steps, first axes differ, or a state or output changes form.

    >>> scan(lambda total, x: (total + x, total * x), 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(6.0), array([0., 2., 9.]))
    """
    leaves, structure = _leaves_of(xs)
    form = _form_of(state)
    tracer = MODE.get().tracer
    watcher = None if tracer is None else tracer.scan(step, flatten(state)[0], leaves)
    if watcher is not None:
        step = watcher.call
        leaves = watcher.xs
        state = unflatten(form[0], watcher.state)
    y_form = None
    ys: list[list[Any]] = []
    for n, row in enumerate(zip(*map(unstack, leaves), strict=True)):
        result = step(state, unflatten(structure, row))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(f"scan: want step to give (state, y), got {type(result).__name__}")
        state, y = result
        held = _leaves_like(form, state, f"scan: the state after step {n}")
        y_form = y_form or _form_of(y)
        ys.append(_leaves_like(y_form, y, f"scan: output {n}"))
        if watcher is not None:
            watcher.end(row, held, ys[-1])
    assert y_form is not None  # there is a row
    if watcher is not None and watcher.rolled():
        return unflatten(form[0], watcher.state), unflatten(y_form[0], watcher.ys)
    columns = zip(*ys, strict=True)
    return state, unflatten(y_form[0], [np.stack(column) for column in columns])


def _leaves_of(xs: Any) -> tuple[list[Any], Structure]:
    """Arrays with one first axis, and their structure."""
    leaves, structure = flatten(xs, is_leaf=is_numbers)
    leaves = [as_array(x) for x in leaves]
    counts = {len(x) if x.ndim else None for x in leaves}
    if len(counts) != 1 or not counts - {0, None}:
        places = zip(paths(structure, "xs"), leaves, strict=True)
        got = ", ".join(f"{place} {x.shape}" for place, x in places) or describe(structure)
        raise ValueError(f"scan: want arrays with one common first axis, not empty, got {got}")
    return leaves, structure


def _form_of(tree: Any) -> tuple[Structure, list[Any]]:
    leaves, structure = flatten(tree)
    return structure, [np.shape(x) for x in leaves]


def _leaves_like(form: tuple[Structure, list[Any]], tree: Any, name: str) -> list[Any]:
    """The leaves of a tree of this structure and these shapes."""
    structure, shapes = form
    leaves = leaves_like(structure, tree, name)
    for place, leaf, want in zip(paths(structure, name), leaves, shapes, strict=True):
        if np.shape(leaf) != want:
            raise ValueError(f"{place}: want shape {want}, got {np.shape(leaf)}")
    return leaves


@composition(np.apply_along_axis, arrays=0)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """What ``func1d`` makes of each line along an axis, in its place: NumPy's ``apply_along_axis``.

    >>> apply_along_axis(lambda x: x[::-1] * 2, 0, np.array([[1.0], [3.0]]))
    array([[6.],
           [2.]])
    """
    lines = np.moveaxis(as_array(arr), axis, -1)
    lead = lines.shape[:-1]
    results = [func1d(x, *args, **kwargs) for x in lines.reshape(-1, lines.shape[-1])]
    y = np.stack([as_array(r) for r in results])
    places = range(axis % (len(lead) + 1), axis % (len(lead) + 1) + y.ndim - 1)
    return np.moveaxis(
        y.reshape(lead + y.shape[1:]), range(len(lead), len(lead) + y.ndim - 1), places
    )


@composition(np.apply_over_axes, arrays=0)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """``func(a, axis)`` for one axis after the other; none gets lost: NumPy's ``apply_over_axes``.

    >>> apply_over_axes(np.sum, np.ones((2, 3)), [0, 1])
    array([[6.]])
    """
    a = as_array(a)
    for axis in np.ravel(axes).tolist():
        y = func(a, axis)
        a = y if y.ndim == a.ndim else np.expand_dims(y, axis)
    return a
