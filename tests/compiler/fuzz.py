"""Random programs: functions of arrays as text, to be run eagerly and compiled and compared to the bit.

    python -m tests.compiler.fuzz 0 1000

runs the seeds from 0 to 999, and prints each program that differs. A small part is in test_fuzz.py.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minidl
from minidl import Parameter, Variable, optim
from minidl import functions as F
from minidl.compiler.agreement import same

SCOPE = {"np": np, "F": F, "__name__": "random_program"}
DTYPES = ("float64", "float32")
SHAPES = ((), (3,), (4,), (4, 3), (3, 4), (1, 3), (4, 1), (2, 4, 3), (2, 3, 4), (3, 3))
NUMBERS = ("1", "2", "1.0", "0.5", "-1", "0.0", "-2.0", "3")
UNARY = """
-{x}
+{x}
-(-{x})
{x} * 1
1 * {x}
{x} / 1
{x} ** 1
{x} ** 2
{x} ** 3
{x} ** 2.0
{x} ** -1
abs({x}) ** 0.5
{x} + 0
{x} - 0
0 - {x}
0 * {x}
{x} * -1
{x} + {n}
{x} - {n}
{n} - {x}
{x} * {n}
{n} * {x}
{x} / 2
2 / ({x} * {x} + 1)
np.exp(-{x} * {x})
np.tanh({x})
np.sin({x})
np.abs({x})
np.square({x})
np.sqrt({x} * {x} + 1)
np.log1p(np.abs({x}))
np.maximum({x}, 0)
np.minimum({x}, {n})
np.where({x} > 0, {x}, 0.0)
np.clip({x}, -1, 1)
np.sign({x})
F.relu({x})
F.sigmoid({x})
F.softplus({x})
F.softmax({x})
F.log_softmax({x})
{x}.sum()
{x}.mean()
{x}.sum(axis=0)
{x}.sum(axis=-1)
{x}.sum(axis=(0, 1))
{x}.sum(axis=0, keepdims=True)
{x}.mean(axis=-1, keepdims=True)
{x}.max(axis=0)
{x}.max()
{x}.min(axis=-1)
{x}.var(axis=0)
np.cumsum({x}, axis=-1)
np.prod({x}, axis=0)
{x}.T
{x}.T.T
{x}.swapaxes(0, 1)
np.swapaxes({x}, -1, -2)
np.transpose({x})
np.moveaxis({x}, 0, -1)
{x}.reshape(-1)
{x}.reshape({x}.shape)
{x}.ravel()
np.flip({x}, 0)
{x}[::-1]
{x}[0]
{x}[-1]
{x}[1:]
{x}[..., 1]
{x}[..., None]
{x}[None]
{x}[[0, 2, 0]]
{x}[:, ::2]
np.broadcast_to({x}, (4, 3))
np.broadcast_to({x}, (2, 4, 3))
np.expand_dims({x}, 0)
np.squeeze({x})
np.tile({x}, 2)
np.copy({x})
{x}.astype("float64")
np.linalg.norm({x})
"""
BINARY = """
{x} + {y}
{x} - {y}
{x} * {y}
{x} / ({y} * {y} + 1)
np.maximum({x}, {y})
np.minimum({x}, {y})
np.where({x} > {y}, {x}, {y})
np.hypot({x}, {y})
{x} @ {y}
{x} @ {y}.T
{x}.T @ {y}
np.dot({x}, {y})
np.matmul({x}, {y})
np.outer({x}, {y})
np.einsum("ij,jk->ik", {x}, {y})
np.einsum("ij,ij->i", {x}, {y})
np.concatenate([{x}, {y}])
np.concatenate([{x}, {y}], axis=-1)
np.stack([{x}, {y}])
np.stack([{x}, {y}], axis=-1)
F.mean_squared_error({x}, {y})
({x} + {y}) * {x}
{x} * {y} + {x}
{x} - {y} * {n}
"""
TEMPLATES = (
    [line for line in UNARY.split("\n") if line],
    [line for line in BINARY.split("\n") if line],
)


class RandomProgram:
    """A function of arrays: ``source``, and the forms of what it is given."""

    most = 500  # elements of a value

    def __init__(self, seed: int, length: int = 8) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.forms = [self._form() for _ in range(self.chance.randint(1, 3))]
        self.lines: list[str] = []
        self.known = dict(zip([f"x{i}" for i in range(len(self.forms))], self.arrays(0)))
        for _ in range(10 * length):
            if len(self.lines) < length:
                self._add_line()
        names = [f"v{i}" for i in range(len(self.lines))]
        last = self.chance.sample(names, min(len(names), self.chance.randint(1, 3)))
        self.results = last or ["x0"]

    def _form(self) -> tuple[tuple[int, ...], str, str]:
        dtype = DTYPES[0] if self.chance.random() < 0.5 else DTYPES[self.chance.randint(0, 1)]
        return self.chance.choice(SHAPES), dtype, self.chance.choice("CCF-")

    def _add_line(self) -> None:
        unary, binary = TEMPLATES
        names = list(self.known)
        recent = names[-4:] if self.chance.random() < 0.7 else names
        template = self.chance.choice(unary if self.chance.random() < 0.6 else binary)
        text = template.format(
            x=self.chance.choice(recent), y=self.chance.choice(names), n=self.chance.choice(NUMBERS)
        )
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                value = eval(text, SCOPE, self.known)
            except Exception:  # the shapes do not fit
                return
        floating = isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f"
        if floating and 0 < value.size < self.most:
            name = f"v{len(self.lines)}"
            self.known[name] = value
            self.lines.append(f"{name} = {text}")

    def arrays(self, call: int) -> list[Any]:
        """What it is called with: zeros of both signs are among it."""
        rng = np.random.default_rng(1000 * self.seed + call)
        return [self._array(rng, *form) for form in self.forms]

    def _array(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str, order: str
    ) -> Any:
        x = (rng.standard_normal(shape) * 2).round(1 if rng.random() < 0.5 else 9)
        x = np.where(rng.random(shape) < 0.2, rng.choice([0.0, -0.0], shape), x).astype(dtype)
        if order == "F":
            return np.asfortranarray(x)
        return x.swapaxes(0, -1).copy().swapaxes(0, -1) if order == "-" and x.ndim > 1 else x

    @property
    def source(self) -> str:
        """Its text."""
        names = ", ".join([f"x{i}" for i in range(len(self.forms))])
        body = [*self.lines, f"return {', '.join(self.results)},"]
        return f"def program({names}):\n" + "\n".join([f"    {line}" for line in body])

    def function(self) -> Callable[..., Any]:
        """The function itself."""
        scope = dict(SCOPE)
        exec(self.source, scope)
        return scope["program"]  # type: ignore[no-any-return]  # a function

    def __str__(self) -> str:
        forms = "\n".join([f"# x{i}: {form}" for i, form in enumerate(self.forms)])
        return f"# seed {self.seed}\n{forms}\n{self.source}"


# ---- the ways to run one -------------------------------------------------------------------------


def on_arrays(f: Callable[..., Any], arrays: Sequence[Any], wrap: Any) -> Callable[[int, Any], Any]:
    """On plain arrays."""
    call = wrap(f)
    return lambda i, xs: call(*xs)


def with_gradients(
    f: Callable[..., Any], arrays: Sequence[Any], wrap: Any
) -> Callable[[int, Any], Any]:
    """On Variables, and backward outside."""
    call = wrap(f)

    def run(i: int, xs: Any) -> Any:
        variables = [Variable(x) for x in xs]
        ys = call(*variables)
        sum([y.sum() for y in ys]).backward()
        return [*ys, *[v.grad for v in variables]]

    return run


def a_step(f: Callable[..., Any], arrays: Sequence[Any], wrap: Any) -> Callable[[int, Any], Any]:
    """A whole step: the first argument is a parameter, the others are arrays."""
    p = Parameter(np.array(arrays[0]))
    optimizer = optim.Momentum([p], 0.01)

    def step(*xs: Any) -> Any:
        optimizer.cleargrads()
        ys = f(p, *xs)
        loss = sum([(y * y).sum() for y in ys]) + (p * p).sum()
        loss.backward()
        optimizer.update()
        return loss, ys

    call = wrap(step)

    def run(i: int, xs: Any) -> Any:
        loss, ys = call(*xs[1:])
        return [loss, *ys, p.data.copy(), p.grad.data.copy()]

    return run


def gradient_inside(
    f: Callable[..., Any], arrays: Sequence[Any], wrap: Any
) -> Callable[[int, Any], Any]:
    """The gradient of the sum of all results, inside the program."""

    def total(*xs: Any) -> Any:
        return sum([(y * y).sum() for y in f(*xs)])

    call = wrap(minidl.grad(total))
    return lambda i, xs: call(*xs)


WAYS = (on_arrays, with_gradients, a_step, gradient_inside)


def difference(program: RandomProgram, way: Any, calls: int = 4) -> tuple[str | None, bool]:
    """What differs between eager and compiled, and whether it was compiled."""
    compiled: list[Any] = []

    def wrap(f: Any) -> Any:
        compiled.append(minidl.compile(f, check="never"))
        return compiled[-1]

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        runs = [way(program.function(), program.arrays(0), how) for how in (lambda f: f, wrap)]
        for i in range(calls):
            outcomes = []
            for run in runs:
                try:
                    outcomes.append(run(i, program.arrays(i)))
                except Exception as error:
                    outcomes.append(f"{type(error).__name__}: {error}")
            eager, got = outcomes
            if isinstance(eager, str) or isinstance(got, str):
                if type(eager) is not type(got):
                    return f"call {i}: eager {eager!r:.200}, compiled {got!r:.200}", True
                return None, False
            for k, (a, b) in enumerate(zip(_parts(eager), _parts(got), strict=True)):
                if not _same(a, b):
                    return f"call {i}, part {k}:\n eager {a!r}\n compiled {b!r}", True
    return None, compiled[0].why is None


def _parts(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Variable) and isinstance(b, Variable):
        return same(np.asarray(a.data), np.asarray(b.data))
    return same(a, b)


def main(start: int, stop: int) -> None:
    """Run some seeds, and print what differs."""
    counts = {way.__name__: [0, 0] for way in WAYS}
    for seed in range(start, stop):
        program = RandomProgram(seed)
        for way in WAYS:
            what, was_compiled = difference(program, way)
            counts[way.__name__][0] += was_compiled
            counts[way.__name__][1] += 1
            if what is not None:
                print(f"---- {way.__name__}\n{program}\n{what}\n", flush=True)
    print({name: f"{n} of {of} compiled" for name, (n, of) in counts.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
