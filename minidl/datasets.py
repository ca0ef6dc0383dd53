"""Small data sets, shipped with minidl or made on the spot; nothing is downloaded."""

from typing import TYPE_CHECKING, Any

from minidl.data.datasets import *
from minidl.data.datasets import __all__ as __all__


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

    def __getattr__(name: str) -> Any:
        """Raise AttributeError for a name that is not there, saying what to write instead."""
        from minidl.common import hints, words

        raise hints.missing(__name__, name, words.DATASETS)
