"""Public names of the data package: `loader.py` makes batches, `datasets.py` has the data themselves."""

from minidl.data import datasets
from minidl.data.loader import DataLoader

__all__ = ["DataLoader", "datasets"]
