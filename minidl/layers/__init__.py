"""What owns parameters: the base class Layer, and the layers of minidl. Names, no logic."""

from typing import TYPE_CHECKING, Any

from minidl.layers.batch_norm import BatchNorm
from minidl.layers.dropout import Dropout
from minidl.layers.embedding import Embedding
from minidl.layers.flatten import Flatten
from minidl.layers.layer import Layer
from minidl.layers.layer_norm import LayerNorm
from minidl.layers.linear import Linear
from minidl.layers.mlp import MLP, Sequential
from minidl.layers.normalization import Normalization
from minidl.layers.recurrent import LSTM, RNN

# fmt: off
__all__ = [
    "BatchNorm", "Dropout", "Embedding", "Flatten", "LSTM", "Layer", "LayerNorm", "Linear", "MLP", "Normalization",
    "RNN", "Sequential",
]
# fmt: on


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

    def __getattr__(name: str) -> Any:
        """Raise AttributeError for a name that is not there, saying what to write instead."""
        from minidl.common import hints, words

        raise hints.missing("minidl.layers", name, words.LAYERS)
