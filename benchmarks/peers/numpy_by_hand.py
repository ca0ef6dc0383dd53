"""The workloads in NumPy alone, derivatives worked out by hand: the limit to look at, and the trajectory to follow.

Written as well as a practitioner would, with buffers kept where it pays; no general tool for derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.formulas import DECAY, Adam
from benchmarks.workloads import Array, Data, Step, on_turns, turns

VERSION = f"NumPy {np.__version__}"
BLOCK = 16_384


def w1(d: Data) -> Step:
    (x0, x1), lr = d.start, d.lr

    def step() -> float:
        nonlocal x0, x1
        a, b = x1 - x0 * x0, x0 - 1
        loss = 100 * a * a + b * b
        x0, x1 = x0 - lr * (2 * b - 400 * a * x0), x1 - lr * 200 * a
        return loss

    return step


def w2(d: Data) -> Step:
    batches, lr = turns(d), d.lr
    w, b, w_out, b_out = (a.copy() for a in d.weights)

    def step() -> Any:
        x, t = next(batches)
        h = x @ w
        h += b
        h *= 0.5
        np.tanh(h, out=h)
        h *= 0.5
        h += 0.5
        g = h @ w_out
        g += b_out
        g -= t
        flat = g.reshape(-1)
        loss = (flat @ flat) / flat.size
        g *= 2 / flat.size
        gh = g @ w_out.T
        gh *= h
        gh *= 1 - h
        np.subtract(w_out, lr * (h.T @ g), out=w_out)
        np.subtract(b_out, lr * np.add.reduce(g, axis=0), out=b_out)
        np.subtract(w, lr * (x.T @ gh), out=w)
        np.subtract(b, lr * np.add.reduce(gh, axis=0), out=b)
        return loss

    return step


def flattened(arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
    """A copy of all arrays in one buffer, and the views of it."""
    flat = np.concatenate([a.ravel() for a in arrays])
    ends = np.cumsum([a.size for a in arrays])[:-1]
    return flat, [part.reshape(a.shape) for part, a in zip(np.split(flat, ends), arrays)]


def softmax_loss(z: Array, t: Array, rows: Array) -> tuple[Any, Array]:
    """Cross-entropy and its gradient for the logits."""
    z -= np.maximum.reduce(
        z, axis=1, keepdims=True
    )  # .max and .sum come to the same, through Python
    g = np.exp(z)
    s = np.add.reduce(g, axis=1, keepdims=True)
    loss = np.add.reduce(np.log(s)[:, 0] - z[rows, t]) / len(t)
    s *= len(t)
    g /= s
    g[rows, t] -= 1 / len(t)
    return loss, g


def mlp(d: Data, decay: float = 0.0) -> Step:
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    adam, rows, batches = Adam([flat], d.lr, decay), np.arange(len(d.t)), turns(d)

    def step() -> Any:
        x, t = next(batches)
        inputs = [x]
        for i in range(0, len(weights) - 2, 2):
            z = inputs[-1] @ weights[i]
            z += weights[i + 1]
            inputs.append(np.maximum(z, 0, out=z))
        z = inputs[-1] @ weights[-2]
        z += weights[-1]
        loss, g = softmax_loss(z, t, rows)
        for i in range(len(weights) - 2, -1, -2):
            h = inputs.pop()
            np.matmul(h.T, g, out=grads[i])
            np.add.reduce(g, axis=0, out=grads[i + 1])
            if i:
                g = g @ weights[i].T
                g *= h > 0
        adam.update([g_flat])
        return loss

    return step


def w3(d: Data) -> Step:
    return mlp(d)


def w4(d: Data) -> Step:
    return mlp(d, DECAY)


def time_first(a: Array) -> Array:
    return a.swapaxes(0, 1).copy()


def lstm(
    weights: list[Array], grads: list[Array], shape: tuple[int, ...]
) -> tuple[Callable[[Array], Array], Callable[[Array, Array], None]]:
    """Forward of x (time, batch, in) to h (time, batch, H), and backward of x and the gradient of h into ``grads``."""
    (w_x, w_h, b), (batch, time, features) = weights[:3], shape
    n = w_h.shape[0]
    hs, cs = (np.zeros((time + 1, batch, n), np.float32) for _ in range(2))
    tc, zs, gzs = (np.empty((time, batch, k * n), np.float32) for k in (1, 4, 4))
    f, i, o, u = (zs[:, :, k * n : (k + 1) * n] for k in range(4))
    gf, gi, go, gu = (gzs[:, :, k * n : (k + 1) * n] for k in range(4))
    z, a, s = np.empty_like(zs[0]), np.empty_like(tc[0]), np.empty_like(zs[0, :, : 3 * n])

    def forward(x: Array) -> Array:
        np.matmul(x.reshape(-1, features), w_x, out=zs.reshape(time * batch, 4 * n))
        np.add(zs, b, out=zs)
        for k in range(time):
            np.matmul(hs[k], w_h, out=z)
            zk = np.add(zs[k], z, out=zs[k])
            gates = zk[:, : 3 * n]
            gates *= 0.5  # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: one tanh for all gates
            np.tanh(zk, out=zk)
            gates *= 0.5
            gates += 0.5
            np.multiply(f[k], cs[k], out=cs[k + 1])
            np.multiply(i[k], u[k], out=a)
            cs[k + 1] += a
            np.tanh(cs[k + 1], out=tc[k])
            np.multiply(o[k], tc[k], out=hs[k + 1])
        return hs[1:]

    def backward(x: Array, g: Array) -> None:
        gh, gc, back = np.zeros_like(a), np.zeros_like(a), np.ascontiguousarray(w_h.T)
        for k in range(time - 1, -1, -1):
            gh += g[k]
            np.multiply(gh, tc[k], out=go[k])
            np.multiply(tc[k], tc[k], out=a)
            np.subtract(1, a, out=a)
            np.multiply(a, o[k], out=a)
            np.multiply(a, gh, out=a)
            np.add(gc, a, out=gc)
            np.multiply(gc, cs[k], out=gf[k])
            np.multiply(gc, u[k], out=gi[k])
            np.multiply(u[k], u[k], out=a)
            np.subtract(1, a, out=a)
            np.multiply(a, i[k], out=a)
            np.multiply(a, gc, out=gu[k])
            gc *= f[k]
            gates = zs[k, :, : 3 * n]
            np.multiply(gates, gates, out=s)
            np.subtract(gates, s, out=s)
            gzs[k, :, : 3 * n] *= s
            np.matmul(gzs[k], back, out=gh)
        gz = gzs.reshape(time * batch, 4 * n)
        np.matmul(x.reshape(-1, features).T, gz, out=grads[0])
        np.matmul(hs[:-1].reshape(time * batch, n).T, gz, out=grads[1])
        gz.sum(0, out=grads[2])

    return forward, backward


def w5(d: Data) -> Step:
    batches = turns(d, time_first, time_first)
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    forward, backward = lstm(weights, grads, d.x.shape)

    def step() -> Any:
        x, t = next(batches)
        h = forward(x)
        rows = h.reshape(-1, h.shape[2])
        g = rows @ weights[3]
        g += weights[4]
        g -= t.reshape(-1, 1)
        loss = (g.T @ g).item() / g.size
        g *= 2 / g.size
        np.matmul(rows.T, g, out=grads[3])
        g.sum(0, out=grads[4])
        backward(x, (g @ weights[3].T).reshape(h.shape))
        np.multiply(g_flat, d.lr, out=g_flat)
        np.subtract(flat, g_flat, out=flat)
        return loss

    return step


def w6(d: Data) -> Step:
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    forward, backward = lstm(weights, grads, d.x.shape)
    adam, rows, g_h = (
        Adam([flat], d.lr),
        np.arange(len(d.t)),
        np.zeros((d.x.shape[1], len(d.t), 256), np.float32),
    )
    batches = turns(d, time_first, np.copy)

    def step() -> Any:
        x, t = next(batches)
        h = forward(x)[-1]
        loss, g = softmax_loss(h @ weights[3] + weights[4], t, rows)
        np.matmul(h.T, g, out=grads[3])
        g.sum(0, out=grads[4])
        np.matmul(g, weights[3].T, out=g_h[-1])
        backward(x, g_h)
        adam.update([g_flat])
        return loss

    return step


def w10(d: Data) -> Step:
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    forward, backward = lstm(weights, grads, d.x.shape)
    adam, g_h = Adam([flat], d.lr), np.zeros((d.x.shape[1], 1, weights[3].shape[0]), np.float32)
    batches = turns(d, time_first, np.copy)

    def step() -> Any:
        x, t = next(batches)
        h = forward(x)[-1]
        g = h @ weights[3] + weights[4] - t
        loss = (g * g).item()
        g *= 2
        np.matmul(h.T, g, out=grads[3])
        g.sum(0, out=grads[4])
        np.matmul(g, weights[3].T, out=g_h[-1])
        backward(x, g_h)
        adam.update([g_flat])
        return loss

    return step


def gru(
    weights: list[Array], grads: list[Array], shape: tuple[int, ...]
) -> tuple[Callable[[Array], Array], Callable[[Array, Array], None]]:
    """Forward of x (time, batch, in) to the last h, and backward of x and its gradient into ``grads``."""
    (w_x, w_h, b, b_h), (batch, time, features) = weights[:4], shape
    n = w_h.shape[0]
    hs = np.zeros((time + 1, batch, n), np.float32)
    xs, rz, gx, gh = (np.empty((time, batch, k * n), np.float32) for k in (3, 2, 3, 3))
    s, ns = np.empty_like(hs[1:]), np.empty_like(hs[1:])
    z3, a, d = np.empty_like(xs[0]), np.empty_like(hs[0]), np.empty_like(rz[0])

    def forward(x: Array) -> Array:
        np.matmul(x.reshape(-1, features), w_x, out=xs.reshape(time * batch, 3 * n))
        np.add(xs, b, out=xs)
        for k in range(time):
            np.matmul(hs[k], w_h, out=z3)
            gates = np.add(xs[k, :, : 2 * n], z3[:, : 2 * n], out=rz[k])
            gates *= 0.5
            np.tanh(gates, out=gates)
            gates *= 0.5
            gates += 0.5
            np.add(z3[:, 2 * n :], b_h, out=s[k])
            np.multiply(gates[:, :n], s[k], out=a)
            np.add(a, xs[k, :, 2 * n :], out=a)
            np.tanh(a, out=ns[k])
            np.subtract(hs[k], ns[k], out=a)
            np.multiply(a, gates[:, n:], out=a)
            np.add(ns[k], a, out=hs[k + 1])
        return hs[-1]

    def backward(x: Array, g: Array) -> None:
        g, back = g.copy(), np.ascontiguousarray(w_h.T)
        for k in range(time - 1, -1, -1):
            gates, z = rz[k], rz[k, :, n:]
            np.multiply(gates, gates, out=d)
            np.subtract(gates, d, out=d)
            np.subtract(hs[k], ns[k], out=a)
            np.multiply(a, g, out=a)
            np.multiply(a, d[:, n:], out=gx[k, :, n : 2 * n])
            np.multiply(ns[k], ns[k], out=a)
            np.subtract(1, a, out=a)
            np.multiply(a, g, out=a)
            np.multiply(z, a, out=gx[k, :, 2 * n :])
            np.subtract(a, gx[k, :, 2 * n :], out=gx[k, :, 2 * n :])
            np.multiply(gx[k, :, 2 * n :], s[k], out=a)
            np.multiply(a, d[:, :n], out=gx[k, :, :n])
            gh[k, :, : 2 * n] = gx[k, :, : 2 * n]
            np.multiply(gx[k, :, 2 * n :], gates[:, :n], out=gh[k, :, 2 * n :])
            g *= z
            g += gh[k] @ back
        all_x, all_h = gx.reshape(time * batch, 3 * n), gh.reshape(time * batch, 3 * n)
        np.matmul(x.reshape(-1, features).T, all_x, out=grads[0])
        np.matmul(hs[:-1].reshape(time * batch, n).T, all_h, out=grads[1])
        all_x.sum(0, out=grads[2])
        all_h[:, 2 * n :].sum(0, out=grads[3])

    return forward, backward


def w13(d: Data) -> Step:
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    forward, backward = gru(weights, grads, d.x.shape)
    adam, rows = Adam([flat], d.lr), np.arange(len(d.t))
    batches = turns(d, time_first, np.copy)

    def step() -> Any:
        x, t = next(batches)
        h = forward(x)
        loss, g = softmax_loss(h @ weights[4] + weights[5], t, rows)
        np.matmul(h.T, g, out=grads[4])
        g.sum(0, out=grads[5])
        backward(x, g @ weights[4].T)
        adam.update([g_flat])
        return loss

    return step


def convolution(
    w: Array, b: Array, gw: Array, gb: Array, batch: int, side: int
) -> tuple[Callable[[Array], Array], Callable[[Array, bool], Any]]:
    """Forward of images (batch, side, side, in), padded to the same size, and backward into ``gw`` and ``gb``; it
    gives the gradient of the images if that is wanted.
    """
    n, m = w.shape[2:]
    padded, g_padded = (np.zeros((batch, side + 2, side + 2, n), np.float32) for _ in range(2))
    places = [(i, j, slice(i, i + side), slice(j, j + side)) for i in range(3) for j in range(3)]
    columns, g_columns = (np.empty((batch, side, side, 3, 3, n), np.float32) for _ in range(2))
    rows, g_rows = (a.reshape(-1, 9 * n) for a in (columns, g_columns))

    def forward(x: Array) -> Array:
        padded[:, 1:-1, 1:-1] = x
        for i, j, down, right in places:
            columns[:, :, :, i, j] = padded[:, down, right]
        y = rows @ w.reshape(9 * n, m)
        y += b
        return y.reshape(batch, side, side, m)

    def backward(g: Array, wanted: bool) -> Any:
        g = g.reshape(-1, m)
        np.matmul(rows.T, g, out=gw.reshape(9 * n, m))
        np.add.reduce(g, axis=0, out=gb)
        if not wanted:
            return None
        np.matmul(g, w.reshape(9 * n, m).T, out=g_rows)
        g_padded.fill(0)
        for i, j, down, right in places:
            g_padded[:, down, right] += g_columns[:, :, :, i, j]
        return g_padded[:, 1:-1, 1:-1]

    return forward, backward


def w12(d: Data) -> Step:
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    first, first_back = convolution(*weights[:2], *grads[:2], batch=64, side=8)
    second, second_back = convolution(*weights[2:4], *grads[2:4], batch=64, side=4)
    adam, rows, w_out = Adam([flat], d.lr), np.arange(len(d.t)), weights[4]
    g_h, batches = np.empty((64, 8, 8, 16), np.float32), turns(d)

    def step() -> Any:
        x, t = next(batches)
        h = first(x)
        np.maximum(h, 0, out=h)
        parts = [h[:, i::2, j::2] for i in range(2) for j in range(2)]
        pool = np.maximum(np.maximum(parts[0], parts[1]), np.maximum(parts[2], parts[3]))
        y = second(pool)
        np.maximum(y, 0, out=y)
        features = y.reshape(64, -1)
        loss, g = softmax_loss(features @ w_out + weights[5], t, rows)
        np.matmul(features.T, g, out=grads[4])
        np.add.reduce(g, axis=0, out=grads[5])
        g_y = (g @ w_out.T).reshape(y.shape)
        g_y *= y > 0
        g_pool = second_back(g_y, True) * (pool > 0)  # and so h is where it is the largest
        free = np.ones(pool.shape, bool)  # the first of equals gets the gradient
        for part, target in zip(parts, [g_h[:, i::2, j::2] for i in range(2) for j in range(2)]):
            largest = part == pool
            largest &= free
            free ^= largest
            np.multiply(g_pool, largest, out=target)
        first_back(g_h, False)
        adam.update([g_flat])
        return loss

    return step


def erf(x: Array) -> Array:
    """To 1.5e-7, by formula 7.1.26 of Abramowitz and Stegun: NumPy has none."""
    t = 1 / (1 + 0.3275911 * np.absolute(x))
    y = t * 1.061405429
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        y += c
        y *= t
    y *= np.exp(-x * x)
    return np.copysign(1 - y, x)


def normalized(x: Array, w: Array, b: Array) -> tuple[Array, Callable[..., Array]]:
    """Rows of mean 0 and variance 1, scaled and shifted, and the way back, which fills ``gw`` and ``gb``."""
    n = x.shape[1]
    mean = np.full((n, 1), 1 / n, np.float32)
    y = x - x @ mean
    scale = 1 / np.sqrt((y * y) @ mean + 1e-5)
    y *= scale

    def backward(g: Array, gw: Array, gb: Array) -> Array:
        np.add.reduce(g * y, axis=0, out=gw)
        np.add.reduce(g, axis=0, out=gb)
        g = g * w
        g -= g @ mean + y * ((g * y) @ mean)
        g *= scale
        return g

    return y * w + b, backward


def w14(d: Data) -> Step:
    flat, weights = flattened(d.weights)
    g_flat, grads = flattened(d.weights)
    adam = Adam([flat], d.lr, DECAY)
    table, n1, n1_b, wq, wk, wv, wo, bq, bk, bv, bo, n2, n2_b, w, b, w_2, b_2, w_out, b_out = (
        weights
    )
    batch, time = d.x.shape
    batches = turns(d, np.ravel, np.ravel)
    rows, names = np.arange(batch * time), np.arange(len(table))[:, None]
    future = np.where(np.tri(time, dtype=bool), 0, -np.inf).astype(np.float32)
    depth = wq.shape[1] // d.heads

    def split(a: Array) -> Array:
        return a.reshape(batch, time, d.heads, depth).swapaxes(1, 2)

    def merge(a: Array) -> Array:
        return a.swapaxes(1, 2).reshape(batch * time, -1)

    def collect(place: int, h: Array, g: Array) -> None:
        """The gradients of a weight and of its bias, four places on among attention's, else the next."""
        np.matmul(h.T, g, out=grads[place])
        np.add.reduce(g, axis=0, out=grads[place + (4 if 3 <= place <= 6 else 1)])

    def step() -> Any:
        codes, t = next(batches)
        x = table[codes]
        y, back_1 = normalized(x, n1, n1_b)
        q, k, v = split(y @ wq + bq), split(y @ wk + bk), split(y @ wv + bv)
        p = q @ k.swapaxes(-1, -2)
        p *= depth**-0.5
        p += future
        p -= np.maximum.reduce(p, axis=-1, keepdims=True)
        np.exp(p, out=p)
        p /= np.add.reduce(p, axis=-1, keepdims=True)
        a = merge(p @ v)
        x = x + a @ wo + bo
        y_2, back_2 = normalized(x, n2, n2_b)
        h = y_2 @ w + b
        normal = 0.5 + 0.5 * erf(h * 0.5**0.5)
        gated = h * normal
        x = x + gated @ w_2 + b_2
        loss, g = softmax_loss(x @ w_out + b_out, t, rows)

        collect(17, x, g)
        gx = g @ w_out.T
        collect(15, gated, gx)
        gh = gx @ w_2.T
        gh *= normal + h * np.exp(-0.5 * h * h) * (2 * np.pi) ** -0.5
        collect(13, y_2, gh)
        gx += back_2(gh @ w.T, grads[11], grads[12])
        collect(6, a, gx)
        ga = split(gx @ wo.T)
        gp = ga @ v.swapaxes(-1, -2)
        gp -= np.add.reduce(gp * p, axis=-1, keepdims=True)
        gp *= p
        gp *= depth**-0.5
        gq, gk, gv = merge(gp @ k), merge(gp.swapaxes(-1, -2) @ q), merge(p.swapaxes(-1, -2) @ ga)
        for place, part in zip((3, 4, 5), (gq, gk, gv)):
            collect(place, y, part)
        gx += back_1(gq @ wq.T + gk @ wk.T + gv @ wv.T, grads[1], grads[2])
        np.matmul((names == codes).astype(np.float32), gx, out=grads[0])
        adam.update([g_flat])
        return loss

    return step


