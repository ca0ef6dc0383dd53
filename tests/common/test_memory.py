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
from minidl.common import memory
x = np.ones(500_000, np.float32)
exec(sys.argv[1])
def step():
    np.tanh(x * x + x).sum()
for _ in range(3): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step()
print(memory._kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""
ASKED = "minidl.keep_freed_memory()"
GRADIENT = "minidl.Variable(1.0).backward()"
COMPILED = "minidl.compile(np.tanh)"
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")


def run(start: str, **environment: str) -> tuple[int, int]:
    """How many bytes the C library was told to keep, and page faults a step, once under way."""
    plain = {
        k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "MINIDL_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, start],
        env=plain | environment,
        capture_output=True,
        check=True,
    )
    kept, faults = map(int, done.stdout.split())
    return kept, faults


@pytest.mark.parametrize(
    "start", [ASKED, GRADIENT, COMPILED], ids=["asked", "gradient", "compiled"]
)
def test_freed_memory_is_kept(start: str) -> None:
    kept, faults = run(start)
    assert kept == 2**27
    assert faults < 100  # of about 500 for each array of the step


@pytest.mark.parametrize("start", ["", "minidl.Variable(x) * 2"], ids=["import", "no gradient"])
def test_an_import_changes_nothing(start: str) -> None:
    assert run(start)[0] == 0


def test_what_was_asked_for_stays() -> None:
    assert run("minidl.keep_freed_memory(2**16); minidl.Variable(1.0).backward()")[0] == 2**16


@pytest.mark.parametrize("name", ["MINIDL_KEEP_MEMORY", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_can_say_otherwise(name: str) -> None:
    assert run(ASKED, **{name: "0"})[0] == 0
