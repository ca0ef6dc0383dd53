"""Small data sets, shipped with minidl or made on the spot; nothing is downloaded."""

from minidl.data.datasets import digits, sine, spiral, sunspots, windows

__all__ = ["digits", "sine", "spiral", "sunspots", "windows"]
