"""Random programs of functions, against finite differences and, where it is installed, PyTorch.

`python -m tests.reliability.programs [--number N] [--seed N]`; a few run with the tests.
"""

import argparse
from importlib.util import find_spec
from typing import Any

import numpy as np

import minidl
from minidl import Variable
from minidl import functions as F

SAFE = (
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "softplus",
    "arctan",
    "square",
    "exp",
    "log",
    "sqrt",
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "matmul",
    "sum",
    "mean",
    "transpose",
    "reshape",
    "getitem",
    "concatenate",
    "softmax",
    "where",
)


def program(rng: Any, length: int, kit: Any) -> Any:
    """A function of two arrays (3, 4) to a number, the same for the same generator; ``kit`` says by whom."""
    steps = [
        (SAFE[i], int(a), int(b), float(c))
        for i, a, b, c in zip(
            rng.integers(0, len(SAFE), length),
            rng.integers(0, 99, length),
            rng.integers(0, 99, length),
            rng.uniform(0.5, 1.5, length),
        )
    ]

    def run(x: Any, y: Any) -> Any:
        made = [x, y]
        for name, a, b, c in steps:
            p, q = made[a % len(made)], made[b % len(made)]
            if name in ("log", "sqrt"):
                new = getattr(kit, name)(p * p + c)
            elif name == "exp":
                new = kit.exp(kit.tanh(p) * c)
            elif name == "divide":
                new = p / (q * q + c)
            elif name == "matmul":
                new = kit.tanh(p @ q.T) @ p * 0.5
            elif name in ("sum", "mean"):
                new = p * c - getattr(kit, name)(q, a % 2, keepdims=True)
            elif name == "transpose":
                new = (kit.sin(p.T) * c).T
            elif name == "reshape":
                new = kit.cos(p.reshape(4, 3) * c).reshape(3, 4)
            elif name == "getitem":
                new = p[[2, 0, 2]] * c + q[:, [0, 0, 3, 1]]
            elif name == "concatenate":
                new = kit.concatenate([p[:1], q[1:]], 0) * c
            elif name == "softmax":
                new = kit.softmax(p, a % 2)
            elif name == "where":
                new = kit.where(p > c - 1, p * c, q)
            elif name in ("add", "subtract", "multiply", "maximum"):
                new = getattr(kit, name)(kit.tanh(p), q * c)
            else:
                new = getattr(kit, name)(p * c if name != "square" else kit.tanh(p))
            made.append(new)
        return sum((m * (1 + i)).mean() for i, m in enumerate(made[-3:]))

    return run


def torch_kit() -> Any:
    import torch

    class Kit:
        concatenate, arctan, softplus = torch.cat, torch.atan, torch.nn.functional.softplus

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    return Kit()


def deviations(seed: int, length: int = 8) -> tuple[float, float | None]:
    """Of the gradients of one program: from central differences, and from PyTorch (None: not installed)."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 3, 4))
    f = program(np.random.default_rng(seed), length, F)
    xs = Variable(x), Variable(y)
    f(*xs).backward()
    ours = np.stack([np.zeros((3, 4)) if v.grad is None else v.grad.data for v in xs])
    scale = 1 + np.abs(ours).max()
    numeric, step = np.zeros((2, 3, 4)), 1e-5
    with minidl.no_grad():
        for place in np.ndindex(2, 3, 4):
            ends = []
            for sign in (1, -1):
                moved = np.stack([x, y])
                moved[place] += sign * step
                ends.append(float(f(*map(Variable, moved)).data))
            numeric[place] = (ends[0] - ends[1]) / (2 * step)
    difference = float(np.abs(ours - numeric).max() / scale)
    if not find_spec("torch"):
        return difference, None
    import torch

    ts = [torch.tensor(a, requires_grad=True) for a in (x, y)]
    program(np.random.default_rng(seed), length, torch_kit())(*ts).backward()
    theirs = np.stack([np.zeros((3, 4)) if t.grad is None else t.grad.numpy() for t in ts])
    return difference, float(np.abs(ours - theirs).max() / scale)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = [deviations(given.seed + i, 3 + i % 12) for i in range(given.number)]
    numeric = [d for d, _ in found]
    far = sum(not d <= 1e-6 for d in numeric)
    print(
        f"{len(found)} programs; finite differences: {far} beyond 1e-6, worst {max(numeric):.1e}",
        [given.seed + i for i, d in enumerate(numeric) if not d <= 1e-6][:10],
    )
    peers = [d for _, d in found if d is not None]
    print(
        f"PyTorch: worst {max(peers):.1e} of {len(peers)}" if peers else "PyTorch is not installed"
    )


if __name__ == "__main__":
    main()
