"""Public names of the training package; each lives in the file of its name."""

from minidl.training import callbacks
from minidl.training.history import History
from minidl.training.trainer import Trainer

__all__ = ["History", "Trainer", "callbacks"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
