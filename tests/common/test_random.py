"""minidl's default generator in forked processes: their own numbers without a seed, the seed's with one."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
import minidl
from minidl import layers

{before}
draws = []
for _ in range(4):
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(start, repr(layers.Linear(3, 1).w.data[0, 0].item()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    draws.append(os.read(end, 100))
print(len(set(draws)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("before", "different"),
    [
        ("", 4),
        ("layers.Linear(3, 1)", 4),
        ("minidl.seed(0)", 1),
        ("minidl.seed(0); layers.Linear(3, 1)", 1),
    ],
)
def test_forked_processes_draw_numbers_of_their_own(before: str, different: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)], capture_output=True, text=True
    )
    assert done.stdout == f"{different}\n", done.stderr
