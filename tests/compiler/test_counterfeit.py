"""Counterfeits of compile must not pass: the tests of ordinary programs are tried on some.

What is honest is in test_ordinary.py.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import minidl
from minidl import Variable
from tests.compiler import test_ordinary as ordinary


class Unchanged:
    """Runs the function, and says that it is a program."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def status(self) -> str:
        return "program 0: NumPy"


class Frozen(Unchanged):
    """Gives what the first call gave."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "result" not in vars(self):
            self.result = self.function(*args, **kwargs)
        return self.result


class WithoutGraph(Unchanged):
    """Gives results that cannot be differentiated."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        y = self.function(*args, **kwargs)
        return y.detach() if isinstance(y, Variable) else y


def runs(make: Callable[[], ordinary.Made]) -> int:
    """How often a program's own code runs in the 20 calls of the test of ordinary programs."""
    codes = []
    count = 0

    def remembered() -> ordinary.Made:
        f, arguments, between = make()
        function = getattr(f, "__func__", f)
        codes.append(getattr(function, "__code__", None))
        return f, arguments, between

    def trace(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_code in codes

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        ordinary.results(remembered, compile=True)
    finally:
        sys.settrace(before)
    assert codes[0] is not None
    return count


def share_that_fails(test: Callable[[Any], object]) -> float:
    failed = 0
    for make in ordinary.PROGRAMS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                test(make)
        except (AssertionError, AttributeError):  # a plain function has no status()
            failed += 1
    return failed / len(ordinary.PROGRAMS)


def assert_right(make: Any) -> None:
    ordinary.test_it_is_compiled_and_right(make)


def assert_compiled(make: Any) -> None:
    assert runs(make) < 20


@pytest.mark.parametrize(
    ("counterfeit", "test", "least"),
    [
        (lambda f: f, assert_right, 1.0),
        (Unchanged, assert_compiled, 1.0),
        (Frozen, assert_right, 0.9),
        (WithoutGraph, assert_right, 0.5),
    ],
    ids=["function itself", "says that it is compiled", "frozen", "without graph"],
)
def test_a_counterfeit_fails(
    counterfeit: Any, test: Any, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minidl, "compile", counterfeit)
    assert share_that_fails(test) >= least


COMPILED = [make for make in ordinary.PROGRAMS if make.__name__ not in ordinary.EAGER]


@pytest.mark.parametrize("make", COMPILED, ids=lambda make: make.__name__)
def test_the_code_of_a_compiled_function_seldom_runs(make: Any) -> None:
    # Recorded once for each setting, and checked at calls 2, 4, 8 and 16 of each program.
    assert runs(make) < 20
