"""The workloads in JAX, the whole step under jit, the loop around it in Python, as its users write them.

Every step waits for its result; whole loops under jit are another question and not asked here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

if (
    os.environ.get("OMP_NUM_THREADS") == "1"
):  # read when JAX starts; worker.py also pins the process
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )

import jax
import jax.numpy as jnp

from benchmarks import formulas
from benchmarks.formulas import DECAY
from benchmarks.workloads import Data, Step

jax.config.update(
    "jax_enable_x64", True
)  # W1 and W8 are float64; float32 arrays stay what they are
VERSION = f"JAX {jax.__version__}"
State = Any


def loop(update: Callable[[State], tuple[Any, State]], state: State) -> Step:
    """The step of a training loop: from a state to the loss and the next state."""
    compiled = jax.jit(update)

    def step() -> Any:
        nonlocal state
        loss, state = compiled(state)
        jax.block_until_ready(state)
        return loss

    return step


def descend(loss_of: Callable[[Any], Any], params: Any, lr: float) -> Step:
    def update(params: Any) -> tuple[Any, Any]:
        loss, grads = jax.value_and_grad(loss_of)(params)
        return loss, jax.tree.map(lambda p, g: p - lr * g, params, grads)

    return loop(update, params)


def adam(loss_of: Callable[[Any], Any], params: list[Any], lr: float, decay: float = 0.0) -> Step:
    def update(state: State) -> tuple[Any, State]:
        params, ms, vs, t = state
        loss, grads = jax.value_and_grad(loss_of)(params)
        t = t + 1
        ms = [0.9 * m + 0.1 * g for m, g in zip(ms, grads)]
        vs = [0.999 * v + 0.001 * g * g for v, g in zip(vs, grads)]
        a, b = 1 - 0.9**t, 1 - 0.999**t
        params = [
            p * (1 - lr * decay) - lr * (m / a) / (jnp.sqrt(v / b) + 1e-8)
            for p, m, v in zip(params, ms, vs)
        ]
        return loss, (params, ms, vs, t)

    return loop(
        update,
        (
            params,
            [jnp.zeros_like(p) for p in params],
            [jnp.zeros_like(p) for p in params],
            jnp.float32(0),
        ),
    )


def arrays(found: Any) -> list[Any]:
    return [jnp.asarray(a) for a in found]


def cross_entropy(z: Any, t: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1).mean()


def w1(d: Data) -> Step:
    return descend(lambda x: formulas.rosenbrock(*x), tuple(jnp.float64(x) for x in d.start), d.lr)


def w2(d: Data) -> Step:
    x, t = arrays((d.x, d.t))
    return descend(
        lambda ws: ((formulas.mlp(ws, x, jax.nn.sigmoid) - t) ** 2).mean(), arrays(d.weights), d.lr
    )


def classifier(d: Data, decay: float = 0.0) -> Step:
    x, t = arrays((d.x, d.t))
    return adam(
        lambda ws: cross_entropy(formulas.mlp(ws, x, jax.nn.relu), t),
        arrays(d.weights),
        d.lr,
        decay,
    )


def w3(d: Data) -> Step:
    return classifier(d)


def w4(d: Data) -> Step:
    return classifier(d, DECAY)


def lstm(weights: list[Any], x: Any) -> Any:
    """h of every time step; x (time, batch, in)."""
    w_x, w_h, b = weights[:3]
    zero = jnp.zeros((x.shape[1], w_h.shape[0]), x.dtype)

    def advance(
        state: Any, now: Any
    ) -> Any:  # projecting all steps at once was measured to be slower
        h, c = state
        h, c = formulas.lstm_step(
            jnp, jax.nn.sigmoid, jnp.split(now @ w_x + h @ w_h + b, 4, axis=1), c
        )
        return (h, c), h

    return jax.lax.scan(advance, (zero, zero), x)[1]


def w5(d: Data) -> Step:
    x, t = arrays((d.x.swapaxes(0, 1), d.t.swapaxes(0, 1)))
    return descend(
        lambda ws: ((lstm(ws, x) @ ws[3] + ws[4] - t) ** 2).mean(), arrays(d.weights), d.lr
    )


def w6(d: Data) -> Step:
    x, t = arrays((d.x.swapaxes(0, 1), d.t))
    return adam(
        lambda ws: cross_entropy(lstm(ws, x)[-1] @ ws[3] + ws[4], t), arrays(d.weights), d.lr
    )


def w10(d: Data) -> Step:
    x, t = arrays((d.x.swapaxes(0, 1), d.t))
    return adam(
        lambda ws: ((lstm(ws, x)[-1] @ ws[3] + ws[4] - t) ** 2).mean(), arrays(d.weights), d.lr
    )


def gru(weights: list[Any], x: Any) -> Any:
    """h of the last time step; x (time, batch, in)."""
    w_x, w_h, b, b_h = weights[:4]

    def advance(h: Any, now: Any) -> Any:
        x_r, x_z, x_n = jnp.split(now @ w_x + b, 3, axis=1)
        h_r, h_z, h_n = jnp.split(h @ w_h, 3, axis=1)
        z = jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * (h_n + b_h))
        return n + z * (h - n), None

    return jax.lax.scan(advance, jnp.zeros((x.shape[1], w_h.shape[0]), x.dtype), x)[0]


def w13(d: Data) -> Step:
    x, t = arrays((d.x.swapaxes(0, 1), d.t))
    return adam(lambda ws: cross_entropy(gru(ws, x) @ ws[4] + ws[5], t), arrays(d.weights), d.lr)


def w7(d: Data) -> Step:
    (x, t), params, vectors = arrays((d.x, d.t)), arrays(d.weights), arrays(d.vectors)
    gradient = jax.grad(lambda ws: cross_entropy(formulas.mlp(ws, x, jnp.tanh), t))
    product = jax.jit(lambda ws, vs: jax.jvp(gradient, (ws,), (vs,))[1])
    return lambda: jax.block_until_ready(product(params, vectors))


def w8(d: Data) -> Step:
    slope = jax.grad(formulas.quartic)
    newton = jax.jit(lambda x: x - slope(x) / jax.grad(slope)(x))

    def step() -> Any:
        x, way = jnp.float64(d.start), []
        for _ in range(d.steps):
            x = newton(x)
            way.append(x)
        return jax.block_until_ready(way)

    return step


def w9(d: Data) -> Step:
    inputs = arrays((d.x, d.w, d.b))
    f = jax.jit(
        jax.value_and_grad(
            lambda x, w, b: (jnp.tanh(x * w + b) * jax.nn.sigmoid(x) + jnp.exp(-x * x)).sum(),
            argnums=(0, 1, 2),
        )
    )

    def step() -> Any:
        loss, grads = jax.block_until_ready(f(*inputs))
        return loss, *grads

    return step
