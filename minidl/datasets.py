"""Small data sets, shipped with minidl or made on the spot; nothing is downloaded."""

from typing import TYPE_CHECKING

from minidl.common.hints import refuse_unknown
from minidl.data.datasets import *
from minidl.data.datasets import __all__ as __all__


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name
    __getattr__ = refuse_unknown(__name__)
