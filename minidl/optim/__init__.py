"""Optimizers: how gradients change parameters, one algorithm a file.

Gradients come from autograd.
"""

from typing import TYPE_CHECKING

from minidl.common.hints import refuse_unknown
from minidl.optim import hooks, schedules
from minidl.optim.adagrad import Adagrad
from minidl.optim.adam import Adam
from minidl.optim.adamw import AdamW
from minidl.optim.gradients import StepGradients
from minidl.optim.lion import Lion
from minidl.optim.momentum import Momentum
from minidl.optim.optimizer import Optimizer
from minidl.optim.rmsprop import RMSprop
from minidl.optim.sgd import SGD

__all__ = [
    "SGD",
    "Momentum",
    "Adam",
    "AdamW",
    "RMSprop",
    "Adagrad",
    "Lion",
    "Optimizer",
    "StepGradients",
    "hooks",
    "schedules",
]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
