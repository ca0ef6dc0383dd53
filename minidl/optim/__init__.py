"""Optimizers: how parameters are changed by their gradients, one algorithm a file.

Gradients are computed in ``minidl.autograd``; which parameters a model has is the layers' business.
"""

from minidl.optim import hooks, schedules
from minidl.optim.adam import Adam
from minidl.optim.adamw import AdamW
from minidl.optim.momentum import Momentum
from minidl.optim.optimizer import Gradients, Optimizer
from minidl.optim.sgd import SGD

__all__ = ["SGD", "Momentum", "Adam", "AdamW", "Gradients", "Optimizer", "hooks", "schedules"]
