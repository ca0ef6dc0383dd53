"""What owns parameters: the base class Layer, and the layers that come with minidl. Public names, no logic."""

from minidl.layers.dropout import Dropout
from minidl.layers.layer import Layer
from minidl.layers.linear import Linear
from minidl.layers.mlp import MLP, Sequential
from minidl.layers.recurrent import LSTM, RNN

__all__ = ["Dropout", "LSTM", "Layer", "Linear", "MLP", "RNN", "Sequential"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
