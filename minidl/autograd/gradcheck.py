"""gradcheck: derivatives against finite differences, along random directions, to any order.

It uses the transforms and nothing of the engine's inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.function import Function
from minidl.autograd.transforms import Call
from minidl.common.arrays import array_of, as_array, to_kind_of


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
    if not moving or any(arrays[i].dtype != np.float64 for i in moving):
        raise TypeError(
            f"gradcheck: floating inputs must be float64, got {[str(a.dtype) for a in arrays]}"
        )
    args = [a if i in moving else x for i, (a, x) in enumerate(zip(arrays, inputs, strict=True))]
    name = f.name if isinstance(f, Function) else getattr(f, "__name__", "f")
    rng = np.random.default_rng(seed)

    def check(f: Callable[..., Any], level: int) -> None:
        us: list[Any] = []

        def total(*xs: Any) -> Any:
            """sum(u * f(xs)) over all floating outputs.

            One number that every derivative passes through.
            """
            ys = f(*xs)
            ys = [
                y for y in (ys if isinstance(ys, (tuple, list)) else (ys,)) if y.dtype.kind == "f"
            ]
            us.extend(to_kind_of(rng.standard_normal(y.shape), y) for y in ys[len(us) :])
            return sum((y * u).sum() for y, u in zip(ys, us, strict=True))

        pulled = [array_of(g) for g in Call("gradcheck", total, args, moving).pull()]
        for _ in range(directions):
            vs = {i: to_kind_of(rng.standard_normal(args[i].shape), args[i]) for i in moving}
            ahead, behind = (
                float(
                    array_of(
                        total(*(a + way * vs[i] if i in vs else a for i, a in enumerate(args)))
                    ).item()
                )
                for way in (eps, -eps)
            )
            numeric = (ahead - behind) / (2 * eps)
            exact = sum((g * vs[i]).sum() for g, i in zip(pulled, moving, strict=True)).item()
            allowed = atol * max(1.0, abs(ahead)) + rtol * max(abs(numeric), abs(exact))
            if not abs(numeric - exact) <= allowed:
                raise AssertionError(
                    f"gradcheck: derivative {level} of {name}: {exact!r} by the rules, {numeric!r} by differences "
                    f"(inputs of shapes {[args[i].shape for i in moving]})"
                )
        if level < order:
            ws = [to_kind_of(rng.standard_normal(args[i].shape), args[i]) for i in moving]

            def slope(*xs: Any) -> Any:
                return sum(
                    (g * w).sum()
                    for g, w in zip(Call("gradcheck", total, xs, moving).pull(), ws, strict=True)
                )

            check(slope, level + 1)

    check(lambda *xs: f(*xs, **settings), 1)
    return True
