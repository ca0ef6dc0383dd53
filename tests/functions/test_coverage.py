"""docs/coverage.md is what make_coverage writes, and what it says of kinks is so."""

from typing import Any

import numpy as np
import pytest

from minidl import functions as F
from tests.functions.make_coverage import CHOICES, FAMILIES, PAGE, names_of, page


@pytest.mark.skipif(not hasattr(np, "matvec"), reason="it names functions of NumPy 2.2")
def test_the_page_is_not_stale() -> None:
    hint = "run python -m tests.functions.make_coverage"
    assert PAGE.read_text(encoding="utf-8") == page(), hint


def test_every_function_is_in_one_family() -> None:
    assert sorted(n for modules in FAMILIES.values() for n in names_of(modules)) == sorted(
        F.__all__
    )


@pytest.mark.parametrize(("call", "want"), [c[2:] for c in CHOICES], ids=[c[0] for c in CHOICES])
def test_choices_at_kinks(call: Any, want: Any) -> None:
    got = call()
    if isinstance(want, str):
        assert got == want
    else:
        np.testing.assert_allclose(got, want, atol=1e-15)
