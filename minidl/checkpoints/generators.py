"""The states of random generators, NumPy's and Python's, and of seed sequences, which generators
are made from.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

State = Mapping[str, Any]

GENERATORS = (
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)
POSITIONS = {
    "pos": 624,
    "buffer_pos": 16,
}  # the most there are: beyond, NumPy would read foreign memory


def generator_state(generator: Any) -> dict[str, Any]:
    """The state of a generator.

    Its kind as ``bit_generator``, its numbers, and how many were made from it.
    """
    if isinstance(generator, random.Random):
        return {"bit_generator": type(generator).__name__, "state": generator.getstate()}
    if isinstance(generator, np.random.RandomState):
        return dict(generator.get_state(legacy=False))
    if isinstance(generator, np.random.SeedSequence):
        return {"bit_generator": "SeedSequence", **_children(generator)}
    bits: Any = getattr(generator, "bit_generator", generator)
    return {**bits.state, **_children(bits.seed_seq)}


def load_generator_state(generator: Any, state: State) -> None:
    """Put back what ``generator_state`` gave; ValueError for one that makes no sense."""
    if isinstance(generator, random.Random):
        generator.setstate(state["state"])
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_checked(state))
    elif isinstance(generator, np.random.SeedSequence):
        _spawn(generator, state)
    else:
        bits: Any = getattr(generator, "bit_generator", generator)
        bits.state = _checked(state)
        _spawn(bits.seed_seq, state)


def _checked(state: State) -> dict[str, Any]:
    """The state as NumPy takes it; ValueError for a place beyond a buffer."""
    for name, most in POSITIONS.items():
        for part in (state, state["state"]):
            if not 0 <= part.get(name, 0) <= most:
                raise ValueError("the state of a random generator is damaged")
    own = dict(state)
    for name in ("children", "seed"):
        own.pop(name, None)
    return own


def _children(seeds: Any) -> dict[str, Any]:
    """How many generators were made from a seed sequence, and which it is; nothing if none was."""
    count = getattr(seeds, "n_children_spawned", 0)
    return {"children": count, "seed": _name(seeds)} if count else {}


def _spawn(seeds: Any, state: State) -> None:
    """Let a seed sequence go on after as many generators as were made from it."""
    missing = state.get("children", 0) - getattr(seeds, "n_children_spawned", 0)
    if missing > 0:
        if state["seed"] != _name(seeds):
            raise ValueError("the seed of a generator, which others are made from, is another")
        seeds.spawn(missing)


def _name(seeds: Any) -> str:
    return f"{seeds.entropy} {seeds.spawn_key}"
