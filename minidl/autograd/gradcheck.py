"""gradcheck: derivatives against finite differences, along random directions, to any order.

It uses the transforms and nothing of the engine's inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd.node import Func
from minidl.autograd.transforms import Call, inner
from minidl.common.arrays import array_of, as_array, to_kind_of


def gradcheck(
    f: Func,
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

    For random u and v: ``sum(u * (f(x + eps v) - f(x - eps v))) / (2 eps)`` against the pull-back
    of u times v; for the next order the same for the function ``x -> sum(pull(u) * w)``, and so on.

    ``f`` may give several outputs, and must be smooth near the inputs; floating inputs must be
    float64 and are differentiated, others are passed on, as are the ``settings``. ``rtol`` and
    ``atol`` are what may differ, relative to the derivative and absolutely; ``directions`` how many
    are tried for each order, drawn from ``seed``.

    Returns True. Raises AssertionError if a derivative differs, with its order and both numbers;
    TypeError if a floating input is not float64, or there is none.

    >>> gradcheck(np.tanh, [0.5, -1.0])
    True
    """
    arrays = [as_array(array_of(x)) for x in inputs]
    moving = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if {arrays[i].dtype for i in moving} != {np.dtype(np.float64)}:
        got = [str(a.dtype) for a in arrays]
        raise TypeError(f"gradcheck: floating inputs must be float64, got {got}")
    rng = np.random.default_rng(seed)
    start = [arrays[i] for i in moving]

    def function(*xs: Any) -> Any:
        args = list(inputs)
        for i, x in zip(moving, xs, strict=True):
            args[i] = x
        return f(*args, **settings)

    for level in range(1, order + 1):
        total = _weighted_sum(function, rng)
        gradients = [array_of(g) for g in _pull(total, start)]
        for _ in range(directions):
            vs = _normal_like(start, rng)
            ahead = _value_at(total, start, vs, eps)
            numeric = (ahead - _value_at(total, start, vs, -eps)) / (2 * eps)
            exact = inner(gradients, vs).item()
            allowed = atol * max(1.0, abs(ahead))
            allowed += rtol * max(abs(numeric), abs(exact))
            if not abs(numeric - exact) <= allowed:
                name = getattr(f, "__name__", "f")
                raise AssertionError(
                    f"gradcheck: derivative {level} of {name}: {exact!r} by the rules, "
                    f"{numeric!r} by differences (inputs of shapes {[x.shape for x in start]})"
                )
        function = _slope(total, _normal_like(start, rng))
    return True


def _weighted_sum(f: Func, rng: np.random.Generator) -> Func:
    """``sum(u * f(xs))`` over all floating outputs, for random u.

    It is one number, which the derivative of every element passes through.
    """
    us: list[Any] = []  # drawn at the first call, when the shapes are known

    def total(*xs: Any) -> Any:
        result = f(*xs)
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        ys = [y for y in outputs if y.dtype.kind == "f"]
        us.extend(_normal_like(ys[len(us) :], rng))
        return inner(ys, us)

    return total


def _slope(total: Func, ws: list[Any]) -> Func:
    """The derivative of a function along w, whose derivative is one order higher."""
    return lambda *xs: inner(_pull(total, xs), ws)


def _pull(total: Func, xs: Sequence[Any]) -> list[Any]:
    return Call("gradcheck", total, xs, range(len(xs))).pull()


def _value_at(total: Func, xs: list[Any], vs: list[Any], step: float) -> float:
    """The value a step away from the inputs."""
    moved = [x + step * v for x, v in zip(xs, vs, strict=True)]
    return float(array_of(total(*moved)).item())


def _normal_like(xs: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    return [to_kind_of(rng.standard_normal(x.shape), x) for x in xs]
