"""Small data sets, shipped with minidl or made on the spot; nothing is downloaded."""

from minidl.data.datasets import *
from minidl.data.datasets import __all__ as __all__
