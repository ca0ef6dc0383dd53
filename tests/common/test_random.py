"""The default generator: repeatable by a seed, never the same in two processes."""

import multiprocessing
import os
import sys
from typing import Any

import pytest

import minidl
from minidl.common import random

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
FORK: Any = multiprocessing.get_context("fork") if sys.platform != "win32" else None


def draw(queue: Any, depth: int) -> None:
    if depth:
        child = FORK.Process(target=draw, args=(queue, depth - 1))
        child.start()
        child.join()
    queue.put((depth, random.generator().random()))


def drawn_in_forks(children: int = 3, depth: int = 0) -> list[float]:
    queue = FORK.SimpleQueue()
    found: list[tuple[int, float]] = []
    for _ in range(children):
        child = FORK.Process(target=draw, args=(queue, depth))
        child.start()
        child.join()
        found += sorted(queue.get() for _ in range(depth + 1))
    return [number for _, number in found]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_generator", "_seed", "_forks"):
        monkeypatch.setattr(random, name, getattr(random, name))


def test_forks_draw_numbers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "_seed", None)
    random.generator().random()  # it is made, and would be inherited
    numbers = [*drawn_in_forks(), *drawn_in_forks()]
    assert len({*numbers, random.generator().random()}) == 7


def test_forks_of_a_seeded_process_repeat() -> None:
    runs = []
    for _ in range(2):
        minidl.seed(3)
        runs.append([*drawn_in_forks(2, depth=1), *drawn_in_forks(1), random.generator().random()])
    assert runs[0] == runs[1] and len(set(runs[0])) == 6
    minidl.seed(3)
    assert random.generator().random() == runs[0][-1]  # forks take nothing from the parent
    assert drawn_in_forks(1) != drawn_in_forks(1)


def test_a_seed_must_be_a_count() -> None:
    for bad in (-1, 1.0, True, "1"):
        with pytest.raises((TypeError, ValueError), match="seed"):
            minidl.seed(bad)  # type: ignore[arg-type]  # what is tested
