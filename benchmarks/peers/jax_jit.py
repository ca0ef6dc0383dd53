"""The workloads in JAX, the whole step under jit, the loop around it in Python, as its users write them.

Every step waits for its result; whole loops under jit are another question and not asked here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

if (
    os.environ.get("OMP_NUM_THREADS") == "1"
):  # read when JAX starts; worker.py also pins the process
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import formulas
from benchmarks.formulas import DECAY
from benchmarks.workloads import Data, Step, on_turns, turns

jax.config.update(
    "jax_enable_x64", True
)  # W1 and W8 are float64; float32 arrays stay what they are
VERSION = f"JAX {jax.__version__}"
State = Any


def loop(
    update: Callable[..., tuple[Any, State]], state: State, batches: Iterator[tuple[Any, ...]]
) -> Step:
    """The step of a training loop: from a state and a batch to the loss and the next state."""
    compiled = jax.jit(update)

    def step() -> Any:
        nonlocal state
        loss, state = compiled(state, *next(batches))
        jax.block_until_ready(state)
        return loss

    return step


def descend(loss_of: Callable[..., Any], params: Any, batches: Iterator[Any], lr: float) -> Step:
    def update(params: Any, *batch: Any) -> tuple[Any, Any]:
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        return loss, jax.tree.map(lambda p, g: p - lr * g, params, grads)

    return loop(update, params, batches)


def adam(loss_of: Callable[..., Any], d: Data, batches: Iterator[Any], decay: float = 0.0) -> Step:
    params, lr = arrays(d.weights), d.lr

    def update(state: State, *batch: Any) -> tuple[Any, State]:
        params, ms, vs, t = state
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
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
        batches,
    )


def arrays(found: Any) -> list[Any]:
    return [jnp.asarray(a) for a in found]


def cross_entropy(z: Any, t: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1).mean()


def w1(d: Data) -> Step:
    start = tuple(jnp.float64(x) for x in d.start)
    return descend(lambda x: formulas.rosenbrock(*x), start, repeat(()), d.lr)


def w2(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return ((formulas.mlp(ws, x, jax.nn.sigmoid) - t) ** 2).mean()

    return descend(loss_of, arrays(d.weights), turns(d, jnp.asarray, jnp.asarray), d.lr)


def classifier(d: Data, decay: float = 0.0) -> Step:
    return adam(
        lambda ws, x, t: cross_entropy(formulas.mlp(ws, x, jax.nn.relu), t),
        d,
        turns(d, jnp.asarray, jnp.asarray),
        decay,
    )


def w3(d: Data) -> Step:
    return classifier(d)


def w4(d: Data) -> Step:
    return classifier(d, DECAY)


def time_first(a: Any) -> Any:
    return jnp.asarray(a.swapaxes(0, 1))


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
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return ((lstm(ws, x) @ ws[3] + ws[4] - t) ** 2).mean()

    return descend(loss_of, arrays(d.weights), turns(d, time_first, time_first), d.lr)


def w6(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return cross_entropy(lstm(ws, x)[-1] @ ws[3] + ws[4], t)

    return adam(loss_of, d, turns(d, time_first, jnp.asarray))


def w10(d: Data) -> Step:
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return ((lstm(ws, x)[-1] @ ws[3] + ws[4] - t) ** 2).mean()

    return adam(loss_of, d, turns(d, time_first, jnp.asarray))


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
    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        return cross_entropy(gru(ws, x) @ ws[4] + ws[5], t)

    return adam(loss_of, d, turns(d, time_first, jnp.asarray))


def w7(d: Data) -> Step:
    batches, params, vectors = turns(d, *[jnp.asarray] * 2), arrays(d.weights), arrays(d.vectors)
    gradient = jax.grad(lambda ws, x, t: cross_entropy(formulas.mlp(ws, x, jnp.tanh), t))

    @jax.jit
    def product(ws: Any, vs: Any, x: Any, t: Any) -> Any:
        return jax.jvp(lambda ws: gradient(ws, x, t), (ws,), (vs,))[1]

    return lambda: jax.block_until_ready(product(params, vectors, *next(batches)))


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
    batches = turns(d, *[jnp.asarray] * 3)
    f = jax.jit(
        jax.value_and_grad(
            lambda x, w, b: (jnp.tanh(x * w + b) * jax.nn.sigmoid(x) + jnp.exp(-x * x)).sum(),
            argnums=(0, 1, 2),
        )
    )

    def step() -> Any:
        loss, grads = jax.block_until_ready(f(*next(batches)))
        return loss, *grads

    return step


def w11(d: Data) -> dict[str, Step]:
    weights = arrays(d.weights)
    whole = jax.jit(lambda ws, x: formulas.mlp(ws, x, jax.nn.relu))
    fixed = jax.jit(lambda x: formulas.mlp(weights, x, jax.nn.relu))
    return {
        "weights as arguments": on_turns(lambda x: np.asarray(whole(weights, x)), d),
        "as constants": on_turns(lambda x: np.asarray(fixed(x)), d),
    }


w11t = w11


def w12(d: Data) -> Step:
    def convolve(x: Any, w: Any, b: Any) -> Any:
        dims = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=dims)
        return jax.nn.relu(y + b)

    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        h = convolve(x, ws[0], ws[1])
        h = h.reshape(64, 4, 2, 4, 2, 16).max((2, 4))
        h = convolve(h, ws[2], ws[3])
        return cross_entropy(h.reshape(64, -1) @ ws[4] + ws[5], t)

    return adam(loss_of, d, turns(d, jnp.asarray, jnp.asarray))


def normalize(x: Any, w: Any, b: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w + b


def w14(d: Data) -> Step:
    batch, time = d.x.shape
    future = jnp.tri(time, dtype=bool)

    def split(a: Any) -> Any:
        return a.reshape(batch, time, d.heads, -1).swapaxes(1, 2)

    def loss_of(weights: Any, x: Any, t: Any) -> Any:
        table, n1, n1_b, *attention, n2, n2_b, w, b, w_2, b_2, w_out, b_out = weights
        *ws, wo = attention[:4]
        *bs, bo = attention[4:]
        x = table[x]
        y = normalize(x, n1, n1_b)
        q, k, v = (split(y @ square + bias) for square, bias in zip(ws, bs))
        scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
        p = jax.nn.softmax(jnp.where(future, scores, -jnp.inf))
        x = x + (p @ v).swapaxes(1, 2).reshape(batch, time, -1) @ wo + bo
        h = jax.nn.gelu(normalize(x, n2, n2_b) @ w + b, approximate=False)
        x = x + h @ w_2 + b_2
        z = x @ w_out + b_out
        return cross_entropy(z.reshape(-1, z.shape[-1]), t.reshape(-1))

    return adam(loss_of, d, turns(d, jnp.asarray, jnp.asarray), DECAY)


def w15(d: Data) -> Step:
    weights, batches, dt = arrays(d.weights), turns(d, jnp.asarray, jnp.asarray), d.dt

    def loss_of(ws: Any, x: Any, t: Any) -> Any:
        def advance(y: Any, _: Any) -> Any:
            k_1 = formulas.mlp(ws, y, jnp.tanh)
            k_2 = formulas.mlp(ws, y + dt / 2 * k_1, jnp.tanh)
            k_3 = formulas.mlp(ws, y + dt / 2 * k_2, jnp.tanh)
            k_4 = formulas.mlp(ws, y + dt * k_3, jnp.tanh)
            return y + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4), None

        y, _ = jax.lax.scan(advance, x, length=d.steps)
        return ((y - t) ** 2).mean()

    both = jax.jit(jax.value_and_grad(loss_of))

    def step() -> Any:
        loss, grads = jax.block_until_ready(both(weights, *next(batches)))
        return loss, *grads

    return step