def w7(d: Data) -> Step:
    """Forward over backward: the derivative of every line of the gradient along the vectors (Pearlmutter 1994)."""
    batches, (w, b, w_out, b_out), (v, vb, v_out, vb_out) = turns(d), d.weights, d.vectors
    rows = np.arange(len(d.t))

    def step() -> Any:
        x, t = next(batches)
        h = np.tanh(x @ w + b)
        slope = 1 - h * h
        _, g = softmax_loss(h @ w_out + b_out, t, rows)
        gh = g @ w_out.T
        r_h = (x @ v + vb) * slope
        r_z = r_h @ w_out + h @ v_out + vb_out
        p = g.copy()
        p[rows, t] += 1 / len(t)  # softmax / n
        r_g = p * (r_z - len(t) * (p * r_z).sum(1, keepdims=True))
        r_a = (r_g @ w_out.T + g @ v_out.T) * slope - 2 * h * r_h * gh
        return x.T @ r_a, r_a.sum(0), r_h.T @ g + h.T @ r_g, r_g.sum(0)

    return step


def w8(d: Data) -> Step:
    def step() -> Any:
        x, way = d.start, []
        for _ in range(d.steps):
            x -= (4 * x * x * x - 4 * x) / (12 * x * x - 4)
            way.append(x)
        return way

    return step


