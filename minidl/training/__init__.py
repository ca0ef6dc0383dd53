"""Public names of the training package; each lives in the file of its name."""

from minidl.training import callbacks
from minidl.training.history import History
from minidl.training.trainer import Trainer

__all__ = ["History", "Trainer", "callbacks"]
