"""Benchmarks: minidl beside hand-written NumPy and the libraries that are installed.

Run them as modules from the repository's root: run, lightness, growth, memory. Nothing here is part of minidl.
"""
