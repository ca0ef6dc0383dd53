"""Public names of the training package: the trainer, its history and the callbacks.

No logic lives here; it is in the file of the same name each.
"""

from minidl.training import callbacks
from minidl.training.history import History
from minidl.training.trainer import Trainer

__all__ = ["History", "Trainer", "callbacks"]
