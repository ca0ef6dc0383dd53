"""The C library keeps freed memory: steps on large arrays cause no page faults once they are under way.

What a graph keeps alive is tested in test_engine.py.
"""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from minidl import Variable
x = Variable(np.ones(500_000, np.float32))
def step():
    x.cleargrad()
    np.tanh(x * x + x).sum().backward()
for _ in range(3): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def faults(**environment: str) -> int:
    """Page faults a step, once under way."""
    plain = {
        k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "MINIDL_"))
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=plain | environment, capture_output=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_memory_is_kept() -> None:
    assert faults() < 100  # of about 500 for each array of the step


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
@pytest.mark.parametrize("name", ["MINIDL_KEEP_MEMORY", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_can_say_otherwise(name: str) -> None:
    assert faults(**{name: "0"}) > 1000
