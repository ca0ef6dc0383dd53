"""Random programs of functions: their gradients are those of finite differences, and PyTorch's where it is installed.

The programs are made in programs.py, whose script makes many.
"""

import pytest

from tests.reliability.programs import deviations


@pytest.mark.slow
def test_random_programs() -> None:
    for seed in range(24):
        numeric, peer = deviations(seed, 3 + seed % 12)
        assert numeric < 1e-6 and (peer is None or peer < 1e-12), seed
