"""What is to happen at the events of training."""

from typing import TYPE_CHECKING

from minidl.common.hints import refuse_unknown
from minidl.interop.tensorboard import TensorBoard
from minidl.training.averaging import MovingAverage
from minidl.training.callbacks import Callback, Checkpoint, EarlyStopping, Logger
from minidl.training.plateau import ReduceOnPlateau

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Logger",
    "MovingAverage",
    "ReduceOnPlateau",
    "TensorBoard",
]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
