"""gradcheck: derivatives against finite differences, along random directions, to any order.

It uses the transforms and nothing of the engine's inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.transforms import _Call
from minidl.autograd.variable import raw


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 2,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    directions: int = 2,
    seed: int = 0,
    **settings: Any,
) -> bool:
    """Compare the derivatives of a function with central differences along random directions.

    For random u and v: ``sum(u * (f(x + eps v) - f(x - eps v))) / (2 eps)`` against the pull-back of u times
    v; for the next order the same for the function ``x -> sum(pull(u) * w)``, and so on.

    Args:
        f: a function of arrays (a tuple of outputs counts as all of them), smooth near the inputs.
        inputs: floating ones must be float64 and are differentiated; others are passed on.
        order: up to which derivative.
        eps: the step.
        rtol, atol: what may differ, relative to the derivative and absolutely.
        directions: how many random directions, for each order.
        seed: of the directions.
        settings: keyword arguments for f.

    Returns:
        True.

    Raises:
        AssertionError: a derivative differs; the message says which order, and both numbers.
        TypeError: a floating input is not float64, or there is none.

    >>> gradcheck(np.tanh, [0.5, -1.0])
    True
    """
    arrays = [np.asarray(raw(x)) for x in inputs]
    argnums = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if not argnums or any(arrays[i].dtype != np.float64 for i in argnums):
        raise TypeError(f"gradcheck: floating inputs must be float64, got {[str(a.dtype) for a in arrays]}")
    args = [a if i in argnums else x for i, (a, x) in enumerate(zip(arrays, inputs, strict=True))]
    name = f.name if isinstance(f, Function) else getattr(f, "__name__", "f")
    _check(f, args, argnums, order, 1, (eps, rtol, atol), directions, np.random.default_rng(seed), settings, name)
    return True


def _check(
    f: Callable[..., Any],
    args: list[Any],
    argnums: list[int],
    order: int,
    level: int,
    tolerances: tuple[float, float, float],
    directions: int,
    rng: np.random.Generator,
    settings: dict[str, Any],
    name: str,
) -> None:
    eps, rtol, atol = tolerances
    shapes: list[tuple[int, ...]] = []

    def total(*xs: Any) -> Any:
        """sum(u * f(xs)) over all outputs: one scalar that every derivative passes through."""
        ys = f(*xs, **settings)
        ys = ys if isinstance(ys, (tuple, list)) else (ys,)
        ys = [y for y in ys if y.dtype.kind == "f"]
        while len(us) < len(ys):
            us.append(rng.standard_normal(ys[len(us)].shape))
        result = 0.0
        for y, u in zip(ys, us, strict=True):
            shapes.append(y.shape)
            result = (y * u).sum() + result
        return result

    us: list[Any] = []
    pulled = _Call("gradcheck", total, args, argnums, {}).pull()
    for _ in range(directions):
        vs = {i: rng.standard_normal(args[i].shape) for i in argnums}
        ends = []
        for sign in (1, -1):
            moved = [a + sign * eps * vs[i] if i in vs else a for i, a in enumerate(args)]
            ends.append(float(np.asarray(raw(total(*moved)))))
        numeric = (ends[0] - ends[1]) / (2 * eps)
        exact = float(sum((np.asarray(raw(g)) * vs[i]).sum() for g, i in zip(pulled, argnums, strict=True)))
        scale = max(abs(numeric), abs(exact))
        if not abs(numeric - exact) <= atol * max(1.0, abs(ends[0])) + rtol * scale:
            raise AssertionError(
                f"gradcheck: derivative {level} of {name}: {exact!r} by the rules, {numeric!r} by differences "
                f"(inputs of shapes {[args[i].shape for i in argnums]})"
            )
    if level == order:
        return
    ws = [rng.standard_normal(args[i].shape) for i in argnums]

    def slope(*xs: Any) -> Any:
        gs = _Call("gradcheck", total, xs, argnums, {}).pull()
        result = 0.0
        for g, w in zip(gs, ws, strict=True):
            result = (g * w).sum() + result
        return result

    _check(slope, args, argnums, order, level + 1, tolerances, directions, rng, {}, name)
