"""minidl: a small deep-learning framework on NumPy, fast on small models and readable in an afternoon."""

from typing import TYPE_CHECKING, Any

from minidl import callbacks, datasets, functions, graph, layers, optim
from minidl.autograd import (
    Parameter,
    Variable,
    detect_anomaly,
    differentiable,
    grad,
    gradcheck,
    gradients,
    hessian,
    hvp,
    jacobian,
    jvp,
    no_grad,
    test_mode,
    value_and_grad,
    vjp,
)
from minidl.common.threads import set_num_threads
from minidl.data import DataLoader
from minidl.files.npz import load, save
from minidl.random import seed
from minidl.training import History, Trainer

if TYPE_CHECKING:
    from minidl.compiler import compile
    from minidl.interop.torch import from_dlpack, load_torch_state_dict, torch_state_dict

__all__ = [
    "DataLoader",
    "History",
    "Parameter",
    "Trainer",
    "Variable",
    "callbacks",
    "compile",
    "datasets",
    "detect_anomaly",
    "differentiable",
    "from_dlpack",
    "functions",
    "grad",
    "gradcheck",
    "gradients",
    "graph",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "layers",
    "load",
    "load_torch_state_dict",
    "no_grad",
    "optim",
    "save",
    "seed",
    "set_num_threads",
    "test_mode",
    "torch_state_dict",
    "value_and_grad",
    "vjp",
]


def __getattr__(name: str) -> Any:
    """What few programs need is imported when it is asked for."""
    if name in ("from_dlpack", "load_torch_state_dict", "torch_state_dict"):
        from minidl.interop import torch

        return getattr(torch, name)
    if name == "compile":
        from minidl.compiler import compile

        return compile
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")
