"""The workloads in PyTorch, eager: layers and optimizers as its users write them, each in the variants that may win.

The compiled forms, in torch_compiled.py, reuse the pieces here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as TF

from benchmarks.formulas import DECAY, quartic, rosenbrock
from benchmarks.workloads import Array, Data, Step, on_turns, turns

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
VERSION = f"PyTorch {torch.__version__}"
VARIANTS: dict[str, dict[str, bool]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
Wrap = Callable[[Any], Any]
Turns = Callable[[], Iterator[tuple[Any, ...]]]


def plainly(f: Any) -> Any:
    return f


def tensor(a: Array, requires_grad: bool = False) -> Tensor:
    return torch.from_numpy(a.copy()).requires_grad_(requires_grad)


def w1(d: Data, wrap: Wrap = plainly) -> Step:
    x0, x1 = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in d.start)
    f, lr = wrap(rosenbrock), d.lr

    def step() -> Any:
        x0.grad = x1.grad = None
        loss = f(x0, x1)
        loss.backward()
        with torch.no_grad():
            x0.sub_(x0.grad, alpha=lr)
            x1.sub_(x1.grad, alpha=lr)
        return loss

    return step


def train(
    make: Callable[[], nn.Module],
    optimizer: Any,
    loss_of: Callable[[Any, Any], Any],
    batches_of: Turns,
    wrap: Wrap,
    **settings: Any,
) -> dict[str, Step]:
    def variant(ways: dict[str, bool]) -> Step:
        model = make()
        update = optimizer(model.parameters(), **settings, **ways)
        loss_on = wrap(lambda x, t: loss_of(model(x), t))
        batches = batches_of()

        def step() -> Any:
            x, t = next(batches)
            update.zero_grad(set_to_none=True)
            loss = loss_on(x, t)
            loss.backward()
            update.step()
            return loss

        return step

    return {
        name: variant(ways) for name, ways in VARIANTS.items() if wrap is plainly or name == "fused"
    }


def loaded(layer: Any, w: Array, b: Array) -> Any:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w.T.copy()))
        layer.bias.copy_(torch.from_numpy(b))
    return layer


def mlp(d: Data, activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for w, b in zip(d.weights[::2], d.weights[1::2]):
        layers += [loaded(nn.Linear(*w.shape), w, b), activation()]
    return nn.Sequential(*layers[:-1])


def w2(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: mlp(d, nn.Sigmoid),
        torch.optim.SGD,
        TF.mse_loss,
        lambda: turns(d, tensor, tensor),
        wrap,
        lr=d.lr,
    )


def w3(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: mlp(d, nn.ReLU),
        torch.optim.Adam,
        TF.cross_entropy,
        lambda: turns(d, tensor, tensor),
        wrap,
        lr=d.lr,
    )


def w4(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: mlp(d, nn.ReLU),
        torch.optim.AdamW,
        TF.cross_entropy,
        lambda: turns(d, tensor, tensor),
        wrap,
        lr=d.lr,
        weight_decay=DECAY,
    )


def reordered(w: Array) -> Tensor:
    """Gates in PyTorch's order i, f, g, o, as rows."""
    f, i, o, u = np.split(w, 4, axis=-1)
    return torch.from_numpy(np.concatenate([i, f, u, o], axis=-1).T.copy())


class Recurrent(nn.Module):
    """LSTM and Linear, on every time step or the last; time first, which is PyTorch's own order."""

    def __init__(self, d: Data, last: bool) -> None:
        super().__init__()
        w_x, w_h, b, w_out, b_out = d.weights
        self.lstm, self.last = nn.LSTM(w_x.shape[0], w_h.shape[0]), last
        self.out = loaded(nn.Linear(*w_out.shape), w_out, b_out)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(reordered(w_x))
            self.lstm.weight_hh_l0.copy_(reordered(w_h))
            self.lstm.bias_ih_l0.copy_(reordered(b))
            self.lstm.bias_hh_l0.zero_()
        # Its second bias is one parameter more than the others train: frozen, so that the trajectory is the same.
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.lstm(x)
        return self.out(h[-1] if self.last else h)


