"""One file a peer: functions w1 .. w14, each from data to a whole step, as that library's users write it.

A function may give several steps, by name, of which the fastest is taken. What the data are is in ../workloads.py.
"""