def terms(
    x: Array, w: Array, b: Array, gx: Array, gw: Array, gb: Array, buffers: Sequence[Array]
) -> float:
    """W9's sum, and its gradients into gx, gw, gb."""
    a, s, e, q = buffers
    np.multiply(x, w, out=a)
    np.add(a, b, out=a)
    np.tanh(a, out=a)
    np.multiply(x, 0.5, out=s)
    np.tanh(s, out=s)
    np.multiply(s, 0.5, out=s)
    np.add(s, 0.5, out=s)
    np.multiply(x, x, out=e)
    np.negative(e, out=e)
    np.exp(e, out=e)
    np.multiply(a, s, out=q)
    np.add(q, e, out=gx)
    total = float(gx.sum())
    np.multiply(a, a, out=gb)
    np.subtract(1, gb, out=gb)
    np.multiply(gb, s, out=gb)
    np.multiply(gb, x, out=gw)
    np.subtract(1, s, out=s)
    np.multiply(q, s, out=q)
    np.multiply(e, x, out=e)
    np.multiply(e, 2, out=e)
    np.subtract(q, e, out=q)
    np.multiply(gb, w, out=gx)
    np.add(gx, q, out=gx)
    return total


def w9(d: Data) -> dict[str, Step]:
    gradients = [np.empty_like(d.x) for _ in range(3)]
    whole, small = ([np.empty(n, np.float32) for _ in range(4)] for n in (d.x.size, BLOCK))

    def plain(*inputs: Array) -> Any:
        return terms(*inputs, *gradients, whole), *gradients

    def blocks(*inputs: Array) -> Any:
        total = 0.0
        arrays = [*inputs, *gradients]
        for i in range(0, d.x.size, BLOCK):
            parts = [a[i : i + BLOCK] for a in arrays]
            total += terms(*parts, [a[: parts[0].size] for a in small])
        return total, *gradients

    return {"plain": on_turns(plain, d), "blocks": on_turns(blocks, d)}


