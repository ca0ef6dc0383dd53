"""Public names of the data package: `loader.py` makes batches, `datasets.py` has data."""

from minidl.data import datasets
from minidl.data.loader import DataLoader

__all__ = ["DataLoader", "datasets"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