class Gated(nn.Module):
    """GRU, and Linear on its last step; time first."""

    def __init__(self, d: Data) -> None:
        super().__init__()
        w_x, w_h, b, b_h, w_out, b_out = d.weights
        n = w_h.shape[0]
        self.gru = nn.GRU(w_x.shape[0], n)
        self.out = loaded(nn.Linear(*w_out.shape), w_out, b_out)
        with torch.no_grad():
            self.gru.weight_ih_l0.copy_(torch.from_numpy(w_x.T.copy()))
            self.gru.weight_hh_l0.copy_(torch.from_numpy(w_h.T.copy()))
            self.gru.bias_ih_l0.copy_(torch.from_numpy(b))
            self.gru.bias_hh_l0.zero_()
            self.gru.bias_hh_l0[2 * n :] = torch.from_numpy(b_h)
        # Of its second bias only n's part is a parameter more: the rest stays as it is.
        only_n = torch.cat([torch.zeros(2 * n), torch.ones(n)])
        self.gru.bias_hh_l0.register_hook(lambda g: g * only_n)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.gru(x)
        return self.out(h[-1])


def time_first(a: Array) -> Tensor:
    return tensor(a.swapaxes(0, 1)).contiguous()


def w5(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: Recurrent(d, last=False),
        torch.optim.SGD,
        TF.mse_loss,
        lambda: turns(d, time_first, time_first),
        wrap,
        lr=d.lr,
    )


def w6(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: Recurrent(d, last=True),
        torch.optim.Adam,
        TF.cross_entropy,
        lambda: turns(d, time_first, tensor),
        wrap,
        lr=d.lr,
    )


def w10(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: Recurrent(d, last=True),
        torch.optim.Adam,
        TF.mse_loss,
        lambda: turns(d, time_first, tensor),
        wrap,
        lr=d.lr,
    )


def w13(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: Gated(d),
        torch.optim.Adam,
        TF.cross_entropy,
        lambda: turns(d, time_first, tensor),
        wrap,
        lr=d.lr,
    )


def conv_net(d: Data, layout: torch.memory_format) -> nn.Module:
    w, b, w_2, b_2, w_out, b_out = d.weights
    rows = w_out.reshape(16, 32, 10).swapaxes(0, 1).reshape(512, 10)  # flattened channels first
    first, second = nn.Conv2d(1, 16, 3, padding="same"), nn.Conv2d(16, 32, 3, padding="same")
    with torch.no_grad():
        for layer, kernel, bias in ((first, w, b), (second, w_2, b_2)):
            layer.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    out = loaded(nn.Linear(512, 10), rows, b_out)
    parts = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.Flatten(), out]
    return nn.Sequential(*parts).to(memory_format=layout)


