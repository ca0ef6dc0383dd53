"""minidl's own random generator, which initial weights, dropout and shuffling draw from."""

from minidl.common.random import generator, seed

__all__ = ["generator", "seed"]
