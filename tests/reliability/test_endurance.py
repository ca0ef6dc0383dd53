"""What lasts: threads that do not disturb each other, chains of 20,000 functions, memory that does not grow.

The work is in endurance.py; here it is short, in measure_functions.py long.
"""

import pytest

from tests.reliability import endurance


@pytest.mark.slow
def test_sixteen_threads() -> None:
    assert endurance.threads(16, 20) == (16, [])


@pytest.mark.slow
def test_a_long_chain() -> None:
    found = endurance.chain_figures(20_000)
    bad = {
        what: came
        for what, came in found.items()
        if not came.startswith(("right", "done", "refused"))
    }
    assert bad == {}
    for what in ("deep-copied", "pickled"):
        assert "use detach()" in found[what]


@pytest.mark.slow
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", ["mlp", "LSTM", "stateful LSTM"])
def test_memory_does_not_grow(kind: str, compile: bool) -> None:
    """One float that a step leaves behind would be 0.024 KB per step; a graph is more than 1."""
    assert endurance.memory_slope(600, kind=kind, compile=compile) < 0.5
