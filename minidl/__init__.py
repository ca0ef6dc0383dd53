"""minidl: a small deep-learning framework on NumPy, fast on small models and readable in an afternoon."""

from minidl import functions, graph, layers, optim
from minidl.autograd import (
    Parameter, Variable, detect_anomaly, differentiable, grad, gradcheck, gradients, hessian, hvp, jacobian,
    jvp, no_grad, test_mode, value_and_grad, vjp,
)
from minidl.data import DataLoader, datasets
from minidl.random import seed
from minidl.serialization import load, save
from minidl.training import History, Trainer, callbacks

__all__ = [
    "DataLoader", "History", "Parameter", "Trainer", "Variable", "callbacks", "datasets", "detect_anomaly",
    "differentiable", "functions", "grad", "gradcheck", "gradients", "graph", "hessian", "hvp", "jacobian",
    "jvp", "layers", "load", "no_grad", "optim", "save", "seed", "test_mode", "value_and_grad", "vjp",
]