def w12(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    found = {}
    for name, layout in (("", torch.contiguous_format), (" channels last", torch.channels_last)):
        steps = train(
            lambda layout=layout: conv_net(d, layout),
            torch.optim.Adam,
            TF.cross_entropy,
            lambda layout=layout: turns(
                d,
                lambda x: tensor(x.transpose(0, 3, 1, 2)).to(memory_format=layout),
                tensor,
            ),
            wrap,
            lr=d.lr,
        )
        found |= {f"{ways}{name}": step for ways, step in steps.items()}
    return found


class LanguageModel(nn.Module):
    """Embedding, a block normalized before its parts, head."""

    def __init__(self, d: Data) -> None:
        super().__init__()
        table, n1, n1_b, *attention, n2, n2_b, w, b, w_2, b_2, w_out, b_out = d.weights
        (wq, wk, wv, wo), (bq, bk, bv, bo) = attention[:4], attention[4:]
        self.heads = d.heads
        self.embed = nn.Embedding.from_pretrained(torch.from_numpy(table.copy()), freeze=False)
        self.norm_1, self.norm_2 = nn.LayerNorm(64), nn.LayerNorm(64)
        qkv = np.concatenate([wq, wk, wv], 1), np.concatenate([bq, bk, bv])
        self.qkv = loaded(nn.Linear(64, 192), *qkv)
        self.out = loaded(nn.Linear(64, 64), wo, bo)
        self.first = loaded(nn.Linear(64, 256), w, b)
        self.second = loaded(nn.Linear(256, 64), w_2, b_2)
        self.head = loaded(nn.Linear(64, 64), w_out, b_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        batch, time, width = x.shape
        parts = self.qkv(self.norm_1(x)).view(batch, time, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = TF.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time, width))
        return self.head(x + self.second(TF.gelu(self.first(self.norm_2(x)))))


def w14(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    return train(
        lambda: LanguageModel(d),
        torch.optim.AdamW,
        lambda z, t: TF.cross_entropy(z.flatten(0, 1), t.flatten()),
        lambda: turns(d, tensor, tensor),
        wrap,
        lr=d.lr,
        weight_decay=DECAY,
    )


def tanh_loss(x: Tensor, t: Tensor, w: Tensor, b: Tensor, w_out: Tensor, b_out: Tensor) -> Tensor:
    return TF.cross_entropy(torch.addmm(b_out, torch.tanh(torch.addmm(b, x, w)), w_out), t)


def w7(d: Data, wrap: Wrap = plainly) -> dict[str, Step]:
    params = tuple(tensor(w, True) for w in d.weights)
    vectors = tuple(tensor(v) for v in d.vectors)
    constants = tuple(p.detach() for p in params)
    gradient = torch.func.grad(tanh_loss, argnums=(2, 3, 4, 5))

    def double_backward(x: Tensor, t: Tensor) -> Any:
        gs = torch.autograd.grad(tanh_loss(x, t, *params), params, create_graph=True)
        return torch.autograd.grad(gs, params, vectors)

    def forward_over_reverse(x: Tensor, t: Tensor, params: Any, vectors: Any) -> Any:
        return torch.func.jvp(lambda *ps: gradient(x, t, *ps), params, vectors)[1]

    def reverse_over_reverse(x: Tensor, t: Tensor, params: Any, vectors: Any) -> Any:
        return torch.func.vjp(lambda *ps: gradient(x, t, *ps), *params)[1](vectors)

    fr, rr = wrap(forward_over_reverse), wrap(reverse_over_reverse)
    found: dict[str, Callable[..., Any]] = {
        "jvp of grad": lambda x, t: fr(x, t, constants, vectors),
        "vjp of grad": lambda x, t: rr(x, t, constants, vectors),
    }
    if wrap is plainly:
        found["double backward"] = double_backward
    return {name: on_turns(f, d, tensor, tensor) for name, f in found.items()}


def w8(d: Data) -> Step:
    def step() -> Any:
        x, way = torch.tensor(d.start, dtype=torch.float64, requires_grad=True), []
        for _ in range(d.steps):
            [slope] = torch.autograd.grad(quartic(x), x, create_graph=True)
            [curvature] = torch.autograd.grad(slope, x)
            x = (x.detach() - slope.detach() / curvature).requires_grad_()
            way.append(x)
        return way

    return step


def w9(d: Data, wrap: Wrap = plainly) -> Step:
    batches = turns(d, *[lambda a: tensor(a, True)] * 3)
    f = wrap(lambda x, w, b: (torch.tanh(x * w + b) * torch.sigmoid(x) + torch.exp(-x * x)).sum())

    def step() -> Any:
        x, w, b = next(batches)
        x.grad = w.grad = b.grad = None
        loss = f(x, w, b)
        loss.backward()
        return loss, x.grad, w.grad, b.grad

    return step


def w11(d: Data, wrap: Wrap = plainly) -> Step:
    model, batches = wrap(mlp(d, nn.ReLU)), turns(d)

    def step() -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(next(batches)[0])).numpy()

    return step


w11t = w11


def w15(d: Data) -> Step:
    model, batches = mlp(d, nn.Tanh), turns(d, tensor, tensor)
    params, dt = list(model.parameters()), d.dt

    def step() -> Any:
        y, t = next(batches)
        for _ in range(d.steps):
            k_1 = model(y)
            k_2 = model(y + dt / 2 * k_1)
            k_3 = model(y + dt / 2 * k_2)
            k_4 = model(y + dt * k_3)
            y = y + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        loss = TF.mse_loss(y, t)
        w, b, w_out, b_out = torch.autograd.grad(loss, params)
        return loss, w.T.contiguous(), b, w_out.T.contiguous(), b_out

    return step
