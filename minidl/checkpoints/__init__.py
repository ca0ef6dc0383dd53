"""Checkpoints: what a run depends on, found, saved and put back. `minidl.training` imports it when
it is needed.

Read `snapshot.py` first, then `parts.py`; `carriers.py` finds state in users' objects, `file.py`
writes it.
"""

__all__: list[str] = []
