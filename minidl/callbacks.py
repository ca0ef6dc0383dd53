"""What is to happen at the events of training."""

from typing import TYPE_CHECKING, Any

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
]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

    def __getattr__(name: str) -> Any:
        """Raise AttributeError for a name that is not there, saying what to write instead."""
        from minidl.common import hints, words

        raise hints.missing(__name__, name, words.CALLBACKS)
