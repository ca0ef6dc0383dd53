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
import minidl
from minidl import Variable
exec(sys.argv[1])
x = Variable(np.ones(500_000, np.float32))
def step():
    x.cleargrad()
    np.tanh(x * x + x).sum().backward()
for _ in range(3): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


FIT = """
from minidl import Trainer, functions as F, layers, optim
model = layers.Linear(1, 1)
Trainer(model, optim.SGD(model), F.mean_squared_error).fit(np.ones((2, 1)), np.ones((2, 1)), epochs=1, verbose=0)
"""
ASKED = "minidl.keep_freed_memory()"
COMPILED = "minidl.compile(np.tanh)"


def faults(start: str = "", **environment: str) -> int:
    """Page faults a step, once under way."""
    plain = {
        k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "MINIDL_"))
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, start],
        env=plain | environment,
        capture_output=True,
        check=True,
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
@pytest.mark.parametrize("start", [ASKED, COMPILED, FIT], ids=["asked", "compiled", "fit"])
def test_freed_memory_is_kept(start: str) -> None:
    assert faults(start) < 100  # of about 500 for each array of the step


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_an_import_changes_nothing() -> None:
    assert faults() > 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
@pytest.mark.parametrize("name", ["MINIDL_KEEP_MEMORY", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_can_say_otherwise(name: str) -> None:
    assert faults(ASKED, **{name: "0"}) > 1000
