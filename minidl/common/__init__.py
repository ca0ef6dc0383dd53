"""The low floor: what belongs to nobody: kinds of arrays, checks, hints, random numbers.

It imports nothing else of minidl.
"""