def w11(d: Data) -> Step:
    (w, b, w_out, b_out), batches = d.weights, turns(d)

    def step() -> Array:
        h = next(batches)[0] @ w
        h += b
        np.maximum(h, 0, out=h)
        y: Array = h @ w_out
        y += b_out
        return y

    return step


w11t = w11


def w15(d: Data) -> Step:
    """The four slopes of each step are kept: h of the hidden layer and the points they are at."""
    (w, b, w_out, b_out), dt, batches = d.weights, np.float32(d.dt), turns(d)
    points = np.empty((d.steps, 4, *d.x.shape), np.float32)
    hidden = np.empty((d.steps, 4, len(d.x), len(b)), np.float32)
    g_slopes, g_hidden = np.empty_like(points), np.empty_like(hidden)
    ahead, share = (0, dt / 2, dt / 2, dt), (dt / 6, dt / 3, dt / 3, dt / 6)

    def slope(y: Array, k: int, i: int) -> Array:
        points[k, i] = y
        h = y @ w
        h += b
        np.tanh(h, out=hidden[k, i])
        return hidden[k, i] @ w_out + b_out

    def back(g: Array, k: int, i: int) -> Array:
        """From the gradient of a slope to that of its point."""
        g_slopes[k, i] = g
        gh = g @ w_out.T
        gh *= 1 - hidden[k, i] * hidden[k, i]
        g_hidden[k, i] = gh
        return gh @ w.T

    def step() -> Any:
        y, t = next(batches)
        for k in range(d.steps):
            new, s = y, np.float32(0)
            for i in range(4):
                s = slope(y + ahead[i] * s, k, i)
                new = new + share[i] * s
            y = new
        error = (y - t).reshape(-1)
        g = (2 / error.size * error).reshape(y.shape)
        for k in range(d.steps - 1, -1, -1):
            gy, later = g, np.float32(0)
            for i in range(3, -1, -1):
                at = back(share[i] * g + later, k, i)
                gy = gy + at
                later = ahead[i] * at
            g = gy
        h, gs, ghs = (a.reshape(-1, a.shape[-1]) for a in (hidden, g_slopes, g_hidden))
        gw = points.reshape(-1, 2).T @ ghs
        return (error @ error) / error.size, gw, ghs.sum(0), h.T @ gs, gs.sum(0)

    return step
