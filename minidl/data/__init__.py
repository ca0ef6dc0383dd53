"""Public names of the data package: the loader and the datasets.

No logic lives here; it is in `loader.py` (batches) and `datasets.py` (the data themselves).
"""

from minidl.data import datasets
from minidl.data.loader import DataLoader

__all__ = ["DataLoader", "datasets"]
