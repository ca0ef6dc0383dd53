"""The workloads in PyTorch with torch.compile: the loss of torch_eager.py compiled, and whole steps as functions.

The loop is in Python, as everywhere. Compiling needs a C++ compiler; without one every workload is reported as broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import torch
import torch._inductor.config
from torch import Tensor
from torch.nn import functional as TF

from benchmarks.formulas import DECAY, mlp, quartic, rosenbrock
from benchmarks.peers import torch_eager as eager
from benchmarks.workloads import Data, Step, turns

Tensors = tuple[Tensor, ...]
torch._inductor.config.force_disable_caches = True  # the first call's time is to include compiling
VERSION = f"{eager.VERSION}, torch.compile"


def compiled(f: Any) -> Any:
    return torch.compile(f)


def fresh(make: Callable[..., Any], d: Data) -> Any:
    """Forget what was compiled before: programs of one source line count together, and too many are not compiled."""
    torch._dynamo.reset()
    return make(d, compiled)


def whole(
    loss_of: Callable[..., Tensor],
    params: Tensors,
    rule: Callable[[Tensors, Tensors, Any], Any],
    batches: Iterator[tuple[Any, ...]],
    state: Any = (),
) -> Step:
    """The whole step as one compiled function, from parameters and an optimizer's state to the next."""
    both = torch.func.grad_and_value(loss_of)

    @torch.compile
    def update(params: Tensors, state: Any, *batch: Tensor) -> Any:
        grads, loss = both(params, *batch)
        return loss, rule(params, grads, state)

    def step() -> Any:
        nonlocal params, state
        with torch.no_grad():
            loss, (params, state) = update(params, state, *next(batches))
        return loss

    return step


def descend(
    loss_of: Callable[..., Tensor], params: Tensors, batches: Iterator[Any], lr: float
) -> Step:
    def rule(ps: Tensors, gs: Tensors, _: Any) -> Any:
        return tuple(p - lr * g for p, g in zip(ps, gs)), ()

    return whole(loss_of, params, rule, batches)


def adam(loss_of: Callable[..., Tensor], d: Data, decay: float = 0.0) -> Step:
    params, lr = tuple(map(eager.tensor, d.weights)), d.lr

    def rule(ps: Tensors, gs: Tensors, state: Any) -> Any:
        ms, vs, t = state
        t = t + 1
        ms = tuple(0.9 * m + 0.1 * g for m, g in zip(ms, gs))
        vs = tuple(0.999 * v + 0.001 * g * g for v, g in zip(vs, gs))
        a, b = 1 - 0.9**t, 1 - 0.999**t
        ps = tuple(
            p * (1 - lr * decay) - lr * (m / a) / ((v / b).sqrt() + 1e-8)
            for p, m, v in zip(ps, ms, vs)
        )
        return ps, (ms, vs, t)

    zeros = tuple(map(torch.zeros_like, params))
    batches = turns(d, eager.tensor, eager.tensor)
    return whole(loss_of, params, rule, batches, (zeros, zeros, torch.tensor(0.0)))


def w1(d: Data) -> dict[str, Step]:
    start = tuple(torch.tensor(x, dtype=torch.float64) for x in d.start)
    return {
        "loss": fresh(eager.w1, d),
        "step": descend(lambda xs: rosenbrock(*xs), start, repeat(()), d.lr),
    }


def w2(d: Data) -> dict[str, Step]:
    whole = descend(
        lambda ws, x, t: TF.mse_loss(mlp(ws, x, torch.sigmoid), t),
        tuple(map(eager.tensor, d.weights)),
        turns(d, eager.tensor, eager.tensor),
        d.lr,
    )
    return {**fresh(eager.w2, d), "step": whole}


def classifier(d: Data, decay: float = 0.0) -> Step:
    return adam(lambda ws, x, t: TF.cross_entropy(mlp(ws, x, torch.relu), t), d, decay)


def w3(d: Data) -> dict[str, Step]:
    return {**fresh(eager.w3, d), "step": classifier(d)}


def w4(d: Data) -> dict[str, Step]:
    return {**fresh(eager.w4, d), "step": classifier(d, DECAY)}


def w5(d: Data) -> Any:
    return fresh(eager.w5, d)


def w6(d: Data) -> Any:
    return fresh(eager.w6, d)


def w14(d: Data) -> Any:
    return fresh(eager.w14, d)


def w7(d: Data) -> Any:
    return fresh(eager.w7, d)


def w8(d: Data) -> Step:
    torch._dynamo.reset()
    slope = torch.func.grad(quartic)
    curvature = torch.func.grad(slope)

    @torch.compile
    def newton(x: Tensor) -> list[Tensor]:
        way = []
        for _ in range(d.steps):
            x = x - slope(x) / curvature(x)
            way.append(x)
        return way

    return lambda: newton(torch.tensor(d.start, dtype=torch.float64))


def w9(d: Data) -> Any:
    return fresh(eager.w9, d)


def w11(d: Data) -> Any:
    return fresh(eager.w11, d)


w11t = w11


def w12(d: Data) -> Any:
    return fresh(eager.w12, d)
