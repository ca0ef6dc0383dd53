"""The autograd core: Variables, recorded functions, the backward walk, functional transforms.

The derivative rules themselves live in ``minidl.functions``; layers and optimizers live above.
"""

from minidl.autograd.function import Function, differentiable, implements
from minidl.autograd.gradcheck import gradcheck
from minidl.autograd.modes import detect_anomaly, no_grad, test_mode
from minidl.autograd.recompute import recompute
from minidl.autograd.transforms import (
    grad,
    gradients,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)
from minidl.autograd.variable import Parameter, Variable

__all__ = [
    "Function",
    "Parameter",
    "Variable",
    "detect_anomaly",
    "differentiable",
    "grad",
    "gradcheck",
    "gradients",
    "hessian",
    "hvp",
    "implements",
    "jacobian",
    "jvp",
    "no_grad",
    "recompute",
    "test_mode",
    "value_and_grad",
    "vjp",
]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
