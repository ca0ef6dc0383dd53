"""What is to happen at the events of training."""

from minidl.training.callbacks import Callback, Checkpoint, EarlyStopping, Logger

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "Logger"]
