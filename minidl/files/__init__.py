"""Arrays in files, written whole or not at all: .npz and .safetensors.

What is in them is said by those who save.
"""

from minidl.files.state import load, save

__all__ = ["load", "save"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
