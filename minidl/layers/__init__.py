"""What owns parameters: the base class Layer, and the layers of minidl. Names, no logic."""

from typing import TYPE_CHECKING

from minidl.common.hints import refuse_unknown
from minidl.layers.attention import MultiHeadAttention
from minidl.layers.batch_norm import BatchNorm
from minidl.layers.bidirectional import Bidirectional
from minidl.layers.conv import Conv1d, Conv2d
from minidl.layers.dropout import Dropout
from minidl.layers.embedding import Embedding
from minidl.layers.flatten import Flatten
from minidl.layers.layer import Layer
from minidl.layers.layer_norm import LayerNorm
from minidl.layers.linear import Linear
from minidl.layers.mlp import MLP, Sequential
from minidl.layers.normalization import Normalization
from minidl.layers.pool import AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d
from minidl.layers.positional import PositionalEncoding
from minidl.layers.recurrent import GRU, LSTM, RNN
from minidl.layers.transformer import TransformerBlock

# fmt: off
__all__ = [
    "AvgPool1d", "AvgPool2d", "BatchNorm", "Bidirectional", "Conv1d", "Conv2d", "Dropout",
    "Embedding", "Flatten", "GRU", "GlobalAvgPool", "LSTM", "Layer", "LayerNorm", "Linear", "MLP",
    "MaxPool1d", "MaxPool2d", "MultiHeadAttention", "Normalization", "PositionalEncoding", "RNN",
    "Sequential", "TransformerBlock",
]
# fmt: on


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
