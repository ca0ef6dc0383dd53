"""Makes torch_norms.npz: what PyTorch's norms give, and their derivatives, for test_norms.py.

It needs PyTorch.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

KINDS = {"LayerNorm": nn.LayerNorm, "BatchNorm": nn.BatchNorm1d}


def record(module, x, u, v):
    """Value, first derivatives of ``sum(y**2 u)``, and those of ``sum(v gx)`` and its kin."""
    x.requires_grad_()
    wrt = [x, module.weight, module.bias]
    y = module(x.reshape(-1, x.shape[-1])).reshape(x.shape)
    first = torch.autograd.grad((y**2 * u).sum(), wrt, create_graph=True)
    second = torch.autograd.grad((first[0] * v).sum() + (first[1] ** 2).sum(), wrt)
    arrays = {"y": y}
    for name, one, two in zip(["x", "w", "b"], first, second, strict=True):
        arrays |= {f"d{name}": one, f"dd{name}": two}
    return arrays


def main():
    torch.manual_seed(0)
    arrays = {}
    for name, kind in KINDS.items():
        module = kind(5, eps=1e-3, dtype=torch.float64)
        module.weight.data = torch.randn(5, dtype=torch.float64)
        module.bias.data = torch.randn(5, dtype=torch.float64)
        x, u, v = torch.randn(3, 4, 3, 5, dtype=torch.float64)
        given = {"x": 3 * x + 1, "w": module.weight, "b": module.bias, "u": u, "v": v}
        arrays |= {f"{name}/{key}": value.detach().clone() for key, value in given.items()}
        for mode in ("training", "testing"):
            module.train(mode == "training")
            results = record(module, given["x"].detach(), u, v)
            arrays |= {f"{name}/{mode}/{key}": value for key, value in results.items()}
        if name == "BatchNorm":
            arrays |= {f"{name}/mean": module.running_mean, f"{name}/var": module.running_var}
    path = Path(__file__).with_name("torch_norms.npz")
    np.savez_compressed(path, **{name: value.detach().numpy() for name, value in arrays.items()})


if __name__ == "__main__":
    main()
