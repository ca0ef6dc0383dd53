"""What is to happen at the events of training."""

from minidl.training.callbacks import *
from minidl.training.callbacks import __all__ as __all__
